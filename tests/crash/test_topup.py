"""Power is cut at every step of a top-up's record and drive; the same command always goes on."""

import itertools

import pytest
from tests.crash.test_disk_preparation import CONTENT, FOLDER, prepared
from tests.support import staged
from tests.support.importservice import JOB_PATH, FakeImportService, Operator, bench
from tests.support.simdisk import PowerCut, SimDisk
from tests.support.staged import SimDrive, SimDrives

from overland.diskprep.import_service import ImportService
from overland.diskprep.prepare import prepare_drives
from overland.diskprep.record import Preparation, Preparations
from overland.diskprep.submit import submit
from overland.diskprep.topup import begin_top_up


def topped_up(
    staging: SimDisk, third: SimDisk, local: SimDisk, service: FakeImportService
) -> Preparation:
    drive = SimDrive("D3", capacity_bytes=1 << 20, disk=third)
    work = bench(SimDrives(drive), Operator(drive.path, erase=["D3"]), local=local)
    seed = staged.location(staging).open(staged.SEED_ID)
    asked = ImportService(service)
    begin_top_up(seed, work, asked, staging=staged.STAGING, lost="D2")
    return submit(prepare_drives(seed, work, staging=staged.STAGING), work, asked)


@pytest.mark.crash
@pytest.mark.parametrize("cut_disk", ["D3", "record"])
@pytest.mark.requirement("R88", "R133")
def test_power_cut_at_every_step_of_a_top_up(cut_disk: str) -> None:
    staging = SimDisk()
    staged.stage(staging, CONTENT)
    for step in itertools.count():
        service = FakeImportService()
        disks = {name: SimDisk(seed=step) for name in ("D1", "D2", "D3", "record")}
        first, _ = prepared(staging, disks["D1"], disks["D2"], disks["record"], service)
        service.jobs[JOB_PATH]["properties"]["state"] = "Shipping"
        if cut_disk == "record":
            disks["record"] = disks["record"].restart(cut_at=step, seed=step)
        else:
            disks["D3"] = SimDisk(cut_at=step, seed=step)
        try:
            topped_up(staging, disks["D3"], disks["record"], service)
        except PowerCut:
            finished = False
        else:
            finished = True
        after = {name: disk.restart() for name, disk in disks.items()}

        done = topped_up(staging, after["D3"], after["record"], service)

        (lost,) = [drive for drive in first.sealed() if drive.serial == "D2"]
        (made,) = done.sealed()
        assert (made.serial, list(made.numbers())) == ("D3", list(lost.numbers()))
        for number in made.numbers():
            name = list(CONTENT)[number]
            assert after["D3"].restart().read(f"{FOLDER}/{name}") == CONTENT[name]
        assert sorted(service.jobs) == [JOB_PATH, f"{JOB_PATH}-topup-1"]
        records = Preparations(after["record"].restart())
        assert records.find(staged.SEED_ID) == first, "the record of the first job stays"
        assert [each.top_up for each in records.all()] == [0, 1]
        if finished:
            break
