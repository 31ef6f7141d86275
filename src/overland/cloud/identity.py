"""Who may do what: roles, permissions, and the API tokens that stand for them.

A token is `ov1_<id>_<secret>`.  The id finds the row, the secret is compared with its SHA-256 in
constant time; the secret itself is stored nowhere.  A role has the fewest permissions that its
machine needs, and a token narrows them to one tenant, subscription, job, vault or computer.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, RowMapping, insert, select, update

from overland.cloud import tables
from overland.cloud.refusals import Forbidden, ResourceAbsent, TokenInvalid

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
    "revoke_token",
]

MAX_TOKEN_DAYS: Final = 366

_MARK: Final = "ov1"
_SECRET_BYTES: Final = 32
_MAX_TOKEN_CHARS: Final = 128

Random = Callable[[int], bytes]
"""Returns so many bytes from a source that nobody can predict."""


class Role(StrEnum):
    """What a token is for; one per kind of machine."""

    ROOT = "root"
    ADMIN = "admin"
    AGENT = "agent"
    DISKPREP = "diskprep"
    STATION = "station"
    REGISTRATION = "registration"


class Permission(StrEnum):
    """What a route needs."""

    CREATE_TENANTS = "tenants/create"
    MANAGE_TOKENS = "tokens/manage"
    WRITE_SUBSCRIPTIONS = "subscriptions/write"
    READ_SUBSCRIPTIONS = "subscriptions/read"
    WRITE_RESOURCES = "resources/write"
    READ_RESOURCES = "resources/read"
    WRITE_VAULTS = "vaults/write"
    READ_VAULTS = "vaults/read"
    ISSUE_CREDENTIALS = "vaults/credentials"
    ISSUE_PUBLISH_SETTINGS = "subscriptions/publish-settings"
    REGISTER_COMPUTERS = "computers/register"
    READ_COMPUTERS = "computers/read"
    WRITE_SEEDS = "seeds/write"
    EDIT_SEEDS = "seeds/edit"
    READ_SEEDS = "seeds/read"
    WRITE_JOBS = "jobs/write"
    READ_JOBS = "jobs/read"
    READ_KEYS = "jobs/listBitLockerKeys"
    READ_LOCATIONS = "locations/read"
    GET_GRANTS = "grants/create"
    WRITE_POINTS = "points/write"
    READ_POINTS = "points/read"
    DELETE_POINTS = "points/delete"
    RECLAIM = "vaults/reclaim"
    WORK_AT_STATION = "station/work"
    READ_CUSTODY = "custody/read"


_P = Permission
GRANTED: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.ROOT: frozenset({_P.CREATE_TENANTS, _P.MANAGE_TOKENS, _P.READ_LOCATIONS, _P.RECLAIM}),
    Role.ADMIN: frozenset(
        {
            _P.MANAGE_TOKENS,
            _P.WRITE_SUBSCRIPTIONS,
            _P.READ_SUBSCRIPTIONS,
            _P.WRITE_RESOURCES,
            _P.READ_RESOURCES,
            _P.WRITE_VAULTS,
            _P.READ_VAULTS,
            _P.ISSUE_CREDENTIALS,
            _P.ISSUE_PUBLISH_SETTINGS,
            _P.READ_COMPUTERS,
            _P.EDIT_SEEDS,
            _P.READ_SEEDS,
            _P.WRITE_JOBS,
            _P.READ_JOBS,
            _P.READ_KEYS,
            _P.READ_LOCATIONS,
            _P.READ_POINTS,
            _P.DELETE_POINTS,
            _P.RECLAIM,
            _P.READ_CUSTODY,
        }
    ),
    Role.AGENT: frozenset(
        {
            _P.READ_COMPUTERS,
            _P.WRITE_SEEDS,
            _P.EDIT_SEEDS,
            _P.READ_SEEDS,
            _P.READ_LOCATIONS,
            _P.GET_GRANTS,
            _P.WRITE_POINTS,
            _P.READ_POINTS,
            _P.DELETE_POINTS,
        }
    ),
    Role.DISKPREP: frozenset(
        {
            _P.READ_SUBSCRIPTIONS,
            _P.READ_RESOURCES,
            _P.READ_SEEDS,
            _P.WRITE_JOBS,
            _P.READ_JOBS,
            _P.READ_LOCATIONS,
            _P.READ_CUSTODY,
        }
    ),
    Role.STATION: frozenset(
        {_P.WORK_AT_STATION, _P.GET_GRANTS, _P.READ_LOCATIONS, _P.READ_CUSTODY}
    ),
    Role.REGISTRATION: frozenset({_P.REGISTER_COMPUTERS}),
}
"""The permissions of each role; what is not here is forbidden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a token is narrowed to; None does not narrow."""

    tenant_id: str | None = None
    subscription_id: str | None = None
    job_name: str | None = None
    vault_id: str | None = None
    source_computer_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking: a valid token, without its secret."""

    token_id: str
    role: Role
    scope: Scope

    @property
    def name(self) -> str:
        """How logs and the custody log call them."""
        return f"{self.role}:{self.token_id}"

    @property
    def tenant_id(self) -> str:
        """The tenant that they belong to.

        Raises:
            Forbidden: They act for the whole cloud, not for a tenant.
        """
        if self.scope.tenant_id is None:
            raise Forbidden(
                f"tokens of the role {self.role} belong to no tenant; use one of the tenant's"
            )
        return self.scope.tenant_id

    def require(self, permission: Permission) -> None:
        """Return if the role has this permission.

        Raises:
            Forbidden: It has not.
        """
        if permission not in GRANTED[self.role]:
            raise Forbidden(f"tokens of the role {self.role} do not allow {permission}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """What is known of a token: everything but its secret."""

    token_id: str
    role: Role
    scope: Scope
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


def new_uuid(random: Random) -> str:
    """Return a random UUID in canonical form."""
    return str(UUID(bytes=random(16), version=4))


def issue_token(
    connection: Connection,
    role: Role,
    scope: Scope,
    *,
    at: datetime,
    lifetime: timedelta,
    random: Random,
) -> str:
    """Store a new token and return its text, which nobody can get a second time."""
    assert timedelta() < lifetime <= timedelta(days=MAX_TOKEN_DAYS * 10), "tokens end"
    token_id = new_uuid(random)
    secret = base64.b32encode(random(_SECRET_BYTES)).decode().rstrip("=").lower()
    values = {
        "token_id": token_id,
        "secret_sha256": _digest(secret),
        "role": role,
        "created_at": at,
        "expires_at": at + lifetime,
        **{name: getattr(scope, name) for name in Scope.__dataclass_fields__},
    }
    connection.execute(insert(tables.tokens).values(**values))
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


def _split(token: str) -> tuple[str, str]:
    mark, _, rest = token.partition("_")
    token_id, _, secret = rest.partition("_")
    if len(token) > _MAX_TOKEN_CHARS or mark != _MARK or not token_id or not secret:
        raise TokenInvalid("the token does not have the form of an Overland token")
    return token_id, secret


def _scope(row: RowMapping) -> Scope:
    return Scope(**{name: row[name] for name in Scope.__dataclass_fields__})


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
