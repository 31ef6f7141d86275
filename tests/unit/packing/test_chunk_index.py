import random
from pathlib import Path

import numpy as np
import pytest
from tests.support.simdisk import SimDisk

from overland.format.index import HEAD_PART, IndexTables, PackDirectory, decode_index, encode_index
from overland.format.pack import CHUNK_DTYPE, SEGMENT_DTYPE, Directory
from overland.packing import runs
from overland.packing import tables as packing_tables
from overland.packing.hints import IndexHint
from overland.packing.index import ChunkIndex, Ids, as_ids
from overland.packing.tables import Piece, Records, Table
from overland.values import PackId, RepositoryId

REPOSITORY = RepositoryId("6f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11")


def pack(number: int, chunks: list[bytes]) -> PackDirectory:
    """A pack with two chunks in each segment."""
    segments = np.zeros((len(chunks) + 1) // 2, SEGMENT_DTYPE)
    segments["offset"] = 64 + 1000 * np.arange(len(segments))
    segments["sealed_bytes"], segments["raw_bytes"] = 1000, 984
    if len(chunks) % 2:
        segments["sealed_bytes"][-1], segments["raw_bytes"][-1] = 508, 492
    rows = np.zeros(len(chunks), CHUNK_DTYPE)
    rows["id"] = as_ids(b"".join(chunks))
    rows["segment"] = np.arange(len(chunks)) // 2
    rows["offset"] = np.arange(len(chunks)) % 2 * 492
    rows["length"] = 492
    tables_bytes = 8 + segments.nbytes + rows.nbytes + 16 + 64  # docs/format/pack-v1.md
    pack_bytes = int(segments["offset"][-1] + segments["sealed_bytes"][-1]) + tables_bytes
    return PackDirectory(
        pack_id=PackId(f"{number:064x}"),
        pack_bytes=pack_bytes + -pack_bytes % 512,
        directory=Directory(segments=segments, chunks=rows),
    )


def chunks(count: int, seed: int = 0) -> list[bytes]:
    source = random.Random(seed)
    return [source.randbytes(32) for _ in range(count)]


def ids(*found: bytes) -> Ids:
    return as_ids(b"".join(found))


def reloaded(index: ChunkIndex) -> ChunkIndex:
    """Save the index and load it again."""
    hint = IndexHint(SimDisk(), "hint", folder=None)
    hint.save(index)
    return hint.load(REPOSITORY)


@pytest.fixture(params=[True, False], ids=["in memory", "in a scratch file"])
def index(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ChunkIndex:
    monkeypatch.setattr(packing_tables, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(runs, "_IN_MEMORY", 0)
    return ChunkIndex(REPOSITORY, scratch=None if request.param else tmp_path)


def test_every_chunk_is_found_where_its_pack_says(index: ChunkIndex) -> None:
    all_chunks = chunks(10_000)
    for number in range(100):
        index.add(pack(number, all_chunks[number * 100 : number * 100 + 100]))
    rows = index.lookup(ids(*all_chunks))
    assert (rows >= 0).all()
    places = index.places(rows)
    at = np.arange(10_000)
    assert (places["pack"] == at // 100).all()
    assert (places["segment"] == at % 100 // 2).all()
    assert (places["segment_offset"] == 64 + 1000 * (at % 100 // 2)).all()
    assert (places["offset"] == at % 2 * 492).all()
    assert index.pack_id(int(places["pack"][777])) == f"{7:064x}"
    assert (index.lookup(ids(*chunks(50, seed=1))) == -1).all()
    assert len(index) == 10_000


@pytest.mark.parametrize("seed", range(10))
def test_an_index_file_tells_the_index_what_its_packs_tell(index: ChunkIndex, seed: int) -> None:
    source = random.Random(seed)
    # Few different chunks, and ids that begin alike: copies in several packs, and shared keys.
    known = [b"prefix88" + each[8:] for each in chunks(10, seed)] + chunks(40, seed + 100)
    counts = [source.randint(1, 9) for _ in range(12)]
    packs = [pack(number, source.choices(known, k=count)) for number, count in enumerate(counts)]
    unwanted = {each.pack_id for each in source.sample(packs, source.randint(0, 12))}
    early = packs[source.randrange(12)]
    one_by_one = ChunkIndex(REPOSITORY)
    one_by_one.add(early)
    index.add(early)
    for start in (0, 7):
        part = packs[start : start + 7]
        index.add_tables(tables(part), wanted=lambda pack_id: pack_id not in unwanted)
        for each in part:
            if each.pack_id not in unwanted:
                one_by_one.add(each)
    loaded = reloaded(index)
    assert list(index.pack_ids()) == list(one_by_one.pack_ids()) == list(loaded.pack_ids())
    rows = one_by_one.lookup(ids(*known))
    for other in (index, loaded):
        found = other.lookup(ids(*known))
        assert ((found < 0) == (rows < 0)).all()
        numbers = np.flatnonzero(rows >= 0)
        for place, number in zip(other.places(found[numbers]), numbers, strict=True):
            assert place_of(packs, other.pack_id(int(place["pack"])), place) == known[number]
    for each in packs:
        assert index.has_pack(each.pack_id) == one_by_one.has_pack(each.pack_id)


def test_a_pack_that_was_lost_is_known_again_by_an_index_file(index: ChunkIndex) -> None:
    both = [pack(1, chunks(4)), pack(2, chunks(4, seed=1))]
    index.add_tables(tables(both), wanted=lambda _: True)
    index.forget_packs([both[0].pack_id])
    assert index.lookup(ids(*chunks(4))).max() == -1
    index.add_tables(tables(both), wanted=lambda _: True)
    assert (index.lookup(ids(*chunks(4), *chunks(4, seed=1))) >= 0).all()


def tables(packs: list[PackDirectory]) -> IndexTables:
    shape, plain = encode_index(packs)
    return decode_index(shape, plain[HEAD_PART.plain_bytes :], name="i")


def place_of(packs: list[PackDirectory], pack_id: PackId, place: np.void) -> bytes:
    """Return the id of the chunk that a pack's own directory has there."""
    [directory] = [each.directory for each in packs if each.pack_id == pack_id]
    segment = directory.segments[int(place["segment"])]
    assert segment["offset"] == place["segment_offset"]
    assert segment["sealed_bytes"] == place["sealed_bytes"]
    at = (directory.chunks["segment"] == place["segment"]) & (
        directory.chunks["offset"] == place["offset"]
    )
    [chunk] = directory.chunks[at]
    assert chunk["length"] == place["length"]
    return bytes(chunk["id"].tobytes())


def test_nothing_is_found_in_nothing(index: ChunkIndex) -> None:
    assert index.lookup(ids(*chunks(3))).tolist() == [-1, -1, -1]
    assert index.lookup(as_ids(b"")).tolist() == []


def test_chunks_that_share_a_prefix_are_told_apart(index: ChunkIndex) -> None:
    same = [b"prefix88" + bytes([number]) * 24 for number in range(20)]
    index.add(pack(1, same[:7]))
    index.add(pack(2, same[7:15]))
    rows = index.lookup(ids(*same))
    assert (rows[:15] >= 0).all()
    assert len(set(rows[:15].tolist())) == 15
    assert (rows[15:] == -1).all()


def test_chunks_whose_ids_differ_in_one_byte_are_told_apart(index: ChunkIndex) -> None:
    index.add(pack(1, [bytes(32)]))
    others = [bytes(at) + b"\1" + bytes(31 - at) for at in range(32)]
    for each in (index, reloaded(index)):
        rows = each.lookup(ids(bytes(32), *others, bytes(32)))
        assert rows.tolist() == [0, *([-1] * 32), 0]


def test_a_pack_is_added_once(index: ChunkIndex) -> None:
    index.add(pack(1, chunks(10)))
    index.add(pack(1, chunks(10)))
    assert len(index) == 10
    assert list(index.pack_ids()) == [f"{1:064x}"]


def test_chunks_of_forgotten_packs_are_not_stored(index: ChunkIndex) -> None:
    one, two = chunks(10, seed=1), chunks(10, seed=2)
    index.add(pack(1, [*one, two[0]]))
    index.add(pack(2, two))
    epoch = index.epoch
    assert index.forget_packs([PackId(f"{1:064x}"), PackId(f"{9:064x}")]) == 1
    assert index.epoch != epoch
    assert (index.lookup(ids(*one)) == -1).all()
    assert (index.lookup(ids(*two)) >= 0).all(), "a copy in a pack that is there counts"
    assert not index.has_pack(PackId(f"{1:064x}"))
    assert index.forget_packs([PackId(f"{1:064x}")]) == 0, "forgotten once"


def test_a_chunk_stored_again_after_a_loss_is_found_in_its_new_pack(index: ChunkIndex) -> None:
    one = chunks(10)
    index.add(pack(1, one))
    index.forget_packs([PackId(f"{1:064x}")])
    index.add(pack(3, one))
    places = index.places(index.lookup(ids(*one)))
    assert {index.pack_id(int(row)) for row in places["pack"]} == {f"{3:064x}"}


def test_a_pack_that_was_found_again_counts_again(index: ChunkIndex) -> None:
    one = chunks(10)
    index.add(pack(1, one))
    index.forget_packs([PackId(f"{1:064x}")])
    index.add(pack(1, one))
    assert (index.lookup(ids(*one)) >= 0).all()


def _piece(rows: Records) -> Piece:
    return Piece(rows, digests=None)


def test_a_table_grows_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing_tables, "_IN_MEMORY_BYTES", 0)
    dtype = np.dtype([("a", "<u4"), ("b", "u1")])
    rows = np.zeros(30_000, dtype)
    rows["a"] = np.arange(30_000)
    table = Table(dtype, scratch=tmp_path, old=[_piece(rows[:6_000]), _piece(rows[6_000:10_000])])
    for start in range(10_000, 30_000, 777):
        assert table.append(rows[start : min(start + 777, 30_000)]) == start
    assert len(table) == 30_000
    taken = np.array([29_999, 0, 10_000, 9_999, 6_000, 5_999])
    assert table.take(taken)["a"].tolist() == taken.tolist()
    assert table.new_rows()["a"].tolist() == list(range(10_000, 30_000))
    assert table.are_sound(np.array([-1, 0, 9_999, 29_999, 30_000])).tolist() == [
        *(False, True, True, True, False)
    ]
    assert list(tmp_path.iterdir()) == [], "the scratch file has no name"
