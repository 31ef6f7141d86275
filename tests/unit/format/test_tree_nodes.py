"""Nodes are decoded together as they are one by one: every rule holds in each of them."""

from collections.abc import Sequence
from itertools import permutations

import msgspec
import pytest
from tests.support import format_samples as sample

from overland.format import tree
from overland.format.tree import (
    Entry,
    TreeCorrupt,
    decode_entry,
    decode_node,
    decode_nodes,
    encode_node,
    encode_own_node,
    split_own_node,
)

_FILE = next(
    each
    for each in sample.entries()
    if each.kind == "file" and each.content and each.extents is None
)


def files(*names: bytes) -> list[Entry]:
    return [msgspec.structs.replace(_FILE, name=name) for name in names]


def unchecked(entries: Sequence[Entry]) -> bytes:
    """A node that no rule was asked about."""
    return tree._encoder.encode(tree._Node(version=1, entries=list(entries)))


def test_several_nodes_are_what_each_is_alone() -> None:
    nodes = [files(b"b", b"c"), [], files(b"a"), [], sample.entries(), files(b"b"), []]
    for order in permutations(range(len(nodes)), 4):
        encoded = [encode_node(nodes[number]) for number in order]
        assert decode_nodes(encoded, name="n") == [decode_node(data, name="n") for data in encoded]
    assert decode_nodes([], name="n") == []


BAD = {
    "names are not sorted, or not unique": [
        unchecked(files(b"b", b"a")),
        unchecked(files(b"a", b"a")),
    ],
    "a name is not allowed": [unchecked(files(name)) for name in (b"", b".", b"..", b"a/b")]
    + [unchecked(files(b"a", b"a\0b", b"c")), unchecked(files(b"\0"))],
    "a content list is cut": [unchecked([msgspec.structs.replace(_FILE, content=b"c" * 31)])],
    "a file's content does not match its size": [
        unchecked([msgspec.structs.replace(_FILE, size_bytes=0)])
    ],
    "the node is not in canonical form": [
        b"\xdc\x00\x02" + encode_node(files(b"a"))[1:],  # an array of 2 in three bytes
    ],
    "not a node of version 1": [b"", b"\x92\x02\x90", encode_node(files(b"a")) + b"\xc0"],
}


@pytest.mark.parametrize("check", BAD)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_broken_rule_in_one_node_is_found_wherever_it_stands(check: str, at: int) -> None:
    good = [encode_node(files(b"a", b"z")), encode_node([])]
    for bad in BAD[check]:
        with pytest.raises(TreeCorrupt) as alone:
            decode_node(bad, name="n")
        with pytest.raises(TreeCorrupt) as together:
            decode_nodes([*good[:at], bad, *good[at:]], name="n")
        assert alone.value.check == together.value.check
        assert alone.value.check.startswith(check)


def test_what_two_nodes_are_only_together_is_refused() -> None:
    """Each is decoded by itself, so that a cut node does not borrow from the next one."""
    joined = encode_node(files(b"a")) + encode_node(files(b"b"))
    half = len(encode_node(files(b"a")))
    assert len(decode_nodes([joined[:half], joined[half:]], name="n")) == 2
    for border in range(len(joined) + 1):
        if border != half:
            with pytest.raises(TreeCorrupt):
                decode_nodes([joined[:border], joined[border:]], name="n")


def test_entries_that_stay_encoded_make_the_same_node() -> None:
    entries = sample.entries()
    names = [entry.name for entry in entries]
    split = split_own_node(encode_node(entries), name="n")
    assert [decode_entry(each, name="n") for each in split] == entries
    for kept in range(1 << min(len(entries), 6)):
        mixed = [split[at] if kept >> at & 1 else entry for at, entry in enumerate(entries)]
        assert encode_own_node(mixed, names=names) == encode_node(entries)
    assert encode_own_node([], names=[]) == encode_node([])


@pytest.mark.parametrize("count", [1, 15, 16, 17, 65_535, 65_536])
def test_as_many_encoded_entries_as_a_head_has_forms_for(count: int) -> None:
    entries = files(*(b"%06d" % number for number in range(count)))
    node = encode_node(entries)
    split = split_own_node(node, name="n")
    assert encode_own_node(split, names=[entry.name for entry in entries]) == node


@pytest.mark.parametrize("names", [(b"b", b"a"), (b"a", b"a"), (b"a", b"."), (b"a", b"x/y")])
def test_names_of_encoded_entries_are_checked(names: tuple[bytes, bytes]) -> None:
    split = split_own_node(encode_node(files(b"a", b"b")), name="n")
    with pytest.raises(TreeCorrupt):
        encode_own_node(split, names=names)


def test_what_comes_to_encoded_entries_is_checked() -> None:
    (one,) = split_own_node(encode_node(files(b"a")), name="n")
    bad = msgspec.structs.replace(_FILE, name=b"b", size_bytes=0)
    with pytest.raises(TreeCorrupt, match="does not match its size"):
        encode_own_node([one, bad], names=[b"a", b"b"])


@pytest.mark.parametrize("data", [b"", b"\x92\x02\x90", b"\x93\x01\x90\x90", b"\x92\x01\x91"])
def test_what_is_no_node_is_not_split(data: bytes) -> None:
    with pytest.raises(TreeCorrupt):
        split_own_node(data, name="n")


@pytest.mark.parametrize("data", [b"\xc0", b"\x91\xc4\x01a", b"\x90"])
def test_what_is_no_entry_is_not_decoded(data: bytes) -> None:
    with pytest.raises(TreeCorrupt):
        decode_entry(msgspec.Raw(data), name="n")
