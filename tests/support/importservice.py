"""The import service as disk preparation sees it, in memory, and a scripted operator."""

import copy
from collections.abc import Sequence
from typing import Any

from tests.support import staged
from tests.support.manualclock import ManualClock
from tests.support.simdisk import SimDisk
from tests.support.staged import SimDrives

from overland.diskprep.prepare import Workbench
from overland.diskprep.questions import DrivePlan, Remaining
from overland.diskprep.record import Preparations
from overland.errors import RefusedError, Unreachable
from overland.ports.http import Reply
from overland.ports.progress import NullProgress
from overland.seeding.staging import FoundSeed

GROUP = "rg-harbour"
ACCOUNT_ID = (
    f"/subscriptions/{staged.SUBSCRIPTION_ID}/resourceGroups/{GROUP}"
    "/providers/Microsoft.Storage/storageAccounts/harbourdata"
)
JOB_PATH = (
    f"/subscriptions/{staged.SUBSCRIPTION_ID}/resourceGroups/{GROUP}"
    "/providers/Microsoft.ImportExport/jobs/harbour-import-07"
)
LOCATIONS = {"norwayeast": ["westeurope"], "westeurope": ["westeurope", "northeurope"]}


class FakeImportService:
    """`Http`: one storage account in a region without a dock, and import jobs."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.is_down = False
        self.refusing: Reply | None = None

    def request(
        self, method: str, path: str, *, json: Any = None, raw: bytes | None = None
    ) -> Reply:
        assert raw is None
        if self.is_down:
            raise Unreachable("the cloud did not answer")
        place, _, query = path.partition("?")
        if place.startswith("/v1/"):
            return error(404, "NotFound")  # the documented service knows jobs, and no seeds
        assert query == "api-version=2021-01-01"
        self.requests.append((method, place, json))
        if self.refusing is not None:
            return self.refusing
        if "/storageAccounts" in place:
            account = {"id": ACCOUNT_ID, "name": "harbourdata", "location": "norwayeast"}
            return answer(200, {"value": [account]})
        if "/locations/" in place:
            return self._location(place.rpartition("/")[2])
        return self._job(method, place, json)

    def methods(self, method: str) -> int:
        return sum(sent == method for sent, _, _ in self.requests)

    def _location(self, name: str) -> Reply:
        if name not in LOCATIONS:
            return error(404, "ResourceNotFound")
        prefix = "/providers/Microsoft.ImportExport/locations/"
        properties = {
            "recipientName": "Example Import Dock",
            "streetAddress1": "1 Dock Road",
            "city": name,
            "supportedCarriers": ["FedEx", "UPS"],
            "alternateLocations": [prefix + each for each in LOCATIONS[name]],
        }
        return answer(200, {"id": prefix + name, "name": name, "properties": properties})

    def _job(self, method: str, place: str, body: Any) -> Reply:
        match method, self.jobs.get(place):
            case "PUT", None:
                self.jobs[place] = {
                    **copy.deepcopy(body),
                    "id": place,
                    "name": place.rpartition("/")[2],
                }
                self.jobs[place]["properties"]["state"] = "Creating"
                return answer(201, self.jobs[place])
            case _, None:
                return error(404, "ResourceNotFound")
            case "PUT", dict(job):
                job["properties"] |= body["properties"]
                job["tags"] = body["tags"]
            case "PATCH", dict(job):
                job["properties"] |= body["properties"]
        return answer(200, self.jobs[place])


def answer(status: int, body: Any) -> Reply:
    return Reply(status=status, body=copy.deepcopy(body), raw=b"")


def error(status: int, code: str, message: str = "no") -> Reply:
    return answer(status, {"error": {"code": code, "message": message}})


class Operator:
    """`Questions`, answered from lists; every answer that a test does not need is yes.

    The drives are named one by one as they are asked for, or all `at_once`.
    """

    def __init__(
        self,
        *paths: str,
        erase: Sequence[str] = (),
        consent: bool = True,
        at_once: bool = False,
    ) -> None:
        self.named_at_once = at_once
        self.paths, self.erase, self.consent = list(paths), set(erase), consent
        self.plans: list[DrivePlan] = []
        self.remaining: list[Remaining] = []
        self.told: list[str] = []
        self.seeds: list[Sequence[FoundSeed]] = []

    def choose_seed(self, seeds: Sequence[FoundSeed]) -> str:
        self.seeds.append(seeds)
        return seeds[-1].seed_id

    def named_drive(self) -> str | None:
        return self.paths.pop(0) if self.paths and self.named_at_once else None

    def next_drive(self, remaining: Remaining) -> str | None:
        self.remaining.append(remaining)
        return self.paths.pop(0) if self.paths else None

    def try_another(self, refusal: RefusedError) -> bool:
        self.told.append(str(refusal))
        return False

    def may_erase(self, plan: DrivePlan) -> bool:
        self.plans.append(plan)
        return self.consent and (plan.content == "blank" or plan.serial in self.erase)

    def tell(self, text: str) -> None:
        self.told.append(text)


def bench(drives: SimDrives, operator: Operator, *, local: SimDisk | None = None) -> Workbench:
    return Workbench(
        volumes=drives,
        preparations=Preparations(SimDisk() if local is None else local),
        questions=operator,
        clock=ManualClock(),
        progress=NullProgress(),
        random=lambda count: b"c" * count,
        operator="ada@copy-computer",
    )
