"""What a run adds to an index, in files without a name; and how much of mapped files is resident.

Rows are written with calls and read as mapped memory, so that a full disk is an error and not the
end of the process, and what was written is not resident before it is read.  The kernel writes the
pages out and drops them when memory is short, and the files vanish with the process: a kill leaves
nothing behind.  They are as fast, and take as much memory, as the file system of their folder: on
tmpfs all of it stays memory.
"""

import errno
import mmap
import os
import resource
import sys
import weakref
from pathlib import Path
from typing import Final, final

from overland.errors import OutOfSpace

__all__ = [
    "LARGE_BYTES",
    "RESIDENT_BYTES",
    "Mapping",
    "ScratchFile",
    "blocks_read",
    "is_too_much_resident",
]

RESIDENT_BYTES: Final = 192 << 20
"""How much of all mapped files, libraries among them, may be resident before pages are let go."""

LARGE_BYTES: Final = 2 << 30
"""Of a larger file nothing is read ahead but what is asked for."""

_STATM: Final = "/proc/self/statm"
_SHARED: Final = 2  # which of its numbers, in pages: what is resident of files and shared memory
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@final
class Mapping:
    """The bytes of a file, as memory that is only read."""

    def __init__(self, descriptor: int, *, size_bytes: int) -> None:
        """Map so many bytes from the start, 0 for all; the descriptor may be closed afterwards."""
        # Shared with the file: pages that are let go are found there again.
        self._mapped = mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ)
        self.data = memoryview(self._mapped)
        self.is_read_singly = len(self._mapped) > LARGE_BYTES and hasattr(mmap, "MADV_RANDOM")
        if self.is_read_singly:
            # Else each page that is asked for brings those around it, as far as the device is set
            # to read ahead, which may be MiB.  Of smaller files most is asked for sooner or later.
            self._mapped.madvise(mmap.MADV_RANDOM)

    def will_need(self, start: int, end: int) -> None:
        """Have the system begin to read these bytes, if they are not in memory; returns at once.

        Whoever needs several parts says so of all before it reads the first: they come together.
        """
        if hasattr(mmap, "MADV_WILLNEED"):
            start -= start % mmap.PAGESIZE
            self._mapped.madvise(mmap.MADV_WILLNEED, start, end - start)

    def let_go(self) -> None:
        """Give the pages back; they come again, from the page cache as a rule, when they are read.

        What was read from the mapping stays valid, and so do arrays over it.
        """
        if hasattr(mmap, "MADV_DONTNEED"):  # not everywhere
            self._mapped.madvise(mmap.MADV_DONTNEED)


@final
class ScratchFile:
    """A file without a name that only grows."""

    def __init__(self, folder: Path) -> None:
        """Make the file in `folder`.

        Raises:
            OSError: The folder takes no files.
        """
        import tempfile  # noqa: PLC0415 - for indexes that outgrow memory only

        self._folder = folder
        self.size_bytes = 0
        with tempfile.TemporaryFile(dir=folder) as file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def append(self, data: memoryview) -> None:
        """Write bytes at the end; what was there before stays as it is, also in mappings.

        Raises:
            OutOfSpace: The disk is full; the file is as before.
            OSError: The device failed; the file is as before.
        """
        at = self.size_bytes
        while data:
            try:
                written = os.pwrite(self._descriptor, data, at)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                free = os.fstatvfs(self._descriptor)
                raise OutOfSpace(
                    str(self._folder),
                    needed_bytes=len(data),
                    free_bytes=free.f_bavail * free.f_frsize,
                ) from error
            at, data = at + written, data[written:]
        self.size_bytes = at

    def mapped(self, room_bytes: int) -> Mapping:
        """Return the file as memory: what is in it, and what is appended until it has that size.

        Raises:
            OSError: The file cannot be that long.
        """
        assert room_bytes >= self.size_bytes, "there is room for what is there"
        os.ftruncate(self._descriptor, room_bytes)  # longer, without taking room on the disk
        return Mapping(self._descriptor, size_bytes=room_bytes)


def blocks_read() -> int:
    """Return how many blocks this thread has had read from disks; 0 where nobody tells."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_inblock if sys.platform == "linux" else 0


def is_too_much_resident() -> bool:
    """Return whether more than `RESIDENT_BYTES` of mapped files is resident in this process.

    False where the system does not tell, which only Linux does.
    """
    try:
        descriptor = os.open(_STATM, os.O_RDONLY)
    except OSError:
        return False
    try:
        pages = int(os.read(descriptor, 256).split()[_SHARED])
    finally:
        os.close(descriptor)
    return pages * mmap.PAGESIZE > RESIDENT_BYTES
