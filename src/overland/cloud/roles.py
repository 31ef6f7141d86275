"""Role assignments: who holds which built-in role where.

Nobody grants more than they have, and a tenant keeps an owner who can sign in.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from overland.cloud import audit, names, people, resources, tables_users
from overland.cloud.accesstokens import AccessClaims
from overland.cloud.identity import Permission, Principal, Role
from overland.cloud.people import User
from overland.cloud.permissions import HELD, AssignmentScope, BuiltInRole
from overland.cloud.refusals import Conflict, Forbidden, Invalid, ResourceAbsent, TokenInvalid
from overland.cloud.services import Call

__all__ = [
    "Granted",
    "PlaceRequest",
    "assign",
    "keep_an_owner",
    "listed",
    "place_text",
    "remove",
    "require_all_of",
    "user_principal",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceRequest:
    """Where a role shall hold: in the tenant, unless it is narrowed.

    `tenant_id` is for the cloud's operator, who belongs to none.
    """

    subscription_id: str | None = None
    resource_group: str | None = None
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """An assignment, as it is listed."""

    assignment_id: str
    user_id: str
    user_name: str
    role: BuiltInRole
    subscription_id: str | None
    resource_group: str | None
    created_at: datetime


def assign(call: Call, user_name: str, role_name: str, place: PlaceRequest) -> Granted:
    """Give a user or service account a role; again changes nothing.

    The station operator's role is granted by the cloud's operator only: who holds it says what
    arrived, which no customer may say of their own drives.

    Raises:
        Forbidden: The caller may not grant there, or lacks what the role would give.
        Invalid: There is no such role.
        ResourceAbsent: There is no such user, subscription or resource group.
    """
    call.require(Permission.ASSIGN_ROLES)
    role = _role(role_name)
    scope = _scope(call, place)
    user = _user(call, user_name, tenant_id=scope.tenant_id)
    if call.principal.role is Role.ROOT:
        if role is not BuiltInRole.STATION_OPERATOR:
            raise Forbidden("the cloud's operator grants the role station-operator only")
    else:
        _require_to_grant(call, role, scope)
    for each in _rows(call.connection, scope.tenant_id):
        if (each.user_id, each.role, _place(each)) == (user.user_id, role, _place(scope)):
            return each
    columns = {
        "assignment_id": call.new_id(),
        "tenant_id": scope.tenant_id,
        "user_id": user.user_id,
        "role": role,
        "subscription_id": scope.subscription_id,
        "resource_group": scope.resource_group,
        "created_at": call.at,
    }
    call.connection.execute(insert(tables_users.assignments).values(**columns))
    _note(call, scope.tenant_id, "role.assigned", f"{user.name}: {role} at {place_text(scope)}")
    made = _rows(call.connection, scope.tenant_id)
    return next(each for each in made if each.assignment_id == columns["assignment_id"])


def listed(call: Call) -> list[Granted]:
    """Return the assignments at the places whose users the caller may read, oldest first."""
    call.require(Permission.READ_USERS)
    return [
        each
        for each in _rows(call.connection, call.principal.tenant_id)
        if call.principal.may(
            Permission.READ_USERS,
            subscription_id=each.subscription_id,
            resource_group=each.resource_group,
        )
    ]


def remove(call: Call, assignment_id: str) -> None:
    """Take a role away; what it allowed ends at once.

    Raises:
        Conflict: The tenant would have no owner who can sign in.
        Forbidden: The caller may not change roles there.
        ResourceAbsent: There is no such assignment that the caller may know of.
    """
    call.require(Permission.ASSIGN_ROLES)
    if call.principal.role is Role.ROOT:
        _remove_operator(call, assignment_id)
        return
    found = next((each for each in listed(call) if each.assignment_id == assignment_id), None)
    if found is None:
        raise ResourceAbsent(f"role assignment {assignment_id}")
    call.require_at(
        Permission.ASSIGN_ROLES,
        subscription_id=found.subscription_id,
        resource_group=found.resource_group,
    )
    if found.role is BuiltInRole.OWNER and found.subscription_id is None:
        keep_an_owner(call, without=found.user_id)
    _delete(call, call.principal.tenant_id, found)


def _remove_operator(call: Call, assignment_id: str) -> None:
    """Take a station operator's role away, which the cloud's operator gave."""
    columns = tables_users.assignments.c
    wanted = select(columns.tenant_id).where(
        columns.assignment_id == assignment_id, columns.role == BuiltInRole.STATION_OPERATOR
    )
    tenant_id = call.connection.execute(wanted).scalar_one_or_none()
    if tenant_id is None:
        raise ResourceAbsent(f"station operator's role assignment {assignment_id}")
    rows = _rows(call.connection, tenant_id)
    _delete(call, tenant_id, next(each for each in rows if each.assignment_id == assignment_id))


def _delete(call: Call, tenant_id: str, found: Granted) -> None:
    columns = tables_users.assignments.c
    wanted = delete(tables_users.assignments).where(columns.assignment_id == found.assignment_id)
    call.connection.execute(wanted)
    target = f"{found.user_name}: {found.role} at {place_text(found)}"
    _note(call, tenant_id, "role.removed", target)


def keep_an_owner(call: Call, *, without: str) -> None:
    """Check that the tenant has an owner who can sign in, other than `without`, if it has any.

    Raises:
        Conflict: It would have none.
    """
    owners = {
        each.user_id
        for each in _rows(call.connection, call.principal.tenant_id)
        if each.role is BuiltInRole.OWNER and each.subscription_id is None
    }
    usable = {each for each in owners if _signs_in(people.find(call.connection, each))}
    if without in usable and usable == {without}:
        raise Conflict("user", "this is the tenant's last owner; make another person owner first")


def require_all_of(call: Call, user: User) -> None:
    """Check that the caller may do whatever a user may, before they can act in the user's name.

    Raises:
        Forbidden: The user may do more.
    """
    for each in people.assigned(call.connection, user.user_id):
        _require_held(call, each.role, each.scope)


def user_principal(connection: Connection, claims: AccessClaims, *, at: datetime) -> Principal:
    """Return the person whose access token says `claims`, with the roles they have now.

    Raises:
        TokenInvalid: The person is gone or disabled, or the session has ended.
    """
    columns = tables_users.sessions.c
    wanted = select(tables_users.sessions).where(columns.session_id == claims.token_id)
    session = connection.execute(wanted).mappings().one_or_none()
    user = people.find(connection, claims.subject_id)
    is_open = (
        session is not None
        and session["ended_at"] is None
        and at < session["expires_at"]
        and session["user_id"] == claims.subject_id
    )
    if user is None or user.is_disabled or user.tenant_id != claims.tenant_id or not is_open:
        raise TokenInvalid("the session has ended; sign in again with `overland sign-in`")
    return people.principal(connection, user, token_id=claims.token_id)


def place_text(place: AssignmentScope | Granted) -> str:
    """Return where a role holds, for people."""
    if place.subscription_id is None:
        return "the tenant"
    text = f"subscription {place.subscription_id}"
    return f"{text}, resource group {place.resource_group}" if place.resource_group else text


def _role(text: str) -> BuiltInRole:
    try:
        return BuiltInRole(text)
    except ValueError:
        raise Invalid("role", f"use one of {', '.join(BuiltInRole)}") from None


def _scope(call: Call, place: PlaceRequest) -> AssignmentScope:
    if call.principal.role is Role.ROOT:
        if place.tenant_id is None or place.subscription_id or place.resource_group:
            raise Invalid("tenant_id", "the cloud's operator names a tenant, and nothing narrower")
        tenant_id = names.check_uuid(place.tenant_id, what="tenant_id")
        resources.check_tenant(call, tenant_id)
        return AssignmentScope(tenant_id=tenant_id)
    tenant_id = call.principal.tenant_id
    if place.tenant_id not in (None, tenant_id):
        raise Forbidden("roles are assigned in one's own tenant only")
    if place.subscription_id is None:
        if place.resource_group is not None:
            raise Invalid("resource_group", "name its subscription too")
        return AssignmentScope(tenant_id=tenant_id)
    found = resources.get_subscription(call, place.subscription_id).subscription_id
    group = place.resource_group
    if group is not None:
        group = resources.get_group(call, subscription_id=found, name=group).name
    return AssignmentScope(tenant_id=tenant_id, subscription_id=found, resource_group=group)


def _user(call: Call, name: str, *, tenant_id: str) -> User:
    found = people.find(call.connection, name) or people.find_named(
        call.connection, tenant_id=tenant_id, name=name
    )
    if found is None or found.tenant_id != tenant_id:
        raise ResourceAbsent(f"user {name}")
    return found


def _require_to_grant(call: Call, role: BuiltInRole, scope: AssignmentScope) -> None:
    call.require_at(
        Permission.ASSIGN_ROLES,
        subscription_id=scope.subscription_id,
        resource_group=scope.resource_group,
    )
    _require_held(call, role, scope)


def _require_held(call: Call, role: BuiltInRole, scope: AssignmentScope) -> None:
    for permission in sorted(HELD[role]):
        if not call.principal.may(
            permission, subscription_id=scope.subscription_id, resource_group=scope.resource_group
        ):
            raise Forbidden(
                f"the role {role} at {place_text(scope)} allows {permission}, which you may not "
                "do there yourself; nobody grants more than they have"
            )


def _rows(connection: Connection, tenant_id: str) -> list[Granted]:
    table, users = tables_users.assignments, tables_users.users
    columns = [table.c[name] for name in Granted.__dataclass_fields__ if name != "user_name"]
    wanted = (
        select(*columns, users.c.name.label("user_name"))
        .join(users, users.c.user_id == table.c.user_id)
        .where(table.c.tenant_id == tenant_id)
        .order_by(table.c.created_at, table.c.assignment_id)
    )
    rows = connection.execute(wanted).mappings()
    return [Granted(**{**row, "role": BuiltInRole(row["role"])}) for row in rows]


def _place(place: AssignmentScope | Granted) -> tuple[str | None, str | None]:
    return place.subscription_id, place.resource_group


def _signs_in(user: User | None) -> bool:
    is_person = user is not None and user.kind == "person"
    return is_person and user is not None and user.password is not None and not user.is_disabled


def _note(call: Call, tenant_id: str, event: str, target: str) -> None:
    audit.add(
        call.connection,
        tenant_id=tenant_id,
        at=call.at,
        actor=call.principal.name,
        address=call.address,
        event=event,
        target=target,
    )
