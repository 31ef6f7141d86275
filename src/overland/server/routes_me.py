"""What people see of themselves, their sessions, and the audit (`/v1`)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from overland.cloud import audit, myself
from overland.cloud.identity import Permission
from overland.server.bodies_users import CodeBody, TotpEndBody
from overland.server.caller import Caller, Needs
from overland.server.routes_users import assignment_view
from overland.server.views import Json, instant

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["People"])

Auditor = Annotated[Caller, Depends(Needs(Permission.READ_AUDIT))]
Oneself = Annotated[Caller, Depends(Needs(Permission.MANAGE_SELF))]


@router.get("/audit")
def list_audit(
    caller: Auditor,
    top: Annotated[int, Query(ge=1, le=audit.MOST)] = 100,
    before: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> list[Json]:
    """Return the newest events of the tenant: who did what, when, and from where."""
    with caller.call() as call:
        found = audit.entries(call, before=before, top=top)
    return [
        {
            "number": each.number,
            "at": instant(each.at),
            "actor": each.actor,
            "address": each.address,
            "event": each.event,
            "target": each.target,
        }
        for each in found
    ]


@router.get("/me")
def get_me(caller: Oneself) -> Json:
    """Return who is asking, and which roles they have."""
    with caller.call() as call:
        found = myself.me(call)
    return {
        "tenant_id": found.tenant_id,
        "user_id": found.user_id,
        "session_id": found.session_id,
        "name": found.name,
        "kind": found.kind,
        "totp_on": found.totp_is_on,
        "totp_required": found.totp_is_required,
        "roles": [assignment_view(each) for each in found.assignments],
    }


@router.post("/me/totp", status_code=201)
def begin_totp(caller: Oneself) -> Json:
    """Return a secret for an authenticator app, once; it counts when it is confirmed."""
    with caller.call() as call:
        made = myself.begin_totp(call)
    return {"secret": made.secret, "address": made.address}


@router.post("/me/totp/confirm")
def confirm_totp(body: CodeBody, caller: Oneself) -> Json:
    """Turn the second factor on, by a first code; return recovery codes, once."""
    with caller.call() as call:
        return {"recovery_codes": myself.confirm_totp(call, body.code)}


@router.post("/me/totp/end", status_code=204)
def stop_totp(body: TotpEndBody, caller: Oneself) -> Response:
    """Turn the second factor off, by the password and a code."""
    myself.stop_totp(
        caller.services,
        caller.principal,
        password=body.password,
        code=body.code,
        address=caller.address,
    )
    return Response(status_code=204)


@router.get("/sessions")
def list_sessions(caller: Oneself) -> list[Json]:
    """Return the commands that are signed in: one's own, or all to who manages the users."""
    with caller.call() as call:
        found = myself.sessions(call)
    return [
        {
            "session_id": each.session_id,
            "user": each.user_name,
            "client": each.client_name,
            "address": each.client_address,
            "created_at": instant(each.created_at),
            "used_at": instant(each.used_at),
            "expires_at": instant(each.expires_at),
        }
        for each in found
    ]


@router.delete("/sessions/{session_id}", status_code=204)
def end_session(session_id: str, caller: Oneself) -> Response:
    """End a session at once."""
    with caller.call() as call:
        myself.end_session(call, session_id)
    return Response(status_code=204)
