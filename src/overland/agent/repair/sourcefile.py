"""A file, image or block device of this computer, read as a recovery point has it: without holes.

Offsets are those in the data that the point's entry lists, laid end to end over its extents.  A
device has the extents too: its runs of zeros were left out when it was stored.
"""

import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Final, final

from overland.format.tree import Entry

__all__ = ["SourceFile", "data_bytes", "open_source"]

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def data_bytes(entry: Entry) -> int:
    """Return how many bytes of data an entry's chunks have together, holes left out."""
    if entry.extents is None:
        return entry.size_bytes
    return sum(length for _, length in entry.extents)


@contextmanager
def open_source(path: bytes, entry: Entry, *, is_named: bool) -> Iterator["SourceFile | None"]:
    """Give what the path leads to now; None if nothing that can be read as the entry's file.

    With `is_named`, a policy names this very path: a link is followed then, and a block device is
    read, as the backup did.  Within a folder neither was in the entry's place.
    """
    try:
        fd = os.open(path, _FLAGS if is_named else _FLAGS | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        state = os.fstat(fd)
        is_readable = stat.S_ISREG(state.st_mode) or (is_named and stat.S_ISBLK(state.st_mode))
        is_unchanged = (entry.size_bytes, entry.mtime_ns) == (state.st_size, state.st_mtime_ns)
        yield SourceFile(fd, entry, is_unchanged=is_unchanged) if is_readable else None
    finally:
        os.close(fd)


@final
class SourceFile:
    """The data of an open file or device, in the extents of a recovery point's entry.

    `is_unchanged` tells that it looks as it did then, by length and time; a device never does.
    """

    def __init__(self, fd: int, entry: Entry, *, is_unchanged: bool) -> None:
        self._fd, self.is_unchanged = fd, is_unchanged
        self._extents = ((0, entry.size_bytes),) if entry.extents is None else entry.extents
        # Half a million extents are allowed: they are not walked for each reading.
        self._before = [0, *accumulate(length for _, length in self._extents)]
        self.data_bytes = self._before[-1]

    def read(self, offset: int, length: int) -> bytes:
        """Return the data from `offset` on; less than `length` at its end, or if it ends earlier.

        Raises:
            OSError: The file or device cannot be read there.
        """
        assert offset >= 0, "chunks lie behind the beginning"
        end = min(offset + length, self.data_bytes)
        found: list[bytes] = []
        while offset < end:
            number = bisect_right(self._before, offset) - 1
            skipped = offset - self._before[number]
            size = min(self._before[number + 1], end) - offset
            found.append(os.pread(self._fd, size, self._extents[number][0] + skipped))
            offset += size
        return b"".join(found)
