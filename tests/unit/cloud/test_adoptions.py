"""Adoption through the API: when it may begin, what its end makes of the seed."""

from typing import Any

import pytest
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey

from overland.ports.http import Reply


@pytest.fixture
def path(journey: Journey) -> str:
    return f"{journey.seed_path}/adoption"


def state(journey: Journey) -> str:
    return str(journey.agent.ok("GET", journey.seed_path)["state"])


@pytest.mark.requirement("R121", "R128", "R129")
def test_an_imported_seed_is_adopted_and_its_point_is_available(
    journey: Journey, path: str
) -> None:
    journey.imported()
    assert journey.agent.ok("GET", journey.seed_path)["ready_to_adopt"]
    adoption = journey.agent.ok("POST", path)
    assert (adoption["state"], adoption["missing"]) == ("done", [])
    assert adoption["done_objects"] == adoption["total_objects"] == len(journey.seed.contents)
    assert state(journey) == "Online"
    (point,) = journey.agent.ok("GET", "/v1/points")
    assert (point["state"], point["seed_id"]) == ("available", journey.seed.seed_id)
    assert point["created_at"].startswith("2027-02-01T03:00:00"), "the snapshot's own time"
    assert "may be deleted" in journey.agent.ok("GET", journey.seed_path)["next_step"]["what"]


@pytest.mark.parametrize("stop", ["announce", "stage", "to_dock"])
@pytest.mark.requirement("R109", "R121")
def test_nothing_is_adopted_before_all_drives_are_processed(
    journey: Journey, path: str, stop: str
) -> None:
    getattr(journey, stop)()
    assert journey.agent.request("POST", path).status == 409
    assert journey.agent.request("GET", path).status == 404
    assert not journey.agent.ok("GET", journey.seed_path)["ready_to_adopt"]


def test_one_finished_drive_is_enough_when_the_others_never_came(cloud: LocalCloud) -> None:
    journey = Journey(cloud=cloud, serials=("A", "B"))
    journey.stage()
    journey.prepare()
    journey.ship()
    journey.receive(["A"])
    journey.land()
    journey.report("A", "completed")
    assert "never received: B" in journey.agent.ok("GET", journey.seed_path)["next_step"]["what"]
    assert journey.agent.ok("POST", f"{journey.seed_path}/adoption")["state"] == "done"


@pytest.mark.requirement("R134")
def test_what_is_missing_is_named_and_a_second_attempt_takes_only_that(
    journey: Journey, path: str
) -> None:
    lost = next(name for name in journey.seed.contents if name.startswith("packs/"))
    journey.imported(without=[lost])
    first = journey.agent.ok("POST", path)
    assert first["state"] == "incomplete"
    assert [each["name"] for each in first["missing"]] == [lost]
    seed = journey.agent.ok("GET", journey.seed_path)
    assert seed["state"] == "AwaitingImport"
    assert "1 missing" in seed["next_step"]["what"]

    prefix = f"{journey.computer_id}/"
    space = f"vaults/{journey.world.vault_id}"
    journey.cloud.put_object(space, prefix + lost, journey.seed.contents[lost])
    second = journey.agent.ok("POST", path)
    assert (second["state"], second["attempt"]) == ("done", 2)
    assert state(journey) == "Online"


def test_adopting_again_after_the_end_changes_nothing(journey: Journey, path: str) -> None:
    journey.imported()
    assert journey.agent.ok("POST", path) == journey.agent.ok("POST", path)
    assert journey.agent.ok("GET", path)["state"] == "done"


def test_work_that_failed_gives_the_seed_back_to_another_attempt(
    journey: Journey, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey.imported()
    with monkeypatch.context() as broken:
        broken.setattr("overland.vault.adoption.open_manifest", lambda *_, **__: 1 / 0)
        assert journey.agent.ok("POST", path)["state"] == "failed"
    assert state(journey) == "AwaitingImport"
    assert journey.agent.ok("POST", path)["state"] == "done"


def test_an_abandoned_seed_stays_abandoned_and_is_not_adopted(journey: Journey, path: str) -> None:
    journey.imported()
    journey.agent.ok("PATCH", journey.seed_path, {"state": "Abandoned"})
    assert journey.agent.request("POST", path).status == 409


@pytest.mark.requirement("R127")
def test_an_administrator_can_start_it_too(journey: Journey, path: str) -> None:
    journey.imported()
    assert journey.admin.ok("POST", path)["state"] == "done"


@pytest.mark.requirement("R122")
def test_no_bulk_data_passes_the_source_computer(
    journey: Journey, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey.imported()
    passed: list[tuple[str, int]] = []
    request = journey.agent.request

    def watch(method: str, path: str, **content: Any) -> Reply:
        reply = request(method, path, **content)
        passed.append((path, len(reply.raw) + len(repr(content))))
        return reply

    monkeypatch.setattr(journey.agent, "request", watch)
    assert journey.agent.ok("POST", path)["state"] == "done"
    assert {asked for asked, _ in passed} == {path}, "no grant for the data plane was asked for"
    total_bytes = sum(map(len, journey.seed.contents.values()))
    assert sum(size_bytes for _, size_bytes in passed) < min(1000, total_bytes)
