"""The bytes of files: where they have data, read whole or in pieces, and whether they stood still.

A file counts as unchanged if size, times and inode are the same before and after the reading.  A
program that writes through a shared mapping may show later; there is no way to see that.
"""

import errno
import os
import stat
from typing import Final

import msgspec

from overland.source.entries import Xattrs, read_xattrs
from overland.source.scan import NotAFile, Stat

__all__ = [
    "ATTEMPTS",
    "Extents",
    "WholeFile",
    "cut_short",
    "data_extents",
    "is_same",
    "open_file",
    "read_whole",
    "total_bytes",
]

ATTEMPTS: Final = 3
"""How often a file that changes while it is read is read, before it is kept as `changed`."""

Extents = tuple[tuple[int, int], ...]

# Without O_NONBLOCK a pipe that took the file's name would block us for ever.
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_BLOCK: Final = 512  # the unit of st_blocks, whatever the file system's own blocks are


class WholeFile(msgspec.Struct, frozen=True, gc=False):
    """A small file, read; `length` bytes of its data are at the start of the buffer.

    Where it stood still, `state` is the very object that was `expected`.
    """

    state: Stat
    size_bytes: int  # with holes, as far as it was read
    length: int  # of the data
    extents: Extents | None  # None: no holes
    xattrs: Xattrs
    changed: bool


def open_file(name: bytes, *, parent_fd: int) -> int:
    """Return a descriptor for reading, without touching the file's access time if we may.

    Raises:
        OSError: It is gone, or may not be read, or is a link now.
    """
    try:
        return os.open(name, _FLAGS | os.O_NOATIME, dir_fd=parent_fd)
    except PermissionError:
        # Only the owner may leave the access time alone.
        return os.open(name, _FLAGS, dir_fd=parent_fd)


def is_same(before: Stat, after: Stat) -> bool:
    """Return whether nothing was done to the file between the two looks."""
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
        and before.st_ino == after.st_ino
    )


def read_whole(
    name: bytes, *, parent_fd: int, expected: Stat, buffer: memoryview
) -> WholeFile | None:
    """Read a file into the start of `buffer`; return None if it does not fit (any more).

    Args:
        name: Of the file.
        parent_fd: Its open folder.
        expected: Its state at the scan, which stands for the look before the first reading.
        buffer: For the data.

    Raises:
        OSError: It cannot be opened or read.
    """
    fd = open_file(name, parent_fd=parent_fd)
    try:
        whole = _read_once(fd, expected, buffer)
        for _ in range(ATTEMPTS - 1):
            if whole is None or not whole.changed:
                break
            whole = _read_once(fd, whole.state, buffer)
        return whole
    finally:
        os.close(fd)


def data_extents(fd: int, state: Stat) -> Extents | None:
    """Return offset and length of the file's data between holes; None if it has no holes."""
    size = state.st_size
    if state.st_blocks * _BLOCK >= size:
        return None
    found: list[tuple[int, int]] = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
            if start >= size:
                break
            position = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            if error.errno == errno.EINVAL:  # the file system does not know about holes
                return None
            raise
        found.append((start, position - start))
    if found == [(0, size)]:
        return None
    return tuple(found)


def _read_once(fd: int, before: Stat, buffer: memoryview) -> WholeFile | None:
    """Read the file as it was at `before`; it has `changed` if it is not the same afterwards."""
    if before.st_size > len(buffer):
        return None
    size_bytes, extents = before.st_size, None
    if before.st_blocks * _BLOCK < size_bytes:
        extents = data_extents(fd, before)
    length = 0
    if size_bytes:
        length = os.preadv(fd, [buffer[:size_bytes]], 0) if extents is None else 0
        if length != size_bytes:
            length = _fill(fd, extents, size_bytes, buffer)
    xattrs = read_xattrs(fd)
    after = os.fstat(fd)
    if (
        length == size_bytes
        and extents is None
        and after.st_mode == before.st_mode
        and after.st_dev == before.st_dev
        and is_same(before, after)
    ):
        # What else the state holds shows in the ctime.
        return WholeFile(before, size_bytes, length, None, xattrs, changed=False)
    if not stat.S_ISREG(after.st_mode):
        raise NotAFile
    is_whole = length == (size_bytes if extents is None else total_bytes(extents))
    if not is_whole:
        extents, size_bytes = cut_short(extents, length)
    changed = not is_whole or not is_same(before, after)
    return WholeFile(after, size_bytes, length, extents, xattrs, changed=changed)


def _fill(fd: int, extents: Extents | None, size_bytes: int, buffer: memoryview) -> int:
    filled = 0
    for offset, length in extents if extents is not None else ((0, size_bytes),):
        end = filled + length
        while filled < end:
            got = os.preadv(fd, [buffer[filled:end]], offset)
            if got == 0:
                return filled
            filled += got
            offset += got  # noqa: PLW2901 - where the next read of this extent begins
    return filled


def total_bytes(extents: Extents) -> int:
    """Return how much data lies in the extents."""
    return sum(length for _, length in extents)


def cut_short(extents: Extents | None, length: int) -> tuple[Extents | None, int]:
    """Return extents and size of a file of which only `length` bytes of data could be read."""
    if extents is None:
        return None, length
    kept: list[tuple[int, int]] = []
    for offset, size in extents:
        if length <= 0:
            break
        kept.append((offset, min(size, length)))
        length -= size
    return tuple(kept), sum(kept[-1]) if kept else 0
