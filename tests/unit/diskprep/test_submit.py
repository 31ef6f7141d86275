"""The import job is made once, for the right place, and never in place of somebody else's."""

import pytest
from tests.support import importservice, staged
from tests.support.importservice import JOB_PATH, FakeImportService, Operator, bench
from tests.support.simdisk import SimDisk
from tests.support.staged import SimDrive, SimDrives

from overland.diskprep.import_service import (
    AnswerNotUnderstood,
    ImportService,
    NoShippingLocation,
    StorageAccountAbsent,
)
from overland.diskprep.prepare import Workbench, prepare_drives
from overland.diskprep.record import Preparation
from overland.diskprep.refusals import JobDiffers, JobNotCreatedYet
from overland.diskprep.submit import find_job, packing_list, submit
from overland.errors import NotAuthorised


@pytest.fixture
def service() -> FakeImportService:
    return FakeImportService()


@pytest.fixture
def work() -> Workbench:
    drives = [SimDrive("D1", capacity_bytes=200_000), SimDrive("D2", capacity_bytes=1 << 20)]
    return bench(SimDrives(*drives), Operator(*(drive.path for drive in drives)))


@pytest.fixture
def prepared(work: Workbench) -> Preparation:
    staging = SimDisk()
    staged.stage(staging, staged.objects(packs=(100_352, 100_864)))
    seed = staged.location(staging).open(staged.SEED_ID)
    return prepare_drives(seed, work, staging=staged.STAGING)


@pytest.mark.requirement("R84")
def test_the_job_says_everything_that_the_service_needs(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    done = submit(prepared, work, ImportService(service))

    [(_, path, body)] = [sent for sent in service.requests if sent[0] == "PUT"]
    properties = body["properties"]
    assert path == JOB_PATH
    assert body["location"] == "westeurope", "norwayeast takes no parcels and names westeurope"
    assert body["tags"]["overland-seed"] == staged.SEED_ID
    assert len(bytes.fromhex(body["tags"]["overland-drive-key"])) == 32
    assert properties["storageAccountId"] == importservice.ACCOUNT_ID
    assert (properties["jobType"], properties["logLevel"]) == ("Import", "Verbose")
    assert (properties["diagnosticsPath"], properties["backupDriveManifest"]) == (
        "waimportexport",
        True,
    )
    assert [drive["manifestFile"] for drive in properties["driveList"]] == [
        "\\DriveManifest.xml"
    ] * 2
    assert [drive["driveId"] for drive in properties["driveList"]] == ["D1", "D2"]
    assert done.job is not None
    assert done.job.ship_to["recipientName"] == "Example Import Dock"
    assert work.preparations.find(staged.SEED_ID) == done


@pytest.mark.requirement("R88")
def test_the_same_job_is_found_and_not_made_twice(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    first = submit(prepared, work, ImportService(service))

    again = submit(prepared, work, ImportService(service))  # as after a kill before it was stored

    assert service.methods("PUT") == 1
    assert again.job == first.job


@pytest.mark.parametrize("tags", [None, {}, {"overland-seed": staged.OTHER_SEED_ID}])
def test_another_job_of_the_same_name_is_refused_and_kept(
    prepared: Preparation,
    work: Workbench,
    service: FakeImportService,
    tags: dict[str, str] | None,
) -> None:
    other = {"id": JOB_PATH, "name": "harbour-import-07", "tags": tags, "properties": {}}
    service.jobs[JOB_PATH] = other

    with pytest.raises(JobDiffers):
        submit(prepared, work, ImportService(service))
    with pytest.raises(JobDiffers):
        find_job(prepared, work, ImportService(service))

    assert service.jobs == {JOB_PATH: other}


def test_a_replaced_drive_is_listed_while_the_job_is_not_shipped(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    submit(prepared, work, ImportService(service))
    listed = service.jobs[JOB_PATH]["properties"]["driveList"]
    listed[1]["driveId"] = "LOST"

    submit(prepared, work, ImportService(service))

    listed = service.jobs[JOB_PATH]["properties"]["driveList"]
    assert [drive["driveId"] for drive in listed] == ["D1", "D2"]


def test_a_shipped_job_with_other_drives_is_refused(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    submit(prepared, work, ImportService(service))
    properties = service.jobs[JOB_PATH]["properties"]
    properties["state"] = "Shipping"
    properties["driveList"][1]["driveId"] = "LOST"

    with pytest.raises(JobDiffers, match="over the network"):
        submit(prepared, work, ImportService(service))


def test_without_a_network_the_drives_are_finished_and_the_job_waits(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    service.is_down = True
    with pytest.raises(JobNotCreatedYet):
        submit(prepared, work, ImportService(service))
    stored = work.preparations.find(staged.SEED_ID)
    assert stored is not None
    assert stored.is_complete()

    service.is_down = False
    assert submit(stored, work, ImportService(service)).job is not None


def test_not_authorised_is_not_a_network_problem(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    service.refusing = importservice.error(401, "AuthenticationFailed")

    with pytest.raises(NotAuthorised):
        submit(prepared, work, ImportService(service))


def test_a_storage_account_of_another_subscription_is_named(service: FakeImportService) -> None:
    with pytest.raises(StorageAccountAbsent):
        ImportService(service).storage_account(staged.SUBSCRIPTION_ID, "elsewhere")


def test_a_region_that_nobody_serves_is_named(service: FakeImportService) -> None:
    with pytest.raises(NoShippingLocation):
        ImportService(service).shipping_location("atlantis")


def test_regions_that_name_each_other_only_are_no_location(
    service: FakeImportService, monkeypatch: pytest.MonkeyPatch
) -> None:
    circle = {"a": ["b"], "b": ["a"]}
    monkeypatch.setattr(importservice, "LOCATIONS", circle)

    with pytest.raises(NoShippingLocation):
        ImportService(service).shipping_location("a")


def test_an_answer_of_something_else_is_told_apart(service: FakeImportService) -> None:
    service.refusing = importservice.answer(200, {"hello": "world"})

    with pytest.raises(AnswerNotUnderstood):
        ImportService(service).job(JOB_PATH)


@pytest.mark.requirement("R85", "R90")
def test_the_packing_list_names_every_drive_in_order(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    done = submit(prepared, work, ImportService(service))

    text = packing_list(done)

    for drive in done.sealed():
        assert f"{drive.sequence}. {drive.serial}" in text
        assert drive.manifest_hash in text
    assert "Example Import Dock" in text
    assert work.local(done).read("packing-list.txt").decode() == text
