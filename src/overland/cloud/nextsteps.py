"""What has to happen next with a seed, who does it, and by when; for every state there is one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from overland.cloud.clocks import deadline_of
from overland.cloud.services import Limits
from overland.jobs.importjob import ImportJob, is_processed
from overland.jobs.seeds import Seed
from overland.jobs.states import DriveState, JobState, SeedState

__all__ = ["NextStep", "is_ready_to_adopt", "next_step"]

_IMPORT_ESTIMATE: Final = timedelta(days=10)  # the documented goal, after receipt; no promise


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """Who has to do what, by when; None is no limit."""

    who: str
    what: str
    by: datetime | None = None


def is_ready_to_adopt(seed: Seed, job: ImportJob | None) -> bool:
    """Return whether the vault may take over what the drives brought."""
    waiting = seed.state is SeedState.AWAITING_IMPORT and seed.manifest_sha256 is not None
    return waiting and job is not None and is_processed(job)


def next_step(
    seed: Seed, job: ImportJob | None, *, missing: int, limits: Limits, at: datetime
) -> NextStep:
    """Return what has to happen next.

    Args:
        seed: The seed.
        job: Its import job, or None if there is none yet.
        missing: How many objects the last adoption did not find.
        limits: How long things last.
        at: Now.
    """
    match seed.state:
        case SeedState.CONFIGURED | SeedState.STAGING:
            return NextStep(
                who="source computer",
                what="write the first copy to the staging location: overland backup now",
            )
        case SeedState.AWAITING_IMPORT if missing:
            return NextStep(
                who="backup administrator",
                what=f"bring the {missing} missing objects, by another drive or over the network, "
                "then adopt again",
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
            drives = "the drives" if job is None else f"the drives, the import job {job.name}"
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
                "lost drives can be made again from the staging location",
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
            what="make the drives again from the staging location: none of them was imported",
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
