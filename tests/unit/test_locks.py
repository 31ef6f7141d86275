"""Locks between processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from overland import locks

_HOLDER = """
import fcntl, sys, time
held = open(sys.argv[1], "w")
fcntl.flock(held, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@contextmanager
def held_by_another(path: Path, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that holds the lock on `path` now."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, path, str(seconds)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def test_a_free_lock_is_taken_from_all_others(opened: int, tmp_path: Path) -> None:
    assert locks.lock(opened)
    at_once = _HOLDER.replace("LOCK_EX", "LOCK_EX | fcntl.LOCK_NB")
    tried = subprocess.run(
        [sys.executable, "-c", at_once, tmp_path / "lock", "0"],
        capture_output=True,
        check=False,
    )
    assert b"BlockingIOError" in tried.stderr


def test_a_lock_that_is_held_for_good_is_given_up(
    opened: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)
    with held_by_another(tmp_path / "lock", 600):
        assert not locks.lock(opened)


def test_the_lock_of_a_process_that_ends_meanwhile_is_taken(opened: int, tmp_path: Path) -> None:
    with held_by_another(tmp_path / "lock", 0.5) as holder:
        assert locks.lock(opened)
        holder.wait()
    assert holder.returncode == 0
