"""What the cloud knows that a source computer asks before it makes an offline policy.

Nothing is refused here: each fact is an answer of its own, so that all that is wrong shows at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from overland import __version__
from overland.cloud import resources
from overland.cloud.capabilities import is_seeding_allowed
from overland.cloud.computers import own_computer
from overland.cloud.identity import Permission
from overland.cloud.refusals import Forbidden, ResourceAbsent
from overland.cloud.resources import StorageAccount, Vault
from overland.cloud.seedwork import is_leftover
from overland.cloud.services import Call
from overland.jobs import records
from overland.jobs.importjob import ImportJob
from overland.jobs.seeds import list_seeds
from overland.jobs.states import SeedState

__all__ = ["Facts", "Question", "preflight_facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The fields of the offline page that concern the cloud; they need not keep any rule."""

    job_name: str
    subscription_id: str
    storage_account: str
    container: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is so at the instant `now`; None where what it hangs on is not there."""

    now: datetime
    version: str
    vault: Vault
    is_subscription_known: bool
    is_seeding_allowed: bool
    account: StorageAccount | None
    holds_page_blobs: bool
    is_container_known: bool
    is_container_empty: bool
    job_problem: str | None
    job_warning: str | None


def preflight_facts(call: Call, question: Question) -> Facts:
    """Return what the cloud knows of a seed that is about to be announced."""
    call.require(Permission.WRITE_SEEDS)
    computer = own_computer(call)
    vault = resources.find_vault(call, computer.vault_id)
    assert vault is not None, "a registered computer belongs to a vault"
    subscription_id = _subscription(call, question.subscription_id)
    account = _account(call, subscription_id, question.storage_account)
    containers = [] if account is None else resources.list_containers(call, account)
    is_container_known = question.container in containers
    jobs = _jobs(call, question)
    return Facts(
        now=call.at,
        version=__version__,
        vault=vault,
        is_subscription_known=subscription_id is not None,
        is_seeding_allowed=subscription_id is not None
        and is_seeding_allowed(call, subscription_id),
        account=account,
        holds_page_blobs=account is not None and account.kind in resources.ACCOUNT_KINDS,
        is_container_known=is_container_known,
        is_container_empty=is_container_known and _is_empty(call, question),
        job_problem=_job_problem(call, question, jobs, computer.source_computer_id),
        job_warning=_job_warning(jobs),
    )


def _subscription(call: Call, subscription_id: str) -> str | None:
    try:
        return resources.get_subscription(call, subscription_id).subscription_id
    except Forbidden:
        return None


def _account(call: Call, subscription_id: str | None, name: str) -> StorageAccount | None:
    if subscription_id is None:
        return None
    try:
        return resources.get_account(call, subscription_id=subscription_id, name=name)
    except ResourceAbsent:
        return None


def _is_empty(call: Call, question: Question) -> bool:
    space = call.services.spaces.open(f"accounts/{question.storage_account}/{question.container}")
    found: Iterable[object] = space.names()
    return next(iter(found), None) is None


def _jobs(call: Call, question: Question) -> list[ImportJob]:
    found = records.find_named(
        call.connection,
        subscription_id=question.subscription_id.casefold(),
        storage_account=question.storage_account,
        name=question.job_name,
    )
    return [job for job in found if not is_leftover(call, job)]


def _job_problem(
    call: Call, question: Question, jobs: list[ImportJob], source_computer_id: str
) -> str | None:
    """Return why the job's name cannot be had, by the rules of `seedwork.announce_seed`."""
    if any(job.seed_id is not None for job in jobs):
        return f"storage account {question.storage_account} has an import job of that name"
    for seed in list_seeds(call.connection, source_computer_id=source_computer_id):
        is_same = seed.job_name == question.job_name and seed.state is not SeedState.ABANDONED
        if is_same and seed.storage_account != question.storage_account:
            return f"it goes to storage account {seed.storage_account} in policy {seed.policy}"
    return None


def _job_warning(jobs: list[ImportJob]) -> str | None:
    if any(job.seed_id is None for job in jobs):
        return "an import job of that name was made by hand; its drives will be taken for this seed"
    return None
