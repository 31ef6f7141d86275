"""The API tokens that stand for machines, people and service accounts.

A token is `ov1_<id>_<secret>`.  The id finds the row, the secret is compared with its SHA-256 in
constant time; the secret itself is stored nowhere.  A role has the fewest permissions that its
machine needs (`overland.cloud.permissions`), and a token narrows them to one tenant,
subscription, job, vault or computer; a service account's token has what the account is assigned.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, RowMapping, insert, select, update

from overland.cloud import people, tables, tables_users
from overland.cloud.people import Random, new_uuid
from overland.cloud.permissions import GRANTED, Permission, Principal, Role, Scope
from overland.cloud.refusals import ResourceAbsent, TokenInvalid

__all__ = [
    "GRANTED",
    "MAX_TOKEN_DAYS",
    "Permission",
    "Principal",
    "Random",
    "Role",
    "Scope",
    "TokenRecord",
    "authenticate",
    "issue_token",
    "list_tokens",
    "new_uuid",
    "revoke_computer_tokens",
    "revoke_issued",
    "revoke_token",
]

MAX_TOKEN_DAYS: Final = 366

_MARK: Final = "ov1"
_SECRET_BYTES: Final = 32
_MAX_TOKEN_CHARS: Final = 128
_SCOPED: Final = tuple(name for name in Scope.__dataclass_fields__ if name != "seed_ids")
"""What is stored with a token; only those of applications, which are not, are for some seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """What is known of a token: everything but its secret.

    `issued_by` is the name of the principal who made it; None for those of earlier versions.
    """

    token_id: str
    role: Role
    scope: Scope
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    issued_by: str | None


def issue_token(
    connection: Connection,
    role: Role,
    scope: Scope,
    *,
    at: datetime,
    lifetime: timedelta,
    random: Random,
    user_id: str | None = None,
    issued_by: Principal | None = None,
) -> str:
    """Store a new token and return its text, which nobody can get a second time.

    `user_id` is the service account that the token stands for, with the role `user`;
    `issued_by` who asked for it.
    """
    assert not scope.seed_ids, "only access tokens are narrowed to seeds"
    assert (role is Role.USER) == (user_id is not None), "a user's token names the user"
    assert timedelta() < lifetime <= timedelta(days=MAX_TOKEN_DAYS * 10), "tokens end"
    token_id = new_uuid(random)
    secret = base64.b32encode(random(_SECRET_BYTES)).decode().rstrip("=").lower()
    values = {
        "token_id": token_id,
        "secret_sha256": _digest(secret),
        "role": role,
        "created_at": at,
        "expires_at": at + lifetime,
        "issued_by": None if issued_by is None else issued_by.name,
        **{name: getattr(scope, name) for name in _SCOPED},
    }
    connection.execute(insert(tables.tokens).values(**values))
    if user_id is not None:
        bound = insert(tables_users.account_tokens)
        connection.execute(bound.values(token_id=token_id, user_id=user_id))
    return f"{_MARK}_{token_id}_{secret}"


def authenticate(connection: Connection, token: str, *, at: datetime) -> Principal:
    """Return whom `token` stands for.

    Raises:
        TokenInvalid: The token is malformed, unknown, revoked or expired.
    """
    token_id, secret = _split(token)
    wanted = select(tables.tokens).where(tables.tokens.c.token_id == token_id)
    row = connection.execute(wanted).mappings().one_or_none()
    stored = row["secret_sha256"] if row is not None else "0" * 64
    matches = hmac.compare_digest(stored, _digest(secret))
    if row is None or not matches or row["revoked_at"] is not None:
        raise TokenInvalid("the token is not known")
    if at >= row["expires_at"]:
        raise TokenInvalid(f"the token expired at {row['expires_at'].isoformat()}")
    if row["role"] == Role.USER:
        return _account(connection, token_id)
    return Principal(token_id=token_id, role=Role(row["role"]), scope=_scope(row))


def list_tokens(connection: Connection, *, tenant_id: str | None) -> list[TokenRecord]:
    """Return the tokens of a tenant, or those of no tenant, oldest first."""
    wanted = select(tables.tokens).where(tables.tokens.c.tenant_id.is_not_distinct_from(tenant_id))
    rows = connection.execute(wanted.order_by(tables.tokens.c.created_at)).mappings()
    return [
        TokenRecord(
            token_id=row["token_id"],
            role=Role(row["role"]),
            scope=_scope(row),
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            revoked_at=row["revoked_at"],
            issued_by=row["issued_by"],
        )
        for row in rows
    ]


def revoke_token(
    connection: Connection, token_id: str, *, tenant_id: str | None, at: datetime
) -> None:
    """End a token now; again does nothing.  The tokens of other tenants do not exist here.

    Raises:
        ResourceAbsent: There is no such token.
    """
    if token_id not in {each.token_id for each in list_tokens(connection, tenant_id=tenant_id)}:
        raise ResourceAbsent(f"token {token_id}")
    tokens = tables.tokens.c
    wanted = update(tables.tokens).where(tokens.token_id == token_id, tokens.revoked_at.is_(None))
    connection.execute(wanted.values(revoked_at=at))


def revoke_computer_tokens(
    connection: Connection, source_computer_id: str, *, at: datetime
) -> None:
    """End all tokens of a source computer, which is about to get a new one."""
    tokens = tables.tokens.c
    wanted = update(tables.tokens).where(
        tokens.source_computer_id == source_computer_id, tokens.revoked_at.is_(None)
    )
    connection.execute(wanted.values(revoked_at=at))


def revoke_issued(connection: Connection, issuer: str, *, at: datetime) -> int:
    """End the tokens that a principal of this name made, and return how many.

    Those that administrators' tokens among them made end too.  Tokens of source computers that
    registered with credentials of the principal stay: they are the computers' own.
    """
    tokens, issuers, ended = tables.tokens.c, [issuer], 0
    while issuers:
        wanted = select(tokens.token_id, tokens.role).where(
            tokens.issued_by == issuers.pop(), tokens.revoked_at.is_(None)
        )
        for token_id, role in connection.execute(wanted).all():
            change = update(tables.tokens).where(tokens.token_id == token_id)
            connection.execute(change.values(revoked_at=at))
            ended += 1
            if role == Role.ADMIN:
                issuers.append(f"{Role.ADMIN}:{token_id}")
    return ended


def _account(connection: Connection, token_id: str) -> Principal:
    """Return the service account whose token this is."""
    columns = tables_users.account_tokens.c
    wanted = select(columns.user_id).where(columns.token_id == token_id)
    user_id = connection.execute(wanted).scalar_one_or_none()
    found = None if user_id is None else people.find(connection, user_id)
    if found is None or found.is_disabled or found.kind != "service":
        raise TokenInvalid("the token is not known")
    return people.principal(connection, found, token_id=token_id)


def _split(token: str) -> tuple[str, str]:
    mark, _, rest = token.partition("_")
    token_id, _, secret = rest.partition("_")
    if len(token) > _MAX_TOKEN_CHARS or mark != _MARK or not token_id or not secret:
        raise TokenInvalid("the token does not have the form of an Overland token")
    return token_id, secret


def _scope(row: RowMapping) -> Scope:
    return Scope(**{name: row[name] for name in _SCOPED})


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
