"""Seeds: the offline page's checks, the manifest, the link to the job, the four answers."""

import pytest
from tests.support.cloud import ARM, LocalCloud
from tests.support.cloudsamples import Journey, job_body
from tests.support.landed import Computer, Seed

from overland.errors import ObjectAbsent, Unreachable
from overland.format.seed_manifest import encode_seed_manifest
from overland.ports.http import Reply, accept

OTHER_ID = "00000000-0000-4000-8000-000000000009"


def test_announcing_twice_changes_nothing(journey: Journey) -> None:
    assert journey.announce() == journey.announce()
    assert len(journey.agent.ok("GET", "/v1/seeds")) == 1


def test_announcing_with_other_values_is_refused(journey: Journey) -> None:
    journey.announce()
    body = journey.seed_body(policy="weekly")
    assert journey.agent.request("POST", "/v1/seeds", json=body).status == 409


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"subscription_id": OTHER_ID}, "subscription_id"),
        ({"storage_account": "elsewhere"}, "storage_account"),
        ({"container": "elsewhere"}, "container"),
        ({"job_name": "a"}, "import job name"),
        ({"job_name": "a" * 65}, "import job name"),
        ({"job_name": "Harbour"}, "import job name"),
        ({"job_name": "1st"}, "import job name"),
        ({"job_name": "with blank"}, "import job name"),
        ({"policy": ""}, "policy"),
        ({"seed_id": "seed"}, "seed_id"),
    ],
)
@pytest.mark.requirement("R51")
def test_a_wrong_field_of_the_offline_page_is_named(
    journey: Journey, changes: dict[str, str], target: str
) -> None:
    reply = journey.agent.request("POST", "/v1/seeds", json=journey.seed_body(**changes))
    assert (reply.status, reply.body["error"]["target"]) == (400, target)


@pytest.mark.parametrize("name", ["ab", "a" * 64, "a_b-1"])
@pytest.mark.requirement("R51")
def test_names_at_the_edge_of_the_rule_are_taken(journey: Journey, name: str) -> None:
    journey.agent.ok("POST", "/v1/seeds", journey.seed_body(job_name=name))


@pytest.mark.requirement("R16")
def test_an_account_in_another_subscription_of_the_tenant_is_refused(journey: Journey) -> None:
    made = journey.admin.ok("POST", "/v1/subscriptions", {"name": "Second"})
    body = journey.seed_body(subscription_id=made["subscription_id"])
    reply = journey.agent.request("POST", "/v1/seeds", json=body)
    assert (reply.status, reply.body["error"]["target"]) == (400, "storage_account")


@pytest.mark.requirement("R14")
def test_the_subscription_may_be_another_than_the_vaults(journey: Journey) -> None:
    made = journey.admin.ok("POST", "/v1/subscriptions", {"name": "Second"})
    group = f"/subscriptions/{made['subscription_id']}/resourceGroups/rg"
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/seconddata"
    for path in (group, account, f"{account}/blobServices/default/containers/seeds"):
        journey.admin.ok("PUT", f"{path}?{ARM}", {"location": "westeurope"})
    body = journey.seed_body(subscription_id=made["subscription_id"], storage_account="seconddata")
    assert journey.agent.ok("POST", "/v1/seeds", body)["state"] == "Configured"


@pytest.mark.requirement("R17")
def test_a_container_that_holds_something_is_warned_about(journey: Journey) -> None:
    space = f"accounts/{journey.world.account}/{journey.world.container}"
    journey.cloud.put_object(space, "older", b"data")
    assert "not empty" in journey.announce()["warnings"][0]


@pytest.mark.requirement("R53")
@pytest.mark.requirement("R53")
def test_a_job_name_of_another_seeds_job_is_refused(journey: Journey) -> None:
    journey.announce()
    journey.prepare()
    second = journey.seed_body(seed_id=OTHER_ID)
    assert journey.agent.request("POST", "/v1/seeds", json=second).status == 409


@pytest.mark.requirement("R54")
def test_one_job_name_has_one_account_on_a_source_computer(journey: Journey) -> None:
    journey.announce()
    account = journey.world.account_id.replace(journey.world.account, "seconddata")
    for path in (account, f"{account}/blobServices/default/containers/seeds"):
        journey.admin.ok("PUT", f"{path}?{ARM}", {"location": "westeurope"})
    other = journey.seed_body(seed_id=OTHER_ID, storage_account="seconddata")
    assert journey.agent.request("POST", "/v1/seeds", json=other).status == 409
    same = journey.seed_body(seed_id=OTHER_ID, policy="weekly")
    assert journey.agent.ok("POST", "/v1/seeds", same)["state"] == "Configured"


def test_a_signed_manifest_makes_the_seed_await_its_import(journey: Journey) -> None:
    journey.stage()
    seed = journey.agent.ok("GET", journey.seed_path)
    assert seed["state"] == "AwaitingImport"
    (point,) = journey.agent.ok("GET", "/v1/points")
    assert (point["kind"], point["state"]) == ("seed", "waiting-for-seed")
    again = journey.agent.request("PUT", f"{journey.seed_path}/manifest", raw=journey.seed.document)
    assert again.body["state"] == "AwaitingImport"


@pytest.mark.parametrize("what", ["another's signature", "another seed", "a changed byte", "noise"])
def test_a_manifest_that_is_not_the_seeds_is_refused(journey: Journey, what: str) -> None:
    journey.announce()
    seed = journey.seed
    document = {
        "another's signature": seed.signed(
            encode_seed_manifest(seed.manifest), by=Computer(number=2)
        ),
        "another seed": Seed(number=2).document,
        "a changed byte": seed.document.replace(b"harbour-first", b"harbour-worst"),
        "noise": b"\x00\n\xff\n",
    }[what]
    reply = journey.agent.request("PUT", f"{journey.seed_path}/manifest", raw=document)
    assert reply.status == 400
    assert journey.agent.ok("GET", journey.seed_path)["state"] == "Configured"


def test_the_manifest_lies_where_agents_cannot_write(journey: Journey) -> None:
    journey.stage()
    store = journey.cloud.spaces.open(f"vaults/{journey.world.vault_id}")
    (stored,) = store.names()
    assert stored.name.startswith("control/manifests/")
    grant = journey.agent.ok("POST", "/v1/grants", {"kind": "vault"})
    assert not stored.name.startswith(grant["prefix"])


@pytest.mark.requirement("R132")
def test_a_job_of_another_name_is_found_after_the_link_is_repaired(journey: Journey) -> None:
    journey.stage()
    path = journey.world.job_path("made-by-hand")
    journey.admin.ok("PUT", path, job_body(journey.world))
    assert journey.agent.ok("GET", journey.seed_path)["job"] is None
    repaired = journey.agent.ok("PATCH", journey.seed_path, {"job_name": "made-by-hand"})
    assert repaired["job"]["name"] == "made-by-hand"


@pytest.mark.requirement("R132")
def test_after_relinking_the_job_of_the_old_name_counts_no_more(journey: Journey) -> None:
    journey.stage()
    journey.prepare()
    journey.ship()
    relinked = journey.agent.ok("PATCH", journey.seed_path, {"job_name": "second"})
    assert (relinked["job_name"], relinked["job"]) == ("second", None)
    assert relinked["next_step"]["who"] == "copy computer's operator"
    body = job_body(journey.world, serials=["B"], seed_id=journey.seed.seed_id)
    journey.admin.ok("PUT", journey.world.job_path("second"), body)
    found = journey.agent.ok("GET", journey.seed_path)
    assert (found["job"]["name"], found["job"]["state"]) == ("second", "Creating")
    assert not found["ready_to_adopt"]
    given_up = journey.agent.ok("PATCH", journey.seed_path, {"state": "Abandoned"})
    assert "the import job second," in given_up["next_step"]["what"]
    assert journey.name not in given_up["next_step"]["what"]


def test_after_relinking_back_the_first_job_counts_again(journey: Journey) -> None:
    journey.stage()
    journey.prepare()
    for name, job in (("second", None), (journey.name, journey.name)):
        found = journey.agent.ok("PATCH", journey.seed_path, {"job_name": name})["job"]
        assert (None if found is None else found["name"]) == job


def test_a_tag_does_not_bring_a_relinked_seed_back_to_the_old_job(journey: Journey) -> None:
    journey.stage()
    journey.prepare()
    journey.agent.ok("PATCH", journey.seed_path, {"job_name": "second"})
    body = job_body(journey.world, serials=journey.serials, seed_id=journey.seed.seed_id)
    again = journey.admin.request("PUT", journey.job_path, json=body)
    assert (again.status, again.body["error"]["code"]) == (409, "Conflict")
    assert "second" in again.body["error"]["message"]
    assert journey.agent.ok("GET", journey.seed_path)["job"] is None


def test_a_relinked_seed_is_announced_again_as_it_was_first(journey: Journey) -> None:
    journey.announce()
    journey.agent.ok("PATCH", journey.seed_path, {"job_name": "second"})
    assert journey.announce()["job_name"] == "second"


def test_a_tag_links_whatever_the_name(journey: Journey) -> None:
    journey.stage()
    body = job_body(journey.world, seed_id=journey.seed.seed_id)
    journey.admin.ok("PUT", journey.world.job_path("other-name"), body)
    assert journey.agent.ok("GET", journey.seed_path)["job"]["name"] == "other-name"


def test_a_tag_can_be_added_later(journey: Journey) -> None:
    journey.stage()
    path = journey.world.job_path("other-name")
    journey.admin.ok("PUT", path, job_body(journey.world))
    journey.admin.ok("PATCH", path, {"tags": {"overland-seed": journey.seed.seed_id}})
    assert journey.agent.ok("GET", journey.seed_path)["job"]["name"] == "other-name"


def test_a_job_without_a_tag_brings_the_seed_that_was_not_abandoned(journey: Journey) -> None:
    journey.announce()
    journey.agent.ok("PATCH", journey.seed_path, {"state": "Abandoned"})
    journey.agent.ok("POST", "/v1/seeds", journey.seed_body(seed_id=OTHER_ID))
    journey.admin.ok("PUT", journey.job_path, job_body(journey.world))
    journey.ship()
    found = journey.station.ok("GET", f"/v1/station/jobs/{journey.job_id}")
    assert found["seed_id"] == OTHER_ID


@pytest.mark.parametrize("seed_id", [OTHER_ID, "nonsense"])
def test_a_tag_names_a_seed_of_the_tenant(journey: Journey, seed_id: str) -> None:
    body = job_body(journey.world, seed_id=seed_id)
    assert journey.admin.request("PUT", journey.job_path, json=body).status == 400


def test_a_seed_travels_with_one_open_job(journey: Journey) -> None:
    journey.stage()
    journey.prepare()
    body = job_body(journey.world, serials=["B"], seed_id=journey.seed.seed_id)
    path = journey.world.job_path("second")
    assert journey.admin.request("PUT", path, json=body).status == 409


@pytest.mark.requirement("R133")
def test_a_top_up_is_taken_once_the_job_before_has_left(journey: Journey) -> None:
    journey.stage()
    journey.prepare()
    path = journey.world.job_path(f"{journey.name}-topup-1")
    body = job_body(journey.world, serials=["B"], seed_id=journey.seed.seed_id)
    narrowed = journey.copy_computer(journey.name)
    assert narrowed.request("PUT", path, json=body).status == 409, "it takes drives still"
    journey.ship()
    assert narrowed.ok("PUT", path, body)["properties"]["state"] == "Creating"
    seed = narrowed.ok("GET", journey.seed_path)
    assert [job["name"] for job in (*seed["earlier_jobs"], seed["job"])] == [
        journey.name,
        f"{journey.name}-topup-1",
    ]
    listed = narrowed.ok("GET", journey.jobs_url(group=True))["value"]
    assert {job["name"] for job in listed} == {journey.name, f"{journey.name}-topup-1"}
    other = journey.world.job_path("other-topup-1")
    assert narrowed.request("PUT", other, json=body).status == 403
    second = journey.world.job_path(f"{journey.name}-topup-2")
    more = job_body(journey.world, serials=["C"], seed_id=journey.seed.seed_id)
    assert narrowed.request("PUT", second, json=more).status == 409, "one after the other"


def test_a_top_up_of_a_relinked_seed_follows_the_new_name(journey: Journey) -> None:
    journey.stage()
    journey.agent.ok("PATCH", journey.seed_path, {"job_name": "second"})
    body = job_body(journey.world, serials=["B"], seed_id=journey.seed.seed_id)
    old = journey.world.job_path(f"{journey.name}-topup-1")
    assert journey.admin.request("PUT", old, json=body).status == 409
    journey.admin.ok("PUT", journey.world.job_path("second-topup-1"), body)


@pytest.mark.requirement("R133")
def test_what_has_not_arrived_is_told_by_its_place_in_the_manifest(journey: Journey) -> None:
    path = f"{journey.seed_path}/missing"
    journey.announce()
    assert journey.agent.request("GET", path).status == 409
    lost = next(name for name in journey.seed.contents if name.startswith("packs/"))
    journey.imported(without=[lost])
    found = journey.copy_computer(journey.name).ok("GET", path)
    names = [each.name for each in journey.seed.manifest.objects]
    assert found["runs"] == [[names.index(lost), 1]]
    assert (found["objects"], found["size_bytes"]) == (1, len(journey.seed.contents[lost]))
    space = f"vaults/{journey.world.vault_id}"
    content = journey.seed.contents[lost]
    journey.cloud.put_object(space, f"{journey.computer_id}/{lost}", content)
    assert journey.agent.ok("GET", path)["runs"] == [], "the network brought it"
    assert journey.station.request("GET", path).status == 403
    journey.agent.ok("PATCH", journey.seed_path, {"state": "Abandoned"})
    assert journey.agent.request("GET", path).status == 409


def test_a_policy_cannot_ask_for_a_top_ups_name(journey: Journey) -> None:
    body = journey.seed_body(job_name="harbour-topup-1")
    assert journey.agent.request("POST", "/v1/seeds", json=body).status == 400


@pytest.mark.parametrize("stage", ["Configured", "AwaitingImport", "Adopting", "Online"])
@pytest.mark.requirement("R131")
def test_a_seed_can_be_abandoned_in_every_state_and_says_what_remains(
    journey: Journey, stage: str
) -> None:
    if stage == "Configured":
        journey.announce()
    elif stage == "AwaitingImport":
        journey.stage()
    else:
        journey.imported()
        journey.agent.ok("POST", f"{journey.seed_path}/adoption")
    given_up = journey.agent.ok("PATCH", journey.seed_path, {"state": "Abandoned"})
    assert given_up["state"] == "Abandoned"
    assert f"seed-{journey.seed.seed_id}/" in given_up["next_step"]["what"]
    assert journey.agent.ok("PATCH", journey.seed_path, {"state": "Abandoned"}) == given_up


@pytest.mark.parametrize(
    "body", [{}, {"state": "Online"}, {"state": "Abandoned", "job_name": "ab"}]
)
def test_nothing_else_of_a_seed_is_changed(journey: Journey, body: dict[str, str]) -> None:
    journey.announce()
    assert journey.agent.request("PATCH", journey.seed_path, json=body).status == 400


@pytest.mark.requirement("R117")
def test_absent_closed_waiting_and_unreachable_are_four_answers(journey: Journey) -> None:
    journey.stage()
    absent = journey.agent.request("GET", f"/v1/seeds/{OTHER_ID}")
    closed = journey.cloud.http(None).request("GET", journey.seed_path)
    waiting = journey.agent.request("GET", journey.seed_path)
    assert (absent.status, closed.status, waiting.status) == (404, 401, 200)
    with pytest.raises(ObjectAbsent):
        accept(absent, what="the seed")
    assert waiting.body["job"] is None
    assert waiting.body["next_step"]["who"] == "copy computer's operator"
    with pytest.raises(Unreachable):
        accept(Reply(status=503, body=None, raw=b""), what="the seed")


@pytest.mark.requirement("R111", "R118")
def test_the_seed_says_at_each_stop_who_does_what_by_when(journey: Journey) -> None:
    def step() -> dict[str, str | None]:
        found: dict[str, str | None] = journey.agent.ok("GET", journey.seed_path)["next_step"]
        return found

    journey.announce()
    steps = [step()]
    for move in (
        journey.stage,
        journey.prepare,
        journey.ship,
        journey.receive,
        lambda: journey.report("ZX91K7Q0", "started"),
        lambda: journey.report("ZX91K7Q0", "completed"),
        journey.give_back,
    ):
        move()
        steps.append(step())
    assert [each["who"] for each in steps] == [
        "source computer",
        "copy computer's operator",
        "copy computer's operator",
        "FedEx",
        "station",
        "station",
        "source computer",
        "source computer",
    ]
    assert [each["by"] is not None for each in steps[2:5]] == [True, True, True]
    assert all(each["what"] for each in steps)


@pytest.mark.requirement("R120")
def test_the_provider_side_shows_everything_with_the_source_off(cloud: LocalCloud) -> None:
    journey = Journey(cloud=cloud)
    journey.to_dock()
    (seed,) = journey.admin.ok("GET", "/v1/seeds")
    assert (seed["job"]["state"], seed["job"]["drives"][0]["state"]) == ("Received", "Received")
