"""Importing drives: everything right lands, nothing wrong does, and each drive's end is told."""

import hashlib
from collections.abc import Callable

import pytest
from sqlalchemy import insert, select
from tests.support import staged
from tests.support.docked import JOB, SEED, TRACKING, Dock
from tests.support.staged import SimDrive
from typing_extensions import override

from overland.cloud.tables import source_computers
from overland.crypto import sign
from overland.errors import RefusedError
from overland.format.copy_log import DriveStatus
from overland.seeding.manifest import signed_seed_manifest
from overland.station.ingest import DriveNotReceived, DriveOutcome, DriveUnknown, Ingest
from overland.station.intake import DriveGivenTwice
from overland.station.items import DriveKey
from overland.vault.tables import key_changes

MakeDock = Callable[..., Dock]
MIB = 1 << 20


def pack(dock: Dock, number: int = 0) -> str:
    return [name for name in dock.objects if name.endswith(".pack")][number]


def on_drive(name: str) -> str:
    return f"seed-{SEED}/{name}"


@pytest.mark.requirement("R108")
def test_everything_on_a_good_drive_lands_and_the_drive_is_completed(make_dock: MakeDock) -> None:
    dock = make_dock(packs=(4096, 5 * MIB, 512))
    dock.ship()
    dock.receive()

    [outcome] = dock.station().run()

    assert outcome.result == "completed"
    assert dock.landed() == dock.objects
    drive = dock.drive("D1")
    assert (drive["state"], drive["copyStatus"]) == ("Completed", "Completed")
    assert drive["percentComplete"] == 100
    assert drive["bytesSucceeded"] == sum(map(len, dock.objects.values()))
    assert dock.job()["properties"]["state"] == "Packaging"
    assert dock.logs() == {}, "an error log is left when something failed"


def test_two_drives_in_one_call_bring_the_whole_seed(make_dock: MakeDock) -> None:
    dock = make_dock(shares={"D1": [0, 1, 2], "D2": [3, 4]})
    dock.ship()
    dock.receive()

    outcomes = dock.station().run()

    assert [each.result for each in outcomes] == ["completed", "completed"]
    assert dock.landed() == dock.objects


def test_of_five_drives_at_once_only_the_one_that_is_pulled_out_stops(make_dock: MakeDock) -> None:
    dock = make_dock(shares={f"D{number}": [number] for number in range(5)})
    dock.ship()
    dock.receive()
    drive, faults = dock.drives["D3"], dock.faulty("D3")

    def pull(operation: str, _name: str) -> None:
        if operation == "blocks":
            dock.volumes.drives.pop(drive.path, None)
            faults.failing.update(on_drive(name) for name in dock.objects)

    faults._on_call = pull

    outcomes = dock.station().run()

    results = {each.serial: each.result for each in outcomes}
    assert results.pop("D3") == "stopped"
    assert set(results.values()) == {"completed"}
    dock.replace(drive)
    assert {each.serial: each.result for each in dock.station().run()}["D3"] == "completed"
    assert dock.landed() == dock.objects


def test_an_object_on_two_drives_lands_once_and_both_are_completed(make_dock: MakeDock) -> None:
    dock = make_dock(shares={"D1": [0, 1, 2], "D2": [2, 3, 4]})
    dock.ship()
    dock.receive()

    outcomes = dock.station().run()

    assert [each.result for each in outcomes] == ["completed", "completed"]
    assert len(dock.puts) == len(set(dock.puts)) == len(dock.objects)


@pytest.mark.requirement("R107", "R109", "R110")
def test_a_flipped_bit_costs_its_object_alone_and_the_bad_range_is_named(
    make_dock: MakeDock,
) -> None:
    dock = make_dock(packs=(9 * MIB, 512))
    damaged = max(dock.objects, key=lambda name: len(dock.objects[name]))
    dock.ship()
    dock.receive()
    dock.drives["D1"].disk.damage(on_drive(damaged), offset=5 * MIB)

    [outcome] = dock.station().run()

    assert outcome.result == "completed-more-info"
    assert [each.name for each in outcome.damaged] == [damaged]
    assert outcome.damaged[0].parts == ((4 * MIB, 4 * MIB, "Corrupted"),)
    assert dock.landed() == {n: data for n, data in dock.objects.items() if n != damaged}
    drive = dock.drive("D1")
    assert drive["state"] == "CompletedMoreInfo"
    assert drive["copyStatus"] == "CompletedWithErrors"
    [(name, log)] = dock.logs().items()
    assert name.startswith(f"waimportexport/waies/{JOB}_D1_20270301-120000-000_error")
    assert drive["errorLogUri"].endswith(name)
    assert log.count("<Blob ") == 1
    assert f'Offset="{4 * MIB}" Length="{4 * MIB}"' in log
    assert log.count("<PageRange ") == 1, "the good ranges are left out"


def test_a_truncated_object_is_named_with_the_ranges_that_are_cut_off(make_dock: MakeDock) -> None:
    dock = make_dock(packs=(9 * MIB, 512))
    damaged = max(dock.objects, key=lambda name: len(dock.objects[name]))
    dock.ship()
    dock.receive()
    dock.drives["D1"].disk.truncate(on_drive(damaged), length=4 * MIB + 1000)

    [outcome] = dock.station().run()

    ends = [(offset, status) for offset, _, status in outcome.damaged[0].parts]
    assert ends == [(4 * MIB, "FileUnexpectedEnd"), (8 * MIB, "FileUnexpectedEnd")]
    assert damaged not in dock.landed()


def test_a_missing_object_is_named_and_the_rest_lands(make_dock: MakeDock) -> None:
    dock = make_dock()
    missing = pack(dock)
    dock.ship()
    dock.receive()
    dock.drives["D1"].disk.delete(on_drive(missing))

    [outcome] = dock.station().run()

    assert [(each.name, each.status) for each in outcome.damaged] == [(missing, "FileNotFound")]
    assert set(dock.landed()) == set(dock.objects) - {missing}
    [log] = dock.logs().values()
    assert '<ImportDisposition Status="Cancelled">' in log


def test_a_bad_sector_costs_its_object_and_is_told_apart_from_wrong_bytes(
    make_dock: MakeDock,
) -> None:
    dock = make_dock()
    bad = pack(dock)
    dock.ship()
    dock.receive()
    dock.faulty("D1").failing.add(on_drive(bad))

    [outcome] = dock.station().run()

    assert [status for _, _, status in outcome.damaged[0].parts] == ["IOFailed"]
    assert set(dock.landed()) == set(dock.objects) - {bad}


def test_a_medium_that_reads_wrong_once_is_asked_again(make_dock: MakeDock) -> None:
    dock = make_dock()
    shaky = on_drive(pack(dock))
    dock.ship()
    dock.receive()
    faults = dock.faulty("D1")
    faults.flipped[shaky] = {7}

    def heal(operation: str, name: str) -> None:
        if operation == "read_range" and name == shaky:
            faults.flipped.clear()

    faults._on_call = heal

    [outcome] = dock.station().run()

    assert outcome.result == "completed"
    assert dock.landed() == dock.objects


def test_a_drive_that_is_pulled_out_is_not_called_damaged(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    drive, faults = dock.drives["D1"], dock.faulty("D1")

    def pull(operation: str, name: str) -> None:
        if operation == "blocks" and name == on_drive(pack(dock, 1)):
            dock.volumes.drives.pop(drive.path, None)
            faults.failing.update(on_drive(name) for name in dock.objects)

    faults._on_call = pull

    [outcome] = dock.station().run()

    assert outcome.result == "stopped"
    assert outcome.stop is not None
    assert outcome.stop.code == "drive-gone"
    dock.replace(drive)
    [outcome] = dock.station().run()
    assert outcome.result == "completed"
    assert dock.landed() == dock.objects


@pytest.mark.requirement("R107")
def test_a_changed_manifest_is_refused_with_the_documented_code(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    dock.drives["D1"].disk.damage("DriveManifest.xml", offset=400)

    [outcome] = dock.station().run()

    assert outcome.result == "failed"
    assert outcome.failure is not None
    assert outcome.failure.status == DriveStatus.MANIFEST_CORRUPTED
    assert dock.landed() == {}
    drive = dock.drive("D1")
    assert (drive["state"], drive["copyStatus"]) == ("CompletedMoreInfo", "ManifestCorrupted")
    [log] = dock.logs().values()
    assert "<Status>ManifestCorrupted</Status>" in log


def test_the_manifest_of_another_drive_is_refused(make_dock: MakeDock) -> None:
    dock = make_dock(shares={"D1": [0, 1, 2], "D2": [3, 4]})
    dock.ship()
    dock.receive()
    first, second = (dock.drives[serial].disk for serial in ("D1", "D2"))
    first.write("DriveManifest.xml", second.read("DriveManifest.xml"))

    outcomes = dock.station().run()

    assert [each.result for each in outcomes] == ["failed", "completed"]
    assert dock.drive("D1")["copyStatus"] == "ManifestCorrupted"


def test_a_drive_that_was_sealed_for_another_serial_number_is_refused(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.hashes["D1"] = dock.seal(dock.drives["D1"], list(dock.objects), serial="D9")
    dock.ship()
    dock.receive()

    dock.station().run()

    assert dock.drive("D1")["copyStatus"] == "ManifestDriveIdMismatch"
    assert dock.landed() == {}


@pytest.mark.parametrize("hashed_by", ["md5", "sha256"])
def test_the_manifest_hash_may_be_an_md5_or_a_sha256(make_dock: MakeDock, hashed_by: str) -> None:
    dock = make_dock()
    xml = dock.drives["D1"].disk.read("DriveManifest.xml")
    dock.hashes["D1"] = hashlib.new(hashed_by, xml).hexdigest().upper()
    dock.ship()
    dock.receive()

    [outcome] = dock.station().run()

    assert outcome.result == "completed"


def test_a_drive_signed_by_another_copy_computer_is_refused(make_dock: MakeDock) -> None:
    dock = make_dock()
    other = sign.generate_signing_key(lambda count: b"x" * count)
    dock.ship(drive_key=sign.public_key(other).hex())
    dock.receive()

    [outcome] = dock.station().run()

    assert outcome.failure is not None
    assert "copy computer" in outcome.failure.reason
    assert dock.drive("D1")["copyStatus"] == "ManifestCorrupted"
    assert dock.landed() == {}


def test_a_seed_manifest_by_somebody_else_is_refused(make_dock: MakeDock) -> None:
    dock = make_dock()
    other = sign.generate_signing_key(lambda count: b"x" * count)
    dock.document = bytes(
        signed_seed_manifest(
            staged.manifest(dock.objects),
            public_key=sign.public_key(other),
            sign=lambda purpose, body: sign.sign(other, purpose, body),
        )
    )
    dock.hashes["D1"] = dock.seal(dock.drives["D1"], list(dock.objects))
    dock.ship()
    dock.receive()

    [outcome] = dock.station().run()

    assert outcome.failure is not None
    assert "registered" in outcome.failure.reason
    assert dock.landed() == {}


def retire_the_signing_key(dock: Dock) -> None:
    """Have the cloud know another signing key of the source computer, as after a change."""
    with dock.cloud.database.begin() as connection:
        [computer] = connection.execute(select(source_computers)).all()
        connection.execute(
            insert(key_changes).values(
                source_computer_id=computer.source_computer_id,
                number=1,
                former_public_key=computer.signing_public_key,
                public_key="ab" * 32,
                change_sha256="cd" * 32,
                entered_at=dock.cloud.clock.now(),
            )
        )


def test_a_seed_whose_key_was_replaced_on_the_way_is_imported(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    retire_the_signing_key(dock)
    dock.receive()
    [outcome] = dock.station().run()
    assert outcome.result == "completed"


def test_another_manifest_by_the_replaced_key_is_refused(make_dock: MakeDock) -> None:
    """As whoever stole the key can make it."""
    dock = make_dock()
    less = {name: data for name, data in dock.objects.items() if name != pack(dock)}
    dock.document = bytes(
        signed_seed_manifest(
            staged.manifest(less),
            public_key=sign.public_key(staged.SIGNING_KEY),
            sign=staged.sign_with_source_key,
        )
    )
    dock.hashes["D1"] = dock.seal(dock.drives["D1"], list(less))
    dock.ship()
    retire_the_signing_key(dock)
    dock.receive()
    [outcome] = dock.station().run()
    assert outcome.failure is not None
    assert "was replaced" in outcome.failure.reason
    assert dock.drive("D1")["copyStatus"] == "ManifestCorrupted"
    assert dock.landed() == {}


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("DriveManifest.xml", DriveStatus.MANIFEST_NOT_FOUND),
        (f"seed-{SEED}/manifest.json", DriveStatus.MANIFEST_NOT_FOUND),
        (f"seed-{SEED}/drive.json", DriveStatus.MANIFEST_NOT_FOUND),
    ],
)
def test_a_drive_without_a_manifest_is_refused(
    make_dock: MakeDock, name: str, status: DriveStatus
) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    dock.drives["D1"].disk.delete(name)

    [outcome] = dock.station().run()

    assert outcome.failure is not None
    assert outcome.failure.status == status
    assert dock.drive("D1")["copyStatus"] == status.value


@pytest.mark.parametrize("name", ["manifest.json", "drive.json"])
def test_a_flipped_bit_in_a_signed_manifest_is_refused(make_dock: MakeDock, name: str) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    dock.drives["D1"].disk.damage(f"seed-{SEED}/{name}", offset=30)

    [outcome] = dock.station().run()

    assert outcome.result == "failed"
    assert dock.landed() == {}


def test_an_unreadable_manifest_is_told_apart_from_a_changed_one(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    dock.faulty("D1").failing.add("DriveManifest.xml")

    dock.station().run()

    assert dock.drive("D1")["copyStatus"] == "ReadManifestFailed"


def test_a_job_that_brings_no_seed_of_ours_is_left_alone(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship(tags={"project": "films"})
    dock.receive()

    [outcome] = dock.station().run()

    assert outcome.result == "stopped"
    assert outcome.stop is not None
    assert outcome.stop.code == "drive-not-ours"
    assert dock.drive("D1")["state"] == "Received"


def test_a_cancelled_job_begins_no_drive(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    dock.cancel()

    [outcome] = dock.station().run()

    assert outcome.result == "cancelled"
    assert dock.landed() == {}


def test_a_drive_that_was_not_booked_in_is_refused(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()

    with pytest.raises(DriveNotReceived):
        dock.station().run(job=None, paths=[dock.drives["D1"].path])


def test_a_drive_of_no_job_is_refused(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    stranger = SimDrive("STRANGER", capacity_bytes=1 << 30)
    dock.replace(stranger)

    with pytest.raises(DriveUnknown):
        dock.station().run(job=None, paths=[stranger.path])


@pytest.mark.requirement("R106")
def test_two_drives_with_one_serial_number_are_refused(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()

    class Copy(SimDrive):
        @property
        @override
        def path(self) -> str:
            return "/drives/copy"

    dock.replace(Copy("D1", capacity_bytes=1 << 30))

    with pytest.raises(DriveGivenTwice):
        dock.station().run(job=None, paths=[dock.drives["D1"].path, "/drives/copy"])


def test_another_drive_at_the_path_stops_the_import_and_changes_nothing(
    make_dock: MakeDock,
) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    other = SimDrive("OTHER", capacity_bytes=1 << 30)
    dock.volumes.drives[dock.drives["D1"].path] = other

    [outcome] = dock.station().run()

    assert outcome.stop is not None
    assert outcome.stop.code == "wrong-drive"
    assert dock.drive("D1")["state"] == "Received"


def test_a_store_that_does_not_answer_stops_the_drive_and_it_goes_on_later(
    make_dock: MakeDock,
) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    dock.store_is_down = True
    station = dock.station()
    [outcome] = station.run()
    assert outcome.result == "stopped"
    assert outcome.stop is not None
    assert outcome.stop.family == "transient"

    dock.store_is_down = False
    [outcome] = dock.station(before=station).run()

    assert outcome.result == "completed"
    assert dock.landed() == dock.objects


def test_an_operator_may_stop_at_any_object_and_go_on_later(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()

    def stop(operation: str, name: str) -> None:
        if operation == "blocks" and name == on_drive(pack(dock, 1)):
            raise KeyboardInterrupt

    dock.faulty("D1")._on_call = stop
    station = dock.station()
    with pytest.raises(KeyboardInterrupt):
        station.run()
    assert 0 < len(dock.landed()) < len(dock.objects)

    dock.replace(dock.drives["D1"])
    [outcome] = dock.station(before=station).run()

    assert outcome.result == "completed"
    assert dock.landed() == dock.objects


def test_other_content_under_an_objects_name_is_left_and_reported(make_dock: MakeDock) -> None:
    dock = make_dock()
    taken = pack(dock)
    content = b"somebody else's"
    dock.container.put(
        on_drive(taken),
        [content],
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    dock.ship()
    dock.receive()

    [outcome] = dock.station().run()

    assert [each.status for each in outcome.damaged] == ["BlobRequestFailed"]
    assert dock.landed()[taken] == content


def test_a_verbose_log_names_every_object_and_a_backup_of_the_manifest_is_left(
    make_dock: MakeDock,
) -> None:
    dock = make_dock(log_level="Verbose", backup_manifest=True)
    dock.ship()
    dock.receive()

    dock.station().run()

    kinds = {name.rpartition("_")[2]: text for name, text in dock.logs().items()}
    assert set(kinds) == {"verbose.xml", "manifest.xml"}
    assert kinds["verbose.xml"].count("<Blob ") == len(dock.objects)
    assert kinds["manifest.xml"].encode() == dock.drives["D1"].disk.read("DriveManifest.xml")
    drive = dock.drive("D1")
    assert drive["verboseLogUri"].startswith("https://objects.test/accounts/")
    assert drive["manifestUri"].endswith("_manifest.xml")


def test_a_drive_that_cannot_be_read_is_given_up_with_its_reason(make_dock: MakeDock) -> None:
    dock = make_dock(shares={"D1": [0, 1, 2], "D2": [3, 4]})
    dock.ship()
    dock.receive("D1")
    dock.station().intake.receive(tracking_number=TRACKING, carrier="UPS", paths=[], serials=["D2"])

    def give_up(ingest: Ingest) -> list[DriveOutcome]:
        return [ingest.give_up("D2", reason=DriveStatus.DISK_NOT_FOUND)]

    [outcome] = dock.station().run(then=give_up)

    assert outcome.result == "failed"
    assert dock.drive("D2")["copyStatus"] == "DiskNotFound"
    with pytest.raises(RefusedError):
        dock.station().run(then=give_up)


def test_progress_is_told_at_most_every_few_seconds(make_dock: MakeDock) -> None:
    dock = make_dock(packs=[512 * number for number in range(1, 30)])
    dock.ship()
    dock.receive()

    dock.station().run()

    events = [body for _, path, body in dock.requests if path.endswith("/events")]
    told = [body["event"] for body in events if isinstance(body, dict)]
    assert told == ["started", "progressed", "completed"], "the clock stood still"


def test_the_station_keeps_nothing_on_the_drive(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    before = dock.drives["D1"].disk.steps

    dock.station().run()

    assert dock.drives["D1"].disk.steps == before
    assert list(dock.drafts.names()) == []


def test_a_finished_drive_is_not_imported_again(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    dock.station().run()
    puts = list(dock.puts)

    [outcome] = dock.station().run()

    assert outcome.result == "finished"
    assert dock.puts == puts


def test_a_returned_drive_is_forgotten_here(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    dock.station().run()

    parcel = dock.station().returning.send_back(JOB, carrier="UPS", tracking_number="1Z-BACK")

    assert (parcel.job_state, parcel.serials) == ("Completed", ("D1",))
    assert parcel.address is not None
    assert parcel.address["recipientName"] == "Harbour Ltd"
    assert dock.records.drives() == []
    key = DriveKey(job_id=parcel.job_id, serial="D1")
    assert list(dock.records.items(key)) == []


def test_a_drive_of_a_job_without_a_seed_is_given_up_and_goes_back(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship_other("FILMS1")
    intake = dock.station().intake
    intake.receive(tracking_number="1Z-0002", carrier="UPS", paths=[], serials=["FILMS1"])

    def give_up(ingest: Ingest) -> list[DriveOutcome]:
        return [ingest.give_up("FILMS1", reason=DriveStatus.DISK_OPERATION_FAILED)]

    [outcome] = dock.station().run(then=give_up)

    assert outcome.result == "failed"
    http = dock.cloud.http(dock.world.admin)
    job = http.ok("GET", dock.world.job_path("another-job"))["properties"]
    assert job["driveList"][0]["copyStatus"] == "DiskOperationFailed"
    assert job["state"] == "Packaging"
