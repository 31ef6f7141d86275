"""Parcels and drives at the dock."""

import pytest
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey, job_body, ship_body


@pytest.fixture
def journey(cloud: LocalCloud) -> Journey:
    made = Journey(cloud=cloud, serials=("A", "B", "C"))
    made.stage()
    made.prepare()
    return made


def states(journey: Journey) -> dict[str, str]:
    return {each["driveId"]: each["state"] for each in journey.job()["properties"]["driveList"]}


def outcomes(report: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {each["serial"]: each["outcome"] for each in report["drives"]}


def test_a_whole_parcel_makes_the_job_received(journey: Journey) -> None:
    journey.ship()
    report = journey.receive()
    assert set(outcomes(report).values()) == {"received"}
    assert (report["missing"], report["flags"]) == ([], [])
    assert journey.job()["properties"]["state"] == "Received"


@pytest.mark.requirement("R104")
def test_a_number_and_serials_are_compared_without_case(journey: Journey) -> None:
    journey.ship("Track-0001")
    assert outcomes(journey.receive(["a", "b", "c"], "tRACK-0001")) == {
        "A": "received",
        "B": "received",
        "C": "received",
    }


def test_a_listed_drive_that_is_missing_never_came_until_it_comes(journey: Journey) -> None:
    journey.ship()
    report = journey.receive(["A", "B"])
    assert report["missing"] == ["C"]
    assert states(journey) == {"A": "Received", "B": "Received", "C": "NeverReceived"}
    assert journey.job()["properties"]["state"] == "Received"
    assert outcomes(journey.receive(["C"])) == {"C": "late"}
    assert states(journey)["C"] == "Received"


def test_a_late_drive_is_taken_in_after_the_others_were_processed(journey: Journey) -> None:
    journey.ship()
    journey.receive(["A", "B"])
    for serial in ("A", "B"):
        journey.report(serial, "started")
        journey.report(serial, "completed")
    assert journey.job()["properties"]["state"] == "Packaging"
    assert outcomes(journey.receive(["C"])) == {"C": "late"}
    assert journey.job()["properties"]["state"] == "Transferring"


def test_the_same_parcel_again_changes_nothing(journey: Journey) -> None:
    journey.ship()
    journey.receive()
    log = journey.station.ok("GET", f"/v1/custody?job={journey.job_id}")
    assert set(outcomes(journey.receive()).values()) == {"already-received"}
    assert journey.station.ok("GET", f"/v1/custody?job={journey.job_id}") == log


@pytest.mark.requirement("R104")
def test_a_drive_of_no_job_is_unknown(journey: Journey) -> None:
    journey.ship()
    assert outcomes(journey.receive(["A", "B", "C", "ALIEN"]))["ALIEN"] == "unknown"


@pytest.mark.requirement("R94")
def test_a_drive_of_another_job_is_extra_and_the_parcel_is_flagged(journey: Journey) -> None:
    journey.ship()
    other = job_body(journey.world, serials=["Z"])
    journey.admin.ok("PUT", journey.world.job_path("other"), other)
    journey.admin.ok("PATCH", journey.world.job_path("other"), ship_body("TRACK-0002"))
    report = journey.receive(["A", "B", "C", "Z"])
    assert (outcomes(report)["Z"], report["flags"]) == ("extra", ["mixed-parcel"])
    drives = journey.admin.ok("GET", journey.world.job_path("other"))["properties"]["driveList"]
    assert drives[0]["state"] == "Specified"


@pytest.mark.requirement("R104")
def test_a_parcel_of_another_number_is_matched_by_its_drives(journey: Journey) -> None:
    journey.ship()
    report = journey.receive(number="OTHER-0001")
    assert set(outcomes(report).values()) == {"received"}
    assert report["flags"] == ["unknown-tracking-number"]


def test_an_unknown_number_with_drives_of_two_jobs_books_nothing_in(journey: Journey) -> None:
    journey.ship()
    other = job_body(journey.world, serials=["Z"])
    journey.admin.ok("PUT", journey.world.job_path("other"), other)
    report = journey.receive(["A", "Z"], "OTHER-0001")
    assert outcomes(report) == {"A": "extra", "Z": "extra"}
    assert report["flags"] == ["unknown-tracking-number", "mixed-parcel"]
    assert report["job_id"] is None


def test_a_parcel_of_nobodys_drives_has_no_job(journey: Journey) -> None:
    report = journey.receive(["ALIEN"], "OTHER-0001")
    assert (report["job_id"], outcomes(report)) == (None, {"ALIEN": "unknown"})


def test_drives_that_came_before_their_ship_notice_are_booked_in_with_it(
    journey: Journey,
) -> None:
    package = {"carrierName": "FedEx", "trackingNumber": "TRACK-0001"}
    body = {"properties": {"deliveryPackage": package}}
    journey.admin.ok("PATCH", journey.job_path, body)
    assert set(outcomes(journey.receive()).values()) == {"awaiting-ship-notice"}
    assert journey.job()["properties"]["state"] == "Creating"
    assert journey.ship()["properties"]["state"] == "Received"


def test_a_parcel_that_came_unknown_is_found_when_its_number_is_entered(
    journey: Journey,
) -> None:
    assert journey.receive(number="TRACK-0001")["flags"] == ["unknown-tracking-number"]
    assert journey.ship("TRACK-0001")["properties"]["state"] == "Received"


def test_a_number_that_is_used_again_brings_no_drive_of_the_job_before(journey: Journey) -> None:
    journey.imported()
    assert journey.give_back()["state"] == "Completed"
    journey.admin.ok("DELETE", journey.job_path)
    second = journey.world.job_path("second")
    journey.admin.ok("PUT", second, job_body(journey.world, serials=journey.serials))
    shipped = journey.admin.ok("PATCH", second, ship_body())["properties"]
    assert shipped["state"] == "Shipping"
    assert {each["state"] for each in shipped["driveList"]} == {"Specified"}


def test_a_parcel_of_a_job_that_was_deleted_unshipped_waits_for_the_next_one(
    journey: Journey,
) -> None:
    assert set(outcomes(journey.receive()).values()) == {"awaiting-ship-notice"}
    journey.admin.ok("DELETE", journey.job_path)
    journey.prepare()
    assert journey.ship()["properties"]["state"] == "Received"


def test_drives_of_an_ended_job_are_not_taken_in(journey: Journey) -> None:
    journey.ship()
    journey.receive(["A", "B"])
    for serial in ("A", "B"):
        journey.report(serial, "completed")
    assert journey.give_back()["state"] == "Closed"
    assert outcomes(journey.receive(["C"]))["C"] == "extra"


@pytest.mark.parametrize(
    "change",
    [
        {"serials": []},
        {"serials": ["A", "a"]},
        {"serials": ["A B"]},
        {"tracking_number": "one two"},
        {"carrier": ""},
        {"received_at": "yesterday"},
        {"received_at": "2027-03-01T12:00:00"},
        {"received_at": "0001-01-01T00:00:00+14:00"},
        {"serials": [".."]},
    ],
)
def test_a_parcel_that_makes_no_sense_is_refused(
    journey: Journey, change: dict[str, object]
) -> None:
    body = {"tracking_number": "TRACK-0001", "carrier": "FedEx", "serials": ["A"], **change}
    assert journey.station.request("POST", "/v1/station/parcels", json=body).status == 400


@pytest.mark.parametrize("typed", ["draft", "shipped"])
@pytest.mark.parametrize("serials", [["ELSE"], ["A"], ["A", "B", "C"]])
def test_a_parcel_is_its_senders_whoever_else_typed_its_number(
    journey: Journey, typed: str, serials: list[str]
) -> None:
    other = journey.cloud.world("inland")
    intruder = journey.cloud.http(other.admin)
    body = ship_body()
    if typed == "draft":
        del body["properties"]["state"]
    intruder.ok("PUT", other.job_path("theirs"), job_body(other, serials=serials))
    intruder.ok("PATCH", other.job_path("theirs"), body)
    journey.ship()
    report = journey.receive()
    own = journey.admin.ok("GET", journey.job_path)["properties"]["state"]
    theirs = intruder.ok("GET", other.job_path("theirs"))["properties"]
    assert {each["state"] for each in theirs["driveList"]} == {"Specified"}
    if len(serials) == 1:
        assert (set(outcomes(report).values()), own) == ({"received"}, "Received")
    else:  # two that claim number and drives: neither gets what may be the other's
        assert (set(outcomes(report).values()), own) == ({"extra"}, "Shipping")
        assert report["job_id"] is None


def test_a_typed_number_takes_no_parcel_whose_own_number_comes_later(journey: Journey) -> None:
    other = journey.cloud.world("inland")
    intruder = journey.cloud.http(other.admin)
    intruder.ok("PUT", other.job_path("theirs"), job_body(other, serials=["ELSE"]))
    intruder.ok("PATCH", other.job_path("theirs"), ship_body())
    assert set(outcomes(journey.receive()).values()) == {"awaiting-ship-notice"}
    assert journey.ship()["properties"]["state"] == "Received"


def test_a_waiting_parcel_is_not_claimed_by_its_number_alone(journey: Journey) -> None:
    journey.receive(["ALIEN"], "TRACK-0001")
    shipped = journey.ship("TRACK-0001")
    assert shipped["properties"]["state"] == "Shipping"
    assert set(states(journey).values()) == {"Specified"}
