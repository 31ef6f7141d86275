"""What became of a job: four answers that stay apart, and what has to happen next.

"There is no such job", "the service cannot be reached", "not authorised" and "in progress" are
different answers (R117), because each asks for something else (R118).
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from overland.diskprep.import_service import (
    ImportService,
    JobAnswer,
    JobProperties,
    StorageAccountAbsent,
)
from overland.diskprep.record import Preparation
from overland.errors import NotAuthorised, ObjectAbsent, Unreachable

__all__ = ["Answer", "DriveStatus", "JobStatus", "NextStep", "job_status"]

Answer = Literal["no-such-job", "unreachable", "not-authorised", "in-progress", "ended"]

_CLOCK: Final = timedelta(days=14)
_WARN_BEFORE: Final = timedelta(days=4)
_ENDED: Final = frozenset({"Completed", "Closed"})
_INCOMPLETE: Final = frozenset({"NeverReceived", "CompletedMoreInfo"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """Who has to do what, by when (None: no limit).

    `is_urgent` from four days before the limit on, `is_overdue` from the limit on (R99, R100).
    """

    who: str
    what: str
    by: datetime | None = None
    is_urgent: bool = False
    is_overdue: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveStatus:
    """One drive, here and at the service (`state` is empty when the service does not know it)."""

    serial: str
    prepared: str
    state: str = ""
    percent_complete: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """One import job; `detail` says more about an answer that is not a state."""

    job_name: str
    seed_id: str
    answer: Answer
    state: str
    percent_complete: int | None
    tracking_number: str
    drives: tuple[DriveStatus, ...]
    next_step: NextStep
    detail: str = ""


def job_status(preparation: Preparation, service: ImportService, *, now: datetime) -> JobStatus:
    """Return what the service says about the job of a preparation.

    That it does not answer, does not allow it or knows no such job is an answer here, and no error;
    so is that no job was created yet and the seed's storage account is gone: no such job, and
    `detail` and the next step say why.
    """
    try:
        found = service.job(_path(preparation, service))
    except Unreachable as error:
        return _without_job(preparation, "unreachable", str(error))
    except NotAuthorised as error:
        return _without_job(preparation, "not-authorised", str(error))
    except ObjectAbsent as error:
        return _without_job(preparation, "no-such-job", str(error))
    except StorageAccountAbsent as error:
        answer = _without_job(preparation, "no-such-job", str(error))
        return replace(answer, next_step=NextStep(who="you", what=str(error)))
    if found is None:
        return _without_job(preparation, "no-such-job", "")
    return _with_job(preparation, found, now)


def _path(preparation: Preparation, service: ImportService) -> str:
    if preparation.job is not None:
        return preparation.job.arm_id
    account = service.storage_account(preparation.subscription_id, preparation.storage_account)
    return service.job_path(
        preparation.subscription_id, account.resource_group, preparation.job_name
    )


def _with_job(preparation: Preparation, found: JobAnswer, now: datetime) -> JobStatus:
    properties = found.properties
    seen = {drive.drive_id: drive for drive in properties.drive_list}
    drives = [
        DriveStatus(
            serial=drive.serial,
            prepared=drive.state,
            state=seen[drive.serial].state if drive.serial in seen else "",
            percent_complete=(
                seen[drive.serial].percent_complete if drive.serial in seen else None
            ),
        )
        for drive in preparation.drives
    ]
    package = properties.delivery_package
    return JobStatus(
        job_name=found.name,
        seed_id=preparation.seed_id,
        answer="ended" if properties.state in _ENDED else "in-progress",
        state=properties.state,
        percent_complete=properties.percent_complete,
        tracking_number=package.tracking_number if package else "",
        drives=tuple(drives),
        next_step=_next_step(preparation, properties, now),
    )


def _without_job(preparation: Preparation, answer: Answer, detail: str) -> JobStatus:
    return JobStatus(
        job_name=preparation.job_name,
        seed_id=preparation.seed_id,
        answer=answer,
        state="",
        percent_complete=None,
        tracking_number=preparation.form().tracking_number,
        drives=tuple(
            DriveStatus(serial=drive.serial, prepared=drive.state) for drive in preparation.drives
        ),
        next_step=_step_without_job(preparation, answer),
        detail=detail,
    )


def _step_without_job(preparation: Preparation, answer: Answer) -> NextStep:
    match answer:
        case "unreachable":
            return NextStep(who="you", what="check the network, then ask again; drives are safe")
        case "not-authorised":
            return NextStep(who="you", what="download new publish settings for this job")
        case _ if not preparation.is_complete():
            return NextStep(who="you", what="finish the drives with `overland disk prepare`")
        case _ if preparation.job is not None:
            return NextStep(
                who="you",
                what="the job was deleted or has expired: create it again with "
                "`overland disk prepare`, which makes no drive again",
            )
        case _:
            return NextStep(who="you", what="create the job with `overland disk prepare`")


def _next_step(preparation: Preparation, properties: JobProperties, now: datetime) -> NextStep:
    job = preparation.job
    match properties.state:
        case "Creating":
            by = job.created_at + _CLOCK if job else None
            what = "hand the parcel to the carrier, then run `overland disk ship`"
            return _limited("you", what, by, now)
        case "Shipping":
            by = job.shipped_at + _CLOCK if job and job.shipped_at else None
            what = "bring the parcel to the datacenter"
            return _limited("the carrier", what, by, now)
        case "Received":
            return NextStep(who="the datacenter", what="begin with the first drive")
        case "Transferring":
            return NextStep(
                who="the datacenter", what="copy the drives; 7 to 10 days are an estimate"
            )
        case "Packaging":
            return NextStep(who="the datacenter", what="send the drives back")
        case _:
            return NextStep(
                who="the source computer",
                what="adopt the seed at its next scheduled backup, or now with "
                f"`overland seed adopt`{_trouble(properties)}",
            )


def _trouble(properties: JobProperties) -> str:
    """Return what to do about drives of an ended job that brought less than they should."""
    found = [drive.drive_id for drive in properties.drive_list if drive.state in _INCOMPLETE]
    if not found:
        return ""
    return (
        f"; {', '.join(found)} brought nothing or not all: `overland disk prepare --missing` makes "
        "what is missing again"
    )


def _limited(who: str, what: str, by: datetime | None, now: datetime) -> NextStep:
    return NextStep(
        who=who,
        what=what,
        by=by,
        is_urgent=by is not None and now >= by - _WARN_BEFORE,
        is_overdue=by is not None and now >= by,
    )
