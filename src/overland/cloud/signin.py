"""Signing in from a command: device codes (RFC 8628), sessions and their refresh tokens.

A command shows a code; a person confirms it on the cloud's page, after name and password, when
they have seen what asks and from where.  The command then gets a short access token and a refresh
token.  Each refresh token is good once; a second use means that somebody has a copy, and ends the
session for both.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from overland.cloud import accesstokens, audit, people, proofs, tables
from overland.cloud.accesstokens import AccessClaims, OAuthRefused, TokenAnswer
from overland.cloud.people import new_uuid
from overland.cloud.proofs import Claimed, SignInRefused
from overland.cloud.services import Services
from overland.cloud.tables_users import device_codes, refresh_tokens, sessions

__all__ = [
    "CLIENT_ID",
    "Asked",
    "DeviceAnswer",
    "decide",
    "forget_ended",
    "redeem_device_code",
    "redeem_refresh_token",
    "review",
    "start",
]

CLIENT_ID: Final = "overland-cli"

_CODE_LIFE: Final = timedelta(minutes=10)
_ACCESS_LIFE: Final = timedelta(minutes=15)
_SESSION_LIFE: Final = timedelta(days=30)
_INTERVAL_S: Final = 5  # RFC 8628 §3.2
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words (RFC 8628 §6.1)
_CODE_LETTERS: Final = 8
_MOST_WAITING: Final = 10_000  # of a tenant; one network makes 100 in ten minutes
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAnswer:
    """What a command is told: a secret for itself, and a code for the person."""

    device_code: str
    user_code: str
    expires_in: int
    interval: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person sees before they decide; the ticket is a secret of their browser."""

    ticket: str
    user_name: str
    client_name: str
    client_address: str
    asked_at: datetime


def start(
    services: Services, tenant_id: str, *, client_id: str, client_name: str, address: str
) -> DeviceAnswer:
    """Begin a sign-in.

    Raises:
        OAuthRefused: There is no such tenant or client, or too many wait.
    """
    _check_client(client_id)
    shown = client_name.strip()[:128]
    if not shown.isprintable() or not shown:
        raise OAuthRefused("invalid_request", "client_name: use printable characters")
    device_code = _secret(services)
    letters = services.random(_CODE_LETTERS * 4)
    # 2^32 is no multiple of 20; the letters' chances differ by less than a billionth.
    numbers = [int.from_bytes(letters[at : at + 4]) for at in range(0, len(letters), 4)]
    user_code = "".join(_LETTERS[number % len(_LETTERS)] for number in numbers)
    with services.database.begin() as connection:
        at = services.clock.now()
        connection.execute(delete(device_codes).where(device_codes.c.expires_at <= at))
        known = select(tables.tenants.c.tenant_id).where(tables.tenants.c.tenant_id == tenant_id)
        waiting = select(func.count()).where(device_codes.c.tenant_id == tenant_id)
        if connection.execute(known).scalar_one_or_none() is None:
            raise OAuthRefused("invalid_request", f"there is no tenant {tenant_id}")
        if connection.execute(waiting).scalar_one() >= _MOST_WAITING:
            raise OAuthRefused("temporarily_unavailable", "too many sign-ins wait", 429)
        values = {
            "device_sha256": _digest(device_code),
            "user_code": user_code,
            "tenant_id": tenant_id,
            "client_name": shown,
            "client_address": address[:64],
            "state": "waiting",
            "interval_s": _INTERVAL_S,
            "created_at": at,
            "expires_at": at + _CODE_LIFE,
        }
        connection.execute(insert(device_codes).values(**values))
    return DeviceAnswer(
        device_code=device_code,
        user_code=f"{user_code[:4]}-{user_code[4:]}",
        expires_in=int(_CODE_LIFE.total_seconds()),
        interval=_INTERVAL_S,
    )


def review(
    services: Services, user_code: str, *, name: str, password: str, totp: str, address: str
) -> Asked:
    """Return what the code's owner asks, to the person who proved who they are.

    Raises:
        SignInRefused: Code, name, password or second factor are wrong, which of them is not said.
    """
    code = "".join(user_code.split()).replace("-", "").upper()
    with services.database.begin() as connection:
        row = _waiting(connection, device_codes.c.user_code == code, services.clock.now())
    claimed = Claimed(
        tenant_id=None if row is None else row["tenant_id"],
        name=name,
        password=password,
        one_time_code=totp,
        address=address,
    )
    user = proofs.prove(services, claimed)
    assert row is not None, "without a tenant nobody is proven"
    ticket = _secret(services)
    with services.database.begin() as connection:
        # Decided meanwhile, it would become this person's without their consent.
        mine = device_codes.c.device_sha256 == row["device_sha256"]
        if _waiting(connection, mine, services.clock.now()) is None:
            raise SignInRefused
        _change_code(connection, row, user_id=user.user_id, consent_sha256=_digest(ticket))
    return Asked(
        ticket=ticket,
        user_name=user.name,
        client_name=row["client_name"],
        client_address=row["client_address"],
        asked_at=row["created_at"],
    )


def decide(services: Services, ticket: str, *, is_approved: bool, address: str) -> None:
    """Let the command in, or not; a ticket is good once.

    Raises:
        SignInRefused: The ticket is unknown, used, or too old.
    """
    with services.database.begin() as connection:
        at = services.clock.now()
        row = _waiting(connection, device_codes.c.consent_sha256 == _digest(ticket), at)
        if row is None:
            raise SignInRefused
        state = "approved" if is_approved else "denied"
        _change_code(connection, row, state=state, consent_sha256=None)
        _note(connection, row, at=at, event=f"device.{state}", address=address)


def redeem_device_code(services: Services, tenant_id: str, form: Mapping[str, str]) -> TokenAnswer:
    """Return the tokens of a sign-in that a person approved, once.

    Raises:
        OAuthRefused: `authorization_pending`, `slow_down`, `access_denied`, `expired_token`,
            `invalid_grant` or `invalid_client`, as in RFC 8628 §3.5.
    """
    _check_client(form.get("client_id", ""))
    with services.database.begin() as connection:
        at = services.clock.now()
        digest = _digest(form.get("device_code", ""))
        wanted = select(device_codes).where(device_codes.c.device_sha256 == digest)
        row = connection.execute(wanted).mappings().one_or_none()
        refused = _poll(connection, row, tenant_id, at)
        if row is not None and refused is None:
            connection.execute(delete(device_codes).where(device_codes.c.device_sha256 == digest))
            return _open_session(services, connection, row, at)
    assert refused is not None, "an answer or a refusal"
    raise refused


def redeem_refresh_token(
    services: Services, tenant_id: str, form: Mapping[str, str]
) -> TokenAnswer:
    """Return new tokens for a refresh token, which is good once.

    A used one that comes again ends its session, for the thief as for the owner (RFC 9700 §4.14).

    Raises:
        OAuthRefused: `invalid_grant`: it is unknown or used, or its session or person is ended.
    """
    _check_client(form.get("client_id", ""))
    digest = _digest(form.get("refresh_token", ""))
    with services.database.begin() as connection:
        at = services.clock.now()
        wanted = (
            select(refresh_tokens.c.used_at.label("token_used_at"), sessions)
            .join(sessions, sessions.c.session_id == refresh_tokens.c.session_id)
            .where(refresh_tokens.c.token_sha256 == digest, sessions.c.tenant_id == tenant_id)
        )
        row = connection.execute(wanted).mappings().one_or_none()
        is_open = row is not None and row["ended_at"] is None and at < row["expires_at"]
        user = people.find(connection, row["user_id"]) if row is not None else None
        if row is not None and is_open and row["token_used_at"] is not None:
            change = {"ended_at": at}
            _change_session(connection, row["session_id"], change)
            _note(connection, row, at=at, event="session.ended-by-reuse", address="")
        elif row is not None and is_open and user is not None and not user.is_disabled:
            spent = update(refresh_tokens).where(refresh_tokens.c.token_sha256 == digest)
            connection.execute(spent.values(used_at=at))
            _change_session(connection, row["session_id"], {"used_at": at})
            return _tokens(services, connection, row, at)
    raise OAuthRefused("invalid_grant", "the session has ended; sign in again")


def forget_ended(services: Services) -> None:
    """Forget sessions that ended or are over, with their refresh tokens, and old device codes."""
    with services.database.begin() as connection:
        at = services.clock.now()
        is_over = or_(sessions.c.ended_at.is_not(None), sessions.c.expires_at <= at)
        over = select(sessions.c.session_id).where(is_over)
        connection.execute(delete(refresh_tokens).where(refresh_tokens.c.session_id.in_(over)))
        connection.execute(delete(sessions).where(is_over))
        connection.execute(delete(device_codes).where(device_codes.c.expires_at <= at))


def _poll(
    connection: Connection, row: RowMapping | None, tenant_id: str, at: datetime
) -> OAuthRefused | None:
    """Return why there are no tokens yet; the refusal is raised after what it noted is stored."""
    if row is None or row["tenant_id"] != tenant_id:
        return OAuthRefused("invalid_grant", "the device code is unknown, or was used")
    if at >= row["expires_at"]:
        return OAuthRefused("expired_token", "nobody confirmed the code in time; begin again")
    if row["state"] == "denied":
        return OAuthRefused("access_denied", "the sign-in was refused on the page")
    user = None if row["user_id"] is None else people.find(connection, row["user_id"])
    if row["state"] == "approved":
        is_good = user is not None and not user.is_disabled
        return None if is_good else OAuthRefused("access_denied", "the account is disabled")
    interval = timedelta(seconds=row["interval_s"])
    is_hasty = row["polled_at"] is not None and at < row["polled_at"] + interval
    slower = row["interval_s"] + _INTERVAL_S if is_hasty else row["interval_s"]
    _change_code(connection, row, polled_at=at, interval_s=slower)
    if is_hasty:
        return OAuthRefused("slow_down", f"ask every {slower} seconds")
    return OAuthRefused("authorization_pending", "nobody has confirmed the code yet")


def _open_session(
    services: Services, connection: Connection, code: RowMapping, at: datetime
) -> TokenAnswer:
    values = {
        "session_id": new_uuid(services.random),
        "tenant_id": code["tenant_id"],
        "user_id": code["user_id"],
        "client_name": code["client_name"],
        "client_address": code["client_address"],
        "created_at": at,
        "used_at": at,
        "expires_at": at + _SESSION_LIFE,
    }
    connection.execute(insert(sessions).values(**values))
    _note(connection, values, at=at, event="session.began", address=code["client_address"])
    return _tokens(services, connection, values, at)


def _tokens(
    services: Services, connection: Connection, session: Mapping[Any, Any], at: datetime
) -> TokenAnswer:  # Any: columns of a row, or of one to be
    refresh_token = _secret(services)
    fresh = {"token_sha256": _digest(refresh_token), "session_id": session["session_id"]}
    connection.execute(insert(refresh_tokens).values(**fresh))
    claims = AccessClaims(
        token_id=session["session_id"],  # so that what it opens ends with the session
        subject_id=session["user_id"],
        subject_kind="user",
        tenant_id=session["tenant_id"],
        client_id=CLIENT_ID,
        scopes=(),
        expires_at=min(at + _ACCESS_LIFE, session["expires_at"]),
    )
    access_token = accesstokens.issue(
        connection,
        claims,
        at=at,
        issuer_url=services.endpoints.url,
        random=services.random,
        table_key=services.table_key,
    )
    return TokenAnswer(
        access_token=access_token,
        expires_in=int((claims.expires_at - at).total_seconds()),
        refresh_token=refresh_token,
        scope="",
    )


def _waiting(connection: Connection, where: ColumnElement[bool], at: datetime) -> RowMapping | None:
    wanted = select(device_codes).where(
        where, device_codes.c.state == "waiting", device_codes.c.expires_at > at
    )
    return connection.execute(wanted).mappings().one_or_none()


def _check_client(client_id: str) -> None:
    if client_id != CLIENT_ID:
        raise OAuthRefused("invalid_client", f"use the client_id {CLIENT_ID}", 401)


def _change_code(connection: Connection, row: RowMapping, **values: Any) -> None:  # Any: columns
    code = device_codes.c.device_sha256 == row["device_sha256"]
    connection.execute(update(device_codes).where(code).values(**values))


def _change_session(connection: Connection, session_id: str, values: Mapping[str, Any]) -> None:
    # Any: of the columns
    session = sessions.c.session_id == session_id
    connection.execute(update(sessions).where(session).values(**values))


def _note(
    connection: Connection, row: Mapping[Any, Any], *, at: datetime, event: str, address: str
) -> None:  # Any: columns of a row, or of one to be
    audit.add(
        connection,
        tenant_id=row["tenant_id"],
        at=at,
        actor=f"user:{row['user_id']}",
        address=address,
        event=event,
        target=f"{row['client_name']} at {row['client_address']}",
    )


def _secret(services: Services) -> str:
    return base64.urlsafe_b64encode(services.random(_SECRET_BYTES)).decode().rstrip("=")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
