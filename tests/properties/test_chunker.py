import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from overland.source.chunker import Chunker, Sizes, chunks

SIZES = Sizes(min_bytes=64, mean_bytes=256, max_bytes=1024)
SECRET = bytes(range(32))

streams = st.builds(
    lambda seed, size, repeated: random.Random(seed).randbytes(size) * repeated,
    st.integers(0, 2**32),
    st.integers(0, 6000),
    st.integers(1, 3),
)


def cut(data: bytes, *, secret: bytes = SECRET) -> list[bytes]:
    return list(chunks([data], Chunker(SIZES, secret=secret)))


@given(blocks=st.lists(st.binary(max_size=3000)), data=streams, other=st.integers(1, 700))
def test_cuts_depend_on_content_alone(blocks: list[bytes], data: bytes, other: int) -> None:
    blocks = [*blocks, data]
    stream = b"".join(blocks)
    chunker = Chunker(SIZES, secret=SECRET)
    found = list(chunks(blocks, chunker))
    again = list(chunks([stream[i : i + other] for i in range(0, len(stream), other)], chunker))
    assert b"".join(found) == stream
    assert found == again, "the same bytes in other blocks must give the same chunks"


@given(data=streams)
def test_every_chunk_but_the_last_keeps_the_bounds(data: bytes) -> None:
    found = cut(data)
    assert all(len(chunk) <= SIZES.max_bytes for chunk in found)
    assert all(len(chunk) >= SIZES.min_bytes for chunk in found[:-1])
    assert all(found), "no chunk is empty"


@given(seed=st.integers(0, 2**32), place=st.integers(0, 60_000))
def test_an_insertion_changes_few_chunks(seed: int, place: int) -> None:
    data = random.Random(seed).randbytes(60_000)
    changed = data[:place] + b"inserted" + data[place:]
    before = set(cut(data))
    new = set(cut(changed)) - before
    # After how many chunks the cuts meet again is chance: mostly two, once in thousands thirteen.
    assert len(new) <= len(before) // 4, "the cuts find back to each other behind the insertion"


@given(data=st.binary(min_size=3000, max_size=9000), secret=st.binary(min_size=8, max_size=32))
def test_the_same_secret_gives_the_same_cuts(data: bytes, secret: bytes) -> None:
    assert cut(data, secret=secret) == cut(data, secret=secret)


def test_another_secret_gives_other_cuts() -> None:
    data = random.Random(1).randbytes(200_000)
    one, two = (
        {sum(map(len, found[:i])) for i in range(1, len(found))}
        for found in (cut(data), cut(data, secret=b"another secret"))
    )
    assert len(one & two) < len(one) / 4


def test_the_largest_secret_is_taken() -> None:
    assert b"".join(cut(bytes(5000), secret=b"\xff" * 8)) == bytes(5000)


@given(data=streams)
def test_cuts_ascend_and_end_with_the_data(data: bytes) -> None:
    cuts = Chunker(SIZES, secret=SECRET).cuts(memoryview(data), is_end=True)
    assert all(first < second for first, second in pairwise([0, *cuts]))
    assert not data or cuts[-1] == len(data)
