"""The logs of a drive's import, left in the customer's own container.

They lie under `waies/` in the place that the job names, `waimportexport` by default, named after
job, drive and the end of the import; their URIs go to the cloud with the drive's last event.
Written again, they are the same blobs.
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime

from overland.errors import ObjectAbsent, ObjectExists
from overland.format.blob_list import BlobSelection, write_blob_list
from overland.format.copy_log import DriveLog, DriveStatus
from overland.ports.files import Files, NewFile
from overland.ports.objects import Objects
from overland.station.connection import DriveReport, StationJob
from overland.station.items import DriveKey
from overland.station.records import Import, Records

__all__ = ["DriveLogs", "drive_status"]


class DriveLogs:
    """Writes the logs of one drive and uploads them."""

    def __init__(
        self, *, records: Records, drafts: Files, container: Objects, base_uri: str
    ) -> None:
        """Prepare to write.

        Args:
            records: The station's tables.
            drafts: Where a log lies until it is uploaded.
            container: The job's container, from its diagnostics folder down.
            base_uri: The address of that folder.
        """
        self._records, self._drafts = records, drafts
        self._container, self._base_uri = container, base_uri

    def leave(
        self,
        job: StationJob,
        done: Import,
        *,
        medium: Files | None,
        manifest_file: str | None = None,
    ) -> DriveReport:
        """Leave the logs that the job asks for; return their URIs with the final figures.

        The error log is left whenever something failed, the verbose log and the copy of the
        manifest when the job asks for them; that is `manifest_file`, or the one that the job lists.

        Raises:
            OverlandError: The container failed; call it again.
        """
        assert done.ended_at is not None, "an import ends before its logs are written"
        status, counts = drive_status(self._records, done), self._records.counts(done.key)
        name = _Names(job.name, done.key.serial, done.ended_at)
        error_log = verbose_log = manifest = None
        export = job.is_export
        if status not in {DriveStatus.COMPLETED, DriveStatus.COMPLETED_WITH_WARNINGS}:
            error_log = self._log(done.key, status, name, verbose=False, is_export=export)
        if job.log_level == "Verbose" and done.failure is None:
            verbose_log = self._log(done.key, status, name, verbose=True, is_export=export)
        if job.backup_drive_manifest and done.failure is None and medium is not None:
            manifest = self._manifest(
                done, medium, name("manifest"), file=manifest_file or _listed_file(job, done)
            )
        return DriveReport(
            percent=100,
            bytes_succeeded=counts.landed_bytes,
            copy_status=status.value,
            error_log=error_log,
            verbose_log=verbose_log,
            manifest=manifest,
        )

    def _log(
        self, key: DriveKey, status: DriveStatus, name: "_Names", *, verbose: bool, is_export: bool
    ) -> str:
        def write(out: NewFile) -> None:
            """Write the whole log: all items if it is verbose, else those that were damaged."""
            log = DriveLog(out, key.serial, verbose=verbose, is_export=is_export)
            items = self._records.items(key) if verbose else self._records.damaged_items(key)
            for item in items:
                log.add(item.result())
            log.finish(status)

        return self._upload(name("verbose" if verbose else "error"), write)

    def leave_list(self, job: StationJob, unfinished: BlobSelection, *, at: datetime) -> str:
        """Leave the list of what an export job could not take along; return its URI."""
        stem = f"waies/{job.name}_{_instant(at)}"
        return self._upload(
            f"{stem}_incomplete.xml", lambda out: out.write(write_blob_list(unfinished))
        )

    def _upload(self, name: str, write: Callable[[NewFile], None]) -> str:
        """Write a file here and put it into the container."""
        draft = f"drafts/{name.rpartition('/')[2]}"
        new = self._drafts.create()
        try:
            write(new)
            new.publish(draft)
        finally:
            new.abandon()
        size_bytes, sha256 = _measure(self._drafts, draft)
        self._put(name, self._drafts, draft, size_bytes=size_bytes, sha256=sha256)
        self._drafts.delete(draft)
        return self._base_uri + name

    def _manifest(self, done: Import, medium: Files, name: str, *, file: str) -> str | None:
        """Copy the drive's manifest; None when the drive does not give it any more."""
        source = file.removeprefix("\\").replace("\\", "/")
        try:
            found = _measure(medium, source)
            if found != (done.manifest_bytes, done.manifest_sha256):
                return None
            self._put(name, medium, source, size_bytes=found[0], sha256=found[1])
        except (ObjectAbsent, OSError):
            return None
        return self._base_uri + name

    def _put(
        self, name: str, source: Files, source_name: str, *, size_bytes: int, sha256: str
    ) -> None:
        try:
            self._container.put(
                name, _Content(source, source_name), size_bytes=size_bytes, sha256=sha256
            )
        except ObjectExists:
            # Its name has this import and its instant: an earlier attempt left it.
            return


def _listed_file(job: StationJob, done: Import) -> str:
    drive = job.drive(done.key.serial)
    assert drive is not None, "the drive's job lists it"
    return drive.manifest_file


def drive_status(records: Records, done: Import) -> DriveStatus:
    """Return the documented status of a drive whose import is over."""
    if done.failure is not None:
        return done.failure.status
    counts = records.counts(done.key)
    assert counts.open == 0, "a drive ends when all its objects are settled"
    if counts.damaged:
        return DriveStatus.COMPLETED_WITH_ERRORS
    return DriveStatus.COMPLETED_WITH_WARNINGS if counts.noted else DriveStatus.COMPLETED


class _Names:
    """The documented names: job, drive, instant and kind."""

    def __init__(self, job: str, serial: str, at: datetime) -> None:
        self._stem = f"waies/{job}_{serial}_{_instant(at)}"

    def __call__(self, kind: str) -> str:
        return f"{self._stem}_{kind}.xml"


def _instant(at: datetime) -> str:
    return f"{at:%Y%m%d-%H%M%S}-{at.microsecond // 1000:03d}"


class _Content:
    """A file's content that can be read again when an upload breaks off."""

    def __init__(self, files: Files, name: str) -> None:
        self._files, self._name = files, name

    def __iter__(self) -> Iterator[memoryview]:
        return self._files.blocks(self._name)


def _measure(files: Files, name: str) -> tuple[int, str]:
    digest, size_bytes = hashlib.sha256(), 0
    for block in files.blocks(name):
        digest.update(block)
        size_bytes += len(block)
    return size_bytes, digest.hexdigest()
