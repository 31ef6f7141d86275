"""Seeds as their source computer sees them: announced, staged, watched, relinked, abandoned.

The checks of the offline page run when a seed is announced, before a byte is staged: the
subscription, the storage account in it, the container in that, and the job's name.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from overland.cloud import names, resources, seedlinks
from overland.cloud.capabilities import is_seeding_allowed
from overland.cloud.computers import SourceComputer, own_computer, owner_of
from overland.cloud.computers import load as load_computer
from overland.cloud.identity import Permission, Principal, Role
from overland.cloud.refusals import Conflict, Forbidden, Invalid, ResourceAbsent
from overland.cloud.services import Call, Services
from overland.format.seed_manifest import SEED_MANIFEST_PURPOSE
from overland.format.signed import decode_signed
from overland.jobs import records
from overland.jobs.importjob import ImportJob
from overland.jobs.seeds import Seed, apply_to_seed, find_seed, insert_seed, list_seeds, save_seed
from overland.jobs.states import JobState, SeedEvent, SeedState
from overland.values import SeedId
from overland.vault import catalog, chains
from overland.vault.chains import VaultChanged
from overland.vault.owner import open_manifest

__all__ = [
    "SeedRequest",
    "abandon_seed",
    "announce_seed",
    "editable_seed",
    "get_manifest",
    "get_seed",
    "is_leftover",
    "manifest_name",
    "manifest_of",
    "own_seeds",
    "put_manifest",
    "relink_seed",
]

_TAKES_MANIFEST: Final = frozenset(
    {SeedState.CONFIGURED, SeedState.STAGING, SeedState.AWAITING_IMPORT}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRequest:
    """The offline page's fields that concern the cloud."""

    seed_id: str
    job_name: str
    policy: str
    subscription_id: str
    storage_account: str
    container: str


def announce_seed(call: Call, request: SeedRequest) -> Seed:
    """Enter a seed, or return it if it was announced before with the same values.

    Raises:
        Invalid: The subscription, account, container or a name does not fit.
        Conflict: The job's name is in use, or the seed was announced with other values.
    """
    call.require(Permission.WRITE_SEEDS)
    computer = own_computer(call)
    seed = _from_request(call, computer, request)
    existing = find_seed(call.connection, seed.seed_id)
    if existing is not None:
        same = replace(
            existing,
            job_name=seed.job_name if existing.is_relinked else existing.job_name,
            created_at=seed.created_at,
            changed_at=seed.changed_at,
            state=seed.state,
            manifest_sha256=None,
            manifest_public_key=None,
            warnings=(),
            is_relinked=False,
        )
        if same != seed:
            raise Conflict("seed_id", "this seed was announced with other values")
        return existing
    _refuse_taken_name(call, seed)
    seed = replace(seed, warnings=_warnings(call, seed))
    insert_seed(call.connection, seed)
    return seed


def get_seed(call: Call, seed_id: str) -> Seed:
    """Return a seed that the caller may see.

    Raises:
        ResourceAbsent: There is none: another answer than one that is still under way.
    """
    call.require(Permission.READ_SEEDS)
    seed = find_seed(call.connection, seed_id)
    if seed is None or not _may_see(call, seed):
        raise ResourceAbsent(f"seed {seed_id}")
    return seed


def editable_seed(call: Call, seed_id: str, permission: Permission = Permission.EDIT_SEEDS) -> Seed:
    """Return a seed that the caller may change, or adopt, as `permission` says.

    Raises:
        Forbidden: They may only look at it.
        ResourceAbsent: They may not even know of it.
    """
    call.require(permission)
    seed = get_seed(call, seed_id)
    if call.principal.role is Role.USER:
        resources.require_at_vault(call, seed.vault_id, permission)
    return seed


def own_seeds(call: Call) -> list[Seed]:
    """Return the seeds that the caller may see, oldest first."""
    call.require(Permission.READ_SEEDS)
    found = list_seeds(call.connection, tenant_id=call.principal.tenant_id)
    return [seed for seed in found if _may_see(call, seed)]


def put_manifest(services: Services, principal: Principal, seed_id: str, document: bytes) -> Seed:
    """Take the signed list of what the drives will bring; the seed then awaits its import.

    The same document again changes nothing.  It is stored between two transactions.

    Raises:
        SignatureInvalid: It is not signed by the seed's source computer.
        SigningKeyRetired: A key signed it that was replaced before the cloud knew of the manifest.
        KeyChangeMissing: A former key signed it, and its key change can be read nowhere.
        Foreign: It is that of another seed or repository.
        IntegrityError: It is not a seed manifest.
        Conflict: Adoption has begun.
        VaultChanged: The signing key was replaced meanwhile; try again.
        OutOfSpace: The vault is full; the seed is as it was.
    """
    principal.require(Permission.WRITE_SEEDS)
    digest = hashlib.sha256(document).hexdigest()
    with services.call(principal) as call:
        seed = get_seed(call, seed_id)
        if seed.manifest_sha256 == digest:
            return seed
        _allow_manifest(seed)
        owner = owner_of(call, load_computer(call, seed.source_computer_id))
    store = services.spaces.open(f"vaults/{seed.vault_id}")
    manifest = open_manifest(document, owner=owner, seed_id=seed.seed_id, store=store)
    store.put(manifest_name(seed, digest), [document], size_bytes=len(document), sha256=digest)
    with services.call(principal) as call:
        seed = get_seed(call, seed_id)
        _allow_manifest(seed)
        if chains.read_fence(call.connection, owner).owner != owner:
            raise VaultChanged  # and the key that signed it may have ended
        if seed.state is not SeedState.AWAITING_IMPORT:
            seed = apply_to_seed(seed, SeedEvent.STAGED, at=call.at)
        key = decode_signed(document, SEED_MANIFEST_PURPOSE, name="the manifest").public_key
        seed = replace(
            seed, manifest_sha256=digest, manifest_public_key=key.hex(), changed_at=call.at
        )
        save_seed(call.connection, seed)
        catalog.announce_seed(call.connection, manifest, owner=owner)
    return seed


def get_manifest(services: Services, principal: Principal, seed_id: str) -> bytes:
    """Return to its source computer the signed manifest that counts, as it was sent.

    Raises:
        ResourceAbsent: The caller has no such seed, or it has no manifest yet.
        ObjectAbsent: The vault has lost it.
    """
    principal.require(Permission.WRITE_SEEDS)
    with services.call(principal) as call:
        seed = get_seed(call, seed_id)
    if seed.manifest_sha256 is None:
        raise ResourceAbsent(f"manifest of seed {seed_id} yet")
    store = services.spaces.open(f"vaults/{seed.vault_id}")
    return store.read(manifest_name(seed, seed.manifest_sha256))


def _allow_manifest(seed: Seed) -> None:
    if seed.state not in _TAKES_MANIFEST:
        raise Conflict("manifest", f"the seed is {seed.state}; its manifest is settled")


def manifest_name(seed: Seed, digest: str) -> str:
    """Return where the manifest lies in the vault's space: outside of what agents can write."""
    return f"control/manifests/{seed.seed_id}-{digest}.json"


def manifest_of(connection: Connection, seed_id: str) -> str | None:
    """Return the name, in the vault's space, of the manifest that counts; None if there is none."""
    seed = find_seed(connection, seed_id)
    if seed is None or seed.manifest_sha256 is None:
        return None
    return manifest_name(seed, seed.manifest_sha256)


def relink_seed(call: Call, seed_id: str, job_name: str) -> Seed:
    """Correct the name of the import job that a seed follows; it follows no other any more.

    Raises:
        Invalid: The name breaks its rule.
        Conflict: Another seed's job has the name, or the seed is in the vault or was given up.
    """
    seed = replace(
        editable_seed(call, seed_id),
        job_name=names.check_policy_job_name(job_name),
        changed_at=call.at,
        is_relinked=True,
    )
    if seed.state in (SeedState.ONLINE, SeedState.ABANDONED):
        raise Conflict("job_name", f"the seed is {seed.state}; there is nothing to follow")
    _refuse_taken_name(call, seed)
    save_seed(call.connection, seed)
    return seed


def abandon_seed(call: Call, seed_id: str) -> Seed:
    """Give a seed up, in whatever state it is; again does nothing.  Nothing is deleted."""
    seed = editable_seed(call, seed_id)
    if seed.state is SeedState.ABANDONED:
        return seed
    seed = apply_to_seed(seed, SeedEvent.ABANDONED, at=call.at)
    save_seed(call.connection, seed)
    return seed


def _from_request(call: Call, computer: SourceComputer, request: SeedRequest) -> Seed:
    try:
        subscription = resources.get_subscription(call, request.subscription_id)
    except Forbidden:
        raise Invalid(
            "subscription_id", f"{request.subscription_id} is not a subscription of this tenant"
        ) from None
    if not is_seeding_allowed(call, subscription.subscription_id):
        raise Invalid(
            "subscription_id",
            "the provider does not allow this subscription to seed by drive; ask the provider, "
            "or make the first copy over the network",
        )
    try:
        account = resources.get_account(
            call, subscription_id=subscription.subscription_id, name=request.storage_account
        )
    except ResourceAbsent:
        raise Invalid(
            "storage_account", f"there is no {request.storage_account} in this subscription"
        ) from None
    if request.container not in resources.list_containers(call, account):
        raise Invalid(
            "container",
            f"storage account {account.name} has no container {request.container}; make it first",
        )
    return Seed(
        seed_id=_seed_id(request.seed_id),
        tenant_id=computer.tenant_id,
        vault_id=computer.vault_id,
        source_computer_id=computer.source_computer_id,
        subscription_id=subscription.subscription_id,
        storage_account=account.name,
        container=request.container,
        job_name=names.check_policy_job_name(request.job_name),
        policy=names.check_label(request.policy, what="policy", longest=256),
        created_at=call.at,
        changed_at=call.at,
    )


def is_leftover(call: Call, job: ImportJob) -> bool:
    """Return whether a job has not left and is of a seed that was given up: its name is free."""
    if job.state is not JobState.CREATING or job.seed_id is None:
        return False
    seed = find_seed(call.connection, job.seed_id)
    return seed is not None and seed.state is SeedState.ABANDONED


def _refuse_taken_name(call: Call, seed: Seed) -> None:
    """Refuse a job name that another job has, or that goes to another account here."""
    existing = records.find_named(
        call.connection,
        subscription_id=seed.subscription_id,
        storage_account=seed.storage_account,
        name=seed.job_name,
    )
    others = [job for job in existing if not is_leftover(call, job)]
    if any(job.seed_id not in (None, seed.seed_id) for job in others):
        raise Conflict(
            "job_name",
            f"storage account {seed.storage_account} has an import job {seed.job_name} already; "
            "choose another name",
        )
    own = list_seeds(call.connection, source_computer_id=seed.source_computer_id)
    for other in own:
        same_name = other.job_name == seed.job_name and other.seed_id != seed.seed_id
        is_open = other.state is not SeedState.ABANDONED
        if same_name and is_open and other.storage_account != seed.storage_account:
            raise Conflict(
                "job_name",
                f"{seed.job_name} goes to storage account {other.storage_account} in policy "
                f"{other.policy}; one job name has one account",
            )


def _warnings(call: Call, seed: Seed) -> tuple[str, ...]:
    found: Iterable[object] = call.services.spaces.open(seed.space).names()
    if next(iter(found), None) is None:
        return ()
    return (f"container {seed.container} is not empty; a new one is better kept apart",)


def _may_see(call: Call, seed: Seed) -> bool:
    scope = call.principal.scope
    if seed.tenant_id != call.principal.tenant_id:
        return False
    if call.principal.role is Role.USER:
        return resources.may_at_vault(call, seed.vault_id, Permission.READ_SEEDS)
    if scope.seed_ids and seed.seed_id not in scope.seed_ids:
        return False
    if call.principal.role is Role.APPLICATION and seed.state is SeedState.ABANDONED:
        return False
    if call.principal.role in (Role.AGENT, Role.APPLICATION):
        return seed.source_computer_id == scope.source_computer_id
    in_subscription = scope.subscription_id in (None, seed.subscription_id)
    jobs = seedlinks.jobs_of(call, seed) if scope.job_name is not None else []
    named = {name.casefold() for name in (seed.job_name, *(job.name for job in jobs))}
    return in_subscription and (scope.job_name is None or scope.job_name.casefold() in named)


def _seed_id(text: str) -> SeedId:
    return SeedId(names.check_uuid(text, what="seed_id"))
