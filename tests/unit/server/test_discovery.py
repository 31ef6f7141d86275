"""Where clients find a tenant's endpoints and the issuer's keys; how often they may ask."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.support.applicants import Program, Tenancy
from tests.support.asgi import AsgiClient
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey

from overland.cloud.ratelimits import RateLimit

PROGRAM = Program()
NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def tenancy(journey: Journey) -> Tenancy:
    world = journey.world
    return Tenancy(cloud=journey.cloud, tenant_id=world.tenant_id, admin_token=world.admin)


@pytest.fixture
def client_id(tenancy: Tenancy, journey: Journey) -> str:
    application_id = tenancy.application()
    tenancy.enroll(application_id, PROGRAM, journey.computer_id)
    return application_id


def test_who_asks_too_often_waits(tenancy: Tenancy, client_id: str) -> None:
    for _ in range(300):
        assert tenancy.post(b"").json()["error"] == "unsupported_grant_type"
    answer = tenancy.post(tenancy.form(PROGRAM.assertion(tenancy.claims(client_id))))
    assert (answer.status, answer.headers["retry-after"]) == (429, "61")
    tenancy.cloud.clock.advance(timedelta(minutes=1))
    tenancy.token(client_id, PROGRAM)


def test_the_rate_is_counted_by_caller_in_bounded_memory() -> None:
    limit, now = RateLimit(2), datetime(2027, 3, 1, tzinfo=UTC)
    assert [limit.wait("a", at=now) for _ in range(2)] == [None, None]
    assert limit.wait("a", at=now + timedelta(seconds=20)) == timedelta(seconds=40)
    assert limit.wait("b", at=now) is None
    assert limit.wait("a", at=now - timedelta(days=1)) is None, "a clock set back locks nobody out"
    for number in range(11_000):
        limit.wait(str(number), at=now)
    assert len(limit._windows) <= 10_000


def get(cloud: LocalCloud, path: str) -> tuple[int, Any]:
    cloud.app.state.services = cloud.services
    answer = AsgiClient(cloud.app).request("GET", path)
    return answer.status, answer.json()


def test_discovery_names_endpoints_of_this_tenant(tenancy: Tenancy) -> None:
    base = f"https://cloud.test/{tenancy.tenant_id}"
    path = f"/{tenancy.tenant_id}/v2.0/.well-known/openid-configuration"
    status, found = get(tenancy.cloud, path)
    assert (status, found["issuer"]) == (200, f"{base}/v2.0")
    assert found["token_endpoint"] == tenancy.endpoint
    assert found["jwks_uri"] == f"{base}/discovery/v2.0/keys"
    assert get(tenancy.cloud, f"/{tenancy.tenant_id}/discovery/v2.0/keys") == (200, {"keys": []})
    assert get(tenancy.cloud, f"/{tenancy.tenant_id}/oauth2/v2.0/authorize")[0] == 400
    for path in ("v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"):
        for tenant in (NOWHERE, "harbour"):
            status, found = get(tenancy.cloud, f"/{tenant}/{path}")
            assert (status, found["error"]) == (400, "invalid_tenant")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (f"https://cloud.test/{NOWHERE}/oauth2/v2.0/authorize", 200),
        ("https://cloud.test/", 400),
        ("http://cloud.test/x", 400),
        ("https://login.example/x/oauth2/v2.0/authorize", 400),
        ("https://[", 400),
        ("", 400),
    ],
)
def test_instance_discovery_vouches_for_this_cloud_alone(
    cloud: LocalCloud, asked: str, status: int
) -> None:
    query = urlencode({"api-version": "1.0", "authorization_endpoint": asked})
    found = get(cloud, f"/common/discovery/instance?{query}")
    assert found[0] == status
    if status == 200:
        assert found[1]["tenant_discovery_endpoint"].startswith(
            f"https://cloud.test/{NOWHERE}/v2.0"
        )


def test_root_rotates_the_keys_and_ends_what_a_stolen_one_could_sign(
    tenancy: Tenancy, client_id: str
) -> None:
    token = tenancy.cloud.http(tenancy.token(client_id, PROGRAM))
    root = tenancy.cloud.http(tenancy.cloud.root_token)
    assert root.request("POST", "/v1/signing-keys").status == 201
    assert token.request("GET", "/v1/seeds").status == 200
    assert root.request("POST", "/v1/signing-keys", json={"end_tokens": True}).status == 201
    assert token.request("GET", "/v1/seeds").status == 401
    admin = tenancy.cloud.http(tenancy.admin_token)
    assert admin.request("POST", "/v1/signing-keys").status == 403
