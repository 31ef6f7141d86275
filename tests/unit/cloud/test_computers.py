"""Source computers, and the two files that let machines in."""

import base64
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta

import pytest
from tests.support.cloud import LocalCloud, World, registration_body
from tests.support.cloudsamples import Journey

from overland.crypto.secrets import Secret
from overland.ports.http import Reply

REPOSITORY = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"
KEY, OTHER_KEY = Secret(b"k" * 32), Secret(b"o" * 32)
NAMESPACE = "{urn:overland:publish-settings:1}"


@pytest.fixture
def world(cloud: LocalCloud) -> World:
    return cloud.world()


@pytest.mark.requirement("R12")
def test_vault_credentials_say_all_that_a_computer_needs_to_register(
    cloud: LocalCloud, world: World
) -> None:
    reply = cloud.http(world.admin).request("POST", f"/v1/vaults/{world.vault_id}/credentials")
    assert reply.status == 201
    token = reply.body.pop("registration_token")
    assert reply.body == {
        "format": 1,
        "url": "https://cloud.test",
        "object_url": "https://objects.test",
        "ca_pem": "PEM\n",
        "tenant_id": world.tenant_id,
        "vault_id": world.vault_id,
        "vault_name": "vault-1",
        "expires_at": (cloud.clock.now() + timedelta(days=10)).isoformat(),
    }
    said = {**reply.body, "registration_token": token}
    body = registration_body(said, name="srv", repository_id=REPOSITORY, signing_key=KEY)
    cloud.clock.advance(timedelta(days=10))
    assert cloud.http(token).request("POST", "/v1/source-computers", json=body).status == 401


def test_registering_again_gives_the_same_id_and_ends_the_old_token(
    cloud: LocalCloud, world: World
) -> None:
    answers = [
        cloud.register(world, name=name, repository_id=REPOSITORY, signing_key=KEY)
        for name in ("srv-1", "SRV-1")
    ]
    assert answers[0]["source_computer_id"] == answers[1]["source_computer_id"]
    statuses = [cloud.http(each["token"]).request("GET", "/v1/points").status for each in answers]
    assert statuses == [401, 200]


@pytest.mark.parametrize(
    ("name", "repository", "key"),
    [("srv-1", OTHER, KEY), ("renamed", REPOSITORY, KEY), ("srv-1", REPOSITORY, OTHER_KEY)],
    ids=["other repository", "renamed", "other key"],
)
@pytest.mark.requirement("R136")
def test_a_copied_or_renamed_computer_is_noticed(
    cloud: LocalCloud, world: World, name: str, repository: str, key: Secret
) -> None:
    cloud.register(world, name="srv-1", repository_id=REPOSITORY, signing_key=KEY)
    credentials = credentials_of(cloud, world)
    body = registration_body(credentials, name=name, repository_id=repository, signing_key=key)
    reply = _register(cloud, credentials, body)
    assert (reply.status, reply.body["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    "change", [{"name": " "}, {"repository_id": "x"}, {"signing_public_key": "AB" * 32}]
)
def test_a_registration_that_makes_no_sense_is_refused(
    cloud: LocalCloud, world: World, change: dict[str, str]
) -> None:
    credentials = credentials_of(cloud, world)
    body = registration_body(credentials, name="srv", repository_id=REPOSITORY, signing_key=KEY)
    assert _register(cloud, credentials, body | change).status == 400


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize(
    "what", ["another key", "another name", "another token", "another vault", "nonsense"]
)
def test_who_does_not_hold_the_signing_key_registers_nothing_and_ends_no_token(
    cloud: LocalCloud, world: World, what: str, *, is_known: bool
) -> None:
    tokens = []
    if is_known:
        known = cloud.register(world, name="srv", repository_id=REPOSITORY, signing_key=KEY)
        tokens.append(known["token"])
    credentials = credentials_of(cloud, world)
    named = {"name": "srv", "repository_id": REPOSITORY}
    body = registration_body(credentials, **named, signing_key=KEY)
    forged = {
        "another key": registration_body(credentials, **named, signing_key=OTHER_KEY),
        "another name": registration_body(
            credentials, name="x", repository_id=REPOSITORY, signing_key=KEY
        ),
        "another token": registration_body(credentials_of(cloud, world), **named, signing_key=KEY),
        "another vault": registration_body(
            credentials | {"vault_id": OTHER}, **named, signing_key=KEY
        ),
        "nonsense": {"proof": "00" * 64},
    }
    reply = _register(cloud, credentials, body | {"proof": forged[what]["proof"]})
    assert (reply.status, reply.body["error"]["code"]) == (400, "registration-unproven")
    assert [cloud.http(each).request("GET", "/v1/points").status for each in tokens] == (
        [200] if is_known else []
    )
    assert _register(cloud, credentials, body).status == (200 if is_known else 201)


def test_a_registration_without_proof_is_refused(cloud: LocalCloud, world: World) -> None:
    credentials = credentials_of(cloud, world)
    body = registration_body(credentials, name="srv", repository_id=REPOSITORY, signing_key=KEY)
    del body["proof"]
    reply = _register(cloud, credentials, body)
    assert (reply.status, reply.body["error"]["target"]) == (400, "proof")


def credentials_of(cloud: LocalCloud, world: World) -> dict[str, str]:
    made: dict[str, str] = cloud.http(world.admin).ok(
        "POST", f"/v1/vaults/{world.vault_id}/credentials"
    )
    return made


def _register(cloud: LocalCloud, credentials: dict[str, str], body: dict[str, str]) -> Reply:
    http = cloud.http(credentials["registration_token"])
    return http.request("POST", "/v1/source-computers", json=body)


def test_a_computer_knows_itself(journey: Journey) -> None:
    found = journey.agent.ok("GET", f"/v1/source-computers/{journey.computer_id}")
    assert (found["name"], found["vault_id"]) == ("srv-1", journey.world.vault_id)
    assert journey.admin.ok("GET", f"/v1/source-computers/{journey.computer_id}") == found


@pytest.mark.requirement("R55")
def test_publish_settings_have_the_documented_elements_and_no_certificate(
    cloud: LocalCloud, world: World
) -> None:
    path = f"/v1/subscriptions/{world.subscription_id}/publish-settings"
    answer = cloud.http(world.admin).ok("POST", path, {"job_name": "job-1"})
    root = ET.fromstring(answer["xml"])
    (profile,) = root
    (subscription,) = profile
    assert (root.tag, profile.tag, subscription.tag) == (
        "PublishData",
        "PublishProfile",
        "Subscription",
    )
    assert profile.attrib == {
        "SchemaVersion": "2.0",
        "PublishMethod": "AzureServiceManagementAPI",
    }
    found = subscription.attrib
    assert found["ServiceManagementUrl"] == "https://cloud.test"
    assert (found["Id"], found["Name"]) == (world.subscription_id, "harbour")
    assert found["ManagementCertificate"] == ""
    assert base64.b64decode(found[f"{NAMESPACE}CaCertificate"]) == b"PEM\n"
    assert found[f"{NAMESPACE}JobName"] == "job-1"
    assert datetime.fromisoformat(found[f"{NAMESPACE}Expires"]) == cloud.clock.now() + timedelta(
        days=60
    )
    assert cloud.http(found[f"{NAMESPACE}Token"]).request("GET", "/v1/subscriptions").status == 200


def test_a_subscriptions_name_cannot_break_the_file(cloud: LocalCloud) -> None:
    _, admin = cloud.tenant()
    http = cloud.http(admin)
    name = """R&D "<Quay>" 'x'"""
    made = http.ok("POST", "/v1/subscriptions", {"name": name})
    path = f"/v1/subscriptions/{made['subscription_id']}/publish-settings"
    root = ET.fromstring(http.ok("POST", path)["xml"])
    assert root[0][0].attrib["Name"] == name
    assert f"{NAMESPACE}JobName" not in root[0][0].attrib
