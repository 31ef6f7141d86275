"""The two-week clocks of shipping, and what happens when they run out.

One runs from a job's creation to its ship notice, the next from the ship notice to the dock.
Both warn on day 10 and are over on day 14.  Nothing waits in a thread: `sweep` compares instants
with the clock, at the start and then every few minutes, and may run as often as one likes.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import Connection

from overland.cloud.services import Limits, Services
from overland.jobs import records
from overland.jobs.importjob import Happening, ImportJob, apply_to_drive, apply_to_job, settle
from overland.jobs.states import DriveEvent, DriveState, JobEvent, JobState

__all__ = ["ACTOR", "Deadline", "deadline_of", "sweep"]

ACTOR: Final = "cloud:clock"
"""How the custody log calls the cloud when it acts by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """What has to happen to a job, until when, and how close that is."""

    what: Literal["ship-notice", "arrival"]
    by: datetime
    urgency: Literal["calm", "soon", "overdue"]


def deadline_of(job: ImportJob, *, limits: Limits, at: datetime) -> Deadline | None:
    """Return the deadline that a job is under, or None if none runs."""
    if job.state is JobState.CREATING:
        return _deadline("ship-notice", job.created_at, limits, at)
    expected = any(drive.state is DriveState.SPECIFIED for drive in job.drives)
    if job.shipped_at is not None and (expected or _never_came(job)):
        return _deadline("arrival", job.shipped_at, limits, at)
    return None


def sweep(services: Services) -> int:
    """Do what is due on every job; return how many jobs changed.

    Each job is its own transaction, so that one that fails holds up none of the others.

    Raises:
        Exception: What a job raised, when all of them have had their turn.
    """
    at = services.clock.now()
    with services.database.begin() as connection:
        job_ids = [job.job_id for job in records.list_jobs(connection)]
    changed: list[bool] = []

    def look(job_id: str) -> None:
        """Do what is due on one job, in a transaction of its own."""
        with services.database.begin() as connection:
            changed.append(_sweep_one(connection, job_id, services.limits, at))

    # A stack calls all of its callbacks, and raises only then what one of them raised.
    with contextlib.ExitStack() as turns:
        for job_id in reversed(job_ids):
            turns.callback(look, job_id)
    return sum(changed)


def _sweep_one(connection: Connection, job_id: str, limits: Limits, at: datetime) -> bool:
    try:
        job = records.load_job(connection, job_id)
    except records.JobAbsent:
        return False  # deleted since the list was made
    rules: tuple[Callable[[Connection, ImportJob, Limits, datetime], bool], ...] = (
        _expire,
        _write_off,
        _mark_overdue,
        _warn,
    )
    return any(rule(connection, job, limits, at) for rule in rules)


def _expire(connection: Connection, job: ImportJob, limits: Limits, at: datetime) -> bool:
    """Delete a job without ship notice after two weeks, and an ended one after its retention."""
    started, lifetime = {
        JobState.CREATING: (job.created_at, limits.creating),
        JobState.COMPLETED: (job.ended_at, limits.retention),
        JobState.CLOSED: (job.ended_at, limits.retention),
    }.get(job.state, (None, limits.retention))
    if started is None or at < started + lifetime:
        return False
    expired = apply_to_job(job, JobEvent.EXPIRED, at=at)
    detail = {"state": job.state}
    happened = Happening(event=JobEvent.EXPIRED, detail=detail)
    records.delete_job(connection, expired, happened=happened, actor=ACTOR)
    return True


def _write_off(connection: Connection, job: ImportJob, limits: Limits, at: datetime) -> bool:
    """Close a job of which nothing came, after the overdue mark and thirty days of silence."""
    if job.state is not JobState.SHIPPING or job.overdue_at is None:
        return False
    if not _never_came(job) or at < job.overdue_at + limits.silence:
        return False
    closed = apply_to_job(job, JobEvent.WRITTEN_OFF, at=at)
    happened = [Happening(event=JobEvent.WRITTEN_OFF)]
    records.save_job(connection, closed, happened=happened, actor=ACTOR)
    return True


def _mark_overdue(connection: Connection, job: ImportJob, limits: Limits, at: datetime) -> bool:
    """Say once that drives are overdue, and that those not seen yet never came."""
    found = deadline_of(job, limits=limits, at=at)
    if found is None or found.what != "arrival" or found.urgency != "overdue":
        return False
    if job.overdue_at is not None:
        return False
    happened = [Happening(event="overdue", detail={"by": found.by.isoformat()})]
    for drive in job.drives:
        if drive.state is DriveState.SPECIFIED:
            job = apply_to_drive(job, drive.serial, DriveEvent.MISSED, at=at)
            happened.append(Happening(event=DriveEvent.MISSED, drive=drive.serial))
    settled, followed = settle(replace(job, overdue_at=at, changed_at=at), at=at)
    records.save_job(connection, settled, happened=[*happened, *followed], actor=ACTOR)
    return True


def _warn(connection: Connection, job: ImportJob, limits: Limits, at: datetime) -> bool:
    """Say once that a deadline is near."""
    found = deadline_of(job, limits=limits, at=at)
    if found is None or found.urgency == "calm" or job.warned_at or job.overdue_at:
        return False
    detail = {"what": found.what, "by": found.by.isoformat()}
    warned = replace(job, warned_at=at, changed_at=at)
    happened = [Happening(event="warned", detail=detail)]
    records.save_job(connection, warned, happened=happened, actor=ACTOR)
    return True


def _never_came(job: ImportJob) -> bool:
    return all(drive.state is DriveState.NEVER_RECEIVED for drive in job.drives)


def _deadline(
    what: Literal["ship-notice", "arrival"],
    since: datetime,
    limits: Limits,
    at: datetime,
) -> Deadline:
    by = since + (limits.creating if what == "ship-notice" else limits.shipping)
    if at >= by:
        return Deadline(what=what, by=by, urgency="overdue")
    urgency: Literal["calm", "soon"] = "soon" if at >= since + limits.warning else "calm"
    return Deadline(what=what, by=by, urgency=urgency)
