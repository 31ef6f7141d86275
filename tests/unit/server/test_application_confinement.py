"""An application's token reaches its computer's open seeds, and no other route or thing (R47)."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.applicants import Program, Tenancy
from tests.support.cloud import ARM, LocalCloud, LocalHttp
from tests.support.cloudsamples import Journey, job_body
from tests.support.routes import OPEN, guarded_routes

from overland.cloud.identity import GRANTED, Role
from overland.crypto.secrets import Secret
from overland.server.api import create_app

PROGRAM = Program()
NOWHERE = "00000000-0000-4000-8000-000000000000"
_JOBS = "/providers/Microsoft.ImportExport/jobs"
_GROUP = "/subscriptions/{subscription_id}/resourceGroups/{resource_group}"
OPENED = {
    ("GET", "/v1/seeds"),
    ("GET", "/v1/seeds/{seed_id}"),
    ("GET", "/v1/seeds/{seed_id}/adoption"),
    ("GET", "/v1/seeds/{seed_id}/missing"),
    ("POST", "/v1/seeds/{seed_id}/adoption"),
    ("POST", "/v1/grants"),
    ("GET", "/subscriptions/{subscription_id}" + _JOBS),
    ("GET", _GROUP + _JOBS),
    ("GET", _GROUP + _JOBS + "/{name}"),
}
"""Everything that an application's token opens; each is narrowed below."""


ROUTES = [(each.method, each.path) for each in guarded_routes()]


@pytest.fixture
def tenancy(journey: Journey) -> Tenancy:
    world = journey.world
    return Tenancy(cloud=journey.cloud, tenant_id=world.tenant_id, admin_token=world.admin)


@pytest.fixture
def client_id(tenancy: Tenancy, journey: Journey) -> str:
    application_id = tenancy.application()
    tenancy.enroll(application_id, PROGRAM, journey.computer_id)
    return application_id


@pytest.fixture
def http(tenancy: Tenancy, client_id: str, journey: Journey) -> LocalHttp:
    journey.announce()
    return tenancy.cloud.http(tenancy.token(client_id, PROGRAM))


def concrete(path: str, journey: Journey) -> str:
    """Return the path with what really is there, in the application's own tenant."""
    world = journey.world
    known = {
        "tenant_id": world.tenant_id,
        "subscription_id": world.subscription_id,
        "resource_group": world.group.rpartition("/")[2],
        "vault_id": world.vault_id,
        "seed_id": journey.seed.seed_id,
        "source_computer_id": journey.computer_id,
        "account": world.account,
        "container": world.container,
        "name": journey.name,
    }
    filled = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: known.get(found[1], NOWHERE), path)
    return f"{filled}?{ARM}"


@pytest.mark.requirement("R47")
def test_every_other_route_of_the_cloud_is_closed(http: LocalHttp, journey: Journey) -> None:
    closed = [route for route in ROUTES if route not in OPENED]
    assert len(closed) > 50
    described = create_app(None).openapi()["paths"]  # type: ignore[arg-type] # nothing is asked
    asked = {(method.upper(), path) for path, methods in described.items() for method in methods}
    assert asked <= set(ROUTES) | OPEN, "no route was left out"
    assert set(ROUTES) >= OPENED, "the list names routes that there are"
    for method, path in closed:
        reply = http.request(method, concrete(path, journey), json={})
        assert reply.status == 403, (method, path, reply.status, reply.body)
    assert len(GRANTED[Role.APPLICATION]) == 4


@pytest.mark.requirement("R47")
def test_it_reads_its_seeds_jobs_and_containers_and_begins_their_adoption(
    http: LocalHttp, journey: Journey
) -> None:
    journey.imported()
    assert http.ok("GET", journey.seed_path)["job"]["state"] == "Packaging"
    assert http.ok("GET", journey.job_path)["name"] == journey.name
    body = {"kind": "seed-container", "seed_id": journey.seed.seed_id}
    grant = http.ok("POST", "/v1/grants", body)
    assert grant["prefixes"] == [f"seed-{journey.seed.seed_id}/"]
    ends_at = datetime.fromisoformat(grant["expires_at"])
    assert ends_at <= journey.cloud.clock.now() + timedelta(hours=1), "nobody takes a grant back"
    assert grant["space"] == f"accounts/{journey.world.account}/{journey.world.container}"
    journey.give_back()
    assert http.ok("POST", f"{journey.seed_path}/adoption")["state"] == "done"
    assert http.ok("GET", f"{journey.seed_path}/adoption")["state"] == "done"
    assert http.ok("GET", journey.seed_path)["state"] == "Online"


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "vault"},
        {"kind": "vault", "policy_id": NOWHERE},
        {"kind": "import", "job_id": NOWHERE},
        {"kind": "import", "job_id": NOWHERE, "container": "seeds"},
    ],
    ids=str,
)
@pytest.mark.requirement("R47")
def test_it_gets_no_other_grant(http: LocalHttp, body: dict[str, str]) -> None:
    assert http.request("POST", "/v1/grants", json=body).status == 403


def other_seed(journey: Journey, http: LocalHttp, **changes: str) -> str:
    seed_id = "99999999-9999-4999-8999-999999999999"
    body = journey.seed_body(seed_id=seed_id, job_name="harbour-second", **changes)
    http.ok("POST", "/v1/seeds", body)
    return seed_id


def closed(http: LocalHttp, seed_id: str) -> None:
    body = {"kind": "seed-container", "seed_id": seed_id}
    for method, path, sent in (
        ("GET", f"/v1/seeds/{seed_id}", None),
        ("GET", f"/v1/seeds/{seed_id}/adoption", None),
        ("GET", f"/v1/seeds/{seed_id}/missing", None),
        ("POST", f"/v1/seeds/{seed_id}/adoption", None),
        ("POST", "/v1/grants", body),
    ):
        assert http.request(method, path, json=sent).status == 404, (method, path)


@pytest.mark.requirement("R47")
def test_other_computers_seeds_and_jobs_do_not_exist_for_it(
    http: LocalHttp, journey: Journey, tenancy: Tenancy, client_id: str
) -> None:
    made = journey.cloud.register(
        journey.world, name="srv-2", repository_id=NOWHERE, signing_key=Secret(b"c" * 32)
    )
    seed_id = other_seed(journey, journey.cloud.http(made["token"]))
    closed(http, seed_id)
    assert [each["seed_id"] for each in http.ok("GET", "/v1/seeds")] == [journey.seed.seed_id]
    form = tenancy.form(PROGRAM.assertion(tenancy.claims(client_id)), scope=f"seed/{seed_id}")
    assert tenancy.post(form).json()["error"] == "invalid_scope"
    second = journey.world.job_path("harbour-second")
    journey.admin.ok("PUT", second, job_body(journey.world, serials=["B"], seed_id=seed_id))
    journey.admin.ok("PUT", journey.world.job_path("bare"), job_body(journey.world, serials=["C"]))
    journey.prepare()
    for name in ("harbour-second", "bare"):
        assert http.request("GET", journey.world.job_path(name)).status in {403, 404}
    for group in (True, False):
        listed: Any = http.ok("GET", journey.jobs_url(group=group))["value"]
        assert [each["name"] for each in listed] == [journey.name]


@pytest.mark.requirement("R47")
def test_a_narrowed_token_is_for_one_seed(
    http: LocalHttp, journey: Journey, tenancy: Tenancy, client_id: str
) -> None:
    seed_id = other_seed(journey, journey.agent)
    narrow = tenancy.token(client_id, PROGRAM, f"api://overland/seed/{journey.seed.seed_id}")
    only = tenancy.cloud.http(narrow)
    assert [each["seed_id"] for each in only.ok("GET", "/v1/seeds")] == [journey.seed.seed_id]
    closed(only, seed_id)
    assert len(http.ok("GET", "/v1/seeds")) == 2, ".default is for all of the computer's"


@pytest.mark.requirement("R47")
def test_an_abandoned_seed_is_closed_to_it(
    http: LocalHttp, journey: Journey, tenancy: Tenancy, client_id: str
) -> None:
    journey.prepare()
    assert http.request("GET", journey.job_path).status == 200
    journey.admin.ok("PATCH", journey.seed_path, {"state": "Abandoned"})
    closed(http, journey.seed.seed_id)
    assert http.request("GET", journey.job_path).status in {403, 404}
    form = tenancy.form(
        PROGRAM.assertion(tenancy.claims(client_id)), scope=f"seed/{journey.seed.seed_id}"
    )
    assert tenancy.post(form).json()["error"] == "invalid_scope"


def test_tokens_of_machines_are_no_access_tokens_and_the_other_way_round(
    cloud: LocalCloud, tenancy: Tenancy, client_id: str
) -> None:
    token = tenancy.token(client_id, PROGRAM)
    for text in (f"ov1_{token}", token[:-4], token + "x", token.upper()):
        assert cloud.http(text).request("GET", "/v1/seeds").status == 401
