"""The custody document of a job: who held which drive, to be verified with public keys alone.

It joins the ledger of the copy computer, signed by the key of the drives, with the log of the
cloud, signed by the cloud.  `docs/format/custody-v1.md` is normative, and has a program of some
lines that does the same as `verify`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from overland.crypto import sign
from overland.errors import IntegrityError, SignatureInvalid
from overland.format.stored import UNREADABLE
from overland.jobs.custody import Entry, is_intact
from overland.seeding.ledger import CustodyEvent, LedgerBroken, checked_lines

__all__ = [
    "CLOUD_PURPOSE",
    "LEDGER_PURPOSE",
    "CustodyBroken",
    "CustodyDocument",
    "CustodyReport",
    "DriveCustody",
    "SignedCloudLog",
    "SignedLedger",
    "Step",
    "cloud_head",
    "ledger_head",
    "verify",
]

CLOUD_PURPOSE: Final = "overland custody cloud v1"
LEDGER_PURPOSE: Final = "overland custody ledger v1"

_ORDER: Final = ("prepared", "sealed", "listed", "handed over", "received", "opened", "closed")
_STAGES: Final = {
    "prepared": "prepared",
    "sealed": "sealed",
    "listed": "listed",
    "handed over": "handed over",
    "received": "received",
    "started": "opened",
    "completed": "closed",
    "completed_more_info": "closed",
}
"""What each event of a drive means for custody; other events say nothing about who holds it."""


class CustodyBroken(IntegrityError):
    """A custody document was changed, cut, or signed by somebody else."""

    code = "custody-broken"

    def __init__(self, part: str, *, check: str) -> None:
        super().__init__(f"the custody document is not what was signed: {part}: {check}; keep it")
        self.part, self.check = part, check


class SignedLedger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The copy computer's ledger: its lines as they are stored, and its signature."""

    seed_id: str
    lines: tuple[str, ...]
    public_key: str
    signature: str


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the cloud's log; `detail` is null once its personal data was deleted."""

    number: int
    at: str
    actor: str
    event: str
    drive: str | None
    detail: dict[str, Any] | None  # Any: JSON
    detail_digest: str
    digest: str


class SignedCloudLog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cloud's log of a job, and its signature."""

    job_id: str
    tenant_id: str
    intact: bool
    events: tuple[CloudEvent, ...]
    public_key: str
    signature: str


class CustodyDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Both logs of one job; either may be absent, and the report says so."""

    format: Literal["overland-custody-v1"] = "overland-custody-v1"
    job_name: str
    ledger: SignedLedger | None
    cloud: SignedCloudLog | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened to a drive."""

    at: datetime
    event: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveCustody:
    """One drive's way; `gaps` names what must have happened and is in no log."""

    serial: str
    steps: tuple[Step, ...]
    gaps: tuple[str, ...]
    is_ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodyReport:
    """What a verified document says; the keys are those that signed it."""

    job_name: str
    ledger_key: str
    cloud_key: str
    drives: tuple[DriveCustody, ...]


def ledger_head(seed_id: str, lines: Sequence[bytes]) -> bytes:
    """Return what the copy computer signs: seed, number of lines, digest of the last."""
    last = hashlib.sha256(lines[-1]).hexdigest() if lines else ""
    return msgspec.json.encode([seed_id, len(lines), last])


def cloud_head(job_id: str, *, count: int, digest: str) -> bytes:
    """Return what the cloud signs: job, number of entries, digest of the last."""
    return msgspec.json.encode([job_id, count, digest])


def verify(document: bytes, *, trusted: frozenset[str] = frozenset()) -> CustodyReport:
    """Return what a custody document says, when all that is signed in it holds.

    `trusted` are public keys in hexadecimal; when any is given, no part that another key signed
    passes.  Without, the report names the keys, and the reader compares them with what they know.
    The job's name is signed by nobody, so it is not proven; nor is that a part was left out, or
    the detail of an entry of the cloud.  One part that is absent is no error: its key is empty.

    Raises:
        CustodyBroken: A line or entry was changed, taken out or put in, a signature fails, its key
            is none of those trusted, or there is neither a line nor an entry: nothing is proven.
    """
    try:
        found = msgspec.json.decode(document, type=CustodyDocument)
    except UNREADABLE as error:
        raise CustodyBroken("the document", check=f"it cannot be read ({error})") from None
    ledger = _ledger_events(found.ledger) if found.ledger else []
    cloud = _cloud_entries(found.cloud) if found.cloud else []
    if not ledger and not cloud:
        raise CustodyBroken("the document", check="it holds no event that anybody signed")
    keys = {part.public_key for part in (found.ledger, found.cloud) if part is not None}
    if trusted and not keys <= trusted:
        raise CustodyBroken("a signature", check="its key is none of those that you trust")
    ways: dict[str, list[Step]] = {}
    for mine in ledger:
        ways.setdefault(mine.drive, []).append(Step(at=mine.at, event=mine.event, by=mine.by))
    for theirs in cloud:
        if theirs.drive is not None:
            step = Step(at=theirs.at, event=theirs.event, by=theirs.actor)
            ways.setdefault(theirs.drive, []).append(step)
    return CustodyReport(
        job_name=found.job_name,
        ledger_key=found.ledger.public_key if found.ledger else "",
        cloud_key=found.cloud.public_key if found.cloud else "",
        drives=tuple(_drive(serial, steps) for serial, steps in ways.items()),
    )


def _drive(serial: str, steps: list[Step]) -> DriveCustody:
    ordered = sorted(steps, key=lambda step: step.at)  # stable: each log keeps its own order
    stages = {_STAGES[step.event] for step in ordered if step.event in _STAGES}
    reached = max((_ORDER.index(stage) for stage in stages), default=-1)
    events = {step.event for step in ordered}
    is_back = "shipped_back" in events
    if is_back and "opened" in stages:  # one that was never opened may go back as it came
        reached = len(_ORDER) - 1
    elif is_back:
        reached = max(reached, _ORDER.index("received"))
    gaps = tuple(stage for stage in _ORDER[: reached + 1] if stage not in stages)
    return DriveCustody(
        serial=serial,
        steps=tuple(ordered),
        gaps=gaps,
        is_ended=is_back or "given up" in events,
    )


def _ledger_events(ledger: SignedLedger) -> list[CustodyEvent]:
    lines = [line.encode() for line in ledger.lines]
    try:
        events = checked_lines(lines, "of the copy computer")
    except LedgerBroken as error:
        raise CustodyBroken("the ledger", check=f"line {error.line} breaks the chain") from None
    head = ledger_head(ledger.seed_id, lines)
    _check(ledger.public_key, LEDGER_PURPOSE, head, ledger.signature, "the ledger")
    return events


def _cloud_entries(log: SignedCloudLog) -> list[Entry]:
    try:
        entries = [
            Entry(
                job_id=log.job_id,
                tenant_id=log.tenant_id,
                number=event.number,
                at=datetime.fromisoformat(event.at),
                actor=event.actor,
                event=event.event,
                drive=event.drive,
                detail=event.detail,
                detail_digest=event.detail_digest,
                digest=event.digest,
            )
            for event in log.events
        ]
    except ValueError:
        raise CustodyBroken("the cloud's log", check="an instant cannot be read") from None
    if any(entry.at.tzinfo is None for entry in entries):
        raise CustodyBroken("the cloud's log", check="an instant does not say of which zone it is")
    if not entries or not is_intact(entries):
        raise CustodyBroken("the cloud's log", check="the chain of digests does not hold")
    head = cloud_head(log.job_id, count=len(entries), digest=entries[-1].digest)
    _check(log.public_key, CLOUD_PURPOSE, head, log.signature, "the cloud's log")
    return entries


def _check(public_key: str, purpose: str, head: bytes, signature: str, part: str) -> None:
    try:
        sign.verify(bytes.fromhex(public_key), purpose, head, bytes.fromhex(signature))
    except (SignatureInvalid, ValueError):
        raise CustodyBroken(part, check="its signature does not hold") from None
