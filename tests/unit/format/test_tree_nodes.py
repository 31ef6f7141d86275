"""Nodes are decoded together as they are one by one: every rule holds in each of them."""

from collections.abc import Sequence
from itertools import permutations

import msgspec
import pytest
from tests.support import format_samples as sample

from overland.format import tree
from overland.format.tree import Entry, TreeCorrupt, decode_node, decode_nodes, encode_node

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
