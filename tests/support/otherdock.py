"""A station that gets drives of other tools: the job, its parcel, its import, and what landed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.docked import Dock, Station, Tripwire
from tests.support.documentdrives import DocumentDrive, LoggedDrive, read_log
from tests.support.staged import SimDrive

from overland.station.ingest import DriveOutcome

__all__ = ["OtherDock"]

JOB = "films"
NUMBER = "1Z-FILMS"


class OtherDock:
    """One import job whose drives nobody here prepared."""

    def __init__(
        self,
        folder: Path,
        *drives: DocumentDrive,
        present: Mapping[str, bytes] | None = None,
        log_level: str = "Verbose",
        hashes: Mapping[str, str] | None = None,
        manifest_files: Mapping[str, str] | None = None,
        diagnostics_path: str = "waimportexport",
    ) -> None:
        """Put `present` into the containers, and the drives on the dock."""
        self.dock = Dock(folder, log_level=log_level, backup_manifest=True)
        self.dock._options["diagnosticsPath"] = diagnostics_path
        self.account = self.dock.world.account
        for path, content in (present or {}).items():
            container, _, name = path.partition("/")
            self.dock.cloud.put_object(f"accounts/{self.account}/{container}", name, content)
        listed = []
        for drive in drives:
            self.attach(drive)
            listed.append(
                {
                    "driveId": drive.serial,
                    "bitLockerKey": "none",
                    "manifestFile": (manifest_files or {}).get(drive.serial, drive.manifest_path),
                    "manifestHash": (hashes or {}).get(drive.serial, drive.md5()),
                }
            )
        self.dock._send_job(JOB, listed, tags={"project": "films"})
        self.dock.give_notice(JOB, number=NUMBER)
        self.receive(*(drive.serial for drive in drives))

    def attach(self, drive: DocumentDrive) -> SimDrive:
        sim = SimDrive(drive.serial, capacity_bytes=1 << 40)
        for name, data in drive.files.items():
            sim.disk.write(name, data)
        self.dock.drives[drive.serial] = sim
        self.dock.replace(sim)
        return sim

    def receive(self, *serials: str) -> None:
        self.dock.station().intake.receive(
            tracking_number=NUMBER,
            carrier="UPS",
            paths=[self.dock.drives[serial].path for serial in serials],
            serials=[],
        )

    def run(
        self, tripwire: Tripwire | None = None, *, before: Station | None = None
    ) -> list[DriveOutcome]:
        return self.dock.station(tripwire, before=before).run(job=JOB)

    def job(self) -> dict[str, Any]:
        http = self.dock.cloud.http(self.dock.world.admin)
        answer: dict[str, Any] = http.ok("GET", self.dock.world.job_path(JOB))["properties"]
        return answer

    def drive(self, serial: str) -> dict[str, Any]:
        return next(each for each in self.job()["driveList"] if each["driveId"] == serial)

    def blobs(self) -> dict[str, bytes]:
        """Return all blobs of the account but the logs, by path."""
        return {path: data for path, data in self._objects().items() if not _is_ours(path)}

    def descriptions(self) -> dict[str, dict[str, Any]]:
        """Return what is kept of each blob besides its bytes, by its path."""
        found = {}
        for path, data in self._objects().items():
            container, _, name = path.partition("/")
            if name.startswith(".overland-blobs/"):
                described = json.loads(data)
                assert f"{hashlib.sha256(described['name'].encode()).hexdigest()}.json" in name
                found[f"{container}/{described['name']}"] = described
        return found

    def log(self, serial: str, kind: str) -> LoggedDrive | None:
        """Return a drive's log by the address that the job's owner is told."""
        uri = self.drive(serial).get(f"{kind}LogUri")
        if uri is None:
            return None
        start, found, path = uri.partition(f"/accounts/{self.account}/")
        assert found
        assert start.startswith("http")
        return read_log(self._objects()[path].decode())

    def logs(self) -> dict[str, bytes]:
        return {p: data for p, data in self._objects().items() if p.startswith("waimportexport/")}

    def _objects(self) -> dict[str, bytes]:
        found = {}
        root = self.dock.cloud.spaces._files
        prefix = f"accounts/{self.account}/"
        for info in root.names(prefix):
            found[info.name.removeprefix(prefix)] = root.read(info.name)
        return found


def _is_ours(path: str) -> bool:
    return path.startswith("waimportexport/") or "/.overland-blobs/" in path
