"""A drive whose preparation was interrupted goes on, and what is not proven is not relied upon."""

import errno

import pytest
from tests.support import staged
from tests.support.faulty import FaultyFiles
from tests.support.importservice import Operator, bench
from tests.support.simdisk import SimDisk
from tests.support.staged import SimDrive, SimDrives
from typing_extensions import override

from overland.diskprep.filling import DriveFailed
from overland.diskprep.prepare import prepare_drives
from overland.diskprep.record import Preparation

CONTENT = staged.objects(packs=(300_032, 200_192, 100_352))
FOLDER = f"seed-{staged.SEED_ID}"


class WeakDrive(SimDrive):
    """A drive that fails at the publication of `fails_at`, and whose medium has one pack wrong."""

    fails_at: str | None = None
    lies = 0

    @override
    def files(self) -> FaultyFiles:
        def meet(operation: str, name: str) -> None:
            if operation == "publish" and name == self.fails_at:
                raise OSError(errno.EIO, "the drive was pulled out")
            faulty.flipped.clear()
            if operation == "blocks" and name.endswith(".pack") and self.lies:
                self.lies -= 1
                faulty.flipped[name] = {9}

        faulty = FaultyFiles(self.disk, on_call=meet)
        return faulty

    def objects(self) -> dict[str, bytes]:
        return {name: self.disk.read(f"{FOLDER}/{name}") for name in CONTENT}


class Desk:
    """A staged seed, one drive, and the local record; the same command may be run again."""

    def __init__(self) -> None:
        self.staging, self.local = SimDisk(), SimDisk()
        staged.stage(self.staging, CONTENT)
        self.drive = WeakDrive("D1", capacity_bytes=4 << 20)

    def run(self) -> tuple[Preparation, Operator]:
        operator = Operator(self.drive.path, erase=[self.drive.serial])
        work = bench(SimDrives(self.drive), operator, local=self.local)
        seed = staged.location(self.staging).open(staged.SEED_ID)
        return prepare_drives(seed, work, staging=staged.STAGING), operator

    def fail_at(self, name: str) -> None:
        """Run until the drive is pulled out, just before the file gets its name; plug it in."""
        self.drive.fails_at = f"{FOLDER}/{name}"
        with pytest.raises(DriveFailed):
            self.run()
        self.drive.fails_at = None


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.requirement("R89")
def test_a_drive_that_was_emptied_meanwhile_is_read_back_from_its_first_byte(desk: Desk) -> None:
    desk.fail_at("drive.json")  # all of it was read back by now
    desk.drive.erase()
    desk.drive.lies = 1

    done, _ = desk.run()

    assert done.is_complete()
    assert desk.drive.lies == 0, "nothing that is written again counts as verified"
    assert desk.drive.objects() == CONTENT


@pytest.mark.requirement("R88")
def test_what_a_killed_run_copied_is_made_durable_before_the_drive_is_finished(desk: Desk) -> None:
    last = max(CONTENT)
    desk.fail_at(last)
    before = len(desk.drive.disk.trail)

    desk.run()

    trail = desk.drive.disk.trail[before:]
    for name in CONTENT.keys() - {last}:
        assert f"settle {FOLDER}/{name}" in trail, "a kill may have come before the folder's sync"
    assert desk.drive.objects() == CONTENT


@pytest.mark.parametrize("damage", ["another byte", "none of it"])
def test_a_drive_whose_mark_is_not_this_seeds_manifest_is_begun_anew(
    desk: Desk, damage: str
) -> None:
    desk.fail_at("drive.json")
    if damage == "none of it":
        desk.drive.disk.truncate(f"{FOLDER}/manifest.json", length=0)
    else:
        desk.drive.disk.damage(f"{FOLDER}/manifest.json", offset=100)

    done, operator = desk.run()

    assert [plan.serial for plan in operator.plans] == ["D1"], "who runs it is asked again"
    assert done.is_complete()
    assert desk.drive.objects() == CONTENT


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"numbers":[999],"range_md5":[["00"]]}',
        b'{"numbers":[-1],"range_md5":[["00"]]}',
        b'{"numbers":[0,1],"range_md5":[["00"]]}',
        b'{"numbers":[],"range_md5":[]}',
        b"",
    ],
)
def test_a_damaged_note_of_what_was_read_back_costs_reading_and_nothing_else(
    desk: Desk, damaged: bytes
) -> None:
    desk.fail_at("drive.json")
    notes = [info.name for info in desk.local.names() if "read-back/" in info.name]
    for name in notes:
        desk.local.write(name, damaged)
    desk.drive.lies = 1

    done, _ = desk.run()

    assert notes
    assert done.is_complete()
    assert desk.drive.lies == 0, "what the note told is read again"
