"""The reference pages say what the program does; what is made from it is compared with it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
from tests.support.generatedpages import PAGES, REFERENCE, REGENERATE

from overland.cli.explain import explanations
from overland.cli.main import overland
from overland.cli.outcome import Exit

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = ROOT / "src" / "overland"

# Codes that no class has: of the command line's edge, and of the two servers' edges.
AT_THE_EDGES: Final = {
    "cli/outcome.py": {"command", "operating-system", "stopped", "usage"},
    "server/envelope.py": {
        "body-too-large",
        "invalid-api-version-parameter",
        "length-required",
        "missing-api-version-parameter",
        "no-registered-provider-found",
    },
    "server/objects_wire.py": {"internal"},
    "server/problems.py": {"internal-error", "method-not-allowed"},
}


def codes_of_classes(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                match statement:
                    case ast.Assign(targets=[ast.Name("code")], value=ast.Constant(str() as code)):
                        yield code
                    case ast.AnnAssign(target=ast.Name("code"), value=ast.Constant(str() as code)):
                        yield code


def given_codes(path: Path) -> Iterator[str]:
    """The literal codes that a module at an edge passes on."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.keyword) and node.arg == "code":
            match node.value:
                case ast.Constant(str() as code):
                    yield code


def test_every_command_on_the_page_of_json_prints_json() -> None:
    page = (REFERENCE / "json.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `([a-z -]+)`", page, re.MULTILINE)
    assert len(found) > 15
    for words in found:
        command: click.Command | None = overland
        for word in words.split():
            assert isinstance(command, click.Group), words
            command = command.get_command(click.Context(command), word)
        assert command is not None, words
        assert any("--json" in parameter.opts for parameter in command.params), words


def test_every_error_code_is_explained_and_every_explained_code_exists() -> None:
    codes = {code for path in SOURCE.rglob("*.py") for code in codes_of_classes(path)}
    codes |= {code for of_module in AT_THE_EDGES.values() for code in of_module}

    known = set(explanations())

    assert codes - known == set(), "explain them in src/overland/cli/errors.json"
    assert known - codes == set(), "no program of ours says these any more"


@pytest.mark.parametrize("module", sorted(AT_THE_EDGES))
def test_the_codes_at_the_edges_are_those_listed_here(module: str) -> None:
    text = (SOURCE / module).read_text(encoding="utf-8")

    assert set(given_codes(SOURCE / module)) - set(explanations()) == set()
    assert [code for code in AT_THE_EDGES[module] if f'"{code}"' not in text] == []


def test_the_explanations_are_sorted_whole_and_short() -> None:
    found = list(explanations().values())

    assert [each.code for each in found] == sorted({each.code for each in found})
    for each in found:
        for text in (each.meaning, each.cause, each.next):
            assert text.endswith("."), f"{each.code}: a sentence ends with a full stop"
            assert len(text) < 250, f"{each.code}: say it in fewer words"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_page_is_what_the_program_makes_of_it(name: str) -> None:
    page = REFERENCE / name

    assert page.is_file(), f"run {REGENERATE}"
    assert page.read_text(encoding="utf-8") == PAGES[name](), (
        f"docs/reference/{name} is out of date; run {REGENERATE}"
    )


def test_the_exit_codes_are_all_on_their_page() -> None:
    page = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")

    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == set(Exit)


def test_every_environment_variable_is_on_the_configuration_page() -> None:
    page = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    named = {
        name
        for path in SOURCE.rglob("*.py")
        for name in re.findall(r'"(OVERLAND_[A-Z_]+)"', path.read_text(encoding="utf-8"))
    }

    assert sorted(name for name in named if f"`{name}`" not in page) == []
