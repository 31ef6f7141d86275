"""What random stories seldom meet of the processes that restore."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from overland.agent.processes import Team, WorkerLost

pytestmark = pytest.mark.crash

PATIENCE_S = 40.0


@pytest.fixture
def deaf() -> Iterator[list[int]]:
    """This process hears SIGTERM and SIGHUP, and lives on, as one that cleans up would."""
    heard: list[int] = []
    kept = {
        number: signal.signal(number, lambda number, _: heard.append(number))
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    yield heard
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_process_that_is_told_to_end_ends_whatever_its_parent_does_then(
    number: signal.Signals, deaf: list[int]
) -> None:
    """Else who stops the service waits for it, and kills all of it in the end."""

    def work(_: int) -> None:
        os.kill(os.getpid(), number)
        time.sleep(1)

    team = Team(1, processes=1, work=work, take=lambda _: None)
    team.start()
    with pytest.raises(WorkerLost, match=f"signal {int(number)}"):
        team.wait()
    assert deaf == []


def test_an_error_in_one_process_has_ended_all_when_it_comes_out() -> None:
    def work(number: int) -> None:
        if number == 1:
            time.sleep(600)
        time.sleep(0.2)  # for the other to take its job
        raise ValueError("of ours")

    team = Team(2, processes=2, work=work, take=lambda _: None)
    team.start()
    with pytest.raises(ValueError, match="of ours"):
        team.wait()
    assert not team.is_working


def test_a_process_ends_when_its_parent_is_gone_though_another_one_hangs(tmp_path: Path) -> None:
    """One that waits for a dead disk must not hold the others' only sign that nobody listens."""
    parent = os.fork()
    if parent == 0:
        try:
            _restore_until_killed(tmp_path)
        finally:
            os._exit(1)
    try:
        _until(lambda: (tmp_path / "hangs").exists() and (tmp_path / "works").exists())
        works = int((tmp_path / "works").read_text())
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        _until(lambda: not _is_alive(works))
    finally:
        for name in ("hangs", "works"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int((tmp_path / name).read_text()), signal.SIGKILL)


def _restore_until_killed(folder: Path) -> None:
    """Be the parent of two processes; the second one stops for ever."""

    def work(_: int) -> bytes:
        is_second = bool(team._pipes)  # known to it are those before it
        name = folder / ("hangs" if is_second else "works")
        if not name.exists():
            new = folder / f"new-{os.getpid()}"
            new.write_text(str(os.getpid()))
            new.rename(name)
        if is_second:
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.01)
        return bytes(1000)

    team = Team(1 << 20, processes=2, work=work, take=lambda _: None)
    team.start()
    team.wait()


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
