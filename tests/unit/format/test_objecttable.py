"""Tables of objects are sequences of them, in few bytes; their JSON is what it always was."""

import hashlib
import random
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import format_samples as sample

from overland.format import seed_manifest as manifests
from overland.format.objecttable import (
    ListingBroken,
    ObjectRef,
    ObjectTable,
    joined,
    listing,
    split,
)
from overland.format.point import (
    MAX_POINT_BYTES,
    MAX_ROOT_BYTES,
    PointCorrupt,
    PointPublic,
    assemble,
    decode_public,
    encode_public,
    parse,
)
from overland.format.signed import MAX_DOCUMENT_BYTES
from overland.values import (
    PackId,
    PointId,
    RepositoryId,
    index_name,
    is_object_name,
    pack_name,
    point_name,
)

MODULE = "overland.format.objecttable"
MANY = 1_500_000  # packs of 64 MiB: 100 TB


def ref(kind: str, digest: bytes, size_bytes: int = 512) -> ObjectRef:
    sha256 = digest.hex()
    name = {
        "pack": pack_name(PackId(sha256)),
        "index": index_name(sha256),
        "point": point_name(PointId(f"00000000-0000-4000-8000-{sha256[-12:]}")),
    }[kind]
    return ObjectRef(name=name, size_bytes=size_bytes, sha256=sha256)


def packs(count: int) -> Iterator[ObjectRef]:
    return (ref("pack", hashlib.sha256(b"%d" % number).digest()) for number in range(count))


# Digests that end with zeros, or differ in one byte only, are what arrays of texts get wrong.
DIGESTS = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 31).map(lambda at: bytes(at) + b"\1" + bytes(31 - at)),
    st.just(bytes(32)),
)
REFS = st.builds(ref, st.sampled_from(["pack", "index", "point"]), DIGESTS, st.integers(1, 1 << 30))


@given(refs=st.lists(REFS, max_size=12))
def test_a_table_is_the_sequence_of_its_objects(refs: list[ObjectRef]) -> None:
    table = ObjectTable(refs)
    assert list(table) == refs
    assert table == refs
    assert [table[place] for place in range(-len(refs), len(refs))] == [*refs, *refs]
    assert table[1:-1] == refs[1:-1]
    assert table.size_bytes == sum(each.size_bytes for each in refs)
    assert refs != ObjectTable([*refs, ref("pack", bytes(32))])
    with pytest.raises(IndexError):
        table[len(refs)]


@pytest.mark.parametrize("few", [0, 4096])
@given(refs=st.lists(REFS, max_size=12))
def test_names_that_are_there_twice_are_found(few: int, refs: list[ObjectRef]) -> None:
    names = [each.name for each in refs]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(f"{MODULE}._FEW", few)
        assert ObjectTable(refs).has_twice() == (len(set(names)) < len(names))


@given(refs=st.lists(REFS, max_size=12))
def test_a_sorted_table_has_the_order_of_names(refs: list[ObjectRef]) -> None:
    assert ObjectTable(refs).by_name() == sorted(refs, key=lambda each: each.name)


# -- JSON -------------------------------------------------------------------------------------


def check_name(each: ObjectRef) -> None:
    """As every document does; a table relies on it where it looks for the end of a block."""
    if not is_object_name(each.name):
        raise ListingBroken("no name of an object")


def whole(text: bytes) -> list[ObjectRef]:
    """What `listing` reads in blocks, at once."""
    rows = msgspec.json.decode(b"[%b]" % text, type=list[ObjectRef])
    if msgspec.json.encode(rows) != b"[%b]" % text:
        raise ListingBroken("not canonical")
    for row in rows:
        check_name(row)
    return rows


def taken(read: Callable[[], object]) -> object:
    try:
        return read()
    except (msgspec.DecodeError, UnicodeDecodeError, ListingBroken):
        return None


def damaged(text: bytes, choose: random.Random) -> bytes:
    """Return the text with something of it changed, lost, doubled or put elsewhere."""
    at, end = sorted(choose.randrange(len(text) + 1) for _ in range(2))
    piece = choose.choice([b"", b",", b"},{", b" ", text[at:end] * 2, choose.randbytes(2), b"}]"])
    return text[:at] + piece + text[end if choose.random() < 0.5 else at :]


@pytest.mark.parametrize("seed", range(20))
def test_blocks_are_read_as_the_whole_is(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = random.Random(seed)
    monkeypatch.setattr(f"{MODULE}._BLOCK_BYTES", choose.choice([256, 300, 700]))
    monkeypatch.setattr(f"{MODULE}._BLOCK_ROWS", choose.choice([1, 2, 5]))
    refs = list(packs(7))
    text = b"".join(joined(b'{"objects":[]}', refs))[12:-2]
    assert whole(text) == refs
    for changed in [text, b"", *(damaged(text, choose) for _ in range(200))]:
        found = taken(lambda: listing(memoryview(changed), check=check_name))  # noqa: B023 - read at once
        assert found == taken(lambda: whole(changed)), changed  # noqa: B023 - read at once


class Document(msgspec.Struct):
    name: str
    objects: list[ObjectRef]
    parity: list[str]


@given(name=st.text(max_size=300), count=st.integers(0, 3), evil=st.booleans())
def test_a_document_is_split_where_its_objects_are(name: str, count: int, *, evil: bool) -> None:
    name = f'"objects":[{{}}]{name}"objects":[' if evil else name
    document = Document(name, list(packs(count)), [])
    text = msgspec.json.encode(document)
    shell, elements = split(text)
    assert msgspec.json.decode(shell, type=Document) == Document(name, [], [])
    assert list(listing(elements, check=lambda _: None)) == document.objects
    assert b"".join(joined(shell, document.objects)) == text


@pytest.mark.parametrize(
    "text",
    [b"{}", b'{"objects":[', b'{"objects":[{}', b'{"objects":[{}]' + bytes(40_000), bytes(9)],
)
def test_a_document_without_objects_is_refused(text: bytes) -> None:
    with pytest.raises(ListingBroken):
        split(text)


# -- bounds -----------------------------------------------------------------------------------


def public(objects: ObjectTable | list[ObjectRef]) -> PointPublic:
    return PointPublic(
        point_id=PointId("00000000-0000-4000-8000-000000000001"),
        repository_id=RepositoryId("00000000-0000-4000-8000-000000000002"),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        kind="full",
        seed_id=None,
        base=None,
        salt="5a" * 32,
        objects=objects,
    )


def test_a_first_copy_of_100_tb_fits_into_its_point_and_its_manifest() -> None:
    longest = len(msgspec.json.encode(ref("pack", bytes(32), 1 << 30))) + len(",")
    room = 1 << 20  # for all else
    assert MANY * longest + room < MAX_POINT_BYTES - MAX_ROOT_BYTES
    assert manifests.MAX_OBJECTS >= MANY
    assert manifests.MAX_OBJECTS * longest + room < MAX_DOCUMENT_BYTES


def test_a_manifest_of_more_objects_is_neither_written_nor_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = sample.manifest()
    body = manifests.encode_seed_manifest(good)
    monkeypatch.setattr(manifests, "MAX_OBJECTS", len(good.objects))
    assert manifests.decode_seed_manifest(body, name="m") == good
    monkeypatch.setattr(manifests, "MAX_OBJECTS", len(good.objects) - 1)
    with pytest.raises(manifests.ManifestInvalid, match="more than"):
        manifests.decode_seed_manifest(body, name="m")
    with pytest.raises(manifests.ManifestInvalid, match="more than"):
        manifests.encode_seed_manifest(good)


def test_a_point_that_no_reader_would_take_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    made = public(list(packs(20)))
    monkeypatch.setattr("overland.format.point.MAX_POINT_BYTES", 2048)
    with pytest.raises(PointCorrupt, match="more objects"):
        assemble(made, bytes(17), master_number=0, sign=lambda _: bytes(64))


def test_an_object_that_is_there_twice_is_refused_among_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{MODULE}._FEW", 0)
    body = bytes(encode_public(public([*packs(9)])))
    shell, elements = split(body)
    again = bytes(elements[: bytes(elements).index(b"},{") + 1])
    text = shell.replace(b"[]", b"[%b,%b]" % (bytes(elements), again))
    with pytest.raises(PointCorrupt, match="twice"):
        decode_public(text, name="p")
    with pytest.raises(PointCorrupt, match="twice"):
        encode_public(public([*packs(9), next(packs(1))]))


# -- memory -----------------------------------------------------------------------------------


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


COUNT, SLACK = 12_000, 2 << 20


def test_a_table_takes_few_bytes_for_each_object() -> None:
    assert peak_bytes(lambda: ObjectTable(packs(COUNT))) < 50 * COUNT + (1 << 16)


def test_a_point_of_many_objects_is_in_memory_once_while_it_is_written_and_read() -> None:
    made, files = public(ObjectTable(packs(COUNT))), list[bytearray]()
    files.append(assemble(made, bytes(17), master_number=0, sign=lambda _: bytes(64)))
    file_bytes = len(files[0])
    assert file_bytes > 180 * COUNT
    # A buffer that grows has an eighth more than is in it, and is moved by the system.
    written = peak_bytes(
        lambda: assemble(made, bytes(17), master_number=0, sign=lambda _: bytes(64))
    )
    assert written < 2.3 * file_bytes + SLACK
    read = peak_bytes(lambda: parse(files[0], name="p"))
    assert read < 100 * COUNT + SLACK, "the table, and what finds a name that is there twice"
    assert parse(files[0], name="p").public == made
