"""Numbers at their limits do not wrap around, and huge counts cost nothing."""

import numpy as np
import pytest

from overland.format import index, pack
from overland.format.pack import PackCorrupt


def plain(segments: list[tuple[int, int, int, int]], chunks: list[tuple[int, int, int]]) -> bytes:
    rows = np.array([(*row, (0,) * 7) for row in segments], pack.SEGMENT_DTYPE)
    ids = np.zeros(32, "u1")
    pieces = np.array([(ids, *row) for row in chunks], pack.CHUNK_DTYPE)
    body = np.array([len(rows), len(pieces)], "<u4").tobytes() + rows.tobytes() + pieces.tobytes()
    return body + bytes(-(64 + body.__len__()) % 512)


TOP = 2**32 - 1


@pytest.mark.parametrize(
    ("segments", "chunks"),
    [
        ([(64, TOP, 16, 0)], [(0, 0, 16)]),
        ([(64, 0, 16, 1)], [(0, 0, 16)]),
        ([(64, 15, 16, 1)], [(0, 0, 16)]),
        ([(64, 32, TOP, 1)], [(0, 0, 16)]),
        ([(2**64 - 1, 32, 16, 0)], [(0, 0, 16)]),
        ([(64, 32, 16, 0), (2**64 - 32, 32, 16, 0)], [(0, 0, 16), (1, 0, 16)]),
        ([(64, 32, 16, 0)], [(TOP, 0, 16)]),
        ([(64, 32, 16, 0)], [(0, TOP, 17)]),
        ([(64, 32, 16, 0)], [(0, 0, TOP)]),
        ([(64, 32, 16, 0)], [(0, 0, 8), (0, 8, TOP - 7)]),
        ([(64, 32, 16, 0)], [(0, 0, 16), (0, 16, 16)]),
        ([(64, 32, 16, 0)], []),
        ([(64, 32, 16, 0), (96, 32, 16, 0)], [(1, 0, 16), (0, 0, 16)]),
        ([(64, 32, 16, 0), (96, 32, 16, 0)], [(0, 0, 16), (0, 0, 16)]),
    ],
)
def test_numbers_do_not_wrap(
    segments: list[tuple[int, int, int, int]], chunks: list[tuple[int, int, int]]
) -> None:
    with pytest.raises(PackCorrupt):
        pack.decode_directory(plain(segments, chunks), name="p", pack_bytes=1024)


@pytest.mark.parametrize("counts", [(TOP, TOP), (0, 0), (1, TOP), (TOP, 0)])
def test_hostile_counts_are_refused_before_anything_is_made(counts: tuple[int, int]) -> None:
    data = np.array(counts, "<u4").tobytes() + bytes(400)
    with pytest.raises(PackCorrupt):
        pack.decode_directory(data, name="p", pack_bytes=1024)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 60])
def test_cut_inputs_are_corrupt_and_nothing_else(length: int) -> None:
    with pytest.raises(PackCorrupt):
        pack.decode_directory(bytes(length), name="p", pack_bytes=512)
    with pytest.raises(PackCorrupt):
        pack.decode_header(bytes(length), name="p")
    with pytest.raises(PackCorrupt):
        pack.decode_trailer(bytes(length), name="p", pack_bytes=512)
    with pytest.raises(index.IndexCorrupt):
        index.decode_head(bytes(length), size_bytes=512, name="i")


@pytest.mark.parametrize(
    ("counts", "check"),
    [
        ((2**32 - 1,) * 3, "length is not allowed"),
        ((1, 1, 2**32 - 1), "length is not allowed"),
        ((1, 2, 1), "counts are not allowed"),
        ((2, 1, 2), "counts are not allowed"),
        ((0, 0, 0), "counts are not allowed"),
        ((1, 1, 1), "does not match its counts"),
    ],
)
def test_an_index_with_hostile_counts_is_refused(counts: tuple[int, ...], check: str) -> None:
    head = b"".join(count.to_bytes(4, "little") for count in counts) + bytes(36)
    with pytest.raises(index.IndexCorrupt, match=check):
        index.decode_head(head, size_bytes=1024, name="i")


def test_a_trailer_with_hostile_numbers_is_refused() -> None:
    for offset, length in ((2**64 - 1, 16), (0, 448), (64, 2**32 - 1), (64, 1)):
        trailer = pack.Trailer(
            directory_offset=offset,
            directory_sealed_bytes=length,
            segment_count=1,
            chunk_count=1,
        )
        with pytest.raises(PackCorrupt):
            pack.decode_trailer(pack.encode_trailer(trailer), name="p", pack_bytes=512)
