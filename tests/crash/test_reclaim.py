"""Reclaim is killed between any two steps and at every effect on the disk, and loses nothing."""

import itertools

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from tests.support.landed import pack
from tests.support.reclaiming import DAY, Reclaiming, point_id_of
from tests.support.simdisk import PowerCut, SimDisk
from tests.support.simengine import Killed, SimEngine

from overland.values import point_name
from overland.vault import reclaim as reclaims

pytestmark = pytest.mark.crash


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaims, "BATCH_OBJECTS", 2)


def ready(**parts: object) -> Reclaiming:
    """A point to reclaim, left packs, a replaced pack: all unneeded for long enough."""
    world = Reclaiming(**parts)  # type: ignore[arg-type] # fields of it
    world.back_up(1, ["a", "b", "c"])
    world.back_up(2, ["d", "e"])
    world.back_up(3, ["f"], base=2)
    world.put_pack("left")
    world.mark(1)
    version = world.replace(1, keeps=[2, 3], replaced=[pack("d")[0]], by=["new d"])
    assert version > 0
    return world


def age(world: Reclaiming) -> None:
    """Let two weeks go by twice, so that one more run deletes."""
    world.clock.advance(14 * DAY)
    world.run()
    world.clock.advance(14 * DAY)


def assert_whole(world: Reclaiming) -> None:
    """What living points need is there."""
    wanted = {pack(label)[0] for label in ("e", "f", "new d")}
    assert wanted | {point_name(point_id_of(n)) for n in (2, 3)} <= world.held()
    for number in (2, 3):
        assert world.record(point_id_of(number)).state == "available"


def assert_done(world: Reclaiming) -> None:
    """And all else is gone, in the next run at the latest."""
    assert_whole(world)
    world.run()
    gone = {pack(label)[0] for label in ("a", "b", "c", "d", "left")}
    assert world.held().isdisjoint(gone | {point_name(point_id_of(1))})
    assert set(world.points()) == {2, 3}
    assert_whole(world)


def aged(engine: SimEngine | None = None, disk: SimDisk | None = None) -> Reclaiming:
    world = ready(disk=disk or SimDisk())
    age(world)
    if engine is not None:
        world.engine = engine
        world.begin()
    return world


def test_a_kill_at_every_border_of_the_work() -> None:
    for border in itertools.count():
        world = aged(SimEngine(kill_at=border))
        try:
            world.run()
        except Killed:
            was_killed = True
        else:
            was_killed = False
        assert_whole(world)
        world.restart()
        assert_done(world)
        if not was_killed:
            assert border > 8, "plan, several steps and the finish have two borders each"
            break


@pytest.mark.parametrize("seed", range(2))
def test_a_power_cut_at_every_step_of_the_disk(seed: int) -> None:
    clean = aged()
    first = clean.disk.steps
    clean.run()
    for step in range(first, clean.disk.steps):
        world = aged(disk=SimDisk(cut_at=step, seed=seed))
        with pytest.raises(PowerCut):
            world.run()
        world.restart()
        assert_done(world)


def test_a_kill_while_a_point_comes_that_names_what_is_going() -> None:
    for border in itertools.count():
        world = aged(SimEngine(kill_at=border))
        try:
            world.run()
        except Killed:
            was_killed = True
        else:
            was_killed = False
        point = world.back_up(4, ["a", "z"])  # the source computer puts `a` again, as it must
        world.restart()
        held = world.held()
        for name in world.record(point.point_id).missing:
            assert name not in held or not was_killed
            world.put(name, pack("a")[1])
        world.run()
        assert world.record(point.point_id).state in {"available", "incomplete"}
        world.put(*pack("a"))
        assert world.record(point.point_id).state == "available"
        world.clock.advance(15 * DAY)
        world.run()
        assert pack("a")[0] in world.held()
        if not was_killed:
            break


def test_reclaim_frees_a_full_vault() -> None:
    world = aged()
    used = sum(info.size_bytes for info in world.disk.names())
    world.disk._capacity_bytes = used
    assert world.disk.free_bytes() == 0
    world.run()
    assert world.disk.free_bytes() > 0
    assert pack("d")[0] in world.held(), "there was no room for the proof of what replaced it"
    world.run()
    assert_done(world)


def test_a_full_database_deletes_nothing_and_loses_nothing() -> None:
    world = aged()
    before, points = world.held(), world.points()

    def full(*given: object) -> None:
        if str(given[2]).startswith(("INSERT", "UPDATE")):
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    with world.database.begin() as connection:
        run = world.reclaim.begin(connection, world.request)
    event.listen(world.database, "before_cursor_execute", full)
    world.reclaim.launch(run)  # and fails
    event.remove(world.database, "before_cursor_execute", full)
    with world.database.begin() as connection:
        status = world.reclaim.status(connection, world.owner.source_computer_id)
    assert status is not None
    assert status.state == "failed"
    assert (world.held(), world.points()) == (before, points)
    assert_done(world)


def test_a_control_copy_is_there_before_anything_goes_because_of_it() -> None:
    world = aged()
    assert list(world.store.names("control/replacements/")) == []
    world.run()
    (kept,) = world.store.names("control/replacements/")
    assert kept.name.endswith(".replacement")
    world.store.delete(world.owner.prefix + document_of(world))
    assert_whole(world)


def document_of(world: Reclaiming) -> str:
    (name,) = [each for each in world.held() if each.startswith("replacements/")]
    return name
