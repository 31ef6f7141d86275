"""People, service accounts and assignments: nobody gets or grants more than they have."""

from datetime import timedelta
from typing import Any

import pytest
from tests.support.cloud import ARM, LocalCloud, LocalHttp
from tests.support.cloudsamples import Journey, job_body
from tests.support.people import Town

from overland.cloud import people


@pytest.fixture
def town(cloud: LocalCloud) -> Town:
    return Town.of(cloud)


def account(town: Town, name: str, role: str, **place: str) -> LocalHttp:
    """Return the API as a new service account sees it."""
    town.admin.ok("POST", "/v1/users", {"name": name, "kind": "service", "role": role, **place})
    made = town.admin.ok("POST", f"/v1/users/{name}/tokens", {"expires_in_days": 30})
    return town.cloud.http(made["token"])


def assigned(http: LocalHttp, user: str, role: str) -> Any:
    found = http.ok("GET", "/v1/role-assignments")
    (one,) = [each for each in found if (each["user"], each["role"]) == (user, role)]
    return one


def owner_of(town: Town) -> str:
    """Make an owner; return the id of the assignment."""
    town.invite("oda", "owner")
    return str(assigned(town.admin, "oda", "owner")["assignment_id"])


def message(http: LocalHttp, method: str, path: str, body: object = None) -> str:
    reply = http.request(method, path, json=body)
    assert reply.status in (403, 409), reply.body
    return str(reply.body["error"]["message"])


@pytest.mark.requirement("R28")
def test_a_role_too_low_is_refused_and_named(town: Town) -> None:
    reader = account(town, "auditor", "reader")
    said = message(reader, "POST", "/v1/subscriptions", {"name": "Main"})
    assert said == "your roles (reader) do not allow subscriptions/write"
    nobody = account(town, "nobody", "reader")
    found = assigned(town.admin, "nobody", "reader")["assignment_id"]
    town.admin.ok("DELETE", f"/v1/role-assignments/{found}")
    said = message(nobody, "GET", "/v1/subscriptions")
    assert said == "your roles (none) do not allow subscriptions/read"


def test_the_first_owner_comes_in_with_the_administrators_token(town: Town) -> None:
    ada = town.person("ada", "owner")
    assert ada.ok("GET", "/v1/users")[0]["state"] == "active"
    town.invite("bob")
    ada.ok("POST", "/v1/role-assignments", {"user": "BOB", "role": "contributor"})
    body = {"user": "bob", "role": "contributor"}
    again = ada.ok("POST", "/v1/role-assignments", body)
    assert again["assignment_id"] == assigned(ada, "bob", "contributor")["assignment_id"]
    assert ada.request("POST", "/v1/users", json={"name": "Bob"}).status == 409


def test_the_last_owner_stays(town: Town) -> None:
    ada = town.person("ada", "owner")
    town.invite("eve", "owner")  # who has no password yet, and so cannot help
    account(town, "robot", "owner")
    own = f"/v1/role-assignments/{assigned(ada, 'ada', 'owner')['assignment_id']}"
    for http in (ada, town.admin):
        assert "last owner" in message(http, "DELETE", own)
        assert "last owner" in message(http, "DELETE", "/v1/users/ada")
        assert "last owner" in message(http, "PATCH", "/v1/users/ada", {"disabled": True})
        assert "last owner" in message(http, "POST", "/v1/users/ada/invitation")
    town.settle("bob", "owner")
    ada.ok("DELETE", own)
    assert ada.request("GET", "/v1/users").status == 403, "it counts at once"
    assert "last owner" in message(town.admin, "DELETE", "/v1/users/bob")
    town.admin.ok("DELETE", "/v1/users/eve")


def test_nobody_grants_more_than_they_have(town: Town) -> None:
    made = town.admin.ok("POST", "/v1/subscriptions", {"name": "Main"})
    inside = {"subscription_id": made["subscription_id"]}
    town.invite("eve")
    ada = town.person("ada", "owner", **inside)
    path = "/v1/role-assignments"
    refused = [
        {"user": "eve", "role": "reader"},  # above ada's own place
        {"user": "eve", "role": "station-operator", **inside},
        {"user": "eve", "role": "station-operator"},
    ]
    for body in refused:
        assert ada.request("POST", path, json=body).status == 403, body
    assert "nobody grants more" in message(ada, "POST", path, refused[1])
    ada.ok("POST", path, {"user": "eve", "role": "owner", **inside})
    bob = town.person("bob", "contributor")
    assert bob.request("POST", path, json={"user": "eve", "role": "reader"}).status == 403
    odd = {"user": "eve", "role": "king"}
    assert town.admin.request("POST", path, json=odd).status == 400
    assert town.admin.request("POST", path, json={"user": "x", "role": "reader"}).status == 404
    group = {"user": "eve", "role": "reader", "resource_group": "rg"}
    assert town.admin.request("POST", path, json=group).status == 400


def test_who_may_do_more_is_not_taken_over_by_who_may_do_less(town: Town) -> None:
    town.settle("sam")
    operate = {"user": "sam", "role": "station-operator", "tenant_id": town.tenant_id}
    root = town.cloud.http(town.cloud.root_token)
    root.ok("POST", "/v1/role-assignments", operate)
    given = assigned(town.admin, "sam", "station-operator")["assignment_id"]
    first = f"/v1/role-assignments/{owner_of(town)}"
    assert root.request("DELETE", first).status == 404, "an owner's role is not theirs to take"
    owner = {**operate, "role": "owner"}
    assert root.request("POST", "/v1/role-assignments", json=owner).status == 403
    assert "nobody grants more" in message(town.admin, "POST", "/v1/users/sam/invitation")
    town.admin.ok("POST", "/v1/users", {"name": "robot", "kind": "service"})
    root.ok("POST", "/v1/role-assignments", {**operate, "user": "robot"})
    body = {"expires_in_days": 1}
    assert town.admin.request("POST", "/v1/users/robot/tokens", json=body).status == 403
    root.ok("DELETE", f"/v1/role-assignments/{given}")
    town.admin.ok("POST", "/v1/users/sam/invitation")


def test_a_service_account_ends_with_its_tokens(town: Town) -> None:
    robot = account(town, "robot", "reader")
    assert robot.ok("GET", "/v1/me")["kind"] == "service"
    assert robot.request("POST", "/v1/me/totp").status == 409
    town.admin.ok("PATCH", "/v1/users/robot", {"disabled": True})
    assert robot.request("GET", "/v1/me").status == 401
    body = {"expires_in_days": 1}
    assert town.admin.request("POST", "/v1/users/robot/tokens", json=body).status == 409
    town.admin.ok("PATCH", "/v1/users/robot", {"disabled": False})
    assert robot.request("GET", "/v1/me").status == 200
    town.admin.ok("DELETE", "/v1/users/robot")
    assert robot.request("GET", "/v1/me").status == 401
    late = account(town, "late", "reader")
    town.cloud.clock.advance(timedelta(days=30))
    assert late.request("GET", "/v1/me").status == 401
    town.settle("ada")
    assert town.admin.request("POST", "/v1/users/ada/tokens", json=body).status == 409
    for days in (0, 367):
        town.admin.request("POST", "/v1/users", json={"name": "third", "kind": "service"})
        body = {"expires_in_days": days}
        assert town.admin.request("POST", "/v1/users/third/tokens", json=body).status == 400


def test_an_account_gets_no_token_of_another_kind(town: Town) -> None:
    contributor = account(town, "builder", "contributor")
    body = {"role": "admin", "expires_in_days": 1}
    assert contributor.request("POST", "/v1/tokens", json=body).status == 403
    assert contributor.request("POST", "/v1/users", json={"name": "x"}).status == 403


def test_tenants_know_nothing_of_each_others_people(town: Town) -> None:
    made = town.settle("ada", "owner")
    own = assigned(town.admin, "ada", "owner")["assignment_id"]
    other_id, token = town.cloud.tenant("Other")
    other = town.cloud.http(token)
    assert other.ok("GET", "/v1/users") == []
    assert other.ok("GET", "/v1/role-assignments") == []
    events = [each["event"] for each in other.ok("GET", "/v1/audit")]
    assert events == ["token.issued"], "its own first one"
    closed: list[tuple[str, str, object]] = [
        ("GET", f"/v1/users/{made['user_id']}", None),
        ("PATCH", f"/v1/users/{made['user_id']}", {"disabled": True}),
        ("DELETE", f"/v1/users/{made['user_id']}", None),
        ("POST", f"/v1/users/{made['user_id']}/invitation", None),
        ("DELETE", f"/v1/role-assignments/{own}", None),
        ("POST", "/v1/role-assignments", {"user": made["user_id"], "role": "reader"}),
    ]
    for method, path, body in closed:
        assert other.request(method, path, json=body).status == 404, (method, path)
    mine = {"user": "ada", "role": "reader", "tenant_id": other_id}
    assert town.admin.request("POST", "/v1/role-assignments", json=mine).status == 403


def test_the_audit_says_who_when_from_where_and_what(town: Town) -> None:
    made = town.settle("ada", "owner")
    town.sign_in("ada")
    events = town.admin.ok("GET", "/v1/audit")
    told = [(each["event"], each["target"]) for each in reversed(events)]
    assert told == [
        ("token.issued", "admin for 366 days"),
        ("user.created", "ada (person)"),
        ("role.assigned", "ada: owner at the tenant"),
        ("password.changed", "ada"),
        ("sign-in.succeeded", "ada"),
        ("device.approved", "overland of ada on quay at there"),
        ("session.began", "overland of ada on quay at there"),
    ]
    assert events[3]["address"] == "192.0.2.7"
    assert events[0]["actor"] == f"user:{made['user_id']}"
    older = town.admin.ok("GET", f"/v1/audit?top=2&before={events[0]['number']}")
    assert older == events[1:3]
    secrets = str(events)
    assert made["invitation"] not in secrets


def test_what_a_person_does_is_in_the_custody_log_by_their_id(journey: Journey) -> None:
    town = Town(cloud=journey.cloud, tenant_id=journey.world.tenant_id, admin=journey.admin)
    journey.stage()
    operator = account(
        town, "operator", "backup-operator", subscription_id=journey.world.subscription_id
    )
    body = job_body(journey.world, seed_id=journey.seed.seed_id)
    operator.ok("PUT", journey.job_path, body)
    with journey.cloud.database.connect() as connection:
        found = people.find_named(connection, tenant_id=town.tenant_id, name="operator")
    assert found is not None
    log = operator.ok("GET", f"/v1/custody?job={journey.job_path.partition('?')[0]}")
    assert {each["actor"] for each in log["events"]} == {f"user:{found.user_id}"}


def test_a_job_imports_into_no_group_that_is_not_theirs(journey: Journey) -> None:
    town = Town(cloud=journey.cloud, tenant_id=journey.world.tenant_id, admin=journey.admin)
    world = journey.world
    jobs = world.jobs.replace(world.group.rpartition("/")[2], "rg-other")
    group = jobs.partition("/providers/")[0]
    journey.admin.ok("PUT", f"{group}?{ARM}", {"location": "westeurope"})
    operator = account(
        town,
        "operator",
        "backup-operator",
        subscription_id=world.subscription_id,
        resource_group="RG-OTHER",
    )
    reply = operator.request("PUT", f"{jobs}/one?{ARM}", json=job_body(world))
    assert reply.status in (400, 403, 404), reply.body
    journey.stage()
    assert operator.ok("GET", "/v1/seeds") == []
    assert operator.request("GET", journey.seed_path).status == 404


def test_a_station_operator_works_on_the_jobs_of_their_tenant_only(cloud: LocalCloud) -> None:
    journey = Journey(cloud=cloud)
    town = Town(cloud=cloud, tenant_id=journey.world.tenant_id, admin=journey.admin)
    journey.to_dock()
    job_id = journey.job_id
    root = cloud.http(cloud.root_token)
    operators = []
    for tenant_id, admin in ((town.tenant_id, town.admin), cloud.tenant("Other")):
        http = admin if isinstance(admin, LocalHttp) else cloud.http(admin)
        http.ok("POST", "/v1/users", {"name": "sam", "kind": "service"})
        made = http.ok("POST", "/v1/users/sam/tokens", {"expires_in_days": 1})
        body = {"user": "sam", "role": "station-operator", "tenant_id": tenant_id}
        root.ok("POST", "/v1/role-assignments", body)
        operators.append(cloud.http(made["token"]))
    own, other = operators
    assert [each["job_id"] for each in own.ok("GET", "/v1/station/jobs")] == [job_id]
    assert other.ok("GET", "/v1/station/jobs") == []
    events = f"/v1/station/jobs/{job_id}/drives/{journey.serials[0]}/events"
    parcel = {
        "tracking_number": "TRACK-0001",
        "carrier": "FedEx",
        "serials": list(journey.serials),
    }
    grant: object = {"kind": "import", "job_id": job_id}
    closed: list[tuple[str, str, object]] = [
        ("GET", f"/v1/station/jobs/{job_id}", None),
        ("POST", events, {"event": "started"}),
        ("POST", f"/v1/station/jobs/{job_id}/return", {"carrier": "x", "tracking_number": "BACK"}),
        ("POST", "/v1/grants", grant),
    ]
    for method, path, sent in closed:
        assert other.request(method, path, json=sent).status == 404, (method, path)
    assert other.request("POST", "/v1/station/parcels", json=parcel).status == 400
    assert own.ok("POST", "/v1/grants", grant)["space"].startswith("accounts/")
    own.ok("POST", events, {"event": "started"})
    assert own.ok("POST", "/v1/station/parcels", parcel)["job_id"] == job_id
