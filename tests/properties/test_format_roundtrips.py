"""What a format writes it reads back; what is not a valid file is refused, never a crash."""

import contextlib
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import format_samples as sample
from tests.support.format_texts import Written, worked_example

from overland.crypto.keys import Purpose
from overland.errors import IntegrityError
from overland.format import index, pack, point, seed_manifest, signed, tree
from overland.format.drive_xml import (
    Blob,
    Block,
    ManifestXmlInvalid,
    PageRange,
    block_id,
    read_manifest,
    write_manifest,
)
from overland.format.index_parts import FIRST_BLOCK, HEAD_PART, Shape
from overland.sealing.indexfile import open_index
from overland.values import PackId


@st.composite
def directories(draw: st.DrawFn) -> pack.Directory:
    """A valid directory: segments of chunks, each stored raw or shrunk."""
    plan = draw(
        st.lists(
            st.tuples(
                st.lists(st.integers(1, 400_000), min_size=1, max_size=6), st.integers(0, 10)
            ),
            min_size=1,
            max_size=8,
        )
    )
    segments, chunks, offset = [], [], pack.HEADER_BYTES
    for number, (lengths, gain) in enumerate(plan):
        raw = sum(lengths)
        packed = max(1, raw - gain)
        sealed = packed + pack.TAG_BYTES
        segments.append((offset, sealed, raw, int(gain > 0), (0,) * 7))
        offset += sealed
        at = 0
        for length in lengths:
            digest = hashlib.sha256(f"{number} {at}".encode()).digest()
            chunks.append((np.frombuffer(digest, "u1"), number, at, length))
            at += length
    return pack.Directory(
        segments=np.array(segments, pack.SEGMENT_DTYPE), chunks=np.array(chunks, pack.CHUNK_DTYPE)
    )


def size_of(directory: pack.Directory) -> int:
    last = directory.segments[-1]
    end = int(last["offset"]) + int(last["sealed_bytes"])
    plain = pack.encode_directory(directory)
    return end + len(plain) + pack.TAG_BYTES + pack.TRAILER_BYTES


@given(directory=directories())
def test_a_directory_comes_back_and_aligns_its_pack(directory: pack.Directory) -> None:
    plain, size = pack.encode_directory(directory), size_of(directory)
    assert size % pack.ALIGNMENT == 0
    again = pack.decode_directory(plain, name="p", pack_bytes=size)
    assert again.segments.tobytes() == directory.segments.tobytes()
    assert again.chunks.tobytes() == directory.chunks.tobytes()
    with pytest.raises(pack.PackCorrupt):
        pack.decode_directory(plain, name="p", pack_bytes=size + 512)


@given(found=st.lists(directories(), min_size=1, max_size=5))
def test_an_index_is_the_directories_of_its_packs(found: list[pack.Directory]) -> None:
    packs = [
        index.PackDirectory(
            pack_id=PackId(hashlib.sha256(bytes([i])).hexdigest()),
            pack_bytes=size_of(directory),
            directory=directory,
        )
        for i, directory in enumerate(found)
    ]
    shape, plain = index.encode_index(packs)
    assert shape.file_bytes % pack.ALIGNMENT == 0
    head, rest = plain[: HEAD_PART.plain_bytes], plain[HEAD_PART.plain_bytes :]
    assert index.decode_head(bytes(head), size_bytes=shape.file_bytes, name="i") == shape
    tables = index.decode_index(shape, rest, name="i")
    ids = [row.tobytes() for row in tables.chunks["id"]]
    assert ids == sorted(ids)
    again = tables.directories()
    assert [(p.pack_id, p.pack_bytes) for p in again] == [(p.pack_id, p.pack_bytes) for p in packs]
    for one, other in zip(again, packs, strict=True):
        assert one.directory.segments.tobytes() == other.directory.segments.tobytes()
        assert one.directory.chunks.tobytes() == other.directory.chunks.tobytes()


@given(directory=directories(), data=st.data())
def test_a_changed_table_is_refused_or_only_an_id_differs(
    directory: pack.Directory, data: st.DataObject
) -> None:
    plain, size = bytearray(pack.encode_directory(directory)), size_of(directory)
    place = data.draw(st.integers(0, len(plain) - 1))
    plain[place] ^= data.draw(st.integers(1, 255))
    try:
        again = pack.decode_directory(bytes(plain), name="p", pack_bytes=size)
    except pack.PackCorrupt:
        return
    for field in ("segment", "offset", "length"):
        assert again.chunks[field].tolist() == directory.chunks[field].tolist()


@given(packs=st.integers(1, 100), segments=st.integers(0, 3000), chunks=st.integers(0, 3000))
def test_the_parts_of_an_index_lie_back_to_back(packs: int, segments: int, chunks: int) -> None:
    shape = Shape(packs=packs, segments=packs + segments, chunks=packs + segments + chunks)
    parts = [HEAD_PART, *shape.parts()]
    assert [part.number for part in parts] == list(range(len(parts)))
    assert [part.offset for part in parts[1:]] == [part.end for part in parts[:-1]]
    assert all(shape.block(part.number) == part for part in parts[FIRST_BLOCK:])
    assert parts[-1].end == shape.file_bytes
    assert shape.file_bytes % 512 == 0
    length = index.plain_bytes(packs=shape.packs, segments=shape.segments, chunks=shape.chunks)
    assert sum(part.plain_bytes for part in parts) == length
    rows = 48 + 48 * shape.packs + 24 * shape.segments + 44 * shape.chunks
    assert 0 <= length - rows - 8 * -(-shape.chunks // 256) < 512


NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda n: n not in {b".", b".."} and not set(n) & {0, 47}
)


@st.composite
def entries(draw: st.DrawFn) -> tree.Entry:
    kind: tree.Kind = draw(st.sampled_from(["file", "folder", "symlink", "fifo"]))
    has_data = kind == "folder" or (kind == "file" and draw(st.booleans()))
    content = bytes(32 * draw(st.integers(1, 3))) if has_data else b""
    size = draw(st.integers(1, 2**63 - 1)) if has_data else 0
    names = sorted(draw(st.sets(NAMES, max_size=3)))
    return tree.Entry(
        name=draw(NAMES),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, 2**32 - 1)),
        gid=draw(st.integers(0, 2**32 - 1)),
        user=draw(st.none() | st.text(max_size=5)),
        group=draw(st.none() | st.text(max_size=5)),
        mtime_ns=draw(st.integers(-(2**63), 2**63 - 1)),
        size_bytes=size,
        content=content,
        levels=draw(st.integers(0, 4)) if content else 0,
        extents=((0, size),) if kind == "file" and content and draw(st.booleans()) else None,
        target=draw(NAMES) if kind == "symlink" else b"",
        xattrs=tuple((name, draw(st.binary(max_size=9))) for name in names),
        link=bytes(16) if kind != "folder" and draw(st.booleans()) else b"",
        changed=draw(st.booleans()),
    )


@given(found=st.lists(entries(), max_size=8, unique_by=lambda e: e.name))
def test_a_folder_comes_back_entry_for_entry(found: list[tree.Entry]) -> None:
    found.sort(key=lambda e: e.name)
    assert tree.decode_node(tree.encode_node(found), name="n") == found


@given(found=entries())
def test_a_root_comes_back(found: tree.Entry) -> None:
    root = msgspec.structs.replace(sample.root(), roots=[point.Root(b"/x\xff", found)])
    assert point.decode_root(point.encode_root(root), name="r") == root


@given(
    # Hypothesis takes bounds without a zone; UTC is put on what it draws.
    ended=st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2500, 1, 1)).map(  # noqa: DTZ001 - so
        lambda d: d.replace(tzinfo=UTC)
    )
)
def test_instants_keep_their_microseconds(ended: datetime) -> None:
    root = msgspec.structs.replace(sample.root(), ended_at=ended)
    assert point.decode_root(point.encode_root(root), name="r").ended_at == ended
    public = msgspec.structs.replace(PUBLIC, created_at=ended)
    assert point.decode_public(point.encode_public(public), name="p") == public


PUBLIC = sample.public()


@given(body=st.text(alphabet=st.characters(exclude_characters="\n"), max_size=50))
def test_a_signed_document_gives_its_body_back(body: str) -> None:
    line = body.encode(errors="replace")
    document = signed.encode_signed("p", line, public_key=bytes(32), sign=lambda _: b"s" * 64)
    found = signed.decode_signed(document, "p", name="d")
    assert (found.body, found.public_key, found.signature) == (line, bytes(32), b"s" * 64)


PARTS = st.text(alphabet="abcXYZ019 ._-&'\N{LATIN SMALL LETTER E WITH ACUTE}", min_size=1).filter(
    lambda p: p not in {".", ".."}
)
MD5 = st.binary(min_size=16, max_size=16).map(lambda d: d.hex().upper())


@st.composite
def blobs(draw: st.DrawFn) -> Blob:
    path = draw(st.lists(PARTS, min_size=1, max_size=3))
    lengths = draw(st.lists(st.integers(1, 8000), max_size=5))
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    ranges = blocks = None
    if draw(st.booleans()):
        unit = 512
        ranges = tuple(
            PageRange(s * unit, n * unit, draw(MD5)) for s, n in zip(starts, lengths, strict=True)
        )
    else:
        unit = 1
        named = draw(st.booleans())
        blocks = tuple(
            Block(s, n, draw(MD5), block_id(i) if named else None)
            for i, (s, n) in enumerate(zip(starts, lengths, strict=True))
        )
    return Blob(
        blob_path="/".join(["c", *path]),
        file_path="\\" + "\\".join(path),
        length=sum(lengths) * unit,
        disposition=draw(st.sampled_from(["no-overwrite", "overwrite", "rename"])),
        page_ranges=ranges,
        blocks=blocks,
    )


@given(found=st.lists(blobs(), max_size=4))
def test_an_xml_manifest_comes_back_blob_for_blob(found: list[Blob]) -> None:
    out = Written()
    write_manifest(out, "SERIAL-1", found)
    again = read_manifest(bytes(out))
    assert again.drive_id == "SERIAL-1"
    assert list(again.blobs) == found


@given(data=st.data())
def test_a_changed_byte_of_xml_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    xml = bytearray(worked_example())
    xml[data.draw(st.integers(0, len(xml) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ManifestXmlInvalid):
        list(read_manifest(bytes(xml)).blobs)


def index_of_parts(data: bytes) -> list[index.PackDirectory]:
    shape = index.decode_head(sample.index_plain()[0], size_bytes=1024, name="x")
    return index.decode_index(shape, memoryview(data), name="x").directories()


GOOD = {
    "pack": sample.sample_pack()[0],
    "point": sample.sample_point(),
    "root": point.encode_root(sample.root()),
    "node": tree.encode_node(sample.entries()),
    "index": sample.seal_index(sample.index_plain()),
    "index head": sample.index_plain()[0],
    "index parts": b"".join(sample.index_plain()[1:]),
    "manifest": seed_manifest.encode_seed_manifest(sample.manifest()),
}
READ: dict[str, Callable[[bytes], object]] = {
    "pack": lambda data: pack.decode_trailer(data[-64:], name="x", pack_bytes=len(data)),
    "point": lambda data: point.parse(data, name="x"),
    "root": lambda data: point.decode_root(data, name="x"),
    "node": lambda data: tree.decode_node(data, name="x"),
    "index": lambda data: open_index(
        sample.keys()[1].subkeys(Purpose.INDEX), data, repository_id=sample.REPOSITORY, name="x"
    ),
    "index head": lambda data: index.decode_head(data, size_bytes=1024, name="x"),
    "index parts": index_of_parts,
    "manifest": lambda data: seed_manifest.decode_seed_manifest(data, name="x"),
}


@pytest.mark.parametrize("kind", sorted(GOOD))
@given(data=st.data())
def test_hostile_bytes_are_read_or_refused_and_nothing_else(kind: str, data: st.DataObject) -> None:
    raw = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 20))
    with contextlib.suppress(IntegrityError):
        READ[kind](bytes(raw[: len(raw) - cut]))


@pytest.mark.parametrize("kind", sorted(GOOD))
@given(data=st.binary(max_size=600))
def test_noise_is_refused(kind: str, data: bytes) -> None:
    with pytest.raises(IntegrityError):
        READ[kind](data)


def test_deep_nesting_is_refused() -> None:
    for deep in (b"\x91" * 100_000, b"[" * 100_000):
        for kind in ("node", "root", "manifest"):
            with pytest.raises(IntegrityError):
                READ[kind](deep)
