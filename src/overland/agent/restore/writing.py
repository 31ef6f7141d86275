"""Bytes into files, and soon on to the device, so that the sync at the end has little to wait for.

The kernel by itself begins to write out after half a minute, or when a tenth of the memory is to
be written: a restore of some gigabytes would first fill memory, and then wait for the device.
"""

import ctypes
import os
from typing import Final

__all__ = ["FileWriter"]

_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE of linux/fs.h: begin to write out, wait for nothing
_START_BYTES: Final = 8 << 20
"""So much of a file is handed to the device at a time; less costs the processor more."""

_PAGE_BYTES: Final = 4096
_WORTH_BYTES: Final = 4 << 20
"""The last of a file is handed over alone only if it is so long.

Smaller files come together at the sync: one by one they seemed to cost the kernel twice as much.
"""


class FileWriter:
    """Writes anywhere in open files.  For one thread.

    Nothing is durable before the file system is synced.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._start = self._end = 0

    def write(self, fd: int, data: memoryview, offset: int) -> None:
        """Write all of `data` at `offset`.

        Raises:
            OSError: The device failed or is full; an unknown part is written.
        """
        done, length = 0, len(data)
        while done < length:
            done += os.pwrite(fd, data[done:] if done else data, offset + done)
        if fd != self._fd or offset != self._end:
            self.hand_over()
            self._fd, self._start = fd, offset
        self._end = offset + length
        if self._end - self._start >= _START_BYTES:
            self._begin(self._end // _PAGE_BYTES * _PAGE_BYTES)  # the rest is not written twice

    def hand_over(self) -> None:
        """Have the device begin with what was written last; before its file is closed."""
        if self._end - self._start >= _WORTH_BYTES:
            self._begin(self._end)
        self._start = self._end

    def _begin(self, end: int) -> None:
        if _sync_file_range is not None:
            # Only a beginning: what it cannot do, the sync at the end does, or says why not.
            _sync_file_range(self._fd, self._start, end - self._start, _WRITE)
        self._start = end


_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
