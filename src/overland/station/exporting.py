"""An export job onto the empty drives that its customer sent.

Blobs go, by path, each onto the first drive that has room for it.  A drive's manifest is written
when nothing more goes onto it, so a drive with a manifest is whole.  A run that was killed is run
again with the same drives: what a drive has already is compared with the blob and stays.  What
fits on no drive, and what is not there, is named in a list that is left with the customer.

No key is needed: a seed's objects leave as sealed as they lie in the account.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from overland.errors import OutOfSpace, RefusedError, TransientError
from overland.events import Log
from overland.format.blob_list import BlobListInvalid, BlobSelection
from overland.format.copy_log import BlobStatus, DriveStatus, PartStatus
from overland.format.drive_xml import Blob, ManifestXmlInvalid, write_manifest
from overland.ports.clock import Clock
from overland.ports.files import Files, NewFile
from overland.ports.progress import Progress
from overland.ports.volume import Volumes
from overland.station.connection import Connection, DriveEventName, DriveReport, StationJob
from overland.station.containers import Containers
from overland.station.filling import BlobChanged, DriveFolder, NotAsWritten
from overland.station.items import LANDED, DriveKey, Item, Verdict
from overland.station.logs import DriveLogs
from overland.station.opening import open_at
from overland.station.records import Failure, Records
from overland.station.selection import ChosenBlob, Selected, select_blobs

__all__ = ["DriveNotEmpty", "DrivesMissing", "Export", "Exported", "FilledDrive", "NotAnExport"]

CREATOR: Final = "Overland"
_REPORT_EVERY_S: Final = 5.0

log = Log()


class NotAnExport(RefusedError):
    """The job brings data in."""

    code = "not-an-export"

    def __init__(self, job: str) -> None:
        super().__init__(f"job {job} brings data in; run `overland station ingest --job {job}`")
        self.job = job


class DriveNotEmpty(RefusedError):
    """A drive of an export job holds something; nothing was written."""

    code = "drive-not-empty"

    def __init__(self, serial: str, *, job: str) -> None:
        super().__init__(
            f"drive {serial} of job {job} is not empty, and nothing was written to it; empty it if "
            "its owner agrees, or send it back"
        )
        self.serial, self.job = serial, job


class DrivesMissing(RefusedError):
    """Some drives of an export job were not given; nothing was written."""

    code = "drives-missing"

    def __init__(self, job: str, *, serials: Sequence[str]) -> None:
        super().__init__(
            f"job {job} is filled onto all of its drives at once; attach and give these too, with "
            f"--drive PATH: {', '.join(serials)}"
        )
        self.job, self.serials = job, tuple(serials)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledDrive:
    """One drive of an export, as it goes back."""

    serial: str
    status: str
    blobs: int
    size_bytes: int
    manifest_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """How an export ended; `unfinished` are the blobs that no drive carries.

    `problem` is why nothing was exported, where the list of blobs cannot be read.
    """

    job_id: str
    job_name: str
    drives: tuple[FilledDrive, ...]
    unfinished: tuple[str, ...]
    unfinished_list: str | None
    problem: str | None = None


@dataclass(slots=True)
class _Target:
    """A drive that is being filled."""

    key: DriveKey
    path: str
    files: Files
    folder: DriveFolder
    count: int = 0


class Export:
    """Fills drives for export jobs; one call at a time."""

    def __init__(
        self,
        *,
        connection: Connection,
        volumes: Volumes,
        records: Records,
        containers: Containers,
        drafts: Files,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._connection, self._volumes, self._records = connection, volumes, records
        self._containers, self._drafts = containers, drafts
        self._clock, self._progress = clock, progress
        self._told_s: float | None = None

    def run(self, job: str, *, paths: Sequence[str]) -> Exported:
        """Fill the drives at `paths`, which are all drives of the job that are here.

        Raises:
            NotAnExport: The job brings data in.
            DrivesMissing: Other drives of the job are here too.
            DriveNotEmpty: A drive holds something that this export did not write.
            RefusedError: A drive is not the job's, or the cloud refuses.
            JobUnknown, ObjectAbsent: There is no such job, by name or by id.
            TransientError: The cloud or a container did not answer; run again.
            OSError: A drive failed; run again, or give it up.
        """
        found = self._connection.find_job(job)
        if not found.is_export:
            raise NotAnExport(found.name)
        targets = self._targets(found, paths)
        try:
            selected = self._still_open(found, select_blobs(found, self._containers))
        except BlobListInvalid as error:
            return self._reject(found, targets, str(error))
        for target in targets:
            self._connection.report(found.job_id, target.key.serial, "started", DriveReport())
        total_bytes = sum(blob.size_bytes for blob in selected.blobs)
        self._progress.start("exporting", total_bytes or None, len(selected.blobs) or None)
        try:
            left = self._fill(targets, selected, total_bytes=total_bytes)
        finally:
            self._progress.finish()
        return self._finish(found, targets, (*selected.absent, *left))

    def _targets(self, job: StationJob, paths: Sequence[str]) -> list[_Target]:
        """Return the drives, checked before the first byte is written to any."""
        given: dict[str, _Target] = {}
        for path in paths:
            volume = self._volumes.open(path)
            drive = job.drive(volume.serial)
            if drive is not None and drive.is_finished:
                continue  # an earlier run came so far
            if drive is None or not drive.waits:
                raise RefusedError(f"drive {volume.serial} does not wait in job {job.name}")
            key = DriveKey(job_id=job.job_id, serial=drive.serial)
            if volume.content() != "blank" and self._records.find_import(key) is None:
                raise DriveNotEmpty(drive.serial, job=job.name)
            self._records.note_path(drive.serial, volume.path)
            files = open_at(self._volumes, path, serial=drive.serial).files()
            folder = DriveFolder(drive.serial, files)
            given[drive.serial] = _Target(key=key, path=path, files=files, folder=folder)
        missing = [each.serial for each in job.drives if each.waits and each.serial not in given]
        if missing or not given:
            raise DrivesMissing(job.name, serials=missing or ["(none is here)"])
        for target in given.values():
            self._records.begin_export(target.key, path=target.path)
        return list(given.values())

    def _still_open(self, job: StationJob, selected: Selected) -> Selected:
        """Leave out what drives carry that an earlier run has finished."""
        keys = [
            DriveKey(job_id=job.job_id, serial=drive.serial)
            for drive in job.drives
            if drive.is_finished
        ]
        done = {item.name for key in keys for item in self._records.items(key) if _is_there(item)}
        blobs = tuple(blob for blob in selected.blobs if blob.path not in done)
        return replace(selected, blobs=blobs)

    def _fill(self, targets: list[_Target], selected: Selected, *, total_bytes: int) -> list[str]:
        """Bring the blobs onto the drives; return the paths of those that are on none."""
        left, done_bytes = [], 0
        for blob in selected.blobs:
            target = _choose(targets, blob)
            if target is None or not self._bring(target, blob):
                left.append(blob.path)
            done_bytes += blob.size_bytes
            self._progress.advance(bytes=blob.size_bytes, count=1)
            if target is not None:
                self._tell(target.key, min(99, done_bytes * 100 // max(1, total_bytes)))
        return left

    def _bring(self, target: _Target, blob: ChosenBlob) -> bool:
        """Bring a blob onto a drive, and keep how that went; return whether it is there."""
        store = self._containers.exported(target.key.job_id, blob.container)
        entry, verdict, sha256 = _bare(blob), LANDED, ""
        try:
            entry, sha256 = target.folder.fill(blob, store)
        except OutOfSpace:
            return False  # it had room by our count, and is named as what did not fit
        except BlobChanged:
            verdict = _failed(BlobStatus.BLOB_UNEXPECTED_CHANGE)
        except NotAsWritten:
            verdict = _failed(BlobStatus.IO_FAILED)
        except ManifestXmlInvalid:
            verdict = _failed(BlobStatus.FILE_NAME_INVALID)
        item = Item(
            number=target.count,
            name=blob.path,
            size_bytes=blob.size_bytes,
            sha256=sha256,
            blob=entry,
            verdict=verdict,
        )
        self._records.add_exported(target.key, item)
        target.count += 1
        return verdict.landed

    def _finish(
        self, job: StationJob, targets: Sequence[_Target], unfinished: Sequence[str]
    ) -> Exported:
        at = self._clock.now()
        uri = None
        if unfinished:
            selection = BlobSelection(paths=tuple(unfinished))
            uri = self._logs(job).leave_list(job, selection, at=at)
        drives = [self._end(job, target, incomplete=uri) for target in targets]
        log.info("export.ended", job=job.job_id, drives=len(drives), unfinished=len(unfinished))
        return Exported(
            job_id=job.job_id,
            job_name=job.name,
            drives=tuple(drives),
            unfinished=tuple(unfinished),
            unfinished_list=uri,
        )

    def _end(self, job: StationJob, target: _Target, *, incomplete: str | None) -> FilledDrive:
        """Write a drive's manifest and its logs, and tell the cloud; again is the same."""
        path = f"\\{target.key.serial}.manifest"
        manifest = _Manifest(target.files.create())
        try:
            landed = (item.blob for item in self._records.items(target.key) if _is_there(item))
            write_manifest(
                manifest, target.key.serial, landed, client_creator=CREATOR, says_disposition=False
            )
            manifest.new.publish(path[1:])
        finally:
            manifest.new.abandon()
        self._records.note_manifest(
            target.key, size_bytes=manifest.size_bytes, sha256=manifest.sha256.hexdigest()
        )
        counts = self._records.counts(target.key)
        report = self._leave_logs(job, target, manifest_file=path)
        report = msgspec.structs.replace(
            report,
            manifest_file=path,
            manifest_hash=manifest.md5.hexdigest().upper(),
            incomplete_blob_list=incomplete,
        )
        event: DriveEventName = "completed_more_info" if counts.damaged else "completed"
        self._connection.report(job.job_id, target.key.serial, event, report)
        self._records.end(target.key)
        return FilledDrive(
            serial=target.key.serial,
            status=report.copy_status or "",
            blobs=counts.landed,
            size_bytes=counts.landed_bytes,
            manifest_file=path,
        )

    def _leave_logs(
        self, job: StationJob, target: _Target, *, manifest_file: str | None
    ) -> DriveReport:
        self._records.set_end(target.key, at=self._clock.now())
        known = self._records.find_import(target.key)
        assert known is not None, "its export was begun"
        return self._logs(job).leave(
            job, known, medium=target.files, manifest_file=manifest_file or ""
        )

    def _reject(self, job: StationJob, targets: Sequence[_Target], why: str) -> Exported:
        """End a job whose list of blobs cannot be read; its drives go back as they came."""
        failure = Failure(status=DriveStatus.BLOB_LIST_FORMAT_INVALID, reason=why)
        for target in targets:
            self._records.fail(target.key, failure)
            report = self._leave_logs(job, target, manifest_file=None)
            self._connection.report(job.job_id, target.key.serial, "failed", report)
            self._records.end(target.key)
        log.info("export.rejected", job=job.job_id, why=why)
        status = failure.status.value
        drives = tuple(
            FilledDrive(
                serial=each.key.serial, status=status, blobs=0, size_bytes=0, manifest_file=""
            )
            for each in targets
        )
        return Exported(
            job_id=job.job_id,
            job_name=job.name,
            drives=drives,
            unfinished=(),
            unfinished_list=None,
            problem=why,
        )

    def _tell(self, key: DriveKey, percent: int) -> None:
        """Tell the cloud how far the export is, every few seconds; it may miss some of it."""
        now_s = self._clock.monotonic_s()
        if self._told_s is not None and now_s - self._told_s < _REPORT_EVERY_S:
            return
        self._told_s = now_s
        landed_bytes = self._records.counts(key).landed_bytes
        report = DriveReport(
            percent=percent, bytes_succeeded=landed_bytes, copy_status="InProgress"
        )
        try:
            self._connection.report(key.job_id, key.serial, "progressed", report)
        except TransientError as error:
            log.info("progress.not_told", drive=key.serial, why=str(error))

    def _logs(self, job: StationJob) -> DriveLogs:
        container, base_uri = self._containers.logs(job)
        return DriveLogs(
            records=self._records, drafts=self._drafts, container=container, base_uri=base_uri
        )


class _Manifest:
    """A manifest on its way to the drive, with its digests."""

    def __init__(self, new: NewFile) -> None:
        self.new, self.size_bytes = new, 0
        self.md5, self.sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        """Write what comes next, and count it into length and digests.

        Raises:
            OSError, OutOfSpace: As the drive's file does.
        """
        self.new.write(data)
        self.md5.update(data)
        self.sha256.update(data)
        self.size_bytes += len(data)


def _choose(targets: Sequence[_Target], blob: ChosenBlob) -> _Target | None:
    """Return the drive that has the blob of an earlier run, or the first with room for it."""
    for target in targets:
        if target.folder.holds(blob):
            return target
    return next((each for each in targets if each.folder.has_room(blob)), None)


def _is_there(item: Item) -> bool:
    return item.verdict is not None and item.verdict.landed


def _bare(blob: ChosenBlob) -> Blob:
    """Return the entry of a blob that is not on the drive, for the log."""
    return Blob(
        blob_path=blob.path,
        file_path="\\" + blob.path.replace("/", "\\"),
        length=blob.size_bytes,
        disposition="rename",
        blocks=(),
    )


def _failed(status: BlobStatus) -> Verdict:
    return Verdict(status=status, parts=PartStatus.CANCELLED)
