"""Sources that are no folder: what a command prints, what comes by a pipe, a block device.

A stream has no length before it ends, and can be read once.  A device has one, and its runs of
zeros are left out as the holes of a file are, in blocks of 64 KiB.
"""

import errno
import os
import select
from collections.abc import Callable, Iterator
from typing import Final, Protocol, final

import msgspec

from overland.errors import RefusedError
from overland.ports.programs import Running
from overland.source.chunker import Chunker
from overland.source.pieces import Piece
from overland.source.reader import Extents

__all__ = [
    "MAX_EXTENTS",
    "MAX_SILENCE_S",
    "DeviceReader",
    "PipeReader",
    "StreamReader",
    "StreamSource",
    "StreamSpent",
    "given_source",
    "pieces_of",
]

_ZERO_BLOCK: Final = 64 << 10
_ZEROS: Final = bytes(_ZERO_BLOCK)
_READ_BYTES: Final = 1 << 20

MAX_EXTENTS: Final = 1 << 19
"""So many extents of one source are kept, some 8 MiB in a point; behind them holes are filled."""

MAX_SILENCE_S: Final = 1_000_000.0
"""The longest time that a stream may be silent, eleven days; poll(2) takes 24 at most."""


class StreamSource(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that becomes one file of a recovery point.

    Attributes:
        path: The full path that the file has in the point.
        timeout_s: So long may it be silent, and so long may the program take to end.
        open: Begins the stream.
    """

    path: str
    timeout_s: float
    open: Callable[[], Running]


@final
class _GivenStream:
    """A stream that somebody else writes, such as standard input; its end is a good end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def fd(self) -> int:
        """The descriptor to read from."""
        return self._fd

    def finish(self, *, timeout_s: float) -> int | None:  # noqa: ARG002 - as the port has it
        """Return 0: nobody tells how the writer ended."""
        return 0

    def close(self) -> None:
        """Leave the descriptor to whoever gave it."""


class StreamSpent(RefusedError):
    """A stream that comes once was read by an attempt that did not count."""

    code = "stream-spent"

    def __init__(self) -> None:
        super().__init__(
            "what came on standard input was read by an attempt that had to be made again, and "
            "does not come twice; run the whole pipe again"
        )


def given_source(path: str, *, timeout_s: float, fd: Callable[[], int]) -> StreamSource:
    """Return a stream that somebody else writes; opened again it is a failure, and never empty.

    Args:
        path: The full path that the file has in the point.
        timeout_s: So long may it be silent.
        fd: Returns the descriptor to read from.
    """
    waiting = [fd]

    def begin() -> Running:
        if not waiting:
            raise StreamSpent
        return _GivenStream(waiting.pop()())

    return StreamSource(path=path, timeout_s=timeout_s, open=begin)


class StreamReader(Protocol):
    """Something that is read in order, once."""

    @property
    def least_bytes(self) -> int:
        """So much room a reading needs."""
        ...

    def read(self, buffer: memoryview) -> int | None:
        """Put data at the start of `buffer`; return its length, and None at the end.

        Raises:
            OSError: It cannot be read.
        """
        ...


@final
class PipeReader:
    """Reads a pipe that may fall silent for a while, but not for ever."""

    least_bytes = 1

    def __init__(self, fd: int, *, timeout_s: float) -> None:
        assert 0 < timeout_s <= MAX_SILENCE_S, "who takes a time from a person checks it"
        self._fd, self._timeout_s = fd, timeout_s
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def read(self, buffer: memoryview) -> int | None:
        """Put what has come into `buffer`; see `StreamReader`.

        Raises:
            TimeoutError: Nothing came for `timeout_s`.
        """
        if not self._poll.poll(self._timeout_s * 1000):
            raise TimeoutError(errno.ETIMEDOUT, f"it gave nothing for {self._timeout_s:g} s")
        return os.readv(self._fd, [buffer]) or None


@final
class DeviceReader:
    """Reads a block device; blocks of zeros are holes."""

    least_bytes = _ZERO_BLOCK

    def __init__(self, fd: int, *, size_bytes: int) -> None:
        self._fd, self._size_bytes, self._offset = fd, size_bytes, 0
        self._extents: list[tuple[int, int]] = []

    @property
    def extents(self) -> Extents | None:
        """Where data was found; None if it was everywhere."""
        if self._extents == [(0, self._size_bytes)]:
            return None
        return tuple(self._extents)

    def read(self, buffer: memoryview) -> int | None:
        """Put the data of the next blocks into `buffer`, without those of zeros.

        Raises:
            OSError: The device failed, or ended before its length.
        """
        room = min(len(buffer) // _ZERO_BLOCK * _ZERO_BLOCK, _READ_BYTES)
        wanted = min(room, self._size_bytes - self._offset)
        if not wanted:
            return None
        got = 0
        while got < wanted:
            part = os.preadv(self._fd, [buffer[got:wanted]], self._offset + got)
            if not part:
                raise OSError(errno.EIO, "the device ended before its length")
            got += part
        kept = self._without_zeros(buffer[:got])
        self._offset += got
        return kept

    def _without_zeros(self, data: memoryview) -> int:
        """Move what is not zero to the front; return its length."""
        kept = 0
        for at in range(0, len(data), _ZERO_BLOCK):
            block = data[at : at + _ZERO_BLOCK]
            if len(self._extents) < MAX_EXTENTS and block.tobytes() == _ZEROS[: len(block)]:
                continue
            if kept != at:
                data[kept : kept + len(block)] = block
            kept += len(block)
            self._note(self._offset + at, len(block))
        return kept

    def _note(self, offset: int, length: int) -> None:
        if self._extents and sum(self._extents[-1]) == offset:
            start, before = self._extents[-1]
            self._extents[-1] = (start, before + length)
        else:
            self._extents.append((offset, length))


def pieces_of(
    source: StreamReader,
    *,
    chunker: Chunker,
    take: Callable[[], memoryview],
    give_back: Callable[[memoryview], None],
) -> Iterator[Piece]:
    """Yield a stream's data in pieces, as `overland.source.pieces` does a file's.

    Args:
        source: Gives the data.
        chunker: Finds the cuts.
        take: Gives a buffer at least twice as long as the largest chunk, with room for one
            reading beside it.
        give_back: Takes back the buffer that no piece was made of, after a failure.

    Raises:
        OSError: The stream cannot be read (on).
    """
    buffer, filled = take(), 0
    assert len(buffer) >= 2 * chunker.sizes.max_bytes + source.least_bytes, "else no cut may fit"
    is_end = False
    while not is_end:
        while len(buffer) - filled >= source.least_bytes:
            try:
                got = source.read(buffer[filled:])
            except BaseException:
                give_back(buffer)
                raise
            if got is None:
                is_end = True
                break
            filled += got
        cuts = chunker.cuts(buffer[:filled], is_end=is_end)
        if is_end:
            yield Piece(buffer, cuts)
        else:
            following, rest = take(), filled - cuts[-1]
            following[:rest] = buffer[cuts[-1] : filled]
            yield Piece(buffer, cuts)
            buffer, filled = following, rest
