"""The custody log of a job, for those who may see the job; it outlives the job itself."""

import re
from dataclasses import dataclass
from typing import Final

from overland.cloud.identity import Permission, Role
from overland.cloud.refusals import ResourceAbsent
from overland.cloud.services import Call
from overland.crypto import sign
from overland.jobs import custody, custodyproof, records
from overland.jobs.custody import Entry
from overland.values import is_job_or_top_up

__all__ = ["CustodyLog", "custody_log"]

_JOB_ID: Final = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.ImportExport/jobs/(?P<name>[^/]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodyLog:
    """Every event of a job and its drives, and whether the chain of digests holds.

    `signature` is the cloud's, over the last digest, so that whoever keeps a copy can show later
    that the cloud said so (`docs/format/custody-v1.md`).
    """

    job_id: str
    is_intact: bool
    entries: tuple[Entry, ...]
    public_key: bytes
    signature: bytes


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
    key = call.services.grant_key  # a purpose of its own keeps grants and logs apart
    head = custodyproof.cloud_head(job_id, count=len(found), digest=found[-1].digest)
    return CustodyLog(
        job_id=job_id,
        is_intact=custody.is_intact(found),
        entries=tuple(found),
        public_key=sign.public_key(key),
        signature=sign.sign(key, custodyproof.CLOUD_PURPOSE, head),
    )


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
    if call.principal.may(Permission.READ_CUSTODY):
        return True
    try:
        job = records.load_job(call.connection, job_id)
    except records.JobAbsent:
        return False
    named = scope.job_name is None or is_job_or_top_up(job.name, scope.job_name)
    return named and call.may(
        Permission.READ_CUSTODY,
        subscription_id=job.subscription_id,
        resource_group=job.resource_group,
    )
