"""What arrives at the dock: a parcel to its job by tracking number, a drive by its serial number.

Anybody can type any tracking number, so a number that jobs of several tenants have says nothing
by itself: the parcel belongs to the one that lists most of its drives, to nobody if two do.
A drive that is in no job is quarantined, unless it is an empty one in the parcel of an export job;
one that is in another parcel's job is returned unopened, one that comes late is taken in after all.
Nothing is opened before its ship notice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import insert, or_, select, update

from overland.cloud import jobreach, names
from overland.cloud.identity import Permission, Role
from overland.cloud.refusals import Invalid
from overland.cloud.services import Call
from overland.jobs import records, tables
from overland.jobs.importjob import (
    MAX_DRIVES,
    Happening,
    ImportJob,
    add_export_drives,
    apply_to_drive,
    settle,
)
from overland.jobs.states import DriveEvent, DriveState, JobState

__all__ = ["Arrival", "Outcome", "ParcelReport", "book_waiting_parcels", "receive_parcel"]

Outcome = Literal[
    "received", "late", "already-received", "extra", "unknown", "awaiting-ship-notice"
]
"""`extra`: listed in another job; `unknown`: in none, so it is quarantined."""

_MAX_SERIALS = 10 * MAX_DRIVES
_ARRIVABLE = frozenset({DriveState.SPECIFIED, DriveState.NEVER_RECEIVED})
_TAKES_EMPTY = frozenset({JobState.SHIPPING, JobState.RECEIVED})
_TAKES_DRIVES = frozenset(
    {JobState.SHIPPING, JobState.RECEIVED, JobState.TRANSFERRING, JobState.PACKAGING}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One drive of a parcel, and what was done with it."""

    serial: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelReport:
    """What a parcel turned out to be."""

    parcel_id: str
    job_id: str | None
    drives: tuple[Arrival, ...]
    missing: tuple[str, ...]
    flags: tuple[str, ...]


def receive_parcel(
    call: Call,
    *,
    tracking_number: str,
    carrier: str,
    serials: Sequence[str],
    received_at: datetime | None,
) -> ParcelReport:
    """Book a parcel in.  The same parcel again is noted as another, and changes nothing of its job.

    Raises:
        Invalid: A number or a name breaks its rule, a drive is named twice, or the parcel is of no
            job that this person works on.
    """
    call.require(Permission.WORK_AT_STATION)
    names.check_tracking_number(tracking_number)
    checked = _serials(serials)
    job, flags = _job_for(call, tracking_number, checked)
    if call.principal.role is Role.USER and (
        job is None or not jobreach.may(call, job, Permission.WORK_AT_STATION)
    ):
        # Whatever is nobody's may be another tenant's, which the whole cloud's station sorts out.
        raise Invalid("tracking_number", "it belongs to no import job that you work on")
    parcel_id = call.new_id()
    _insert_parcel(
        call,
        parcel_id,
        tracking_number=tracking_number,
        carrier=carrier,
        serials=checked,
        job=job,
        received_at=min(received_at or call.at, call.at),
    )
    drives, missing = _book_in(call, job, checked, parcel_id=parcel_id)
    if any(each.outcome == "extra" for each in drives):
        flags = (*(each for each in flags if each != "mixed-parcel"), "mixed-parcel")
    return ParcelReport(
        parcel_id=parcel_id,
        job_id=None if job is None else job.job_id,
        drives=drives,
        missing=missing,
        flags=flags,
    )


def book_waiting_parcels(call: Call, job: ImportJob) -> None:
    """Book in the parcels that came before the ship notice of their job.

    Parcels of other jobs stay theirs: numbers and drives are used again when a job is deleted.
    So do parcels of nobody that hold none of the job's drives: a number alone claims nothing.
    """
    number = job.tracking_number
    assert number is not None, "a ship notice has a tracking number"
    columns = tables.parcels.c
    wanted = select(columns.parcel_id, columns.job_id, columns.serials).where(
        columns.tracking_key == records.tracking_key(number),
        or_(columns.job_id.is_(None), columns.job_id == job.job_id),
    )
    for row in call.connection.execute(wanted.order_by(columns.received_at)).all():
        if row.job_id is None and not _listed_by(job, row.serials):
            continue
        current = records.load_job(call.connection, job.job_id)
        assigned = update(tables.parcels).where(columns.parcel_id == row.parcel_id)
        call.connection.execute(assigned.values(job_id=job.job_id))
        _book_in(call, current, row.serials, parcel_id=row.parcel_id)


def _serials(serials: Sequence[str]) -> list[str]:
    if not 1 <= len(serials) <= _MAX_SERIALS:
        raise Invalid("serials", f"give 1 to {_MAX_SERIALS}")
    checked = [names.check_drive_serial(each) for each in serials]
    if len({each.casefold() for each in checked}) != len(checked):
        raise Invalid("serials", "a drive is in a parcel once")
    return checked


def _job_for(
    call: Call, number: str, serials: Sequence[str]
) -> tuple[ImportJob | None, tuple[str, ...]]:
    """Return the parcel's job: by its number, or else by its drives if they agree."""
    numbered = records.find_by_tracking_number(call.connection, number)
    listed = {
        found.job_id: found
        for serial in serials
        for found in records.find_by_serial(call.connection, serial)
    }
    most = max((_listed_by(job, serials) for job in numbered), default=0)
    by_both = [job for job in numbered if most and _listed_by(job, serials) == most]
    if len(by_both) == 1:
        return by_both[0], ()
    only = next(iter(listed.values())) if len(listed) == 1 else None
    is_typed_by_others = only is not None and all(
        job.tenant_id != only.tenant_id for job in numbered
    )
    if len(numbered) == 1 and not is_typed_by_others:
        return numbered[0], ()
    mixed = ("mixed-parcel",) if len(listed) > 1 else ()
    return only, ("unknown-tracking-number", *mixed)


def _listed_by(job: ImportJob, serials: Sequence[str]) -> int:
    """Return how many of the drives a job lists."""
    return len({drive.serial.casefold() for drive in job.drives} & set(map(str.casefold, serials)))


def _book_in(
    call: Call, job: ImportJob | None, serials: Sequence[str], *, parcel_id: str
) -> tuple[tuple[Arrival, ...], tuple[str, ...]]:
    """Take in the drives of a parcel; return what became of each, and which were expected."""
    if job is None:
        return tuple(_stray(call, serial) for serial in serials), ()
    arrivals: list[Arrival] = []
    happened: list[Happening] = []
    if job.is_export:
        job, happened = _take_empty(call, job, serials, parcel_id=parcel_id)
        came = {each.drive for each in happened}
    else:
        came = set()
    listed = {drive.serial.casefold(): drive for drive in job.drives}
    for serial in serials:
        if serial in came:
            arrivals.append(Arrival(serial=serial, outcome="received"))
            continue
        drive = listed.get(serial.casefold())
        if drive is None:
            waits = job.is_export and job.state is JobState.CREATING
            arrivals.append(_waiting(serial) if waits else _stray(call, serial))
            continue
        outcome = _outcome(job, drive.state)
        arrivals.append(Arrival(serial=drive.serial, outcome=outcome))
        if outcome in ("received", "late"):
            job = apply_to_drive(job, drive.serial, DriveEvent.RECEIVED, at=call.at)
            detail = {"parcel": parcel_id, "outcome": outcome}
            happened.append(Happening(event=DriveEvent.RECEIVED, drive=drive.serial, detail=detail))
    missing: list[str] = []
    if job.state in _TAKES_DRIVES:
        job, missing, missed = _miss_others(call, job, parcel_id)
        happened += missed
    settled, followed = settle(job, at=call.at)
    if happened or followed:
        records.save_job(
            call.connection, settled, happened=[*happened, *followed], actor=call.principal.name
        )
    return tuple(arrivals), tuple(missing)


def _take_empty(
    call: Call, job: ImportJob, serials: Sequence[str], *, parcel_id: str
) -> tuple[ImportJob, list[Happening]]:
    """Take the empty drives that came for an export job: nobody lists those before."""
    if job.state not in _TAKES_EMPTY:
        return job, []
    room = MAX_DRIVES - len(job.drives)
    free = [each for each in serials if not records.find_by_serial(call.connection, each)][:room]
    detail = {"parcel": parcel_id, "outcome": "received"}
    happened = [Happening(event=DriveEvent.RECEIVED, drive=each, detail=detail) for each in free]
    return add_export_drives(job, free), happened


def _miss_others(
    call: Call, job: ImportJob, parcel_id: str
) -> tuple[ImportJob, list[str], list[Happening]]:
    """Mark the drives that the parcel should have brought; they may still come."""
    happened, missing = [], []
    for drive in job.drives:
        if drive.state is DriveState.SPECIFIED:
            job = apply_to_drive(job, drive.serial, DriveEvent.MISSED, at=call.at)
            detail = {"parcel": parcel_id}
            happened.append(Happening(event=DriveEvent.MISSED, drive=drive.serial, detail=detail))
        if job.drive(drive.serial).state is DriveState.NEVER_RECEIVED:
            missing.append(drive.serial)
    return job, missing, happened


def _outcome(job: ImportJob, state: DriveState) -> Outcome:
    if job.state is JobState.CREATING:
        return "awaiting-ship-notice"
    if state not in _ARRIVABLE:
        return "already-received"
    if job.state not in _TAKES_DRIVES:
        return "extra"  # its job has ended; a new one can bring it
    return "received" if state is DriveState.SPECIFIED else "late"


def _stray(call: Call, serial: str) -> Arrival:
    found = records.find_by_serial(call.connection, serial)
    listed = [job for job in found if jobreach.may(call, job, Permission.WORK_AT_STATION)]
    # Without this permission it is a customer's ship notice, which learns no outcome.
    return Arrival(serial=serial, outcome="extra" if listed else "unknown")


def _waiting(serial: str) -> Arrival:
    return Arrival(serial=serial, outcome="awaiting-ship-notice")


def _insert_parcel(
    call: Call,
    parcel_id: str,
    *,
    tracking_number: str,
    carrier: str,
    serials: Sequence[str],
    job: ImportJob | None,
    received_at: datetime,
) -> None:
    values = {
        "parcel_id": parcel_id,
        "tracking_key": records.tracking_key(tracking_number),
        "carrier": names.check_label(carrier, what="carrier", longest=64),
        "serials": list(serials),
        "job_id": None if job is None else job.job_id,
        "received_at": received_at,
        "received_by": call.principal.name,
    }
    call.connection.execute(insert(tables.parcels).values(**values))
