"""Repair brings back what any place still has, and says exactly what is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.simdisk import SimDisk
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write

from overland.adapters.folderobjects import FolderObjects
from overland.agent.repack.holdings import ReplacementUnreadable
from overland.agent.repair.run import repair
from overland.format.replacement import Replacement
from overland.values import ReplacementId, replacement_name


@pytest.fixture
def vaulted(tmp_path: Path) -> Vaulted:
    """Three points of a chain, in several packs."""
    vaulted = Vaulted(tmp_path)
    for number in range(6):
        write(vaulted.source, f"d{number % 2}/file{number}", number)
    vaulted.back_up()
    for number in range(2):
        write(vaulted.source, f"more{number}", 50 + number)
        vaulted.back_up()
    return vaulted


def copy_of(disk: SimDisk) -> FolderObjects:
    copy = SimDisk()
    for info in disk.names():
        copy.write(info.name, disk.read(info.name))
    return FolderObjects(copy)


def cut(disk: SimDisk, name: str) -> None:
    disk.write(name, disk.read(name)[:-512])


def flip(disk: SimDisk, name: str) -> None:
    disk.damage(name, offset=disk.size_bytes(name) // 2)


def lose(disk: SimDisk, name: str) -> None:
    disk.delete(name)


def zero(disk: SimDisk, name: str) -> None:
    disk.write(name, bytes(disk.size_bytes(name)))


HARMS = pytest.mark.parametrize("harm", [cut, flip, lose, zero], ids=lambda harm: harm.__name__)


def biggest_pack(vaulted: Vaulted) -> str:
    return max(vaulted.packs(), key=vaulted.disk.size_bytes)


def mend_source(vaulted: Vaulted) -> None:
    """Change the whole source, so that nothing of it helps."""
    for number, path in enumerate(sorted(vaulted.source.rglob("*"))):
        if path.is_file():
            write(path.parent, path.name, 1000 + number)


def test_a_whole_vault_is_left_as_it_is(vaulted: Vaulted) -> None:
    before = {info.name: vaulted.disk.read(info.name) for info in vaulted.disk.names()}
    report = vaulted.repair()
    assert report.is_whole
    assert not report.damaged
    assert not report.missing
    assert {i.name: vaulted.disk.read(i.name) for i in vaulted.disk.names()} == before


@HARMS
def test_packs_and_index_files_come_back_from_another_place(
    vaulted: Vaulted, harm: Callable[[SimDisk, str], None]
) -> None:
    drive = copy_of(vaulted.disk)
    before = {info.name: vaulted.disk.read(info.name) for info in vaulted.disk.names()}
    names = [name for name in before if name.startswith(("packs/", "index/"))]
    for name in names:
        harm(vaulted.disk, name)
    report = vaulted.repair(drive=drive)
    assert report.fetched == dict.fromkeys(names, "drive")
    assert report.is_whole
    assert {i.name: vaulted.disk.read(i.name) for i in vaulted.disk.names()} == before
    assert not vaulted.keeper.accepted


def test_points_and_keyrings_come_back_when_they_are_missing(vaulted: Vaulted) -> None:
    drive = copy_of(vaulted.disk)
    for folder in ("points/", "keys/"):
        for info in list(vaulted.disk.names(folder)):
            vaulted.disk.delete(info.name)
    assert vaulted.repair(drive=drive).is_whole
    assert vaulted.check().is_whole


@HARMS
def test_a_place_that_lacks_a_point_stops_nothing(
    vaulted: Vaulted, harm: Callable[[SimDisk, str], None]
) -> None:
    """A staging location has the first copy alone; the drive behind it has everything."""
    drive, staging = copy_of(vaulted.disk), FolderObjects(SimDisk())
    name = max(info.name for info in vaulted.disk.names("points/"))
    harm(vaulted.disk, name)
    report = vaulted.repair(staging=staging, drive=drive)
    is_gone = harm is lose
    assert report.fetched == ({name: "drive"} if is_gone else {})
    assert report.unhealed == ([] if is_gone else [name])
    alone = vaulted.repair(staging=staging)
    assert alone.is_whole is is_gone


def test_a_damaged_point_is_told_and_never_replaced(vaulted: Vaulted) -> None:
    drive = copy_of(vaulted.disk)
    name = next(info.name for info in vaulted.disk.names("points/"))
    flip(vaulted.disk, name)
    damaged = vaulted.disk.read(name)
    report = vaulted.repair(drive=drive)
    assert report.unhealed == [name]
    assert not report.is_whole
    assert vaulted.disk.read(name) == damaged


@HARMS
def test_index_files_are_made_anew_from_the_packs(
    vaulted: Vaulted, harm: Callable[[SimDisk, str], None]
) -> None:
    for info in list(vaulted.disk.names("index/")):
        harm(vaulted.disk, info.name)
    report = vaulted.repair()
    assert report.is_whole
    assert report.new_objects
    vaulted.keeper.reclaim()
    assert vaulted.check().is_whole
    vaulted.assert_all_restorable()
    assert len(list(vaulted.vault.names("index/"))) == report.new_objects


@HARMS
def test_a_lost_pack_of_content_comes_from_the_source(
    vaulted: Vaulted, harm: Callable[[SimDisk, str], None]
) -> None:
    harm(vaulted.disk, biggest_pack(vaulted))
    report = vaulted.repair()
    assert report.is_whole
    assert report.salvaged_chunks + report.reread_chunks
    vaulted.assert_all_restorable()
    checked = vaulted.check()
    assert {one.kind for one in checked.findings} <= {"replaced"}, "it is nobody's loss now"
    assert checked.is_whole
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole
    assert vaulted.repair().replacement_id is None, "and is repaired once"


def test_what_is_readable_in_a_damaged_pack_is_saved_and_the_rest_is_named(
    tmp_path: Path,
) -> None:
    vaulted = Vaulted(tmp_path, pack_bytes=4 << 20)
    write(vaulted.source, "first", 1)
    vaulted.back_up()
    for number in range(40):
        write(vaulted.source, f"big/file{number}", 500 + number, 60_000)
    vaulted.back_up()
    name = biggest_pack(vaulted)
    vaulted.disk.damage(name, offset=5000)
    mend_source(vaulted)
    report = vaulted.repair()
    assert report.salvaged_chunks
    assert report.lost
    for point_id, files in report.lost.items():
        lost = {file.path.removeprefix(str(vaulted.source).encode() + b"/") for file in files}
        wanted = vaulted.contents[point_id]
        assert lost < wanted.keys()
    vaulted.keeper.reclaim()
    assert name in vaulted.packs(), "what is left of it stays while a lost point lives"
    whole = [point for point in vaulted.keeper.living() if point not in report.lost]
    for point_id in whole:
        assert vaulted.restored(point_id) == vaulted.contents[point_id]
    again = vaulted.repair()
    assert again.replacement_id is None
    assert again.lost == report.lost
    vaulted.back_up()
    vaulted.assert_all_restorable(but=list(report.lost))


def test_the_lost_parts_of_a_file_are_told(tmp_path: Path) -> None:
    vaulted = Vaulted(tmp_path, pack_bytes=1 << 20)
    write(vaulted.source, "long", 3, 3_000_000)
    point = vaulted.back_up()
    vaulted.disk.damage(biggest_pack(vaulted), offset=1000)
    write(vaulted.source, "long", 4, 3_000_000)
    [lost] = vaulted.repair().lost[point]
    assert lost.path.endswith(b"/long")
    assert lost.parts
    assert sum(length for _, length in lost.parts) < 3_000_000
    assert all(0 <= offset < 3_000_000 for offset, _ in lost.parts)


def test_the_next_backup_stores_again_what_was_lost(vaulted: Vaulted) -> None:
    vaulted.disk.delete(biggest_pack(vaulted))
    hidden = vaulted.source.rename(vaulted.source.parent / "away")
    vaulted.repair()
    hidden.rename(vaulted.source)
    point = vaulted.back_up()
    assert vaulted.restored(point) == vaulted.contents[point]
    vaulted.keeper.reclaim()
    assert vaulted.restored(point) == vaulted.contents[point]


@HARMS
def test_a_repack_that_went_wrong_is_superseded_from_the_packs_that_it_replaced(
    vaulted: Vaulted, harm: Callable[[SimDisk, str], None]
) -> None:
    first = vaulted.keeper.recorded[0]
    for path in sorted(vaulted.source.glob("d0/*")):
        path.unlink()
    vaulted.back_up(full=True)
    for number in range(2, 5):
        write(vaulted.source, f"d1/file{number}", 200 + number)
    vaulted.back_up()
    vaulted.keeper.deleted.update(vaulted.keeper.recorded[1:4])
    before = vaulted.packs()
    assert vaulted.repack(min_live=1.0).replacement_id, "packs were replaced"
    assert first in vaulted.keeper.living()
    came = sorted(vaulted.packs() - before)
    assert before <= vaulted.packs(), "and are there until the time of grace is over"
    mend_source(vaulted)
    for name in came:
        harm(vaulted.disk, name)
    report = vaulted.repair()
    assert not report.lost
    assert report.salvaged_chunks
    assert not report.reread_chunks, "no byte came from elsewhere"
    assert len(vaulted.keeper.accepted) == 2
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole


@pytest.mark.parametrize("goes", ["packs", "packs and index files"])
def test_a_replacement_that_lets_living_packs_go_for_nothing_is_superseded(
    vaulted: Vaulted, goes: str
) -> None:
    """By a thief of the signing key, or by a fault: what came does not have what went."""
    kinds = ("packs/", "index/") if " " in goes else ("packs/",)
    names = sorted(i.name for i in vaulted.disk.names() if i.name.startswith(kinds))
    forged = Replacement(
        replacement_id=ReplacementId("7d1f4c2a-0e6b-4b9d-a5c8-3f2e1d0c9b8a"),
        repository_id=vaulted.keys.repository_id,
        created_at=vaulted.clock.now(),
        reason="repack",
        keeps=sorted(vaulted.keeper.living()),
        lost=[],
        replaced=names,
        objects=[],
    )
    name = replacement_name(forged.replacement_id)
    vaulted.disk.write(name, vaulted.repository.seal_replacement(forged))
    version = vaulted.keeper.version
    vaulted.keeper.accept_replacement(forged.replacement_id, chain_version=version)
    mend_source(vaulted)
    report = vaulted.repair()
    assert report.salvaged_chunks
    assert not report.lost
    vaulted.keeper.reclaim()
    assert vaulted.packs().isdisjoint(names), "the time of grace is over"
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole
    assert vaulted.repair().replacement_id is None, "and is superseded once"


def test_a_sound_replacement_is_not_superseded(vaulted: Vaulted) -> None:
    vaulted.disk.delete(biggest_pack(vaulted))
    vaulted.repair()
    before = len(vaulted.keeper.accepted)
    for _ in range(2):
        report = vaulted.repair()
        assert (report.is_whole, report.new_objects) == (True, 0)
    assert len(vaulted.keeper.accepted) == before


def test_a_later_copy_makes_lost_points_whole_again(vaulted: Vaulted) -> None:
    drive = copy_of(vaulted.disk)
    vaulted.disk.delete(biggest_pack(vaulted))
    mend_source(vaulted)
    assert vaulted.repair().lost
    assert not vaulted.repair(drive=drive).lost
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()


def test_a_dry_run_tells_and_changes_nothing(vaulted: Vaulted) -> None:
    drive = copy_of(vaulted.disk)
    name = biggest_pack(vaulted)
    vaulted.disk.delete(name)
    before = {info.name for info in vaulted.disk.names()}
    report = repair(vaulted.workshop(), {"drive": drive}, dry_run=True)
    assert report.missing == [name]
    assert report.fetched == {name: "drive"}
    assert {info.name for info in vaulted.disk.names()} == before


def test_what_travels_by_drive_is_not_missing(vaulted: Vaulted) -> None:
    for point_id in vaulted.keeper.recorded:
        vaulted.keeper.states[point_id] = "waiting-for-seed"
    vaulted.disk.delete(biggest_pack(vaulted))
    report = vaulted.repair()
    assert not report.missing
    assert not vaulted.keeper.accepted


def test_without_an_accepted_replacement_nothing_is_changed(vaulted: Vaulted) -> None:
    vaulted.disk.delete(biggest_pack(vaulted))
    vaulted.repair()
    drive = copy_of(vaulted.disk)
    [name] = [info.name for info in vaulted.disk.names("replacements/")]
    vaulted.disk.delete(name)
    with pytest.raises(ReplacementUnreadable):
        vaulted.repair()
    assert vaulted.repair(drive=drive).fetched == {name: "drive"}
    vaulted.assert_all_restorable()


def test_lost_folders_come_back_with_the_next_backup(vaulted: Vaulted) -> None:
    last = vaulted.last["documents"]
    for name in vaulted.packs():
        vaulted.disk.delete(name)
    assert last in vaulted.repair().lost
    vaulted.back_up()
    report = vaulted.repair()
    assert last not in report.lost
    assert vaulted.restored(last) == vaulted.contents[last]
    vaulted.keeper.reclaim()
    assert vaulted.restored(last) == vaulted.contents[last]
