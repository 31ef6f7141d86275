"""A large file in pieces: buffers full of data, with the places where chunks end.

The pieces together are the file's data, in order, without holes; cuts do not depend on how it
falls into pieces.
"""

import os
import queue
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from overland.buffers import new_buffer
from overland.source.chunker import Chunker
from overland.source.reader import Extents

__all__ = ["Piece", "new_buffers", "pieces"]

_PIECE_BYTES: Final = 8 << 20  # at least two chunks of the largest size allowed by default


class Piece(NamedTuple):
    """A buffer, and where the chunks in it end; the first begins at 0."""

    buffer: memoryview
    cuts: list[int]


def new_buffers(count: int, *, chunk_bytes: int) -> "queue.SimpleQueue[memoryview]":
    """Return buffers for pieces of files whose chunks have at most `chunk_bytes`.

    They take memory when a large file comes, and not before.
    """
    buffers: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
    for _ in range(count):
        buffers.put(memoryview(new_buffer(max(_PIECE_BYTES, 3 * chunk_bytes))))
    return buffers


def pieces(
    fd: int,
    extents: Extents | None,
    size_bytes: int,
    *,
    chunker: Chunker,
    take: Callable[[], memoryview],
    give_back: Callable[[memoryview], None],
) -> Iterator[Piece]:
    """Yield a file's data; stop early where the file has become shorter.

    Args:
        fd: The open file.
        extents: Where it has data; None for everywhere.
        size_bytes: Up to where to read.
        chunker: Finds the cuts.
        take: Gives a buffer at least twice as long as the largest chunk; whoever gets the piece
            gives it back.  May wait, while up to two are out.
        give_back: Takes back the buffer that no piece was made of, after a failure.

    Raises:
        OSError: The file cannot be read.
    """
    spans = iter(extents if extents is not None else ((0, size_bytes),))
    offset, left = next(spans, (0, 0))
    buffer, filled = take(), 0
    assert len(buffer) >= 2 * chunker.sizes.max_bytes, "else a full buffer may hold no cut"
    is_end = False
    while not is_end:
        while left and filled < len(buffer):
            try:
                got = os.preadv(fd, [buffer[filled : filled + left]], offset)
            except OSError:
                give_back(buffer)
                raise
            if got == 0:
                left = 0
                break
            filled, offset, left = filled + got, offset + got, left - got
            if not left:
                offset, left = next(spans, (0, 0))
        is_end = left == 0
        cuts = chunker.cuts(buffer[:filled], is_end=is_end)
        if is_end:
            yield Piece(buffer, cuts)
        else:
            # The rest moves to the next buffer before the piece is handed out: whoever gets it
            # may give its buffer back, and have it filled again, at once.
            following, rest = take(), filled - cuts[-1]
            following[:rest] = buffer[cuts[-1] : filled]
            yield Piece(buffer, cuts)
            buffer, filled = following, rest
