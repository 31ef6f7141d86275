"""Import jobs in the database: load, save, find, delete; always in the caller's transaction.

Names are unique in a resource group without regard to case, as the resource manager has it.
Unlock keys are stored as they came, not sealed at rest: who has the database file has the keys of
all open jobs, so the file is readable by its owner only.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from sqlalchemy import Connection, RowMapping, Select, delete, func, insert, select, update

from overland.errors import OverlandError, RefusedError
from overland.jobs import custody, tables
from overland.jobs.importjob import Drive, DriveReport, Happening, ImportJob
from overland.jobs.states import DriveState, JobState
from overland.values import SeedId

__all__ = [
    "JobAbsent",
    "TrackingNumberUsed",
    "delete_job",
    "find_by_serial",
    "find_by_tracking_number",
    "find_job",
    "find_named",
    "find_seed_jobs",
    "insert_job",
    "list_jobs",
    "load_job",
    "reserve_tracking_number",
    "save_job",
    "tracking_key",
]

_JOB_FIELDS = tuple(
    name for name in ImportJob.__dataclass_fields__ if name not in {"drives", "state"}
)
_REPORT_FIELDS = tuple(DriveReport.__dataclass_fields__)


class JobAbsent(OverlandError):
    """There is no such import job."""

    code: ClassVar[str] = "job-absent"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no import job {name}")
        self.name = name


class TrackingNumberUsed(RefusedError):
    """Another import job has this tracking number; parcels and jobs go one to one."""

    code: ClassVar[str] = "tracking-number-used"

    def __init__(self, number: str, *, job_name: str) -> None:
        super().__init__(
            f"tracking number {number} belongs to {job_name}; drives of two import jobs never "
            "share a parcel, so give the number of this job's own parcel"
        )
        self.number, self.job_name = number, job_name


def insert_job(connection: Connection, job: ImportJob) -> None:
    """Store a new job with its drives."""
    connection.execute(insert(tables.import_jobs).values(**_job_row(job)))
    _insert_drives(connection, job)


def save_job(
    connection: Connection, job: ImportJob, *, happened: Sequence[Happening], actor: str
) -> None:
    """Store a changed job and what happened to it, each as an entry of its custody log."""
    row = _job_row(job)
    where = tables.import_jobs.c.job_id == job.job_id
    connection.execute(update(tables.import_jobs).where(where).values(**row))
    connection.execute(delete(tables.drives).where(tables.drives.c.job_id == job.job_id))
    _insert_drives(connection, job)
    for happening in happened:
        custody.append(connection, job, happening, actor=actor)


def delete_job(connection: Connection, job: ImportJob, *, happened: Happening, actor: str) -> None:
    """Delete a job, its drives, its keys and its personal data; its custody log stays.

    Parcels that came for a job without ship notice wait for the next job with their number.
    """
    if job.shipped_at is None:
        waiting = update(tables.parcels).where(tables.parcels.c.job_id == job.job_id)
        connection.execute(waiting.values(job_id=None))
    custody.append(connection, job, happened, actor=actor)
    custody.forget_details(connection, job.job_id)
    for table in (tables.drives, tables.tracking_numbers, tables.import_jobs):
        connection.execute(delete(table).where(table.c.job_id == job.job_id))


def load_job(connection: Connection, job_id: str) -> ImportJob:
    """Return a job for reading or changing; another transaction cannot change it meanwhile.

    Raises:
        JobAbsent: There is none.
    """
    wanted = select(tables.import_jobs).where(tables.import_jobs.c.job_id == job_id)
    row = connection.execute(wanted.with_for_update()).mappings().one_or_none()
    if row is None:
        raise JobAbsent(job_id)
    return _jobs(connection, [row])[0]


def find_job(
    connection: Connection, *, subscription_id: str, resource_group: str, name: str
) -> ImportJob:
    """Return the job of this name; case does not count.

    Raises:
        JobAbsent: There is none.
    """
    jobs = tables.import_jobs.c
    wanted = select(jobs.job_id).where(
        jobs.subscription_id == subscription_id,
        jobs.resource_group_key == resource_group.casefold(),
        jobs.name_key == name.casefold(),
    )
    job_id = connection.execute(wanted).scalar_one_or_none()
    if job_id is None:
        raise JobAbsent(name)
    return load_job(connection, job_id)


def find_named(
    connection: Connection, *, subscription_id: str, storage_account: str, name: str
) -> list[ImportJob]:
    """Return the jobs of this name that import into one storage account."""
    jobs = tables.import_jobs.c
    return _select(
        connection,
        select(tables.import_jobs).where(
            jobs.subscription_id == subscription_id,
            jobs.storage_account == storage_account,
            jobs.name_key == name.casefold(),
        ),
    )


def find_seed_jobs(connection: Connection, seed_id: SeedId) -> list[ImportJob]:
    """Return the jobs that say they carry this seed, or a part of it, oldest first."""
    wanted = select(tables.import_jobs).where(tables.import_jobs.c.seed_id == seed_id)
    return _select(connection, wanted)


def find_by_serial(connection: Connection, serial: str) -> list[ImportJob]:
    """Return the jobs that list a drive and have not given it back, oldest first."""
    held = select(tables.drives.c.job_id).where(
        tables.drives.c.serial_key == serial.casefold(),
        tables.drives.c.state != DriveState.SHIPPED_BACK,
    )
    wanted = select(tables.import_jobs).where(
        tables.import_jobs.c.job_id.in_(held),
        tables.import_jobs.c.state.not_in([JobState.COMPLETED, JobState.CLOSED]),
    )
    return _select(connection, wanted)


def find_by_tracking_number(connection: Connection, number: str) -> list[ImportJob]:
    """Return the jobs that have or had this tracking number, oldest first: one of each tenant."""
    numbers = tables.tracking_numbers.c
    holders = select(numbers.job_id).where(numbers.tracking_key == tracking_key(number))
    wanted = select(tables.import_jobs).where(tables.import_jobs.c.job_id.in_(holders))
    return _select(connection, wanted)


def list_jobs(
    connection: Connection,
    *,
    subscription_id: str | None = None,
    resource_group: str | None = None,
    states: Sequence[JobState] = (),
    name: str | None = None,
    after: str = "",
    top: int | None = None,
) -> list[ImportJob]:
    """Return jobs sorted by id, from the one after `after` on, at most `top`."""
    jobs = tables.import_jobs.c
    wanted = select(tables.import_jobs).where(jobs.job_id > after)
    if subscription_id is not None:
        wanted = wanted.where(jobs.subscription_id == subscription_id)
    if resource_group is not None:
        wanted = wanted.where(jobs.resource_group_key == resource_group.casefold())
    if states:
        wanted = wanted.where(jobs.state.in_(states))
    if name is not None:
        wanted = wanted.where(jobs.name_key == name.casefold())
    return _select(connection, wanted.limit(top), by_id=True)


def reserve_tracking_number(connection: Connection, job: ImportJob, number: str) -> None:
    """Bind a tracking number to a job, within its tenant, for as long as the job exists.

    What other tenants typed neither shows nor blocks: whose parcel it is, its drives say when it
    arrives (`overland.cloud.arrivals`).

    Raises:
        TrackingNumberUsed: Another job of the tenant has or had it.
    """
    found = find_by_tracking_number(connection, number)
    holder = next((each for each in found if each.tenant_id == job.tenant_id), None)
    if holder is not None and holder.job_id != job.job_id:
        raise TrackingNumberUsed(number, job_name=f"import job {holder.name}")
    if holder is None:
        values = {"tracking_key": tracking_key(number), "job_id": job.job_id}
        connection.execute(insert(tables.tracking_numbers).values(**values))


def tracking_key(number: str) -> str:
    """Return the form in which tracking numbers are compared: carriers print both cases."""
    return number.strip().casefold()


def _select(connection: Connection, wanted: Select[Any], *, by_id: bool = False) -> list[ImportJob]:
    # Any: the row's type is that of a whole table, which SQLAlchemy does not know statically.
    jobs = tables.import_jobs.c
    order = [jobs.job_id] if by_id else [jobs.created_at, func.lower(jobs.name)]
    return _jobs(connection, connection.execute(wanted.order_by(*order)).mappings().all())


def _jobs(connection: Connection, rows: Sequence[RowMapping]) -> list[ImportJob]:
    ids = [row["job_id"] for row in rows]
    wanted = select(tables.drives).where(tables.drives.c.job_id.in_(ids))
    found = connection.execute(wanted.order_by(tables.drives.c.position)).mappings().all()
    drives: dict[str, list[Drive]] = {job_id: [] for job_id in ids}
    for each in found:
        drives[each["job_id"]].append(_drive(each))
    return [_job(row, tuple(drives[row["job_id"]])) for row in rows]


def _job(row: RowMapping, drives: tuple[Drive, ...]) -> ImportJob:
    values = {name: row[name] for name in _JOB_FIELDS}
    return ImportJob(**values, state=JobState(row["state"]), drives=drives)


def _drive(row: RowMapping) -> Drive:
    return Drive(
        serial=row["serial"],
        unlock_key=row["unlock_key"],
        manifest_file=row["manifest_file"],
        manifest_hash=row["manifest_hash"],
        header_hash=row["header_hash"],
        state=DriveState(row["state"]),
        was_opened=row["was_opened"],
        had_errors=row["had_errors"],
        report=DriveReport(**{name: row[name] for name in _REPORT_FIELDS}),
    )


def _job_row(job: ImportJob) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(job, name) for name in _JOB_FIELDS}
    return {
        **values,
        "state": job.state,
        "resource_group_key": job.resource_group.casefold(),
        "name_key": job.name.casefold(),
    }


def _insert_drives(connection: Connection, job: ImportJob) -> None:
    rows = [
        {
            "job_id": job.job_id,
            "serial_key": drive.serial.casefold(),
            "position": position,
            "serial": drive.serial,
            "unlock_key": drive.unlock_key,
            "manifest_file": drive.manifest_file,
            "manifest_hash": drive.manifest_hash,
            "header_hash": drive.header_hash,
            "state": drive.state,
            "was_opened": drive.was_opened,
            "had_errors": drive.had_errors,
            **{name: getattr(drive.report, name) for name in _REPORT_FIELDS},
        }
        for position, drive in enumerate(job.drives)
    ]
    if rows:
        connection.execute(insert(tables.drives), rows)
