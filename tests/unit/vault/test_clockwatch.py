"""A clock that jumps ends nobody's time of grace."""

from datetime import timedelta

import pytest
from tests.support.landed import pack
from tests.support.reclaiming import DAY, Reclaiming
from tests.unit.vault.test_reclaim import two_points

from overland.vault.marks import MIN_GRACE


def watched() -> Reclaiming:
    """A deleted point, and a cloud that has looked at its clock."""
    world = two_points()
    world.reclaim.look_at_clock()
    world.run()
    return world


def days(world: Reclaiming, count: int) -> None:
    """Let days go by as they do while a cloud serves."""
    for _ in range(count):
        world.clock.advance(DAY)
        world.reclaim.look_at_clock()
        world.run()


@pytest.mark.parametrize("jump", [30 * DAY, 3650 * DAY, -30 * DAY], ids=lambda it: f"{it.days}d")
def test_after_a_jump_marks_stand_for_the_whole_time_of_grace(jump: timedelta) -> None:
    world = watched()
    world.clock.advance(jump)
    before = world.clock.now()
    world.run()  # before anybody looked at the clock
    assert world.points()[1].reclaimed_at is None, "deleted today, and gone today"
    days(world, 13)
    assert world.points()[1].reclaimed_at is None
    assert pack("pack 1")[0] in world.held()
    days(world, 30)
    assert pack("pack 1")[0] not in world.held(), "and goes when its time has come"
    assert world.clock.now() - before < 50 * DAY


def test_unneeded_objects_of_an_upload_stay_when_the_clock_jumps() -> None:
    world = Reclaiming()
    world.reclaim.look_at_clock()
    left = world.put_pack("left over")
    world.run()
    world.back_up(1)
    world.clock.advance(30 * DAY)
    world.run()
    assert left in world.held()
    days(world, 15)
    world.back_up(2)
    days(world, 15)
    assert left not in world.held()


def test_a_jump_forth_and_back_leaves_no_mark_for_ever() -> None:
    world = watched()
    world.clock.advance(3650 * DAY)
    days(world, 1)
    world.clock.advance(-3650 * DAY)
    days(world, 30)
    assert pack("pack 1")[0] not in world.held()


def test_days_that_pass_as_they_should_change_no_mark() -> None:
    world = watched()
    marked = world.points()[1]
    days(world, 13)
    assert world.points()[1].reclaim_after == marked.reclaim_after
    world.clock.advance(MIN_GRACE - 13 * DAY)
    world.run()
    assert 1 not in world.points() or world.points()[1].reclaimed_at is not None
