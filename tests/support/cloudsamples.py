"""A seed's way through a `LocalCloud`, one step per function, with bodies as clients send them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.cloud import ARM, LocalCloud, LocalHttp, World
from tests.support.landed import Seed

__all__ = ["RETURN_ADDRESS", "Journey", "job_body", "ship_body"]

RETURN_ADDRESS = {
    "recipientName": "Ada Quist",
    "streetAddress1": "12 Quay Lane",
    "city": "Aarhus",
    "postalCode": "8000",
    "countryOrRegion": "Denmark",
    "phone": "+4500000000",
    "email": "disks@example.org",
}
UNLOCK_KEY = "238810-662376-448998-450120-652806-203390-606320-483076"


def job_body(
    world: World, *, serials: Sequence[str] = ("ZX91K7Q0",), seed_id: str | None = None
) -> dict[str, Any]:
    """Return the body of a PUT; an import job as a copy computer asks for it."""
    tags = {} if seed_id is None else {"overland-seed": seed_id, "overland-drive-key": "ab" * 32}
    return {
        "location": "northeurope",
        "tags": {"project": "lantern", **tags},
        "properties": {
            "storageAccountId": world.account_id,
            "jobType": "Import",
            "returnAddress": RETURN_ADDRESS,
            "driveList": [
                {
                    "driveId": serial,
                    "bitLockerKey": UNLOCK_KEY,
                    "manifestFile": "\\DriveManifest.xml",
                    "manifestHash": "3148218129D7A878553B49D5CA314EAB",
                    "driveHeaderHash": "",
                }
                for serial in serials
            ],
        },
    }


def ship_body(number: str = "TRACK-0001") -> dict[str, Any]:
    """Return the body of a PATCH that is a ship notice."""
    package = {"carrierName": "FedEx", "trackingNumber": number}
    return {"properties": {"state": "Shipping", "deliveryPackage": package}}


@dataclass(kw_only=True)
class Journey:
    """One seed of one source computer, and those who move it on."""

    cloud: LocalCloud
    world: World = field(init=False)
    seed: Seed = field(default_factory=Seed)
    serials: Sequence[str] = ("ZX91K7Q0",)
    agent: LocalHttp = field(init=False)
    station: LocalHttp = field(init=False)
    name: str = "harbour-first"

    def __post_init__(self) -> None:
        self.world = self.cloud.world()
        self.admin = self.cloud.http(self.world.admin)
        owner = self.seed.computer.owner
        registered = self.cloud.register(
            self.world,
            name="srv-1",
            repository_id=owner.repository_id,
            signing_key=self.seed.computer.key,
        )
        self.computer_id = registered["source_computer_id"]
        self.agent = self.cloud.http(registered["token"])
        self.station = self.cloud.station()

    @property
    def seed_path(self) -> str:
        return f"/v1/seeds/{self.seed.seed_id}"

    @property
    def job_path(self) -> str:
        return self.world.job_path(self.name)

    def seed_body(self, **changes: str) -> dict[str, str]:
        return {
            "seed_id": self.seed.seed_id,
            "job_name": self.name,
            "policy": "daily",
            "subscription_id": self.world.subscription_id,
            "storage_account": self.world.account,
            "container": self.world.container,
            **changes,
        }

    def announce(self) -> Any:
        return self.agent.ok("POST", "/v1/seeds", self.seed_body())

    def stage(self) -> None:
        """Announce the seed and send its manifest."""
        self.announce()
        reply = self.agent.request("PUT", f"{self.seed_path}/manifest", raw=self.seed.document)
        assert reply.status == 200, reply.body

    def copy_computer(self, job_name: str | None = None) -> LocalHttp:
        path = f"/v1/subscriptions/{self.world.subscription_id}/publish-settings"
        xml = self.admin.ok("POST", path, {"job_name": job_name})["xml"]
        token = re.search(r'Token="([^"]+)"', xml)
        assert token is not None
        return self.cloud.http(token[1])

    def prepare(self) -> Any:
        """Create the import job."""
        body = job_body(self.world, serials=self.serials, seed_id=self.seed.seed_id)
        return self.copy_computer().ok("PUT", self.job_path, body)

    def ship(self, number: str = "TRACK-0001") -> Any:
        return self.copy_computer().ok("PATCH", self.job_path, ship_body(number))

    def job(self) -> Any:
        return self.admin.ok("GET", self.job_path)

    def receive(self, serials: Sequence[str] | None = None, number: str = "TRACK-0001") -> Any:
        body = {
            "tracking_number": number,
            "carrier": "FedEx",
            "serials": list(self.serials if serials is None else serials),
        }
        return self.station.ok("POST", "/v1/station/parcels", body)

    @property
    def job_id(self) -> str:
        job_id: str = self.station.ok("GET", "/v1/station/jobs")[0]["job_id"]
        return job_id

    def land(self, *, without: Sequence[str] = ()) -> None:
        """Put the seed's objects where the station uploads them."""
        space = f"accounts/{self.world.account}/{self.world.container}"
        for name, content in self.seed.contents.items():
            if name not in without:
                self.cloud.put_object(space, f"seed-{self.seed.seed_id}/{name}", content)

    def report(self, serial: str, event: str, **more: object) -> Any:
        path = f"/v1/station/jobs/{self.job_id}/drives/{serial}/events"
        return self.station.ok("POST", path, {"event": event, **more})

    def give_back(self, **more: object) -> Any:
        body = {"carrier": "FedEx", "tracking_number": "BACK-0001", **more}
        return self.station.ok("POST", f"/v1/station/jobs/{self.job_id}/return", body)

    def to_dock(self) -> None:
        """Take the seed to the dock: staged, prepared, shipped, received."""
        self.stage()
        self.prepare()
        self.ship()
        self.receive()

    def imported(self, *, without: Sequence[str] = ()) -> None:
        """Take the seed through the station, up to the drives' return."""
        self.to_dock()
        self.land(without=without)
        for serial in self.serials:
            self.report(serial, "started")
            self.report(serial, "completed", percent=100)

    def jobs_url(self, *, group: bool) -> str:
        if group:
            return f"{self.world.jobs}?{ARM}"
        subscription = f"/subscriptions/{self.world.subscription_id}"
        return f"{subscription}/providers/Microsoft.ImportExport/jobs?{ARM}"
