"""Grants for the data plane: which corner of which space each machine may touch.

| kind             | for          | where                                 | what                |
|------------------|--------------|---------------------------------------|---------------------|
| `vault`          | an agent     | its own folder of its vault           | create, read, list  |
| `seed-container` | an agent     | its seed's folder in the container    | read, list          |
| `import`         | a station    | that folder, and the job's logs       | create, read, list  |

Nobody gets leave to delete; overwriting does not exist.
"""

from dataclasses import dataclass
from datetime import datetime

from overland.cloud import computers, grants, names, seedlinks, seedwork
from overland.cloud.grants import Grant, Permission
from overland.cloud.identity import Permission as Route
from overland.cloud.identity import Role
from overland.cloud.refusals import Conflict, Forbidden
from overland.cloud.services import Call
from overland.jobs import records
from overland.jobs.states import JobState
from overland.vault import chains

__all__ = ["IssuedGrant", "import_grant", "seed_container_grant", "vault_grant"]

_READ: frozenset[Permission] = frozenset({"read", "list"})
_WRITE: frozenset[Permission] = frozenset({"create", "read", "list"})
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
    """
    call.require(Route.GET_GRANTS)
    computer = computers.own_computer(call)
    owner = computers.owner_of(computer)
    policy = None if policy_id is None else names.check_uuid(policy_id, what="policy_id")
    chains.note_grant(call.connection, owner, at=call.at, policy_id=policy)
    prefix = owner.prefix
    return _issue(call, f"vaults/{computer.vault_id}", (prefix,), _WRITE)


def seed_container_grant(call: Call, seed_id: str) -> IssuedGrant:
    """Return leave for a source computer to read what arrived of its seed."""
    call.require(Route.GET_GRANTS)
    computers.own_computer(call)
    seed = seedwork.get_seed(call, seed_id)
    return _issue(call, seed.space, (seed.prefix,), _READ)


def import_grant(call: Call, job_id: str) -> IssuedGrant:
    """Return leave for a station to write a job's seed and its logs into the container.

    Raises:
        Conflict: The job is not at the station, or carries no seed.
        Forbidden: The caller is no station.
    """
    call.require(Route.GET_GRANTS)
    if call.principal.role is not Role.STATION:
        raise Forbidden("only a station imports drives")
    job = records.load_job(call.connection, job_id)
    if job.state not in _AT_STATION:
        raise Conflict("job_id", f"the import job is {job.state}; there is nothing to import now")
    seed = seedlinks.seed_of(call, job)
    if seed is None:
        raise Conflict("job_id", "the import job carries no seed of this cloud")
    return _issue(call, seed.space, (seed.prefix, f"{job.diagnostics_path}/"), _WRITE)


def _issue(
    call: Call, space: str, prefixes: tuple[str, ...], permissions: frozenset[Permission]
) -> IssuedGrant:
    grant = Grant(
        grant_id=call.new_id(),
        subject=call.principal.name,
        space=space,
        prefixes=prefixes,
        permissions=permissions,
        expires_at=(call.at + call.services.limits.grant).replace(microsecond=0),
    )
    return IssuedGrant(
        endpoint=call.services.endpoints.object_url,
        space=space,
        prefix=grant.prefix,
        prefixes=grant.prefixes,
        token=grants.issue(grant, private_key=call.services.grant_key),
        expires_at=grant.expires_at,
    )
