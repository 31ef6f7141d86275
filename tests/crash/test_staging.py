"""The power is cut at every step of staging; afterwards the seed is complete or known as not."""

import itertools

import pytest
from tests.support import staged
from tests.support.simdisk import PowerCut, SimDisk

from overland.ports.progress import NullProgress
from overland.seeding.copying import ObjectCopier
from overland.seeding.staging import SeedAlreadyStaged

CONTENT = staged.objects(packs=(512, 1024))


def stage(disk: SimDisk) -> None:
    """What the agent does: begin, or go on with what is there, and finish."""
    try:
        draft = staged.location(disk).begin(staged.record(), needed_bytes=0)
    except SeedAlreadyStaged:
        return
    present = {info.name for info in draft.files.names()}
    for name, data in CONTENT.items():
        if name in present:
            draft.files.settle(name)
        else:
            draft.files.write(name, data)
    staged.finish(draft, CONTENT)


@pytest.mark.crash
@pytest.mark.parametrize("coins", range(5))
@pytest.mark.requirement("R68", "R71")
def test_power_cut_at_every_step_of_staging(coins: int) -> None:
    for step in itertools.count():
        disk = SimDisk(cut_at=step, seed=coins)
        try:
            stage(disk)
        except PowerCut:
            finished = False
        else:
            finished = True
        survivor = disk.restart()
        check_whole_or_incomplete(survivor, finished=finished)
        stage(survivor)
        check_whole_or_incomplete(survivor.restart(), finished=True)
        if finished:
            return


def check_whole_or_incomplete(disk: SimDisk, *, finished: bool) -> None:
    found = staged.location(disk).seeds()
    ready = [seed for seed in found if seed.why_not is None]
    if finished:
        assert ready, "finish() returned, so the seed is durable"
    for seed in ready:
        opened = staged.location(disk).open(seed.seed_id)
        with ObjectCopier(NullProgress()) as copier:
            assert opened.check_content(copier) == [], "ready, so every object is whole"
