"""Runs one command of a backup tool, and tells what it cost: wall, CPU, peak memory.

CPU time is the command's and that of all its children.  Peak memory is the larger of two: what
the system noted of the largest single process, and the sum over the command and its children,
looked at several times a second (proportional set size, so that shared pages count once).
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

__all__ = ["Command", "Cost", "ToolFailed", "folder_bytes", "forget", "recall", "run"]

_LOOK_S: Final = 0.2
_ENVIRONMENT: Final = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}
"""Installed programs find themselves compiled; a developer's shell may forbid it."""

_READ_BYTES: Final = 1 << 20
_SHOWN_BYTES: Final = 3000  # of what a failed command said


class ToolFailed(Exception):
    """A command of a backup tool failed; the message holds the end of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, where it runs, and what it finds in its environment."""

    arguments: Sequence[str | Path]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run of a command took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def run(command: Command, *, log: Path, until_on_disk: bool = False) -> Cost:
    """Run a command to its end; its output goes to `log`.

    With `until_on_disk` the wall time ends when everything that it wrote is on the disk, which
    some programs wait for themselves and others leave to the system.

    Raises:
        ToolFailed: It ended with another status than 0.
    """
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [os.fspath(argument) for argument in command.arguments],
            cwd=command.folder,
            env={**_ENVIRONMENT, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        with _MemoryWatch(process.pid) as watch:
            _, status, used = os.wait4(process.pid, 0)
        if until_on_disk:
            os.sync()
        wall_s = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
    if process.returncode != 0:
        said = log.read_bytes()[-_SHOWN_BYTES:].decode(errors="replace")
        raise ToolFailed(f"{command.arguments} ended with {process.returncode}:\n{said}")
    peak_mib = max(used.ru_maxrss / 1024, watch.peak_kib / 1024)
    return Cost(wall_s=wall_s, cpu_s=used.ru_utime + used.ru_stime, peak_mib=peak_mib)


def folder_bytes(*folders: Path) -> int:
    """Return the lengths of all files below the folders."""
    found = (path for folder in folders for path in folder.rglob("*"))
    return sum(path.stat().st_size for path in found if path.is_file())


def forget(*places: Path) -> None:
    """Let the page cache go of files and of all below folders; what is not on the disk stays."""
    for path in (each for place in places for each in (place, *place.rglob("*"))):
        if path.is_file() and not path.is_symlink():
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def recall(place: Path) -> None:
    """Have the page cache hold all files below a folder, as far as there is memory."""
    buffer = bytearray(_READ_BYTES)
    for path in place.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


class _MemoryWatch:
    """Looks at the memory of a process and its children until it is left."""

    def __init__(self, pid: int) -> None:
        self.peak_kib = 0
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self.peak_kib = max(self.peak_kib, sum(map(_pss_kib, _family(self._pid))))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = children.read_text().split()
        except OSError:  # it has just ended
            continue
        for child in below:
            yield from _family(int(child))


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
