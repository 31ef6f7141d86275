"""Locks between processes, on open files."""

import fcntl
import time
from typing import Final

__all__ = ["PATIENCE_S", "lock"]

PATIENCE_S: Final = 10.0
_PAUSE_S: Final = 0.05


def lock(fd: int) -> bool:
    """Lock an open file for this process alone; return whether it was free in `PATIENCE_S`.

    A lock is gone with the last process that has it, so none outlives a crash.  But a killed
    process lives on until the system has ended the write or sync that it was in, which takes
    seconds on a busy disk: whoever starts the next command at once would be refused for the sake
    of a dead one.  So a lock that is held is waited for.

    Raises:
        OSError: The file system has no locks, or the file is none that can be locked.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE_S)
        else:
            return True
