"""Every route of the API, what it needs, and where that is looked at."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_type_hints

from fastapi.routing import APIRoute

from overland.cloud.identity import Permission
from overland.server.api import create_app
from overland.server.caller import Needs

__all__ = ["CHECKED_AT", "OPEN", "Checked", "Guarded", "guarded_routes"]

Checked = Literal["tenant", "subscription", "group", "shown", "anybody", "machine", "self"]
"""Where a person needs the permission: see `MEANING` in `rolespage`."""

OPEN: Final = frozenset(
    {
        ("GET", "/healthz"),
        ("GET", "/docs"),
        ("GET", "/docs.css"),
        ("GET", "/docs.js"),
        ("GET", "/common/discovery/instance"),
        ("GET", "/{tenant_id}/v2.0/.well-known/openid-configuration"),
        ("GET", "/{tenant_id}/discovery/v2.0/keys"),
        ("GET", "/{tenant_id}/oauth2/v2.0/authorize"),
        ("POST", "/{tenant_id}/oauth2/v2.0/token"),
        ("POST", "/{tenant_id}/oauth2/v2.0/devicecode"),
        ("GET", "/device"),
        ("POST", "/device"),
        ("POST", "/device/decision"),
        ("GET", "/password"),
        ("POST", "/password"),
        ("GET", "/pages.css"),
    }
)
"""What needs no token, because who asks has none yet; a new route is closed, or named here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A route that needs a token."""

    method: str
    path: str
    permission: Permission


def guarded_routes() -> list[Guarded]:
    """Return every route that is not open.

    Raises:
        AssertionError: A route neither asks who calls nor is named as open.
    """
    found = [each for route in _routes() for each in _guards(route)]
    return sorted(found, key=lambda each: (each.path, each.method))


def _guards(route: APIRoute) -> Iterator[Guarded]:
    hints = get_type_hints(route.endpoint, include_extras=True).values()
    marks = [mark for hint in hints for mark in getattr(hint, "__metadata__", ())]
    needs = [getattr(mark, "dependency", None) for mark in marks]
    found = [each for each in needs if isinstance(each, Needs)]
    for method in route.methods or ():
        is_open = (method, route.path) in OPEN
        assert len(found) == (0 if is_open else 1), f"{method} {route.path}: who may call it?"
        if found:
            yield Guarded(method=method, path=route.path, permission=found[0].permission)


def _routes() -> Iterator[APIRoute]:
    waiting: list[Any] = list(create_app(None).routes)  # type: ignore[arg-type] # nothing is called
    while waiting:
        route = waiting.pop()
        if isinstance(route, APIRoute):
            yield route
        waiting += getattr(getattr(route, "original_router", None), "routes", ())


_SUBSCRIPTION: Final = "/subscriptions/{subscription_id}"
_GROUP: Final = _SUBSCRIPTION + "/resourceGroups/{resource_group}"
_ACCOUNTS: Final = "/providers/Microsoft.Storage/storageAccounts"
_CONTAINERS: Final = _GROUP + _ACCOUNTS + "/{account}/blobServices/{service}/containers"
_VAULTS: Final = "/providers/Microsoft.RecoveryServices/vaults"
_JOBS: Final = "/providers/Microsoft.ImportExport/jobs"


def _table(entries: dict[Checked, tuple[str, ...]]) -> dict[tuple[str, str], Checked]:
    found: dict[tuple[str, str], Checked] = {}
    for checked, requests in entries.items():
        for request in requests:
            method, _, path = request.partition(" ")
            assert (method, path) not in found, "one entry each"
            found[method, path] = checked
    return found


_APPLICATIONS: Final = "/v1/tenants/{tenant_id}/applications"
_APPLICATION: Final = _APPLICATIONS + "/{application_id}"

CHECKED_AT: Final = _table(
    {
        "tenant": (
            "GET /v1/audit",
            "PUT /v1/sign-in-rules",
            "POST /v1/subscriptions",
            f"GET {_APPLICATIONS}",
            f"POST {_APPLICATIONS}",
            f"DELETE {_APPLICATION}",
            f"GET {_APPLICATION}",
            f"GET {_APPLICATION}/certificates",
            f"POST {_APPLICATION}/certificates",
            f"DELETE {_APPLICATION}/certificates/{{thumbprint}}",
            f"DELETE {_APPLICATION}/owners/{{user_id}}",
            f"PUT {_APPLICATION}/owners/{{user_id}}",
            "GET /v1/tokens",
            "POST /v1/tokens",
            "DELETE /v1/tokens/{token_id}",
            "POST /v1/users",
            "DELETE /v1/users/{user}",
            "PATCH /v1/users/{user}",
            "POST /v1/users/{user}/invitation",
            "POST /v1/users/{user}/tokens",
        ),
        "subscription": ("POST /v1/subscriptions/{subscription_id}/publish-settings",),
        "group": (
            f"GET {_GROUP}",
            f"PUT {_GROUP}",
            f"GET {_GROUP}{_JOBS}",
            f"GET {_GROUP}{_JOBS}/{{name}}",
            f"PUT {_GROUP}{_JOBS}/{{name}}",
            f"PATCH {_GROUP}{_JOBS}/{{name}}",
            f"DELETE {_GROUP}{_JOBS}/{{name}}",
            f"POST {_GROUP}{_JOBS}/{{name}}/listBitLockerKeys",
            f"GET {_GROUP}{_VAULTS}/{{vault}}",
            f"PUT {_GROUP}{_VAULTS}/{{vault}}",
            f"GET {_GROUP}{_ACCOUNTS}",
            f"GET {_GROUP}{_ACCOUNTS}/{{account}}",
            f"PUT {_GROUP}{_ACCOUNTS}/{{account}}",
            f"GET {_CONTAINERS}",
            f"GET {_CONTAINERS}/{{container}}",
            f"PUT {_CONTAINERS}/{{container}}",
            "GET /v1/chains",
            "GET /v1/custody",
            "GET /v1/point-events",
            "GET /v1/points",
            "POST /v1/points/{point_id}/delete",
            "POST /v1/points/{point_id}/undelete",
            "POST /v1/role-assignments",
            "DELETE /v1/role-assignments/{assignment_id}",
            "GET /v1/seeds/{seed_id}",
            "PATCH /v1/seeds/{seed_id}",
            "GET /v1/seeds/{seed_id}/adoption",
            "POST /v1/seeds/{seed_id}/adoption",
            "POST /v1/seeds/{seed_id}/clean-up",
            "GET /v1/seeds/{seed_id}/missing",
            "GET /v1/source-computers/{source_computer_id}",
            "GET /v1/station/jobs/{job_id}",
            "POST /v1/station/jobs/{job_id}/drives/{serial}/events",
            "POST /v1/station/jobs/{job_id}/return",
            "POST /v1/station/parcels",
            "POST /v1/vaults/{vault_id}/credentials",
        ),
        "shown": (
            f"GET {_SUBSCRIPTION}{_JOBS}",
            f"GET {_SUBSCRIPTION}{_VAULTS}",
            f"GET {_SUBSCRIPTION}{_ACCOUNTS}",
            f"GET {_SUBSCRIPTION}/resourceGroups",
            f"GET {_GROUP}{_VAULTS}",
            "GET /v1/reclaims",
            "POST /v1/reclaims",
            "GET /v1/role-assignments",
            "GET /v1/seeds",
            "GET /v1/station/jobs",
            "GET /v1/subscriptions",
        ),
        "anybody": (
            "GET /providers/Microsoft.ImportExport/locations",
            "GET /providers/Microsoft.ImportExport/locations/{name}",
            "GET /providers/Microsoft.ImportExport/operations",
            "GET /v1/roles",
            "GET /v1/users",
            "GET /v1/users/{user}",
        ),
        "machine": (
            "POST /v1/grants",  # a person at a station: see test_people.py
            "POST /v1/points",
            "PUT /v1/policies/{policy_id}/retention",
            "POST /v1/preflight",
            "POST /v1/replacements/{replacement_id}",
            "POST /v1/seeds",
            "GET /v1/seeds/{seed_id}/manifest",
            "PUT /v1/seeds/{seed_id}/manifest",
            "POST /v1/signing-keys",
            "POST /v1/source-computers",
            "POST /v1/source-computers/{source_computer_id}/key-changes",
            "PUT /v1/subscriptions/{subscription_id}/capabilities",
            "POST /v1/tenants",
            f"POST {_APPLICATION}/claims",
        ),
        "self": (
            "GET /v1/me",
            "POST /v1/me/totp",
            "POST /v1/me/totp/confirm",
            "POST /v1/me/totp/end",
            "GET /v1/sessions",
            "DELETE /v1/sessions/{session_id}",
        ),
    }
)
"""Each guarded route has an entry; a new route without one fails a test."""
