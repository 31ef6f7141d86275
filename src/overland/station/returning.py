"""Sending drives back: only those that nobody needs here any more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from overland.errors import RefusedError
from overland.ports.clock import Clock
from overland.station.connection import Connection, StationJob
from overland.station.items import DriveKey
from overland.station.records import Records

__all__ = ["DrivesNotFinished", "NothingToReturn", "ReturnedParcel", "Returning"]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class DrivesNotFinished(RefusedError):
    """Drives of the job are not imported yet; nothing was sent back."""

    code = "drives-not-finished"

    def __init__(self, job: str, *, serials: tuple[str, ...]) -> None:
        super().__init__(
            f"job {job} is not finished: {', '.join(serials)}; run "
            f"`overland station ingest --job {job}` first"
        )
        self.job, self.serials = job, serials


class NothingToReturn(RefusedError):
    """No drive of the job is here."""

    code = "nothing-to-return"

    def __init__(self, job: str) -> None:
        super().__init__(f"no drive of job {job} is here to be sent back")
        self.job = job


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnedParcel:
    """What goes into the parcel and where it goes.

    `extra` are drives of other jobs, or of none, that came with this job's parcel.
    """

    job_id: str
    job_name: str
    job_state: str
    serials: tuple[str, ...]
    extra: tuple[str, ...]
    carrier: str
    tracking_number: str
    address: Mapping[str, Any] | None


class Returning:
    """Sends drives back to their owners."""

    def __init__(self, *, connection: Connection, records: Records, clock: Clock) -> None:
        self._connection, self._records, self._clock = connection, records, clock

    def send_back(self, job: str, *, carrier: str, tracking_number: str) -> ReturnedParcel:
        """Record that the drives of a job were given to a carrier; the job ends with it.

        Drives of a cancelled job that were never opened go back as well.

        Raises:
            DrivesNotFinished: A drive that is here is not imported yet.
            NothingToReturn: No drive of the job is here.
            RefusedError: The cloud refuses, for want of a return address for instance.
        """
        found = self._connection.find_job(job)
        serials = _ready(found)
        answer = self._connection.send_back(
            found.job_id, carrier=carrier, tracking_number=tracking_number, serials=serials
        )
        extra = tuple(
            each.serial
            for each in self._records.drives()
            if each.parcel_job_id == found.job_id and each.outcome == "extra"
        )
        for serial in (*serials, *extra):
            key = DriveKey(job_id=found.job_id, serial=serial)
            self._records.note_returned(key, at=self._clock.now())
        log.info("drives.returned", job=found.job_id, drives=len(serials), extra=len(extra))
        return ReturnedParcel(
            job_id=found.job_id,
            job_name=found.name,
            job_state=answer.state,
            serials=serials,
            extra=extra,
            carrier=carrier,
            tracking_number=tracking_number,
            address=found.return_address,
        )


def _ready(job: StationJob) -> tuple[str, ...]:
    """Return the drives that may go."""
    begun = {"Transferring"} if job.cancel_requested else {"Received", "Transferring"}
    waiting = tuple(drive.serial for drive in job.drives if drive.state in begun)
    if waiting:
        raise DrivesNotFinished(job.name, serials=waiting)
    gone = {"Specified", "NeverReceived", "ShippedBack"}
    serials = tuple(drive.serial for drive in job.drives if drive.state not in gone)
    if not serials:
        raise NothingToReturn(job.name)
    return serials
