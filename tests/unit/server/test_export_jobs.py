"""Export jobs on the wire: kept as they were asked for, with drives that come without a list."""

from typing import Any

import pytest
from tests.support.cloud import LocalCloud, World
from tests.support.cloudsamples import RETURN_ADDRESS, ship_body

JSON = dict[str, Any]  # as clients send it


@pytest.fixture
def world(cloud: LocalCloud) -> World:
    return cloud.world()


def export_body(world: World, export: JSON | None, **more: Any) -> JSON:
    properties: JSON = {
        "storageAccountId": world.account_id,
        "jobType": "Export",
        "returnAddress": RETURN_ADDRESS,
        **({} if export is None else {"export": export}),
        **more,
    }
    return {"location": "westus", "properties": properties}


GOOD: dict[str, JSON] = {
    "paths": {"blobList": {"blobPath": ["charts/index.json", "$root/chart.png"]}},
    "prefixes": {"blobList": {"blobPathPrefix": ["/", "/book", "/music/", "/$root/x"]}},
    "both": {"blobList": {"blobPath": ["charts/a b"], "blobPathPrefix": ["/music/love"]}},
    "a list of its own": {"blobListblobPath": "$root/list.xml"},
    "as much as may be": {"blobList": {"blobPath": [f"charts/{'x' * 1017}"] * 32}},
}


@pytest.mark.parametrize("what", GOOD)
def test_what_is_asked_for_is_what_is_shown(cloud: LocalCloud, world: World, what: str) -> None:
    http, path = cloud.http(world.admin), world.job_path("job-1")
    made = http.request("PUT", path, json=export_body(world, GOOD[what]))
    assert made.status == 201, made.body
    for job in (made.body, http.ok("GET", path)):
        properties = job["properties"]
        assert (properties["jobType"], properties["export"]) == ("Export", GOOD[what])
        assert (properties["driveList"], properties["state"]) == ([], "Creating")


BAD: dict[str, tuple[JSON | None, JSON]] = {
    "nothing": (None, {}),
    "neither form": ({}, {}),
    "both forms": ({"blobList": {"blobPath": ["a1b/c"]}, "blobListblobPath": "a1b/c"}, {}),
    "an empty list": ({"blobList": {}}, {}),
    "a path with a leading slash": ({"blobList": {"blobPath": ["/charts/index.json"]}}, {}),
    "a path without a blob": ({"blobList": {"blobPath": ["charts"]}}, {}),
    "a prefix without a slash": ({"blobList": {"blobPathPrefix": ["charts"]}}, {}),
    "a list in no container": ({"blobListblobPath": "list.xml"}, {}),
    "more than a list may be": ({"blobList": {"blobPath": [f"charts/{'x' * 1018}"] * 32}}, {}),
    "drives": (
        {"blobListblobPath": "charts/list.xml"},
        {"driveList": [{"driveId": "A", "manifestFile": "x", "manifestHash": "0" * 32}]},
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_not_an_export_is_refused(cloud: LocalCloud, world: World, what: str) -> None:
    export, more = BAD[what]
    body = export_body(world, export, **more)
    reply = cloud.http(world.admin).request("PUT", world.job_path("job-1"), json=body)
    assert (reply.status, reply.body["error"]["code"]) == (400, "InvalidRequestContent")
    assert reply.body["error"]["target"].startswith(("export", "driveList"))


def test_a_job_becomes_an_import_again_while_it_is_creating(
    cloud: LocalCloud, world: World
) -> None:
    http, path = cloud.http(world.admin), world.job_path("job-1")
    http.ok("PUT", path, export_body(world, GOOD["both"]))
    listed = {
        "driveId": "A",
        "bitLockerKey": "key",
        "manifestFile": "\\DriveManifest.xml",
        "manifestHash": "0" * 32,
    }
    body = export_body(world, None, jobType="Import", driveList=[listed])
    properties = http.ok("PUT", path, body)["properties"]
    assert "export" not in properties
    assert properties["jobType"] == "Import"


def test_an_export_job_is_shipped_without_a_list_of_drives(cloud: LocalCloud, world: World) -> None:
    http, path = cloud.http(world.admin), world.job_path("job-1")
    http.ok("PUT", path, export_body(world, GOOD["both"]))
    given = {"properties": {"driveList": [{"driveId": "A", "manifestFile": "x"}]}}
    given["properties"]["driveList"][0]["manifestHash"] = "0" * 32
    reply = http.request("PATCH", path, json=given)
    assert (reply.status, reply.body["error"]["target"]) == (400, "driveList")
    assert http.ok("PATCH", path, ship_body())["properties"]["state"] == "Shipping"
