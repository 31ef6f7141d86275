"""What people see and change of themselves: roles, second factor, sessions."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update

from overland.cloud import audit, factors, people, tables_users
from overland.cloud.identity import Permission, Principal, Role
from overland.cloud.people import User
from overland.cloud.permissions import Assignment
from overland.cloud.proofs import Claimed, SignInRefused, prove
from overland.cloud.refusals import Conflict, Forbidden, ResourceAbsent
from overland.cloud.services import Call, Services

__all__ = [
    "Me",
    "NewFactor",
    "Session",
    "begin_totp",
    "confirm_totp",
    "end_session",
    "me",
    "sessions",
    "stop_totp",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """Who is asking."""

    tenant_id: str
    user_id: str
    session_id: str | None
    name: str
    kind: str
    totp_is_on: bool
    totp_is_required: bool
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFactor:
    """A secret for an authenticator app, shown once."""

    secret: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A command somewhere that is signed in."""

    session_id: str
    user_id: str
    user_name: str
    client_name: str
    client_address: str
    created_at: datetime
    used_at: datetime
    expires_at: datetime


def me(call: Call) -> Me:
    """Return who is asking, with all roles, also those that do not count now.

    Raises:
        Forbidden: The token is a machine's, which is nobody here.
    """
    user = _self(call)
    return Me(
        tenant_id=user.tenant_id,
        user_id=user.user_id,
        session_id=call.principal.token_id if user.kind == "person" else None,
        name=user.name,
        kind=user.kind,
        totp_is_on=user.totp_is_on,
        totp_is_required=people.totp_is_required(call.connection, user.tenant_id),
        assignments=people.assigned(call.connection, user.user_id),
    )


def begin_totp(call: Call) -> NewFactor:
    """Make a secret, which counts from its confirmation on.

    Raises:
        Conflict: There is a second factor already, whose secret is never shown again; or the caller
            is a service account.
    """
    user = _person(call)
    if user.totp_is_on:
        raise Conflict("totp", "a second factor is on; turn it off first")
    secret = factors.new_secret(call.services.random)
    factors.begin(call.services, call.connection, user.user_id, secret)
    return NewFactor(secret=secret, address=factors.address(secret, name=user.name))


def confirm_totp(call: Call, code: str) -> list[str]:
    """Turn the second factor on, by a code that shows that the app has it; return recovery codes.

    Raises:
        Conflict: None was begun, or it is on already; or the caller is a service account.
        SignInRefused: The code is wrong.
    """
    user = _person(call)
    if user.totp_is_on or user.totp_secret is None:
        raise Conflict("totp", "begin a second factor first")
    if not factors.spend(call.services, call.connection, user, code, at=call.at):
        raise SignInRefused
    _change(call, user, totp_is_on=True)
    audit.note(call, "totp.enabled", target=user.name)
    return factors.new_recovery_codes(call.connection, user, random=call.services.random)


def stop_totp(
    services: Services, principal: Principal, *, password: str, code: str, address: str
) -> None:
    """Turn the second factor off, by the password and a code of it or a recovery code.

    Raises:
        Conflict: There is none; or the caller is a service account.
        SignInRefused: The password or the code is wrong; this counts as a failed sign-in.
    """
    with services.call(principal) as call:
        user = _person(call)
    if not user.totp_is_on:
        raise Conflict("totp", "there is no second factor")
    claimed = Claimed(
        tenant_id=user.tenant_id,
        name=user.name,
        password=password,
        one_time_code=code,
        address=address,
    )
    prove(services, claimed)
    with services.call(principal, address=address) as call:
        factors.turn_off(call.connection, user.user_id)
        audit.note(call, "totp.disabled", target=user.name)


def sessions(call: Call) -> list[Session]:
    """Return the open sessions: one's own, or the whole tenant's to who manages its users."""
    call.require(Permission.MANAGE_SELF)
    table, users = tables_users.sessions, tables_users.users
    columns = [table.c[name] for name in Session.__dataclass_fields__ if name != "user_name"]
    wanted = (
        select(*columns, users.c.name.label("user_name"))
        .join(users, users.c.user_id == table.c.user_id)
        .where(
            table.c.tenant_id == call.principal.tenant_id,
            table.c.ended_at.is_(None),
            table.c.expires_at > call.at,
        )
    )
    if not call.principal.may(Permission.MANAGE_USERS):
        wanted = wanted.where(table.c.user_id == call.principal.subject_id)
    rows = call.connection.execute(wanted.order_by(table.c.created_at)).mappings()
    return [Session(**row) for row in rows]


def end_session(call: Call, session_id: str) -> None:
    """End a session at once; its tokens open nothing any more.

    Raises:
        ResourceAbsent: There is no such open session that the caller may know of.
    """
    found = [each for each in sessions(call) if each.session_id == session_id]
    if not found:
        raise ResourceAbsent(f"session {session_id}")
    columns = tables_users.sessions.c
    wanted = update(tables_users.sessions).where(columns.session_id == session_id)
    call.connection.execute(wanted.values(ended_at=call.at))
    refresh = tables_users.refresh_tokens
    call.connection.execute(delete(refresh).where(refresh.c.session_id == session_id))
    audit.note(call, "session.ended", target=f"{found[0].user_name}, {found[0].client_name}")


def _self(call: Call) -> User:
    call.require(Permission.MANAGE_SELF)
    own = call.principal.subject_id
    user = people.find(call.connection, own) if own and call.principal.role is Role.USER else None
    if user is None:
        raise Forbidden("only people and service accounts have something of their own here")
    return user


def _person(call: Call) -> User:
    user = _self(call)
    if user.kind != "person":
        raise Conflict("user", "a service account has tokens, and no second factor")
    return user


def _change(call: Call, user: User, **values: object) -> None:
    users = tables_users.users
    wanted = update(users).where(users.c.user_id == user.user_id).values(values)
    call.connection.execute(wanted)
