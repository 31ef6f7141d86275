"""Cuts by comparing are the cuts by content, whatever is stored and whatever has changed."""

import random
from itertools import accumulate, pairwise

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from overland.source.chunker import Chunker, Sizes
from overland.source.cutter import Cutter

SIZES = Sizes(min_bytes=64, mean_bytes=256, max_bytes=1024)
SECRET = b"12345678"
Chunks = list[tuple[bytes, int]]


def _id(data: memoryview | bytes) -> bytes:
    return blake3(data).digest()


def _chunks(data: bytes) -> Chunks:
    ends = Chunker(SIZES, secret=SECRET).cuts(memoryview(data), is_end=True)
    return [(_id(data[start:end]), end - start) for start, end in pairwise([0, *ends])]


class Stored:
    """What is stored, in the order in which it was; counts what is asked for."""

    def __init__(self, chunks: Chunks, *, count: int = 64) -> None:
        self._chunks, self._count = chunks, count
        self._places = {made: place for place, (made, _) in enumerate(chunks)}
        self.asked = self.compared = 0

    def behind(self, chunk_id: bytes) -> Chunks:
        self.asked += 1
        place = self._places.get(chunk_id)
        return [] if place is None else self._chunks[place + 1 : place + 1 + self._count]

    def cutter(self) -> Cutter:
        def made(data: memoryview) -> bytes:
            self.compared += 1
            return _id(data)

        return Cutter(Chunker(SIZES, secret=SECRET), chunk_id=made, behind=self.behind)


def _cut(cutter: Cutter, data: bytes, *, buffer_bytes: int) -> Chunks:
    """Cut a file in pieces, as it is read; check the ids that come with them."""
    cutter.begin()
    found: Chunks = []
    rest, at = b"", 0
    while True:
        more = data[at : at + buffer_bytes - len(rest)]
        rest, at = rest + more, at + len(more)
        cuts = cutter.cut(memoryview(rest), is_end=at == len(data))
        for place, (start, end) in enumerate(pairwise([0, *cuts.ends])):
            made = _id(rest[start:end])
            assert cuts.ids.get(place, made) == made
            found.append((made, end - start))
        assert all(place < len(cuts.ends) for place in cuts.ids)
        if at == len(data):
            return found
        assert cuts.ends, "a full buffer holds a cut"
        rest = rest[cuts.ends[-1] :]


def _changed(data: bytes, rng: random.Random, *, edits: int) -> bytes:
    for _ in range(edits):
        at = rng.randrange(len(data) + 1)
        length = rng.choice((1, 7, 300, 2000))
        how = rng.randrange(4)
        new = b"" if how == 0 else rng.randbytes(length)  # removed, inserted, overwritten, appended
        behind = data[at:] if how == 1 else data[at + length :]
        data = data + new if how == 3 else data[:at] + new + behind
    return data


@given(
    seed=st.integers(0, 2**32),
    edits=st.integers(0, 6),
    buffer_bytes=st.integers(2 * SIZES.max_bytes, 40 * SIZES.max_bytes),
    count=st.sampled_from((1, 2, 5, 64)),
)
def test_cuts_are_those_of_the_content(
    seed: int, edits: int, buffer_bytes: int, count: int
) -> None:
    rng = random.Random(seed)
    old = rng.randbytes(rng.randrange(60_000))
    if rng.random() < 0.3:
        old += bytes(rng.randrange(20_000)) + old[:5000]
    stored = _chunks(old)
    if rng.random() < 0.3:
        place = rng.randrange(len(stored) + 1)  # another lane's chunks between
        stored[place:place] = _chunks(rng.randbytes(9000))
    cutter = Stored(stored, count=count).cutter()
    for _ in range(2):
        data = _changed(old, rng, edits=edits)
        assert _cut(cutter, data, buffer_bytes=buffer_bytes) == _chunks(data)


@given(seed=st.integers(0, 2**32))
def test_any_guess_leaves_the_content_whole(seed: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(20_000)
    chunks, size = _chunks(data), rng.choice((10, 50, 300))
    ends_at = accumulate(length for _, length in chunks)
    ends = {made: end for (made, _), end in zip(chunks, ends_at, strict=True)}
    wrong = [(rng.randbytes(32), rng.choice((0, 1, 63, 500, 1025, 10**9))) for _ in range(50)]

    def behind(made: bytes) -> Chunks:
        if rng.random() < 0.5 and made in ends:  # as they are, cut by other sizes
            starts = range(ends[made], len(data) - size, size)
            return [(_id(data[at : at + size]), size) for at in starts]
        return rng.sample(wrong + chunks, 20)

    cutter = Cutter(Chunker(SIZES, secret=SECRET), chunk_id=_id, behind=behind)
    found = _cut(cutter, data, buffer_bytes=8 * SIZES.max_bytes)
    assert sum(length for _, length in found) == len(data)
    assert all(0 < length <= SIZES.max_bytes for _, length in found)
    assert all(SIZES.min_bytes <= length for _, length in found[:-1])


def test_a_change_right_behind_a_cut_moves_it_as_the_content_says() -> None:
    rng = random.Random(4)
    old = rng.randbytes(30_000)
    chunks = _chunks(old)
    end = 0
    moved = 0
    for _, length in chunks[:-1]:
        end += length
        data = old[:end] + rng.randbytes(3) + old[end + 3 :]
        wanted = _chunks(data)
        moved += end not in list(accumulate(length for _, length in wanted))
        for buffer_bytes in {2100, 3000, 5000, *(end + more for more in (0, 1, 500, 2048))}:
            if buffer_bytes >= 2 * SIZES.max_bytes:
                cutter = Stored(chunks).cutter()
                assert _cut(cutter, data, buffer_bytes=buffer_bytes) == wanted
    assert moved > 10, "else this shows nothing"


def test_what_is_stored_is_hardly_cut_by_content() -> None:
    data = random.Random(1).randbytes(400_000)
    chunks = _chunks(data)
    stored = Stored(chunks)
    assert _cut(stored.cutter(), data, buffer_bytes=32 * SIZES.max_bytes) == chunks
    assert stored.asked <= len(chunks) / 64 + 2
    assert stored.compared <= 1.1 * len(chunks)


def test_behind_a_change_what_is_stored_is_found_again() -> None:
    data = random.Random(2).randbytes(400_000)
    chunks = _chunks(data)
    changed = data[:200_000] + b"an insertion" + data[200_000:]
    stored = Stored(chunks)
    assert _cut(stored.cutter(), changed, buffer_bytes=32 * SIZES.max_bytes) == _chunks(changed)
    assert stored.asked <= len(chunks) / 64 + 3
    assert stored.compared <= 1.1 * len(chunks)


def test_for_new_data_the_index_is_seldom_asked() -> None:
    data = random.Random(3).randbytes(1_000_000)
    stored = Stored([])
    cutter = stored.cutter()
    found = _cut(cutter, data, buffer_bytes=32 * SIZES.max_bytes)
    assert stored.asked == stored.compared
    assert stored.asked <= len(found) / 64 + 8
    before = stored.asked
    for _ in range(10):
        _cut(cutter, data[:20_000], buffer_bytes=32 * SIZES.max_bytes)
    assert stored.asked - before >= 10, "each file may be one that is stored"
