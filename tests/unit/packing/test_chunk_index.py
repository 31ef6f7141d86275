import random
from pathlib import Path

import numpy as np
import pytest

from overland.format.index import PackDirectory
from overland.format.pack import CHUNK_DTYPE, SEGMENT_DTYPE, Directory
from overland.packing.index import ChunkIndex, Ids, IndexHintDamaged, as_ids
from overland.packing.tables import Table
from overland.values import PackId, PointId, RepositoryId

REPOSITORY = RepositoryId("6f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11")
OTHER = RepositoryId("7f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11")
POINT = PointId("8f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11")


def pack(number: int, chunks: list[bytes]) -> PackDirectory:
    """A pack with two chunks in each segment."""
    segments = np.zeros((len(chunks) + 1) // 2, SEGMENT_DTYPE)
    segments["offset"] = 64 + 1000 * np.arange(len(segments))
    segments["sealed_bytes"], segments["raw_bytes"] = 1000, 984
    rows = np.zeros(len(chunks), CHUNK_DTYPE)
    rows["id"] = as_ids(b"".join(chunks))
    rows["segment"] = np.arange(len(chunks)) // 2
    rows["offset"] = np.arange(len(chunks)) % 2 * 492
    rows["length"] = 492
    return PackDirectory(
        pack_id=PackId(f"{number:064x}"),
        pack_bytes=4096,
        directory=Directory(segments=segments, chunks=rows),
    )


def chunks(count: int, seed: int = 0) -> list[bytes]:
    source = random.Random(seed)
    return [source.randbytes(32) for _ in range(count)]


def ids(*found: bytes) -> Ids:
    return as_ids(b"".join(found))


def saved(index: ChunkIndex) -> bytes:
    parts: list[bytes] = []
    index.save(lambda data: parts.append(bytes(data)))
    return b"".join(parts)


@pytest.fixture(params=[True, False], ids=["in memory", "in a scratch file"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> ChunkIndex:
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


def test_a_saved_index_is_the_same_index(index: ChunkIndex, tmp_path: Path) -> None:
    all_chunks = chunks(1000)
    for number in range(10):
        index.add(pack(number, all_chunks[number * 100 : number * 100 + 100]))
    index.forget_packs([PackId(f"{3:064x}")])
    index.tip = POINT
    before = index.lookup(ids(*all_chunks))
    again = ChunkIndex.load(saved(index), REPOSITORY, scratch=tmp_path)
    assert (again.lookup(ids(*all_chunks)) == before).all()
    assert (again.epoch, again.tip) == (index.epoch, POINT)
    more = chunks(100, seed=5)
    again.add(pack(50, more))
    again.add(pack(3, all_chunks[300:400]))
    third = ChunkIndex.load(saved(again), REPOSITORY)
    assert (third.lookup(ids(*all_chunks, *more)) >= 0).all()


def test_an_empty_index_is_saved_too(index: ChunkIndex) -> None:
    assert len(ChunkIndex.load(saved(index), REPOSITORY)) == 0


def test_a_damaged_hint_is_refused() -> None:
    index = ChunkIndex(REPOSITORY)
    index.add(pack(1, chunks(5)))
    data = saved(index)
    for offset in range(len(data)):
        damaged = bytearray(data)
        damaged[offset] ^= 1
        with pytest.raises(IndexHintDamaged):
            ChunkIndex.load(bytes(damaged), REPOSITORY)
    for length in (0, 50, len(data) - 1):
        with pytest.raises(IndexHintDamaged):
            ChunkIndex.load(data[:length], REPOSITORY)
    with pytest.raises(IndexHintDamaged):
        ChunkIndex.load(data, OTHER)


def test_a_table_grows_and_keeps_its_rows(tmp_path: Path) -> None:
    dtype = np.dtype([("a", "<u4"), ("b", "u1")])
    rows = np.zeros(30_000, dtype)
    rows["a"] = np.arange(30_000)
    table = Table(dtype, scratch=tmp_path, old=rows[:10_000])
    for start in range(10_000, 30_000, 777):
        assert table.append(rows[start : min(start + 777, 30_000)]) == start
    assert len(table) == 30_000
    taken = np.array([29_999, 0, 10_000, 9_999])
    assert table.take(taken)["a"].tolist() == taken.tolist()
    assert np.concatenate(table.parts())["a"].tolist() == list(range(30_000))
    assert list(tmp_path.iterdir()) == [], "the scratch file has no name"
