"""`Microsoft.ImportExport` answers as documented and as recorded."""

from typing import Any
from urllib.parse import quote

import pytest
from tests.support.cloud import ARM, LocalCloud, World
from tests.support.cloudsamples import RETURN_ADDRESS, UNLOCK_KEY, Journey, job_body, ship_body


@pytest.fixture
def world(cloud: LocalCloud) -> World:
    return cloud.world()


def test_a_new_job_is_201_and_shows_its_defaults(cloud: LocalCloud, world: World) -> None:
    http = cloud.http(world.admin)
    reply = http.request("PUT", world.job_path("harbour-import-07"), json=job_body(world))
    assert reply.status == 201
    assert set(reply.body.pop("systemData")) == {"createdAt", "lastModifiedAt"}
    assert reply.body == {
        "properties": {
            "storageAccountId": world.account_id,
            "jobType": "Import",
            "returnAddress": {**RETURN_ADDRESS, "streetAddress2": "", "stateOrProvince": ""},
            "shippingInformation": {
                "recipientName": "Example Import Dock",
                "streetAddress1": "1 Dock Road",
                "streetAddress2": "",
                "city": "Dublin",
                "stateOrProvince": "",
                "postalCode": "D22",
                "countryOrRegion": "Ireland",
                "phone": "+353 1 000 0000",
            },
            "diagnosticsPath": "waimportexport",
            "logLevel": "Error",
            "backupDriveManifest": False,
            "cancelRequested": False,
            "state": "Creating",
            "driveList": [
                {
                    "driveId": "ZX91K7Q0",
                    "manifestFile": "\\DriveManifest.xml",
                    "manifestHash": "3148218129D7A878553B49D5CA314EAB",
                    "driveHeaderHash": "",
                    "state": "Specified",
                }
            ],
            "provisioningState": "Succeeded",
            "encryptionKey": {"kekType": "MicrosoftManaged"},
        },
        "identity": {"type": "None"},
        "id": f"{world.jobs}/harbour-import-07",
        "name": "harbour-import-07",
        "type": "Microsoft.ImportExport/jobs",
        "location": "northeurope",
        "tags": {"project": "lantern"},
    }


def test_the_same_name_again_is_200_and_replaces_the_job(cloud: LocalCloud, world: World) -> None:
    http, path = cloud.http(world.admin), world.job_path("job-1")
    http.ok("PUT", path, job_body(world))
    reply = http.request("PUT", path, json=job_body(world, serials=["B", "C"]))
    assert reply.status == 200
    assert [each["driveId"] for each in reply.body["properties"]["driveList"]] == ["B", "C"]


def test_a_put_that_leaves_the_key_out_keeps_the_one_that_is_known(
    cloud: LocalCloud, world: World
) -> None:
    http, path = cloud.http(world.admin), world.job_path("job-1")
    body = job_body(world)
    http.ok("PUT", path, body)
    del body["properties"]["driveList"][0]["bitLockerKey"]
    http.ok("PUT", path, body)
    keys = http.ok("POST", path.replace("job-1", "job-1/listBitLockerKeys"))
    assert keys == {"value": [{"driveId": "ZX91K7Q0", "bitLockerKey": UNLOCK_KEY}]}


def test_the_location_is_echoed_by_put_and_shown_by_its_name_elsewhere(
    cloud: LocalCloud, world: World
) -> None:
    http, path = cloud.http(world.admin), world.job_path("job-1")
    body = {**job_body(world), "location": "North Europe"}
    assert http.ok("PUT", path, body)["location"] == "North Europe"
    assert http.ok("PUT", path, job_body(world))["location"] == "northeurope"
    assert http.ok("GET", path)["location"] == "North Europe"
    assert http.ok("PATCH", path, {"tags": {}})["location"] == "North Europe"


def test_a_list_of_a_group_leaves_the_drives_out_and_one_of_a_subscription_does_not(
    journey: Journey,
) -> None:
    journey.announce()
    journey.prepare()
    (in_group,) = journey.admin.ok("GET", journey.jobs_url(group=True))["value"]
    (in_subscription,) = journey.admin.ok("GET", journey.jobs_url(group=False))["value"]
    assert "driveList" not in in_group["properties"]
    assert len(in_subscription["properties"]["driveList"]) == 1
    assert in_group["location"] == in_subscription["location"] == "North Europe"


def test_pages_follow_one_another_and_the_last_has_no_link(cloud: LocalCloud, world: World) -> None:
    http = cloud.http(world.admin)
    names = {f"job-{number}" for number in range(5)}
    for number in range(5):
        body = job_body(world, serials=[f"D{number}"])
        http.ok("PUT", world.job_path(f"job-{number}"), body)
    url, found, pages = f"{world.jobs}?{ARM}&$top=2", [], 0
    while url:
        page = http.ok("GET", url.removeprefix("https://cloud.test"))
        found += [each["name"] for each in page["value"]]
        url, pages = page.get("nextLink", ""), pages + 1
    assert (set(found), len(found), pages) == (names, 5, 3)


@pytest.mark.parametrize("top", ["0", "101", "many"])
def test_a_page_has_1_to_100_jobs(cloud: LocalCloud, world: World, top: str) -> None:
    reply = cloud.http(world.admin).request("GET", f"{world.jobs}?{ARM}&$top={top}")
    assert (reply.status, reply.body["error"]["code"]) == (400, "InvalidRequestContent")


@pytest.mark.parametrize(
    "text", ["x", "state eq Shipping", "state gt 'Shipping'", "(state eq 'Shipping')", "state eq"]
)
def test_a_filter_that_is_not_understood_is_refused_rather_than_ignored(
    cloud: LocalCloud, world: World, text: str
) -> None:
    url = f"{world.jobs}?{ARM}&$filter={quote(text)}"
    reply = cloud.http(world.admin).request("GET", url)
    assert (reply.status, reply.body["error"]["target"]) == (400, "$filter")


def test_a_filter_goes_on_over_all_pages(cloud: LocalCloud, world: World) -> None:
    http = cloud.http(world.admin)
    for number in range(6):
        http.ok("PUT", world.job_path(f"job-{number}"), job_body(world, serials=[f"D{number}"]))
        if number % 2:
            http.ok("PATCH", world.job_path(f"job-{number}"), ship_body(f"TRACK-{number}"))
    text = quote("state eq 'shipping' or name eq 'job-0'")
    url, found = f"{world.jobs}?{ARM}&$top=1&$filter={text}", []
    while url:
        page = http.ok("GET", url.removeprefix("https://cloud.test"))
        found += [each["name"] for each in page["value"]]
        assert len(page["value"]) == 1, "an empty page would end a list too early for some clients"
        url = page.get("nextLink", "")
    assert sorted(found) == ["job-0", "job-1", "job-3", "job-5"]


def test_a_delivery_package_alone_leaves_the_job_creating(journey: Journey) -> None:
    journey.announce()
    journey.prepare()
    package = {"carrierName": "FedEx", "trackingNumber": "TRACK-0001", "driveCount": 0}
    body = {"properties": {"deliveryPackage": package, "state": ""}}
    job = journey.admin.ok("PATCH", journey.job_path, body)
    assert job["properties"]["state"] == "Creating"
    assert job["properties"]["deliveryPackage"] == package


def test_a_cancelled_job_stays_where_it_is_and_can_be_deleted(journey: Journey) -> None:
    journey.announce()
    journey.prepare()
    body = {"properties": {"cancelRequested": True}}
    job = journey.admin.ok("PATCH", journey.job_path, body)["properties"]
    assert (job["cancelRequested"], job["state"]) == (True, "Creating")
    reply = journey.admin.request("DELETE", journey.job_path)
    assert (reply.status, reply.raw) == (200, b"")
    assert journey.admin.request("GET", journey.job_path).status == 404


def test_a_shipped_job_is_not_deleted_or_replaced(journey: Journey) -> None:
    journey.announce()
    journey.prepare()
    journey.ship()
    deleted = journey.admin.request("DELETE", journey.job_path)
    replaced = journey.admin.request("PUT", journey.job_path, json=job_body(journey.world))
    for reply in (deleted, replaced):
        assert (reply.status, reply.body["error"]["code"]) == (409, "InvalidJobState")


def test_keys_are_shown_by_their_own_request_alone_and_it_is_in_the_log(journey: Journey) -> None:
    journey.announce()
    put = journey.prepare()
    everything = [
        put,
        journey.job(),
        journey.admin.ok("GET", journey.jobs_url(group=False)),
        journey.ship(),
        journey.agent.ok("GET", journey.seed_path),
        journey.admin.ok("GET", f"/v1/custody?job={journey.job_id}"),
    ]
    assert UNLOCK_KEY not in str(everything)
    path = journey.job_path.replace("?", "/listBitLockerKeys?")
    assert journey.admin.ok("POST", path)["value"][0]["bitLockerKey"] == UNLOCK_KEY
    log = journey.admin.ok("GET", f"/v1/custody?job={journey.job_id}")
    assert log["events"][-1]["event"] == "keys_shown"
    assert UNLOCK_KEY not in str(log)


def test_either_all_of_a_patch_is_done_or_nothing(journey: Journey) -> None:
    journey.announce()
    journey.prepare()
    journey.ship()
    body = {"tags": {"a": "b"}, "properties": {"logLevel": "Verbose", "state": "Shipping"}}
    assert journey.admin.request("PATCH", journey.job_path, json=body).status == 409
    job = journey.job()
    assert (job["properties"]["logLevel"], job["tags"]["project"]) == ("Error", "lantern")


@pytest.mark.requirement("R101")
def test_a_changed_shipping_record_keeps_the_old_value_in_the_log(journey: Journey) -> None:
    journey.announce()
    journey.prepare()
    journey.ship("TRACK-0001")
    package = {"carrierName": "FedEx", "trackingNumber": "TRACK-0002"}
    body = {"properties": {"deliveryPackage": package}}
    journey.admin.ok("PATCH", journey.job_path, body)
    log = journey.admin.ok("GET", f"/v1/custody?job={journey.job_id}")["events"]
    (edit,) = [
        each["detail"]
        for each in log
        if each["event"] == "edited" and each["detail"]["old"] is not None
    ]
    assert edit["old"]["trackingNumber"] == "TRACK-0001"
    assert edit["new"]["trackingNumber"] == "TRACK-0002"


REFUSED: dict[str, dict[str, Any]] = {
    "no drive": {"driveList": []},
    "eleven drives": {"driveList": 11},
    "a drive twice": {"driveList": ["A", "a"]},
    "another kind": {"jobType": "Move"},
    "an import that exports": {"export": {"blobListblobPath": "charts/list.xml"}},
    "a key vault": {"encryptionKey": {"kekType": "CustomerManaged", "kekUrl": "https://v/k"}},
    "no account": {"storageAccountId": "/subscriptions/x"},
    "an account that is not there": {"storageAccountId": "other"},
    "a log level": {"logLevel": "Loud"},
    "a short hash": {"manifestHash": "00"},
    "a serial with a blank": {"driveList": ["A B"]},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_original_leaves_out_is_checked(
    cloud: LocalCloud, world: World, what: str
) -> None:
    body, changes = job_body(world), dict(REFUSED[what])
    properties = body["properties"]
    drives = changes.pop("driveList", None)
    if drives is not None:
        serials = [f"D{n}" for n in range(drives)] if isinstance(drives, int) else drives
        properties["driveList"] = job_body(world, serials=serials)["properties"]["driveList"]
    if "manifestHash" in changes:
        properties["driveList"][0]["manifestHash"] = changes.pop("manifestHash")
    if changes.get("storageAccountId") == "other":
        changes["storageAccountId"] = world.account_id.replace(world.account, "other")
    properties.update(changes)
    reply = cloud.http(world.admin).request("PUT", world.job_path("job-1"), json=body)
    assert (reply.status, reply.body["error"]["code"]) == (400, "InvalidRequestContent")
    assert reply.body["error"]["target"]


def test_a_drive_is_in_one_open_job_only(cloud: LocalCloud, world: World) -> None:
    http = cloud.http(world.admin)
    http.ok("PUT", world.job_path("job-1"), job_body(world))
    reply = http.request("PUT", world.job_path("job-2"), json=job_body(world))
    assert (reply.status, reply.body["error"]["code"]) == (409, "Conflict")
    assert "job-1" in reply.body["error"]["message"]


def test_another_tenants_list_does_not_block_a_drive(cloud: LocalCloud, world: World) -> None:
    other = cloud.world("inland")
    for each in (world, other):
        cloud.http(each.admin).ok("PUT", each.job_path("job-1"), job_body(each))


@pytest.mark.requirement("R93")
def test_one_tracking_number_means_one_job_and_the_other_is_named(
    cloud: LocalCloud, world: World
) -> None:
    http = cloud.http(world.admin)
    for name, serial in (("job-1", "A"), ("job-2", "B")):
        http.ok("PUT", world.job_path(name), job_body(world, serials=[serial]))
    http.ok("PATCH", world.job_path("job-1"), ship_body())
    reply = http.request("PATCH", world.job_path("job-2"), json=ship_body("track-0001"))
    assert (reply.status, reply.body["error"]["code"]) == (409, "TrackingNumberUsed")
    assert "job-1" in reply.body["error"]["message"]


@pytest.mark.requirement("R93")
def test_a_tracking_number_of_another_tenant_is_neither_shown_nor_blocked(
    cloud: LocalCloud, world: World
) -> None:
    for each in (cloud.world("inland"), world):
        http = cloud.http(each.admin)
        http.ok("PUT", each.job_path("job-1"), job_body(each))
        shipped = http.ok("PATCH", each.job_path("job-1"), ship_body())
        assert shipped["properties"]["state"] == "Shipping"


@pytest.mark.requirement("R92")
@pytest.mark.parametrize("number", ["TRACK-1, TRACK-2", "TRACK-1 TRACK-2", "", "123"])
def test_a_job_has_one_tracking_number(cloud: LocalCloud, world: World, number: str) -> None:
    http = cloud.http(world.admin)
    http.ok("PUT", world.job_path("job-1"), job_body(world))
    assert http.request("PATCH", world.job_path("job-1"), json=ship_body(number)).status in {
        400,
        409,
    }
    assert http.ok("GET", world.job_path("job-1"))["properties"]["state"] == "Creating"


@pytest.mark.requirement("R53")
def test_a_job_name_exists_once_in_a_storage_account(cloud: LocalCloud, world: World) -> None:
    http = cloud.http(world.admin)
    http.ok("PUT", world.job_path("job-1"), job_body(world))
    second = world.group.replace("rg-harbour", "rg-second")
    http.ok("PUT", f"{second}?{ARM}", {"location": "westeurope"})
    path = world.job_path("job-1").replace("rg-harbour/providers", "rg-second/providers")
    reply = http.request("PUT", path, json=job_body(world, serials=["B"]))
    assert reply.status == 409


def test_there_are_32_locations_and_each_leads_to_one_with_a_dock(
    cloud: LocalCloud, world: World
) -> None:
    http = cloud.http(world.admin)
    locations = http.ok("GET", f"/providers/Microsoft.ImportExport/locations?{ARM}")["value"]
    known = {each["id"]: each["properties"] for each in locations}
    assert len(known) == 32
    for each in locations:
        assert each["properties"]["supportedCarriers"]
        (alternate,) = each["properties"]["alternateLocations"]
        assert alternate in known[alternate]["alternateLocations"], "the detour is one step long"


@pytest.mark.parametrize("name", ["westus", "West US", "WESTUS", "west%20us"])
def test_a_location_is_found_by_either_name(cloud: LocalCloud, world: World, name: str) -> None:
    path = f"/providers/microsoft.importexport/Locations/{name}?{ARM}"
    found = cloud.http(world.admin).ok("GET", path)
    assert found["id"] == "/providers/Microsoft.ImportExport/locations/westus"
    assert found["type"] == "Microsoft.ImportExport/locations"
    assert found["properties"]["recipientName"] == "Example Import Dock"


def test_the_provider_lists_its_operations(cloud: LocalCloud, world: World) -> None:
    path = f"/providers/Microsoft.ImportExport/operations?{ARM}"
    found = cloud.http(world.admin).ok("GET", path)["value"]
    assert {each["name"] for each in found} >= {
        "Microsoft.ImportExport/jobs/write",
        "Microsoft.ImportExport/jobs/listBitLockerKeys/action",
    }
    assert {each["display"]["provider"] for each in found} == {"Microsoft Import/Export"}


@pytest.mark.requirement("R112")
def test_every_transition_that_a_client_makes_is_reachable(journey: Journey) -> None:
    states = []
    journey.stage()
    journey.prepare()
    for step in (
        lambda: None,
        journey.ship,
        journey.receive,
        lambda: journey.report("ZX91K7Q0", "started"),
        lambda: journey.report("ZX91K7Q0", "completed"),
        journey.give_back,
    ):
        step()
        states.append(journey.job()["properties"]["state"])
    assert states == [
        "Creating",
        "Shipping",
        "Received",
        "Transferring",
        "Packaging",
        "Completed",
    ]
