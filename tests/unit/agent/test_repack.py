"""Repacking frees what nobody needs, and what anybody needs stays, whatever happens."""

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.support.vaulted import Vaulted

from overland.agent.points.indexes import read_index_file
from overland.agent.repack.run import ChainsMoved, NotRepackable, repack
from overland.errors import IntegrityError, ObjectCorrupt, OutOfSpace
from overland.sealing.dedup import Dedup
from overland.values import PointId, pack_name


def write(folder: Path, name: str, seed: int, size: int = 30_000) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.fixture
def worn(tmp_path: Path) -> Vaulted:
    """A chain whose first point is gone, and most of what only it needed is dead."""
    vaulted = Vaulted(tmp_path)
    for number in range(20):
        write(vaulted.source, f"d{number % 3}/file{number}", number)
    first = vaulted.back_up()
    for number in range(18):
        (vaulted.source / f"d{number % 3}/file{number}").unlink()
    write(vaulted.source, "new", 99)
    vaulted.back_up()
    vaulted.keeper.deleted.add(first)
    return vaulted


def test_dead_chunks_are_freed_and_living_ones_restored(worn: Vaulted) -> None:
    worn.keeper.reclaim()
    before = worn.packs()
    report = worn.repack()
    assert report.packs_replaced
    assert report.new_packs
    assert before <= worn.packs(), "repacking itself deletes nothing"
    freed = worn.keeper.reclaim()
    assert freed >= report.freed_bytes > 400_000
    worn.assert_all_restorable()
    assert worn.check().is_whole


def test_what_is_well_used_is_left_alone(worn: Vaulted) -> None:
    worn.repack()
    worn.keeper.reclaim()
    before = worn.packs()
    report = worn.repack()
    assert report.replacement_id is None
    assert worn.packs() == before


def test_a_dry_run_changes_nothing(worn: Vaulted) -> None:
    before = {info.name for info in worn.disk.names()}
    steps = worn.state.steps
    report = repack(worn.workshop(), policy=None, min_live=0.7, dry_run=True)
    assert report.packs_replaced
    assert {info.name for info in worn.disk.names()} == before
    assert worn.state.steps == steps


def test_backups_go_on_after_a_repack(worn: Vaulted) -> None:
    worn.repack()
    write(worn.source, "newer", 5)
    point = worn.back_up()
    worn.keeper.reclaim()
    worn.assert_all_restorable()
    write(worn.source, "newest", 6)
    worn.back_up()
    worn.keeper.deleted.add(point)
    worn.repack(min_live=1)
    worn.keeper.reclaim()
    worn.assert_all_restorable()
    assert worn.check().is_whole


def test_chunks_of_another_chain_do_not_stand_in(tmp_path: Path) -> None:
    vaulted = Vaulted(tmp_path)
    for number in range(8):
        write(vaulted.source, f"file{number}", number)
    other = vaulted.back_up("other")
    first = vaulted.back_up()
    for number in range(7):
        (vaulted.source / f"file{number}").unlink()
    vaulted.back_up()
    vaulted.keeper.deleted.add(first)
    report = vaulted.repack("documents")
    assert report.packs_replaced
    assert other not in report.points
    vaulted.keeper.deleted.add(other)
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()


def test_two_points_on_one_base_are_both_kept(tmp_path: Path) -> None:
    vaulted = Vaulted(tmp_path)
    for number in range(6):
        write(vaulted.source, f"file{number}", number)
    base = vaulted.back_up()
    write(vaulted.source, "twin", 50)
    left = vaulted.back_up()
    vaulted.last["documents"] = base
    vaulted.repository.drop_hints("documents")
    vaulted.back_up()
    for number in range(6):
        (vaulted.source / f"file{number}").unlink()
    vaulted.back_up()
    vaulted.keeper.deleted.add(base)
    vaulted.repack(min_live=1)
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()
    vaulted.keeper.deleted.add(left)
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()


@pytest.mark.parametrize("state", ["waiting-for-seed", "incomplete"])
def test_a_chain_that_is_not_whole_in_the_vault_is_left_alone(worn: Vaulted, state: str) -> None:
    worn.keeper.states[worn.keeper.living()[0]] = state
    before = {info.name for info in worn.disk.names()}
    with pytest.raises(NotRepackable):
        worn.repack()
    assert {info.name for info in worn.disk.names()} == before


def test_a_missing_pack_is_left_to_repair(worn: Vaulted) -> None:
    worn.disk.delete(min(worn.packs()))
    with pytest.raises(NotRepackable, match="overland repair"):
        worn.repack()


def test_a_damaged_pack_is_not_copied(worn: Vaulted) -> None:
    for name in worn.packs():
        for offset in range(100, worn.disk.size_bytes(name), 5000):
            worn.disk.damage(name, offset=offset)
    with pytest.raises((NotRepackable, IntegrityError)):
        worn.repack()
    assert not worn.keeper.accepted


def test_nothing_counts_as_dead_while_a_folder_cannot_be_read(worn: Vaulted) -> None:
    """What lies below it is unknown; from another place the folder may come back."""
    folders = min(worn.packs(), key=worn.disk.size_bytes)
    whole = worn.disk.read(folders)
    worn.disk.damage(folders, offset=100)
    with pytest.raises(NotRepackable, match="overland repair"):
        worn.repack()
    assert not worn.keeper.accepted
    worn.disk.delete(folders)
    worn.disk.write(folders, whole)
    worn.keeper.reclaim()
    worn.assert_all_restorable()


def test_a_point_that_never_stored_a_chunk_is_left_to_repair(
    worn: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All objects that it names are there, and do not hold what it needs."""
    claim, forgotten = Dedup.claim, list[bytes]()

    def forget_first(self: Dedup, joined: bytes) -> list[int]:
        new = claim(self, joined)
        if forgotten or not new:
            return new
        forgotten.append(joined)
        return []

    write(worn.source, "newer", 77)
    monkeypatch.setattr(Dedup, "claim", forget_first)
    worn.back_up()
    monkeypatch.undo()
    assert forgotten
    with pytest.raises(NotRepackable, match="chunks of a recovery point are missing"):
        worn.repack()
    assert not worn.keeper.accepted


def test_a_full_vault_changes_nothing(worn: Vaulted) -> None:
    before = {info.name: worn.disk.read(info.name) for info in worn.disk.names()}
    worn.disk._capacity_bytes = sum(map(len, before.values())) + 20_000
    with pytest.raises(OutOfSpace):
        worn.repack()
    assert not worn.keeper.accepted
    assert before.items() <= {i.name: worn.disk.read(i.name) for i in worn.disk.names()}.items()
    worn.assert_all_restorable()
    worn.disk._capacity_bytes = None
    worn.repack()
    worn.keeper.reclaim()
    worn.assert_all_restorable()


def test_a_point_recorded_meanwhile_stops_it(
    worn: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worn.keeper.chains
    asked = []

    def chains() -> object:
        asked.append(1)
        if len(asked) == 2:
            worn.keeper.version += 1
        return real()

    monkeypatch.setattr(worn.keeper, "chains", chains)
    with pytest.raises(ChainsMoved):
        worn.repack()
    assert list(worn.vault.names("replacements/")) == []
    monkeypatch.undo()
    put = len(worn.packs())
    worn.repack()
    assert len(worn.packs()) == put, "what was copied is used"
    worn.keeper.reclaim()
    worn.assert_all_restorable()


def test_files_of_one_chunk_and_the_lists_of_a_long_file_outlive_a_repack(tmp_path: Path) -> None:
    vaulted = Vaulted(tmp_path)
    for number in range(5):
        write(vaulted.source, f"dead{number}", number)
        write(vaulted.source, f"short{number}", 100 + number, 500)
    write(vaulted.source, "long", 200, 8_000_000)  # more chunks than an entry lists by itself
    first = vaulted.back_up()
    for number in range(5):
        (vaulted.source / f"dead{number}").unlink()
    vaulted.back_up()
    vaulted.keeper.deleted.add(first)
    assert vaulted.repack(min_live=1).packs_replaced
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole


def test_one_policys_repack_keeps_what_another_has_in_packs_that_both_got(tmp_path: Path) -> None:
    """A repack of all policies puts their chunks into the same new packs."""
    vaulted = Vaulted(tmp_path)
    first: list[PointId] = []
    for policy, numbers in [("documents", range(4)), ("other", range(10, 14))]:
        clear(vaulted.source)
        for number in numbers:
            write(vaulted.source, f"file{number}", number)
        first.append(vaulted.back_up(policy))
        (vaulted.source / f"file{numbers[0]}").unlink()
        vaulted.back_up(policy)
    vaulted.keeper.deleted.update(first)
    assert vaulted.repack(min_live=1).packs_replaced
    clear(vaulted.source)
    write(vaulted.source, "file3", 3)
    before = vaulted.last["documents"]
    vaulted.back_up("documents")
    vaulted.keeper.deleted.add(before)
    report = vaulted.repack("documents", min_live=1)
    assert report.packs_replaced
    assert vaulted.last["other"] in report.points
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole


def test_no_hint_names_what_goes_when_a_replacement_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vaulted = Vaulted(tmp_path)
    write(vaulted.source, "file", 1)
    vaulted.back_up("other")
    first = vaulted.back_up()
    (vaulted.source / "file").unlink()
    vaulted.back_up()
    vaulted.keeper.deleted.add(first)
    accept = vaulted.keeper.accept_replacement
    seen: list[tuple[bool, bool]] = []

    def look_first(replacement_id: str, *, chain_version: int) -> int:
        documents, other = map(vaulted.repository.saved_chain, ("documents", "other"))
        seen.append((documents is None, other is not None))
        return accept(replacement_id, chain_version=chain_version)

    monkeypatch.setattr(vaulted.keeper, "accept_replacement", look_first)
    assert vaulted.repack("documents", min_live=1).packs_replaced
    assert seen == [(True, True)], "its own hint is gone, and the other policy's is not concerned"


def test_packs_of_an_accepted_repack_are_no_leftovers_of_the_next(worn: Vaulted) -> None:
    """Nobody needs them any more, and they are not deleted yet."""
    worn.repack(min_live=1)
    brought = {item.name for item in worn.keeper.documents()[-1].objects}
    full = worn.back_up(full=True)
    worn.keeper.deleted.update(worn.keeper.recorded[:-1])
    (worn.source / "new").unlink()
    worn.back_up()
    worn.keeper.deleted.add(full)
    assert worn.repack(min_live=1).packs_replaced
    assert brought <= {info.name for info in worn.vault.names()}
    assert brought.isdisjoint(item.name for item in worn.keeper.documents()[-1].objects)
    worn.keeper.reclaim()
    worn.assert_all_restorable()


def test_a_backup_takes_over_no_pack_of_a_replacement_that_was_itself_replaced(
    worn: Vaulted,
) -> None:
    """No point names such a pack, it is whole, and it is about to be deleted."""
    middle = worn.keeper.living()[-1]
    (worn.source / "d0" / "file18").unlink()
    worn.back_up()
    worn.repack(min_live=1)
    worn.keeper.deleted.add(middle)
    worn.repack(min_live=1)
    earlier, later = worn.keeper.documents()
    again = {item.name for item in earlier.objects} & set(later.replaced)
    assert any(name.startswith("packs/") for name in again)
    write(worn.source, "d0/file18", 18)  # its chunks lie in a pack that is on its way out
    worn.back_up()  # the keeper asserts that the point names nothing that was replaced
    worn.keeper.reclaim()
    worn.assert_all_restorable()
    assert worn.check().is_whole


def test_a_kill_right_after_a_repack_was_accepted_costs_no_chunk_in_the_next(
    worn: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its packs still look like leftovers, and by now points need them."""
    middle = worn.keeper.living()[-1]
    (worn.source / "d0" / "file18").unlink()
    worn.back_up()
    monkeypatch.setattr("overland.agent.repack.run.forget_journal", lambda _: None)
    worn.repack(min_live=1)
    monkeypatch.undo()
    worn.keeper.deleted.add(middle)
    assert worn.repack(min_live=1).packs_replaced
    worn.keeper.reclaim()
    worn.assert_all_restorable()
    assert worn.check().is_whole


def test_nothing_is_replaced_when_the_vault_lost_what_was_put(
    worn: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = worn.packs()
    put = worn.vault.put

    def put_and_lose(
        name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        put(name, content, size_bytes=size_bytes, sha256=sha256)
        if name.startswith("packs/"):
            worn.disk.truncate(name, length=size_bytes - 1)

    monkeypatch.setattr(worn.vault, "put", put_and_lose)
    with pytest.raises(ObjectCorrupt):
        worn.repack()
    assert not worn.keeper.accepted
    assert before <= worn.packs()
    worn.assert_all_restorable()


def test_packs_that_stay_are_described_by_the_index_files_that_come(tmp_path: Path) -> None:
    vaulted = Vaulted(tmp_path)
    for number in range(8):
        write(vaulted.source, f"file{number}", number, 1_000_000)
    first = vaulted.back_up()
    for number in range(4):
        (vaulted.source / f"file{number}").unlink()
    vaulted.back_up()
    vaulted.keeper.deleted.add(first)
    before = vaulted.packs()
    assert vaulted.repack().packs_replaced
    vaulted.keeper.reclaim()
    assert len(vaulted.packs() & before) > 1, "some stay"
    described = {
        pack_name(each.pack_id)
        for info in vaulted.vault.names("index/")
        for each in read_index_file(vaulted.objects(), vaulted.keys, info.name)
    }
    assert vaulted.packs() <= described
    vaulted.assert_all_restorable()
