"""People and service accounts of a tenant, as its owners administer them.

A person comes in by an invitation: a secret that is shown once, is good for a week, and with
which they choose a password that nobody else ever sees.  A reset is a new invitation.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import delete, insert, select, update

from overland.cloud import (
    audit,
    factors,
    names,
    people,
    roles,
    tables,
    tables_applications,
    tables_users,
)
from overland.cloud.identity import (
    MAX_TOKEN_DAYS,
    Permission,
    Role,
    Scope,
    issue_token,
    revoke_issued,
)
from overland.cloud.people import User
from overland.cloud.permissions import Assignment
from overland.cloud.refusals import Conflict, Invalid, ResourceAbsent
from overland.cloud.services import Call

__all__ = [
    "Invited",
    "Listed",
    "create",
    "get",
    "invite_again",
    "issue_account_token",
    "listed",
    "remove",
    "require_totp",
    "set_disabled",
]

INVITATION: Final = timedelta(days=7)

_INVITATION_BYTES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A user without secrets, and their roles."""

    user_id: str
    kind: str
    name: str
    state: Literal["invited", "active", "disabled"]
    totp_is_on: bool
    created_at: datetime
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """A user, and the invitation that is shown once; service accounts have none."""

    user: Listed
    invitation: str | None
    expires_at: datetime | None


def create(call: Call, *, name: str, kind: str) -> Invited:
    """Make a person, who is invited, or a service account, which has tokens instead.

    Raises:
        Conflict: The tenant has a user of this name.
        Invalid: The name or the kind does not fit.
    """
    call.require_at(Permission.MANAGE_USERS)
    names.check_label(name, what="name", longest=128)
    if name != name.strip() or kind not in ("person", "service"):
        raise Invalid("name", "no blanks at the ends; the kind is person or service")
    tenant_id = call.principal.tenant_id
    if people.find_named(call.connection, tenant_id=tenant_id, name=name) is not None:
        raise Conflict("name", f"there is a user {name} already")
    values = {
        "user_id": call.new_id(),
        "tenant_id": tenant_id,
        "kind": kind,
        "name": name,
        "name_key": name.casefold(),
        "totp_is_on": False,
        "failures": 0,
        "created_at": call.at,
    }
    call.connection.execute(insert(tables_users.users).values(**values))
    audit.note(call, "user.created", target=f"{name} ({kind})")
    user = _find(call, str(values["user_id"]))
    if kind == "person":
        return _invite(call, user)
    return Invited(user=_listed(call, user), invitation=None, expires_at=None)


def listed(call: Call) -> list[Listed]:
    """Return the tenant's users, sorted by name."""
    call.require(Permission.READ_USERS)
    columns = tables_users.users.c
    wanted = select(*(columns[name] for name in User.__dataclass_fields__)).where(
        columns.tenant_id == call.principal.tenant_id
    )
    rows = call.connection.execute(wanted.order_by(columns.name_key)).mappings()
    return [_listed(call, User(**row)) for row in rows]


def get(call: Call, name: str) -> Listed:
    """Return a user, by name or id.

    Raises:
        ResourceAbsent: The tenant has no such user.
    """
    call.require(Permission.READ_USERS)
    return _listed(call, _find(call, name))


def set_disabled(call: Call, name: str, *, is_disabled: bool, keeps_tokens: bool = False) -> Listed:
    """Stop a user, at once and with all sessions, or let them in again; again does nothing.

    The tokens that they made for others end too, unless they are kept, and stay ended.

    Raises:
        Conflict: It is the tenant's last owner.
    """
    call.require_at(Permission.MANAGE_USERS)
    user = _find(call, name)
    if user.is_disabled == is_disabled:
        return _listed(call, user)
    if is_disabled:
        roles.keep_an_owner(call, without=user.user_id)
        people.end_sign_ins(call.connection, user.user_id, at=call.at)
        _end_issued(call, user, keeps_tokens=keeps_tokens)
    _change(call, user, disabled_at=call.at if is_disabled else None)
    audit.note(call, "user.disabled" if is_disabled else "user.enabled", target=user.name)
    return _listed(call, _find(call, user.user_id))


def remove(call: Call, name: str, *, keeps_tokens: bool = False) -> None:
    """Delete a user with roles, sessions and tokens; what they did stays in the audit.

    The tokens that they made for others end too, unless they are kept.

    Raises:
        Conflict: It is the tenant's last owner.
    """
    call.require_at(Permission.MANAGE_USERS)
    user = _find(call, name)
    roles.keep_an_owner(call, without=user.user_id)
    people.end_sign_ins(call.connection, user.user_id, at=call.at)
    _end_issued(call, user, keeps_tokens=keeps_tokens)
    tokens = select(tables_users.account_tokens.c.token_id).where(
        tables_users.account_tokens.c.user_id == user.user_id
    )
    ended = update(tables.tokens).where(
        tables.tokens.c.token_id.in_(tokens), tables.tokens.c.revoked_at.is_(None)
    )
    call.connection.execute(ended.values(revoked_at=call.at))
    sessions = select(tables_users.sessions.c.session_id).where(
        tables_users.sessions.c.user_id == user.user_id
    )
    refresh = tables_users.refresh_tokens
    call.connection.execute(delete(refresh).where(refresh.c.session_id.in_(sessions)))
    for table in (
        tables_users.sessions,
        tables_users.account_tokens,
        tables_users.assignments,
        tables_users.recovery_codes,
        tables_applications.application_owners,
        tables_users.users,
    ):
        call.connection.execute(delete(table).where(table.c.user_id == user.user_id))
    audit.note(call, "user.deleted", target=user.name)


def invite_again(call: Call, name: str) -> Invited:
    """Take a person's password, second factor and sessions away, and invite them anew.

    Raises:
        Conflict: It is a service account, or the tenant's last owner.
        Forbidden: The person may do more than the caller, who could act in their name.
    """
    call.require_at(Permission.MANAGE_USERS)
    user = _find(call, name)
    if user.kind != "person":
        raise Conflict("user", f"{user.name} is a service account; it has tokens, no password")
    roles.require_all_of(call, user)
    roles.keep_an_owner(call, without=user.user_id)
    people.end_sign_ins(call.connection, user.user_id, at=call.at)
    factors.turn_off(call.connection, user.user_id)
    _change(call, user, password=None, failures=0, closed_until=None)
    audit.note(call, "user.reset", target=user.name)
    return _invite(call, user)


def issue_account_token(call: Call, name: str, *, days: int) -> tuple[str, datetime]:
    """Return a new token of a service account, and when it ends; nobody can get it again.

    Raises:
        Conflict: It is a person, who signs in instead, or it is disabled.
        Forbidden: The account may do more than the caller.
        Invalid: The time does not fit.
    """
    call.require_at(Permission.MANAGE_USERS)
    user = _find(call, name)
    if user.kind != "service" or user.is_disabled:
        raise Conflict("user", f"{user.name} is no service account in use; people sign in")
    if not 1 <= days <= MAX_TOKEN_DAYS:
        raise Invalid("expires_in_days", f"use 1 to {MAX_TOKEN_DAYS}")
    roles.require_all_of(call, user)
    lifetime = timedelta(days=days)
    token = issue_token(
        call.connection,
        Role.USER,
        Scope(tenant_id=user.tenant_id),
        at=call.at,
        lifetime=lifetime,
        random=call.services.random,
        user_id=user.user_id,
        issued_by=call.principal,
    )
    audit.note(call, "token.issued", target=f"{user.name} for {days} days")
    return token, call.at + lifetime


def require_totp(call: Call, *, is_required: bool) -> None:
    """Demand a second factor of all people of the tenant, or stop to."""
    call.require_at(Permission.MANAGE_USERS)
    table, tenant_id = tables_users.sign_in_rules, call.principal.tenant_id
    call.connection.execute(delete(table).where(table.c.tenant_id == tenant_id))
    call.connection.execute(insert(table).values(tenant_id=tenant_id, totp_is_required=is_required))
    audit.note(call, "totp.required" if is_required else "totp.optional")


def _end_issued(call: Call, user: User, *, keeps_tokens: bool) -> None:
    """End what a user made for machines and service accounts: they may have kept copies."""
    if keeps_tokens:
        return
    ended = revoke_issued(call.connection, f"{Role.USER}:{user.user_id}", at=call.at)
    if ended:
        audit.note(call, "tokens.revoked", target=f"{ended} that {user.name} had issued")


def _invite(call: Call, user: User) -> Invited:
    secret = base64.b32encode(call.services.random(_INVITATION_BYTES)).decode().lower()
    until = call.at + INVITATION
    digest = hashlib.sha256(secret.encode()).hexdigest()
    _change(call, user, invitation_sha256=digest, invitation_until=until)
    found = _find(call, user.user_id)
    return Invited(user=_listed(call, found), invitation=secret, expires_at=until)


def _find(call: Call, name: str) -> User:
    tenant_id = call.principal.tenant_id
    found = people.find(call.connection, name) or people.find_named(
        call.connection, tenant_id=tenant_id, name=name
    )
    if found is None or found.tenant_id != tenant_id:
        raise ResourceAbsent(f"user {name}")
    return found


def _listed(call: Call, user: User) -> Listed:
    is_invited = user.kind == "person" and user.password is None
    return Listed(
        user_id=user.user_id,
        kind=user.kind,
        name=user.name,
        state="disabled" if user.is_disabled else "invited" if is_invited else "active",
        totp_is_on=user.totp_is_on,
        created_at=user.created_at,
        assignments=people.assigned(call.connection, user.user_id),
    )


def _change(call: Call, user: User, **values: Any) -> None:  # Any: of the columns' types
    wanted = update(tables_users.users).where(tables_users.users.c.user_id == user.user_id)
    call.connection.execute(wanted.values(**values))
