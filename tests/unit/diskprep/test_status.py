"""Four answers stay four answers, and each says what to do next."""

from datetime import timedelta

import msgspec
import pytest
from tests.support import importservice, staged
from tests.support.importservice import JOB_PATH, FakeImportService

from overland.cli.disktexts import status_text
from overland.diskprep.import_service import ImportService
from overland.diskprep.record import (
    DriveRecord,
    DriveState,
    JobRecord,
    Preparation,
)
from overland.diskprep.status import job_status

NOW = staged.NOW


@pytest.fixture
def service() -> FakeImportService:
    return FakeImportService()


@pytest.fixture
def prepared() -> Preparation:
    drive = DriveRecord(
        serial="D1",
        path="/drives/D1",
        sequence=1,
        state=DriveState.SEALED,
        capacity_bytes=1 << 20,
        runs=((0, 3),),
        object_bytes=3000,
        manifest_hash="A" * 64,
        sealed_at=NOW,
    )
    job = JobRecord(
        arm_id=JOB_PATH,
        name="harbour-import-07",
        location="westeurope",
        ship_to={},
        carriers=(),
        serials=("D1",),
        created_at=NOW,
        shipped_at=NOW,
    )
    return Preparation(
        seed_id=staged.SEED_ID,
        job_name="harbour-import-07",
        staging=staged.STAGING,
        subscription_id=staged.SUBSCRIPTION_ID,
        storage_account="harbourdata",
        container="seeds",
        seed_manifest_sha256="0" * 64,
        object_count=3,
        object_bytes=3000,
        started_at=NOW,
        drives=(drive,),
        job=job,
    )


def put(service: FakeImportService, state: str, drive_state: str) -> None:
    drive = {"driveId": "D1", "state": drive_state, "percentComplete": 41}
    properties = {"state": state, "percentComplete": 41, "driveList": [drive]}
    service.jobs[JOB_PATH] = {"id": JOB_PATH, "name": "harbour", "properties": properties}


@pytest.mark.requirement("R117")
def test_four_answers_are_four_answers(prepared: Preparation, service: FakeImportService) -> None:
    answers = [job_status(prepared, ImportService(service), now=NOW)]
    put(service, "Shipping", "Specified")
    answers.append(job_status(prepared, ImportService(service), now=NOW))
    service.refusing = importservice.error(403, "Forbidden")
    answers.append(job_status(prepared, ImportService(service), now=NOW))
    service.is_down = True
    answers.append(job_status(prepared, ImportService(service), now=NOW))

    assert [found.answer for found in answers] == [
        "no-such-job",
        "in-progress",
        "not-authorised",
        "unreachable",
    ]
    assert len({found.next_step.what for found in answers}) == 4


def test_a_storage_account_that_is_gone_is_an_answer_that_names_it(
    prepared: Preparation, service: FakeImportService
) -> None:
    never_made = msgspec.structs.replace(prepared, job=None, storage_account="gone")

    found = job_status(never_made, ImportService(service), now=NOW)

    assert (found.answer, found.job_name) == ("no-such-job", "harbour-import-07")
    assert "has no storage account gone" in found.detail
    assert "has no storage account gone" in status_text(found)


@pytest.mark.requirement("R116")
def test_job_and_drives_are_shown_as_the_service_has_them(
    prepared: Preparation, service: FakeImportService
) -> None:
    put(service, "Transferring", "Transferring")

    found = job_status(prepared, ImportService(service), now=NOW)

    assert (found.state, found.percent_complete) == ("Transferring", 41)
    [drive] = found.drives
    assert (drive.serial, drive.prepared, drive.state, drive.percent_complete) == (
        "D1",
        "sealed",
        "Transferring",
        41,
    )


@pytest.mark.parametrize(
    ("state", "who"),
    [
        ("Creating", "you"),
        ("Shipping", "the carrier"),
        ("Received", "the datacenter"),
        ("Transferring", "the datacenter"),
        ("Packaging", "the datacenter"),
        ("Completed", "the source computer"),
        ("Closed", "the source computer"),
    ],
)
@pytest.mark.requirement("R118")
def test_every_state_says_who_is_next(
    prepared: Preparation, service: FakeImportService, state: str, who: str
) -> None:
    put(service, state, "Specified")

    found = job_status(prepared, ImportService(service), now=NOW)

    assert found.next_step.who == who
    assert (found.answer == "ended") == (state in {"Completed", "Closed"})


@pytest.mark.parametrize("state", ["Creating", "Shipping"])
@pytest.mark.requirement("R99", "R100")
def test_the_two_week_clocks_warn_from_day_ten(
    prepared: Preparation, service: FakeImportService, state: str
) -> None:
    put(service, state, "Specified")
    steps = [
        job_status(prepared, ImportService(service), now=NOW + timedelta(days=day)).next_step
        for day in (9, 10, 13.9, 14)
    ]

    assert [step.is_urgent for step in steps] == [False, True, True, True]
    assert [step.is_overdue for step in steps] == [False, False, False, True]
    assert {step.by for step in steps} == {NOW + timedelta(days=14)}
