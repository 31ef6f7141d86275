"""Disk preparation against the real control plane: job, shipping, status, and what it refuses."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from tests.support import staged
from tests.support.cloud import DOCK, LocalCloud, World
from tests.support.importservice import Operator, bench
from tests.support.simdisk import SimDisk
from tests.support.staged import SimDrive, SimDrives

from overland.diskprep.import_service import ImportService
from overland.diskprep.prepare import Workbench, choose_seed, prepare_drives
from overland.diskprep.publish_settings import parse_publish_settings
from overland.diskprep.record import Preparation, ReturnAddress, ReturnShipping, ShippingForm
from overland.diskprep.refusals import JobDiffers
from overland.diskprep.ship import commit
from overland.diskprep.status import job_status
from overland.diskprep.submit import find_job, submit
from overland.errors import NotAuthorised
from overland.ports.http import RefusedByCloud
from overland.seeding.staging import StagingLocation

FORM = ShippingForm(
    carrier="FedEx",
    tracking_number="000123456789",
    return_address=ReturnAddress(
        recipient_name="Ada Quist",
        street_address1="12 Quay Lane",
        city="Aarhus",
        postal_code="8000",
        country_or_region="Denmark",
        phone="+4500000000",
        email="disks@example.org",
    ),
    return_shipping=ReturnShipping(carrier_name="FedEx", carrier_account_number="000111222"),
)
JOB = "harbour-import-07"


@dataclass
class Scene:
    cloud: LocalCloud
    world: World
    work: Workbench
    staging: StagingLocation

    def settings(self) -> str:
        """Download the publish settings, as the administrator does."""
        path = f"/v1/subscriptions/{self.world.subscription_id}/publish-settings"
        answer = self.cloud.http(self.world.admin).ok("POST", path, {"job_name": JOB})
        xml: str = answer["xml"]
        return xml

    def service(self) -> ImportService:
        settings = parse_publish_settings(self.settings().encode())
        access = settings.access(self.world.subscription_id, now=self.cloud.clock.now())
        return ImportService(self.cloud.http(access.token))

    def prepared(self) -> Preparation:
        seed = choose_seed(self.staging, self.work.questions)
        return prepare_drives(seed, self.work, staging=self.staging.path)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with LocalCloud(tmp_path) as cloud:
        world = cloud.world()
        registered = cloud.register(
            world,
            name="harbour-1",
            repository_id=staged.REPOSITORY_ID,
            signing_key=staged.SIGNING_KEY,
        )
        agent = cloud.http(registered["token"])
        body = {
            "seed_id": staged.SEED_ID,
            "job_name": JOB,
            "policy": "nightly",
            "subscription_id": world.subscription_id,
            "storage_account": world.account,
            "container": world.container,
        }
        agent.ok("POST", "/v1/seeds", body)
        content = staged.objects(packs=(100_352, 100_864))
        disk = SimDisk()
        record = msgspec.structs.replace(
            staged.record(), subscription_id=world.subscription_id, storage_account=world.account
        )
        draft = staged.location(disk).begin(record, needed_bytes=0)
        for name, data in content.items():
            draft.files.write(name, data)
        staged.finish(draft, content)
        document = disk.read(f"seed-{staged.SEED_ID}/manifest.json")
        sent = agent.request("PUT", f"/v1/seeds/{staged.SEED_ID}/manifest", raw=document)
        assert sent.status < 300, sent.body
        drives = [SimDrive("D1", capacity_bytes=200_000), SimDrive("D2", capacity_bytes=1 << 20)]
        work = bench(SimDrives(*drives), Operator(*(drive.path for drive in drives)))
        yield Scene(cloud, world, replace(work, clock=cloud.clock), staged.location(disk))


def test_drives_become_a_job_that_is_shipped_and_watched(scene: Scene) -> None:
    service = scene.service()

    done = submit(scene.prepared(), scene.work, service)
    before = job_status(done, service, now=scene.cloud.clock.now())
    shipped = commit(done, FORM, scene.work, service)
    after = job_status(shipped, service, now=scene.cloud.clock.now())

    assert done.job is not None
    assert done.job.ship_to["recipientName"] == DOCK.recipient
    assert (before.state, after.state) == ("Creating", "Shipping")
    assert [drive.state for drive in after.drives] == ["Specified", "Specified"]
    assert after.tracking_number == "000123456789"
    seed = scene.cloud.http(scene.world.admin).ok("GET", f"/v1/seeds/{staged.SEED_ID}")
    assert [drive["serial"] for drive in seed["job"]["drives"]] == ["D1", "D2"]


@pytest.mark.requirement("R88")
def test_everything_done_twice_is_done_once(scene: Scene) -> None:
    service = scene.service()
    first = submit(scene.prepared(), scene.work, service)

    again = submit(first, scene.work, service)
    shipped = commit(again, FORM, scene.work, service)
    corrected = msgspec.structs.replace(FORM, tracking_number="000999")
    commit(shipped, corrected, scene.work, service)

    found = job_status(shipped, service, now=scene.cloud.clock.now())
    assert (found.state, found.tracking_number) == ("Shipping", "000999")


@pytest.mark.requirement("R95")
def test_another_computer_finds_the_job_by_the_staging_location(scene: Scene) -> None:
    service = scene.service()
    done = submit(scene.prepared(), scene.work, service)
    elsewhere = msgspec.structs.replace(done, job=None, drives=())

    found = find_job(elsewhere, scene.work, service)

    assert found.job is not None
    assert found.job.serials == ("D1", "D2")
    assert commit(found, FORM, scene.work, service).job is not None


def test_a_job_that_somebody_made_by_hand_is_not_replaced(scene: Scene) -> None:
    prepared = scene.prepared()
    drive = {
        "driveId": "HAND",
        "bitLockerKey": "k",
        "manifestFile": "\\m",
        "manifestHash": "0" * 64,
    }
    body = {
        "location": "westeurope",
        "properties": {
            "storageAccountId": scene.world.account_id,
            "jobType": "Import",
            "driveList": [drive],
        },
    }
    scene.cloud.http(scene.world.admin).ok("PUT", scene.world.job_path(JOB), body)

    with pytest.raises(JobDiffers):
        submit(prepared, scene.work, scene.service())


@pytest.mark.requirement("R93")
def test_a_tracking_number_of_another_job_is_refused_by_the_cloud(scene: Scene) -> None:
    other_drive = {
        "driveId": "OTHER",
        "bitLockerKey": "k",
        "manifestFile": "\\m",
        "manifestHash": "0" * 64,
    }
    body = {
        "location": "westeurope",
        "properties": {
            "storageAccountId": scene.world.account_id,
            "jobType": "Import",
            "driveList": [other_drive],
            "deliveryPackage": {"carrierName": "UPS", "trackingNumber": "000123456789"},
        },
    }
    scene.cloud.http(scene.world.admin).ok("PUT", scene.world.job_path("tide-3"), body)
    service = scene.service()
    done = submit(scene.prepared(), scene.work, service)

    with pytest.raises(RefusedByCloud, match="tide-3"):
        commit(done, FORM, scene.work, service)

    assert job_status(done, service, now=scene.cloud.clock.now()).state == "Creating"


def test_no_job_and_no_authority_are_two_answers(scene: Scene) -> None:
    prepared = scene.prepared()
    now = scene.cloud.clock.now()

    missing = job_status(prepared, scene.service(), now=now)
    forbidden = job_status(prepared, ImportService(scene.cloud.http("wrong")), now=now)

    assert (missing.answer, forbidden.answer) == ("no-such-job", "not-authorised")
    with pytest.raises(NotAuthorised):
        submit(prepared, scene.work, ImportService(scene.cloud.http("wrong")))
