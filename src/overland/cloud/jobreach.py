"""Which import jobs a caller reaches, and with which permission."""

from overland.cloud import seedlinks
from overland.cloud.identity import Permission, Role
from overland.cloud.refusals import ResourceAbsent
from overland.cloud.services import Call
from overland.jobs.importjob import ImportJob
from overland.jobs.states import SeedState

__all__ = ["may", "require"]


def may(call: Call, job: ImportJob, permission: Permission) -> bool:
    """Return whether the caller has a permission at a job's resource group.

    A station's own token reaches the jobs of every tenant, an application those that carry an
    open seed of the computer whose certificate signed, everybody else those of their tenant.
    """
    principal = call.principal
    scope = principal.scope
    if scope.tenant_id not in (None, job.tenant_id):
        return False
    if principal.role is Role.APPLICATION:
        seed = seedlinks.seed_of(call, job)
        if seed is None or seed.source_computer_id != scope.source_computer_id:
            return False
        if seed.state is SeedState.ABANDONED:
            return False
        if scope.seed_ids and seed.seed_id not in scope.seed_ids:
            return False
    return principal.may(
        permission, subscription_id=job.subscription_id, resource_group=job.resource_group
    )


def require(call: Call, job: ImportJob, permission: Permission) -> None:
    """Return if the caller has a permission at a job's resource group.

    Raises:
        Forbidden: They have not.
        ResourceAbsent: It is not theirs to know of.
    """
    if may(call, job, permission):
        return
    call.require_at(
        permission, subscription_id=job.subscription_id, resource_group=job.resource_group
    )
    raise ResourceAbsent(f"import job {job.name}")
