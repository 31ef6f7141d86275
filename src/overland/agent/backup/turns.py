"""Turns at the calls of the system that each small file takes."""

import contextlib
import resource
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final, final

__all__ = ["Turns"]

_SIDE_BY_SIDE: Final = 64
"""So often nobody waits for a turn after somebody had to wait for the source in theirs."""

_MANY_BLOCKS: Final = 256
"""Of 512 bytes, read in one turn: a few reads from a disk take less time than a turn itself."""

_SLOW_S: Final = 0.0003
"""For one file: ten times what the calls take from memory, and less than a network's."""

_FEWEST: Final = 64
"""Files that a turn counts for at least; fewer are through before a pause says anything."""


@final
class Turns:
    """Lets one thread at a time make many short calls of the system.

    Each call gives Python's lock away and takes it back.  Two threads that both do nothing else
    wake and await each other at every call, which costs more than the calls do.  One after the
    other they do not, and what takes long without the lock, such as to compress, goes on beside
    them.

    Where calls wait for a disk or a network, it is the waiting that should be done side by side:
    for a while nobody takes turns after one that had much read from a disk, or took very long.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left_out = 0

    @contextlib.contextmanager
    def one(self, files: int) -> Iterator[None]:
        """Have a turn inside for so many files, or none where the source is slow."""
        if self._left_out > 0:
            self._left_out -= 1  # two threads may count one: so many need not be exact
            yield
            return
        with self._lock:
            blocks, began_s = _blocks_read(), _now_s()
            yield
            is_slow = _now_s() - began_s > _SLOW_S * max(files, _FEWEST)
            if is_slow or _blocks_read() - blocks >= _MANY_BLOCKS:
                self._left_out = _SIDE_BY_SIDE


def _now_s() -> float:
    return time.monotonic()


def _blocks_read() -> int:
    """Return how much this thread has had read from disks; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_inblock
