"""Applications and their certificates: entered, shared, claimed, removed; per tenant."""

import base64
from datetime import timedelta

import pytest
from tests.support.applicants import Program, Tenancy
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey
from tests.support.people import Town

from overland.cloud import applications
from overland.crypto.secrets import Secret

FIRST, SECOND = Program(), Program(number=1)
NOWHERE = "00000000-0000-4000-8000-000000000000"
USER = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def tenancy(journey: Journey) -> Tenancy:
    world = journey.world
    return Tenancy(cloud=journey.cloud, tenant_id=world.tenant_id, admin_token=world.admin)


def neighbour(journey: Journey) -> dict[str, str]:
    return journey.cloud.register(
        journey.world, name="srv-2", repository_id=NOWHERE, signing_key=Secret(b"c" * 32)
    )


def status(tenancy: Tenancy, method: str, path: str, body: object = None) -> int:
    return tenancy.cloud.http(tenancy.admin_token).request(method, path, json=body).status


def test_an_application_is_made_once_and_found_again_by_its_name(tenancy: Tenancy) -> None:
    http = tenancy.cloud.http(tenancy.admin_token)
    first = http.request("POST", tenancy.path, json={"name": "AzureOfflineBackup_1"})
    again = http.request("POST", tenancy.path, json={"name": "azureofflinebackup_1"})
    assert (first.status, again.status) == (201, 200)
    assert (first.body["is_new"], again.body["is_new"]) == (True, False)
    assert first.body["application_id"] == again.body["application_id"]
    assert first.body["client_id"] == first.body["application_id"]
    other = tenancy.application("another")
    assert [each["name"] for each in http.ok("GET", tenancy.path)] == [
        "another",
        "AzureOfflineBackup_1",
    ]
    (found,) = http.ok("GET", f"{tenancy.path}?name=ANOTHER")
    assert found["application_id"] == other
    tenancy.ask("DELETE", f"{tenancy.path}/{other}")
    assert status(tenancy, "GET", f"{tenancy.path}/{other}") == 404
    assert status(tenancy, "DELETE", f"{tenancy.path}/{other}") == 404


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 121])
def test_names_follow_a_rule(tenancy: Tenancy, name: str) -> None:
    assert status(tenancy, "POST", tenancy.path, {"name": name}) == 400


def test_there_are_so_many_and_no_more(tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MAX_APPLICATIONS", "_MAX_CERTIFICATES", "_MAX_OWNERS"):
        monkeypatch.setattr(applications, name, 1)
    application_id = tenancy.application("one")
    assert status(tenancy, "POST", tenancy.path, {"name": "two"}) == 409
    where = f"{tenancy.path}/{application_id}"
    tenancy.enroll(application_id, FIRST)
    assert status(tenancy, "POST", f"{where}/certificates", {"certificate": SECOND.pem}) == 409
    assert status(tenancy, "PUT", f"{where}/owners/{USER}") == 204
    assert status(tenancy, "PUT", f"{where}/owners/{USER}") == 204
    assert status(tenancy, "PUT", f"{where}/owners/{NOWHERE}") == 409


def test_owners_answer_for_an_application(tenancy: Tenancy) -> None:
    first, _ = tenancy.application("one"), tenancy.application("two")
    tenancy.ask("PUT", f"{tenancy.path}/{first}/owners/{USER}")
    assert status(tenancy, "PUT", f"{tenancy.path}/{first}/owners/somebody") == 400
    (owned,) = tenancy.ask("GET", f"{tenancy.path}?owner={USER}")
    assert (owned["name"], owned["owners"]) == ("one", [USER])
    tenancy.ask("DELETE", f"{tenancy.path}/{first}/owners/{USER}")
    tenancy.ask("DELETE", f"{tenancy.path}/{first}/owners/{USER}")
    audited = [each["event"] for each in tenancy.ask("GET", "/v1/audit")]
    assert audited.count("owner-removed") == 1, "who is none is not removed"
    assert tenancy.ask("GET", f"{tenancy.path}?owner={USER}") == []


def test_a_certificate_is_entered_as_pem_and_as_der_once(
    tenancy: Tenancy, journey: Journey
) -> None:
    application_id = tenancy.application()
    made = tenancy.enroll(application_id, FIRST, journey.computer_id)
    assert made["is_new"]
    assert made["thumbprint"] == FIRST.sha1.upper()
    assert made["source_computer_id"] == journey.computer_id
    body = {"certificate": base64.b64encode(FIRST.der).decode()}
    again = tenancy.ask("POST", f"{tenancy.path}/{application_id}/certificates", body)
    assert (again["is_new"], again["source_computer_id"]) == (False, journey.computer_id)
    (listed,) = tenancy.ask("GET", f"{tenancy.path}/{application_id}/certificates")
    assert (listed["sha256"], listed["expired"]) == (FIRST.sha256, False)


@pytest.mark.requirement("R48")
def test_several_servers_share_an_application_each_with_a_certificate(
    tenancy: Tenancy, journey: Journey
) -> None:
    """The original fails at the second certificate; each server here sees its own seeds only."""
    journey.announce()
    application_id = tenancy.application()
    tenancy.enroll(application_id, FIRST, journey.computer_id)
    tenancy.cloud.clock.advance(timedelta(minutes=1))
    tenancy.enroll(application_id, SECOND, neighbour(journey)["source_computer_id"])
    found = tenancy.ask("GET", f"{tenancy.path}/{application_id}")["certificates"]
    assert [each["sha256"] for each in found] == [FIRST.sha256, SECOND.sha256]
    seen = []
    for program in (FIRST, SECOND):
        http = tenancy.cloud.http(tenancy.token(application_id, program))
        seen.append([each["seed_id"] for each in http.ok("GET", "/v1/seeds")])
    assert seen == [[journey.seed.seed_id], []]
    tenancy.ask("DELETE", f"{tenancy.path}/{application_id}/certificates/{SECOND.sha256}")
    tenancy.token(application_id, FIRST)


def test_a_certificate_that_is_unfit_or_over_is_not_entered(tenancy: Tenancy) -> None:
    where = f"{tenancy.path}/{tenancy.application()}/certificates"
    over = Program(number=2, not_after=tenancy.cloud.clock.now())
    for text in (over.pem, FIRST.key_pem, "é", "====", "", "x" * 40_000):
        assert status(tenancy, "POST", where, {"certificate": text}) == 400
    assert status(tenancy, "DELETE", f"{where}/{FIRST.sha1}") == 404
    assert tenancy.ask("GET", where) == []


def test_a_certificate_speaks_for_a_computer_of_the_tenant_and_for_one(
    tenancy: Tenancy, journey: Journey
) -> None:
    where = f"{tenancy.path}/{tenancy.application()}/certificates"
    for computer, expected in (
        ("x", 400),
        (NOWHERE, 400),
        (journey.computer_id, 201),
        (neighbour(journey)["source_computer_id"], 409),
    ):
        body = {"certificate": FIRST.pem, "source_computer_id": computer}
        assert status(tenancy, "POST", where, body) == expected


@pytest.mark.requirement("R43", "R48")
def test_a_certificate_that_was_entered_by_hand_opens_nothing_until_its_computer_claims_it(
    tenancy: Tenancy, journey: Journey
) -> None:
    journey.announce()
    application_id = tenancy.application()
    tenancy.enroll(application_id, FIRST)
    form = tenancy.form(FIRST.assertion(tenancy.claims(application_id)))
    answer = tenancy.post(form)
    assert (answer.status, answer.json()["error"]) == (400, "unauthorized_client")

    claims = f"{tenancy.path}/{application_id}/claims"

    def claim(http: object, program: Program, **changes: object) -> int:
        assertion = program.assertion(tenancy.claims(application_id, **changes))
        reply = http.request("POST", claims, json={"client_assertion": assertion})  # type: ignore[attr-defined] # LocalHttp
        return int(reply.status)

    second = tenancy.cloud.http(neighbour(journey)["token"])
    assert claim(second, SECOND) == 403, "it does not hold the certificate's key"
    assert claim(second, FIRST, aud="https://other") == 403
    assert claim(tenancy.cloud.http(tenancy.admin_token), FIRST) == 403, "no source computer"
    assert claim(journey.agent, FIRST) == 200
    assert claim(journey.agent, FIRST) == 200, "again changes nothing"
    assert claim(second, FIRST) == 409, "it speaks for another computer"
    token = tenancy.cloud.http(tenancy.token(application_id, FIRST))
    assert [each["seed_id"] for each in token.ok("GET", "/v1/seeds")] == [journey.seed.seed_id]


def test_a_claim_is_taken_once_and_at_its_application(tenancy: Tenancy, journey: Journey) -> None:
    one, two = tenancy.application("one"), tenancy.application("two")
    tenancy.enroll(one, FIRST)
    body = {"client_assertion": FIRST.assertion(tenancy.claims(one))}
    assert journey.agent.request("POST", f"{tenancy.path}/{two}/claims", json=body).status == 409
    assert journey.agent.request("POST", f"{tenancy.path}/{one}/claims", json=body).status == 200
    assert journey.agent.request("POST", f"{tenancy.path}/{one}/claims", json=body).status == 403
    other_id, _ = journey.cloud.tenant("inland")
    path = f"/v1/tenants/{other_id}/applications/{one}/claims"
    assert journey.agent.request("POST", path, json=body).status == 403


def test_another_tenants_applications_are_closed(tenancy: Tenancy, journey: Journey) -> None:
    application_id = tenancy.application()
    _, stranger = journey.cloud.tenant("inland")
    stranger_id = journey.cloud.http(stranger)
    where = f"{tenancy.path}/{application_id}"
    for method, path, body in (
        ("GET", tenancy.path, None),
        ("POST", tenancy.path, {"name": "x"}),
        ("GET", where, None),
        ("DELETE", where, None),
        ("GET", f"{where}/certificates", None),
        ("POST", f"{where}/certificates", {"certificate": FIRST.pem}),
        ("DELETE", f"{where}/certificates/{FIRST.sha1}", None),
        ("PUT", f"{where}/owners/{USER}", None),
    ):
        assert stranger_id.request(method, path, json=body).status == 403, (method, path)


def test_expiry_is_shown(tenancy: Tenancy, journey: Journey) -> None:
    application_id = tenancy.application()
    ends = tenancy.cloud.clock.now() + timedelta(days=1)
    tenancy.enroll(application_id, Program(number=2, not_after=ends), journey.computer_id)
    where = f"{tenancy.path}/{application_id}/certificates"
    assert not tenancy.ask("GET", where)[0]["expired"]
    tenancy.cloud.clock.advance(timedelta(days=1))
    assert tenancy.ask("GET", where)[0]["expired"]


def test_who_makes_an_application_signed_in_is_its_first_owner(cloud: LocalCloud) -> None:
    town = Town.of(cloud)
    ada = town.person("ada", "owner")
    made = ada.ok("POST", "/v1/tenants/mine/applications", {"name": "app"})
    assert made["owners"] == [ada.ok("GET", "/v1/me")["user_id"]]
    again = town.admin.ok("POST", "/v1/tenants/mine/applications", {"name": "app"})
    assert (again["is_new"], again["owners"]) == (False, made["owners"])


def test_people_need_the_whole_tenant_for_its_applications(cloud: LocalCloud) -> None:
    town = Town.of(cloud)
    made = town.admin.ok("POST", "/v1/subscriptions", {"name": "Main"})
    bea = town.person("bea", "contributor")
    cid = town.person("cid", "owner", subscription_id=made["subscription_id"])
    for person in (bea, cid):
        for method, body in (("GET", None), ("POST", {"name": "app"})):
            path = "/v1/tenants/mine/applications"
            assert person.request(method, path, json=body).status == 403
