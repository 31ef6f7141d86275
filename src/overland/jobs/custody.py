"""The custody log: every event of a job and its drives, each bound to the one before it.

An entry's digest covers its fields and the digest of the entry before, so an entry that was
changed, taken out or put in between breaks the chain from there on.  Details are covered by
their own digest: personal data can be deleted with the job, and the chain still holds.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, insert, select, update

from overland.jobs.importjob import Document, Happening, ImportJob
from overland.jobs.tables import custody_events

__all__ = ["Entry", "append", "entries", "forget_details", "is_intact"]

_FIRST: Final = "0" * 64  # what the first entry is bound to


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a job's log; `detail` is None once its personal data was deleted."""

    job_id: str
    tenant_id: str
    number: int
    at: datetime
    actor: str
    event: str
    drive: str | None
    detail: Document | None
    detail_digest: str
    digest: str


def append(connection: Connection, job: ImportJob, happening: Happening, *, actor: str) -> Entry:
    """Add an entry to the log of a job, as of its last change, in the caller's transaction."""
    number, previous = _last(connection, job.job_id)
    detail_digest = _detail_digest(happening.detail)
    entry = Entry(
        job_id=job.job_id,
        tenant_id=job.tenant_id,
        number=number + 1,
        at=job.changed_at,
        actor=actor,
        event=happening.event,
        drive=happening.drive,
        detail=happening.detail,
        detail_digest=detail_digest,
        digest="",
    )
    digest = _digest(entry, previous)
    values = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
    connection.execute(insert(custody_events).values(**{**values, "digest": digest}))
    return Entry(**{**values, "digest": digest})


def entries(connection: Connection, job_id: str) -> list[Entry]:
    """Return the log of a job, oldest entry first."""
    wanted = select(custody_events).where(custody_events.c.job_id == job_id)
    rows = connection.execute(wanted.order_by(custody_events.c.number)).mappings()
    return [Entry(**row) for row in rows]


def forget_details(connection: Connection, job_id: str) -> None:
    """Delete the details of a job's log, with all personal data; who, what and when stay."""
    wanted = update(custody_events).where(custody_events.c.job_id == job_id)
    connection.execute(wanted.values(detail=None))


def is_intact(log: Sequence[Entry]) -> bool:
    """Return whether no entry was changed, removed, added between or reordered.

    Entries cut off at the end are not noticed by the chain alone: the cloud signs number and digest
    of the last entry (`overland.jobs.custodyproof`).
    """
    previous = _FIRST
    for number, entry in enumerate(log, start=1):
        if entry.number != number or entry.digest != _digest(entry, previous):
            return False
        if entry.detail is not None and _detail_digest(entry.detail) != entry.detail_digest:
            return False
        previous = entry.digest
    return True


def _last(connection: Connection, job_id: str) -> tuple[int, str]:
    wanted = (
        select(custody_events.c.number, custody_events.c.digest)
        .where(custody_events.c.job_id == job_id)
        .order_by(custody_events.c.number.desc())
        .limit(1)
    )
    row = connection.execute(wanted).one_or_none()
    return (0, _FIRST) if row is None else (row.number, row.digest)


def _detail_digest(detail: Document) -> str:
    return hashlib.sha256(msgspec.json.encode(detail, order="sorted")).hexdigest()


def _digest(entry: Entry, previous: str) -> str:
    covered = [
        previous,
        entry.job_id,
        entry.tenant_id,
        entry.number,
        entry.at.isoformat(timespec="microseconds"),
        entry.actor,
        entry.event,
        entry.drive,
        entry.detail_digest,
    ]
    return hashlib.sha256(msgspec.json.encode(covered)).hexdigest()
