"""Files that have no final name yet: each is locked for as long as its writer lives.

So a sweep tells those of a dead writer from the others, on this computer and without a list.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable
from typing import Final

from overland.ports.files import TEMPORARY_PREFIX

__all__ = ["create", "sweep"]

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a fifo of that name must not hold us up.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def create(opened: Callable[[], contextlib.AbstractContextManager[int]]) -> tuple[str, int]:
    """Make a locked temporary file; return its name and the open file.

    Args:
        opened: Opens the folder that it is to lie in.

    Raises:
        OSError: The device failed or is full.
    """
    while True:
        temporary = TEMPORARY_PREFIX + os.urandom(8).hex()
        with opened() as folder:
            fd = os.open(temporary, _NEW, 0o600, dir_fd=folder)
        # Between `open` and `flock` a sweep takes the file for an abandoned one.
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink > 0:
                return temporary, fd
        os.close(fd)


def sweep(folder: int) -> int:
    """Remove the temporary files in an open folder whose writers are gone; return how many.

    It is not synced: after a power cut they may be back, for the next sweep.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(TEMPORARY_PREFIX)]
    return sum(_was_swept(folder, name) for name in names)


def _was_swept(folder: int, name: str) -> bool:
    try:
        fd = os.open(name, _READ, dir_fd=folder)
    except OSError:  # published or removed meanwhile, or nothing of ours
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(fd)
    return True
