"""Booking a parcel in: whose drives are these, is one missing, and what to do with each.

Drives are opened to read their serial numbers; nothing on them is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from overland.errors import OverlandError, RefusedError
from overland.events import Log
from overland.ports.clock import Clock
from overland.ports.volume import Content, Volumes
from overland.station.connection import Connection, ParcelAnswer
from overland.station.records import Records, StoredDrive

__all__ = ["Arrived", "DriveGivenTwice", "DriveNotOpened", "Intake", "Parcel"]

Outcome = Literal[
    "received", "late", "already-received", "extra", "unknown", "awaiting-ship-notice"
]

log = Log()


class DriveNotOpened(RefusedError):
    """A drive of a parcel cannot be opened; nothing was booked in."""

    code = "drive-not-opened"

    def __init__(self, path: str, *, why: str) -> None:
        super().__init__(
            f"the drive at {path} cannot be opened ({why}); nothing was booked in: run again with "
            "the number on its label, --serial NUMBER, in place of --drive"
        )
        self.path, self.why = path, why


class DriveGivenTwice(RefusedError):
    """Two drives of a parcel have one serial number; nothing was booked in."""

    code = "drive-given-twice"

    def __init__(self, serial: str, *, places: tuple[str, str]) -> None:
        super().__init__(
            f"{places[0]} and {places[1]} both are drive {serial}; give each drive once, and put "
            "a drive with a copied number in quarantine"
        )
        self.serial, self.places = serial, places


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """One drive of a parcel: what the cloud says of it, and what to do next.

    `content` is what the opened drive holds, None for one that could not be opened.
    """

    serial: str
    outcome: str
    path: str | None
    content: Content | None
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A parcel that was booked in."""

    parcel_id: str
    job_id: str | None
    tracking_number: str
    carrier: str
    drives: tuple[Arrived, ...]
    missing: tuple[str, ...]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    serial: str
    path: str | None
    content: Content | None


class Intake:
    """Books parcels in."""

    def __init__(
        self, *, connection: Connection, volumes: Volumes, records: Records, clock: Clock
    ) -> None:
        self._connection, self._volumes = connection, volumes
        self._records, self._clock = records, clock

    def receive(
        self,
        *,
        tracking_number: str,
        carrier: str,
        paths: Sequence[str],
        serials: Sequence[str],
    ) -> Parcel:
        """Book a parcel in, here and in the cloud; again, it says what it said.

        Args:
            tracking_number: The number on the parcel.
            carrier: Who brought it.
            paths: Where its drives are attached.
            serials: The numbers of drives that cannot be opened, from their labels.

        Raises:
            DriveNotOpened: A path has no drive that can be used; nothing was booked in.
            DriveGivenTwice: Two drives have one number; nothing was booked in.
            RefusedError: The cloud cannot read the parcel's data; nothing was booked in.
        """
        seen = [self._look(path) for path in paths]
        seen += [_Seen(serial=serial, path=None, content=None) for serial in serials]
        _refuse_doubles(seen)
        answer = self._connection.receive(
            tracking_number=tracking_number,
            carrier=carrier,
            serials=[each.serial for each in seen],
        )
        self._keep(answer, seen, tracking_number=tracking_number, carrier=carrier)
        log.info("parcel.received", parcel=answer.parcel_id, drives=len(answer.drives))
        return Parcel(
            parcel_id=answer.parcel_id,
            job_id=answer.job_id,
            tracking_number=tracking_number,
            carrier=carrier,
            drives=tuple(
                _arrived(each.outcome, _find(seen, each.serial), job_id=answer.job_id)
                for each in answer.drives
            ),
            missing=answer.missing,
            flags=answer.flags,
        )

    def _look(self, path: str) -> _Seen:
        try:
            volume = self._volumes.open(path)
            return _Seen(serial=volume.serial, path=volume.path, content=volume.content())
        except (OverlandError, OSError) as error:
            raise DriveNotOpened(path, why=str(error)) from error

    def _keep(
        self, answer: ParcelAnswer, seen: Sequence[_Seen], *, tracking_number: str, carrier: str
    ) -> None:
        now = self._clock.now()
        self._records.book_in(
            parcel_id=answer.parcel_id,
            job_id=answer.job_id,
            tracking_number=tracking_number,
            carrier=carrier,
            flags=answer.flags,
            found=[
                StoredDrive(
                    serial=each.serial,
                    parcel_id=answer.parcel_id,
                    parcel_job_id=answer.job_id,
                    outcome=each.outcome,
                    path=_find(seen, each.serial).path,
                    received_at=now.isoformat(),
                )
                for each in answer.drives
            ],
            at=now,
        )


_NEXT_STEPS: Final = {
    "late": "came after its parcel; import it: overland station ingest --job {job}",
    "received": "import it: overland station ingest --job {job}",
    "already-received": "was booked in before; nothing changed",
    "extra": "belongs to another job than this parcel's; do not import it here, lay it with this "
    "parcel's drives for the way back, and tell the customer",
    "unknown": "no job lists it: put it in quarantine, do not open it again, and ask the sender",
    "awaiting-ship-notice": "keep it unopened; it is booked in by itself when the customer gives "
    "the shipping data",
}


def _arrived(outcome: str, seen: _Seen, *, job_id: str | None) -> Arrived:
    step = _NEXT_STEPS.get(outcome, "ask the cloud's operator").format(job=job_id)
    importable = outcome in {"received", "late"}
    if importable and seen.path is None:
        step = (
            "try to open it, and import it with --drive PATH; if nothing helps: "
            f"overland station give-up {seen.serial} --reason DiskNotFound"
        )
    if importable and seen.content == "foreign":
        step += (
            "; its content is foreign, so expect it to be rejected, unless the job brings no seed "
            "and another tool made the drive"
        )
    elif importable and seen.content == "blank":
        step += f"; it is blank, as for an export only: overland station export --job {job_id}"
    return Arrived(
        serial=seen.serial,
        outcome=outcome,
        path=seen.path,
        content=seen.content,
        next_step=step,
    )


def _find(seen: Sequence[_Seen], serial: str) -> _Seen:
    found = next((each for each in seen if each.serial.casefold() == serial.casefold()), None)
    assert found is not None, "the cloud answers about the drives it was asked about"
    return found


def _refuse_doubles(seen: Sequence[_Seen]) -> None:
    known: dict[str, _Seen] = {}
    for each in seen:
        other = known.setdefault(each.serial.casefold(), each)
        if other is not each:
            places = (other.path or "--serial", each.path or "--serial")
            raise DriveGivenTwice(each.serial, places=places)
