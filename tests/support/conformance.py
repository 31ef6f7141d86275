"""Which test shows which requirement, read from the tests' source.

`requirements.json`, beside this module, has every requirement in a sentence and, where Overland
does something else, how and why (`deviation`).  A test names what it shows with
`@pytest.mark.requirement("R93")`.  `docs/reference/conformance.md` is made of both.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["Requirement", "conformance_page", "requirements", "shown_by"]

_TESTS: Final = Path(__file__).resolve().parents[1]
_CATALOGUE: Final = Path(__file__).with_name("requirements.json")
_MARK: Final = "requirement"
_TESTS_SHOWN: Final = 4
_HEAD: Final = """\
# Conformance

What Azure's offline seeding asks of an implementation, requirement by requirement, and the tests \
that show that Overland does it.
*done* means that the tests named show it as it stands here; *differently* says what Overland does \
instead, and why.
A requirement without a test and without such a sentence fails the checks.
Made from the marks on the tests; a test compares.
"""


class Requirement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A requirement in a sentence; `deviation` says what is done differently, and why."""

    number: str
    area: str
    text: str
    deviation: str = ""


@cache
def requirements() -> dict[str, Requirement]:
    """Return every requirement by its number, in order."""
    found = msgspec.json.decode(_CATALOGUE.read_bytes(), type=list[Requirement])
    return {each.number: each for each in found}


@cache
def shown_by() -> Mapping[str, list[str]]:
    """Return the tests (`path::name`) that are marked with each number, also of numbers unknown."""
    found: dict[str, list[str]] = {}
    for path in sorted(_TESTS.rglob("test_*.py")):
        source = path.read_text(encoding="utf-8")
        if _MARK not in source:
            continue
        where = path.relative_to(_TESTS.parent).as_posix()
        for name, number in _marks(ast.parse(source)):
            tests = found.setdefault(number, [])
            test = f"{where}::{name}" if name else where
            if test not in tests:
                tests.append(test)
    return found


def conformance_page() -> str:
    """Return the text of `docs/reference/conformance.md`."""
    parts = [_HEAD, _summary()]
    for area, group in groupby(requirements().values(), key=lambda each: each.area):
        parts += [f"## {area}\n", "| | requirement | status | shown by |\n|---|---|---|---|"]
        parts.append("\n".join(_row(each) for each in group) + "\n")
    return "\n".join(parts).rstrip() + "\n"


def _summary() -> str:
    found = list(requirements().values())
    differently = sum(bool(each.deviation) for each in found)
    tests = len({test for each in found for test in shown_by().get(each.number, ())})
    return (
        f"{len(found)} requirements: {len(found) - differently} done, {differently} differently; "
        f"{tests} tests.\n"
    )


def _row(requirement: Requirement) -> str:
    status = f"differently: {requirement.deviation}" if requirement.deviation else "done"
    tests = shown_by().get(requirement.number, [])
    shown = [f"`{test.removeprefix('tests/')}`" for test in tests[:_TESTS_SHOWN]]
    if len(tests) > _TESTS_SHOWN:
        shown.append(f"{len(tests) - _TESTS_SHOWN} more")
    return f"| {requirement.number} | {requirement.text} | {status} | {', '.join(shown) or '-'} |"


def _marks(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in module.body:
        if isinstance(node, ast.Assign):  # pytestmark
            yield from (("", number) for number in _numbers(node.value))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _decorated(node, node.name)
        elif isinstance(node, ast.ClassDef):
            yield from _decorated(node, node.name)
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from _decorated(inner, f"{node.name}::{inner.name}")


def _decorated(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, name: str
) -> Iterator[tuple[str, str]]:
    for decorator in node.decorator_list:
        yield from ((name, number) for number in _numbers(decorator))


def _numbers(expression: ast.expr) -> Iterator[str]:
    for node in ast.walk(expression):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == _MARK
        ):
            for argument in node.args:
                assert isinstance(argument, ast.Constant), "a mark's numbers are literals"
                assert isinstance(argument.value, str), "R1, not 1"
                yield argument.value
