"""Every route, each built-in role, at each scope: what the table says, and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.applicants import Program
from tests.support.cloud import ARM, LocalCloud, LocalHttp
from tests.support.cloudsamples import Journey, job_body
from tests.support.routes import CHECKED_AT, Guarded, guarded_routes
from typing_extensions import override

from overland.cloud.identity import GRANTED, Permission, Principal, Role
from overland.cloud.permissions import HELD, BuiltInRole
from overland.cloud.services import Call, Services
from overland.ports.http import Reply

ROUTES = guarded_routes()
SCOPES = ("tenant", "subscription", "group", "elsewhere")
COVERED = {
    "tenant": {"tenant"},
    "subscription": {"tenant", "subscription"},
    "group": {"tenant", "subscription", "group"},
    "shown": set(SCOPES),
    "anybody": set(SCOPES),
    "self": set(SCOPES),
}
"""From where a role lets in, for each way in which routes look at the place."""


class Undone(Services):
    """Services whose calls leave nothing behind, so that one request does not spoil the next."""

    @override
    @contextmanager
    def call(self, principal: Principal, *, address: str = "") -> Iterator[Call]:
        with self.database.connect() as connection, connection.begin() as transaction:
            at = self.clock.now()
            yield Call(
                connection=connection, principal=principal, at=at, services=self, address=address
            )
            transaction.rollback()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A seed that is at the dock, and a service account of each role at each scope."""

    journey: Journey
    accounts: dict[tuple[BuiltInRole, str], LocalHttp]
    names: dict[str, str]
    bodies: dict[str, Any]

    def request(self, http: LocalHttp, route: Guarded) -> Reply:
        path = route.path
        for name, value in self.names.items():
            path = path.replace("{" + name + "}", value)
        computer = self.journey.computer_id
        job = self.journey.job_path.partition("?")[0]
        about = "" if CHECKED_AT[route.method, route.path] == "shown" else computer
        query = f"{ARM}&job={job}" + (f"&source_computer={about}" if about else "")
        body = self.bodies.get(f"{route.method} {route.path}", self.bodies.get(route.path, {}))
        is_bare = route.method in ("GET", "DELETE")
        return http.request(route.method, f"{path}?{query}", json=None if is_bare else body)


def place(journey: Journey, scope: str) -> dict[str, str]:
    group = journey.world.group.rpartition("/")[2]
    inside = {"subscription_id": journey.world.subscription_id}
    places = {"tenant": {}, "subscription": inside, "group": {**inside, "resource_group": group}}
    return places.get(scope, {**inside, "resource_group": "rg-elsewhere"})


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as cloud:
        journey = Journey(cloud=cloud)
        journey.to_dock()
        world, admin = journey.world, journey.admin
        subscription = f"/subscriptions/{world.subscription_id}"
        elsewhere = f"{subscription}/resourceGroups/rg-elsewhere?{ARM}"
        admin.ok("PUT", elsewhere, {"location": "westeurope"})
        accounts = {}
        for role in BuiltInRole:
            for scope in SCOPES:
                name = f"{role}-{scope}"
                admin.ok("POST", "/v1/users", {"name": name, "kind": "service"})
                made = admin.ok("POST", f"/v1/users/{name}/tokens", {"expires_in_days": 1})
                accounts[role, scope] = cloud.http(made["token"])
                if role is not BuiltInRole.STATION_OPERATOR:
                    body = {"user": name, "role": role, **place(journey, scope)}
                    admin.ok("POST", "/v1/role-assignments", body)
        spare = admin.ok("POST", "/v1/users", {"name": "spare"})
        operate(cloud, journey)
        body = {"user": "spare", "role": "reader", **place(journey, "group")}
        assigned = admin.ok("POST", "/v1/role-assignments", body)
        point = admin.ok("GET", f"/v1/points?source_computer={journey.computer_id}")[0]
        made = admin.ok("POST", f"/v1/tenants/{world.tenant_id}/applications", {"name": "one"})
        cloud.services = Undone(
            **{name: getattr(cloud.services, name) for name in Services.__dataclass_fields__}
        )
        yield Stage(
            journey=journey,
            accounts=accounts,
            names={
                "tenant_id": world.tenant_id,
                "subscription_id": world.subscription_id,
                "resource_group": world.group.rpartition("/")[2],
                "account": world.account,
                "service": "default",
                "container": world.container,
                "vault": "vault-1",
                "vault_id": world.vault_id,
                "seed_id": journey.seed.seed_id,
                "source_computer_id": journey.computer_id,
                "job_id": journey.job_id,
                "serial": journey.serials[0],
                "point_id": point["point_id"],
                "user": "spare",
                "user_id": spare["user_id"],
                "assignment_id": assigned["assignment_id"],
                "application_id": made.get("application_id", "none"),
                "token_id": world.admin.split("_")[1],
                "name": journey.name,
            },
            bodies=bodies(journey),
        )


def operate(cloud: LocalCloud, journey: Journey) -> None:
    """Make the station operators: the cloud's operator does, and below a tenant nobody can."""
    for scope in SCOPES:
        wanted = {"user": f"station-operator-{scope}", "role": "station-operator"}
        body = {**wanted, "tenant_id": journey.world.tenant_id}
        if scope == "tenant":
            cloud.http(cloud.root_token).ok("POST", "/v1/role-assignments", body)


def bodies(journey: Journey) -> dict[str, Any]:
    where = {"location": "westeurope"}
    group = "/subscriptions/{subscription_id}/resourceGroups/{resource_group}"
    jobs = group + "/providers/Microsoft.ImportExport/jobs/{name}"
    station = "/v1/station/jobs/{job_id}"
    return {
        group: where,
        group + "/providers/Microsoft.Storage/storageAccounts/{account}": where,
        group + "/providers/Microsoft.RecoveryServices/vaults/{vault}": where,
        f"PUT {jobs}": job_body(journey.world),
        f"PATCH {jobs}": {"tags": {}},
        "/v1/sign-in-rules": {"totp_required": True},
        "/v1/subscriptions": {"name": "Another"},
        "/v1/tokens": {"role": "admin", "expires_in_days": 1},
        "/v1/users": {"name": "another"},
        "/v1/users/{user}": {"disabled": True},
        "/v1/users/{user}/tokens": {"expires_in_days": 1},
        "/v1/role-assignments": {"user": "spare", "role": "reader", **place(journey, "group")},
        "/v1/seeds/{seed_id}": {"job_name": "another"},
        "/v1/reclaims": {"dry_run": True},
        "/v1/tenants/{tenant_id}/applications": {"name": "another"},
        "/v1/tenants/{tenant_id}/applications/{application_id}/certificates": {
            "certificate": Program(name="one").certificate.public_bytes(Encoding.PEM).decode()
        },
        station + "/drives/{serial}/events": {"event": "started"},
        station + "/return": {"carrier": "FedEx", "tracking_number": "BACK-0001"},
        "/v1/station/parcels": {
            "tracking_number": "TRACK-0001",
            "carrier": "FedEx",
            "serials": list(journey.serials),
        },
        "/v1/me/totp/confirm": {"code": "000000"},
        "/v1/me/totp/end": {"password": "-", "code": "000000"},
    }


def test_every_route_says_where_it_looks() -> None:
    assert {(each.method, each.path) for each in ROUTES} == set(CHECKED_AT)


def test_machines_alone_hold_what_machines_do() -> None:
    """But for a grant, which people at a station need too."""
    held = frozenset[Permission]().union(*HELD.values())
    for route in ROUTES:
        if CHECKED_AT[route.method, route.path] == "machine":
            assert route.permission not in held or route.permission is Permission.GET_GRANTS


CASES = [
    (role, scope)
    for role in BuiltInRole
    for scope in SCOPES
    if role is not BuiltInRole.STATION_OPERATOR or scope == "tenant"
]


@pytest.mark.requirement("R28")
@pytest.mark.parametrize(("role", "scope"), CASES)
def test_a_role_opens_what_the_table_says_and_nothing_else(
    stage: Stage, role: BuiltInRole, scope: str
) -> None:
    http = stage.accounts[role, scope]
    for route in ROUTES:
        checked = CHECKED_AT[route.method, route.path]
        if checked == "machine":
            continue
        reply = stage.request(http, route)
        message = f"{role} at {scope}: {route.method} {route.path}: {reply.status} {reply.body}"
        held = HELD[role] | GRANTED[Role.USER]
        assert reply.status < 500, message
        if route.permission not in held:
            assert reply.status == 403, message
            said = reply.body["error"]["message"]
            assert route.permission in said, message
            assert role in said, message
        elif scope in COVERED[checked]:
            wanted = expected(stage, route)
            assert reply.status == wanted if wanted else reply.status != 403, message
        else:
            assert reply.status in (403, 404), message


def expected(stage: Stage, route: Guarded) -> int | None:
    """Return what a machine that may do it is answered; None if none may."""
    if route.permission is Permission.WORK_AT_STATION:
        return stage.request(stage.journey.station, route).status
    if (
        CHECKED_AT[route.method, route.path] == "self"
        or route.permission not in GRANTED[Role.ADMIN]
    ):
        return None
    if route.path == "/v1/tokens/{token_id}":
        return 204  # the administrator's own token, which only others may end
    return stage.request(stage.journey.admin, route).status


def test_a_list_shows_what_may_be_read(stage: Stage) -> None:
    inside = stage.accounts[BuiltInRole.READER, "group"]
    outside = stage.accounts[BuiltInRole.READER, "elsewhere"]
    for method, path in CHECKED_AT:
        if CHECKED_AT[method, path] != "shown" or method != "GET":
            continue
        (route,) = [each for each in ROUTES if (each.method, each.path) == (method, path)]
        if route.permission not in HELD[BuiltInRole.READER] or path == "/v1/subscriptions":
            continue
        seen = [rows(stage.request(each, route).body) for each in (inside, outside)]
        names = str(seen[1])
        assert seen[0], path
        assert stage.journey.name not in names, path
        assert stage.journey.world.account not in names, path
        assert stage.journey.world.vault_id not in names, path


def rows(body: Any) -> list[Any]:
    found: list[Any] = body["value"] if isinstance(body, dict) else body
    return found
