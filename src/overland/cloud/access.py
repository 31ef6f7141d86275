"""Grants for the data plane: which corner of which space each machine may touch.

| kind             | for          | where                                 | what                |
|------------------|--------------|---------------------------------------|---------------------|
| `vault`          | an agent     | its own folder of its vault           | create, read, list  |
| `seed-container` | an agent, an | its seed's folder in the container    | read, list          |
|                  | application  |                                       |                     |
| `import`         | a station    | that folder, and the job's logs       | create, read, list  |
| `import` with a  | a station    | that container of the job's account,  | create, read, list; |
|   container      |              |   if the job brings no seed           |   delete on demand  |
| `export`         | a station    | a container of an export job's account| read, list          |

Nobody else gets leave to delete, and overwriting does not exist: who replaces a blob deletes the
old one.  In a whole container nothing is created or deleted in a seed's folder
(`grants.require`).
"""

from dataclasses import dataclass
from datetime import datetime

from overland.cloud import (
    computers,
    grants,
    jobreach,
    names,
    seedlinks,
    seedwork,
    stationcontainers,
)
from overland.cloud.grants import Grant, Permission
from overland.cloud.identity import Permission as Route
from overland.cloud.identity import Role
from overland.cloud.refusals import Conflict, Forbidden, ResourceAbsent
from overland.cloud.services import Call
from overland.jobs import records
from overland.jobs.importjob import ImportJob
from overland.jobs.states import JobState
from overland.vault import chains

__all__ = [
    "IssuedGrant",
    "blobs_grant",
    "export_grant",
    "import_grant",
    "seed_container_grant",
    "vault_grant",
]

_READ: frozenset[Permission] = frozenset({"read", "list"})
_WRITE: frozenset[Permission] = frozenset({"create", "read", "list"})
_REPLACE: frozenset[Permission] = frozenset({"create", "read", "list", "delete"})
_AT_STATION = frozenset({JobState.RECEIVED, JobState.TRANSFERRING, JobState.PACKAGING})


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedGrant:
    """A grant with its text, which is a secret, and where to use it."""

    endpoint: str
    space: str
    prefix: str
    prefixes: tuple[str, ...]
    token: str
    expires_at: datetime


def vault_grant(call: Call, *, policy_id: str | None = None) -> IssuedGrant:
    """Return leave for a source computer to create and read its own objects in its vault.

    A run names its policy, so that what it uploads is not deleted before it records its point.

    Raises:
        Forbidden: The caller is no source computer.
        Invalid: `policy_id` is no UUID.
    """
    call.require(Route.GET_GRANTS)
    computer = computers.own_computer(call)
    owner = computers.owner_of(call, computer)
    policy = None if policy_id is None else names.check_uuid(policy_id, what="policy_id")
    chains.note_grant(call.connection, owner, at=call.at, policy_id=policy)
    prefix = owner.prefix
    return _issue(call, f"vaults/{computer.vault_id}", (prefix,), _WRITE)


def seed_container_grant(call: Call, seed_id: str) -> IssuedGrant:
    """Return leave for a source computer, or its application, to read what arrived of its seed.

    Raises:
        Forbidden: The caller is neither.
        ResourceAbsent: It is no seed of theirs.
    """
    call.require(Route.GET_GRANTS)
    if call.principal.role not in (Role.AGENT, Role.APPLICATION):
        raise Forbidden("only a source computer, or its application, reads what arrived")
    seed = seedwork.get_seed(call, seed_id)
    return _issue(call, seed.space, (seed.prefix,), _READ)


def import_grant(call: Call, job_id: str) -> IssuedGrant:
    """Return leave for a station to write a job's seed and its logs into the container.

    Raises:
        Conflict: The job is not at the station, or carries no seed.
        Forbidden: The caller is no station.
    """
    job = _at_station(call, job_id)
    seed = seedlinks.seed_of(call, job)
    if seed is None:
        raise Conflict("job_id", "the import job carries no seed of this cloud")
    return _issue(call, seed.space, (seed.prefix, f"{job.diagnostics_path}/"), _WRITE)


def blobs_grant(call: Call, job_id: str, *, container: str, replace: bool) -> IssuedGrant:
    """Return leave for a station to bring blobs into one container of a job's storage account.

    The container comes into being if it is absent.  With `replace` blobs may be deleted, so that
    others take their names.

    Raises:
        Conflict: The job is not at the station, or brings a seed, whose folder takes no blobs.
        Forbidden: The caller is no station.
        Invalid: No container can be called so.
    """
    job = _at_station(call, job_id)
    if seedlinks.seed_of(call, job) is not None:
        raise Conflict("job_id", "the import job brings a seed; ask without a container")
    stationcontainers.ensure_container(call, job.storage_account, container)
    permissions = _REPLACE if replace else _WRITE
    space = f"accounts/{job.storage_account}/{container}"
    return _issue(call, space, (grants.WHOLE,), permissions)


def export_grant(call: Call, job_id: str, *, container: str) -> IssuedGrant:
    """Return leave for a station to read one container of an export job's storage account.

    Raises:
        Conflict: The job is not at the station, or takes nothing out.
        Forbidden: The caller is no station.
        ResourceAbsent: The account has no such container.
    """
    job = _at_station(call, job_id)
    if not job.is_export:
        raise Conflict("job_id", "the job brings data in; only an export job takes it out")
    if container not in stationcontainers.containers_of(call, job.storage_account):
        raise ResourceAbsent(f"container {container}")
    return _issue(call, f"accounts/{job.storage_account}/{container}", (grants.WHOLE,), _READ)


def _at_station(call: Call, job_id: str) -> ImportJob:
    call.require(Route.GET_GRANTS)
    if call.principal.role not in (Role.STATION, Role.USER):
        raise Forbidden("only a station imports drives")
    job = records.load_job(call.connection, job_id)
    jobreach.require(call, job, Route.WORK_AT_STATION)
    if job.state not in _AT_STATION:
        raise Conflict("job_id", f"the import job is {job.state}; there is nothing to import now")
    return job


def _issue(
    call: Call, space: str, prefixes: tuple[str, ...], permissions: frozenset[Permission]
) -> IssuedGrant:
    limits = call.services.limits
    is_program = call.principal.role is Role.APPLICATION
    lifetime = limits.application_grant if is_program else limits.grant
    grant = Grant(
        grant_id=call.new_id(),
        subject=call.principal.name,
        space=space,
        prefixes=prefixes,
        permissions=permissions,
        expires_at=(call.at + lifetime).replace(microsecond=0),
    )
    return IssuedGrant(
        endpoint=call.services.endpoints.object_url,
        space=space,
        prefix=grant.prefix,
        prefixes=grant.prefixes,
        token=grants.issue(grant, private_key=call.services.grant_key),
        expires_at=grant.expires_at,
    )
