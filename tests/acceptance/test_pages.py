"""The pages that show commands are run as they stand: README.md and docs/acceptance.

A page's `sh` blocks run in order in one shell, in an empty home folder, from the checkout.  A line
`# prints: TEXT` promises that what the block printed before it contains TEXT.
"""

import contextlib
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs" / "acceptance").glob("[0-9]*.md"))]
LIMIT_S: Final = 900  # against waiting for ever; a page takes 20 s, on a busy machine 150
JOURNEY: Final = "## The same journey by hand"  # of README.md, the section that is run

BLOCK: Final = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROMISE: Final = re.compile(r"^ *# prints: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ran:
    """One block: what it printed, and whether it came to its end."""

    block: str
    output: str
    is_finished: bool


def blocks(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    if page.name == "README.md":
        text = text.partition(JOURNEY)[2].partition("\n## ")[0]
    return BLOCK.findall(text)


def script(parts: list[str], outputs: Path) -> str:
    """One script of all blocks; each prints into its own file, and leaves a mark at its end."""
    lines = ["set -euo pipefail"]
    for number, part in enumerate(parts):
        output = outputs / f"{number}.output"
        lines += [f"exec > '{output}' 2>&1", part, f"touch '{outputs / f'{number}.finished'}'"]
    return "\n".join(lines)


def environment(home: Path) -> dict[str, str]:
    """What a new user's shell has, with the program first on its path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OVERLAND")}
    kept.pop("XDG_DATA_HOME", None)
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8"}


def run(page: Path, folder: Path) -> tuple[int | None, list[Ran]]:
    """Run a page; return the exit code, or None when time was up, and the blocks that began."""
    home, outputs = folder / "home", folder / "outputs"
    home.mkdir()
    outputs.mkdir()
    parts = blocks(page)
    shell = subprocess.Popen(
        ["bash", "-c", script(parts, outputs)],
        cwd=ROOT,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        status = shell.wait(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        with contextlib.suppress(ProcessLookupError):  # the page has tidied up itself
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    return status, [
        Ran(
            part,
            (outputs / f"{number}.output").read_text(encoding="utf-8", errors="replace"),
            (outputs / f"{number}.finished").exists(),
        )
        for number, part in enumerate(parts)
        if (outputs / f"{number}.output").exists()
    ]


def told(page: Path, ran: Ran, problem: str) -> str:
    return f"{page.relative_to(ROOT)}: {problem}\n\n{ran.block}\nprinted:\n{ran.output}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_the_page_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    assert blocks(page), f"{page} has nothing to run"

    status, done = run(page, tmp_path)

    for ran in done:
        ending = "took too long" if status is None else f"ended with exit code {status}"
        assert ran.is_finished, told(page, ran, ending)
        for promise in PROMISE.findall(ran.block):
            assert promise in ran.output, told(page, ran, f"did not print {promise!r}")
    assert status == 0
    assert len(done) == len(blocks(page))
