"""Tenants, subscriptions, tokens and the files that let other machines in (`/v1`)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from overland.cloud import computers, custodyview, publishing, resources, tokens
from overland.cloud.identity import Permission
from overland.cloud.tokens import TokenRequest
from overland.server.bodies import NameBody, PublishSettingsBody, TokenBody
from overland.server.caller import Caller, Needs
from overland.server.views import Json, custody_view, instant, subscription_view, token_view

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["Tenants"])

TenantCreator = Annotated[Caller, Depends(Needs(Permission.CREATE_TENANTS))]
TokenManager = Annotated[Caller, Depends(Needs(Permission.MANAGE_TOKENS))]
SubscriptionWriter = Annotated[Caller, Depends(Needs(Permission.WRITE_SUBSCRIPTIONS))]
SubscriptionReader = Annotated[Caller, Depends(Needs(Permission.READ_SUBSCRIPTIONS))]
CredentialIssuer = Annotated[Caller, Depends(Needs(Permission.ISSUE_CREDENTIALS))]
SettingsIssuer = Annotated[Caller, Depends(Needs(Permission.ISSUE_PUBLISH_SETTINGS))]
CustodyReader = Annotated[Caller, Depends(Needs(Permission.READ_CUSTODY))]


@router.post("/tenants", status_code=201)
def create_tenant(body: NameBody, caller: TenantCreator) -> Json:
    """Make a tenant, and the first token of its administrator."""
    with caller.call() as call:
        tenant_id = resources.create_tenant(call, body.name)
        token = tokens.issue_admin(call, tenant_id)
    return {
        "tenant_id": tenant_id,
        "token": token.token,
        "expires_at": instant(token.expires_at),
    }


@router.post("/subscriptions", status_code=201)
def create_subscription(body: NameBody, caller: SubscriptionWriter) -> Json:
    """Make a subscription of the caller's tenant."""
    with caller.call() as call:
        return subscription_view(resources.create_subscription(call, body.name))


@router.get("/subscriptions")
def list_subscriptions(caller: SubscriptionReader) -> list[Json]:
    """Return the subscriptions that the caller's token reaches."""
    with caller.call() as call:
        return [subscription_view(each) for each in resources.list_subscriptions(call)]


@router.post("/tokens", status_code=201)
def create_token(body: TokenBody, caller: TokenManager) -> Json:
    """Make a token for another machine or person."""
    with caller.call() as call:
        issued = tokens.issue(call, TokenRequest(**body.model_dump()))
    return {
        "token": issued.token,
        "role": issued.role,
        "expires_at": instant(issued.expires_at),
    }


@router.get("/tokens")
def list_tokens(caller: TokenManager) -> list[Json]:
    """Return the tokens that the caller can end, without their secrets."""
    with caller.call() as call:
        return [token_view(each) for each in tokens.known(call)]


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(token_id: str, caller: TokenManager) -> Response:
    """End a token now."""
    with caller.call() as call:
        tokens.revoke(call, token_id)
    return Response(status_code=204)


@router.post("/vaults/{vault_id}/credentials", status_code=201)
def create_vault_credentials(vault_id: str, caller: CredentialIssuer) -> Json:
    """Return the document with which computers register in a vault."""
    with caller.call() as call:
        return computers.issue_vault_credentials(call, vault_id)


@router.post("/subscriptions/{subscription_id}/publish-settings", status_code=201)
def create_publish_settings(
    subscription_id: str, caller: SettingsIssuer, body: PublishSettingsBody | None = None
) -> Json:
    """Return the file with which a copy computer creates and ships import jobs."""
    with caller.call() as call:
        settings = publishing.issue_publish_settings(
            call, subscription_id, job_name=None if body is None else body.job_name
        )
    return {"xml": settings.xml, "expires_at": instant(settings.expires_at)}


@router.get("/custody")
def get_custody(caller: CustodyReader, job: Annotated[str, Query(max_length=512)]) -> Json:
    """Return the custody log of an import job, named by its id or its resource id."""
    with caller.call() as call:
        return custody_view(custodyview.custody_log(call, job))
