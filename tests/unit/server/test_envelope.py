"""What surrounds a request: spelling of paths, api-version, sizes, headers, shape of errors."""

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.asgi import AsgiClient
from tests.support.cloud import ARM, LocalCloud
from tests.support.cloudsamples import Journey

from overland.server.envelope import IMPORT_EXPORT_VERSIONS, canonical_path

SAMPLES = [
    "/providers/Microsoft.ImportExport/locations",
    "/providers/Microsoft.ImportExport/locations/West US",
    "/subscriptions/ID/providers/Microsoft.ImportExport/jobs",
    "/subscriptions/ID/resourceGroups/Jobs/providers/Microsoft.ImportExport/jobs/PROVIDERS",
    "/subscriptions/ID/resourceGroups/RG/providers/Microsoft.ImportExport/jobs/J/listBitLockerKeys",
    "/subscriptions/ID/resourceGroups/RG/providers/Microsoft.Storage/storageAccounts/A/blobServices/default/containers/C",
    "/subscriptions/ID/resourceGroups/providers/providers/Microsoft.RecoveryServices/vaults/V",
]


@pytest.mark.parametrize("path", SAMPLES)
def test_a_canonical_path_stays_as_it_is(path: str) -> None:
    assert canonical_path(path) == path


@pytest.mark.parametrize("path", SAMPLES)
def test_fixed_parts_get_one_spelling_and_names_keep_theirs(path: str) -> None:
    for other in (path.lower(), path.upper()):
        found = canonical_path(other)
        assert found.casefold() == path.casefold()
        for mine, given_, sample in zip(
            found.split("/"), other.split("/"), path.split("/"), strict=True
        ):
            assert mine in (given_, sample)


def test_a_name_that_is_spelled_like_a_fixed_part_is_not_touched() -> None:
    path = "/SUBSCRIPTIONS/jobs/RESOURCEGROUPS/JOBS/PROVIDERS/microsoft.importexport/JOBS/Providers"
    assert canonical_path(path) == (
        "/subscriptions/jobs/resourceGroups/JOBS/providers/Microsoft.ImportExport/jobs/Providers"
    )


@given(path=st.text(alphabet="/aA.sSubcriptonPvdejJ-%", max_size=60))
def test_any_path_keeps_its_letters(path: str) -> None:
    assert canonical_path(path).casefold() == path.casefold()


def test_a_job_answers_in_any_spelling_of_its_path(journey: Journey) -> None:
    journey.announce()
    journey.prepare()
    path, _, query = journey.job_path.partition("?")
    subscription = journey.world.subscription_id
    for other in (path.upper(), path.lower(), path.replace(subscription, subscription.upper())):
        assert journey.admin.ok("GET", f"{other}?{query}")["name"] == "harbour-first"


@pytest.mark.parametrize("version", sorted(IMPORT_EXPORT_VERSIONS))
def test_all_three_versions_know_the_same_locations(cloud: LocalCloud, version: str) -> None:
    http = cloud.http(cloud.root_token)
    path = "/providers/Microsoft.ImportExport/locations/westus?api-version="
    assert http.ok("GET", path + version) == http.ok("GET", path + "2021-01-01")


@pytest.mark.parametrize("version", sorted(IMPORT_EXPORT_VERSIONS))
def test_a_job_is_the_same_in_all_three_versions_but_for_what_the_first_did_not_have(
    journey: Journey, version: str
) -> None:
    journey.announce()
    journey.prepare()
    newest = journey.job()
    job = journey.admin.ok("GET", journey.job_path.replace("2021-01-01", version))
    assert ("systemData" in job) == (version != "2016-11-01")
    newest.pop("systemData")
    job.pop("systemData", None)
    assert job == newest


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "MissingApiVersionParameter"),
        ("?api-version=2021-01-01&api-version=2021-01-01", "MissingApiVersionParameter"),
        ("?api-version=", "MissingApiVersionParameter"),
        ("?api-version=2015-01-01", "NoRegisteredProviderFound"),
        ("?api-version=2021-01-01-preview", "NoRegisteredProviderFound"),
        ("?api-version=newest", "InvalidApiVersionParameter"),
    ],
)
def test_the_version_is_required_and_known(cloud: LocalCloud, query: str, code: str) -> None:
    path = f"/providers/Microsoft.ImportExport/locations{query}"
    reply = cloud.http(cloud.root_token).request("GET", path)
    assert (reply.status, reply.body["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", f"/subscriptions/x/nothing?{ARM}", 404, "ResourceNotFound"),
        ("DELETE", "/v1/tenants", 405, "method-not-allowed"),
        ("POST", "/v1/tenants", 400, "invalid"),
        ("GET", "/", 404, "ResourceNotFound"),
        ("GET", "/v1/tokens/../healthz", 404, "not-found"),
    ],
)
def test_every_failure_has_the_one_shape(
    cloud: LocalCloud, method: str, path: str, status: int, code: str
) -> None:
    reply = cloud.http(cloud.root_token).request(method, path, raw=b"{not json")
    assert reply.status == status, reply.body
    assert reply.body["error"]["code"] == code
    assert reply.body["error"]["message"]


def test_a_method_that_a_route_does_not_know_is_told_which_ones_it_does(cloud: LocalCloud) -> None:
    client = AsgiClient(cloud.app)
    cloud.app.state.services = cloud.services
    answer = client.request("DELETE", f"/providers/Microsoft.ImportExport/locations?{ARM}")
    assert (answer.status, answer.json()["error"]["code"]) == (405, "MethodNotAllowed")
    assert answer.headers["allow"] == "GET"
    job = client.request("POST", cloud.world().job_path("job-1"))
    assert job.headers["allow"] == "DELETE, GET, PATCH, PUT", "one path has several routes"


def test_an_absent_group_has_the_resource_managers_own_code(cloud: LocalCloud) -> None:
    world = cloud.world()
    path = world.job_path("job-1").replace("rg-harbour", "rg-none")
    reply = cloud.http(world.admin).request("GET", path)
    assert (reply.status, reply.body["error"]["code"]) == (404, "ResourceGroupNotFound")


def test_a_number_is_no_switch(journey: Journey) -> None:
    journey.announce()
    journey.prepare()
    for name in ("cancelRequested", "backupDriveManifest"):
        reply = journey.admin.request("PATCH", journey.job_path, json={"properties": {name: 1}})
        assert (reply.status, reply.body["error"]["target"]) == (400, f"properties.{name}")


def test_a_malformed_body_says_what_and_where(cloud: LocalCloud) -> None:
    reply = cloud.http(cloud.root_token).request("POST", "/v1/tenants", json={"nme": "x"})
    assert reply.status == 400
    targets = {each["target"] for each in reply.body["error"]["details"]}
    assert targets == {"name", "nme"}


def test_a_defect_is_500_and_tells_nothing(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret is 238810")

    monkeypatch.setattr("overland.server.routes_tenants.resources.create_tenant", broken)
    reply = cloud.http(cloud.root_token).request("POST", "/v1/tenants", json={"name": "x"})
    assert reply.status == 500
    assert reply.body["error"]["code"] == "internal-error"
    assert b"238810" not in reply.raw


def test_healthz_needs_no_token_and_the_api_describes_itself(cloud: LocalCloud) -> None:
    assert cloud.http(None).ok("GET", "/healthz") == {"status": "ok"}
    described = cloud.http(None).ok("GET", "/openapi.json")
    assert len(described["paths"]) > 35
    assert cloud.http(None).request("GET", "/docs").status == 200


def exchange(cloud: LocalCloud, headers: dict[str, str], content: bytes = b"") -> httpx.Response:
    cloud.app.state.services = cloud.services

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(cloud.app)
        async with httpx.AsyncClient(transport=transport, base_url="https://c.test") as client:
            request = client.build_request("POST", "/v1/tenants", content=content)
            request.headers.update(headers)
            return await client.send(request)

    return asyncio.run(send())


def test_a_body_without_length_or_too_long_is_not_read(cloud: LocalCloud) -> None:
    assert exchange(cloud, {"transfer-encoding": "chunked"}).status_code == 411
    assert exchange(cloud, {"content-length": str((1 << 20) + 1)}).status_code == 413
    assert exchange(cloud, {"content-length": "-1"}).status_code == 413
    assert exchange(cloud, {"content-length": "x"}).status_code == 413


def test_answers_carry_the_common_headers(cloud: LocalCloud) -> None:
    response = exchange(cloud, {})
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["strict-transport-security"].startswith("max-age=31536000")
    assert len(response.headers["x-ms-request-id"]) == 36
