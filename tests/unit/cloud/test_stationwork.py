"""What the station reports, and what follows."""

import pytest
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import UNLOCK_KEY, Journey


@pytest.fixture
def journey(cloud: LocalCloud) -> Journey:
    made = Journey(cloud=cloud, serials=("A", "B"))
    made.to_dock()
    return made


def events(journey: Journey) -> list[tuple[str, str | None]]:
    log = journey.admin.ok("GET", f"/v1/custody?job={journey.job_path.partition('?')[0]}")
    assert log["intact"]
    return [(each["event"], each["drive"]) for each in log["events"]]


def request(journey: Journey, serial: str, event: str) -> int:
    path = f"/v1/station/jobs/{journey.job_id}/drives/{serial}/events"
    return journey.station.request("POST", path, json={"event": event}).status


@pytest.mark.requirement("R105")
def test_the_station_gets_all_that_it_needs_to_verify_and_open_drives(journey: Journey) -> None:
    job = journey.station.ok("GET", f"/v1/station/jobs/{journey.job_id}")
    owner = journey.seed.computer.owner
    assert job["signing_public_key"] == owner.public_key.hex()
    assert job["drive_public_key"] == "ab" * 32
    assert (job["storage_account"], job["container"]) == ("harbourdata", "seeds")
    assert (job["seed_id"], job["log_level"]) == (journey.seed.seed_id, "Error")
    assert [each["unlock_key"] for each in job["drives"]] == [UNLOCK_KEY] * 2
    assert job["drives"][0]["manifest_file"] == "\\DriveManifest.xml"


def test_lists_show_no_keys(journey: Journey) -> None:
    assert UNLOCK_KEY not in str(journey.station.ok("GET", "/v1/station/jobs"))


def test_a_job_without_ship_notice_is_not_the_stations(cloud: LocalCloud) -> None:
    made = Journey(cloud=cloud)
    made.stage()
    made.prepare()
    job_id = made.agent.ok("GET", made.seed_path)["job"]["job_id"]
    assert made.station.ok("GET", "/v1/station/jobs") == []
    assert made.station.request("GET", f"/v1/station/jobs/{job_id}").status == 404


def test_jobs_are_listed_by_state(journey: Journey) -> None:
    assert len(journey.station.ok("GET", "/v1/station/jobs?state=Received")) == 1
    assert journey.station.ok("GET", "/v1/station/jobs?state=Packaging") == []
    assert journey.station.request("GET", "/v1/station/jobs?state=Odd").status == 400


def test_progress_of_the_drives_is_the_jobs(journey: Journey) -> None:
    journey.report("A", "started")
    journey.report("A", "progressed", percent=41, bytes_succeeded=1733001216)
    job = journey.job()["properties"]
    assert (job["state"], job["percentComplete"]) == ("Transferring", 20)
    drive = job["driveList"][0]
    assert (drive["percentComplete"], drive["bytesSucceeded"]) == (41, 1733001216)
    assert "percentComplete" not in job["driveList"][1]


@pytest.mark.requirement("R110")
def test_logs_and_status_are_shown_to_the_owner(journey: Journey) -> None:
    journey.report("A", "started", copy_status="InProgress")
    journey.report(
        "A",
        "completed_more_info",
        copy_status="CompletedWithErrors",
        error_log="accounts/harbourdata/seeds/waimportexport/e.xml",
        verbose_log="v.xml",
        manifest="m.xml",
    )
    drive = journey.job()["properties"]["driveList"][0]
    assert (drive["state"], drive["copyStatus"]) == ("CompletedMoreInfo", "CompletedWithErrors")
    assert drive["errorLogUri"].endswith("waimportexport/e.xml")
    assert (drive["verboseLogUri"], drive["manifestUri"]) == ("v.xml", "m.xml")


def test_every_report_may_come_twice(journey: Journey) -> None:
    for event in ("started", "completed"):
        journey.report("A", event)
        before = events(journey)
        journey.report("A", event)
        assert events(journey) == before


@pytest.mark.requirement("R109")
def test_a_drive_that_could_not_be_opened_is_finished_with_more_information(
    journey: Journey,
) -> None:
    journey.report("A", "failed", copy_status="BitLockerKeyInvalid")
    drive = journey.job()["properties"]["driveList"][0]
    assert (drive["state"], drive["copyStatus"]) == ("CompletedMoreInfo", "BitLockerKeyInvalid")
    assert ("failed", "A") in events(journey)


@pytest.mark.parametrize(
    ("event", "status"), [("completed", 200), ("odd", 400), ("shipped_back", 400)]
)
def test_only_known_events_are_taken(journey: Journey, event: str, status: int) -> None:
    assert request(journey, "A", event) == status


def test_an_event_that_does_not_fit_is_refused(journey: Journey) -> None:
    journey.report("A", "completed")
    assert request(journey, "A", "started") == 409
    assert request(journey, "A", "completed_more_info") == 409
    assert request(journey, "ALIEN", "started") == 404


def test_without_errors_the_job_ends_completed(journey: Journey) -> None:
    for serial in ("A", "B"):
        journey.report(serial, "completed")
    assert journey.give_back()["state"] == "Completed"
    job = journey.job()["properties"]
    assert job["returnPackage"]["driveCount"] == 2
    assert {each["state"] for each in job["driveList"]} == {"ShippedBack"}


def test_with_errors_it_ends_closed(journey: Journey) -> None:
    journey.report("A", "completed")
    journey.report("B", "completed_more_info")
    assert journey.give_back()["state"] == "Closed"


def test_drives_go_back_one_after_another(journey: Journey) -> None:
    for serial in ("A", "B"):
        journey.report(serial, "completed")
    assert journey.give_back(serials=["A"])["state"] == "Packaging"
    assert journey.give_back(serials=["A", "B"])["state"] == "Completed"


def test_nothing_goes_back_while_drives_are_read(journey: Journey) -> None:
    journey.report("A", "completed")
    body = {"carrier": "FedEx", "tracking_number": "BACK-0001"}
    path = f"/v1/station/jobs/{journey.job_id}/return"
    assert journey.station.request("POST", path, json=body).status == 409


def test_a_cancelled_job_opens_no_further_drive_and_ends_completed(journey: Journey) -> None:
    journey.report("A", "started")
    body = {"properties": {"cancelRequested": True}}
    journey.admin.ok("PATCH", journey.job_path, body)
    assert request(journey, "B", "started") == 409
    journey.report("A", "completed")
    assert journey.job()["properties"]["state"] == "Packaging"
    assert journey.give_back()["state"] == "Completed"


@pytest.mark.requirement("R103")
def test_the_log_has_the_whole_way_of_a_drive(journey: Journey) -> None:
    for serial in ("A", "B"):
        journey.report(serial, "started")
        journey.report(serial, "completed")
    journey.give_back()
    way = [event for event, drive in events(journey) if drive == "A"]
    assert way == ["listed", "received", "started", "completed", "shipped_back"]
    whole = [event for event, drive in events(journey) if drive is None]
    assert whole == [
        "created",
        "edited",
        "shipped",
        "drives_booked_in",
        "transfer_started",
        "drives_processed",
        "returned",
    ]
