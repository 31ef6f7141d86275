"""What the station asks and reports: its jobs, each drive's import, and the way back.

Every report may come twice: a station that was killed sends it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from overland.cloud import jobreach, names, seedlinks, stationcontainers
from overland.cloud.computers import load as load_computer
from overland.cloud.computers import owner_of
from overland.cloud.identity import Permission
from overland.cloud.refusals import Conflict, Invalid, ResourceAbsent
from overland.cloud.services import Call
from overland.jobs import records
from overland.jobs.importjob import (
    DriveReport,
    Happening,
    ImportJob,
    apply_to_drive,
    apply_to_job,
    set_export_drive,
    settle,
)
from overland.jobs.seeds import Seed
from overland.jobs.states import DriveEvent, DriveState, EventRefused, JobEvent, JobState

__all__ = [
    "FilledDrive",
    "ReportedEvent",
    "StationJob",
    "list_station_jobs",
    "report_drive",
    "return_drives",
    "station_job",
]

ReportedEvent = Literal["started", "progressed", "completed", "completed_more_info", "failed"]
"""`failed` means that nothing of the drive was imported; its `copy_status` says why."""

_AT_STATION: Final = (
    JobState.SHIPPING,
    JobState.RECEIVED,
    JobState.TRANSFERRING,
    JobState.PACKAGING,
)
_EVENTS: Final[dict[str, DriveEvent]] = {
    "started": DriveEvent.STARTED,
    "progressed": DriveEvent.PROGRESSED,
    "completed": DriveEvent.COMPLETED,
    "completed_more_info": DriveEvent.COMPLETED_MORE_INFO,
    "failed": DriveEvent.COMPLETED_MORE_INFO,
}
_RESULT: Final = {
    DriveEvent.STARTED: DriveState.TRANSFERRING,
    DriveEvent.COMPLETED: DriveState.COMPLETED,
    DriveEvent.COMPLETED_MORE_INFO: DriveState.COMPLETED_MORE_INFO,
}
_RETURNABLE: Final = frozenset({DriveState.COMPLETED, DriveState.COMPLETED_MORE_INFO})


@dataclass(frozen=True, slots=True, kw_only=True)
class StationJob:
    """A job with what the station needs to work on it.  Holds unlock keys.

    `signing_public_key` signed the seed's manifest.  Where the source computer has another key by
    now, `manifest_sha256` says which one manifest of the former still counts.  `containers` are
    those of the storage account, for an export job.
    """

    job: ImportJob
    seed: Seed | None
    signing_public_key: str | None
    manifest_sha256: str | None = None
    containers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledDrive:
    """What a drive of an export job carries back; the unlock key is a secret."""

    manifest_file: str
    manifest_hash: str
    unlock_key: str = field(repr=False)
    incomplete_blob_list: str | None


def list_station_jobs(call: Call, *, state: str | None) -> list[ImportJob]:
    """Return the jobs that are on their way to the station, or there, in one state or in all.

    Raises:
        Invalid: There is no such state.
    """
    call.require(Permission.WORK_AT_STATION)
    try:
        states = _AT_STATION if state is None else (JobState(state),)
    except ValueError:
        raise Invalid("state", f"use one of {', '.join(_AT_STATION)}") from None
    found = records.list_jobs(call.connection, states=states)
    return [job for job in found if jobreach.may(call, job, Permission.WORK_AT_STATION)]


def station_job(call: Call, job_id: str) -> StationJob:
    """Return a job with its unlock keys; before the ship notice there is nothing to unlock.

    Raises:
        ResourceAbsent: There is no such job at the station.
    """
    call.require(Permission.WORK_AT_STATION)
    job = _load(call, job_id)
    seed = seedlinks.seed_of(call, job)
    key = manifest = None
    if seed is not None:
        owner = owner_of(call, load_computer(call, seed.source_computer_id))
        first = owner.former[0].public_key if owner.former else owner.public_key.hex()
        key = seed.manifest_public_key or first
        manifest = None if key == owner.public_key.hex() else seed.manifest_sha256
    containers = stationcontainers.containers_of(call, job.storage_account) if job.is_export else []
    return StationJob(
        job=job,
        seed=seed,
        signing_public_key=key,
        manifest_sha256=manifest,
        containers=tuple(containers),
    )


def report_drive(
    call: Call,
    job_id: str,
    serial: str,
    *,
    event: ReportedEvent,
    report: DriveReport,
    filled: FilledDrive | None = None,
) -> ImportJob:
    """Take down what the station did with a drive, and what follows for the job.

    `filled` says what a drive of an export job carries; an import job has no such drives.

    Raises:
        DriveNotInJob: The job does not list the drive.
        EventRefused: The drive is not where this can happen.
        Conflict: A cancelled job would begin a drive, or a drive of an import job be filled.
        ResourceAbsent: The job has no ship notice yet, or is not this person's.
    """
    call.require(Permission.WORK_AT_STATION)
    job = _load(call, job_id)
    drive_event = _EVENTS[event]
    if job.drive(serial).state is _RESULT.get(drive_event):
        return job  # reported before
    happened = []
    if drive_event is not DriveEvent.STARTED and job.drive(serial).state is DriveState.RECEIVED:
        job = apply_to_drive(job, serial, DriveEvent.STARTED, at=call.at)
        happened.append(Happening(event=DriveEvent.STARTED, drive=serial))
    _refuse_cancelled(job, serial, drive_event)
    job = apply_to_drive(job, serial, drive_event, at=call.at, report=report)
    if filled is not None:
        job = _filled(job, serial, filled)
    if drive_event is not DriveEvent.PROGRESSED:
        happened.append(_reported(event, serial, report))
    settled, followed = settle(job, at=call.at)
    records.save_job(
        call.connection, settled, happened=[*happened, *followed], actor=call.principal.name
    )
    return settled


def return_drives(
    call: Call, job_id: str, *, carrier: str, tracking_number: str, serials: Sequence[str]
) -> ImportJob:
    """Send drives back; when none is left, the job ends: `Completed`, or `Closed` with errors.

    Without `serials`, every drive that is here goes.  Drives that went back before are no error.

    Raises:
        Conflict: There is no return address or return carrier.
        EventRefused: The job is not `Packaging`, or a drive is not ready.
        ConditionMissing: A drive that nobody opened goes back with a cancelled job only.
        DriveNotInJob: The job does not list one of `serials`.
        Invalid: Carrier or tracking number breaks its rule.
    """
    call.require(Permission.WORK_AT_STATION)
    job = _load(call, job_id)
    if job.state in (JobState.COMPLETED, JobState.CLOSED):
        return job  # reported before
    if job.state is not JobState.PACKAGING:
        raise EventRefused("the import job", state=job.state, event=JobEvent.RETURNED)
    if job.return_address is None:
        raise Conflict("returnAddress", "the job has no return address; ask the customer for it")
    wanted = {job.drive(each).serial for each in serials} or _here(job)
    job = replace(job, return_package=_package(call, carrier, tracking_number, len(wanted)))
    happened = []
    for serial in sorted(wanted):
        if job.drive(serial).state is DriveState.SHIPPED_BACK:
            continue
        job = apply_to_drive(job, serial, DriveEvent.SHIPPED_BACK, at=call.at)
        happened.append(Happening(event=DriveEvent.SHIPPED_BACK, drive=serial))
    if not _here(job):
        ending = JobEvent.RETURNED_WITH_ERRORS if _had_errors(job) else JobEvent.RETURNED
        job = apply_to_job(job, ending, at=call.at)
        happened.append(Happening(event=ending, detail=dict(job.return_package or {})))
    records.save_job(call.connection, job, happened=happened, actor=call.principal.name)
    return job


def _filled(job: ImportJob, serial: str, filled: FilledDrive) -> ImportJob:
    if not job.is_export:
        raise Conflict("manifest_file", "the customer says what a drive of an import job carries")
    job = set_export_drive(
        job,
        serial,
        unlock_key=filled.unlock_key,
        manifest_file=filled.manifest_file,
        manifest_hash=filled.manifest_hash,
    )
    incomplete = filled.incomplete_blob_list or job.incomplete_blob_list
    return replace(job, incomplete_blob_list=incomplete)


def _load(call: Call, job_id: str) -> ImportJob:
    job = records.load_job(call.connection, job_id)
    jobreach.require(call, job, Permission.WORK_AT_STATION)
    if job.state is JobState.CREATING:
        raise ResourceAbsent(f"import job {job_id} at the station: it has no ship notice yet")
    return job


def _refuse_cancelled(job: ImportJob, serial: str, event: DriveEvent) -> None:
    """A cancelled job begins no further drive; drives that were begun may run to their end."""
    begins = event is DriveEvent.STARTED and job.drive(serial).state is DriveState.RECEIVED
    if job.cancel_requested and begins:
        raise Conflict("cancelRequested", f"the job is cancelled; return drive {serial} unopened")


def _reported(event: ReportedEvent, serial: str, report: DriveReport) -> Happening:
    known = {"copy_status": report.copy_status, "bytes_succeeded": report.bytes_succeeded}
    detail = {name: value for name, value in known.items() if value is not None}
    return Happening(event=event, drive=serial, detail=detail)


def _here(job: ImportJob) -> set[str]:
    """Return the serial numbers of the drives that can go back."""
    unopened = {DriveState.RECEIVED} if job.cancel_requested else set()
    ready = _RETURNABLE | unopened
    return {drive.serial for drive in job.drives if drive.state in ready}


def _had_errors(job: ImportJob) -> bool:
    """Whether a drive had errors or never came; a cancelled job ends without."""
    if job.cancel_requested:
        return False
    missing = any(drive.state is DriveState.NEVER_RECEIVED for drive in job.drives)
    return missing or any(drive.had_errors for drive in job.drives)


def _package(call: Call, carrier: str, tracking_number: str, count: int) -> dict[str, object]:
    return {
        "carrierName": names.check_label(carrier, what="carrier", longest=64),
        "trackingNumber": names.check_tracking_number(tracking_number),
        "driveCount": count,
        "shipDate": call.at.isoformat(),
    }
