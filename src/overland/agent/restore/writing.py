"""Bytes into files: long stretches past the page cache, the others the usual way.

What goes through the page cache is copied into pages that the system has to find first, and is
written out later, which costs the processor about as much as decoding did; a restore of some
gigabytes would also push out of memory what the computer's other programs have there.
"""

import errno
import os
from typing import Final

from overland.buffers import new_buffer, set_direct

__all__ = ["FileWriter"]

_BUFFER_BYTES: Final = 4 << 20
_BLOCK_BYTES: Final = 4096  # O_DIRECT asks for the device's block size, which is this or less
_WORTH_BYTES: Final = 256 << 10
"""A shorter stretch costs less through memory, where it waits for its neighbours."""


class FileWriter:
    """Writes anywhere in open files.  For one thread, and descriptors that no other writes to.

    Nothing is durable before the file system is synced.
    """

    def __init__(self) -> None:
        self._buffer: memoryview | None = None
        self._may_be_direct = True

    def write(self, fd: int, data: memoryview, offset: int) -> None:
        """Write all of `data` at `offset`.

        Raises:
            OSError: The device failed or is full; an unknown part is written.
        """
        head = -offset % _BLOCK_BYTES
        end = head + (len(data) - head) // _BLOCK_BYTES * _BLOCK_BYTES
        done = 0
        if self._may_be_direct and end - head >= _WORTH_BYTES:
            _write_cached(fd, data[:head], offset)
            done = head + self._write_direct(fd, data[head:end], offset + head)
        _write_cached(fd, data[done:], offset + done)

    def _write_direct(self, fd: int, data: memoryview, offset: int) -> int:
        """Write whole blocks past the page cache; return how many bytes could be."""
        if not set_direct(fd, on=True):
            self._may_be_direct = False
            return 0
        if self._buffer is None:
            self._buffer = memoryview(new_buffer(_BUFFER_BYTES))
        done = 0
        try:
            while done < len(data) and done % _BLOCK_BYTES == 0:
                block = self._buffer[: min(len(data) - done, _BUFFER_BYTES)]
                block[:] = data[done : done + len(block)]
                done += os.pwrite(fd, block, offset + done)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._may_be_direct = False  # accepted at first, refused at the first write
        finally:
            set_direct(fd, on=False)
        return done


def _write_cached(fd: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:] if done else data, offset + done)
