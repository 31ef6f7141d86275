"""Hints that are older than what happened to the vault: nothing may come to rely on them."""

from pathlib import Path

import pytest
from tests.support.simdisk import SimDisk
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write

from overland.values import PointId


@pytest.fixture
def vaulted(tmp_path: Path) -> Vaulted:
    return Vaulted(tmp_path)


def copied(disk: SimDisk) -> dict[str, bytes]:
    return {info.name: disk.read(info.name) for info in disk.names()}


def put_back(disk: SimDisk, copy: dict[str, bytes]) -> None:
    """Bring the hints back to what they were, as a restored home folder does."""
    for info in list(disk.names()):
        disk.delete(info.name)
    for name, data in copy.items():
        disk.write(name, data)


def half_dead(vaulted: Vaulted) -> tuple[PointId, dict[str, bytes]]:
    """Make two points, of which the older is deleted; return the newer one and the old hints."""
    for number in range(10):
        write(vaulted.source, f"file{number}", number)
    first = vaulted.back_up()
    for number in range(8):
        (vaulted.source / f"file{number}").unlink()
    second = vaulted.back_up()
    hints = copied(vaulted.state)
    vaulted.keeper.deleted.add(first)
    return second, hints


@pytest.mark.parametrize("is_reclaimed", [True, False])
def test_hints_from_before_a_repack_cost_no_chunk(vaulted: Vaulted, *, is_reclaimed: bool) -> None:
    second, hints = half_dead(vaulted)
    assert vaulted.repack(min_live=1).replacement_id
    if is_reclaimed:
        vaulted.keeper.reclaim()
    put_back(vaulted.state, hints)
    for number in range(10):
        write(vaulted.source, f"file{number}", number)  # the old hints know where these lay

    third = vaulted.back_up()
    vaulted.keeper.reclaim()

    assert vaulted.restored(third) == vaulted.contents[third]
    assert vaulted.restored(second) == vaulted.contents[second]


def test_a_pack_that_vanished_is_stored_again_by_the_next_backup(
    vaulted: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        write(vaulted.source, f"file{number}", number)
    vaulted.back_up()
    for name in vaulted.packs():
        vaulted.vault.delete(name)

    monkeypatch.setattr(vaulted.keeper, "record", lambda _: None)  # its base is not whole
    last = vaulted.back_up()

    assert vaulted.restored(last) == vaulted.contents[last]


def test_hints_that_hold_are_used_as_they_are(
    vaulted: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(vaulted.source, "file", 1)
    vaulted.back_up()

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the index was made anew")

    monkeypatch.setattr("overland.agent.backup.chain.rebuild_index", refuse)
    before = vaulted.packs()
    vaulted.back_up()
    assert vaulted.packs() == before, "nothing is stored again"
