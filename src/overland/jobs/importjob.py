"""An import job with its drives as a value, and what follows from an event on it.

Everything here is pure: the use cases of `overland.cloud` load a job, apply one function, and
store the result and its events in one transaction.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, Final

from overland.errors import RefusedError
from overland.jobs.states import (
    Condition,
    DriveEvent,
    DriveState,
    JobEvent,
    JobState,
    advance_drive,
    advance_job,
)
from overland.values import SeedId

__all__ = [
    "EXPORT",
    "IMPORT",
    "MAX_DRIVES",
    "Document",
    "Drive",
    "DriveNotInJob",
    "DriveReport",
    "Happening",
    "ImportJob",
    "TooManyDrives",
    "add_export_drives",
    "apply_to_drive",
    "apply_to_job",
    "is_processed",
    "set_export_drive",
    "settle",
]

Document = Mapping[str, object]
"""A small JSON object that is kept and shown as it was sent, such as an address."""

MAX_DRIVES: Final = 10  # of one import job

IMPORT: Final = "Import"
EXPORT: Final = "Export"  # from the storage account onto drives that the customer sends

_PROCESSED: Final = frozenset(
    {
        DriveState.COMPLETED,
        DriveState.COMPLETED_MORE_INFO,
        DriveState.SHIPPED_BACK,
        DriveState.NEVER_RECEIVED,
    }
)


class DriveNotInJob(RefusedError):
    """The import job does not list this drive."""

    code: ClassVar[str] = "drive-not-in-job"

    def __init__(self, serial: str) -> None:
        super().__init__(f"the import job does not list drive {serial}; return it unopened")
        self.serial = serial


class TooManyDrives(RefusedError):
    """More drives came for an export job than one job can have."""

    code: ClassVar[str] = "too-many-drives-came"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"job {name} would have more than {MAX_DRIVES} drives; "
            "return the others unopened, for another job"
        )
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveReport:
    """What the station says of a drive; None leaves a value as it is."""

    percent_complete: int | None = None
    bytes_succeeded: int | None = None
    copy_status: str | None = None
    error_log: str | None = None
    verbose_log: str | None = None
    manifest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """One drive of an import job.

    `unlock_key` opens the drive; it is a secret of the job, shown by nothing but the list of
    keys and the station's own request.  `was_opened` tells drives that went back after their
    import from those that went back untouched.
    """

    serial: str
    unlock_key: str = field(repr=False)
    manifest_file: str
    manifest_hash: str
    header_hash: str | None = None
    state: DriveState = DriveState.SPECIFIED
    was_opened: bool = False
    had_errors: bool = False
    report: DriveReport = DriveReport()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob:
    """One import or export job: what the customer asked for, where it is, and its drives.

    An export job (`job_type`) says in `export` which blobs it is for, has no drive until the
    station books some in, and names in `incomplete_blob_list` the list of what did not fit.
    """

    job_id: str
    tenant_id: str
    subscription_id: str
    resource_group: str
    name: str
    storage_account: str
    storage_account_id: str
    location: str
    drives: tuple[Drive, ...]
    created_at: datetime
    changed_at: datetime
    job_type: str = IMPORT
    export: Document | None = None
    incomplete_blob_list: str | None = None
    state: JobState = JobState.CREATING
    log_level: str = "Error"
    backup_drive_manifest: bool = False
    diagnostics_path: str = "waimportexport"
    cancel_requested: bool = False
    return_address: Document | None = None
    return_shipping: Document | None = None
    shipping_information: Document | None = None
    delivery_package: Document | None = None
    return_package: Document | None = None
    tags: Document | None = None
    seed_id: SeedId | None = None
    drive_public_key: str | None = None
    shipped_at: datetime | None = None
    ended_at: datetime | None = None
    warned_at: datetime | None = None
    overdue_at: datetime | None = None

    @property
    def arm_id(self) -> str:
        """The job's id as a resource."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.ImportExport/jobs/{self.name}"
        )

    @property
    def is_export(self) -> bool:
        """Whether drives take data out of the storage account instead of into it."""
        return self.job_type == EXPORT

    @property
    def percent_complete(self) -> int | None:
        """Progress over the drives that came, or None before the first has started."""
        here = [each for each in self.drives if each.state is not DriveState.NEVER_RECEIVED]
        if not here or not any(each.was_opened for each in here):
            return None
        return sum(_percent(each) for each in here) // len(here)

    @property
    def tracking_number(self) -> str | None:
        """The number of the parcel that brings the drives, if it is known."""
        return _text(self.delivery_package, "trackingNumber")

    @property
    def carrier(self) -> str | None:
        """Who carries the parcel, if it is known."""
        return _text(self.delivery_package, "carrierName")

    def drive(self, serial: str) -> Drive:
        """Return the drive with this serial number; case does not count.

        Raises:
            DriveNotInJob: The job does not list it.
        """
        for each in self.drives:
            if each.serial.casefold() == serial.casefold():
                return each
        raise DriveNotInJob(serial)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One event that changed a job or a drive of it; becomes an entry of the custody log."""

    event: str
    drive: str | None = None
    detail: Document = field(default_factory=dict)


def apply_to_job(job: ImportJob, event: JobEvent, *, at: datetime) -> ImportJob:
    """Return the job after `event`.

    Raises:
        EventRefused: The job's state does not allow it.
        ConditionMissing: Something that the event needs is missing.
    """
    assert at.tzinfo is not None, "instants are aware, in UTC"
    state = advance_job(job.state, event, met=_met(job))
    changed = replace(job, state=state, changed_at=at)
    if event is JobEvent.SHIPPED:
        return replace(changed, shipped_at=at, warned_at=None, overdue_at=None)
    if state in {JobState.COMPLETED, JobState.CLOSED}:
        return replace(changed, ended_at=at)
    return changed


def apply_to_drive(
    job: ImportJob,
    serial: str,
    event: DriveEvent,
    *,
    at: datetime,
    report: DriveReport | None = None,
) -> ImportJob:
    """Return the job after `event` on one of its drives.

    Raises:
        DriveNotInJob: The job does not list the drive.
        EventRefused: The drive's state does not allow it.
        ConditionMissing: Something that the event needs is missing.
    """
    drive = job.drive(serial)
    changed = replace(
        drive,
        state=advance_drive(drive.state, event, met=_met(job)),
        was_opened=drive.was_opened or event is DriveEvent.STARTED,
        had_errors=drive.had_errors or event is DriveEvent.COMPLETED_MORE_INFO,
        report=_merge(drive.report, report),
    )
    drives = tuple(changed if each is drive else each for each in job.drives)
    return replace(job, drives=drives, changed_at=at)


def add_export_drives(job: ImportJob, serials: Iterable[str]) -> ImportJob:
    """Return an export job with the empty drives that came for it, those that it lacks.

    They are `Received`: nobody lists the drives of an export before they arrive.

    Raises:
        TooManyDrives: They would be more than a job can have.
    """
    assert job.is_export, "the drives of an import are listed by its customer"
    known = {drive.serial.casefold() for drive in job.drives}
    come = [
        Drive(
            serial=serial,
            unlock_key="",
            manifest_file="",
            manifest_hash="",
            state=DriveState.RECEIVED,
        )
        for serial in serials
        if serial.casefold() not in known
    ]
    if len(job.drives) + len(come) > MAX_DRIVES:
        raise TooManyDrives(job.name)
    return replace(job, drives=(*job.drives, *come))


def set_export_drive(
    job: ImportJob, serial: str, *, unlock_key: str, manifest_file: str, manifest_hash: str
) -> ImportJob:
    """Return an export job with what the station made of a drive: its key and its manifest.

    Raises:
        DriveNotInJob: The job does not have the drive.
    """
    assert job.is_export, "the drives of an import are sealed by its customer"
    drive = job.drive(serial)
    made = replace(
        drive, unlock_key=unlock_key, manifest_file=manifest_file, manifest_hash=manifest_hash
    )
    return replace(job, drives=tuple(made if each is drive else each for each in job.drives))


def is_processed(job: ImportJob) -> bool:
    """Return whether everything that will be imported has been, and that is something."""
    return all(each.state in _PROCESSED for each in job.drives) and any(
        each.was_opened for each in job.drives
    )


def settle(job: ImportJob, *, at: datetime) -> tuple[ImportJob, list[Happening]]:
    """Return the job after everything that follows from its drives' states, and what that was.

    Settling a settled job changes nothing.
    """
    happened: list[Happening] = []
    for _ in JobState:  # no run through the states is longer
        event = _due(job)
        if event is None:
            return job, happened
        job = apply_to_job(job, event, at=at)
        happened.append(Happening(event=event))
    assert _due(job) is None, "the states of a job never run in a circle"
    return job, happened


def _due(job: ImportJob) -> JobEvent | None:
    """Return the event that the drives' states make due, if any."""
    states = {each.state for each in job.drives}
    started = any(each.was_opened for each in job.drives)
    waiting = _is_waiting(job, states)
    match job.state:
        case JobState.SHIPPING if started:
            return JobEvent.TRANSFER_STARTED
        case JobState.SHIPPING if DriveState.RECEIVED in states and not _expects_more(states):
            return JobEvent.DRIVES_BOOKED_IN
        case JobState.RECEIVED if started or not waiting:
            return JobEvent.TRANSFER_STARTED
        case JobState.TRANSFERRING if not waiting and not _expects_more(states):
            return JobEvent.DRIVES_PROCESSED
        case JobState.PACKAGING if waiting:
            return JobEvent.REOPENED
        case _:
            return None


def _expects_more(states: Iterable[DriveState]) -> bool:
    return DriveState.SPECIFIED in states


def _is_waiting(job: ImportJob, states: Iterable[DriveState]) -> bool:
    """Whether a drive still has to be worked on; a cancelled job begins no further drive."""
    if DriveState.TRANSFERRING in states:
        return True
    return DriveState.RECEIVED in states and not job.cancel_requested


def _met(job: ImportJob) -> frozenset[Condition]:
    held = {
        Condition.RETURN_ADDRESS: job.return_address is not None,
        Condition.DELIVERY_PACKAGE: bool(job.carrier and job.tracking_number),
        Condition.CANCEL_REQUESTED: job.cancel_requested,
    }
    return frozenset(condition for condition, holds in held.items() if holds)


def _merge(old: DriveReport, new: DriveReport | None) -> DriveReport:
    if new is None:
        return old
    names = DriveReport.__dataclass_fields__
    given = {name: getattr(new, name) for name in names if getattr(new, name) is not None}
    return replace(old, **given)


def _percent(drive: Drive) -> int:
    if drive.was_opened and drive.state is not DriveState.TRANSFERRING:
        return 100
    return drive.report.percent_complete or 0


def _text(document: Document | None, name: str) -> str | None:
    value = None if document is None else document.get(name)
    return value if isinstance(value, str) and value else None
