"""A served cloud, with its own authority, for clients that others wrote."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.cloud import LocalHttp, World
from tests.support.runningcloud import RemoteCloud, RunningCloud, running_cloud

_REQUESTS = 2  # the quick run: `tests.clients.test_openapi.QUICK`


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option; it is known when this folder is named on the command line."""
    group = parser.getgroup("clients")
    group.addoption(
        "--openapi-requests",
        type=int,
        default=_REQUESTS,
        help="Requests of chance for each operation of the OpenAPI document.",
    )


@pytest.fixture
def openapi_requests(request: pytest.FixtureRequest) -> int:
    count: int = request.config.getoption("--openapi-requests", _REQUESTS)
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A cloud that runs, a customer's account in it, and a station's token."""

    running: RunningCloud
    world: World
    admin: LocalHttp
    station: LocalHttp

    @property
    def url(self) -> str:
        url: str = self.running.endpoints["url"]
        return url

    @property
    def ca(self) -> str:
        ca: str = self.running.endpoints["ca"]
        return ca

    def environment(self) -> dict[str, str]:
        """What the samples of the reference page take from their surroundings."""
        return {
            "CLOUD_URL": self.url,
            "CLOUD_CA": self.ca,
            "CLOUD_TOKEN": self.world.admin,
            "SUBSCRIPTION_ID": self.world.subscription_id,
            "RESOURCE_GROUP": self.world.group.rpartition("/")[2],
            "STORAGE_ACCOUNT_ID": self.world.account_id,
        }

    def take_in(self, name: str, serial: str, *, clean: bool = True) -> None:
        """Let the station do everything with a shipped job of one drive."""
        tracking = self.admin.ok("GET", self.world.job_path(name))["properties"]["deliveryPackage"]
        parcel = {
            "tracking_number": tracking["trackingNumber"],
            "carrier": tracking["carrierName"],
            "serials": [serial],
        }
        self.station.ok("POST", "/v1/station/parcels", parcel)
        (job_id,) = [
            each["job_id"]
            for each in self.station.ok("GET", "/v1/station/jobs")
            if each["name"] == name
        ]
        path = f"/v1/station/jobs/{job_id}"
        ended = "completed" if clean else "completed_more_info"
        events: list[dict[str, Any]] = [  # Any: as clients send them
            {"event": "started"},
            {"event": "progressed", "percent": 41, "copy_status": "InProgress"},
            {"event": ended, "percent": 100, "bytes_succeeded": 1733001216},
        ]
        for event in events:
            self.station.ok("POST", f"{path}/drives/{serial}/events", event)
        back = {"carrier": "FedEx", "tracking_number": f"BACK-{name}"}
        self.station.ok("POST", f"{path}/return", back)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_cloud(Path(tmp_path_factory.mktemp("served"))) as running:
        cloud = RemoteCloud(running)
        world = cloud.world()
        yield Served(
            running=running, world=world, admin=cloud.http(world.admin), station=cloud.station()
        )
