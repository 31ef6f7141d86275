"""Drives that other tools made, laid out by the published document alone."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.docked import Tripwire
from tests.support.documentdrives import FAULTS, DocumentDrive, LoggedBlob, make_drive, renamed
from tests.support.otherdock import JOB, OtherDock
from tests.support.simengine import Killed

from overland.format.copy_log import DriveStatus
from overland.ports.files import Files
from overland.station.ingest import DriveOutcome, Ingest
from overland.station.placing import next_name

SERIAL = "WD-DOC0001"
PRESENT = {
    "harbour/tide.1.tar.gz": b"old tide",
    "harbour/tide.1.tar (2).gz": b"a second old tide",
    "harbour-2/plain": b"old plain",
    "$root/favicon.ico": b"old icon",
    "harbour/charts/a": b"old chart",
}
MakeOtherDock = Callable[..., OtherDock]


@pytest.fixture
def make_other(tmp_path: Path) -> Iterator[MakeOtherDock]:
    made: list[OtherDock] = []

    def make(*drives: DocumentDrive, **options: Any) -> OtherDock:  # as OtherDock takes them
        folder = tmp_path / f"dock-{len(made)}"
        folder.mkdir()
        made.append(OtherDock(folder, *drives, **options))
        return made[-1]

    yield make
    for other in made:
        other.dock.close()


def expected_blobs(drive: DocumentDrive, present: dict[str, bytes]) -> dict[str, bytes]:
    blobs = dict(present)
    for each in drive.blobs:
        if each.landed:
            blobs[each.final_path] = each.content
    return blobs


def expected_log(drive: DocumentDrive) -> list[LoggedBlob]:
    return [
        LoggedBlob(
            status=each.status,
            blob_path=each.final_path,
            file_path=each.file_path,
            length=each.length,
            disposition=each.disposition,
            came=each.came,
            is_paged=each.is_paged,
            parts=[
                (part.offset, part.length, status)
                for part, status in zip(each.parts, each.part_statuses, strict=True)
            ],
            metadata=each.metadata_status,
            properties=each.properties_status,
        )
        for each in drive.blobs
    ]


def failures(drive: DocumentDrive) -> list[LoggedBlob]:
    """What the error log keeps: blobs that failed, and in them the parts that failed."""
    kept = []
    for each in expected_log(drive):
        if each.status != "Completed":
            each.parts[:] = [part for part in each.parts if part[2] != "Completed"]
            kept.append(each)
    return kept


def check_end(other: OtherDock, drive: DocumentDrive, present: dict[str, bytes]) -> None:
    assert other.blobs() == expected_blobs(drive, present)
    shown = other.drive(drive.serial)
    assert shown["copyStatus"] == drive.status
    assert shown["state"] == ("Completed" if drive.status == "Completed" else "CompletedMoreInfo")
    verbose, error = other.log(drive.serial, "verbose"), other.log(drive.serial, "error")
    assert verbose is not None
    assert (verbose.drive_id, verbose.status) == (drive.serial, drive.status)
    assert verbose.blobs == expected_log(drive)
    if drive.status == "CompletedWithErrors":
        assert error is not None
        assert error.blobs == failures(drive)
    else:
        assert error is None
    check_descriptions(other, drive)


def check_descriptions(other: OtherDock, drive: DocumentDrive) -> None:
    found, landed = other.descriptions(), [each for each in drive.blobs if each.landed]
    newest = {each.final_path: each for each in landed}
    assert found.keys() == newest.keys()
    for path, each in newest.items():
        described = found[path]
        assert described["blob_type"] == ("PageBlob" if each.is_paged else "BlockBlob")
        assert described["metadata"] == each.metadata
        assert described["properties"] == each.properties


@pytest.mark.requirement("R107", "R110")
@pytest.mark.parametrize("seed", range(4))
def test_a_sound_drive_lands_as_its_document_says(make_other: MakeOtherDock, seed: int) -> None:
    drive = make_drive(seed, serial=SERIAL)
    other = make_other(drive)

    [outcome] = other.run()

    assert outcome.result == "completed"
    assert outcome.failure is None
    check_end(other, drive, {})


@pytest.mark.requirement("R107", "R109", "R110")
@pytest.mark.parametrize("seed", range(100, 105))
def test_a_damaged_drive_among_other_blobs_ends_as_its_document_says(
    make_other: MakeOtherDock, seed: int
) -> None:
    drive = make_drive(seed, serial=SERIAL, faults=FAULTS, present=PRESENT)
    other = make_other(drive, present=PRESENT)

    [outcome] = other.run()

    assert outcome.result == "completed-more-info"
    check_end(other, drive, PRESENT)
    damaged = [each for each in drive.blobs if each.status != "Completed"]
    assert [(each.name, each.status) for each in outcome.damaged] == [
        (each.blob_path, each.status) for each in damaged
    ]


@pytest.mark.parametrize("seed", [200, 201, 202])
def test_taken_names_alone_end_with_warnings_and_no_error(
    make_other: MakeOtherDock, seed: int
) -> None:
    drive = make_drive(seed, serial=SERIAL, present=PRESENT)
    assert drive.status == "CompletedWithWarnings"
    other = make_other(drive, present=PRESENT)

    [outcome] = other.run()

    assert outcome.result == "completed-with-warnings"
    assert sum(outcome.noted.values()) == sum(each.came != "Created" for each in drive.blobs)
    check_end(other, drive, PRESENT)


@pytest.mark.requirement("R107")
def test_the_hash_of_a_manifest_may_be_a_sha256(make_other: MakeOtherDock) -> None:
    drive = make_drive(1, serial=SERIAL)

    [outcome] = make_other(drive, hashes={SERIAL: drive.sha256()}).run()

    assert outcome.result == "completed"


REJECTED = [
    DriveStatus.MANIFEST_CORRUPTED,
    DriveStatus.MANIFEST_NOT_FOUND,
    DriveStatus.MANIFEST_NAME_INVALID,
    DriveStatus.MANIFEST_NAME_TOO_LONG,
    DriveStatus.MANIFEST_FORMAT_INVALID,
    DriveStatus.MANIFEST_DRIVE_ID_MISMATCH,
]


def spoil(drive: DocumentDrive, status: DriveStatus) -> dict[str, Any]:
    """Change a drive, or what its job says of it, so that its import has to end in `status`."""
    match status:
        case DriveStatus.MANIFEST_CORRUPTED:
            return {"hashes": {SERIAL: "0" * 32}}
        case DriveStatus.MANIFEST_NOT_FOUND:
            return {"manifest_files": {SERIAL: "\\Other.xml"}}
        case DriveStatus.MANIFEST_NAME_INVALID:
            return {"manifest_files": {SERIAL: "\\..\\..\\etc\\passwd"}}
        case DriveStatus.MANIFEST_NAME_TOO_LONG:
            return {"manifest_files": {SERIAL: "\\" + "m" * 256}}
        case DriveStatus.MANIFEST_FORMAT_INVALID:
            text = drive.manifest.replace(b"</Drive>", b"")
        case _:
            text = drive.manifest.replace(SERIAL.encode(), b"WD-DOC0002")
    drive.files[drive.manifest_path[1:]] = text
    return {"hashes": {SERIAL: drive.md5()}}


@pytest.mark.requirement("R107", "R109")
@pytest.mark.parametrize("status", REJECTED)
def test_a_drive_that_is_not_what_its_job_says_is_rejected_whole(
    make_other: MakeOtherDock, status: DriveStatus
) -> None:
    drive = make_drive(2, serial=SERIAL)
    other = make_other(drive, **spoil(drive, status))

    [outcome] = other.run()

    assert outcome.result == "failed"
    assert outcome.failure is not None
    assert outcome.failure.status is status
    assert other.blobs() == {}
    assert other.drive(SERIAL)["copyStatus"] == status.value
    log = other.log(SERIAL, "error")
    assert log is not None
    assert (log.status, log.blobs) == (status.value, [])


class Denied:
    """A drive's files, some of which may not be read."""

    def __init__(self, files: Files, names: set[str]) -> None:
        self._files, self._names = files, names

    def __getattr__(self, name: str) -> Any:  # any method of the port
        method = getattr(self._files, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if arguments and arguments[0] in self._names:
                raise PermissionError(13, "denied")
            return method(*arguments, **options)

        return call


def deny(other: OtherDock, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    sim = other.dock.drives[SERIAL]
    files = Denied(sim.disk, set(names))
    monkeypatch.setattr(sim, "files", lambda: files)


def test_what_may_not_be_read_is_told_apart(
    make_other: MakeOtherDock, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = make_drive(3, serial=SERIAL)
    other = make_other(drive)
    denied = drive.blobs[0].file_path[1:].replace("\\", "/")
    deny(other, monkeypatch, denied, "wai/list-meta.xml")

    other.run()

    log = other.log(SERIAL, "verbose")
    assert log is not None
    assert log.blobs[0].status == "FileAccessDenied"
    assert "FileAccessDenied" in {each.metadata for each in log.blobs[1:]}


def test_a_manifest_that_may_not_be_read_is_told_apart(
    make_other: MakeOtherDock, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = make_drive(3, serial=SERIAL)
    other = make_other(drive)
    deny(other, monkeypatch, drive.manifest_path[1:])

    [outcome] = other.run()

    assert outcome.failure is not None
    assert outcome.failure.status is DriveStatus.MANIFEST_ACCESS_DENIED


def test_bad_sectors_are_told_part_by_part(make_other: MakeOtherDock) -> None:
    drive = make_drive(4, serial=SERIAL)
    other = make_other(drive)
    bad = next(each for each in drive.blobs if each.parts)
    other.dock.faulty(SERIAL).failing.add(bad.file_path[1:].replace("\\", "/"))

    other.run()

    log = other.log(SERIAL, "error")
    assert log is not None
    [logged] = log.blobs
    assert logged.status in {"CompletedWithErrors", "IOFailed"}
    assert {status for _, _, status in logged.parts} <= {"IOFailed", "Cancelled"}
    assert bad.blob_path not in other.blobs()


def test_a_name_that_is_a_folder_of_other_blobs_fails_alone(make_other: MakeOtherDock) -> None:
    drive = make_drive(5, serial=SERIAL)
    first = next(each for each in drive.blobs if not each.blob_path.startswith("$root"))
    present = {f"{first.blob_path}/below": b"in its way"}
    other = make_other(drive, present=present)

    [outcome] = other.run()

    assert [(each.name, each.status) for each in outcome.damaged] == [
        (first.blob_path, "BlobRequestFailed")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "seed-11111111-aaaa-4bbb-8ccc-222222222222/packs/x",
        "SEED-11111111-AAAA-4BBB-8CCC-222222222222/packs/x",
        "seed-11111111-aaaa-4bbb-8ccc-222222222222./x",
        "seed-11111111-aaaa-4bbb-8ccc-222222222222",
        ".overland-blobs/x",
        ".Overland-Blobs/x",
    ],
)
@pytest.mark.parametrize("disposition", ["overwrite", "rename", "no-overwrite"])
def test_a_seeds_folder_is_never_touched(
    make_other: MakeOtherDock, name: str, disposition: str
) -> None:
    drive = make_drive(6, serial=SERIAL, count=1)
    old = drive.blobs[0]
    text = drive.manifest.decode()
    before = text.index("<BlobPath>"), text.index("</BlobPath>")
    text = text[: before[0]] + f"<BlobPath>seeds/{name}" + text[before[1] :]
    text = text.replace(
        "<ImportDisposition>" + old.disposition, "<ImportDisposition>" + disposition
    )
    drive.files[drive.manifest_path[1:]] = text.encode()
    other = make_other(drive)

    [outcome] = other.run()

    assert [each.status for each in outcome.damaged] == ["BlobRequestForbidden"]
    assert other.blobs() == {}


@pytest.mark.parametrize("seed", range(3))
def test_an_import_that_was_killed_anywhere_ends_as_if_it_had_not_been(
    make_other: MakeOtherDock, seed: int
) -> None:
    drive = make_drive(300 + seed, serial=SERIAL, count=4, faults=FAULTS[:2], present=PRESENT)
    whole = make_other(drive, present=PRESENT)
    counted = Tripwire()
    whole.run(counted)
    check_end(whole, drive, PRESENT)
    for instant in random.Random(seed).sample(range(counted.steps), k=min(4, counted.steps)):
        other = make_other(drive, present=PRESENT)
        station = other.dock.station(Tripwire(instant))
        with pytest.raises(Killed):
            station.run(job=JOB)

        other.run(before=station)

        check_end(other, drive, PRESENT)


def test_two_drives_of_one_job_land_together(make_other: MakeOtherDock) -> None:
    first = make_drive(7, serial="D-1")
    paths = {each.blob_path for each in first.blobs}
    second = make_drive(8, serial="D-2")
    other = make_other(first, second)

    outcomes = other.run()

    assert {each.result for each in outcomes} <= {"completed", "completed-with-warnings"}
    assert len(other.blobs()) >= len(paths)
    assert other.job()["state"] == "Packaging"


def test_a_manifests_copy_and_the_logs_lie_where_the_job_says(make_other: MakeOtherDock) -> None:
    drive = make_drive(9, serial=SERIAL)
    other = make_other(drive)

    other.run()

    names = sorted(other.logs())
    stem = f"waimportexport/waies/films_{SERIAL}_20270301-120000-000_"
    assert names == [f"{stem}manifest.xml", f"{stem}verbose.xml"]
    assert other.logs()[names[0]] == drive.manifest


REASONS = [
    "DiskNotFound",
    "DiskOperationFailed",
    "VolumeNotNtfs",
    "BitLockerVolumeNotFound",
    "BitLockerNotActivated",
    "BitLockerProtectorNotFound",
    "BitLockerKeyInvalid",
    "BitLockerUnlockVolumeFailed",
    "BitLockerFailed",
]


@pytest.mark.requirement("R105")
@pytest.mark.parametrize("reason", REASONS)
def test_why_a_drive_could_not_be_opened_is_told_apart(
    make_other: MakeOtherDock, reason: str
) -> None:
    drive = make_drive(10, serial=SERIAL, count=1)
    other = make_other(drive)

    def give_up(ingest: Ingest) -> list[DriveOutcome]:
        return [ingest.give_up(SERIAL, reason=DriveStatus(reason))]

    other.dock.station().run(then=give_up)

    assert other.drive(SERIAL)["copyStatus"] == reason
    log = other.log(SERIAL, "error")
    assert log is not None
    assert log.status == reason


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("chart.png", "chart (2).png"),
        ("chart", "chart (2)"),
        ("a/b.tar.gz", "a/b.tar (2).gz"),
        (".profile", " (2).profile"),
    ],
)
def test_the_rename_rule_puts_the_number_before_the_last_dot(name: str, second: str) -> None:
    assert next_name(name, 2) == second
    assert renamed(f"c/{name}", 2) == f"c/{second}"
