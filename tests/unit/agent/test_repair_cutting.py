"""Repair finds out by what sizes a file was cut, whatever the policy says now."""

import os
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write
from tests.unit.agent.test_repair import biggest_pack
from tests.unit.agent.test_repair_sources import entry_of
from tests.unit.agent.test_repair_unindexed import chunks_of, lose_with_index, lost_paths

from overland.agent.policy import Policy
from overland.agent.repair import cutting as module
from overland.agent.repair.cutting import MEANS_KIB, Cutting
from overland.agent.repair.run import RepairReport, repair
from overland.agent.repair.sourcefile import open_source
from overland.packing.index import as_ids
from overland.source.chunker import DEFAULT_SIZES, IMAGE_SIZES, Chunker, Sizes, chunks

SECRET = b"a secret of ours"
SIZES_NOW = [DEFAULT_SIZES, IMAGE_SIZES]
SIZES_THEN = Sizes.around(23 << 10)


class Asked:
    """Computes ids, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, data: bytes) -> bytes:
        self.count += 1
        return sha256(data).digest()


def cut(data: bytes, sizes: Sizes) -> list[bytes]:
    return list(chunks([data], Chunker(sizes, secret=SECRET)))


def new_cutting(asked: Callable[[bytes], bytes], likely: Sequence[Sizes] = SIZES_NOW) -> Cutting:
    return Cutting(likely, chunker=lambda sizes: Chunker(sizes, secret=SECRET), chunk_id=asked)


def in_order(  # the arguments of the function itself
    cutting: Cutting,
    path: Path,
    expected: Iterable[bytes],
    *,
    start: int = 0,
    mtime_ns: int | None = None,
) -> tuple[list[bytes], int, list[Sizes]]:
    """Return the chunks that are found, where they end, and by what sizes to go on."""
    ids = as_ids(b"".join(sha256(data).digest() for data in expected))
    state = path.stat()
    entry = msgspec.structs.replace(
        entry_of(None),
        size_bytes=state.st_size,
        mtime_ns=state.st_mtime_ns if mtime_ns is None else mtime_ns,
    )
    found: list[bytes] = []
    with open_source(os.fsencode(path), entry, is_named=False) as file:
        assert file is not None
        going = cutting.in_order(file, ids, start=start, is_wanted=lambda: True)
        while True:
            try:
                found.append(next(going))
            except StopIteration as end:
                return found, *end.value


def test_all_means_are_tried_that_a_policy_can_have() -> None:
    schema: Any = msgspec.json.schema(Policy)  # as JSON has it
    for field in ("mean_chunk_kib", "image_chunk_kib"):
        bounds = schema["$defs"]["Policy"]["properties"][field]
        assert range(bounds["minimum"], bounds["maximum"] + 1) == MEANS_KIB


@pytest.mark.parametrize(
    ("mean_kib", "count"),
    # In the later ones rounder sizes make many a chunk, and not those at the beginning.
    [(16, 6), (17, 6), (64, 6), (100, 6), (256, 6), (301, 6), (29, 20), (51, 6), (54, 20)],
)
def test_a_file_is_cut_as_it_was_by_any_sizes(tmp_path: Path, mean_kib: int, count: int) -> None:
    data = random.Random(mean_kib * 100 + count).randbytes((mean_kib << 10) * count + 77)
    then = cut(data, Sizes.around(mean_kib << 10))
    (tmp_path / "file").write_bytes(data)
    cutting = new_cutting(Asked())
    found, end, likely = in_order(cutting, tmp_path / "file", then)
    assert found == then
    assert end == len(data)
    assert cut(data, likely[0]) == then
    assert likely[1:] == [sizes for sizes in SIZES_NOW if sizes != likely[0]]


def test_sizes_that_cut_alike_for_long_are_told_apart_in_the_end(tmp_path: Path) -> None:
    """37 KiB and its neighbours make the same cuts mostly, and rounder ones are tried first."""
    sizes = Sizes.around(37 << 10)
    data = random.Random(5).randbytes(24 << 20)
    then = cut(data, sizes)
    (tmp_path / "file").write_bytes(data)
    found, end, likely = in_order(new_cutting(Asked()), tmp_path / "file", then)
    assert found == then
    assert end == len(data)
    assert likely[0] != SIZES_NOW[0]


def test_what_was_learned_is_tried_before_all_others(tmp_path: Path) -> None:
    asked = Asked()
    cutting = new_cutting(asked)
    tried: list[int] = []
    for seed in range(2):
        data = random.Random(seed).randbytes(1 << 20)
        (tmp_path / "file").write_bytes(data)
        then = cut(data, Sizes.around(32 << 10))
        asked.count = 0
        assert in_order(cutting, tmp_path / "file", then)[0] == then
        tried.append(asked.count - len(then))
    assert tried[1] <= len(SIZES_NOW)
    assert cutting.learned == 1


def test_the_sizes_of_the_policy_cost_nothing_more(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3 << 20)
    (tmp_path / "file").write_bytes(data)
    then = cut(data, SIZES_NOW[0])
    asked = Asked()
    cutting = new_cutting(asked)
    assert in_order(cutting, tmp_path / "file", then)[0] == then
    assert asked.count == len(then)
    assert not cutting.learned


def test_it_ends_where_the_file_changed_and_says_where(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(1 << 20)
    then = cut(data, SIZES_THEN)
    (tmp_path / "file").write_bytes(b"".join(then[:9]) + then[9][:500] + data)
    found, end, likely = in_order(new_cutting(Asked()), tmp_path / "file", then)
    assert found == then[:9]
    assert end == len(b"".join(then[:9]))
    assert cut(data, likely[0])[:9] == then[:9]


def test_sizes_that_made_many_chunks_are_the_only_ones_to_go_on_by(tmp_path: Path) -> None:
    """A long file that changed inside is read once more, and not once for each sizes there are."""
    data = random.Random(9).randbytes(2 << 20)
    then = cut(data, SIZES_THEN)
    for count in (31, 32):
        (tmp_path / "file").write_bytes(b"".join(then[:count]) + then[count][:500] + data)
        found, _, likely = in_order(new_cutting(Asked()), tmp_path / "file", then)
        assert found == then[:count]
        assert len(likely) == (1 if count == 32 else 1 + len(SIZES_NOW))


def test_it_begins_in_the_middle(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(1 << 20)
    then = cut(data, SIZES_THEN)
    (tmp_path / "file").write_bytes(bytes(1000) + data[1000:])
    start = len(b"".join(then[:4]))
    found, _, _ = in_order(new_cutting(Asked()), tmp_path / "file", then[4:], start=start)
    assert found == then[4:]


def test_changed_files_are_searched_in_vain_so_often_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_SEARCHES", 2)
    asked, tried = Asked(), list[int]()
    cutting = new_cutting(asked)
    (tmp_path / "file").write_bytes(random.Random(4).randbytes(1 << 20))
    strange = [os.urandom(9) for _ in range(20)]
    for _ in range(4):
        asked.count = 0
        assert in_order(cutting, tmp_path / "file", strange, mtime_ns=5)[0] == []
        tried.append(asked.count)
    assert tried[0] == tried[1] > len(SIZES_NOW)
    assert tried[2:] == [len(SIZES_NOW)] * 2
    asked.count = 0
    in_order(cutting, tmp_path / "file", strange)
    assert asked.count == tried[0], "what has not changed is searched always"


def test_a_file_that_is_shorter_now_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(6).randbytes(100_000))
    then = cut(path.read_bytes(), SIZES_THEN)
    with open_source(os.fsencode(path), msgspec.structs.replace(entry_of(None), size_bytes=100_000),
                     is_named=False) as file:  # fmt: skip
        assert file is not None
        os.truncate(path, 10)
        ids = as_ids(b"".join(sha256(data).digest() for data in then))
        going = new_cutting(Asked()).in_order(file, ids, start=0, is_wanted=lambda: True)
        assert list(going) == []


def test_it_ends_when_nothing_is_wanted_any_more(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(8).randbytes(1 << 20))
    then = cut(path.read_bytes(), SIZES_THEN)
    ids = as_ids(b"".join(sha256(data).digest() for data in then))
    found: list[bytes] = []
    entry = msgspec.structs.replace(entry_of(None), size_bytes=1 << 20)
    with open_source(os.fsencode(path), entry, is_named=False) as file:
        assert file is not None
        cutting = new_cutting(Asked())
        for data in cutting.in_order(file, ids, start=0, is_wanted=lambda: len(found) < 3):
            found.append(data)  # noqa: PERF402 - what was found decides whether it goes on
    assert found == then[:3]


# -- with a vault ------------------------------------------------------------------------------


@pytest.fixture
def empty(tmp_path: Path) -> Vaulted:
    """Backups by sizes that no policy has now."""
    vaulted = Vaulted(tmp_path, pack_bytes=4 << 20)
    vaulted.sizes = SIZES_THEN
    return vaulted


@pytest.fixture
def vaulted(empty: Vaulted) -> Vaulted:
    """Two points; a long file, and one with a hole."""
    vaulted = empty
    write(vaulted.source, "long", 1, 2_000_000)
    with (vaulted.source / "holes").open("wb") as file:
        for offset in (0, 300_000, 900_000):
            file.seek(offset)
            file.write(random.Random(offset).randbytes(150_000))
    vaulted.back_up()
    write(vaulted.source, "later", 3, 60_000)
    vaulted.back_up()
    return vaulted


def repaired(vaulted: Vaulted) -> RepairReport:
    return repair(replace(vaulted.workshop(), chunk_sizes=SIZES_NOW), {})


def test_sizes_that_the_policy_had_are_found_out(vaulted: Vaulted) -> None:
    lose_with_index(vaulted, biggest_pack(vaulted))
    report = repaired(vaulted)
    assert report.is_whole, report.lost
    assert report.reread_chunks > 50
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole


def test_sizes_that_one_file_told_help_with_one_that_changed_at_its_beginning(
    empty: Vaulted,
) -> None:
    """The names are in this order: the changed one is met before the one that tells."""
    write(empty.source, "a", 1, 600_000)
    write(empty.source, "b", 2, 600_000)
    point_id = empty.back_up()
    with (empty.source / "a").open("r+b") as file:
        file.write(b"changed")
    pack = biggest_pack(empty)
    before = chunks_of(empty, {pack})
    lose_with_index(empty, pack)
    report = repaired(empty)
    assert lost_paths(empty, report) == {point_id: {b"a"}}
    assert report.reread_chunks >= before - 2, "all but what the change is in"


def test_the_rest_of_a_file_is_cut_from_where_its_chunks_are_known(empty: Vaulted) -> None:
    """The file grew; what was added lost its pack and index file, and the beginning changed."""
    path = empty.source / "log"
    write(empty.source, "log", 1, 600_000)
    empty.back_up()
    known = empty.packs() | {info.name for info in empty.disk.names("index/")}
    with path.open("ab") as file:
        file.write(random.Random(2).randbytes(600_000))
    point_id = empty.back_up()
    whole = path.read_bytes()
    added = empty.packs() - known
    gone = {info.name for info in empty.disk.names("index/")} - known
    for name in {max(added, key=empty.disk.size_bytes), *gone}:
        empty.disk.delete(name)
    for info in list(empty.state.names()):
        empty.state.delete(info.name)
    path.write_bytes(b"changed" + whole[7:])
    report = repaired(empty)
    assert report.is_whole, report.lost
    assert report.reread_chunks > 15
    assert empty.restored(point_id)[b"log"] == whole


def test_a_file_that_changed_inside_gives_what_it_still_has(vaulted: Vaulted) -> None:
    path = vaulted.source / "long"
    before = path.read_bytes()
    path.write_bytes(before[:900_000] + b"new" + before[900_000:])
    lose_with_index(vaulted, biggest_pack(vaulted))
    report = repaired(vaulted)
    whole = len(cut(before, SIZES_THEN))
    assert report.reread_chunks > whole * 0.8
    assert {path for paths in lost_paths(vaulted, report).values() for path in paths} == {b"long"}
