"""Grants: each machine gets one corner, and nobody may delete."""

from datetime import datetime

import pytest
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey, job_body

from overland.cloud import grants
from overland.cloud.grants import Grant
from overland.crypto import sign


def opened(cloud: LocalCloud, answer: dict[str, str]) -> Grant:
    key = sign.public_key(cloud.grant_key)
    return grants.verify(answer["token"], public_key=key, at=cloud.clock.now())


def test_an_agent_gets_its_own_folder_of_its_vault(journey: Journey) -> None:
    answer = journey.agent.ok("POST", "/v1/grants", {"kind": "vault"})
    grant = opened(journey.cloud, answer)
    assert grant.space == answer["space"] == f"vaults/{journey.world.vault_id}"
    assert grant.prefixes == (f"{journey.computer_id}/",)
    assert grant.permissions == {"create", "read", "list"}
    assert datetime.fromisoformat(answer["expires_at"]) == grant.expires_at
    assert answer["endpoint"] == "https://objects.test"


def test_an_agent_may_read_what_arrived_of_its_seed(journey: Journey) -> None:
    journey.announce()
    body = {"kind": "seed-container", "seed_id": journey.seed.seed_id}
    grant = opened(journey.cloud, journey.agent.ok("POST", "/v1/grants", body))
    assert grant.space == "accounts/harbourdata/seeds"
    assert grant.prefixes == (f"seed-{journey.seed.seed_id}/",)
    assert grant.permissions == {"read", "list"}


def test_a_station_may_write_a_received_jobs_seed_and_logs(journey: Journey) -> None:
    journey.to_dock()
    body = {"kind": "import", "job_id": journey.job_id}
    grant = opened(journey.cloud, journey.station.ok("POST", "/v1/grants", body))
    assert grant.prefixes == (f"seed-{journey.seed.seed_id}/", "waimportexport/")
    assert grant.permissions == {"create", "read", "list"}


def test_a_station_gets_nothing_before_the_drives_are_here(journey: Journey) -> None:
    journey.stage()
    journey.prepare()
    journey.ship()
    body = {"kind": "import", "job_id": journey.job_id}
    assert journey.station.request("POST", "/v1/grants", json=body).status == 409


@pytest.mark.parametrize(
    "body", [{"kind": "all"}, {"kind": "import"}, {"kind": "seed-container"}, {}]
)
def test_a_grant_that_does_not_exist_is_refused(journey: Journey, body: dict[str, str]) -> None:
    assert journey.agent.request("POST", "/v1/grants", json=body).status == 400


def test_neither_gets_the_others(journey: Journey) -> None:
    journey.to_dock()
    seed = {"kind": "seed-container", "seed_id": journey.seed.seed_id}
    job = {"kind": "import", "job_id": journey.job_id}
    assert journey.agent.request("POST", "/v1/grants", json=job).status == 403
    assert journey.station.request("POST", "/v1/grants", json=seed).status == 403
    assert journey.station.request("POST", "/v1/grants", json={"kind": "vault"}).status == 403


@pytest.mark.parametrize("path", ["../other", "a/../b", "/", "logs/", "a\\b", "seed-1"])
def test_logs_cannot_be_led_elsewhere(journey: Journey, path: str) -> None:
    journey.stage()
    body = job_body(journey.world, seed_id=journey.seed.seed_id)
    body["properties"]["diagnosticsPath"] = path
    reply = journey.admin.request("PUT", journey.job_path, json=body)
    assert (reply.status, reply.body["error"]["target"]) == (400, "diagnosticsPath")


def other_job(journey: Journey) -> str:
    """Ship a job of somebody else's drive, and return its id."""
    journey.to_dock()
    body = job_body(journey.world, serials=["FILM1"])
    path = journey.world.job_path("films")
    journey.admin.ok("PUT", path, body)
    package = {"carrierName": "UPS", "trackingNumber": "1Z-FILMS", "driveCount": 1}
    patch = {"properties": {"state": "Shipping", "deliveryPackage": package}}
    journey.admin.ok("PATCH", path, patch)
    parcel = {"tracking_number": "1Z-FILMS", "carrier": "UPS", "serials": ["FILM1"]}
    job_id: str = journey.station.ok("POST", "/v1/station/parcels", parcel)["job_id"]
    return job_id


def test_a_station_may_bring_blobs_of_other_tools_into_the_jobs_own_account(
    journey: Journey,
) -> None:
    job_id = other_job(journey)
    ask = {"kind": "import", "job_id": job_id, "container": "films"}
    grant = opened(journey.cloud, journey.station.ok("POST", "/v1/grants", ask))
    assert (grant.space, grant.prefixes) == ("accounts/harbourdata/films", ("",))
    assert grant.permissions == {"create", "read", "list"}
    more = opened(journey.cloud, journey.station.ok("POST", "/v1/grants", ask | {"replace": True}))
    assert more.permissions == {"create", "read", "list", "delete"}


@pytest.mark.parametrize("container", ["Films", "a", "../vaults", "a--b", "$web"])
def test_only_a_container_is_opened(journey: Journey, container: str) -> None:
    ask = {"kind": "import", "job_id": other_job(journey), "container": container}
    assert journey.station.request("POST", "/v1/grants", json=ask).status == 400


def test_a_job_with_a_seed_opens_no_whole_container(journey: Journey) -> None:
    journey.to_dock()
    ask = {"kind": "import", "job_id": journey.job_id, "container": "seeds", "replace": True}
    assert journey.station.request("POST", "/v1/grants", json=ask).status == 409
    assert journey.agent.request("POST", "/v1/grants", json=ask).status == 403
