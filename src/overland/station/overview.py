"""What is here and what is on its way, as the operator needs to see it."""

from dataclasses import dataclass

from overland.station.connection import Connection, StationDrive
from overland.station.items import DriveKey
from overland.station.records import Records, StoredDrive

__all__ = ["DriveStatus", "JobStatus", "Overview", "StationStatus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveStatus:
    """One drive of a job; `path` is where it was attached last, None if it is not here."""

    serial: str
    state: str
    path: str | None
    total_objects: int
    landed: int
    landed_bytes: int
    damaged: int
    stopped: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """One import job, what to do next, and its drives."""

    job_id: str
    name: str
    state: str
    cancel_requested: bool
    next_step: str
    drives: tuple[DriveStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StationStatus:
    """All jobs of the station; `strays` are drives that are here and belong to none of them."""

    jobs: tuple[JobStatus, ...]
    strays: tuple[StoredDrive, ...]


class Overview:
    """Puts together what the cloud and this station know."""

    def __init__(self, *, connection: Connection, records: Records) -> None:
        self._connection, self._records = connection, records

    def status(self) -> StationStatus:
        """Return the jobs that are on their way or here, and the drives that are here."""
        here = {each.serial.casefold(): each for each in self._records.drives()}
        jobs, listed = [], set[str]()
        for job in self._connection.jobs():
            listed |= {drive.serial.casefold() for drive in job.drives}
            jobs.append(
                JobStatus(
                    job_id=job.job_id,
                    name=job.name,
                    state=job.state,
                    cancel_requested=job.cancel_requested,
                    next_step=_next_step(job.name, job.state, job.drives, is_export=job.is_export),
                    drives=tuple(
                        self._drive(job.job_id, drive, here.get(drive.serial.casefold()))
                        for drive in job.drives
                    ),
                )
            )
        strays = tuple(each for serial, each in here.items() if serial not in listed)
        return StationStatus(jobs=tuple(jobs), strays=strays)

    def _drive(self, job_id: str, drive: StationDrive, stored: StoredDrive | None) -> DriveStatus:
        key = DriveKey(job_id=job_id, serial=drive.serial)
        known, counts = self._records.find_import(key), self._records.counts(key)
        stop = None if known is None or known.stage == "ended" else known.stop
        return DriveStatus(
            serial=drive.serial,
            state=drive.state,
            path=None if stored is None else stored.path,
            total_objects=0 if known is None else known.total_objects,
            landed=counts.landed,
            landed_bytes=counts.landed_bytes,
            damaged=counts.damaged,
            stopped=None if stop is None else stop.message,
        )


def _next_step(name: str, state: str, drives: tuple[StationDrive, ...], *, is_export: bool) -> str:
    if state == "Packaging":
        return f"overland station return --job {name}"
    if is_export and any(drive.waits for drive in drives):
        return f"overland station export --job {name} --drive PATH"
    if any(drive.waits for drive in drives):
        return f"overland station ingest --job {name}"
    return "wait for the parcel; then overland station receive"
