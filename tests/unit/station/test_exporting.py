"""Export jobs: blobs onto empty drives, as the published document has them."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.docked import Dock, Tripwire
from tests.support.documentdrives import make_drive, read_exported, read_log
from tests.support.otherdock import OtherDock
from tests.support.simdisk import SimDisk
from tests.support.simengine import Killed
from tests.support.staged import SimDrive

from overland.cloud import tables
from overland.errors import RefusedError
from overland.station.exporting import DriveNotEmpty, DrivesMissing, Exported, NotAnExport
from overland.station.ingest import NotAnImport

JOB = "take-out"
NUMBER = "1Z-EXPORT"
ALL = {"blobList": {"blobPathPrefix": ["/"]}}
BLOBS = {
    "charts/a.png": b"first chart",
    "charts/deep/b": b"",
    "charts/index.json": b"{}",
    "charts/A.png": b"differs in case only",
    "charts/con.txt": b"a device's name",
    "charts/ends with dot.": b"dot",
    "charts/a.png.properties": b"in the way of a properties file",
    "films/big.bin": random.Random(1).randbytes((9 << 20) + 77),
    "films/ünïcode ☃": b"snow",
    "music/love/song": b"la",
    "$root/favicon.ico": b"icon",
}
MakeExport = Callable[..., "ExportDock"]


class ExportDock:
    """One export job and its empty drives."""

    def __init__(
        self,
        folder: Path,
        *,
        export: dict[str, Any],
        blobs: dict[str, bytes] | None = None,
        capacities: tuple[int, ...] = (1 << 30,),
    ) -> None:
        self.dock = Dock(folder, log_level="Verbose", backup_manifest=True)
        self.world = self.dock.world
        self.admin = self.dock.cloud.http(self.world.admin)
        for path, content in (BLOBS if blobs is None else blobs).items():
            self.put(path, content)
        self.serials = [f"EMPTY-{number}" for number in range(len(capacities))]
        for serial, capacity in zip(self.serials, capacities, strict=True):
            drive = SimDrive(serial, capacity_bytes=capacity, disk=SimDisk(capacity_bytes=capacity))
            self.dock.drives[serial] = drive
            self.dock.replace(drive)
        self.order(export)

    def put(self, path: str, content: bytes) -> None:
        container, _, name = path.partition("/")
        space = f"accounts/{self.world.account}/{container}"
        self.dock.cloud.put_object(space, name, content)
        with self.dock.cloud.database.begin() as connection:
            row = {"storage_account": self.world.account, "name": container}
            found = connection.execute(tables.containers.select().filter_by(**row)).first()
            if found is None:
                at = self.dock.cloud.clock.now()
                connection.execute(tables.containers.insert().values(**row, created_at=at))

    def order(self, export: dict[str, Any]) -> None:
        body = {
            "location": "westeurope",
            "properties": {
                "jobType": "Export",
                "storageAccountId": self.world.account_id,
                "returnAddress": {
                    "recipientName": "Harbour Ltd",
                    "streetAddress1": "5 Quay",
                    "city": "Dublin",
                    "postalCode": "D01",
                    "countryOrRegion": "Ireland",
                    "phone": "1",
                    "email": "it@harbour.example",
                },
                "returnShipping": {"carrierName": "UPS", "carrierAccountNumber": "1"},
                "export": export,
                "logLevel": "Verbose",
                "backupDriveManifest": True,
            },
        }
        self.admin.ok("PUT", self.world.job_path(JOB), body)
        package = {"carrierName": "UPS", "trackingNumber": NUMBER, "driveCount": 1}
        patch = {"properties": {"state": "Shipping", "deliveryPackage": package}}
        self.admin.ok("PATCH", self.world.job_path(JOB), patch)

    def receive(self) -> None:
        parcel = self.dock.station().intake.receive(
            tracking_number=NUMBER, carrier="UPS", paths=self.paths, serials=[]
        )
        assert {each.outcome for each in parcel.drives} == {"received"}

    @property
    def paths(self) -> list[str]:
        return [self.dock.drives[serial].path for serial in self.serials]

    def run(self, tripwire: Tripwire | None = None, *paths: str) -> Exported:
        export = self.dock.station(tripwire).export()
        return export.run(JOB, paths=paths or self.paths)

    def job(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.admin.ok("GET", self.world.job_path(JOB))["properties"]
        return answer

    def files(self, serial: str) -> dict[str, bytes]:
        disk = self.dock.drives[serial].disk
        return {info.name: disk.read(info.name) for info in disk.names()}

    def carried(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for serial in self.serials:
            read = read_exported(self.files(serial), serial)
            assert not found.keys() & read.keys(), "a blob is on one drive"
            found.update({path: blob.content for path, blob in read.items()})
        return found

    def left(self, uri: str) -> str:
        base = f"https://objects.test/accounts/{self.world.account}/"
        container, _, name = uri.removeprefix(base).partition("/")
        space = self.dock.cloud.spaces.open(f"accounts/{self.world.account}/{container}")
        return space.read(name).decode()


@pytest.fixture
def make_export(tmp_path: Path) -> Iterator[MakeExport]:
    made: list[ExportDock] = []

    def make(**options: Any) -> ExportDock:  # as ExportDock takes them
        folder = tmp_path / f"dock-{len(made)}"
        folder.mkdir()
        made.append(ExportDock(folder, **options))
        return made[-1]

    yield make
    for each in made:
        each.dock.close()


def test_a_whole_account_goes_onto_a_drive_and_the_job_through_its_states(
    make_export: MakeExport,
) -> None:
    dock = make_export(export=ALL)
    assert dock.job()["state"] == "Shipping"
    dock.receive()
    assert dock.job()["state"] == "Received"
    assert [each["state"] for each in dock.job()["driveList"]] == ["Received"]

    done = dock.run()

    assert dock.carried() == BLOBS
    assert (done.unfinished, done.unfinished_list) == ((), None)
    job = dock.job()
    assert (job["state"], job["percentComplete"]) == ("Packaging", 100)
    [drive] = job["driveList"]
    assert (drive["state"], drive["copyStatus"]) == ("Completed", "Completed")
    assert drive["manifestFile"] == "\\EMPTY-0.manifest"
    assert len(drive["manifestHash"]) == 32
    log = read_log(dock.left(drive["verboseLogUri"]), is_export=True)
    assert {each.blob_path for each in log.blobs} == BLOBS.keys()
    assert dock.left(drive["manifestUri"]).encode() == dock.files("EMPTY-0")["EMPTY-0.manifest"]
    returned = dock.dock.station().returning.send_back(
        JOB, carrier="UPS", tracking_number="1Z-BACK"
    )
    assert (returned.job_state, returned.serials) == ("Completed", ("EMPTY-0",))


@pytest.mark.parametrize(
    ("selection", "paths"),
    [
        (
            {"blobPath": ["charts/a.png", "$root/favicon.ico"]},
            ["charts/a.png", "$root/favicon.ico"],
        ),
        ({"blobPathPrefix": ["/music/love"]}, ["music/love/song"]),
        ({"blobPathPrefix": ["/$root/"]}, ["$root/favicon.ico"]),
        ({"blobPathPrefix": ["/fil"]}, ["films/big.bin", "films/ünïcode ☃"]),
        ({"blobPathPrefix": ["/fil/"]}, []),
        (
            {"blobPath": ["charts/a.png"], "blobPathPrefix": ["/charts/a.png"]},
            ["charts/a.png", "charts/a.png.properties"],
        ),
    ],
)
def test_what_was_asked_for_is_taken_and_nothing_else(
    make_export: MakeExport, selection: dict[str, list[str]], paths: list[str]
) -> None:
    dock = make_export(export={"blobList": selection})
    dock.receive()

    dock.run()

    assert dock.carried() == {path: BLOBS[path] for path in paths}


LIST = b"""<?xml version="1.0" encoding="utf-8"?>
<BlobList>
  <BlobPathPrefix>/charts/index</BlobPathPrefix>
  <BlobPath IncludeSnapshots="false">music/love/song</BlobPath>
  <BlobPath>music/nowhere</BlobPath>
  <BlobPath SnapshotTime="2026-05-01T10:00:00.0000000Z">charts/a.png</BlobPath>
</BlobList>
"""


def test_a_list_that_is_a_blob_is_read_and_what_is_not_there_is_named(
    make_export: MakeExport,
) -> None:
    blobs = {**BLOBS, "lists/export.xml": LIST}
    dock = make_export(export={"blobListblobPath": "lists/export.xml"}, blobs=blobs)
    dock.receive()

    done = dock.run()

    assert dock.carried().keys() == {"charts/index.json", "music/love/song"}
    assert set(done.unfinished) == {"music/nowhere", "charts/a.png"}
    uri = dock.job()["incompleteBlobListUri"]
    assert uri == done.unfinished_list
    assert "<BlobPath>music/nowhere</BlobPath>" in dock.left(uri)


@pytest.mark.parametrize("text", [b"", b"<BlobList/>", LIST[:-8], b"<!DOCTYPE a><BlobList/>"])
def test_a_malformed_list_ends_the_job_and_its_drives_go_back_empty(
    make_export: MakeExport, text: bytes
) -> None:
    blobs = {"lists/export.xml": text}
    dock = make_export(export={"blobListblobPath": "lists/export.xml"}, blobs=blobs)
    dock.receive()

    done = dock.run()

    assert done.problem is not None
    assert dock.files("EMPTY-0") == {}
    [drive] = dock.job()["driveList"]
    assert drive["copyStatus"] == "BlobListFormatInvalid"
    assert dock.job()["state"] == "Packaging"


def test_an_export_spans_drives_and_tells_what_does_not_fit(make_export: MakeExport) -> None:
    blobs = {f"data/{n:02d}": random.Random(n).randbytes(400 << 10) for n in range(12)}
    dock = make_export(export=ALL, blobs=blobs, capacities=(2 << 20, 2 << 20))
    dock.receive()

    done = dock.run()

    carried = dock.carried()
    assert carried == {path: data for path, data in blobs.items() if path in carried}
    assert 6 <= len(carried) < 12
    assert set(done.unfinished) == blobs.keys() - carried.keys()
    assert all(read_exported(dock.files(serial), serial) for serial in dock.serials)
    text = dock.left(dock.job()["incompleteBlobListUri"])
    assert all(f"<BlobPath>{path}</BlobPath>" in text for path in done.unfinished)


def test_properties_metadata_and_types_come_back_as_they_were_imported(tmp_path: Path) -> None:
    source = make_drive(11, serial="WD-DOC0001")
    folder = tmp_path / "import"
    folder.mkdir()
    other = OtherDock(folder, source)
    other.run()
    dock = ExportDock.__new__(ExportDock)
    dock.dock, dock.world, dock.serials = other.dock, other.dock.world, ["EMPTY-0"]
    dock.admin = other.dock.cloud.http(dock.world.admin)
    drive = SimDrive("EMPTY-0", capacity_bytes=1 << 30)
    other.dock.drives["EMPTY-0"] = drive
    other.dock.replace(drive)
    dock.order({"blobList": {"blobPathPrefix": ["/harbour", "/$root/"]}})
    dock.receive()

    dock.run()

    found = read_exported(dock.files("EMPTY-0"), "EMPTY-0")
    assert found.keys() == {each.final_path for each in source.blobs if each.landed}
    for each in source.blobs:
        if not each.landed:
            continue
        blob = found[each.final_path]
        assert (blob.content, blob.metadata) == (each.content, each.metadata)
        assert blob.is_paged == each.is_paged
        told = {k: v for k, v in blob.properties.items() if k not in {"Etag", "Content-Length"}}
        assert told == each.properties
        assert blob.properties["Content-Length"] == str(each.length)
    other.dock.close()


@pytest.mark.parametrize("seed", range(2))
def test_an_export_that_was_killed_anywhere_goes_on_and_ends_the_same(
    make_export: MakeExport, seed: int
) -> None:
    blobs = {f"data/{n:02d}": random.Random(n).randbytes(400 << 10) for n in range(6)}
    options = {"export": ALL, "blobs": blobs, "capacities": (2 << 20, 2 << 20)}
    whole = make_export(**options)
    whole.receive()
    counted = Tripwire()
    whole.run(counted)
    for instant in random.Random(seed).sample(range(counted.steps), k=5):
        dock = make_export(**options)
        dock.receive()
        with pytest.raises(Killed):
            dock.run(Tripwire(instant))

        if dock.job()["state"] != "Packaging":
            dock.run()

        assert dock.carried() == whole.carried()
        assert dock.job()["state"] == "Packaging"


def test_a_drive_that_holds_something_is_refused_and_left_alone(make_export: MakeExport) -> None:
    dock = make_export(export=ALL)
    dock.receive()
    dock.dock.drives["EMPTY-0"].disk.write("holiday.jpg", b"photo")

    with pytest.raises(DriveNotEmpty):
        dock.run()

    assert dock.files("EMPTY-0") == {"holiday.jpg": b"photo"}
    assert dock.job()["state"] == "Received"


def test_all_drives_of_the_job_are_given_and_no_others(make_export: MakeExport) -> None:
    dock = make_export(export=ALL, capacities=(1 << 30, 1 << 30))
    dock.receive()
    with pytest.raises(DrivesMissing):
        dock.run(None, dock.paths[0])
    stranger = SimDrive("STRANGER", capacity_bytes=1 << 30)
    dock.dock.replace(stranger)
    with pytest.raises(RefusedError, match="STRANGER"):
        dock.run(None, *dock.paths, stranger.path)
    assert dock.files("EMPTY-0") == {}


def test_each_command_refuses_the_others_jobs(make_export: MakeExport) -> None:
    dock = make_export(export=ALL)
    dock.receive()
    with pytest.raises(NotAnImport):
        dock.dock.station().run(job=JOB)
    dock.dock.ship()
    with pytest.raises(NotAnExport):
        dock.dock.station().export().run("harbour-import-07", paths=dock.paths)


def test_a_drive_that_reads_wrong_costs_its_blob_and_says_so(make_export: MakeExport) -> None:
    blobs = {"data/a": b"a" * 5000, "data/b": b"b" * 5000}
    dock = make_export(export=ALL, blobs=blobs)
    dock.receive()
    dock.dock.faulty("EMPTY-0").flipped["data/a"] = {7}

    done = dock.run()

    assert [each.status for each in done.drives] == ["CompletedWithErrors"]
    assert done.unfinished == ("data/a",)
    [drive] = dock.job()["driveList"]
    log = read_log(dock.left(drive["errorLogUri"]), is_export=True)
    assert [(each.blob_path, each.status) for each in log.blobs] == [("data/a", "IOFailed")]
