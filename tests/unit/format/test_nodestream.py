"""A node read as a stream gives what the whole one gives, and refuses what that refuses."""

import random
import tracemalloc
from collections.abc import Iterator
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support import format_samples as sample

from overland.format.nodestream import MOST_ENTRIES, entry_batches
from overland.format.tree import Entry, TreeCorrupt, decode_node, encode_node

SOME = sample.entries()


def many(count: int) -> list[Entry]:
    """Return entries of all kinds, under new names that ascend."""
    return [
        replace(SOME[number % len(SOME)], name=b"%08d" % number, size_bytes=entry_size(number))
        for number in range(count)
    ]


def entry_size(number: int) -> int:
    return SOME[number % len(SOME)].size_bytes


def blocks_of(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def streamed(data: bytes, size: int) -> list[Entry]:
    return list(chain.from_iterable(entry_batches(blocks_of(data, size), name="node")))


COUNTS = (0, 1, 15, 16, 17, MOST_ENTRIES - 1, MOST_ENTRIES, MOST_ENTRIES + 1, 70_000)


@pytest.mark.parametrize("count", COUNTS)
def test_every_entry_comes_in_order(count: int) -> None:
    entries = many(count)
    assert streamed(encode_node(entries), 1 << 18) == entries


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 10_000])
def test_blocks_may_be_cut_anywhere(size: int) -> None:
    entries = many(40)
    assert streamed(encode_node(entries), size) == entries


def test_no_batch_is_larger_than_it_may_be() -> None:
    data = encode_node(many(5000))
    lengths = [len(batch) for batch in entry_batches(blocks_of(data, 1 << 16), name="node")]
    assert max(lengths) == MOST_ENTRIES
    assert sum(lengths) == 5000


@given(seed=st.integers(0, 2**32), size=st.sampled_from([13, 512, 1 << 16]))
def test_a_changed_node_is_refused_by_both_or_is_the_same_to_both(seed: int, size: int) -> None:
    chance = random.Random(seed)
    data = bytearray(encode_node(many(chance.randrange(40))))
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(1, 20)]
                data = data or bytearray(b"\xc0")
            case 2:
                data[at:at] = chance.randbytes(3)
            case _:
                data[at:at] = data[at : at + chance.randrange(300)]
    try:
        whole = decode_node(bytes(data), name="node")
    except TreeCorrupt:
        with pytest.raises(TreeCorrupt):
            streamed(bytes(data), size)
    else:
        assert streamed(bytes(data), size) == whole


@pytest.mark.parametrize("size", [100, 1 << 16])
def test_names_ascend_from_batch_to_batch_too(size: int) -> None:
    entries = many(2 * MOST_ENTRIES)
    first, second = encode_node(entries[:MOST_ENTRIES]), encode_node(entries[MOST_ENTRIES:])
    whole = encode_node(entries)
    head = len(whole) - (len(first) - 5) - (len(second) - 5)  # both have a count of 16 bits
    swapped = whole[:head] + second[5:] + first[5:]
    with pytest.raises(TreeCorrupt, match="sorted"):
        streamed(swapped, size)
    twice = whole[:head] + first[5:] + first[5:]
    with pytest.raises(TreeCorrupt, match="sorted"):
        streamed(twice, size)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x92", b"\x92\x01", b"\x92\x01\xdd", b"\x92\x01\xdc\x00\x0f", b"\x93\x01\x90"],
    ids=["empty", "one", "two", "cut head", "count too long", "three members"],
)
def test_what_is_no_node_is_refused(data: bytes) -> None:
    with pytest.raises(TreeCorrupt):
        decode_node(data, name="node")
    with pytest.raises(TreeCorrupt):
        streamed(data, 3)


@pytest.mark.parametrize("value", [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x9f" * 9])
def test_a_node_that_announces_too_much_takes_no_memory_and_no_time(value: bytes) -> None:
    for count in (b"\x91", b"\xdd\xff\xff\xff\xff"):
        with pytest.raises(TreeCorrupt):
            streamed(b"\x92\x01" + count + value + bytes(1000), 100)


def test_memory_does_not_grow_with_the_folder() -> None:
    def peak(count: int) -> int:
        data = encode_node(many(count))
        tracemalloc.start()
        try:
            for _ in entry_batches(blocks_of(data, 1 << 16), name="node"):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak(4000), peak(40_000)
    assert large < 1.2 * small
