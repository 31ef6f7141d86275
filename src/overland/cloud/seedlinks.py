"""The link between a seed and its import job: two tags on the job, or the job's name.

The tag `overland-seed` holds the seed's id and is what counts.  Without it, the job of the name
that the seed asks for in the seed's storage account is taken; so a job that was made by hand
under another name is linked by correcting the name in the seed.  From then on that name alone
counts: a job of another name no longer carries the seed, whatever its tags say.

What a job did not bring, a top-up brings: another job with the seed's tag, whose name is derived
from the seed's (`overland.values.top_up_name`).  The first job stays as it is.
"""

from dataclasses import replace
from typing import Final

from overland.cloud import names, resources
from overland.cloud.identity import Permission, Role
from overland.cloud.refusals import Conflict, Invalid
from overland.cloud.services import Call
from overland.jobs import records, seeds
from overland.jobs.importjob import Document, ImportJob
from overland.jobs.seeds import Seed
from overland.jobs.states import JobState, SeedState
from overland.values import SeedId, is_job_or_top_up

__all__ = ["DRIVE_KEY_TAG", "SEED_TAG", "jobs_of", "seed_of", "with_tags"]

SEED_TAG: Final = "overland-seed"
DRIVE_KEY_TAG: Final = "overland-drive-key"

_OPEN: Final = frozenset(
    {JobState.CREATING, JobState.SHIPPING, JobState.RECEIVED, JobState.TRANSFERRING}
)
_IS_CHANGED: Final = frozenset({JobState.CREATING})  # drives can still be added to that job


def with_tags(call: Call, job: ImportJob, tags: Document | None) -> ImportJob:
    """Return the job with new tags, and linked to the seed that they name.

    Raises:
        Invalid: A tag of ours does not hold what it should, or names no seed of the tenant.
        Conflict: The seed goes elsewhere, or has an open import job already.
    """
    seed_text, key = (tags or {}).get(SEED_TAG), (tags or {}).get(DRIVE_KEY_TAG)
    if key is not None:
        names.check_public_key(str(key), target=f"tags.{DRIVE_KEY_TAG}")
    seed_id = None
    if seed_text is not None:
        seed_id = SeedId(names.check_uuid(str(seed_text), what=f"tags.{SEED_TAG}"))
        _check_seed(call, job, seed_id)
    return replace(
        job, tags=tags, seed_id=seed_id, drive_public_key=None if key is None else str(key)
    )


def jobs_of(call: Call, seed: Seed) -> list[ImportJob]:
    """Return the import jobs that carry a seed, oldest first: its own, then its top-ups."""
    linked = _linked(call, seed)
    if linked:
        return linked
    named = records.find_named(
        call.connection,
        subscription_id=seed.subscription_id,
        storage_account=seed.storage_account,
        name=seed.job_name,
    )
    return [job for job in named if job.seed_id is None][:1]


def _linked(call: Call, seed: Seed) -> list[ImportJob]:
    """Return the jobs whose tag names the seed, of those that may carry it."""
    found = records.find_seed_jobs(call.connection, seed.seed_id)
    return [
        job for job in found if not seed.is_relinked or is_job_or_top_up(job.name, seed.job_name)
    ]


def seed_of(call: Call, job: ImportJob) -> Seed | None:
    """Return the seed that an import job carries, or None if it carries none of ours."""
    if job.seed_id is not None:
        return seeds.find_seed(call.connection, job.seed_id)
    named = [
        seed
        for seed in seeds.list_seeds(call.connection, tenant_id=job.tenant_id)
        if seed.storage_account == job.storage_account
        and seed.job_name.casefold() == job.name.casefold()
    ]
    # A name is used again after its seed was abandoned; the drives then bring the later seed.
    return min(named, key=lambda seed: seed.state is SeedState.ABANDONED, default=None)


def _check_seed(call: Call, job: ImportJob, seed_id: SeedId) -> None:
    seed = seeds.find_seed(call.connection, seed_id)
    if seed is None or seed.tenant_id != job.tenant_id:
        raise Invalid(f"tags.{SEED_TAG}", f"there is no seed {seed_id}")
    if seed.storage_account != job.storage_account:
        raise Conflict(
            "storageAccountId", f"seed {seed_id} goes to storage account {seed.storage_account}"
        )
    if seed.is_relinked and not is_job_or_top_up(job.name, seed.job_name):
        raise Conflict(
            f"tags.{SEED_TAG}",
            f"seed {seed_id} was linked to import job {seed.job_name}; link it to {job.name} "
            "with `overland seed relink`",
        )
    linked = _linked(call, seed)
    if not _may_link(call, job, seed, linked):
        raise Invalid(f"tags.{SEED_TAG}", f"there is no seed {seed_id} for import job {job.name}")
    held = _IS_CHANGED if _is_top_up(job, seed) else _OPEN
    for other in linked:
        if other.job_id != job.job_id and other.state in held:
            raise Conflict(
                f"tags.{SEED_TAG}", f"seed {seed_id} travels with import job {other.name} already"
            )


def _is_top_up(job: ImportJob, seed: Seed) -> bool:
    is_derived = job.name.casefold() != seed.job_name.casefold()
    return is_derived and is_job_or_top_up(job.name, seed.job_name)


def _may_link(call: Call, job: ImportJob, seed: Seed, linked: list[ImportJob]) -> bool:
    """Whether the caller may put the seed on the job: a token for one job leaves others' alone."""
    if call.principal.role is Role.USER and not resources.may_at_vault(
        call, seed.vault_id, Permission.READ_SEEDS
    ):
        return False
    if call.principal.scope.job_name is None:
        return True
    is_linked = any(other.job_id == job.job_id for other in linked)
    return is_linked or is_job_or_top_up(job.name, seed.job_name)
