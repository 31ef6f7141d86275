"""House rules that no linter keeps: sizes, names, words, decisions and links."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = ROOT / "src" / "overland"
DECISIONS: Final = ROOT / "docs" / "decisions"

MODULE_LINES: Final = 400
FUNCTION_LINES: Final = 50  # a screen; without the docstring

HOMELESS: Final = {"common", "helper", "helpers", "manager", "managers", "util", "utils"}

# The two edges, where whatever was not foreseen becomes an exit code or a response.
EDGES: Final = {"cli/main.py", "cli/outcome.py", "server/app.py"}

# Joined here, so that this page does not find itself.
UNFINISHED: Final = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")

FENCE: Final = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.DOTALL | re.MULTILINE)
INLINE_CODE: Final = re.compile(r"`[^`\n]*`")
LINK: Final = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
REFERENCE: Final = re.compile(r"^ {0,3}\[[^\]]+\]: +<?(\S+?)>?(?: |$)", re.MULTILINE)
HEADING: Final = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
PACKAGE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

type_of_function = (ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef


# What the rules look at.


@cache
def modules() -> dict[Path, ast.Module]:
    """Every module of the program, parsed."""
    return {path: ast.parse(path.read_bytes(), str(path)) for path in sorted(SOURCE.rglob("*.py"))}


@cache
def texts(*suffixes: str) -> list[Path]:
    """Every file of ours with one of the suffixes."""
    tops = [ROOT / name for name in ("bench", "changes", "docs", "src", "tests")]
    found = [*ROOT.iterdir(), *(path for top in tops for path in top.rglob("*"))]
    return sorted(path for path in found if path.suffix in suffixes and path.is_file())


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def length_lines(function: Function) -> int:
    """Lines of a function, without its docstring."""
    assert function.end_lineno is not None, "parsed from a file, so it ends somewhere"
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        assert first.end_lineno is not None, "see above"
        lines -= first.end_lineno - first.lineno + 1
    return lines


def public_nodes(tree: ast.Module) -> Iterator[ast.ClassDef | Function]:
    """The public classes and functions of a module, and their public methods."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                waiting.extend(node.body)


def needs_docstring(node: ast.ClassDef | Function) -> bool:
    """Whether a name must state its promise; what overrides or overloads has it elsewhere."""
    decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
    return not decorators & {"override", "overload", "setter"}


def catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & {"BaseException", "Exception"})


def ends_in_raise(handler: ast.ExceptHandler) -> bool:
    """Whether a handler only tidies up: its last statement raises what it caught again."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def anchors(markdown: str) -> set[str]:
    """The fragments that a page's headings can be reached by."""
    headings = HEADING.findall(FENCE.sub("", markdown))
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in words}


def runtime_dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in project.get("optional-dependencies", {}).values() for each in extra]
    found = [PACKAGE_NAME.match(each) for each in [*project["dependencies"], *extras]]
    return [match.group().lower() for match in found if match]


# The rules.


def test_modules_read_in_one_sitting() -> None:
    lengths = {path: len(path.read_bytes().splitlines()) for path in modules()}
    long = [f"{place(path, lines)}" for path, lines in lengths.items() if lines > MODULE_LINES]
    assert long == [], f"longer than {MODULE_LINES} lines: split by noun"


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{place(path, node.lineno)} {node.name}: {length_lines(node)} lines"
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, type_of_function) and length_lines(node) > FUNCTION_LINES
    ]
    assert long == [], f"longer than {FUNCTION_LINES} lines: let the parent decide, leaves compute"


def test_every_public_name_states_its_promise() -> None:
    silent = [place(path, 1) for path, tree in modules().items() if not ast.get_docstring(tree)]
    silent += [
        f"{place(path, node.lineno)} {node.name}"
        for path, tree in modules().items()
        for node in public_nodes(tree)
        if needs_docstring(node) and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_folder_or_module_is_a_place_for_odds_and_ends() -> None:
    paths = [*SOURCE.rglob("*"), *(ROOT / "tests").rglob("*")]
    odd = {str(path.relative_to(ROOT)) for path in paths if path.stem.lower() in HOMELESS}
    assert odd == set(), "a function without a home is a sign of a missing noun"


def test_only_the_edges_catch_everything() -> None:
    swallowing = [
        place(path, node.lineno)
        for path, tree in modules().items()
        if path.relative_to(SOURCE).as_posix() not in EDGES
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and catches_everything(node)
        and not ends_in_raise(node)
    ]
    assert swallowing == [], "absent, corrupt and failed stay three answers all the way up"


def test_lock_files_name_no_address_and_hash_everything() -> None:
    locks = sorted(ROOT.glob("requirements*.txt"))
    assert len(locks) == 3
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, f"{lock.name} names where packages come from; run ./dev lock"
        pins, hashes = text.count("=="), text.count("--hash=sha256:")
        assert 0 < pins <= hashes, f"{lock.name} has pins without hashes; run ./dev lock"


def test_nothing_is_left_for_later() -> None:
    files = [*texts(".py", ".md", ".toml", ".yaml"), ROOT / "dev", ROOT / ".ci" / "run"]
    left = [
        place(path, number)
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if UNFINISHED.search(line)
    ]
    assert left == [], "finish it, or write down why not where users look for it"


def test_every_dependency_was_decided_on() -> None:
    pages = [path.read_text() for path in sorted(DECISIONS.glob("[0-9]*.md"))]
    lines = [line.lower() for page in pages for line in page.splitlines()]
    decided = " ".join(line for line in lines if line.startswith("packages:"))
    undecided = [name for name in runtime_dependencies() if f"`{name}`" not in decided]
    assert undecided == [], "a dependency needs a page in docs/decisions that names it"


def test_every_link_inside_the_repository_leads_somewhere() -> None:
    broken = []
    for page in texts(".md"):
        text = page.read_text()
        prose = INLINE_CODE.sub("", FENCE.sub("", text))
        for target in [*LINK.findall(prose), *REFERENCE.findall(prose)]:
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue  # another place than this repository
            path, _, fragment = unquote(target).partition("#")
            found = (page.parent / path).resolve() if path else page
            is_page = found.suffix == ".md" and found.is_file()
            if not found.exists() or (
                fragment and is_page and fragment not in anchors(found.read_text())
            ):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
