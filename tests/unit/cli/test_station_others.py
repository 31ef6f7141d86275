"""Drives of other tools, and export jobs, as an operator works on them: real sockets and files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.documentdrives import FAULTS, DocumentDrive, make_drive, read_exported
from tests.support.otherdock import JOB, NUMBER, OtherDock
from tests.support.served import served

from overland.adapters.volumes import create_folder_volume
from overland.cli.station import station

pytestmark = pytest.mark.slow

SERIAL = "WD-DOC0001"
PRESENT = {"harbour/tide.1.tar.gz": b"old tide", "$root/favicon.ico": b"old icon"}
DRIVE = make_drive(400, serial=SERIAL, count=8, faults=FAULTS, present=PRESENT)


class Desk:
    """An operator's terminal at a station that serves a real cloud."""

    def __init__(self, other: OtherDock, url: str, folder: Path, capfd: Any) -> None:
        self.other, self._capfd, self._folder = other, capfd, folder
        token = folder / "token"
        token.write_text(other.dock.token + "\n")
        self.types(0, "init", "--cloud-url", url, "--token-file", str(token))

    def types(self, code: int, *words: str) -> str:
        with capture_logs(), pytest.raises(SystemExit) as ended:
            station.main(list(words))
        captured = self._capfd.readouterr()
        assert int(ended.value.code or 0) == code, captured.err + captured.out
        printed: str = captured.out
        return printed

    def drive(self, serial: str, files: dict[str, bytes]) -> Path:
        folder = self._folder / "drives" / serial
        volume = create_folder_volume(folder, serial=serial, capacity_bytes=1 << 30)
        for name, data in files.items():
            volume.files().write(name, data)
        return folder


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    (tmp_path / "cloud").mkdir()
    other = OtherDock(tmp_path / "cloud", DRIVE, present=PRESENT)
    with served(other.dock) as url:
        yield Desk(other, url, tmp_path, capfd)
    other.dock.close()


def landed(drive: DocumentDrive) -> dict[str, bytes]:
    return PRESENT | {each.final_path: each.content for each in drive.blobs if each.landed}


def test_a_drive_of_another_tool_lands_over_the_wire_and_its_damage_is_told(desk: Desk) -> None:
    path = desk.drive(SERIAL, DRIVE.files)
    parcel = ("--tracking-number", NUMBER, "--carrier", "UPS", "--drive", str(path))
    desk.types(0, "receive", *parcel)

    text = desk.types(4, "ingest", "--job", JOB)

    assert "imported with damage" in text
    assert desk.other.blobs() == landed(DRIVE)
    shown = desk.other.drive(SERIAL)
    assert (shown["state"], shown["copyStatus"]) == ("CompletedMoreInfo", "CompletedWithErrors")
    log = desk.other.log(SERIAL, "error")
    assert log is not None
    assert len(log.blobs) == sum(each.status != "Completed" for each in DRIVE.blobs)


def test_what_was_imported_is_exported_over_the_wire_onto_an_empty_drive(desk: Desk) -> None:
    path = desk.drive(SERIAL, DRIVE.files)
    parcel = ("--tracking-number", NUMBER, "--carrier", "UPS", "--drive", str(path))
    desk.types(0, "receive", *parcel)
    desk.types(4, "ingest", "--job", JOB)
    order(desk.other)
    empty = desk.drive("EMPTY-1", {})
    parcel = ("--tracking-number", "1Z-OUT", "--carrier", "UPS", "--drive", str(empty))
    desk.types(0, "receive", *parcel)
    assert "overland station export --job take-out" in desk.types(0, "status")

    done = json.loads(desk.types(0, "export", "--job", "take-out", "--drive", str(empty), "--json"))

    assert done["unfinished"] == []
    files = {
        str(each.relative_to(empty)): each.read_bytes()
        for each in empty.rglob("*")
        if each.is_file()
    }
    found = {path: blob.content for path, blob in read_exported(files, "EMPTY-1").items()}
    expected = landed(DRIVE)
    in_root = {path for path in expected if path.startswith("$root/")}
    assert found == {path: data for path, data in expected.items() if path not in in_root}
    back = ("--carrier", "UPS", "--tracking-number", "1Z-BACK")
    assert "take-out is Completed" in desk.types(0, "return", "--job", "take-out", *back)


def order(other: OtherDock) -> None:
    """Order an export of everything that begins with `harbour`."""
    world = other.dock.world
    admin = other.dock.cloud.http(world.admin)
    job = {
        "location": "westeurope",
        "properties": {
            "jobType": "Export",
            "storageAccountId": world.account_id,
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
            "export": {"blobList": {"blobPathPrefix": ["/harbour"]}},
        },
    }
    admin.ok("PUT", world.job_path("take-out"), job)
    package = {"carrierName": "UPS", "trackingNumber": "1Z-OUT", "driveCount": 1}
    patch = {"properties": {"state": "Shipping", "deliveryPackage": package}}
    admin.ok("PATCH", world.job_path("take-out"), patch)
