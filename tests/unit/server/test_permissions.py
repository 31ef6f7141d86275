"""Every route needs a permission, every role has few, and no tenant sees another's things."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.support.cloud import ARM, LocalCloud
from tests.support.cloudsamples import Journey, job_body
from tests.support.routes import guarded_routes

from overland.cloud.identity import GRANTED, Permission, Role, Scope
from overland.crypto.secrets import Secret

MACHINES = tuple(each for each in Role if each not in (Role.USER, Role.APPLICATION))
"""Whose tokens hold their role's permissions; test_roles.py walks the routes as people."""

NOWHERE = "00000000-0000-4000-8000-000000000000"


ROUTES = [(each.method, each.path, each.permission) for each in guarded_routes()]
ALL = [(method, path, permission, role) for method, path, permission in ROUTES for role in MACHINES]


def concrete(path: str) -> str:
    filled = re.sub(r"\{\w*id\}", NOWHERE, path)
    filled = re.sub(r"\{\w+\}", "default", filled)
    return f"{filled}?{ARM}&job={NOWHERE}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def tokens(shared: LocalCloud) -> dict[Role, str]:
    tenant_id, _ = shared.tenant()
    scopes = {
        Role.ROOT: Scope(),
        Role.STATION: Scope(),
        Role.ADMIN: Scope(tenant_id=tenant_id),
        Role.AGENT: Scope(tenant_id=tenant_id, source_computer_id=NOWHERE),
        Role.DISKPREP: Scope(tenant_id=tenant_id, subscription_id=NOWHERE),
        Role.REGISTRATION: Scope(tenant_id=tenant_id, vault_id=NOWHERE),
    }
    return {role: shared.token(role, scopes[role]) for role in MACHINES}


def code(body: Any) -> str:
    return str(body["error"]["code"])


def test_there_are_routes_and_all_permissions_are_used() -> None:
    assert len(ROUTES) > 40
    assert {permission for _, _, permission in ROUTES} == set(Permission)


@pytest.mark.parametrize(("method", "path"), [each[:2] for each in ROUTES])
def test_without_a_token_every_route_is_closed(shared: LocalCloud, method: str, path: str) -> None:
    for token in (None, "", "ov1_x_y", f"ov1_{NOWHERE}_{'a' * 52}", "a" * 1000):
        reply = shared.http(token).request(method, concrete(path), json={})
        assert reply.status == 401, reply.body
        assert code(reply.body) in {"not-authorised", "InvalidAuthenticationToken"}


@pytest.mark.parametrize(
    ("method", "path", "permission", "role"),
    [each for each in ALL if each[2] not in GRANTED[each[3]]],
)
@pytest.mark.requirement("R28")
def test_a_wrong_role_is_refused_before_the_body_is_looked_at(
    shared: LocalCloud,
    tokens: dict[Role, str],
    method: str,
    path: str,
    permission: Permission,
    role: Role,
) -> None:
    reply = shared.http(tokens[role]).request(method, concrete(path), json={"odd": 1})
    assert reply.status == 403, reply.body
    assert permission in reply.body["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [(each[0], each[1], each[3]) for each in ALL if each[2] in GRANTED[each[3]]],
)
def test_the_right_role_gets_past_the_door(
    shared: LocalCloud, tokens: dict[Role, str], method: str, path: str, role: Role
) -> None:
    reply = shared.http(tokens[role]).request(method, concrete(path), json={"odd": 1})
    message = "" if reply.body is None or isinstance(reply.body, list) else str(reply.body)
    assert reply.status < 500
    assert reply.status != 401
    assert "do not allow" not in message


def test_an_expired_and_a_revoked_token_are_unknown(cloud: LocalCloud) -> None:
    _, admin = cloud.tenant()
    body = {"role": "admin", "expires_in_days": 1}
    made = cloud.http(admin).ok("POST", "/v1/tokens", body)
    assert cloud.http(made["token"]).request("GET", "/v1/subscriptions").status == 200
    cloud.clock.advance(timedelta(days=1))
    late = cloud.http(made["token"]).request("GET", "/v1/subscriptions")
    assert (late.status, "expired" in late.body["error"]["message"]) == (401, True)

    other = cloud.http(admin).ok("POST", "/v1/tokens", body)["token"]
    token_id = other.split("_")[1]
    assert cloud.http(admin).request("DELETE", f"/v1/tokens/{token_id}").status == 204
    assert cloud.http(other).request("GET", "/v1/subscriptions").status == 401


def test_no_secret_is_stored(cloud: LocalCloud, tmp_path: Any) -> None:
    _, admin = cloud.tenant()
    cloud.database.dispose()
    secrets = [cloud.root_token.split("_")[2].encode(), admin.split("_")[2].encode()]
    for path in tmp_path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(secret in content for secret in secrets), path


def test_another_tenant_sees_and_changes_nothing(journey: Journey) -> None:
    journey.stage()
    journey.prepare()
    stranger = journey.cloud.http(journey.cloud.world("inland").admin)
    world = journey.world
    closed: list[tuple[str, str, object]] = [
        ("GET", journey.job_path, None),
        ("PUT", journey.job_path, job_body(world)),
        ("PATCH", journey.job_path, {"tags": {}}),
        ("DELETE", journey.job_path, None),
        ("POST", journey.job_path.replace("?", "/listBitLockerKeys?"), None),
        ("GET", journey.jobs_url(group=True), None),
        ("GET", journey.jobs_url(group=False), None),
        ("GET", f"{world.group}?{ARM}", None),
        ("GET", f"{world.account_id}?{ARM}", None),
        ("POST", f"/v1/subscriptions/{world.subscription_id}/publish-settings", {}),
    ]
    for method, path, body in closed:
        reply = stranger.request(method, path, json=body)
        assert reply.status == 403, (method, path, reply.body)
    absent: list[tuple[str, str, object]] = [
        ("GET", journey.seed_path, None),
        ("PATCH", journey.seed_path, {"state": "Abandoned"}),
        ("POST", f"{journey.seed_path}/adoption", None),
        ("GET", f"/v1/source-computers/{journey.computer_id}", None),
        ("GET", f"/v1/points?source_computer={journey.computer_id}", None),
        ("POST", f"/v1/vaults/{world.vault_id}/credentials", None),
        ("GET", f"/v1/custody?job={journey.job_path.partition('?')[0]}", None),
    ]
    for method, path, body in absent:
        reply = stranger.request(method, path, json=body)
        assert reply.status == 404, (method, path, reply.body)
    assert stranger.ok("GET", "/v1/seeds") == []


def test_an_account_name_of_another_tenant_is_taken_and_stays_theirs(cloud: LocalCloud) -> None:
    first, second = cloud.world("harbour"), cloud.world("inland")
    path = second.account_id.replace("inlanddata", first.account)
    body = {"location": "westeurope"}
    assert cloud.http(second.admin).request("PUT", f"{path}?{ARM}", json=body).status == 409


def test_a_job_cannot_import_into_another_tenants_account(cloud: LocalCloud) -> None:
    first, second = cloud.world("harbour"), cloud.world("inland")
    body = job_body(first)
    reply = cloud.http(second.admin).request("PUT", second.job_path("job-1"), json=body)
    assert reply.status == 403


def test_a_copy_computer_reaches_one_subscription_and_one_job(journey: Journey) -> None:
    journey.announce()
    tools = journey.copy_computer("harbour-first")
    body = job_body(journey.world, seed_id=journey.seed.seed_id)
    tools.ok("PUT", journey.job_path, body)
    other = journey.world.job_path("other")
    assert tools.request("PUT", other, json=body).status == 403
    assert tools.request("GET", other).status == 403
    journey.admin.ok("PUT", other, job_body(journey.world, serials=["B"]))
    listed = tools.ok("GET", journey.jobs_url(group=False))["value"]
    assert [each["name"] for each in listed] == ["harbour-first"]
    keys = journey.job_path.replace("?", "/listBitLockerKeys?")
    assert tools.request("POST", keys).status == 403
    assert tools.ok("GET", journey.seed_path)["state"] == "Configured"


def test_a_copy_computer_of_one_job_takes_no_other_jobs_seed(journey: Journey) -> None:
    journey.announce()
    tools, path = journey.copy_computer("other"), journey.world.job_path("other")
    body = job_body(journey.world, serials=["B"], seed_id=journey.seed.seed_id)
    assert tools.request("PUT", path, json=body).status == 400
    assert tools.request("GET", journey.seed_path).status == 404
    journey.admin.ok("PUT", path, body)
    tools.ok("PATCH", path, {"tags": body["tags"]})  # who may, has linked it


def test_a_copy_computer_of_another_subscription_reaches_nothing(journey: Journey) -> None:
    journey.announce()
    journey.prepare()
    made = journey.admin.ok("POST", "/v1/subscriptions", {"name": "Second"})
    path = f"/v1/subscriptions/{made['subscription_id']}/publish-settings"
    xml = journey.admin.ok("POST", path)["xml"]
    token = re.search(r'Token="([^"]+)"', xml)
    assert token is not None
    tools = journey.cloud.http(token[1])
    assert tools.request("GET", journey.job_path).status == 403
    assert tools.request("GET", journey.seed_path).status == 404
    assert [each["name"] for each in tools.ok("GET", "/v1/subscriptions")] == ["Second"]


def test_an_agent_sees_its_own_seeds_and_itself_only(journey: Journey) -> None:
    journey.announce()
    second = journey.cloud.register(
        journey.world, name="srv-2", repository_id=NOWHERE, signing_key=Secret(b"c" * 32)
    )
    neighbour = journey.cloud.http(second["token"])
    assert neighbour.request("GET", journey.seed_path).status == 404
    assert neighbour.request("PATCH", journey.seed_path, json={"state": "Abandoned"}).status == 404
    assert neighbour.request("GET", f"/v1/source-computers/{journey.computer_id}").status == 404
    body = {"kind": "seed-container", "seed_id": journey.seed.seed_id}
    assert neighbour.request("POST", "/v1/grants", json=body).status == 404
    assert neighbour.ok("GET", "/v1/seeds") == []


@pytest.mark.parametrize(
    ("by", "body", "status"),
    [
        ("root", {"role": "station", "expires_in_days": 1}, 201),
        ("root", {"role": "root", "expires_in_days": 1}, 403),
        ("root", {"role": "agent", "expires_in_days": 1}, 403),
        ("root", {"role": "admin", "expires_in_days": 1}, 400),
        ("root", {"role": "admin", "expires_in_days": 1, "tenant_id": NOWHERE}, 404),
        ("admin", {"role": "admin", "expires_in_days": 1}, 201),
        ("admin", {"role": "admin", "expires_in_days": 1, "tenant_id": NOWHERE}, 403),
        ("admin", {"role": "station", "expires_in_days": 1}, 403),
        ("admin", {"role": "root", "expires_in_days": 1}, 403),
        ("admin", {"role": "diskprep", "expires_in_days": 1}, 400),
        ("admin", {"role": "diskprep", "expires_in_days": 1, "subscription_id": NOWHERE}, 403),
        ("admin", {"role": "king", "expires_in_days": 1}, 400),
        ("admin", {"role": "admin", "expires_in_days": 0}, 400),
        ("admin", {"role": "admin", "expires_in_days": 367}, 400),
        ("admin", {"role": "admin", "extra": 1}, 400),
    ],
)
def test_nobody_makes_a_token_for_more_than_they_may(
    cloud: LocalCloud, by: str, body: dict[str, object], status: int
) -> None:
    _, admin = cloud.tenant()
    token = cloud.root_token if by == "root" else admin
    assert cloud.http(token).request("POST", "/v1/tokens", json=body).status == status


def test_tokens_are_listed_without_their_secrets_and_by_tenant(cloud: LocalCloud) -> None:
    _, first = cloud.tenant("harbour")
    _, second = cloud.tenant("inland")
    (only,) = cloud.http(first).ok("GET", "/v1/tokens")
    assert (only["role"], only["token_id"]) == ("admin", first.split("_")[1])
    assert first.split("_")[2] not in str(only)
    path = f"/v1/tokens/{second.split('_')[1]}"
    assert cloud.http(first).request("DELETE", path).status == 404
    own = f"/v1/tokens/{first.split('_')[1]}"
    assert cloud.http(first).request("DELETE", own).status == 400
