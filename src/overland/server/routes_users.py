"""People, service accounts and their roles (`/v1`)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from overland.cloud import roles, users
from overland.cloud.identity import Permission
from overland.cloud.permissions import HELD, Assignment, BuiltInRole
from overland.cloud.roles import Granted, PlaceRequest
from overland.cloud.users import Invited, Listed
from overland.server.bodies_users import (
    AccountTokenBody,
    AssignmentBody,
    RulesBody,
    UserBody,
    UserPatchBody,
)
from overland.server.caller import Caller, Needs
from overland.server.views import Json, instant

__all__ = ["assignment_view", "router"]

router = APIRouter(prefix="/v1", tags=["People"])

UserManager = Annotated[Caller, Depends(Needs(Permission.MANAGE_USERS))]
UserReader = Annotated[Caller, Depends(Needs(Permission.READ_USERS))]
Granter = Annotated[Caller, Depends(Needs(Permission.ASSIGN_ROLES))]


@router.post("/users", status_code=201)
def create_user(body: UserBody, caller: UserManager) -> Json:
    """Invite a person, or make a service account, with a first role if one is given."""
    with caller.call() as call:
        made = users.create(call, name=body.name, kind=body.kind)
        if body.role is not None:
            place = PlaceRequest(
                subscription_id=body.subscription_id, resource_group=body.resource_group
            )
            roles.assign(call, made.user.user_id, body.role, place)
        return {**_invited_view(made), **_user_view(users.get(call, made.user.user_id))}


@router.get("/users")
def list_users(caller: UserReader) -> list[Json]:
    """Return the tenant's people and service accounts."""
    with caller.call() as call:
        return [_user_view(each) for each in users.listed(call)]


@router.get("/users/{user}")
def get_user(user: str, caller: UserReader) -> Json:
    """Return a person or a service account, by name or id."""
    with caller.call() as call:
        return _user_view(users.get(call, user))


@router.patch("/users/{user}")
def patch_user(user: str, body: UserPatchBody, caller: UserManager) -> Json:
    """Stop a user at once, or let them in again."""
    with caller.call() as call:
        changed = users.set_disabled(
            call, user, is_disabled=body.disabled, keeps_tokens=body.keep_tokens
        )
        return _user_view(changed)


@router.delete("/users/{user}", status_code=204)
def delete_user(
    user: str, caller: UserManager, *, keep_tokens: Annotated[bool, Query()] = False
) -> Response:
    """Delete a user, with roles, sessions and tokens, and with the tokens that they issued."""
    with caller.call() as call:
        users.remove(call, user, keeps_tokens=keep_tokens)
    return Response(status_code=204)


@router.post("/users/{user}/invitation", status_code=201)
def invite_user(user: str, caller: UserManager) -> Json:
    """Take password, second factor and sessions away, and invite the person anew."""
    with caller.call() as call:
        made = users.invite_again(call, user)
    return {**_invited_view(made), **_user_view(made.user)}


@router.post("/users/{user}/tokens", status_code=201)
def create_account_token(user: str, body: AccountTokenBody, caller: UserManager) -> Json:
    """Make a token of a service account; it ends with the account at the latest."""
    with caller.call() as call:
        token, expires_at = users.issue_account_token(call, user, days=body.expires_in_days)
    return {"token": token, "expires_at": instant(expires_at)}


@router.put("/sign-in-rules")
def put_rules(body: RulesBody, caller: UserManager) -> Json:
    """Demand a second factor of everybody in the tenant, or stop to."""
    with caller.call() as call:
        users.require_totp(call, is_required=body.totp_required)
    return {"totp_required": body.totp_required}


@router.get("/roles")
def list_roles(caller: UserReader) -> list[Json]:
    """Return the built-in roles and what they allow."""
    del caller
    return [{"role": each, "permissions": sorted(HELD[each])} for each in BuiltInRole]


@router.post("/role-assignments", status_code=201)
def assign_role(body: AssignmentBody, caller: Granter) -> Json:
    """Give a user a role at the tenant, a subscription or a resource group."""
    place = PlaceRequest(
        subscription_id=body.subscription_id,
        resource_group=body.resource_group,
        tenant_id=body.tenant_id,
    )
    with caller.call() as call:
        return _granted_view(roles.assign(call, body.user, body.role, place))


@router.get("/role-assignments")
def list_assignments(caller: UserReader) -> list[Json]:
    """Return the role assignments at the places whose users the caller may read."""
    with caller.call() as call:
        return [_granted_view(each) for each in roles.listed(call)]


@router.delete("/role-assignments/{assignment_id}", status_code=204)
def remove_assignment(assignment_id: str, caller: Granter) -> Response:
    """Take a role away; what it allowed ends at once."""
    with caller.call() as call:
        roles.remove(call, assignment_id)
    return Response(status_code=204)


def assignment_view(assignment: Assignment) -> Json:
    """Return a role and where it holds."""
    return {
        "role": assignment.role,
        "subscription_id": assignment.scope.subscription_id,
        "resource_group": assignment.scope.resource_group,
    }


def _user_view(user: Listed) -> Json:
    return {
        "user_id": user.user_id,
        "kind": user.kind,
        "name": user.name,
        "state": user.state,
        "totp_on": user.totp_is_on,
        "created_at": instant(user.created_at),
        "roles": [assignment_view(each) for each in user.assignments],
    }


def _invited_view(made: Invited) -> Json:
    if made.invitation is None or made.expires_at is None:
        return {}
    return {"invitation": made.invitation, "invitation_expires_at": instant(made.expires_at)}


def _granted_view(granted: Granted) -> Json:
    return {
        "assignment_id": granted.assignment_id,
        "user_id": granted.user_id,
        "user": granted.user_name,
        "role": granted.role,
        "subscription_id": granted.subscription_id,
        "resource_group": granted.resource_group,
        "created_at": instant(granted.created_at),
    }
