"""Bytes into files: long stretches past the page cache, the others the usual way.

What goes through the page cache is copied into pages that the system has to find first, and is
written out later, which costs the processor about as much as decoding did; a restore of some
gigabytes would also push out of memory what the computer's other programs have there.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Sequence
from typing import Final

from overland.buffers import new_buffer, set_direct

__all__ = ["Edges", "FileWriter", "cut", "reserve"]

_BUFFER_BYTES: Final = 4 << 20
_BLOCK_BYTES: Final = 4096  # O_DIRECT asks for the device's block size, which is this or less
_WORTH_BYTES: Final = 256 << 10
"""A shorter stretch costs less through memory, where it waits for its neighbours."""

_SHARED_WORTH_BYTES: Final = 64 << 10
"""The same for a file that threads write together: through memory, each waits for all others."""

_KEPT_BLOCKS: Final = 1 << 12
"""Of one file, 16 MiB at most: borders of stretches whose neighbours come late."""


class Edges:
    """Parts of blocks of one file, each kept until a neighbour brings the rest; for any thread.

    Only whole blocks go past the page cache, and every write through it waits until nobody else
    writes to the file.
    """

    def __init__(self) -> None:
        self._parts: dict[int, list[tuple[int, bytes]]] = {}
        self._lock = threading.Lock()

    def join(self, offset: int, data: bytes) -> bytes:
        """Keep what belongs to a block; return the whole of it when this was all that lacked."""
        block = offset // _BLOCK_BYTES
        with self._lock:
            parts = self._parts.setdefault(block, [])
            parts.append((offset, data))
            if sum(len(part) for _, part in parts) < _BLOCK_BYTES:
                return b""
            del self._parts[block]
        return b"".join(part for _, part in sorted(parts))

    def take(self, *, beyond: int = 0) -> list[tuple[int, bytes]]:
        """Return offset and bytes of all parts if there are more blocks than that; forget them."""
        with self._lock:
            if len(self._parts) <= beyond:
                return []
            found = [part for parts in self._parts.values() for part in parts]
            self._parts.clear()
        return found


class FileWriter:
    """Writes anywhere in open files.  For one thread, and descriptors that no other writes to.

    Nothing is durable before the file system is synced.
    """

    def __init__(self) -> None:
        self._buffer: memoryview | None = None
        self._may_be_direct = True

    def write(
        self, fd: int, pieces: Sequence[memoryview], offset: int, edges: Edges | None = None
    ) -> None:
        """Write the pieces, one after the other, at `offset`.

        With `edges`, which are the file's, both ends may be kept there until the blocks that they
        are in are whole, or `finish` is called.

        Raises:
            OSError: The device failed or is full; an unknown part is written.
        """
        length = sum(map(len, pieces))
        head = -offset % _BLOCK_BYTES
        end = head + (length - head) // _BLOCK_BYTES * _BLOCK_BYTES
        worth = _WORTH_BYTES if edges is None else _SHARED_WORTH_BYTES
        if not self._may_be_direct or end - head < worth:
            _write_cached(fd, pieces, offset)
            return
        middle = cut(pieces, head, end)
        before = self._edge(fd, cut(pieces, 0, head), offset, edges)
        after = self._edge(fd, cut(pieces, end, length), offset + end, edges)
        whole = [memoryview(before), *middle, memoryview(after)]
        at = offset + head - len(before)
        done = self._write_direct(fd, whole, at)
        _write_cached(fd, cut(whole, done, length + 2 * _BLOCK_BYTES), at + done)

    def finish(self, fd: int, edges: Edges) -> None:
        """Write what is kept of a file whose other parts are written.

        Raises:
            OSError: As `write`.
        """
        for offset, data in edges.take():
            _write_cached(fd, [memoryview(data)], offset)

    def _edge(
        self, fd: int, pieces: Sequence[memoryview], offset: int, edges: Edges | None
    ) -> bytes:
        """Write or keep a part of a block; return the block if that makes it whole."""
        if edges is None or not pieces:
            _write_cached(fd, pieces, offset)
            return b""
        for kept_at, kept in edges.take(beyond=_KEPT_BLOCKS):
            _write_cached(fd, [memoryview(kept)], kept_at)
        return edges.join(offset, b"".join(pieces))

    def _write_direct(self, fd: int, pieces: Sequence[memoryview], offset: int) -> int:
        """Write whole blocks past the page cache; return how many bytes could be."""
        if not set_direct(fd, on=True):
            self._may_be_direct = False
            return 0
        length, done = sum(map(len, pieces)), 0
        try:
            while done < length and done % _BLOCK_BYTES == 0:
                block = self._filled(cut(pieces, done, min(length, done + _BUFFER_BYTES)))
                done += os.pwrite(fd, block, offset + done)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._may_be_direct = False  # accepted at first, refused at the first write
        finally:
            set_direct(fd, on=False)
        return done

    def _filled(self, pieces: Sequence[memoryview]) -> memoryview:
        """Return the pieces end to end in the buffer, which is aligned."""
        if self._buffer is None:
            self._buffer = memoryview(new_buffer(_BUFFER_BYTES))
        at = 0
        for piece in pieces:
            self._buffer[at : at + len(piece)] = piece
            at += len(piece)
        return self._buffer[:at]


def cut(pieces: Sequence[memoryview], start: int, end: int) -> list[memoryview]:
    """Return the bytes from `start` to `end` of pieces that follow each other."""
    found: list[memoryview] = []
    at = 0
    for piece in pieces:
        part = piece[max(start - at, 0) : max(end - at, 0)]
        if part:
            found.append(part)
        at += len(piece)
    return found


def reserve(fd: int, offset: int, length: int) -> None:
    """Have the file system find room for a part of a file, at once and in one place if it can.

    Without it every write finds its own, and one that makes the file longer waits for all others.
    It is a hint: where it cannot be taken, as on a file system that would fit the data only
    because it compresses them, the writes themselves show what fits.
    """
    if _fallocate is not None:
        _fallocate(fd, 0, offset, length)


def _write_cached(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
    for piece in pieces:
        done = 0
        while done < len(piece):
            done += os.pwrite(fd, piece[done:] if done else piece, offset + done)
        offset += done


_fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
