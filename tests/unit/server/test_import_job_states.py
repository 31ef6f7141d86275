"""What a client may do to an import job in each of its states, over the wire: every pair."""

import itertools
import json as jsons
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.support.cloud import LocalCloud, LocalHttp, World
from tests.support.cloudsamples import RETURN_ADDRESS, job_body
from tests.support.samplejobs import drive

from overland.jobs import records
from overland.jobs.states import DriveState, JobState
from overland.ports.http import Reply

_numbers = itertools.count(1)
SHOWN: list[JobState] = [state for state in JobState if state is not JobState.DELETED]

# The drives' state that goes with the job's.
DRIVES = {
    JobState.CREATING: DriveState.SPECIFIED,
    JobState.SHIPPING: DriveState.SPECIFIED,
    JobState.RECEIVED: DriveState.RECEIVED,
    JobState.TRANSFERRING: DriveState.TRANSFERRING,
    JobState.PACKAGING: DriveState.COMPLETED,
    JobState.COMPLETED: DriveState.SHIPPED_BACK,
    JobState.CLOSED: DriveState.SHIPPED_BACK,
}

# Until which state each change is possible, as the service's rules say; `tags` always.
LAST = {
    "state": "Creating",
    "driveList": "Creating",
    "deliveryPackage": "Shipping",
    "cancelRequested": "Transferring",
    "returnAddress": "Transferring",
    "returnShipping": "Transferring",
    "logLevel": "Transferring",
    "backupDriveManifest": "Transferring",
    "tags": "Closed",
}
CHANGES: dict[str, dict[str, Any]] = {
    "state": {"properties": {"state": "Shipping"}},
    "driveList": {
        "properties": {
            "driveList": [
                {
                    "driveId": "UNIQUE",
                    "bitLockerKey": "key",
                    "manifestFile": "\\other.manifest",
                    "manifestHash": "AB" * 32,
                }
            ]
        }
    },
    "deliveryPackage": {
        "properties": {"deliveryPackage": {"carrierName": "DHL", "trackingNumber": "UNIQUE"}}
    },
    "cancelRequested": {"properties": {"cancelRequested": True}},
    "returnAddress": {"properties": {"returnAddress": RETURN_ADDRESS | {"city": "Odense"}}},
    "returnShipping": {
        "properties": {"returnShipping": {"carrierName": "DHL", "carrierAccountNumber": "1"}}
    },
    "logLevel": {"properties": {"logLevel": "Verbose"}},
    "backupDriveManifest": {"properties": {"backupDriveManifest": True}},
    "tags": {"tags": {"project": "beacon"}},
}
DELETABLE = {JobState.CREATING, JobState.COMPLETED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One job of a world, which a test puts into any state."""

    cloud: LocalCloud
    world: World
    http: LocalHttp
    number: int

    @property
    def name(self) -> str:
        return f"job-{self.number}"

    @property
    def path(self) -> str:
        return self.world.job_path(self.name)

    @property
    def parcel(self) -> dict[str, str]:
        return {"carrierName": "FedEx", "trackingNumber": f"TRACK-{self.number}"}

    def body(self) -> dict[str, Any]:
        return job_body(self.world, serials=[f"SERIAL-{self.number}"])

    def put_into(self, state: JobState) -> Any:
        """Store the job in a state, with all that belongs to it; return how it is shown."""
        with self.cloud.database.begin() as connection:
            (job,) = records.list_jobs(
                connection, subscription_id=self.world.subscription_id, name=self.name
            )
            shipped = state is not JobState.CREATING
            one = drive(f"SERIAL-{self.number}", DRIVES[state])
            placed = replace(
                job,
                state=state,
                drives=(replace(one, was_opened=one.state is not DriveState.SPECIFIED),),
                delivery_package=self.parcel,
                shipped_at=self.cloud.clock.now() if shipped else None,
            )
            records.save_job(connection, placed, happened=[], actor="test")
        return self.shown()

    def shown(self) -> Any:
        job = self.http.ok("GET", self.path)
        del job["systemData"]
        return job


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalCloud, World]]:
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud, cloud.world()


@pytest.fixture
def placed(shared: tuple[LocalCloud, World]) -> Placed:
    cloud, world = shared
    http = cloud.http(world.admin)
    made = Placed(cloud=cloud, world=world, http=http, number=next(_numbers))
    http.ok("PUT", made.path, made.body())
    return made


def check(placed: Placed, before: Any, reply: Reply, *, is_allowed: bool) -> None:
    if is_allowed:
        assert reply.status == 200, reply.body
        assert placed.shown() != before
    else:
        assert (reply.status, reply.body["error"]["code"]) == (409, "InvalidJobState")
        assert before["properties"]["state"] in reply.body["error"]["message"]
        assert placed.shown() == before


@pytest.mark.requirement("R112")
@pytest.mark.parametrize(("state", "name"), list(itertools.product(SHOWN, LAST)), ids=str)
def test_a_property_is_changed_until_its_last_state_and_then_refused(
    placed: Placed, state: JobState, name: str
) -> None:
    before = placed.put_into(state)
    change = jsons.dumps(CHANGES[name]).replace("UNIQUE", f"UNIQUE-{placed.number}")
    reply = placed.http.request("PATCH", placed.path, raw=change.encode())
    is_allowed = SHOWN.index(state) <= SHOWN.index(JobState(LAST[name]))
    check(placed, before, reply, is_allowed=is_allowed)


@pytest.mark.requirement("R112")
@pytest.mark.parametrize("state", SHOWN)
def test_a_job_is_replaced_while_it_is_creating_only(placed: Placed, state: JobState) -> None:
    before = placed.put_into(state)
    reply = placed.http.request("PUT", placed.path, json=placed.body() | {"tags": {}})
    check(placed, before, reply, is_allowed=state is JobState.CREATING)


@pytest.mark.requirement("R112")
@pytest.mark.parametrize("state", SHOWN)
def test_a_job_is_deleted_while_it_is_creating_or_when_it_is_completed(
    placed: Placed, state: JobState
) -> None:
    before = placed.put_into(state)
    reply = placed.http.request("DELETE", placed.path)
    if state in DELETABLE:
        assert (reply.status, reply.raw) == (200, b"")
        assert placed.http.request("GET", placed.path).status == 404
    else:
        check(placed, before, reply, is_allowed=False)


@pytest.mark.requirement("R112")
@pytest.mark.parametrize(("state", "wanted"), list(itertools.product(SHOWN, SHOWN)), ids=str)
def test_a_client_leads_a_job_into_no_state_but_shipping(
    placed: Placed, state: JobState, wanted: JobState
) -> None:
    before = placed.put_into(state)
    reply = placed.http.request("PATCH", placed.path, json={"properties": {"state": wanted}})
    if (state, wanted) == (JobState.CREATING, JobState.SHIPPING):
        assert placed.shown()["properties"]["state"] == "Shipping"
    else:
        assert reply.status in {400, 409}, reply.body
        assert placed.shown() == before


@pytest.mark.requirement("R112")
@pytest.mark.parametrize("missing", ["returnAddress", "deliveryPackage"])
def test_a_ship_notice_needs_return_address_and_parcel(placed: Placed, missing: str) -> None:
    body = placed.body()
    if missing == "returnAddress":
        del body["properties"][missing]
    placed.http.ok("PUT", placed.path, body)
    given = {} if missing == "deliveryPackage" else {"deliveryPackage": placed.parcel}
    notice = {"properties": {"state": "Shipping", **given}}
    reply = placed.http.request("PATCH", placed.path, json=notice)
    assert (reply.status, reply.body["error"]["code"]) == (409, "InvalidJobState")
    assert placed.shown()["properties"]["state"] == "Creating"
    later = {"properties": {"returnAddress": RETURN_ADDRESS, "deliveryPackage": placed.parcel}}
    placed.http.ok("PATCH", placed.path, later)
    shipped = placed.http.ok("PATCH", placed.path, {"properties": {"state": "Shipping"}})
    assert shipped["properties"]["state"] == "Shipping"


def test_a_cancelled_job_is_not_resumed(placed: Placed) -> None:
    placed.http.ok("PATCH", placed.path, {"properties": {"cancelRequested": True}})
    reply = placed.http.request(
        "PATCH", placed.path, json={"properties": {"cancelRequested": False}}
    )
    assert (reply.status, reply.body["error"]["target"]) == (400, "cancelRequested")
    assert placed.shown()["properties"]["cancelRequested"] is True
