"""People and service accounts as they are stored, and the principals that they become."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, delete, select, update

from overland.cloud.permissions import (
    Assignment,
    AssignmentScope,
    BuiltInRole,
    Principal,
    Role,
    Scope,
)
from overland.cloud.tables_users import (
    assignments,
    device_codes,
    sessions,
    sign_in_rules,
    users,
)

__all__ = [
    "Random",
    "User",
    "assigned",
    "end_sign_ins",
    "find",
    "find_named",
    "new_uuid",
    "principal",
    "totp_is_required",
]

Random = Callable[[int], bytes]
"""Returns so many bytes from a source that nobody can predict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person, or a service account.  Holds the password's hash and the sealed TOTP secret."""

    user_id: str
    tenant_id: str
    kind: str
    name: str
    password: str | None
    invitation_sha256: str | None
    invitation_until: datetime | None
    totp_secret: str | None
    totp_is_on: bool
    totp_step: int | None
    failures: int
    closed_until: datetime | None
    created_at: datetime
    disabled_at: datetime | None

    @property
    def is_disabled(self) -> bool:
        """Whether nothing is allowed to them now."""
        return self.disabled_at is not None


def new_uuid(random: Random) -> str:
    """Return a random UUID in canonical form."""
    return str(UUID(bytes=random(16), version=4))


def find(connection: Connection, user_id: str) -> User | None:
    """Return a user of whatever tenant; callers check that."""
    return _one(connection, users.c.user_id == user_id)


def find_named(connection: Connection, *, tenant_id: str, name: str) -> User | None:
    """Return the user of a tenant with this name; case does not count."""
    return _one(connection, users.c.tenant_id == tenant_id, users.c.name_key == name.casefold())


def assigned(connection: Connection, user_id: str) -> tuple[Assignment, ...]:
    """Return the roles of a user."""
    wanted = select(assignments).where(assignments.c.user_id == user_id)
    rows = connection.execute(wanted.order_by(assignments.c.assignment_id)).mappings()
    return tuple(
        Assignment(
            role=BuiltInRole(row["role"]),
            scope=AssignmentScope(
                tenant_id=row["tenant_id"],
                subscription_id=row["subscription_id"],
                resource_group=row["resource_group"],
            ),
        )
        for row in rows
    )


def end_sign_ins(connection: Connection, user_id: str, *, at: datetime) -> None:
    """End a person's sessions, and the sign-ins that they confirmed or began to, now.

    A confirmed code that no command has fetched yet would be a session a moment later.
    """
    open_ones = update(sessions).where(sessions.c.user_id == user_id, sessions.c.ended_at.is_(None))
    connection.execute(open_ones.values(ended_at=at))
    connection.execute(delete(device_codes).where(device_codes.c.user_id == user_id))


def totp_is_required(connection: Connection, tenant_id: str) -> bool:
    """Return whether the tenant demands a second factor of its people."""
    columns = sign_in_rules.c
    wanted = select(columns.totp_is_required).where(columns.tenant_id == tenant_id)
    return bool(connection.execute(wanted).scalar_one_or_none())


def principal(connection: Connection, user: User, *, token_id: str) -> Principal:
    """Return a user as a principal.

    A person without a second factor, in a tenant that demands one, may only set it up.
    """
    assert not user.is_disabled, "callers refuse those"
    unusable = None
    held = assigned(connection, user.user_id)
    lacks_factor = user.kind == "person" and not user.totp_is_on
    if lacks_factor and totp_is_required(connection, user.tenant_id):
        unusable, held = (
            "your tenant demands a second factor; run `overland cloud totp enable` first",
            (),
        )
    return Principal(
        token_id=token_id,
        role=Role.USER,
        scope=Scope(tenant_id=user.tenant_id),
        subject_id=user.user_id,
        assignments=held,
        unusable=unusable,
    )


def _one(connection: Connection, *where: object) -> User | None:
    wanted = select(*(users.c[name] for name in User.__dataclass_fields__)).where(*where)  # type: ignore[arg-type]  # conditions of the columns above
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else User(**row)
