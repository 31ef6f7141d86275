"""Export jobs at the dock: empty drives are taken in, told of, and given leave for nothing more."""

from typing import Any

import pytest
from tests.support.cloud import LocalCloud, World
from tests.support.cloudsamples import Journey, job_body, ship_body

from overland.cloud import grants
from overland.cloud.grants import Grant
from overland.crypto import sign

NUMBER = "TRACK-OUT"


class ExportOrder:
    """One export job of a tenant, and the station."""

    def __init__(self, cloud: LocalCloud, world: World, *, name: str = "take-out") -> None:
        self.cloud, self.world, self.path = cloud, world, world.job_path(name)
        self.admin, self.station = cloud.http(world.admin), cloud.station()
        body = {
            "location": "northeurope",
            "properties": {
                "storageAccountId": world.account_id,
                "jobType": "Export",
                "returnAddress": {
                    "recipientName": "Ada Quist",
                    "streetAddress1": "12 Quay Lane",
                    "city": "Aarhus",
                    "postalCode": "8000",
                    "countryOrRegion": "Denmark",
                    "phone": "+4500000000",
                    "email": "disks@example.org",
                },
                "export": {"blobList": {"blobPathPrefix": ["/"]}},
            },
        }
        self.admin.ok("PUT", self.path, body)

    def ship(self) -> None:
        self.admin.ok("PATCH", self.path, ship_body(NUMBER))

    def receive(self, *serials: str) -> dict[str, Any]:
        body = {"tracking_number": NUMBER, "carrier": "FedEx", "serials": list(serials)}
        answer: dict[str, Any] = self.station.ok("POST", "/v1/station/parcels", body)
        return answer

    def outcomes(self, *serials: str) -> list[str]:
        return [each["outcome"] for each in self.receive(*serials)["drives"]]

    def job(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.admin.ok("GET", self.path)["properties"]
        return answer

    def grant(self, job_id: str, **more: object) -> Grant:
        body = {"kind": "export", "job_id": job_id, **more}
        token = self.station.ok("POST", "/v1/grants", body)["token"]
        key = sign.public_key(self.cloud.grant_key)
        return grants.verify(token, public_key=key, at=self.cloud.clock.now())


@pytest.fixture
def order(cloud: LocalCloud) -> ExportOrder:
    return ExportOrder(cloud, cloud.world("pier"))


def test_empty_drives_of_an_export_are_received_though_nobody_listed_them(
    order: ExportOrder,
) -> None:
    order.ship()
    assert order.outcomes("E1", "E2") == ["received", "received"]
    job = order.job()
    assert job["state"] == "Received"
    assert [(each["driveId"], each["state"]) for each in job["driveList"]] == [
        ("E1", "Received"),
        ("E2", "Received"),
    ]
    assert order.outcomes("E1", "E2") == ["already-received", "already-received"]


def test_empty_drives_wait_for_the_ship_notice(order: ExportOrder, cloud: LocalCloud) -> None:
    order.ship()
    other = ExportOrder(cloud, order.world, name="later")
    other.admin.ok(
        "PATCH",
        other.path,
        {"properties": {"deliveryPackage": {"carrierName": "UPS", "trackingNumber": "TRACK-L"}}},
    )
    body = {"tracking_number": "TRACK-L", "carrier": "UPS", "serials": ["L1"]}
    answer = other.station.ok("POST", "/v1/station/parcels", body)
    assert [each["outcome"] for each in answer["drives"]] == ["awaiting-ship-notice"]
    other.admin.ok("PATCH", other.path, ship_body("TRACK-L"))
    assert other.job()["state"] == "Received"


def test_a_job_takes_ten_drives_and_the_others_are_for_quarantine(order: ExportOrder) -> None:
    order.ship()
    outcomes = order.outcomes(*(f"E{number}" for number in range(12)))
    assert outcomes == ["received"] * 10 + ["unknown"] * 2


def test_a_drive_of_another_job_is_not_taken_for_an_empty_one(order: ExportOrder) -> None:
    order.admin.ok("PUT", order.world.job_path("films"), job_body(order.world, serials=["M1"]))
    order.ship()
    assert order.outcomes("E1", "M1") == ["received", "extra"]


def test_a_station_may_read_the_account_of_an_export_and_no_more(order: ExportOrder) -> None:
    order.ship()
    job_id = order.receive("E1")["job_id"]
    shown = order.station.ok("GET", f"/v1/station/jobs/{job_id}")
    assert (shown["job_type"], shown["containers"]) == ("Export", ["seeds"])
    assert shown["export"] == {"blobList": {"blobPathPrefix": ["/"]}}
    grant = order.grant(job_id, container="seeds")
    assert grant.prefixes == ("",)
    assert grant.permissions == {"read", "list"}
    body = {"kind": "export", "job_id": job_id, "container": "other"}
    for container in ("other", "../vaults"):
        reply = order.station.request("POST", "/v1/grants", json=body | {"container": container})
        assert reply.status == 404
    assert order.admin.request("POST", "/v1/grants", json=body).status == 403


def test_what_a_drive_carries_back_is_the_stations_word_for_exports_only(
    order: ExportOrder,
) -> None:
    order.ship()
    job_id = order.receive("E1")["job_id"]
    filled = {
        "event": "completed",
        "manifest_file": "\\E1.manifest",
        "manifest_hash": "AB" * 16,
        "unlock_key": "opens E1",
        "incomplete_blob_list": "https://objects.test/list.xml",
    }
    order.station.ok("POST", f"/v1/station/jobs/{job_id}/drives/E1/events", filled)
    job = order.job()
    assert (job["state"], job["incompleteBlobListUri"]) == (
        "Packaging",
        "https://objects.test/list.xml",
    )
    [drive] = job["driveList"]
    assert (drive["manifestFile"], drive["manifestHash"]) == ("\\E1.manifest", "AB" * 16)
    assert "opens E1" not in str(job)
    keys = order.admin.ok("POST", order.path.replace("?", "/listBitLockerKeys?"))
    assert keys["value"] == [{"driveId": "E1", "bitLockerKey": "opens E1"}]
    order.admin.ok("PUT", order.world.job_path("films"), job_body(order.world, serials=["M1"]))
    order.admin.ok("PATCH", order.world.job_path("films"), ship_body("TRACK-IN"))
    parcel = {"tracking_number": "TRACK-IN", "carrier": "UPS", "serials": ["M1"]}
    job_id = order.station.ok("POST", "/v1/station/parcels", parcel)["job_id"]
    path = f"/v1/station/jobs/{job_id}/drives/M1/events"
    assert order.station.request("POST", path, json=filled).status == 409


def test_an_import_job_gives_no_leave_to_read_an_account(journey: Journey) -> None:
    journey.to_dock()
    body = {"kind": "export", "job_id": journey.job_id, "container": "seeds"}
    assert journey.station.request("POST", "/v1/grants", json=body).status == 409
