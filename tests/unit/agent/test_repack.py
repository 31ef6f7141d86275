"""Repacking frees what nobody needs, and what anybody needs stays, whatever happens."""

import random
from pathlib import Path

import pytest
from tests.support.vaulted import Vaulted

from overland.agent.repack.run import ChainsMoved, NotRepackable, repack
from overland.errors import IntegrityError, OutOfSpace


def write(folder: Path, name: str, seed: int, size: int = 30_000) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))


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
