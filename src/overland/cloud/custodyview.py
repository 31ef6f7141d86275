"""The custody log of a job, for those who may see the job; it outlives the job itself."""

import re
from dataclasses import dataclass
from typing import Final

from overland.cloud.identity import Permission, Role
from overland.cloud.refusals import ResourceAbsent
from overland.cloud.services import Call
from overland.jobs import custody, records
from overland.jobs.custody import Entry

__all__ = ["CustodyLog", "custody_log"]

_JOB_ID: Final = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.ImportExport/jobs/(?P<name>[^/]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodyLog:
    """Every event of a job and its drives, and whether the chain of digests holds."""

    job_id: str
    is_intact: bool
    entries: tuple[Entry, ...]


def custody_log(call: Call, job: str) -> CustodyLog:
    """Return the log of a job, named by its id or its resource id.

    Raises:
        ResourceAbsent: The caller may see no such job.
    """
    call.require(Permission.READ_CUSTODY)
    job_id = _job_id(call, job)
    found = custody.entries(call.connection, job_id)
    if not found or not _may_see(call, job_id, found[0].tenant_id):
        raise ResourceAbsent(f"import job {job}")
    return CustodyLog(job_id=job_id, is_intact=custody.is_intact(found), entries=tuple(found))


def _job_id(call: Call, job: str) -> str:
    match = _JOB_ID.fullmatch(job)
    if match is None:
        return job
    try:
        found = records.find_job(
            call.connection,
            subscription_id=match["subscription"].casefold(),
            resource_group=match["group"],
            name=match["name"],
        )
    except records.JobAbsent:
        raise ResourceAbsent(f"import job {job}") from None
    return found.job_id


def _may_see(call: Call, job_id: str, tenant_id: str) -> bool:
    """Whether the log is the caller's; of a deleted job, copy computers see nothing any more."""
    if call.principal.role is Role.STATION:
        return True
    if tenant_id != call.principal.tenant_id:
        return False
    scope = call.principal.scope
    if scope.subscription_id is None:
        return True
    try:
        job = records.load_job(call.connection, job_id)
    except records.JobAbsent:
        return False
    named = scope.job_name is None or scope.job_name.casefold() == job.name.casefold()
    return named and scope.subscription_id == job.subscription_id
