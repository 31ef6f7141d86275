"""Where the parts of an index file lie, which follows from its counts (`index-v1.md` §2)."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np

from overland.format.header import HEADER_BYTES
from overland.format.pack import ALIGNMENT, CHUNK_DTYPE, SEGMENT_DTYPE, TAG_BYTES

__all__ = [
    "BLOCK_ROWS",
    "FIRST_BLOCK",
    "HEAD_PART",
    "KEY_BYTES",
    "PACK_DTYPE",
    "Part",
    "Shape",
]

BLOCK_ROWS: Final = 256  # 11 KiB of chunk rows: what one chunk's place costs to read
FIRST_BLOCK: Final = 3  # the number of the first block of segments
KEY_BYTES: Final = 8  # §3.2: of an id, in the fan-out
PACK_DTYPE: Final = np.dtype(
    [("id", "u1", (32,)), ("pack_bytes", "<u8"), ("segments", "<u4"), ("chunks", "<u4")]
)
assert PACK_DTYPE.itemsize == 48


class Part(NamedTuple):
    """One sealed part of a file: its number, which it is sealed with, and its place."""

    number: int
    offset: int
    plain_bytes: int

    @property
    def sealed_bytes(self) -> int:
        """How long the part is in the file."""
        return self.plain_bytes + TAG_BYTES

    @property
    def end(self) -> int:
        """Where the next part begins."""
        return self.offset + self.sealed_bytes


HEAD_PART: Final = Part(0, HEADER_BYTES, 48)  # §3.1


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows a file has; where its parts lie follows from it (§2)."""

    packs: int
    segments: int
    chunks: int

    @property
    def segment_blocks(self) -> int:
        """How many blocks of segments there are."""
        return _blocks(self.segments)

    @property
    def chunk_blocks(self) -> int:
        """How many blocks of chunks there are."""
        return _blocks(self.chunks)

    @property
    def rows_bytes(self) -> int:
        """How long the plaintexts are, without the padding."""
        return (
            HEAD_PART.plain_bytes
            + self.chunk_blocks * KEY_BYTES
            + self.packs * PACK_DTYPE.itemsize
            + self.segments * SEGMENT_DTYPE.itemsize
            + self.chunks * CHUNK_DTYPE.itemsize
        )

    @property
    def padding_bytes(self) -> int:
        """How many zeros follow the fan-out."""
        tags = TAG_BYTES * (3 + self.segment_blocks + self.chunk_blocks)
        return -(HEADER_BYTES + self.rows_bytes + tags) % ALIGNMENT

    @property
    def file_bytes(self) -> int:
        """How long the whole file is."""
        return self.block(FIRST_BLOCK + self.segment_blocks + self.chunk_blocks - 1).end

    def fan_out(self) -> Part:
        """Return the part that says where the blocks of chunks begin."""
        return Part(1, HEAD_PART.end, self.chunk_blocks * KEY_BYTES + self.padding_bytes)

    def pack_table(self) -> Part:
        """Return the part with the packs."""
        return Part(2, self.fan_out().end, self.packs * PACK_DTYPE.itemsize)

    def block(self, number: int) -> Part:
        """Return a block by its part's number: those of segments come first."""
        block, table = number - FIRST_BLOCK, self.pack_table()
        if block < self.segment_blocks:
            return _block(table, block, rows=self.segments, row_bytes=SEGMENT_DTYPE.itemsize)
        last = self.block(FIRST_BLOCK + self.segment_blocks - 1)
        block -= self.segment_blocks
        return _block(last, block, rows=self.chunks, row_bytes=CHUNK_DTYPE.itemsize)

    def parts(self) -> Iterator[Part]:
        """Yield every part behind the head, in the order of their numbers."""
        yield self.fan_out()
        last = self.pack_table()
        yield last
        number, offset = FIRST_BLOCK, last.end
        for rows, row_bytes in (
            (self.segments, SEGMENT_DTYPE.itemsize),
            (self.chunks, CHUNK_DTYPE.itemsize),
        ):
            full = BLOCK_ROWS * row_bytes
            for left in range(rows * row_bytes, 0, -full):
                plain_bytes = min(full, left)
                yield Part(number, offset, plain_bytes)
                number, offset = number + 1, offset + plain_bytes + TAG_BYTES


def _blocks(rows: int) -> int:
    return -(-rows // BLOCK_ROWS)


def _block(before: Part, block: int, *, rows: int, row_bytes: int) -> Part:
    full = BLOCK_ROWS * row_bytes
    return Part(
        before.number + 1 + block,
        before.end + block * (full + TAG_BYTES),
        min(full, rows * row_bytes - block * full),
    )
