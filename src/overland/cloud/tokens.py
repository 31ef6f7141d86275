"""Tokens that one principal makes for another machine: never more than they may do themselves."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from overland.cloud import audit, names, resources
from overland.cloud.identity import (
    MAX_TOKEN_DAYS,
    Permission,
    Role,
    Scope,
    TokenRecord,
    issue_token,
    list_tokens,
    revoke_token,
)
from overland.cloud.refusals import Forbidden, Invalid
from overland.cloud.services import Call

__all__ = ["IssuedToken", "TokenRequest", "issue", "issue_admin", "known", "revoke"]

_FOR_ROOT: Final = frozenset({Role.STATION, Role.ADMIN})
_FOR_ADMIN: Final = frozenset({Role.ADMIN, Role.DISKPREP})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What a token shall allow, and how long."""

    role: str
    expires_in_days: int
    tenant_id: str | None = None
    subscription_id: str | None = None
    job_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A new token: a secret that is shown once."""

    token: str
    role: Role
    expires_at: datetime


def issue(call: Call, request: TokenRequest) -> IssuedToken:
    """Make a token: root makes those of stations and tenants' administrators, these the rest.

    Agents get theirs by registering, so that they are bound to their computer.

    Raises:
        Forbidden: The caller may not make tokens of this role or for this tenant.
        Invalid: The role, the scope or the time does not fit.
        ResourceAbsent: There is no such tenant.
    """
    call.require_at(Permission.MANAGE_TOKENS)
    if not 1 <= request.expires_in_days <= MAX_TOKEN_DAYS:
        raise Invalid("expires_in_days", f"use 1 to {MAX_TOKEN_DAYS}")
    role = _role(call, request.role)
    scope = _scope(call, role, request)
    lifetime = timedelta(days=request.expires_in_days)
    token = issue_token(
        call.connection,
        role,
        scope,
        at=call.at,
        lifetime=lifetime,
        random=call.services.random,
        issued_by=call.principal,
    )
    _note(call, scope.tenant_id, "token.issued", f"{role} for {request.expires_in_days} days")
    return IssuedToken(token=token, role=role, expires_at=call.at + lifetime)


def issue_admin(call: Call, tenant_id: str) -> IssuedToken:
    """Make the first administrator's token of a new tenant, for as long as tokens may last.

    Raises:
        Forbidden, Invalid, ResourceAbsent: As `issue`.
    """
    request = TokenRequest(role=Role.ADMIN, expires_in_days=MAX_TOKEN_DAYS, tenant_id=tenant_id)
    return issue(call, request)


def known(call: Call) -> list[TokenRecord]:
    """Return the tokens that the caller can end: those of their tenant, or of the cloud."""
    call.require_at(Permission.MANAGE_TOKENS)
    return list_tokens(call.connection, tenant_id=call.principal.scope.tenant_id)


def revoke(call: Call, token_id: str) -> None:
    """End a token now.

    Raises:
        ResourceAbsent: The caller's tenant has no such token.
        Invalid: It is the caller's own; nobody locks themselves out by accident.
    """
    call.require_at(Permission.MANAGE_TOKENS)
    if token_id == call.principal.token_id:
        raise Invalid("token_id", "this is the token you use; end it with another one")
    tenant_id = call.principal.scope.tenant_id
    revoke_token(call.connection, token_id, tenant_id=tenant_id, at=call.at)
    _note(call, tenant_id, "token.revoked", token_id)


def _note(call: Call, tenant_id: str | None, event: str, target: str) -> None:
    """Take it down for whose tenant it is, also what the cloud's operator does."""
    audit.add(
        call.connection,
        tenant_id=tenant_id or "",
        at=call.at,
        actor=call.principal.name,
        address=call.address,
        event=event,
        target=target,
    )


def _role(call: Call, text: str) -> Role:
    allowed = _FOR_ROOT if call.principal.role is Role.ROOT else _FOR_ADMIN
    try:
        role = Role(text)
    except ValueError:
        raise Invalid("role", f"use one of {', '.join(sorted(allowed))}") from None
    if role not in allowed:
        raise Forbidden(f"a token of the role {call.principal.role} makes none of the role {role}")
    return role


def _scope(call: Call, role: Role, request: TokenRequest) -> Scope:
    if role is Role.STATION:
        return Scope()
    if call.principal.role is Role.ROOT:
        if request.tenant_id is None:
            raise Invalid("tenant_id", "say whose administrator it is")
        tenant_id = names.check_uuid(request.tenant_id, what="tenant_id")
        resources.check_tenant(call, tenant_id)
        return Scope(tenant_id=tenant_id)
    own = call.principal.tenant_id
    if request.tenant_id not in (None, own):
        raise Forbidden("an administrator makes tokens of their own tenant only")
    if role is Role.ADMIN:
        return Scope(tenant_id=own)
    if request.subscription_id is None:
        raise Invalid("subscription_id", "disk preparation works in one subscription; name it")
    subscription = resources.get_subscription(call, request.subscription_id)
    if request.job_name is not None:
        names.check_resource_name(request.job_name, what="job_name")
    return Scope(
        tenant_id=own,
        subscription_id=subscription.subscription_id,
        job_name=request.job_name,
    )
