"""Import jobs and drives on their way through every state, seen from outside."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey, job_body, ship_body

from overland.jobs.states import DriveState, JobState


def seen(journey: Journey) -> tuple[str, tuple[str, ...]]:
    properties = journey.job()["properties"]
    return properties["state"], tuple(each["state"] for each in properties["driveList"])


@pytest.mark.requirement("R112")
def test_every_state_of_jobs_and_drives_is_reached(cloud: LocalCloud) -> None:
    journey = Journey(cloud=cloud, serials=("A", "B"))
    journey.stage()
    journey.prepare()
    steps: list[Callable[[], object]] = [
        lambda: None,
        journey.ship,
        lambda: journey.receive(["A"]),
        lambda: journey.report("A", "started"),
        lambda: journey.report("A", "completed"),
        lambda: journey.receive(["B"]),
        lambda: journey.report("B", "started"),
        lambda: journey.report("B", "completed_more_info"),
        journey.give_back,
    ]
    found = []
    for step in steps:
        step()
        found.append(seen(journey))
    assert found == [
        ("Creating", ("Specified", "Specified")),
        ("Shipping", ("Specified", "Specified")),
        ("Received", ("Received", "NeverReceived")),
        ("Transferring", ("Transferring", "NeverReceived")),
        ("Packaging", ("Completed", "NeverReceived")),
        ("Transferring", ("Completed", "Received")),
        ("Transferring", ("Completed", "Transferring")),
        ("Packaging", ("Completed", "CompletedMoreInfo")),
        ("Closed", ("ShippedBack", "ShippedBack")),
    ]
    assert {drive for _, drives in found for drive in drives} == set(DriveState)
    clean = {JobState.COMPLETED, JobState.DELETED}  # the end without errors, and what is no more
    assert {state for state, _ in found} == set(JobState) - clean


@pytest.mark.requirement("R112")
def test_a_job_without_errors_ends_completed_and_is_deleted(journey: Journey) -> None:
    journey.imported()
    journey.give_back()
    assert seen(journey) == ("Completed", ("ShippedBack",))
    assert journey.admin.request("DELETE", journey.job_path).status == 200
    assert journey.admin.request("GET", journey.job_path).status == 404


@pytest.mark.requirement("R120")
def test_job_and_drives_are_seen_where_no_source_computer_was_ever_heard_of(
    cloud: LocalCloud,
) -> None:
    world, station = cloud.world(), cloud.station()
    http, path = cloud.http(world.admin), world.job_path("job-1")
    http.ok("PUT", path, job_body(world, serials=["A"]))
    http.ok("PATCH", path, ship_body())
    parcel = {"tracking_number": "TRACK-0001", "carrier": "FedEx", "serials": ["A"]}
    station.ok("POST", "/v1/station/parcels", parcel)
    (at_dock,) = station.ok("GET", "/v1/station/jobs")
    assert (at_dock["state"], at_dock["drives"][0]["state"]) == ("Received", "Received")
    properties = http.ok("GET", path)["properties"]
    assert (properties["state"], properties["driveList"][0]["state"]) == ("Received", "Received")


@pytest.mark.requirement("R113")
def test_ended_jobs_vanish_from_the_lists_after_90_days(journey: Journey) -> None:
    journey.imported()
    journey.give_back()
    for days, left in ((89, 1), (1, 0)):
        journey.cloud.clock.advance(timedelta(days=days))
        journey.cloud.sweep()
        for group in (True, False):
            found = journey.admin.ok("GET", journey.jobs_url(group=group))["value"]
            assert len(found) == left
