"""Bytes between files and memory, past the page cache where the file system allows it.

O_DIRECT writes without filling memory, so that what is read back to verify comes from the medium
and a third of the processor's time is spent.  It asks for aligned memory, offsets and
lengths; where a file system refuses it, or the end of a file is odd, the usual way is taken.
"""

import errno
import mmap
import os
import threading
from collections.abc import Generator, Iterator
from typing import Final

from overland.buffers import new_buffer, set_direct

__all__ = ["BUFFER_BYTES", "BufferPool", "Writer", "read_at", "read_blocks"]

BUFFER_BYTES: Final = 4 << 20
"""What goes to the device at a time; larger ones gained nothing."""

_ALIGNMENT: Final = 4096  # O_DIRECT asks for the device's block size, which is this or less
_POOLED_BUFFERS: Final = 4


class BufferPool:
    """Aligned buffers for reuse; fresh memory costs the kernel a page fault for every page."""

    def __init__(self, *, kept: int = _POOLED_BUFFERS) -> None:
        """Keep so many for reuse."""
        self._kept = kept
        self._buffers: list[mmap.mmap] = []
        self._lock = threading.Lock()

    def take(self) -> mmap.mmap:
        """Return a buffer of `BUFFER_BYTES`, with arbitrary content."""
        with self._lock:
            return self._buffers.pop() if self._buffers else new_buffer(BUFFER_BYTES)

    def give(self, buffer: mmap.mmap) -> None:
        """Take a buffer back; a few are kept."""
        with self._lock:
            if len(self._buffers) < self._kept:
                self._buffers.append(buffer)


class Writer:
    """Appends to an open file through two buffers; nothing is durable before the file is synced.

    While one is written the other is filled, so that neither the medium nor who fills it waits
    for the other.  Short files are written the usual way, through one buffer and without a
    thread; from the first full buffer on the page cache is left out, but for an odd end.
    """

    def __init__(self, fd: int, pool: BufferPool) -> None:
        """Append to `fd`, which stays the caller's; `close` gives the buffers back to `pool`."""
        self._fd, self._pool = fd, pool
        self._buffer = pool.take()
        self._spare: mmap.mmap | None = None
        assert len(self._buffer) % _ALIGNMENT == 0, "the device takes whole blocks"
        self._filled = 0
        self._may_be_direct, self._is_long = True, False
        self._writing: threading.Thread | None = None
        self._failure: OSError | None = None

    @property
    def buffered_bytes(self) -> int:
        """How much `flush` has still to write."""
        return self._filled

    def append(self, view: memoryview) -> None:
        """Append; `view` may be reused on return.

        Raises:
            OSError: The device failed or is full, now or at what was appended before; the file
                has an unknown part of the data.
        """
        position = 0
        while position < len(view):
            rest = view[position:]
            if self._filled == 0 and len(rest) >= BUFFER_BYTES and _is_aligned(rest):
                # Whole blocks in aligned memory need no copy on their way.
                taken = len(rest) // _ALIGNMENT * _ALIGNMENT
                self._wait()
                self._is_long = True
                self._write(rest[:taken], direct=True)
            else:
                taken = min(len(self._buffer) - self._filled, len(rest))
                self._buffer[self._filled : self._filled + taken] = rest[:taken]
                self._filled += taken
            position += taken
            if self._filled == len(self._buffer):
                self._write_behind()

    def flush(self) -> None:
        """Write what is in the buffers; the last call before the file is synced.

        Raises:
            OSError: The device failed or is full, now or before.
        """
        self._wait()
        rest = memoryview(self._buffer)[: self._filled]
        # Megabytes that lie in memory when the file is synced hold up whoever writes beside it.
        whole = self._filled // _ALIGNMENT * _ALIGNMENT if self._is_long else 0
        self._write(rest[:whole], direct=True)
        self._write(rest[whole:], direct=False)
        self._filled = 0

    def close(self) -> None:
        """Wait until nothing is being written any more, and give the buffers back."""
        if self._writing is not None:
            self._writing.join()
        self._pool.give(self._buffer)
        if self._spare is not None:
            self._pool.give(self._spare)

    def _write_behind(self) -> None:
        """Have the full buffer written while the other one is filled."""
        self._wait()
        self._is_long = True
        full, spare = self._buffer, self._spare or self._pool.take()
        self._buffer, self._spare, self._filled = spare, full, 0
        # No thread pool: that brings logging with it, which most commands do without.
        self._writing = threading.Thread(
            target=self._note_failure, args=(memoryview(full),), name="write-behind"
        )
        self._writing.start()

    def _note_failure(self, view: memoryview) -> None:
        try:
            self._write(view, direct=True)
        except OSError as error:
            self._failure = error

    def _wait(self) -> None:
        """Return when all but what is in the buffer is written; an error comes every time."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._failure is not None:
            raise self._failure

    def _write(self, view: memoryview, *, direct: bool) -> None:
        position = 0
        while position < len(view):
            # After a short write the rest may be unaligned: only the usual way takes that.
            past_cache = direct and self._may_be_direct and position % _ALIGNMENT == 0
            if not set_direct(self._fd, on=past_cache):
                self._may_be_direct = past_cache = False
            try:
                position += os.write(self._fd, view[position:])
            except OSError as error:
                if error.errno != errno.EINVAL or not past_cache:
                    raise
                self._may_be_direct = False  # accepted at `fcntl`, refused at the first write


def read_at(fd: int, *, offset: int, length: int) -> bytes:
    """Return up to `length` bytes, fewer only at the end; short answers are asked again."""
    data = os.pread(fd, length, offset)
    if len(data) in {0, length}:
        return data
    pieces = [data]
    have = len(data)
    while have < length and (data := os.pread(fd, length - have, offset + have)):
        pieces.append(data)
        have += len(data)
    return b"".join(pieces)


def read_blocks(
    fd: int, *, block_bytes: int, pool: BufferPool
) -> Generator[memoryview, None, None]:
    """Yield the rest of a file, from the medium where possible, each block read ahead.

    While a block is used, the next one is read into a second buffer; a view is valid until the
    next one is asked for.  Blocks have `block_bytes`, rounded up to what the device takes; only
    the last may be shorter, or one after a short answer of the system.  Two blocks of memory.

    Raises:
        OSError: The device failed; blocks before were good.
    """
    left = os.fstat(fd).st_size
    if not set_direct(fd, on=True):
        _drop_cached(fd)
    length = -(-block_bytes // _ALIGNMENT) * _ALIGNMENT
    if left <= length:
        yield from _read_alone(fd, left, memoryview(new_buffer(length)))
        return
    buffers = [pool.take() if length == BUFFER_BYTES else new_buffer(length) for _ in range(2)]
    yield from _read_ahead(fd, left, [memoryview(buffer) for buffer in buffers])
    # Only here: who leaves early may still hold a view, which nobody may then change.
    if length == BUFFER_BYTES:
        for buffer in buffers:
            pool.give(buffer)


def _read_alone(fd: int, left: int, view: memoryview) -> Iterator[memoryview]:
    while left > 0 and (count := _fill(fd, view)):
        left -= count
        yield view[:count].toreadonly()


def _read_ahead(fd: int, left: int, views: list[memoryview]) -> Iterator[memoryview]:
    # For long files only: it loads logging, which most commands do without.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as said above

    # Leaving the block waits for the reader, so that nobody reads from a closed file.
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        reading = reader.submit(_fill, fd, views[0])
        while count := reading.result():
            left -= count
            view, views = views[0], views[::-1]
            if left > 0:
                reading = reader.submit(_fill, fd, views[0])
            yield view[:count].toreadonly()
            if left <= 0:
                return


def _fill(fd: int, view: memoryview) -> int:
    try:
        return os.readv(fd, [view])
    except OSError as error:
        # Accepted at `fcntl`, refused at the read: an odd offset after a short read, or a device
        # with larger blocks.
        if error.errno != errno.EINVAL or not set_direct(fd, on=False):
            raise
        _drop_cached(fd)
        return os.readv(fd, [view])


def _drop_cached(fd: int) -> None:
    """Have the file come from the medium, though it was just written through memory."""
    # Only clean pages go; what was published has been synced and is clean.
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _is_aligned(view: memoryview) -> bool:
    import numpy as np  # noqa: PLC0415 - for large writes only: most commands make none

    address: int = np.frombuffer(view, dtype=np.uint8).__array_interface__["data"][0]
    return address % _ALIGNMENT == 0
