"""Chunks of a segment are compared with their ids, also where one is wanted more than once."""

import random

import numpy as np
import pytest

from overland.agent.points.chunks import Segment, Wanted
from overland.crypto.ids import chunk_id
from overland.crypto.secrets import Secret
from overland.packing.index import PLACE_DTYPE, as_ids

KEY = Secret(bytes(range(32)))
LENGTHS = (10, 3000, 1, 700)


def wanted(raw: bytes, order: list[int]) -> Wanted:
    starts = np.cumsum([0, *LENGTHS[:-1]]).tolist()
    places = np.zeros(len(order), PLACE_DTYPE)
    places["offset"] = [starts[number] for number in order]
    places["length"] = [LENGTHS[number] for number in order]
    ids = [
        chunk_id(KEY, raw[starts[number] : starts[number] + LENGTHS[number]]) for number in order
    ]
    return Wanted(as_ids(b"".join(ids)), places)


@pytest.mark.parametrize("order", [[0], [0, 1, 2, 3], [3, 1], [1, 1, 0, 1, 3, 3], [2] * 5])
def test_every_wanted_chunk_counts_and_no_other(order: list[int]) -> None:
    raw = random.Random(3).randbytes(sum(LENGTHS))
    segment = Segment(0, 0, 0, len(raw), 0, 0, len(order))
    found = wanted(raw, order)
    assert found.check(memoryview(raw), segment, KEY)
    starts = np.cumsum([0, *LENGTHS])
    for at in (*range(20), 1500, *range(3000, 3020), len(raw) - 1):
        other = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        is_wanted = int(np.searchsorted(starts, at, side="right")) - 1 in order
        assert found.check(memoryview(other), segment, KEY) != is_wanted


def test_an_id_that_is_not_the_chunks_own_is_found() -> None:
    raw = random.Random(4).randbytes(sum(LENGTHS))
    for row in range(4):
        found = wanted(raw, [0, 1, 2, 3])
        found.ids = found.ids.copy()
        found.ids[row, 31] ^= 1
        assert not found.check(memoryview(raw), Segment(0, 0, 0, len(raw), 0, 0, 4), KEY)
        rest = Segment(0, 0, 0, len(raw), 0, row + 1, 4)
        assert row == 3 or found.check(memoryview(raw), rest, KEY)
