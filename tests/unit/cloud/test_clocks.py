"""The two-week clocks: day 10 warns, day 14 is over; everything happens once."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey, job_body

from overland.cloud import clocks
from overland.cloud.services import Limits


@pytest.fixture
def journey(cloud: LocalCloud) -> Journey:
    made = Journey(cloud=cloud, serials=("A", "B"))
    made.stage()
    made.prepare()
    return made


def wait(journey: Journey, **how_long: float) -> int:
    journey.cloud.clock.advance(timedelta(**how_long))
    return journey.cloud.sweep()


def happened(journey: Journey) -> list[str]:
    path = journey.job_path.partition("?")[0]
    log = journey.admin.ok("GET", f"/v1/custody?job={path}")["events"]
    return [each["event"] for each in log if each["actor"] == "cloud:clock"]


def step(journey: Journey) -> dict[str, str]:
    found: dict[str, str] = journey.agent.ok("GET", journey.seed_path)["next_step"]
    return found


@pytest.mark.requirement("R99", "R100")
def test_nothing_happens_before_day_10(journey: Journey) -> None:
    assert wait(journey, days=9, hours=23) == 0


@pytest.mark.requirement("R100")
def test_a_missing_ship_notice_is_warned_of_once_and_then_deletes_the_job(
    journey: Journey,
) -> None:
    assert wait(journey, days=10) == 1
    assert happened(journey) == ["warned"]
    assert wait(journey, days=3) == 0
    by = step(journey)["by"]
    assert wait(journey, days=1) == 1
    assert journey.admin.request("GET", journey.job_path).status == 404
    assert by == journey.cloud.clock.now().isoformat()
    assert "there is no import job" in step(journey)["what"]


@pytest.mark.requirement("R99")
def test_a_ship_notice_starts_the_second_clock(journey: Journey) -> None:
    wait(journey, days=13)
    journey.ship()
    assert wait(journey, days=9) == 0
    assert wait(journey, days=1) == 1
    assert happened(journey) == ["warned", "warned"]


@pytest.mark.requirement("R99")
def test_overdue_drives_never_came_and_the_administrator_is_asked(journey: Journey) -> None:
    journey.ship()
    wait(journey, days=10)
    assert step(journey)["who"] == "FedEx"
    assert wait(journey, days=4) == 1
    assert happened(journey) == ["warned", "overdue", "missed", "missed"]
    assert {each["state"] for each in journey.job()["properties"]["driveList"]} == {"NeverReceived"}
    assert step(journey)["who"] == "backup administrator"
    assert wait(journey, days=1) == 0


def test_a_parcel_that_was_overdue_is_still_taken_in(journey: Journey) -> None:
    journey.ship()
    wait(journey, days=20)
    report = journey.receive()
    assert {each["outcome"] for each in report["drives"]} == {"late"}
    assert journey.job()["properties"]["state"] == "Received"


def test_after_thirty_days_of_silence_the_job_is_closed_and_later_forgotten(
    journey: Journey,
) -> None:
    journey.ship()
    wait(journey, days=14)
    assert wait(journey, days=29) == 0
    assert wait(journey, days=1) == 1
    assert journey.job()["properties"]["state"] == "Closed"
    assert "make them again" in step(journey)["what"]
    assert wait(journey, days=89) == 0
    assert wait(journey, days=1) == 1
    assert journey.admin.request("GET", journey.job_path).status == 404


def test_a_job_whose_drives_came_is_under_no_clock(journey: Journey) -> None:
    journey.ship()
    journey.receive()
    assert wait(journey, days=60) == 0


@pytest.mark.requirement("R113")
def test_an_ended_job_is_kept_for_90_days_and_its_log_for_ever(journey: Journey) -> None:
    journey.ship()
    journey.receive()
    job_id = journey.job_id
    for serial in ("A", "B"):
        journey.report(serial, "completed")
    journey.give_back()
    assert wait(journey, days=89) == 0
    assert wait(journey, days=1) == 1
    assert journey.admin.request("GET", journey.job_path).status == 404
    log = journey.admin.ok("GET", f"/v1/custody?job={job_id}")
    assert log["intact"]
    assert {each["detail"] is None for each in log["events"]} == {True}
    stranger = journey.cloud.http(journey.cloud.world("inland").admin)
    assert stranger.request("GET", f"/v1/custody?job={job_id}").status == 404


@pytest.mark.requirement("R113")
def test_how_long_ended_jobs_are_kept_is_a_setting(journey: Journey) -> None:
    cloud = journey.cloud
    cloud.services = replace(cloud.services, limits=Limits(retention=timedelta(days=7)))
    journey.ship()
    journey.receive()
    for serial in ("A", "B"):
        journey.report(serial, "completed")
    journey.give_back()
    assert wait(journey, days=6) == 0
    assert wait(journey, days=1) == 1
    assert journey.admin.request("GET", journey.job_path).status == 404


def test_a_job_that_fails_holds_up_no_other(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = journey.world.job_path("another")
    journey.admin.ok("PUT", path, job_body(journey.world, serials=["C"]))
    looked_at = []

    def fail(_: object, job_id: str, *__: object) -> bool:
        looked_at.append(job_id)
        raise RuntimeError(job_id)

    monkeypatch.setattr(clocks, "_sweep_one", fail)
    with pytest.raises(RuntimeError):
        journey.cloud.sweep()
    assert len(looked_at) == 2
