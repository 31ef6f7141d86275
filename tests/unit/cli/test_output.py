"""What commands do where nobody takes what they say: no traceback, an honest exit code."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import structlog
from click.testing import CliRunner
from rich.console import Console
from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.torture import fast_folder

from overland.adapters.progress import RichProgress
from overland.cli import backup as commands
from overland.cli.main import overland
from overland.cli.outcome import Exit, OutputLost
from overland.events import Log

LOST = "standard output takes no more (No space left on device)"


class Place:
    """A staging location with one point, and the words that name it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.backed = folder, BackedUp(folder)
        self.backed.source.mkdir()
        for number in range(1500):
            (self.backed.source / f"a file with a long name, {number:04}").write_bytes(b"x")
        self.backed.back_up()
        secret = folder / "passphrase"
        secret.write_text(PASSPHRASE)
        secret.chmod(0o600)
        self.words = ("--from", str(self.backed.folder()), "--passphrase-file", str(secret))
        self.environment = {**os.environ, "OVERLAND_HOME": str(folder / "home")}
        self.environment.pop("PYTHONUNBUFFERED", None)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with fast_folder() as folder:
        yield Place(folder)


def program(*words: object) -> list[str]:
    return [sys.executable, "-m", "overland", *map(str, words)]


COMMANDS: Mapping[str, Sequence[str]] = {
    "text": ("points", "list"),
    "document": ("points", "list", "--json"),
    "rows": ("points", "ls", "newest"),
    "rows as a document": ("points", "ls", "newest", "--json"),
}


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("which", COMMANDS)
def test_a_full_disk_under_the_output_is_an_error_in_one_line(
    place: Place, which: str, unbuffered: str
) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            program(*COMMANDS[which], *place.words),
            env={**place.environment, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == Exit.ERROR
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {LOST}")
    assert line.endswith("[output-lost]")


@pytest.mark.parametrize("which", COMMANDS)
def test_a_reader_that_wants_no_more_ends_a_command_without_a_word(
    place: Place, which: str
) -> None:
    """As `overland points ls newest | head -1` does."""
    out, into = os.pipe()
    os.close(out)
    try:
        done = subprocess.run(
            program(*COMMANDS[which], *place.words),
            env=place.environment,
            stdout=into,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(into)
    assert (done.returncode, done.stderr) == (Exit.ERROR, b"")


@pytest.mark.parametrize("which", COMMANDS)
def test_a_closed_standard_output_is_what_somebody_asked_for(place: Place, which: str) -> None:
    line = [*program(*COMMANDS[which], *place.words)]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *line],
        env=place.environment,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (Exit.OK, b"")


@pytest.mark.parametrize("full", [("stdout",), ("stderr",), ("stdout", "stderr")], ids="+".join)
def test_an_error_keeps_its_exit_code_wherever_it_cannot_be_told(
    place: Place, full: tuple[str, ...]
) -> None:
    with open("/dev/full", "wb") as device:  # noqa: PTH123 - a device
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        done = subprocess.run(
            program("points", "list", "--from", "/nowhere", "--json"),
            env=place.environment,
            check=False,
            **(streams | dict.fromkeys(full, device)),
        )
    assert done.returncode == Exit.REFUSED
    if "stdout" not in full:
        assert json.loads(done.stdout)["error"]["code"] == "not-a-folder"
    if "stderr" not in full:
        assert done.stderr.endswith(b"[not-a-folder]\n")
        assert done.stderr.startswith(b"error: ")


def test_a_recovery_kit_that_nobody_saw_is_an_error(tmp_path: Path) -> None:
    """It is shown once; the message says how to make another."""
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery\n")
    secret.chmod(0o600)
    keys, terminal = pty.openpty()
    try:
        with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
            words = ("agent", "init", "--name", "files", "--passphrase-file", secret, "--json")
            done = subprocess.run(
                program(*words),
                env={**os.environ, "OVERLAND_HOME": str(tmp_path / "home")},
                stdin=terminal,
                stdout=subprocess.PIPE,
                stderr=full,
                check=False,
            )
    finally:
        os.close(keys)
        os.close(terminal)
    assert done.returncode == Exit.ERROR
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "output-lost"
    assert "overland keys recovery-kit" in error["message"]


def test_a_terminal_that_goes_away_in_the_middle_ends_the_drawing_and_not_the_work(
    place: Place,
) -> None:
    """Of a program that outlives its session, as under `nohup` or a lost connection."""
    target = place.folder / "target"
    screen, terminal = pty.openpty()
    line = program("restore", "newest", "--target", target, *place.words, "--verify")
    running = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *line],
        env={**place.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    seen = os.read(screen, 1)
    os.close(screen)
    said, _ = running.communicate(timeout=600)
    assert seen, "it had begun to draw"
    assert running.returncode == Exit.OK
    assert said
    restored = target / str(place.backed.source).lstrip("/")
    assert len(list(restored.iterdir())) == 1500


class Vanishing:
    """A terminal that takes so many writes."""

    def __init__(self, writes: int) -> None:
        self.writes = writes

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise OSError(5, "input/output error")
        return len(text)

    def flush(self) -> None:
        if self.writes < 0:
            raise OSError(5, "input/output error")

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("writes", range(8))
def test_a_display_whose_terminal_takes_so_many_writes_never_fails(writes: int) -> None:
    before = sys.stdout, sys.stderr
    file: Any = Vanishing(writes)
    console = Console(file=file, force_terminal=True, width=120)
    progress = RichProgress(console)
    for phase in ("copying", "reading back"):
        progress.start(phase, 4 << 20, 4)
        line = progress.line()
        line.start("beside", None, None)
        for _ in range(3):
            progress.advance(1 << 20, 1)
            line.advance(count=1)
        line.finish()
        progress.finish()
    assert (sys.stdout, sys.stderr) == before, "what it took for the drawing it gave back"


def test_the_schedule_goes_on_where_nobody_can_be_told_how_a_run_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A log on a full disk must not end the backups of all policies."""
    ran: list[str] = []

    class Machine:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing is open."""

        def runner(self) -> "Machine":
            return self

        def run(self, name: str, *, trigger: str) -> None:
            ran.append(f"{name} by {trigger}")

    def full(*_: object, **__: object) -> None:
        raise OutputLost(OSError(28, "No space left on device"))

    monkeypatch.setattr(commands, "open_agent", lambda **_: Machine())
    monkeypatch.setattr(commands, "outcome_text", lambda *_: "done")
    monkeypatch.setattr(commands, "note_failed", lambda _: 0)
    monkeypatch.setattr(commands, "show", full)
    words = ["backup", "run-schedule", "--once", "--due", "a", "--due", "b"]
    done = CliRunner().invoke(overland, words)
    assert ran == ["a by schedule", "b by schedule"]
    assert done.exit_code == Exit.ERROR
    assert done.stderr.count("[output-lost]") == 2


def test_an_event_that_cannot_be_written_is_lost_and_no_work_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full:
        def log(self, *_: object, **__: object) -> None:
            tried.append("")
            raise OSError(28, "No space left on device")

    tried: list[str] = []
    monkeypatch.setattr(structlog, "get_logger", Full)
    Log().error("pack.left_aside", pack="x")
    assert tried
