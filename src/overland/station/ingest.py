"""Importing the drives that are here: which ones, four at a time, and how each of them went."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import msgspec

from overland.errors import OverlandError, RefusedError
from overland.format.copy_log import DriveStatus
from overland.ports.engine import Engine
from overland.ports.progress import Progress
from overland.ports.volume import Volumes
from overland.seeding.drive import DRIVE_MANIFEST, object_path
from overland.seeding.manifest import read_drive_manifest
from overland.station.connection import Connection, StationDrive, StationJob
from overland.station.driveimport import WORK, DriveImport
from overland.station.intake import DriveGivenTwice
from overland.station.items import DriveKey
from overland.station.records import Counts, Failure, Import, Records, Stop

__all__ = [
    "DRIVES_AT_ONCE",
    "Choice",
    "DamagedObject",
    "DriveNotReceived",
    "DriveOutcome",
    "DriveUnknown",
    "Ingest",
    "NotAnImport",
    "Result",
]

DRIVES_AT_ONCE: Final = 4
"""More would exceed what the data plane lets one job upload at a time."""

_POLL_S: Final = 0.5

Result = Literal[
    "completed",
    "completed-with-warnings",
    "completed-more-info",
    "failed",
    "stopped",
    "cancelled",
    "no-path",
    "finished",
]
"""`stopped` goes on when it is run again; `finished` was over before."""


class DriveUnknown(RefusedError):
    """No job at this station lists the drive."""

    code = "drive-unknown"

    def __init__(self, serial: str) -> None:
        super().__init__(
            f"no job at this station lists drive {serial}; book its parcel in with "
            "`overland station receive`, and keep the drive in quarantine until a job claims it"
        )
        self.serial = serial


class NotAnImport(RefusedError):
    """The job takes data out."""

    code = "not-an-import"

    def __init__(self, job: str) -> None:
        super().__init__(
            f"job {job} takes data out; run `overland station export --job {job} --drive PATH`"
        )
        self.job = job


class DriveNotReceived(RefusedError):
    """The drive is here, and was not booked in."""

    code = "drive-not-received"

    def __init__(self, serial: str, *, job: str) -> None:
        super().__init__(
            f"drive {serial} of job {job} was not booked in; "
            "run `overland station receive` with the number of its parcel first"
        )
        self.serial, self.job = serial, job


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A drive to import; `skip` says why it is not, if it is not."""

    key: DriveKey
    job: StationJob
    path: str | None
    skip: Literal["cancelled", "no-path", "finished"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedObject:
    """An object that did not land; `parts` are offset, length and status of what is bad."""

    name: str
    size_bytes: int
    status: str
    parts: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveOutcome:
    """How the import of a drive went; `noted` counts blobs by what their disposition led to."""

    serial: str
    job_id: str
    job_name: str
    result: Result
    landed: int = 0
    landed_bytes: int = 0
    total_objects: int = 0
    total_bytes: int = 0
    damaged: tuple[DamagedObject, ...] = ()
    noted: Mapping[str, int] = field(default_factory=dict)
    failure: Failure | None = None
    stop: Stop | None = None


class Ingest:
    """Imports drives durably: killed at any instant, it goes on when it is run again."""

    def __init__(
        self,
        *,
        engine: Engine,
        work: DriveImport,
        connection: Connection,
        volumes: Volumes,
        records: Records,
        progress: Progress,
    ) -> None:
        self._engine, self._work, self._connection = engine, work, connection
        self._volumes, self._records, self._progress = volumes, records, progress
        work.register(engine)

    def choose(self, *, job: str | None, paths: Sequence[str]) -> list[Choice]:
        """Return the drives at `paths`, or without paths all that wait, of one job or of all.

        Raises:
            JobUnknown, ObjectAbsent: There is no such job, by name or by id.
            NotAnImport: It is an export job.
            DriveUnknown: No job lists a drive.
            DriveNotReceived: A drive was not booked in.
            DriveGivenTwice: Two paths have a drive of one number.
        """
        jobs = self._jobs(job)
        if paths:
            return self._at_paths(jobs, paths)
        here = {each.serial.casefold(): each.path for each in self._records.drives()}
        return [
            _choice(each, drive, here.get(drive.serial.casefold()))
            for each in jobs
            for drive in each.drives
            if drive.waits or (job is not None and drive.is_finished)
        ]

    def run(self, choices: Sequence[Choice]) -> list[DriveOutcome]:
        """Import the chosen drives, four at a time; return how each went, in their order.

        Interrupted imports that the engine remembers go on too.
        """
        wanted = [each for each in choices if each.skip is None]
        if wanted:
            for each in wanted:
                self._records.open_import(each.key, path=_path(each))
            self._import_all(wanted)
        return [self._outcome(each) for each in choices]

    def give_up(self, serial: str, *, reason: DriveStatus) -> DriveOutcome:
        """End the import of a drive that cannot be read, for good, with a documented status.

        What landed of it stays, and the cloud learns the rest is missing.

        Raises:
            DriveUnknown: No job lists the drive.
            RefusedError: The drive is finished, or (`DriveNotReceived`) was not booked in.
        """
        chosen = self._listing(self._jobs(None), serial)
        if not any(each.waits for each in chosen.job.drives if each.serial == chosen.key.serial):
            raise RefusedError(f"drive {serial} is not waiting for its import; nothing was changed")
        self._records.open_import(chosen.key, path=chosen.path or "")
        self._records.fail(chosen.key, Failure(status=reason, reason="given up by the operator"))
        self._work.finish(_argument(chosen.key))
        return self._outcome(replace(chosen, skip=None))

    def _jobs(self, job: str | None) -> list[StationJob]:
        if job is not None:
            found = self._connection.find_job(job)
            if found.is_export:
                raise NotAnImport(found.name)
            return [found]
        listed = [each for each in self._connection.jobs() if not each.is_export]
        return [self._connection.job(each.job_id) for each in listed]

    def _at_paths(self, jobs: Sequence[StationJob], paths: Iterable[str]) -> list[Choice]:
        chosen: dict[str, Choice] = {}
        for path in paths:
            volume = self._volumes.open(path)
            self._records.note_path(volume.serial, volume.path)
            found = self._listing(jobs, volume.serial, path=volume.path)
            other = chosen.setdefault(found.key.serial, found)
            if other is not found:
                raise DriveGivenTwice(volume.serial, places=(_path(other), _path(found)))
        return list(chosen.values())

    def _listing(
        self, jobs: Sequence[StationJob], serial: str, *, path: str | None = None
    ) -> Choice:
        """Return the drive in the job that lists it; one that waits goes before one that ended."""
        listed = [(job, drive) for job in jobs if (drive := job.drive(serial)) is not None]
        listed.sort(key=lambda each: not each[1].waits)
        if not listed:
            raise DriveUnknown(serial)
        job, drive = listed[0]
        if not drive.waits and not drive.is_finished:
            raise DriveNotReceived(serial, job=job.name)
        return _choice(job, drive, path)

    def _import_all(self, wanted: Sequence[Choice]) -> None:
        total_bytes, total_objects = self._expected(wanted)
        self._progress.start("importing", total_bytes or None, total_objects or None)
        self._engine.launch()
        try:
            self._run_lanes(wanted)
        except BaseException:
            self._work.interrupt()
            raise
        finally:
            self._engine.close()
            self._progress.finish()

    def _run_lanes(self, wanted: Sequence[Choice]) -> None:
        waiting, running = deque(wanted), set[str]()
        while waiting or running:
            while waiting and len(running) < DRIVES_AT_ONCE:
                begun = self._begin(waiting.popleft().key)
                running |= set() if begun is None else {begun}
            for run_key in sorted(running):
                if self._engine.wait(run_key, timeout_s=_POLL_S).state != "running":
                    running.discard(run_key)

    def _begin(self, key: DriveKey) -> str | None:
        """Start the import, or another attempt at it; return the run, None if it is over."""
        known = self._records.find_import(key)
        assert known is not None, "it was opened before the engine was launched"
        if known.stage == "ended":
            return None
        before = self._engine.find(_run_key(known))
        if before is not None and before.state != "running":
            self._records.try_again(key)
            known = self._records.find_import(key)
            assert known is not None, "see above"
        self._engine.start(WORK, key=_run_key(known), argument=_argument(key))
        return _run_key(known)

    def _expected(self, wanted: Sequence[Choice]) -> tuple[int, int]:
        """Return bytes and objects that are still to come, for the progress only."""
        size_bytes = count = 0
        for each in wanted:
            counts = self._records.counts(each.key)
            size_bytes, count = size_bytes - counts.landed_bytes, count - counts.landed
            count -= counts.damaged
            try:
                files = self._volumes.open(_path(each)).files()
                name = object_path(each.job.seed_id or "", DRIVE_MANIFEST)
                manifest, _ = read_drive_manifest(files.read(name))
            except (OverlandError, OSError, ValueError):
                continue  # the import itself will say what is wrong
            count += len(manifest.objects)
            size_bytes += sum(item.size_bytes for item in manifest.objects)
        return max(0, size_bytes), max(0, count)

    def _outcome(self, chosen: Choice) -> DriveOutcome:
        bare = DriveOutcome(
            serial=chosen.key.serial,
            job_id=chosen.key.job_id,
            job_name=chosen.job.name,
            result=chosen.skip or "stopped",
        )
        known = self._records.find_import(chosen.key)
        if known is None or chosen.skip in {"cancelled", "no-path"}:
            return bare
        counts = self._records.counts(chosen.key)
        return replace(
            bare,
            result=chosen.skip or _result(known, counts),
            noted=counts.noted,
            landed=counts.landed,
            landed_bytes=counts.landed_bytes,
            total_objects=known.total_objects,
            total_bytes=known.total_bytes,
            damaged=self._damaged(chosen.key),
            failure=known.failure,
            stop=None if known.stage == "ended" else known.stop,
        )

    def _damaged(self, key: DriveKey) -> tuple[DamagedObject, ...]:
        return tuple(
            DamagedObject(
                name=item.name,
                size_bytes=item.size_bytes,
                status="" if item.verdict is None else item.verdict.status.value,
                parts=tuple(item.damaged_parts()),
            )
            for item in self._records.damaged_items(key)
        )


def _result(known: Import, counts: Counts) -> Result:
    if known.stage != "ended":
        return "stopped"
    if known.failure is not None:
        return "failed"
    if counts.damaged:
        return "completed-more-info"
    return "completed-with-warnings" if counts.noted else "completed"


def _choice(job: StationJob, drive: StationDrive, path: str | None) -> Choice:
    skip: Literal["cancelled", "no-path", "finished"] | None = None
    if drive.is_finished:
        skip = "finished"
    elif job.cancel_requested and drive.state == "Received":
        skip = "cancelled"
    elif path is None:
        skip = "no-path"
    key = DriveKey(job_id=job.job_id, serial=drive.serial)
    return Choice(key=key, job=job, path=path, skip=skip)


def _path(chosen: Choice) -> str:
    assert chosen.path is not None, "a drive without a path is skipped"
    return chosen.path


def _run_key(known: Import) -> str:
    return f"{WORK}/{known.key.job_id}/{known.key.serial}/{known.attempt}"


def _argument(key: DriveKey) -> str:
    return msgspec.json.encode(key).decode()
