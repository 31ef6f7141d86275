"""Import jobs in the database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, StaticPool, create_engine
from tests.support.samplejobs import AT, drive, job

from overland.jobs import custody, records, tables
from overland.jobs.importjob import DriveReport, Happening, ImportJob
from overland.jobs.records import JobAbsent, TrackingNumberUsed
from overland.jobs.states import DriveState, JobState


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    tables.metadata.create_all(engine)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def stored(connection: Connection, **changes: object) -> ImportJob:
    made = replace(job(drive("A"), drive("B")), **changes)  # type: ignore[arg-type] # fields of a job
    records.insert_job(connection, made)
    return made


def test_a_job_comes_back_as_it_was_stored(connection: Connection) -> None:
    full = stored(
        connection,
        tags={"project": "lantern"},
        seed_id="seed",
        shipped_at=AT + timedelta(days=1),
        drives=(
            replace(
                drive("ZX91K7Q0", DriveState.TRANSFERRING),
                header_hash="",
                was_opened=True,
                had_errors=True,
                report=DriveReport(percent_complete=41, bytes_succeeded=1 << 40),
            ),
            drive("A"),
        ),
    )
    assert records.load_job(connection, "job-1") == full


def test_a_job_is_found_by_its_name_in_any_case(connection: Connection) -> None:
    made = stored(connection)
    found = records.find_job(
        connection, subscription_id="sub", resource_group="RG", name="HARBOUR-first"
    )
    assert found == made
    with pytest.raises(JobAbsent):
        records.find_job(connection, subscription_id="sub", resource_group="rg", name="other")


def test_saving_keeps_every_event(connection: Connection) -> None:
    made = stored(connection)
    happened = [Happening(event="created"), Happening(event="listed", drive="A")]
    records.save_job(connection, made, happened=happened, actor="admin:1")
    log = custody.entries(connection, "job-1")
    assert [(entry.event, entry.drive) for entry in log] == [("created", None), ("listed", "A")]


def test_a_deleted_job_leaves_its_log_and_nothing_else(connection: Connection) -> None:
    made = stored(connection)
    records.reserve_tracking_number(connection, made, "TRACK-0001")
    edited = Happening(event="edited", detail={"new": {"email": "ada@example.org"}})
    records.save_job(connection, made, happened=[edited], actor="admin:1")
    records.delete_job(connection, made, happened=Happening(event="deleted"), actor="admin:1")
    with pytest.raises(JobAbsent):
        records.load_job(connection, "job-1")
    for table in (tables.drives, tables.tracking_numbers):
        assert connection.execute(table.select()).all() == []
    log = custody.entries(connection, "job-1")
    assert [(entry.event, entry.detail) for entry in log] == [("edited", None), ("deleted", None)]
    assert custody.is_intact(log)


def test_two_jobs_never_share_a_tracking_number_in_any_case(connection: Connection) -> None:
    first = stored(connection)
    second = stored(connection, job_id="job-2", name="other")
    records.reserve_tracking_number(connection, first, "Track-1")
    records.reserve_tracking_number(connection, first, "TRACK-1")
    with pytest.raises(TrackingNumberUsed) as refused:
        records.reserve_tracking_number(connection, second, "tRACK-1")
    assert refused.value.job_name == "import job harbour-first"


def test_a_number_that_was_corrected_stays_with_its_job(connection: Connection) -> None:
    first = stored(connection)
    second = stored(connection, job_id="job-2", name="other")
    for number in ("TRACK-1", "TRACK-2"):
        records.reserve_tracking_number(connection, first, number)
    with pytest.raises(TrackingNumberUsed):
        records.reserve_tracking_number(connection, second, "TRACK-1")


def test_a_number_that_another_tenant_typed_neither_shows_nor_blocks(
    connection: Connection,
) -> None:
    first = stored(connection)
    second = stored(connection, job_id="job-2", name="other", tenant_id="tenant-2")
    third = stored(connection, job_id="job-3", name="third", tenant_id="tenant-2")
    for each in (first, second, second):
        records.reserve_tracking_number(connection, each, "TRACK-1")
    found = records.find_by_tracking_number(connection, "track-1")
    assert {each.job_id for each in found} == {first.job_id, "job-2"}
    with pytest.raises(TrackingNumberUsed) as refused:
        records.reserve_tracking_number(connection, third, "TRACK-1")
    assert refused.value.job_name == "import job other"


def test_a_drive_is_looked_for_in_open_jobs_only(connection: Connection) -> None:
    stored(connection)
    stored(connection, job_id="job-2", name="ended", state=JobState.CLOSED)
    back = (drive("A", DriveState.SHIPPED_BACK),)
    stored(connection, job_id="job-3", name="back", state=JobState.PACKAGING, drives=back)
    assert [each.job_id for each in records.find_by_serial(connection, "a")] == ["job-1"]


def test_a_list_goes_on_after_the_last_job_of_a_page(connection: Connection) -> None:
    for number in range(5):
        stored(connection, job_id=f"job-{number}", name=f"name-{number}")
    first = records.list_jobs(connection, top=2)
    rest = records.list_jobs(connection, after=first[-1].job_id)
    assert [each.job_id for each in first + rest] == [f"job-{number}" for number in range(5)]
