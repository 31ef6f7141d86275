"""Clean-up of a staging location: all of the seed goes, nothing else does, at any power cut."""

import itertools

import pytest
from tests.support.simdisk import PowerCut, SimDisk
from tests.support.staged import OTHER_SEED_ID, SEED_ID, location, objects, stage

from overland.seeding.removal import remove_seed


def staged() -> SimDisk:
    disk = SimDisk()
    stage(disk, objects())
    stage(disk, objects(seed=1), seed_id=OTHER_SEED_ID)
    disk.write(f"seed-{SEED_ID}/notes.txt", b"the operator's own")
    disk.write("holiday.jpg", b"foreign")
    return disk


def names(disk: SimDisk) -> set[str]:
    return {info.name for info in disk.names()}


@pytest.mark.requirement("R71", "R129")
def test_the_seed_goes_and_everything_else_stays() -> None:
    disk = staged()
    before = names(disk)
    removed = remove_seed(disk, SEED_ID)
    gone = before - names(disk)
    assert gone == {
        name
        for name in before
        if name.startswith(f"seed-{SEED_ID}/") and not name.endswith("notes.txt")
    }
    assert (removed.objects, removed.foreign) == (len(objects()), 1)
    assert removed.size_bytes == sum(map(len, objects().values()))
    assert location(disk).open(OTHER_SEED_ID).check_sizes() == []
    assert remove_seed(disk, SEED_ID).objects == 0, "again there is nothing to do"


@pytest.mark.crash
def test_a_power_cut_at_any_step_leaves_a_seed_that_is_known_and_can_be_removed() -> None:
    for step in itertools.count():
        disk = staged().restart(cut_at=step, seed=step)
        try:
            remove_seed(disk, SEED_ID)
        except PowerCut:
            pass
        else:
            break
        after = disk.restart()
        found = {seed.seed_id: seed.why_not for seed in location(after).seeds()}
        left = {name for name in names(after) if name.startswith(f"seed-{SEED_ID}/")}
        assert SEED_ID in found or left <= {f"seed-{SEED_ID}/notes.txt"}
        assert found[OTHER_SEED_ID] is None, "the other one is whole"
        remove_seed(after, SEED_ID)
        assert SEED_ID not in {seed.seed_id for seed in location(after).seeds()}
    assert step > len(objects()), "each removal is a step"
