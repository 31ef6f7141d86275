"""The places of an index file's parts: one after the other, to the file's end, at every count."""

from itertools import pairwise

import pytest

from overland.format.header import HEADER_BYTES
from overland.format.index_parts import BLOCK_ROWS, FIRST_BLOCK, HEAD_PART, KEY_BYTES, Shape
from overland.format.pack import ALIGNMENT, CHUNK_DTYPE, SEGMENT_DTYPE, TAG_BYTES

COUNTS = (1, 2, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 2 * BLOCK_ROWS, 2 * BLOCK_ROWS + 1)


@pytest.mark.parametrize("segments", COUNTS)
@pytest.mark.parametrize("chunks", COUNTS)
def test_parts_lie_back_to_back_and_fill_the_file(segments: int, chunks: int) -> None:
    shape = Shape(packs=1, segments=segments, chunks=chunks)
    parts = [HEAD_PART, *shape.parts()]
    assert parts[0].offset == HEADER_BYTES
    for before, part in pairwise(parts):
        assert (part.number, part.offset) == (before.number + 1, before.end)
    assert parts[-1].end == shape.file_bytes
    assert shape.file_bytes % ALIGNMENT == 0
    assert shape.padding_bytes < ALIGNMENT, "never a block more than it takes"
    plain_bytes = sum(part.plain_bytes for part in parts)
    assert plain_bytes == shape.rows_bytes + shape.padding_bytes
    assert shape.file_bytes == HEADER_BYTES + plain_bytes + TAG_BYTES * len(parts)


@pytest.mark.parametrize("segments", COUNTS)
@pytest.mark.parametrize("chunks", COUNTS)
def test_a_part_is_found_by_its_number_as_in_the_row_of_all(segments: int, chunks: int) -> None:
    shape = Shape(packs=3, segments=segments, chunks=chunks)
    fan_out, packs, *blocks = shape.parts()
    assert (shape.fan_out(), shape.pack_table()) == (fan_out, packs)
    assert [shape.block(FIRST_BLOCK + at) for at in range(len(blocks))] == blocks
    assert fan_out.plain_bytes == shape.chunk_blocks * KEY_BYTES + shape.padding_bytes


@pytest.mark.parametrize("rows", COUNTS)
def test_every_block_but_the_last_is_full(rows: int) -> None:
    shape = Shape(packs=1, segments=rows, chunks=rows)
    blocks = list(shape.parts())[2:]
    for some, row_bytes in (
        (blocks[: shape.segment_blocks], SEGMENT_DTYPE.itemsize),
        (blocks[shape.segment_blocks :], CHUNK_DTYPE.itemsize),
    ):
        counts = [part.plain_bytes / row_bytes for part in some]
        assert sum(counts) == rows
        assert all(count == BLOCK_ROWS for count in counts[:-1])
        assert 1 <= counts[-1] <= BLOCK_ROWS
