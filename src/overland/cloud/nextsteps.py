"""What has to happen next with a seed, who does it, and by when; for every state there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from overland.cloud.clocks import deadline_of
from overland.cloud.services import Limits
from overland.jobs.importjob import ImportJob, is_processed
from overland.jobs.seeds import Seed
from overland.jobs.states import DriveState, JobState, SeedState

__all__ = ["NextStep", "is_adoptable", "is_ready_to_adopt", "next_step"]

_IMPORT_ESTIMATE: Final = timedelta(days=10)  # the documented goal, after receipt; no promise


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """Who has to do what, by when; None is no limit."""

    who: str
    what: str
    by: datetime | None = None


_ON_THEIR_WAY: Final = frozenset({JobState.SHIPPING, JobState.RECEIVED, JobState.TRANSFERRING})
_EXPECTED: Final = frozenset({DriveState.SPECIFIED, DriveState.RECEIVED, DriveState.TRANSFERRING})


def is_adoptable(seed: Seed, jobs: Sequence[ImportJob]) -> bool:
    """Return whether the vault may take over what the drives of some job have brought."""
    waiting = seed.state is SeedState.AWAITING_IMPORT and seed.manifest_sha256 is not None
    return waiting and any(is_processed(job) for job in jobs)


def is_ready_to_adopt(seed: Seed, jobs: Sequence[ImportJob]) -> bool:
    """Return whether the vault may, and no drive of any job is still expected."""
    return is_adoptable(seed, jobs) and not any(_is_awaited(job) for job in jobs)


def _is_awaited(job: ImportJob) -> bool:
    return job.state in _ON_THEIR_WAY and any(each.state in _EXPECTED for each in job.drives)


def next_step(
    seed: Seed, jobs: Sequence[ImportJob], *, missing: int, limits: Limits, at: datetime
) -> NextStep:
    """Return what has to happen next.

    Args:
        seed: The seed.
        jobs: The import jobs that carry it, oldest first; none at the beginning.
        missing: How many objects the last adoption did not find.
        limits: How long things last.
        at: Now.
    """
    awaited = [job for job in jobs if _is_awaited(job)]
    latest = awaited or jobs
    job = latest[-1] if latest else None
    travels = bool(awaited) or (job is not None and job.state is JobState.CREATING)
    match seed.state:
        case SeedState.CONFIGURED | SeedState.STAGING:
            return NextStep(
                who="source computer",
                what="write the first copy to the staging location: overland backup now",
            )
        case SeedState.AWAITING_IMPORT if missing and not travels:
            return NextStep(
                who="backup administrator",
                what=f"bring the {missing} missing objects: by drive with overland disk prepare "
                "--missing on the copy computer, or over the network with overland backup now",
            )
        case SeedState.AWAITING_IMPORT:
            return _waiting(seed, job, limits=limits, at=at)
        case SeedState.ADOPTING:
            return NextStep(who="cloud", what="copy the seed into the vault and check every object")
        case SeedState.ONLINE:
            return NextStep(
                who="nobody",
                what="nothing: the seed is in the vault, and backups go over the network; "
                "the container's copy and the staging location may be deleted",
            )
        case SeedState.ABANDONED:
            held = [f"the import job {each.name}" for each in jobs]
            drives = ", ".join(["the drives", *held])
            return NextStep(
                who="backup administrator",
                what=f"delete what remains: the staging location, {drives}, "
                f"and {seed.space}/{seed.prefix}",
            )


def _waiting(seed: Seed, job: ImportJob | None, *, limits: Limits, at: datetime) -> NextStep:
    if job is None:
        return NextStep(
            who="copy computer's operator",
            what="prepare the drives: overland disk prepare; there is no import job "
            f"{seed.job_name} in storage account {seed.storage_account} yet",
        )
    deadline = deadline_of(job, limits=limits, at=at)
    by = None if deadline is None else deadline.by
    match job.state:
        case JobState.CREATING:
            return NextStep(
                who="copy computer's operator",
                what="give the drives to the carrier and enter the tracking number: "
                "overland disk ship; without it the import job is deleted",
                by=by,
            )
        case JobState.SHIPPING if deadline is not None and deadline.urgency == "overdue":
            return NextStep(
                who="backup administrator",
                what=f"ask {job.carrier} about parcel {job.tracking_number}, which is overdue; "
                "if it is lost, overland disk prepare --replace SERIAL makes its drives again",
                by=deadline.by + limits.silence,
            )
        case JobState.SHIPPING:
            return NextStep(
                who=job.carrier or "carrier", what="deliver the parcel to the dock", by=by
            )
        case JobState.RECEIVED | JobState.TRANSFERRING:
            return NextStep(
                who="station",
                what="import the drives; usually done within ten days of receipt, "
                "which is an estimate and no promise",
                by=job.changed_at + _IMPORT_ESTIMATE if job.state is JobState.RECEIVED else None,
            )
        case _:
            return _after_import(job)


def _after_import(job: ImportJob) -> NextStep:
    if not is_processed(job):
        return NextStep(
            who="backup administrator",
            what="none of the drives was imported: make them again with overland disk prepare "
            "--missing on the copy computer",
        )
    failed = [drive.serial for drive in job.drives if drive.had_errors]
    lost = [drive.serial for drive in job.drives if drive.state is DriveState.NEVER_RECEIVED]
    trouble = ""
    if failed or lost:
        names = ", ".join(sorted(failed + lost))
        trouble = f"; drives with errors or never received: {names}, so objects may be missing"
    return NextStep(
        who="source computer", what=f"adopt the seed with the next scheduled backup{trouble}"
    )
