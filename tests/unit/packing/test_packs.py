"""Packs written and read back, with a cipher that only marks what it has sealed."""

import hashlib
import os
from itertools import pairwise

import pytest
from msgspec.structs import replace
from tests.support.faulty import FaultyFiles
from tests.support.simdisk import SimDisk

from overland.errors import ObjectAbsent, ObjectCorrupt, OutOfSpace
from overland.format.index import PackDirectory
from overland.format.pack import (
    CODEC_RAW,
    TRAILER_BYTES,
    Header,
    PackCorrupt,
    decode_trailer,
    encode_header,
    encode_trailer,
)
from overland.packing.index import ChunkIndex, Ids, as_ids
from overland.packing.reader import ChunkAbsent, PackReader, read_directory
from overland.packing.writer import FinishedPack, PackWriter
from overland.ports.files import Files
from overland.values import RepositoryId, pack_name

REPOSITORY = RepositoryId("6f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11")
HEADER = encode_header(Header(repository_id=REPOSITORY, master_number=0, salt=b"s" * 32))
TAG = b"TAG OF 16 BYTES."


def chunk_id(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


class Marked:
    """A cipher that adds a tag and checks it."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.opened: list[int] = []

    def open_segment(
        self, number: int, sealed: bytes | memoryview, *, codec: int, raw_bytes: int
    ) -> bytes:
        assert codec == CODEC_RAW
        self.opened.append(number)
        raw = self.open_directory(sealed)
        assert len(raw) == raw_bytes
        return raw

    def open_directory(self, sealed: bytes | memoryview) -> bytes:
        if bytes(sealed[-16:]) != TAG:
            raise ObjectCorrupt(self.name, check="tag")
        return bytes(sealed[:-16])


def finish(disk: Files, segments: list[list[bytes]]) -> FinishedPack:
    writer = PackWriter(disk, header=HEADER)
    for chunks in segments:
        raw = b"".join(chunks)
        writer.append(
            memoryview(raw + TAG),
            raw_bytes=len(raw),
            codec=CODEC_RAW,
            ids=[chunk_id(chunk) for chunk in chunks],
            lengths=[len(chunk) for chunk in chunks],
        )
    return writer.finish(lambda plain: plain + TAG)


def publish(disk: SimDisk, segments: list[list[bytes]]) -> PackDirectory:
    pack = finish(disk, segments)
    pack.publish()
    return pack.directory


def reader(disk: SimDisk, index: ChunkIndex, cipher: Marked | None = None) -> PackReader:
    opened = cipher or Marked()
    return PackReader(disk, index, open_pack=lambda _header, _name: opened, chunk_id=chunk_id)


def index_of(*packs: PackDirectory) -> ChunkIndex:
    index = ChunkIndex(REPOSITORY)
    for pack in packs:
        index.add(pack)
    return index


def ids_of(*chunks: bytes) -> Ids:
    return as_ids(b"".join(chunk_id(chunk) for chunk in chunks))


CHUNKS = [os.urandom(size) for size in (1, 10, 500, 7000, 3, 80)]
SEGMENTS = [CHUNKS[:2], CHUNKS[2:5], CHUNKS[5:]]


def test_a_pack_is_named_by_its_bytes_and_seen_only_when_published() -> None:
    disk = SimDisk()
    pack = finish(disk, SEGMENTS)
    assert list(disk.names()) == []
    pack.publish()
    name = pack_name(pack.directory.pack_id)
    data = disk.read(name)
    assert hashlib.sha256(data).hexdigest() == pack.directory.pack_id
    assert len(data) == pack.directory.pack_bytes
    assert len(data) % 512 == 0


def test_an_abandoned_pack_leaves_nothing() -> None:
    disk = SimDisk()
    finish(disk, SEGMENTS).abandon()
    assert list(disk.names()) == []


def test_every_chunk_comes_back_in_the_order_of_the_packs() -> None:
    disk = SimDisk()
    one, two = publish(disk, SEGMENTS), publish(disk, [[b"other", b"chunks"]])
    wanted = [CHUNKS[4], b"chunks", CHUNKS[0], CHUNKS[5], b"other", CHUNKS[3], CHUNKS[0]]
    with reader(disk, index_of(one, two)) as packs:
        found = [(position, bytes(data)) for position, data in packs.read_chunks(ids_of(*wanted))]
        assert packs.read(ids_of(*wanted)) == wanted
    assert [data for _, data in sorted(found)] == wanted
    places = index_of(one, two).places(index_of(one, two).lookup(ids_of(*wanted)))
    order = [(places["pack"][at], places["segment_offset"][at]) for at, _ in found]
    assert all(first <= second for first, second in pairwise(order))


def test_a_segment_is_opened_once_however_often_its_chunks_are_asked_for() -> None:
    disk, cipher = SimDisk(), Marked()
    index = index_of(publish(disk, SEGMENTS))
    with reader(disk, index, cipher) as packs:
        list(packs.read_chunks(ids_of(*CHUNKS, *CHUNKS[::-1])))
    assert sorted(cipher.opened) == [0, 1, 2]


def test_a_chunk_that_nobody_knows_is_absent_before_anything_is_read() -> None:
    disk, cipher = SimDisk(), Marked()
    index = index_of(publish(disk, SEGMENTS))
    with reader(disk, index, cipher) as packs:
        with pytest.raises(ChunkAbsent) as absent:
            packs.read_chunks(ids_of(CHUNKS[0], b"unknown", b"too"))
        assert list(packs.missing(ids_of(CHUNKS[0], b"unknown"))) == [1]
    assert absent.value.count == 2
    assert absent.value.chunk_id == chunk_id(b"unknown")
    assert cipher.opened == []


def test_asked_for_nothing_the_reader_gives_nothing() -> None:
    with reader(SimDisk(), ChunkIndex(REPOSITORY)) as packs:
        assert packs.read(as_ids(b"")) == []


def test_a_pack_that_is_gone_is_absent_and_not_corrupt() -> None:
    disk = SimDisk()
    pack = publish(disk, SEGMENTS)
    disk.delete(pack_name(pack.pack_id))
    with reader(disk, index_of(pack)) as packs, pytest.raises(ObjectAbsent):
        list(packs.read_chunks(ids_of(CHUNKS[0])))


def test_a_flipped_bit_in_a_segment_is_never_a_chunk() -> None:
    disk = SimDisk()
    pack = publish(disk, SEGMENTS)
    name, first = pack_name(pack.pack_id), pack.directory.segments[0]
    for offset in range(int(first["offset"]), int(first["offset"] + first["sealed_bytes"])):
        disk.damage(name, offset=offset)
        with reader(disk, index_of(pack)) as packs, pytest.raises(ObjectCorrupt):
            list(packs.read_chunks(ids_of(*CHUNKS[:2])))
        disk.damage(name, offset=offset)


def test_a_pack_that_is_cut_off_is_corrupt() -> None:
    disk = SimDisk()
    pack = publish(disk, SEGMENTS)
    disk.truncate(pack_name(pack.pack_id), length=1000)
    with reader(disk, index_of(pack)) as packs, pytest.raises(ObjectCorrupt):
        list(packs.read_chunks(ids_of(*CHUNKS)))


def test_the_directory_is_read_back_from_the_pack_alone() -> None:
    disk = SimDisk()
    pack = publish(disk, SEGMENTS)
    again = read_directory(
        disk,
        pack.pack_id,
        size_bytes=pack.pack_bytes,
        open_pack=lambda _header, name: Marked(name),
    )
    assert again.pack_bytes == pack.pack_bytes
    assert (again.directory.chunks == pack.directory.chunks).all()
    assert (again.directory.segments == pack.directory.segments).all()


def test_a_file_that_is_no_pack_has_no_directory() -> None:
    disk = SimDisk()
    pack = publish(disk, SEGMENTS)
    name = pack_name(pack.pack_id)
    for content in (b"", b"x" * 100, b"y" * 512, disk.read(name)[:-512]):
        disk.write(name, content)
        with pytest.raises(ObjectCorrupt):
            read_directory(
                disk,
                pack.pack_id,
                size_bytes=len(content),
                open_pack=lambda _header, file: Marked(file),
            )
    assert issubclass(PackCorrupt, ObjectCorrupt)


def test_a_trailer_that_counts_otherwise_than_the_directory_is_refused() -> None:
    disk = SimDisk()
    pack = publish(disk, SEGMENTS)
    name = pack_name(pack.pack_id)
    content = disk.read(name)
    trailer = decode_trailer(content[-TRAILER_BYTES:], name=name, pack_bytes=len(content))
    for other in (
        replace(trailer, chunk_count=trailer.chunk_count - 1),
        replace(trailer, segment_count=trailer.segment_count + 1),
    ):
        disk.write(name, content[:-TRAILER_BYTES] + encode_trailer(other))
        with pytest.raises(PackCorrupt):
            read_directory(
                disk,
                pack.pack_id,
                size_bytes=len(content),
                open_pack=lambda _header, file: Marked(file),
            )


def test_a_full_medium_publishes_nothing() -> None:
    for room in range(0, 9000, 500):
        inner = SimDisk()
        files = FaultyFiles(inner, full_after_bytes=room)
        try:
            finish(files, SEGMENTS).publish()
        except OutOfSpace:
            assert list(inner.names()) == []
        else:
            assert len(list(inner.names())) == 1
