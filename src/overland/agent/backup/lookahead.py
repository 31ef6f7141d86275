"""Folders that a process of its own looks at, from the end of the walk's way.

Where little has changed, most of a run's time goes into asking for the state of each entry, and
threads of Python make such calls one after the other.  So a process that is forked at the start
goes the way of the walk too, from its other end: it lists the folders that the change cache knows,
compares what it sees with what the last run saw, and reports them.  Where the two meet, the process
has done its part: from there on the walk takes reports where it would look itself, and opens only
folders in which something has to be read.  Neither ever waits for the other.

What is reported was seen in this run, after its start, and so is as good as the walk's own look.
Where there is no report, or only an old one, or the folder has become another one, the walk looks
itself: without the process, or after its end, a run takes longer and comes to the same.
"""

import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, final

import msgspec

from overland.agent.backup.scout import HEAD, report
from overland.agent.backup.sights import Sight
from overland.agent.processes import Forked, can_fork, fork, processors
from overland.source.changes import ChangeCache

__all__ = ["LookAhead", "is_possible"]

_MOST_BYTES: Final = 32 << 20
"""Of reports in memory, some hundred thousand; while there are more, the process waits."""

_FRESH_S: Final = 300.0
"""What was seen longer ago is looked at again, so that few files are missed that went meanwhile."""

_READ_BYTES: Final = 1 << 16
_ASKED_EVERY: Final = 16  # folders; a call for each of them would cost more than it brings


def is_possible() -> bool:
    """Return whether there is a processor for it, and no other thread that a fork would lose."""
    return processors() > 1 and can_fork()


@final
class LookAhead:
    """What the process has reported; for one thread."""

    def __init__(self) -> None:
        """Prepare; nothing starts yet, and there are no reports."""
        self._process: Forked | None = None
        self._asked = self._size = 0
        self._rest = b""
        self._reports: dict[bytes, tuple[float, bytes]] = {}

    def start(self, roots: Sequence[tuple[bytes, bytes]], cache: ChangeCache) -> None:
        """Start the process; if the system allows none, there are no reports.

        Args:
            roots: Of each source folder its path, and the path to open it by, in the walk's order.
            cache: What the last run saw.
        """
        fork(partial(report, roots, cache), note=self._note)

    def take(self, key: bytes) -> Sight | None:
        """Return what was reported of the folder with this key in the cache, once; else None."""
        self._asked += 1
        if self._asked % _ASKED_EVERY == 0:
            self._receive()
        seen_s, data = self._reports.pop(key, (0.0, b""))
        if not data:
            return None
        self._size -= len(data)
        try:
            sight = _decoder.decode(data)
        except msgspec.DecodeError:
            return None
        if not sight.has_folders:
            # The process has been here, and so everywhere behind.
            self._receive()
            self.close()
        return sight if _now_s() - seen_s <= _FRESH_S else None

    def close(self) -> None:
        """End the process, wherever it is; what it has reported stays."""
        if self._process is not None:
            process, self._process = self._process, None
            os.close(process.fd)
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)

    def _note(self, process: Forked) -> None:
        self._process = process
        os.set_blocking(process.fd, False)

    def _receive(self) -> None:
        """Take the reports that are there."""
        while self._process is not None and self._size < _MOST_BYTES:
            try:
                data = os.read(self._process.fd, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.close()
                return
            self._keep(self._rest + data, _now_s())

    def _keep(self, data: bytes, now_s: float) -> None:
        at = 0
        while len(data) - at >= HEAD.size:
            length, key = HEAD.unpack_from(data, at)
            end = at + HEAD.size + length
            if len(data) < end:
                break
            self._reports[key] = (now_s, data[at + HEAD.size : end])
            self._size += length
            at = end
        self._rest = data[at:]


def _now_s() -> float:
    return time.monotonic()


_decoder: Final = msgspec.msgpack.Decoder(Sight)
