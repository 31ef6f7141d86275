"""Who may do what: permissions, the roles that hold them, and the scopes that narrow them.

There are two kinds of roles.  A token's `Role` says for which kind of machine it is; the role
`user` has no permissions of its own.  A person or a service account gets `BuiltInRole`s by
assignments, each at a tenant, a subscription or a resource group, and holds below it too.
What no table here grants is forbidden (`docs/reference/roles.md` is made from them).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from overland.cloud.refusals import Forbidden

__all__ = [
    "GRANTED",
    "HELD",
    "Assignment",
    "AssignmentScope",
    "BuiltInRole",
    "Permission",
    "Principal",
    "Role",
    "Scope",
]


class Role(StrEnum):
    """What a token is for; one per kind of machine, and one for people."""

    ROOT = "root"
    ADMIN = "admin"
    AGENT = "agent"
    DISKPREP = "diskprep"
    STATION = "station"
    REGISTRATION = "registration"
    USER = "user"
    APPLICATION = "application"


class BuiltInRole(StrEnum):
    """What people and service accounts are assigned."""

    OWNER = "owner"
    CONTRIBUTOR = "contributor"
    READER = "reader"
    BACKUP_OPERATOR = "backup-operator"
    STATION_OPERATOR = "station-operator"


class Permission(StrEnum):
    """What a route needs."""

    CREATE_TENANTS = "tenants/create"
    MANAGE_TOKENS = "tokens/manage"
    MANAGE_USERS = "users/manage"
    READ_USERS = "users/read"
    ASSIGN_ROLES = "roles/assign"
    READ_AUDIT = "audit/read"
    MANAGE_SELF = "me/manage"
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
    ADOPT_SEEDS = "seeds/adopt"
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
    MANAGE_APPLICATIONS = "applications/manage"
    CLAIM_CERTIFICATES = "applications/claim"
    ROTATE_KEYS = "signing-keys/rotate"


_P = Permission
_READING: Final = frozenset(
    {
        _P.READ_SUBSCRIPTIONS,
        _P.READ_RESOURCES,
        _P.READ_VAULTS,
        _P.READ_COMPUTERS,
        _P.READ_SEEDS,
        _P.READ_JOBS,
        _P.READ_LOCATIONS,
        _P.READ_POINTS,
        _P.READ_CUSTODY,
    }
)
_OPERATING: Final = _READING | {
    _P.ISSUE_CREDENTIALS,
    _P.ISSUE_PUBLISH_SETTINGS,
    _P.EDIT_SEEDS,
    _P.ADOPT_SEEDS,
    _P.WRITE_JOBS,
    _P.READ_KEYS,
}
_CONTRIBUTING: Final = _OPERATING | {
    _P.WRITE_SUBSCRIPTIONS,
    _P.WRITE_RESOURCES,
    _P.WRITE_VAULTS,
    _P.DELETE_POINTS,
    _P.RECLAIM,
}
_GOVERNING: Final = frozenset(
    {
        _P.MANAGE_TOKENS,
        _P.MANAGE_USERS,
        _P.MANAGE_APPLICATIONS,
        _P.READ_USERS,
        _P.ASSIGN_ROLES,
        _P.READ_AUDIT,
    }
)

HELD: Final[Mapping[BuiltInRole, frozenset[Permission]]] = {
    BuiltInRole.OWNER: _CONTRIBUTING | _GOVERNING,
    BuiltInRole.CONTRIBUTOR: _CONTRIBUTING,
    BuiltInRole.READER: _READING,
    BuiltInRole.BACKUP_OPERATOR: _OPERATING,
    BuiltInRole.STATION_OPERATOR: frozenset(
        {
            _P.READ_SUBSCRIPTIONS,
            _P.READ_RESOURCES,
            _P.READ_LOCATIONS,
            _P.READ_CUSTODY,
            _P.WORK_AT_STATION,
            _P.GET_GRANTS,
        }
    ),
}
"""The permissions of each built-in role, within the scope of its assignment."""

GRANTED: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.ROOT: frozenset(
        {
            _P.CREATE_TENANTS,
            _P.MANAGE_TOKENS,
            _P.ASSIGN_ROLES,
            _P.READ_LOCATIONS,
            _P.RECLAIM,
            _P.ROTATE_KEYS,
        }
    ),
    Role.ADMIN: _CONTRIBUTING | _GOVERNING | {_P.MANAGE_SELF},
    Role.AGENT: frozenset(
        {
            _P.READ_COMPUTERS,
            _P.WRITE_SEEDS,
            _P.EDIT_SEEDS,
            _P.ADOPT_SEEDS,
            _P.READ_SEEDS,
            _P.READ_LOCATIONS,
            _P.GET_GRANTS,
            _P.WRITE_POINTS,
            _P.READ_POINTS,
            _P.DELETE_POINTS,
            _P.CLAIM_CERTIFICATES,
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
    Role.USER: frozenset({_P.MANAGE_SELF}),
    Role.APPLICATION: frozenset({_P.READ_JOBS, _P.READ_SEEDS, _P.ADOPT_SEEDS, _P.GET_GRANTS}),
}
"""The permissions of each token's role; what is not here, nor held by assignment, is forbidden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a token is narrowed to; None does not narrow.

    `seed_ids` narrows an application to those seeds, their jobs, containers and adoptions.
    """

    tenant_id: str | None = None
    subscription_id: str | None = None
    job_name: str | None = None
    vault_id: str | None = None
    source_computer_id: str | None = None
    seed_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentScope:
    """A tenant, one of its subscriptions, or one resource group of that; case does not count."""

    tenant_id: str
    subscription_id: str | None = None
    resource_group: str | None = None

    def __post_init__(self) -> None:
        assert self.subscription_id or not self.resource_group, "a group is in a subscription"

    def covers(self, subscription_id: str | None, resource_group: str | None) -> bool:
        """Return whether the place is this scope or below it; None, None is the tenant."""
        if self.subscription_id is None:
            return True
        if subscription_id is None or self.subscription_id != subscription_id.casefold():
            return False
        if self.resource_group is None:
            return True
        return (
            resource_group is not None
            and self.resource_group.casefold() == resource_group.casefold()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A built-in role, and where it holds."""

    role: BuiltInRole
    scope: AssignmentScope


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking: a valid token, without its secret.

    Attributes:
        token_id: Of the token that they showed.
        role: What the token is for.
        scope: What it is narrowed to.
        subject_id: The user, service account or application that it stands for, if one.
        assignments: What a user holds.
        unusable: Why a user's assignments do not count now, if they do not.
    """

    token_id: str
    role: Role
    scope: Scope
    subject_id: str | None = None
    assignments: tuple[Assignment, ...] = ()
    unusable: str | None = None

    @property
    def name(self) -> str:
        """How logs and the custody log call them."""
        return f"{self.role}:{self.subject_id or self.token_id}"

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
        """Return if they have this permission somewhere.

        Raises:
            Forbidden: They have it nowhere; the message names their roles.
        """
        held = any(permission in HELD[each.role] for each in self.assignments)
        if not held and permission not in GRANTED[self.role]:
            raise Forbidden(f"{self._roles()} do not allow {permission}{self._why()}")

    def require_at(
        self,
        permission: Permission,
        *,
        subscription_id: str | None = None,
        resource_group: str | None = None,
    ) -> None:
        """Return if they have this permission at a place; without one, at the whole tenant.

        Raises:
            Forbidden: They have not; the message names their roles.
        """
        place = {"subscription_id": subscription_id, "resource_group": resource_group}
        if self.may(permission, **place):
            return
        self.require(permission)  # if nowhere, that is the better message
        where = f"subscription {subscription_id}" if subscription_id else "the whole tenant"
        where = f"resource group {resource_group} of {where}" if resource_group else where
        raise Forbidden(f"{self._roles()} do not allow {permission} at {where}")

    def may(
        self,
        permission: Permission,
        *,
        subscription_id: str | None = None,
        resource_group: str | None = None,
    ) -> bool:
        """Return whether they have this permission at a place; without one, at the tenant."""
        if permission in GRANTED[self.role]:
            narrowed = self.scope.subscription_id
            return narrowed is None or narrowed == (subscription_id or "").casefold()
        return any(
            permission in HELD[each.role] and each.scope.covers(subscription_id, resource_group)
            for each in self.assignments
        )

    def reaches(self, subscription_id: str) -> bool:
        """Return whether anything that they hold lies in, or above, this subscription."""
        if self.role is not Role.USER:
            return self.scope.subscription_id in (None, subscription_id)
        scopes = [each.scope.subscription_id for each in self.assignments]
        return any(each in (None, subscription_id) for each in scopes)

    def _roles(self) -> str:
        if self.role is not Role.USER:
            return f"tokens of the role {self.role}"
        held = sorted({str(each.role) for each in self.assignments})
        return f"your roles ({', '.join(held) or 'none'})"

    def _why(self) -> str:
        return f": {self.unusable}" if self.unusable else ""
