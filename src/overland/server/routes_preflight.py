"""What is asked before an offline policy is made, and what the provider says of a subscription."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from overland.cloud.capabilities import allow_seeding
from overland.cloud.identity import Permission
from overland.cloud.preflight import Facts, Question, preflight_facts
from overland.server.caller import Caller, Needs
from overland.server.views import Json, instant

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["Backups"])

SeedWriter = Annotated[Caller, Depends(Needs(Permission.WRITE_SEEDS))]
Provider = Annotated[Caller, Depends(Needs(Permission.CREATE_TENANTS))]
Text = Annotated[str, Field(max_length=128)]


class PreflightBody(BaseModel):
    """The offline page's fields that concern the cloud."""

    model_config = ConfigDict(extra="forbid")

    job_name: Text
    subscription_id: Text
    storage_account: Text
    container: Text


class CapabilitiesBody(BaseModel):
    """What a subscription may do."""

    model_config = ConfigDict(extra="forbid")

    seeding_allowed: bool


@router.post("/preflight")
def ask(body: PreflightBody, caller: SeedWriter) -> Json:
    """Return what the cloud knows of the fields of an offline page; refuses nothing."""
    with caller.call() as call:
        return _facts_view(preflight_facts(call, Question(**body.model_dump())))


@router.put("/subscriptions/{subscription_id}/capabilities")
def put_capabilities(subscription_id: str, body: CapabilitiesBody, caller: Provider) -> Json:
    """Say whether a subscription may seed by drive."""
    with caller.call() as call:
        allow_seeding(call, subscription_id, allowed=body.seeding_allowed)
    return {"subscription_id": subscription_id, "seeding_allowed": body.seeding_allowed}


def _facts_view(facts: Facts) -> Json:
    account = facts.account
    return {
        "now": instant(facts.now),
        "version": facts.version,
        "vault_id": facts.vault.vault_id,
        "vault_name": facts.vault.name,
        "vault_subscription_id": facts.vault.subscription_id,
        "is_subscription_known": facts.is_subscription_known,
        "is_seeding_allowed": facts.is_seeding_allowed,
        "account_kind": None if account is None else account.kind,
        "account_location": None if account is None else account.location,
        "holds_page_blobs": facts.holds_page_blobs,
        "is_container_known": facts.is_container_known,
        "is_container_empty": facts.is_container_empty,
        "job_problem": facts.job_problem,
        "job_warning": facts.job_warning,
    }
