"""A few chunks are found in large index files by reading little of them, and never wrongly."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from tests.support.backed_up import PASSPHRASE, BackedUp, sample_keyring
from tests.support.simdisk import SimDisk
from tests.support.torture import fast_folder
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.agent.points import chunks as chunks_module
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.indexes import IndexFiles, read_index_file
from overland.agent.points.reading import ReadKeys, open_keys, open_point
from overland.agent.points.tree import PointTree
from overland.agent.restore.run import RestoreOptions, restore
from overland.agent.sources import LayeredObjects
from overland.crypto.aead import SealBroken
from overland.errors import IntegrityError, Unreachable
from overland.format import pack
from overland.format.index import PackDirectory
from overland.format.index_parts import FIRST_BLOCK, HEAD_PART, Part
from overland.packing.index import ChunkIndex, Ids
from overland.ports.progress import NullProgress
from overland.sealing.indexfile import IndexOpener, open_index, seal_index
from overland.source.chunker import Sizes
from overland.values import ObjectName, PackId, index_name

KEYS = ReadKeys.of(*sample_keyring()[:2])
SALT = bytes(32)
FILES = 3000


def pack_of(number: int, ids: Ids, *, per_segment: int) -> PackDirectory:
    """A pack of chunks with these ids, 1,000 bytes each."""
    chunks = np.zeros(len(ids), pack.CHUNK_DTYPE)
    chunks["id"], chunks["length"] = ids, 1000
    chunks["segment"] = np.arange(len(ids)) // per_segment
    chunks["offset"] = np.arange(len(ids)) % per_segment * 1000
    segments = np.zeros(-(-len(ids) // per_segment), pack.SEGMENT_DTYPE)
    segments["raw_bytes"] = np.bincount(chunks["segment"]) * 1000
    segments["sealed_bytes"], segments["codec"] = 516, 1
    segments["offset"] = 64 + 516 * np.arange(len(segments))
    sizes = pack.check_tables(
        segments,
        chunks,
        segment_counts=np.array([len(segments)]),
        chunk_counts=np.array([len(chunks)]),
        corrupt=pack.PackCorrupt,
        name="made here",
    )
    return PackDirectory(
        pack_id=PackId(hashlib.sha256(f"pack {number}".encode()).hexdigest()),
        pack_bytes=int(sizes[0]),
        directory=pack.Directory(segments=segments, chunks=chunks),
    )


class Indexed:
    """Index files of random chunks, on a disk."""

    def __init__(self, *, files: int = 3, packs: int = 4, chunks: int = 700, seed: int = 1) -> None:
        random = np.random.default_rng(seed)
        self.disk = SimDisk()
        self.names: list[ObjectName] = []
        self.packs: list[PackDirectory] = []
        for number in range(files):
            made = [
                pack_of(
                    number * packs + n,
                    random.integers(0, 256, (chunks, 32), np.uint8),
                    per_segment=1 + n * 3,
                )
                for n in range(packs)
            ]
            self.put(made, salt=bytes([number]) * 32)

    def put(self, packs: list[PackDirectory], *, salt: bytes) -> None:
        data = seal_index(KEYS.index, packs, repository_id=KEYS.repository_id, salt=salt)
        name = index_name(hashlib.sha256(data).hexdigest())
        self.disk.write(name, data)
        self.names.append(name)
        self.packs += packs

    @property
    def ids(self) -> Ids:
        found: Ids = np.concatenate([p.directory.chunks["id"] for p in self.packs])
        return found

    def layers(self, *more: SimDisk) -> LayeredObjects:
        disks = (self.disk, *more)
        return LayeredObjects([(f"{n}", FolderObjects(disk)) for n, disk in enumerate(disks)])

    def expected(self, ids: Ids) -> list[tuple[str, int, int, int]]:
        index = ChunkIndex(KEYS.repository_id)
        for directory in self.packs:
            index.add(directory)
        places = index.places(index.lookup(ids))
        fields = (places[f].tolist() for f in ("pack", "segment_offset", "offset", "segment"))
        return [(index.pack_id(pack), *rest) for pack, *rest in zip(*fields, strict=True)]

    def found(self, files: IndexFiles, ids: Ids) -> list[tuple[str, int, int, int]]:
        places, is_known = files.find(ids)
        assert is_known.all()
        fields = (places[f].tolist() for f in ("pack", "segment_offset", "offset", "segment"))
        return [(files.pack_id(pack), *rest) for pack, *rest in zip(*fields, strict=True)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_found_in_parts_is_what_the_whole_index_says(seed: int) -> None:
    indexed = Indexed(seed=seed)
    chosen = np.random.default_rng(seed).permutation(len(indexed.ids))
    files = IndexFiles(indexed.layers(), KEYS)
    for count in (1, 7, 300, len(chosen)):
        ids = indexed.ids[chosen[:count]]
        assert indexed.found(files, ids) == indexed.expected(ids)
    assert files.damaged == []


def test_every_chunk_at_the_border_of_a_block_is_found() -> None:
    indexed = Indexed(files=1, packs=2, chunks=2000)
    ids = indexed.ids[np.lexsort(indexed.ids.T[::-1])]
    borders = [at + step for at in range(0, 4000, 256) for step in (-1, 0, 1) if at + step >= 0]
    for at in borders:
        one = ids[at : at + 1]
        fresh = IndexFiles(indexed.layers(), KEYS)
        assert indexed.found(fresh, one) == indexed.expected(one)


def test_ids_with_one_prefix_over_several_blocks_are_told_apart() -> None:
    ids = np.zeros((1000, 32), np.uint8)
    ids[:, 28:] = np.arange(1000, dtype=">u4").view(np.uint8).reshape(-1, 4)
    indexed = Indexed(files=0)
    indexed.put(
        [pack_of(0, ids[np.random.default_rng(1).permutation(1000)], per_segment=9)], salt=SALT
    )
    assert indexed.found(IndexFiles(indexed.layers(), KEYS), ids) == indexed.expected(ids)


def test_a_chunk_that_no_file_names_is_not_known() -> None:
    indexed = Indexed()
    ids = np.concatenate(
        [indexed.ids[:1], np.full((1, 32), 7, np.uint8), np.zeros((1, 32), np.uint8)]
    )
    _, is_known = IndexFiles(indexed.layers(), KEYS).find(ids)
    assert is_known.tolist() == [True, False, False]


def test_of_two_packs_with_a_chunk_the_one_that_is_not_lost_is_found() -> None:
    ids = np.random.default_rng(1).integers(0, 256, (600, 32), np.uint8)
    first, second = pack_of(0, ids, per_segment=3), pack_of(1, ids, per_segment=5)
    indexed = Indexed(files=0)
    indexed.put([first, second], salt=SALT)
    for lost, left in ((first, second), (second, first)):
        files = IndexFiles(indexed.layers(), KEYS, without=frozenset({lost.pack_id}))
        assert {pack_id for pack_id, *_ in indexed.found(files, ids)} == {left.pack_id}
    files = IndexFiles(indexed.layers(), KEYS, without=frozenset({first.pack_id, second.pack_id}))
    _, is_known = files.find(ids)
    assert not is_known.any()


def test_one_look_up_reads_a_block_of_each_file_and_no_more() -> None:
    indexed = Indexed(files=3, packs=4, chunks=20_000)
    layers = indexed.layers()
    files = IndexFiles(layers, KEYS)
    files.find(indexed.ids[-1:])
    read = layers.served["0"].size_bytes
    assert read == files.read_bytes, "what it says it read is what it read"
    head_and_fan_out, blocks, packs = 3 * 5000, 3 * 12_000 + 6200, 1000
    assert read < head_and_fan_out + blocks + packs < files.size_bytes / 100
    files.find(indexed.ids[-1:])
    assert layers.served["0"].size_bytes == read, "opened blocks are kept"


def damaged_parts(indexed: Indexed, name: ObjectName) -> Iterator[tuple[str, Part]]:
    data = indexed.disk.read(name)
    opener = IndexOpener(
        KEYS.index, data, size_bytes=len(data), repository_id=KEYS.repository_id, name=name
    )
    yield "header", Part(0, 0, 48)
    yield "head", HEAD_PART
    yield "fan-out", opener.shape.fan_out()
    yield "packs", opener.shape.pack_table()
    yield "segments", opener.shape.block(FIRST_BLOCK)
    yield "chunks", opener.shape.block(FIRST_BLOCK + opener.shape.segment_blocks)


@pytest.mark.parametrize("chunks", [20, 700], ids=["small", "large"])
@pytest.mark.parametrize("place", range(6))
def test_a_damaged_part_is_noticed_and_the_next_copy_serves(place: int, chunks: int) -> None:
    indexed = Indexed(files=1, packs=1, chunks=chunks)
    [name] = indexed.names
    good = SimDisk()
    good.write(name, indexed.disk.read(name))
    _, part = list(damaged_parts(indexed, name))[place]
    indexed.disk.damage(name, offset=part.offset + part.sealed_bytes // 2)
    alone = IndexFiles(indexed.layers(), KEYS)
    _, is_known = alone.find(indexed.ids)
    assert not is_known.all()
    assert alone.damaged == [name]
    with pytest.raises(IntegrityError):
        read_index_file(indexed.layers(), KEYS, name)
    healed = indexed.layers(good)
    assert indexed.found(IndexFiles(healed, KEYS), indexed.ids) == indexed.expected(indexed.ids)
    assert healed.served["0"].damaged == {name}


@pytest.mark.parametrize("part", [1, 2, FIRST_BLOCK, 6])
def test_a_part_in_the_place_of_another_does_not_open(part: int) -> None:
    indexed = Indexed(files=2, packs=1, chunks=700)
    one, other = (indexed.disk.read(name) for name in indexed.names)
    opener = IndexOpener(
        KEYS.index, one, size_bytes=len(one), repository_id=KEYS.repository_id, name="i"
    )
    parts = [HEAD_PART, *opener.shape.parts()]
    mine, next_one = parts[part], parts[part + 1]
    swapped = (
        one[: mine.offset]
        + one[next_one.offset : next_one.end]
        + one[mine.offset : mine.end]
        + one[next_one.end :]
    )
    of_another_file = one[: mine.offset] + other[mine.offset : mine.end] + one[mine.end :]
    for data in (swapped, of_another_file):
        with pytest.raises(SealBroken):
            open_index(KEYS.index, data, repository_id=KEYS.repository_id, name="i")


def test_a_layer_that_does_not_answer_is_not_taken_for_an_absent_chunk() -> None:
    class Silent(FolderObjects):
        @override
        def read_range(self, name: str, *, offset: int, length: int) -> bytes:
            raise Unreachable("the vault")

    indexed = Indexed(files=1)
    files = IndexFiles(LayeredObjects([("vault", Silent(indexed.disk))]), KEYS)
    with pytest.raises(Unreachable):
        files.find(indexed.ids[:1])


# -- through the store, with a real backup ------------------------------------------------------


@pytest.fixture
def backed(monkeypatch: pytest.MonkeyPatch) -> Iterator[BackedUp]:
    monkeypatch.setattr(chunks_module, "_WHOLE_BYTES", 0)  # or small files would be read whole
    with fast_folder() as folder:
        world = BackedUp(
            folder, sizes=Sizes(min_bytes=1 << 16, mean_bytes=1 << 18, max_bytes=1 << 20)
        )
        for number in range(FILES):
            path = world.source / f"{number % 20:02}" / f"{number:03}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{number}\n".encode() * 20)
        world.back_up()
        yield world


def opened(backed: BackedUp) -> ChunkStore:
    objects = backed.objects()
    store = ChunkStore(objects, open_keys(objects, passphrase=PASSPHRASE))
    store.open_index()
    return store


def restored(backed: BackedUp, store: ChunkStore, *paths: bytes) -> None:
    restore(
        open_point(store.objects, store.keys, backed.results[-1].point_id),
        store=store,
        target=str(backed.target).encode(),
        progress=NullProgress(),
        paths=paths,
        options=RestoreOptions(strip=str(backed.source).encode(), sync=False),
    )


def test_one_path_comes_back_without_the_whole_index(backed: BackedUp) -> None:
    store = opened(backed)
    restored(backed, store, f"{backed.source}/07/007".encode())
    assert (backed.target / "07/007").read_bytes() == b"7\n" * 20
    assert len(store.index) == 0, "nothing was loaded"


def test_a_walk_through_everything_loads_the_index_in_the_end(backed: BackedUp) -> None:
    store = opened(backed)
    restored(backed, store)
    assert len(store.index) > FILES
    assert len(list(backed.target.glob("*/*"))) == FILES


def test_a_damaged_index_costs_time_and_no_file(backed: BackedUp) -> None:
    for path in backed.folder(0).glob("index/*"):
        data = bytearray(path.read_bytes())
        data[-40] ^= 1
        path.write_bytes(data)
    store = opened(backed)
    restored(backed, store, f"{backed.source}/07".encode())
    assert len(list(backed.target.glob("*/*"))) == FILES // 20
    assert [name[:6] for name in store.damaged] == ["index/"]


@pytest.mark.slow
def test_one_file_of_twenty_thousand_costs_less_than_two_per_cent_of_the_index() -> None:
    with fast_folder() as folder:
        world = BackedUp(folder, pack_bytes=64 << 20)
        for number in range(20_000):
            path = world.source / f"{number // 200:03}" / f"{number:05}"
            if number % 200 == 0:
                path.parent.mkdir(parents=True)
            path.write_bytes(b"%d\n" % number)
        world.back_up()
        index_bytes = sum(path.stat().st_size for path in world.folder(0).glob("index/*"))
        assert index_bytes > 20_000 * 44
        objects = world.objects()
        store = ChunkStore(objects, open_keys(objects, passphrase=PASSPHRASE))
        files = IndexFiles(objects, store.keys)
        store._files = files
        point = open_point(objects, store.keys, world.results[-1].point_id)
        entry = PointTree(point, store).entry(f"{world.source}/042/08442".encode())
        assert entry is not None
        assert store.read(np.frombuffer(entry.content, np.uint8).reshape(-1, 32)) == [b"8442\n"]
        assert len(store.index) == 0
        assert files.read_bytes < 16 * (20_000 * 44) // 100
        # 16 MiB for a million files, and so a fiftieth of it here, and one segment of 1 MiB for
        # each of the nodes on the way and the file.
        assert objects.served["place 0"].size_bytes < (16 << 20) // 50 + (1 << 20)
