"""Adoption is killed between any two steps and within every copy, and ends the same."""

import itertools

import pytest
from sqlalchemy import delete
from tests.support.landed import Landed, put
from tests.support.simdisk import PowerCut, SimDisk
from tests.support.simengine import Killed, SimEngine

from overland.values import point_name
from overland.vault import adoption as adoptions
from overland.vault import catalog, tables
from overland.vault.catalog import CatalogPoint

pytestmark = pytest.mark.crash


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoptions, "BATCH_OBJECTS", 2)
    monkeypatch.setattr(adoptions, "COPIES", 1)  # every run takes the same steps


def points(landed: Landed) -> list[CatalogPoint]:
    computer = landed.seed.computer.owner.source_computer_id
    with landed.database.begin() as connection:
        return catalog.list_points(connection, source_computer_id=computer)


def assert_whole_or_unseen(landed: Landed) -> None:
    """A point in the vault has all its objects beside it; so has one in the catalog."""
    held = landed.in_vault()
    if point_name(landed.seed.point_id) in held:
        assert held == landed.seed.contents, "the point was seen before its objects"
    for name, data in held.items():
        assert data == landed.seed.contents[name], "half an object was seen"
    for point in points(landed):
        assert (point.state, held) == ("available", landed.seed.contents)


def assert_adopted(landed: Landed) -> None:
    assert landed.in_vault() == landed.seed.contents
    assert [point.state for point in points(landed)] == ["available"]
    assert landed.ended[-1] == (landed.seed.seed_id, "done")


def test_a_kill_at_every_border_of_the_work() -> None:
    for border in itertools.count():
        landed = Landed(engine=SimEngine(kill_at=border))
        try:
            landed.adopt(landed.adoption())
        except Killed:
            was_killed = True
        else:
            was_killed = False
        assert_whole_or_unseen(landed)
        landed.engine = landed.engine.restart()
        landed.adoption().resume()
        assert_adopted(landed)
        if not was_killed:
            assert border == 12, "plan, four steps and the finish have two borders each"
            break


@pytest.mark.parametrize("seed", range(2))
def test_a_power_cut_at_every_step_of_the_disk(seed: int) -> None:
    clean = Landed()
    first = clean.disk.steps
    clean.adopt(clean.adoption())
    for step in range(first, clean.disk.steps):
        landed = Landed(disk=SimDisk(cut_at=step, seed=seed))
        with pytest.raises(PowerCut):
            landed.adopt(landed.adoption())
        landed.disk = landed.disk.restart()
        assert_whole_or_unseen(landed)
        landed.engine = landed.engine.restart()
        landed.adoption().resume()
        assert_adopted(landed)


def test_a_power_cut_among_copies_that_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoptions, "COPIES", 4)
    monkeypatch.setattr(adoptions, "BATCH_OBJECTS", 8)
    first = Landed().disk.steps
    for step in range(first, first + 20, 2):
        landed = Landed(disk=SimDisk(cut_at=step))
        with pytest.raises(PowerCut):
            landed.adopt(landed.adoption())
        landed.disk = landed.disk.restart()
        assert_whole_or_unseen(landed)
        landed.engine = landed.engine.restart()
        landed.adoption().resume()
        assert_adopted(landed)


def test_a_second_power_cut_while_going_on_after_the_first() -> None:
    clean = Landed()
    first = clean.disk.steps
    clean.adopt(clean.adoption())
    for step in range(first, clean.disk.steps, 3):
        landed = Landed(disk=SimDisk(cut_at=step))
        with pytest.raises(PowerCut):
            landed.adopt(landed.adoption())
        for again in range(2):
            landed.disk = landed.disk.restart(cut_at=again * 4 + 3)
            landed.engine = landed.engine.restart()
            try:
                landed.adoption().resume()
            except PowerCut:
                assert_whole_or_unseen(landed)
        landed.disk = landed.disk.restart()
        landed.engine = landed.engine.restart()
        landed.adoption().resume()
        assert_adopted(landed)


def test_an_incomplete_attempt_that_is_killed_names_the_same_objects() -> None:
    name = next(iter(Landed().seed.contents))
    for border in itertools.count():
        landed = Landed(engine=SimEngine(kill_at=border))
        landed.damage(name, lambda _: None)
        try:
            landed.adopt(landed.adoption())
        except Killed:
            was_killed = True
        else:
            was_killed = False
        landed.engine = landed.engine.restart()
        adoption = landed.adoption()
        adoption.resume()
        with landed.database.begin() as connection:
            found = adoption.status(connection, landed.seed.seed_id)
        assert found is not None
        assert (found.state, [each.name for each in found.missing]) == ("incomplete", [name])
        assert points(landed) == []
        if not was_killed:
            break


def test_rows_that_a_power_cut_took_are_made_again() -> None:
    before_finish = 10
    for conflict in (False, True):
        landed = Landed(engine=SimEngine(kill_at=before_finish))
        name, data = next(iter(landed.seed.contents.items()))
        if conflict:
            put(landed.vault, landed.seed.computer.owner.prefix + name, bytes(len(data)))
        with pytest.raises(Killed):
            landed.adopt(landed.adoption())
        with landed.database.begin() as connection:
            connection.execute(delete(tables.adoption_steps))
            connection.execute(delete(tables.verified_objects))
        landed.engine = landed.engine.restart()
        landed.adoption().resume()
        assert [state for _, state in landed.ended] == ["incomplete" if conflict else "done"]
