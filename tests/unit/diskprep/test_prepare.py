"""Disk preparation puts a whole seed on drives, and touches nothing that it was not allowed to."""

import dataclasses

import pytest
from tests.support import staged
from tests.support.faulty import FaultyFiles
from tests.support.importservice import Operator, bench
from tests.support.simdisk import SimDisk
from tests.support.staged import SimDrive, SimDrives
from typing_extensions import override

from overland.diskprep.filling import StagedObjectDamaged
from overland.diskprep.prepare import Workbench, choose_seed, prepare_drives
from overland.diskprep.record import DriveState, Preparation
from overland.diskprep.refusals import (
    CapacityOverLimit,
    DriveChanged,
    DriveHoldsStaging,
    DriveNotFound,
    DriveOfSystem,
    DrivesMissing,
    DriveUnfinished,
    EraseDeclined,
    NoSeedToPrepare,
    SeedReplaced,
    TooManyDrives,
)
from overland.errors import RefusedError
from overland.format.drive_xml_reader import read_manifest
from overland.seeding.drive import (
    DRIVE_MANIFEST,
    MANIFEST_XML,
    SEED_MANIFEST,
    DriveNotAsWritten,
)
from overland.seeding.manifest import read_drive_manifest, read_seed_manifest
from overland.seeding.placement import SmallestDoesNotFit
from overland.seeding.staging import SeedIncomplete

MIB = 1 << 20
FOLDER = f"seed-{staged.SEED_ID}"


@pytest.fixture
def staging() -> SimDisk:
    disk = SimDisk()
    staged.stage(disk, staged.objects(packs=(300_032, 200_192, 100_352)))
    return disk


@pytest.fixture
def local() -> SimDisk:
    return SimDisk()


def run(
    staging: SimDisk, work: Workbench, *, replace: str | None = None, path: str = staged.STAGING
) -> Preparation:
    seed = staged.location(staging).open(staged.SEED_ID)
    return prepare_drives(seed, work, staging=path, replace=replace)


def on_drives(*drives: SimDrive) -> dict[str, bytes]:
    """Every object found on the drives; none of them twice."""
    found: dict[str, bytes] = {}
    for drive in drives:
        for info in drive.disk.names(f"{FOLDER}/"):
            name = info.name.removeprefix(f"{FOLDER}/")
            if name not in {"manifest.json", "drive.json"}:
                assert name not in found, "an object is on one drive"
                found[name] = drive.disk.read(info.name)
    return found


@pytest.mark.requirement("R77", "R83")
def test_one_large_drive_takes_everything(staging: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=4 * MIB)

    done = run(staging, bench(SimDrives(drive), Operator(drive.path)))

    assert done.is_complete()
    assert on_drives(drive) == staged.objects(packs=(300_032, 200_192, 100_352))


@pytest.mark.requirement("R83")
def test_a_seed_spans_drives_of_any_sizes_until_all_of_it_is_placed(staging: SimDisk) -> None:
    drives = [
        SimDrive("D1", capacity_bytes=320_000),
        SimDrive("D2", capacity_bytes=450_000),
        SimDrive("D3", capacity_bytes=4 * MIB),
    ]
    operator = Operator(*(drive.path for drive in drives))

    done = run(staging, bench(SimDrives(*drives), operator))

    assert [drive.serial for drive in done.sealed()] == ["D1", "D2", "D3"]
    assert on_drives(*drives) == staged.objects(packs=(300_032, 200_192, 100_352))
    assert [each.finished_drives for each in operator.remaining] == [0, 1, 2]


@pytest.mark.requirement("R82")
def test_a_finished_drive_describes_itself(staging: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=4 * MIB)

    done = run(staging, bench(SimDrives(drive), Operator(drive.path)))

    seed_manifest, _ = read_seed_manifest(drive.disk.read(f"{FOLDER}/manifest.json"))
    manifest, _ = read_drive_manifest(drive.disk.read(f"{FOLDER}/drive.json"))
    xml = read_manifest(drive.disk.blocks("DriveManifest.xml"), name="DriveManifest.xml")
    blobs = list(xml.blobs)
    assert manifest.objects == seed_manifest.objects
    assert (manifest.drive_serial, xml.drive_id) == ("D1", "D1")
    assert [blob.blob_path for blob in blobs] == [
        f"seeds/{FOLDER}/{item.name}" for item in manifest.objects
    ]
    assert {blob.page_ranges is None for blob in blobs if "keyring" not in blob.blob_path} == {
        False
    }
    assert [len(done.sealed()[0].manifest_hash), done.sealed()[0].manifest_hash.isupper()] == [
        64,
        True,
    ]


def test_a_key_change_travels_beside_the_keyring_as_a_block_blob() -> None:
    staging, drive = SimDisk(), SimDrive("D1", capacity_bytes=4 * MIB)
    content = staged.objects(key_change=b"what a former signing key signed\n")
    staged.stage(staging, content)

    run(staging, bench(SimDrives(drive), Operator(drive.path)))

    assert on_drives(drive) == content
    xml = read_manifest(drive.disk.blocks("DriveManifest.xml"), name="DriveManifest.xml")
    [change] = [blob for blob in xml.blobs if blob.blob_path.endswith(".change")]
    assert change.page_ranges is None


@pytest.mark.requirement("R83", "R88")
def test_too_few_drives_are_told_and_nothing_is_lost(staging: SimDisk, local: SimDisk) -> None:
    first = SimDrive("D1", capacity_bytes=450_000)
    second = SimDrive("D2", capacity_bytes=4 * MIB)
    drives = SimDrives(first, second)
    with pytest.raises(DrivesMissing) as refused:
        run(staging, bench(drives, Operator(first.path), local=local))
    assert refused.value.finished == 1

    steps = first.disk.steps
    operator = Operator(first.path, second.path)
    done = run(staging, bench(drives, operator, local=local))

    assert done.is_complete()
    assert first.disk.steps == steps, "a finished drive is not written to again"
    assert "is finished already and is kept" in operator.told[0]


@pytest.mark.requirement("R79")
def test_declining_leaves_the_drive_as_it_was(staging: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=4 * MIB)
    drive.disk.write("holiday.jpg", b"precious")
    steps = drive.disk.steps

    with pytest.raises(EraseDeclined):
        run(staging, bench(SimDrives(drive), Operator(drive.path, erase=["D1"], consent=False)))

    assert drive.disk.steps == steps
    assert drive.erased == 0


@pytest.mark.requirement("R79")
def test_a_drive_with_data_is_erased_only_when_its_serial_was_repeated(staging: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=4 * MIB)
    drive.disk.write("holiday.jpg", b"precious")
    drives = SimDrives(drive)
    with pytest.raises(EraseDeclined):
        run(staging, bench(drives, Operator(drive.path, erase=["D2"])))
    assert drive.disk.read("holiday.jpg") == b"precious"

    run(staging, bench(drives, Operator(drive.path, erase=["D1"])))

    assert "holiday.jpg" not in {info.name for info in drive.disk.names()}


@pytest.mark.requirement("R80")
def test_the_systems_drive_is_refused(staging: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=4 * MIB)
    drive.system = True

    with pytest.raises(DriveOfSystem):
        run(staging, bench(SimDrives(drive), Operator(drive.path)))


@pytest.mark.requirement("R80")
def test_the_drive_that_holds_the_staging_location_is_refused(staging: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=4 * MIB)

    with pytest.raises(DriveHoldsStaging):
        run(staging, bench(SimDrives(drive), Operator(drive.path)), path="/drives/D1/staging")


@pytest.mark.requirement("R23")
def test_a_drive_over_the_limit_is_refused_and_the_limit_is_a_setting(staging: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=4 * MIB)
    work = bench(SimDrives(drive), Operator(drive.path, drive.path))

    with pytest.raises(CapacityOverLimit):
        run(staging, dataclasses.replace(work, drive_limit_bytes=4 * MIB - 1))

    assert run(staging, dataclasses.replace(work, drive_limit_bytes=4 * MIB)).is_complete()


@pytest.mark.requirement("R23")
def test_the_default_limit_is_ten_terabytes(staging: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=10 * 1000**4 + 1)

    with pytest.raises(CapacityOverLimit):
        run(staging, bench(SimDrives(drive), Operator(drive.path)))


@pytest.mark.requirement("R24")
def test_the_eleventh_drive_is_refused() -> None:
    staging = SimDisk()
    staged.stage(staging, staged.objects(packs=[100_352 + 512 * n for n in range(11)]))
    drives = [SimDrive(f"D{n}", capacity_bytes=195_000) for n in range(11)]

    with pytest.raises(TooManyDrives):
        run(staging, bench(SimDrives(*drives), Operator(*(drive.path for drive in drives))))

    assert list(drives[10].disk.names()) == []


def test_a_drive_too_small_for_anything_is_refused_untouched(staging: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=10_000)
    drive.disk.write("holiday.jpg", b"precious")

    with pytest.raises(SmallestDoesNotFit):
        run(staging, bench(SimDrives(drive), Operator(drive.path, erase=["D1"])))

    assert drive.erased == 0


def test_a_damaged_staging_object_is_named_and_no_drive_is_finished(
    staging: SimDisk, local: SimDisk
) -> None:
    [victim, *_] = [info.name for info in staging.names(f"{FOLDER}/packs/")]
    staging.damage(victim, offset=77)
    drive = SimDrive("D1", capacity_bytes=4 * MIB)
    drives = SimDrives(drive)

    with pytest.raises(StagedObjectDamaged) as damaged:
        run(staging, bench(drives, Operator(drive.path), local=local))

    assert damaged.value.name == victim.removeprefix(f"{FOLDER}/")
    assert "DriveManifest.xml" not in {info.name for info in drive.disk.names()}
    staging.damage(victim, offset=77)  # repaired
    operator = Operator(drive.path)
    assert run(staging, bench(drives, operator, local=local)).is_complete()
    assert operator.plans == [], "a begun drive is continued without being erased again"


def test_an_absent_staging_object_is_named_before_any_drive_is_asked_for(
    staging: SimDisk,
) -> None:
    [victim, *_] = [info.name for info in staging.names(f"{FOLDER}/packs/")]
    staging.delete(victim)
    operator = Operator()

    with pytest.raises(StagedObjectDamaged):
        run(staging, bench(SimDrives(), operator))

    assert operator.remaining == []


class FaultyDrive(SimDrive):
    """A drive whose medium returns a flipped bit in its first pack, `lies` times."""

    lies = 1

    @override
    def files(self) -> FaultyFiles:
        def lie(operation: str, name: str) -> None:
            faulty.flipped.clear()
            if operation == "blocks" and name.endswith(".pack") and self.lies:
                self.lies -= 1
                faulty.flipped[name] = {9}

        faulty = FaultyFiles(self.disk, on_call=lie)
        return faulty


@pytest.mark.requirement("R89")
def test_an_object_that_reads_back_wrongly_is_written_again(staging: SimDisk) -> None:
    drive = FaultyDrive("D1", capacity_bytes=4 * MIB)

    done = run(staging, bench(SimDrives(drive), Operator(drive.path)))

    assert done.is_complete()
    assert drive.lies == 0


@pytest.mark.requirement("R89")
def test_a_drive_that_keeps_lying_is_not_shipped(staging: SimDisk) -> None:
    drive = FaultyDrive("D1", capacity_bytes=4 * MIB)
    drive.lies = 1000

    with pytest.raises(DriveNotAsWritten) as refused:
        run(staging, bench(SimDrives(drive), Operator(drive.path)))

    assert refused.value.serial == "D1"
    assert "DriveManifest.xml" not in {info.name for info in drive.disk.names()}


@pytest.mark.parametrize(
    "name", [f"{FOLDER}/{SEED_MANIFEST}", f"{FOLDER}/{DRIVE_MANIFEST}", MANIFEST_XML]
)
@pytest.mark.requirement("R89")
def test_a_manifest_that_only_memory_has_right_is_not_shipped(staging: SimDisk, name: str) -> None:
    """`read` may be answered by the page cache, `blocks` is by the medium."""

    class ForgetfulDrive(SimDrive):
        @override
        def files(self) -> FaultyFiles:
            def forget(operation: str, what: str) -> None:
                faulty.flipped.clear()
                if operation == "blocks" and what == name:
                    faulty.flipped[what] = {9}

            faulty = FaultyFiles(self.disk, on_call=forget)
            return faulty

    drive = ForgetfulDrive("D1", capacity_bytes=4 * MIB)
    with pytest.raises(DriveNotAsWritten, match="differ"):
        run(staging, bench(SimDrives(drive), Operator(drive.path)))


@pytest.mark.requirement("R88")
def test_a_finished_drive_that_was_changed_since_is_noticed(
    staging: SimDisk, local: SimDisk
) -> None:
    first = SimDrive("D1", capacity_bytes=450_000)
    drives = SimDrives(first)
    with pytest.raises(DrivesMissing):
        run(staging, bench(drives, Operator(first.path), local=local))
    first.erase()

    with pytest.raises(DriveChanged):
        run(staging, bench(drives, Operator(first.path), local=local))


@pytest.mark.requirement("R133")
def test_a_lost_drive_alone_is_made_again(staging: SimDisk, local: SimDisk) -> None:
    drives = [SimDrive(f"D{n}", capacity_bytes=450_000) for n in (1, 2)]
    spare = SimDrive("D3", capacity_bytes=4 * MIB)
    attached = SimDrives(*drives, spare)
    run(staging, bench(attached, Operator(*(drive.path for drive in drives)), local=local))
    lost = on_drives(drives[1])
    steps = drives[0].disk.steps

    work = bench(attached, Operator(spare.path), local=local)
    done = run(staging, work, replace="D2")

    assert on_drives(spare) == lost
    assert drives[0].disk.steps == steps
    assert [drive.serial for drive in done.sealed()] == ["D1", "D3"]
    assert [drive.state for drive in done.drives if drive.serial == "D2"] == [DriveState.GIVEN_UP]
    events = [(event.drive, event.event) for event in work.ledger(done).events()]
    assert events[-3:] == [("D2", "given up"), ("D3", "prepared"), ("D3", "sealed")]


def test_a_replacement_that_was_interrupted_goes_on_with_the_same_command(
    staging: SimDisk, local: SimDisk
) -> None:
    """As the message tells whoever could not reach the service after the drives were made."""
    drives = [SimDrive(f"D{n}", capacity_bytes=450_000) for n in (1, 2)]
    spare = SimDrive("D3", capacity_bytes=4 * MIB)
    attached = SimDrives(*drives, spare)
    run(staging, bench(attached, Operator(*(drive.path for drive in drives)), local=local))
    done = run(staging, bench(attached, Operator(spare.path), local=local), replace="D2")

    again = run(staging, bench(attached, Operator(spare.path), local=local), replace="D2")

    assert again == done


def test_replacing_an_unknown_drive_is_refused(staging: SimDisk) -> None:
    with pytest.raises(DriveNotFound):
        run(staging, bench(SimDrives(), Operator()), replace="D9")


def test_objects_of_an_unfinished_drive_wait_for_that_drive(
    staging: SimDisk, local: SimDisk
) -> None:
    first = FaultyDrive("D1", capacity_bytes=4 * MIB)
    first.lies = 1000
    second = SimDrive("D2", capacity_bytes=4 * MIB)
    drives = SimDrives(first, second)
    with pytest.raises(DriveNotAsWritten):
        run(staging, bench(drives, Operator(first.path), local=local))

    with pytest.raises(DriveUnfinished):
        run(staging, bench(drives, Operator(second.path), local=local))

    done = run(staging, bench(drives, Operator(second.path), local=local), replace="D1")
    assert [drive.serial for drive in done.sealed()] == ["D2"]


def test_another_manifest_under_the_same_seed_is_refused(staging: SimDisk, local: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=4 * MIB)
    run(staging, bench(SimDrives(drive), Operator(drive.path), local=local))
    other = SimDisk()
    staged.stage(other, staged.objects(packs=(1024,)))

    with pytest.raises(SeedReplaced):
        run(other, bench(SimDrives(drive), Operator(drive.path), local=local))


def test_a_refused_drive_may_be_followed_by_another(staging: SimDisk) -> None:
    drive = SimDrive("D1", capacity_bytes=4 * MIB)

    class Patient(Operator):
        @override
        def try_another(self, refusal: RefusedError) -> bool:
            self.told.append(str(refusal))
            return True

    operator = Patient("/nowhere", drive.path)

    assert run(staging, bench(SimDrives(drive), operator)).is_complete()
    assert "there is no drive at /nowhere" in operator.told


@pytest.mark.requirement("R77")
def test_one_seed_is_taken_without_a_question(staging: SimDisk) -> None:
    operator = Operator()
    draft = staged.location(staging).begin(
        staged.record(staged.OTHER_SEED_ID, job_name="second"), needed_bytes=0
    )
    assert draft is not None

    seed = choose_seed(staged.location(staging), operator)

    assert (seed.manifest.seed_id, operator.seeds) == (staged.SEED_ID, [])


@pytest.mark.requirement("R77")
def test_of_several_seeds_the_operator_chooses(staging: SimDisk) -> None:
    staged.stage(staging, staged.objects(), staged.OTHER_SEED_ID, job_name="second")
    operator = Operator()
    location = staged.location(staging)

    assert choose_seed(location, operator).manifest.seed_id == staged.OTHER_SEED_ID
    assert [len(seeds) for seeds in operator.seeds] == [2]
    by_name = choose_seed(location, operator, job_name="harbour-import-07")
    by_id = choose_seed(location, operator, seed_id=staged.OTHER_SEED_ID)
    assert by_name.manifest.seed_id == staged.SEED_ID
    assert by_id.manifest.seed_id == staged.OTHER_SEED_ID
    assert len(operator.seeds) == 1


@pytest.mark.requirement("R77")
def test_no_seed_is_an_error_that_names_the_unfinished_one(staging: SimDisk) -> None:
    with pytest.raises(NoSeedToPrepare):
        choose_seed(staged.location(SimDisk()), Operator())
    staging.delete(f"{FOLDER}/READY")

    with pytest.raises(SeedIncomplete):
        choose_seed(staged.location(staging), Operator())
