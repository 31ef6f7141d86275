"""The bounds of files that are no JSON: the last that is allowed is taken, and the next is not."""

from collections.abc import Iterator
from itertools import chain

import pytest
from msgspec.structs import replace
from tests.support import format_samples as sample

from overland.format import nodestream, pack, point, signed
from overland.format.header import HEADER_BYTES
from overland.format.nodestream import MOST_ENTRIES, entry_batches
from overland.format.point import PointCorrupt
from overland.format.signed import SignedDocumentInvalid, decode_signed, encode_signed
from overland.format.tree import Entry, TreeCorrupt, decode_node, encode_node

NAME = "the sample"


def numbered(count: int, *, first: int = 0) -> list[Entry]:
    bare = sample.entries()[0]
    return [replace(bare, name=b"%08d" % (first + number)) for number in range(count)]


def streamed(*blocks: bytes) -> list[Entry]:
    return list(chain.from_iterable(entry_batches(blocks, name=NAME)))


# -- headers ----------------------------------------------------------------------------------


def test_a_header_alone_is_enough_and_a_byte_less_is_not() -> None:
    header = sample.sample_pack()[0][:HEADER_BYTES]
    assert pack.decode_header(header, name=NAME).repository_id == sample.REPOSITORY
    with pytest.raises(pack.PackCorrupt, match="cut"):
        pack.decode_header(header[:-1], name=NAME)


# -- recovery points --------------------------------------------------------------------------


def point_file(sealed_bytes: int) -> bytes:
    return bytes(
        point.assemble(
            sample.public(), bytes(sealed_bytes), master_number=0, sign=lambda _: bytes(64)
        )
    )


def test_a_root_has_at_least_a_byte_of_its_own() -> None:
    assert point.parse(point_file(17), name=NAME).sealed_root == bytes(17)
    with pytest.raises(PointCorrupt, match="do not fill the file"):
        point.parse(point_file(16), name=NAME)


def test_where_the_parts_fill_the_file_a_block_more_is_a_block_too_many() -> None:
    sizes = [size for size in range(17, 17 + 512) if _padding(point_file(size), size) == 0]
    assert len(sizes) == 1
    data = point_file(sizes[0])
    assert point.parse(data, name=NAME).sealed_root == bytes(sizes[0])
    with pytest.raises(PointCorrupt, match="do not fill the file"):
        point.parse(data[:-64] + bytes(512) + data[-64:], name=NAME)


def _padding(data: bytes, sealed_bytes: int) -> int:
    return len(data) - 32 - len(point.encode_public(sample.public())) - sealed_bytes - 64


def test_no_root_is_written_that_no_reader_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = point.encode_root(sample.root())
    monkeypatch.setattr(point, "MAX_ROOT_BYTES", len(plain) + 16)
    assert point.encode_root(sample.root()) == plain
    monkeypatch.setattr(point, "MAX_ROOT_BYTES", len(plain) + 15)
    with pytest.raises(PointCorrupt, match="too long"):
        point.encode_root(sample.root())


# -- folders' nodes ---------------------------------------------------------------------------


def test_a_name_is_in_a_node_once() -> None:
    twice = [*numbered(1), *numbered(1)]
    with pytest.raises(TreeCorrupt, match="not unique"):
        encode_node(twice)
    one = encode_node(numbered(1))
    forged = one[:2] + b"\x92" + one[3:] + one[3:]
    with pytest.raises(TreeCorrupt, match="not unique"):
        decode_node(forged, name=NAME)


def test_a_name_that_ends_a_batch_does_not_begin_the_next() -> None:
    first = encode_node(numbered(MOST_ENTRIES))
    second = encode_node([*numbered(1, first=MOST_ENTRIES - 1), *numbered(1, first=MOST_ENTRIES)])
    both = encode_node(numbered(MOST_ENTRIES + 2))
    forged = both[:5] + first[5:] + second[3:]
    with pytest.raises(TreeCorrupt, match="not unique"):
        streamed(forged)


@pytest.mark.parametrize("count", [0, 1, MOST_ENTRIES])
def test_nothing_follows_a_node_in_the_next_block_either(count: int) -> None:
    node = encode_node(numbered(count))
    assert streamed(node, b"", b"") == numbered(count)
    for after in ([b"\xc0"], [b"", b"\xc0"]):
        with pytest.raises(TreeCorrupt, match="follows"):
            streamed(node, *after)


def test_a_node_is_read_up_to_its_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    node = encode_node(numbered(5))
    monkeypatch.setattr(nodestream, "MAX_NODE_BYTES", len(node))
    assert streamed(node) == numbered(5)
    monkeypatch.setattr(nodestream, "MAX_NODE_BYTES", len(node) - 1)
    with pytest.raises(TreeCorrupt, match="too long"):
        streamed(node)


def with_extents(*extents: tuple[int, int], size_bytes: int) -> Entry:
    bare = sample.entries()[0]
    return replace(
        bare, kind="file", extents=extents, size_bytes=size_bytes, content=bytes(32), levels=0
    )


def test_an_extent_ends_where_its_file_does_and_begins_behind_the_one_before() -> None:
    encode_node([with_extents((0, 10), (10, 20), size_bytes=30)])
    for extents in [
        ((0, 10), (10, 21)),
        ((0, 10), (9, 20)),
        ((30, 1),),
        ((0, 0), (10, 5)),
    ]:
        with pytest.raises(TreeCorrupt, match="extents"):
            encode_node([with_extents(*extents, size_bytes=30)])


# -- signed documents -------------------------------------------------------------------------


def document(body: bytes = b"{}", purpose: str = "overland-sample") -> bytes:
    return encode_signed(purpose, body, public_key=bytes(32), sign=lambda _: bytes(64))


def torn(data: bytes) -> Iterator[bytes]:
    yield data[:-1]
    for more in (b"\n", b" ", b"\0", b"{}", b"\n\n"):
        yield data + more
    yield data[:-1] + b" \n"
    yield data.replace(b"\n", b"\n ", 1)


def test_a_signed_document_ends_with_its_signature_line() -> None:
    data = document()
    assert decode_signed(data, "overland-sample", name=NAME).body == b"{}"
    for other in torn(data):
        with pytest.raises(SignedDocumentInvalid):
            decode_signed(other, "overland-sample", name=NAME)


def test_a_signed_document_is_read_up_to_its_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    data = document()
    monkeypatch.setattr(signed, "MAX_DOCUMENT_BYTES", len(data))
    decode_signed(data, "overland-sample", name=NAME)
    monkeypatch.setattr(signed, "MAX_DOCUMENT_BYTES", len(data) - 1)
    with pytest.raises(SignedDocumentInvalid, match="too long"):
        decode_signed(data, "overland-sample", name=NAME)


def test_a_signature_line_is_looked_into_up_to_its_longest() -> None:
    bare = len(document(purpose="p")) - len(b"{}\n") - 1
    for length, why in ((1024, "not signed for"), (1025, "no signature line")):
        data = document(purpose="p" * (length - bare))
        assert len(data) == len(b"{}\n") + length
        with pytest.raises(SignedDocumentInvalid, match=why):
            decode_signed(data, "overland-sample", name=NAME)
