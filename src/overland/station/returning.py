"""Sending drives back: only those that nobody needs here any more."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from overland.errors import ObjectAbsent, RefusedError
from overland.events import Log
from overland.ports.clock import Clock
from overland.station.connection import Connection, JobUnknown, StationJob
from overland.station.items import DriveKey
from overland.station.records import Records

__all__ = ["DrivesNotFinished", "NothingToReturn", "ReturnedParcel", "Returning"]

log = Log()


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

        Drives of a cancelled job that were never opened go back as well.  A run that was killed
        after it had told the cloud is completed by the same call.

        Raises:
            DrivesNotFinished: A drive that is here is not imported yet.
            NothingToReturn: No drive of the job is here.
            JobUnknown, ObjectAbsent: There is no such job, by name or by id.
            RefusedError: The cloud refuses, for want of a return address for instance.
        """
        found = self._find(job)
        serials = _ready(found, here={each.serial for each in self._records.drives()})
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

    def _find(self, job: str) -> StationJob:
        """Return the job, also one that has ended while drives of it are noted as being here."""
        try:
            return self._connection.find_job(job)
        except JobUnknown:
            ended = [each for each in self._jobs_here() if each.name.casefold() == job.casefold()]
            if len(ended) != 1:
                raise
            return ended[0]

    def _jobs_here(self) -> Iterator[StationJob]:
        ids = {each.parcel_job_id for each in self._records.drives()}
        for job_id in sorted(each for each in ids if each is not None):
            with suppress(ObjectAbsent):  # its retention is over
                yield self._connection.job(job_id)


def _ready(job: StationJob, *, here: Collection[str]) -> tuple[str, ...]:
    """Return the drives that may go; one that the cloud knows is gone, and `here` not, too."""
    begun = {"Transferring"} if job.cancel_requested else {"Received", "Transferring"}
    waiting = tuple(drive.serial for drive in job.drives if drive.state in begun)
    if waiting:
        raise DrivesNotFinished(job.name, serials=waiting)
    absent = {"Specified", "NeverReceived"}
    serials = tuple(
        drive.serial
        for drive in job.drives
        if drive.state not in absent and (drive.state != "ShippedBack" or drive.serial in here)
    )
    if not serials:
        raise NothingToReturn(job.name)
    return serials
