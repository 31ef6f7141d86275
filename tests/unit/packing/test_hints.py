"""The saved chunk index: written in proportion to what is new, and never believed when damaged."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from tests.support.simdisk import PowerCut, SimDisk
from tests.unit.packing.test_chunk_index import REPOSITORY, chunks, ids, pack

from overland.adapters.posix import PosixFiles
from overland.errors import ObjectAbsent
from overland.format.index import PackDirectory
from overland.packing import runs
from overland.packing.head import IndexHintDamaged
from overland.packing.hints import IndexHint
from overland.packing.index import ChunkIndex
from overland.ports.files import Files
from overland.values import PackId, PointId, RepositoryId

OTHER = RepositoryId("7f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11")
POINT = PointId("8f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11")


def hint_on(files: Files) -> IndexHint:
    return IndexHint(files, "chunks/hint", folder=None)


def made(*packs: PackDirectory) -> ChunkIndex:
    index = ChunkIndex(REPOSITORY)
    for each in packs:
        index.add(each)
    return index


def extended(hint: IndexHint, *packs: PackDirectory) -> None:
    """One run: load, add, save."""
    index = hint.load(REPOSITORY)
    for each in packs:
        index.add(each)
    hint.save(index)


def sizes(disk: Files) -> dict[str, int]:
    return {info.name: info.size_bytes for info in disk.names()}


def test_an_index_comes_back_with_all_it_knows() -> None:
    hint = hint_on(SimDisk())
    index = made(pack(1, chunks(100, 1)), pack(2, chunks(100, 2)))
    index.tip = POINT
    index.forget_packs([PackId(f"{2:064x}")])
    hint.save(index)
    again = hint.load(REPOSITORY)
    assert (again.epoch, again.tip, len(again)) == (index.epoch, POINT, 200)
    assert (again.lookup(ids(*chunks(100, 1))) >= 0).all()
    assert (again.lookup(ids(*chunks(100, 2))) == -1).all()


def test_an_empty_index_is_saved_too() -> None:
    hint = hint_on(SimDisk())
    hint.save(made())
    assert len(hint.load(REPOSITORY)) == 0
    extended(hint, pack(1, chunks(3)))
    assert len(hint.load(REPOSITORY)) == 3


@pytest.mark.parametrize("seed", range(5))
def test_an_index_saved_in_many_runs_is_one_that_was_never_saved(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_MERGED_AT_ONCE", 64)
    source, disk = random.Random(seed), SimDisk()
    hint, obvious = hint_on(disk), made()
    hint.save(made())
    everything: list[bytes] = []
    for run in range(40):
        index = hint.load(REPOSITORY)
        for each in range(source.randint(0, 3)):
            # Some chunks are in several packs, and some share a key.
            new = chunks(source.choice([1, 5, 150]), 1000 * run + each)
            new += [b"prefix88" + one[8:] for one in new[:3]]
            new += source.sample(everything, min(len(everything), 2))
            for other in (index, obvious):
                other.add(pack(100 * run + each, list(dict.fromkeys(new))))
            everything += new
        if source.random() < 0.2:
            lost = source.sample(sorted(obvious.pack_ids()), min(2, len(list(obvious.pack_ids()))))
            assert index.forget_packs(lost) == obvious.forget_packs(lost)
        hint.save(index)
        asked = ids(*everything, *chunks(20, 777))
        loaded = hint.load(REPOSITORY)
        found, expected = loaded.lookup(asked), obvious.lookup(asked)
        assert ((found >= 0) == (expected >= 0)).all()
        at = np.flatnonzero(found >= 0)
        packs = loaded.places(found[at])["pack"].tolist()
        assert all(loaded.has_pack(loaded.pack_id(number)) for number in packs)
        assert sorted(loaded.pack_ids()) == sorted(obvious.pack_ids())
        assert len(list(disk.names())) <= 9, "few parts, and nothing left behind"


def test_a_run_writes_in_proportion_to_what_is_new() -> None:
    disk = SimDisk()
    hint = hint_on(disk)
    hint.save(made(pack(1, chunks(20_000, 1))))
    before = sizes(disk)
    extended(hint, pack(2, chunks(200, 2)))
    written = {name: size for name, size in sizes(disk).items() if before.get(name) != size}
    assert sum(written.values()) < 2 * 200 * 80 + 500
    total = 0
    for run in range(3, 103):
        before = sizes(disk)
        extended(hint, pack(run, chunks(200, run)))
        total += sum(size for name, size in sizes(disk).items() if before.get(name) != size)
    assert total < 8 * 20_000 * 80, "a hundred runs that double it write it a few times over"


def test_a_damaged_byte_is_refused_or_costs_a_chunk_but_never_gives_one() -> None:
    disk = SimDisk()
    hint = hint_on(disk)
    stored, lost, absent = chunks(7, 1), chunks(5, 2), chunks(5, 3)
    index = made(pack(1, stored), pack(2, lost))
    index.forget_packs([PackId(f"{2:064x}")])
    hint.save(index)
    places = _places(hint.load(REPOSITORY), stored)
    refused = missed = 0
    for name, size in sizes(disk).items():
        for offset in range(size):
            disk.damage(name, offset=offset)
            try:
                loaded = hint.load(REPOSITORY)
                assert (loaded.lookup(ids(*lost, *absent)) == -1).all(), f"{name} {offset}"
                found = loaded.lookup(ids(*stored))
                missed += int((found < 0).any())
                here = [one for one, row in zip(stored, found, strict=True) if row >= 0]
                assert _places(loaded, here) == {one: places[one] for one in here}
            except IndexHintDamaged:
                refused += 1
            disk.damage(name, offset=offset)  # back again
    assert refused > 100
    assert missed > 100
    assert (hint.load(REPOSITORY).lookup(ids(*stored)) >= 0).all()


def _places(index: ChunkIndex, known: list[bytes]) -> dict[bytes, object]:
    if not known:
        return {}
    found = index.places(index.lookup(ids(*known)))
    return {
        one: (index.pack_id(int(place["pack"])), place.tolist()[1:])
        for one, place in zip(known, found, strict=True)
    }


def test_a_damaged_index_is_not_saved_again() -> None:
    disk = SimDisk()
    hint = hint_on(disk)
    hint.save(made(pack(1, chunks(2000))))
    [part] = [name for name in sizes(disk) if name != "chunks/hint"]
    disk.damage(part, offset=12 * 2000 + 48 + 28 * 1000 + 44 * 5)
    index = hint.load(REPOSITORY)
    assert (index.lookup(ids(*chunks(2000)[1000:])) >= 0).all(), "another block"
    assert not index.is_damaged
    assert (index.lookup(ids(chunks(2000)[5])) == -1).all()
    index.add(pack(2, chunks(1, 5)))
    with pytest.raises(IndexHintDamaged):
        hint.save(index)


def test_damage_that_nobody_met_is_not_merged() -> None:
    disk = SimDisk()
    hint = hint_on(disk)
    hint.save(made(pack(1, chunks(100))))
    [part] = [name for name in sizes(disk) if name != "chunks/hint"]
    disk.damage(part, offset=0)  # a key
    index = hint.load(REPOSITORY)
    index.add(pack(2, chunks(100, 2)))
    with pytest.raises(IndexHintDamaged):
        hint.save(index)


def test_a_part_of_an_older_state_is_refused() -> None:
    disk = SimDisk()
    hint = hint_on(disk)
    hint.save(made(pack(1, chunks(100))))
    [(name, old)] = [(name, disk.read(name)) for name in sizes(disk) if name != "chunks/hint"]
    hint.save(made(pack(1, chunks(100, 9))))
    [now] = [name for name in sizes(disk) if name != "chunks/hint"]
    assert now != name
    disk.write(now, old)
    with pytest.raises(IndexHintDamaged):
        hint.load(REPOSITORY)
    disk.delete(now)
    with pytest.raises(IndexHintDamaged):
        hint.load(REPOSITORY)


def test_another_repository_and_a_head_that_is_cut_are_refused() -> None:
    disk = SimDisk()
    hint = hint_on(disk)
    hint.save(made(pack(1, chunks(5))))
    with pytest.raises(IndexHintDamaged):
        hint.load(OTHER)
    head = disk.read("chunks/hint")
    for length in range(len(head)):
        disk.write("chunks/hint", head[:length])
        with pytest.raises(IndexHintDamaged):
            hint.load(REPOSITORY)


def test_a_dropped_hint_leaves_nothing() -> None:
    disk = SimDisk()
    hint = hint_on(disk)
    hint.save(made(pack(1, chunks(5))))
    hint.drop()
    assert sizes(disk) == {}
    with pytest.raises(ObjectAbsent):
        hint.load(REPOSITORY)


def test_a_power_cut_at_every_step_leaves_the_old_index_or_the_new_one() -> None:
    old, new = chunks(50, 1), chunks(40, 2)
    for step in itertools.count():
        disk = SimDisk()
        hint_on(disk).save(made(pack(1, old)))
        disk = disk.restart(cut_at=step, seed=step)
        try:
            extended(hint_on(disk), pack(2, new))
        except PowerCut:
            finished = False
        else:
            finished = True
        disk = disk.restart()
        index = hint_on(disk).load(REPOSITORY)
        assert (index.lookup(ids(*old)) >= 0).all()
        known = index.lookup(ids(*new)) >= 0
        assert known.all() or not known.any()
        assert known.all() or not finished
        extended(hint_on(disk), pack(3, chunks(3, 3)))
        head = hint_on(disk).load(REPOSITORY)
        assert len(list(disk.names("chunks/hint."))) == len(head.parts), "nothing is left behind"
        if finished:
            break


def test_a_saved_index_is_mapped_and_outlives_its_files(tmp_path: Path) -> None:
    files = PosixFiles(tmp_path)
    hint = IndexHint(files, "hint", folder=tmp_path)
    hint.save(made(pack(1, chunks(5000))))
    index = hint.load(REPOSITORY)
    hint.drop()
    assert (index.lookup(ids(*chunks(5000))) >= 0).all()
    assert list(files.names()) == []
