"""Power is cut at every step of the drive, and of the record; the same command always goes on."""

import itertools

import pytest
from tests.support import staged
from tests.support.importservice import FakeImportService, Operator, bench
from tests.support.simdisk import PowerCut, SimDisk
from tests.support.staged import SimDrive, SimDrives

from overland.diskprep.import_service import ImportService
from overland.diskprep.prepare import prepare_drives
from overland.diskprep.record import Preparation
from overland.diskprep.submit import submit
from overland.seeding.drive import manifest_hash

CONTENT = staged.objects(packs=(100_352, 100_864))
FOLDER = f"seed-{staged.SEED_ID}"


def prepared(
    staging: SimDisk,
    first: SimDisk,
    second: SimDisk,
    local: SimDisk,
    service: FakeImportService,
    *,
    at_once: bool = False,
) -> tuple[Preparation, Operator]:
    drives = [
        SimDrive("D1", capacity_bytes=200_000, disk=first),
        SimDrive("D2", capacity_bytes=1 << 20, disk=second),
    ]
    paths = [drive.path for drive in drives]
    operator = Operator(*paths, erase=["D1", "D2"], at_once=at_once)
    work = bench(SimDrives(*drives), operator, local=local)
    seed = staged.location(staging).open(staged.SEED_ID)
    done = prepare_drives(seed, work, staging=staged.STAGING)
    return submit(done, work, ImportService(service)), operator


def check(done: Preparation, disks: dict[str, SimDisk], service: FakeImportService) -> None:
    found: dict[str, bytes] = {}
    for drive in done.sealed():
        disk = disks[drive.serial].restart()
        assert manifest_hash(disk) == drive.manifest_hash
        for number in drive.numbers():
            name = list(CONTENT)[number]
            assert name not in found
            found[name] = disk.read(f"{FOLDER}/{name}")
    assert found == CONTENT
    [job] = service.jobs.values()
    assert [(each["driveId"], each["manifestHash"]) for each in job["properties"]["driveList"]] == [
        (drive.serial, drive.manifest_hash) for drive in done.sealed()
    ]


@pytest.mark.crash
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "side by side"])
@pytest.mark.parametrize("cut_disk", ["D1", "D2", "record"])
@pytest.mark.requirement("R88")
def test_power_cut_at_every_step_of_disk_preparation(cut_disk: str, *, at_once: bool) -> None:
    staging = SimDisk()
    staged.stage(staging, CONTENT)
    for step in itertools.count():
        disks = {name: SimDisk(seed=step) for name in ("D1", "D2", "record")}
        disks[cut_disk] = SimDisk(cut_at=step, seed=step)
        service = FakeImportService()
        try:
            prepared(staging, disks["D1"], disks["D2"], disks["record"], service, at_once=at_once)
        except PowerCut:
            finished = False
        else:
            finished = True
        after = {name: disk.restart() for name, disk in disks.items()}

        done, _ = prepared(
            staging, after["D1"], after["D2"], after["record"], service, at_once=at_once
        )

        check(done, after, service)
        assert service.methods("PUT") <= 2, "a second request only replaces the same job"
        if finished:
            break


@pytest.mark.crash
@pytest.mark.requirement("R88")
def test_a_kill_of_the_program_never_reformats_a_finished_drive() -> None:
    staging = SimDisk()
    staged.stage(staging, CONTENT)
    second_steps = itertools.count()
    for step in second_steps:
        disks = {name: SimDisk() for name in ("D1", "D2", "record")}
        disks["D2"] = SimDisk(cut_at=step)
        service = FakeImportService()
        try:
            prepared(staging, disks["D1"], disks["D2"], disks["record"], service)
        except PowerCut:
            written = disks["D1"].steps
            _, operator = prepared(
                staging, disks["D1"], disks["D2"].restart(), disks["record"], service
            )
            assert disks["D1"].steps == written, "drive 1 was finished before the kill"
            assert {plan.serial for plan in operator.plans} <= {"D2"}
        else:
            break
