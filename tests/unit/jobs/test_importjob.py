"""An import job as a value: what it says of itself, and what an event makes of it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.samplejobs import AT, drive, job

from overland.jobs.importjob import (
    EXPORT,
    MAX_DRIVES,
    DriveNotInJob,
    DriveReport,
    ImportJob,
    TooManyDrives,
    add_export_drives,
    apply_to_drive,
    apply_to_job,
    is_processed,
    set_export_drive,
    settle,
)
from overland.jobs.states import (
    ConditionMissing,
    DriveEvent,
    DriveState,
    JobEvent,
    JobState,
)


def test_a_ship_notice_starts_the_second_clock_and_forgets_the_first_ones_warning() -> None:
    warned = replace(job(), warned_at=AT)
    later = AT + timedelta(days=11)
    shipped = apply_to_job(warned, JobEvent.SHIPPED, at=later)
    assert (shipped.state, shipped.shipped_at, shipped.warned_at) == ("Shipping", later, None)


@pytest.mark.parametrize(
    "lacking",
    [
        {"return_address": None},
        {"delivery_package": None},
        {"delivery_package": {"carrierName": "FedEx"}},
        {"delivery_package": {"carrierName": "", "trackingNumber": "TRACK-0001"}},
    ],
)
def test_nothing_ships_without_return_address_carrier_and_number(
    lacking: dict[str, object],
) -> None:
    with pytest.raises(ConditionMissing):
        apply_to_job(replace(job(), **lacking), JobEvent.SHIPPED, at=AT)  # type: ignore[arg-type] # one field each


def test_a_drive_is_found_by_its_serial_in_any_case() -> None:
    assert job(drive("zx91K7Q0")).drive("ZX91k7q0").serial == "zx91K7Q0"
    with pytest.raises(DriveNotInJob):
        job().drive("B")


def test_a_report_keeps_what_it_does_not_say() -> None:
    at_dock = job(drive("A", DriveState.TRANSFERRING), state=JobState.TRANSFERRING)
    first = DriveReport(percent_complete=10, copy_status="InProgress")
    later = DriveReport(percent_complete=20, bytes_succeeded=5)
    once = apply_to_drive(at_dock, "A", DriveEvent.PROGRESSED, at=AT, report=first)
    twice = apply_to_drive(once, "A", DriveEvent.PROGRESSED, at=AT, report=later)
    assert twice.drive("A").report == DriveReport(
        percent_complete=20, bytes_succeeded=5, copy_status="InProgress"
    )


def test_progress_is_the_mean_of_the_drives_that_came() -> None:
    copying = replace(
        drive("A", DriveState.TRANSFERRING),
        was_opened=True,
        report=DriveReport(percent_complete=41),
    )
    done = replace(drive("B", DriveState.COMPLETED), was_opened=True)
    lost = drive("C", DriveState.NEVER_RECEIVED)
    assert job(copying, done, lost).percent_complete == 70
    assert job(drive("A", DriveState.RECEIVED), lost).percent_complete is None
    assert job(lost).percent_complete is None


def test_a_job_is_processed_when_all_that_came_was_opened_and_is_done() -> None:
    done = replace(drive("A", DriveState.COMPLETED), was_opened=True)
    assert is_processed(job(done, drive("B", DriveState.NEVER_RECEIVED)))
    assert not is_processed(job(done, drive("B", DriveState.SPECIFIED)))
    assert not is_processed(job(drive("A", DriveState.NEVER_RECEIVED)))
    assert not is_processed(job(drive("A", DriveState.SHIPPED_BACK))), "it went back unopened"


def test_a_cancelled_job_walks_all_states_without_opening_its_drives() -> None:
    received = job(drive("A", DriveState.RECEIVED), state=JobState.RECEIVED)
    settled, happened = settle(replace(received, cancel_requested=True), at=AT)
    assert [each.event for each in happened] == ["transfer_started", "drives_processed"]
    assert settled.state is JobState.PACKAGING
    back = apply_to_drive(settled, "A", DriveEvent.SHIPPED_BACK, at=AT)
    assert apply_to_job(back, JobEvent.RETURNED, at=AT).ended_at == AT


def test_only_drives_of_a_cancelled_job_go_back_unopened() -> None:
    packaging = job(drive("A", DriveState.RECEIVED), state=JobState.PACKAGING)
    with pytest.raises(ConditionMissing):
        apply_to_drive(packaging, "A", DriveEvent.SHIPPED_BACK, at=AT)


def test_a_late_drive_reopens_a_job_that_was_being_packed() -> None:
    done = replace(drive("A", DriveState.COMPLETED), was_opened=True)
    late = drive("B", DriveState.RECEIVED)
    settled, happened = settle(job(done, late, state=JobState.PACKAGING), at=AT)
    assert (settled.state, [each.event for each in happened]) == ("Transferring", ["reopened"])


def test_an_unlock_key_shows_in_no_text_of_the_job() -> None:
    assert "238810" not in repr(job())


def export() -> ImportJob:
    return replace(job(state=JobState.SHIPPING), job_type=EXPORT, export={}, drives=())


def test_drives_that_come_for_an_export_are_received_and_the_job_with_them() -> None:
    came = add_export_drives(export(), ["A", "B"])
    assert [(each.serial, each.state) for each in came.drives] == [
        ("A", DriveState.RECEIVED),
        ("B", DriveState.RECEIVED),
    ]
    settled, _ = settle(came, at=AT)
    assert settled.state is JobState.RECEIVED
    assert add_export_drives(came, ["a", "B"]) == came, "the same parcel again changes nothing"


def test_an_export_has_no_more_drives_than_a_job_can_have() -> None:
    full = add_export_drives(export(), [f"D{number}" for number in range(MAX_DRIVES)])
    with pytest.raises(TooManyDrives):
        add_export_drives(full, ["one-more"])


def test_what_the_station_made_of_an_empty_drive_is_kept_with_it() -> None:
    came = add_export_drives(export(), ["A", "B"])
    made = set_export_drive(
        came, "b", unlock_key="key", manifest_file="\\B.manifest", manifest_hash="00" * 16
    )
    assert [each.unlock_key for each in made.drives] == ["", "key"]
    assert made.drive("B").manifest_file == "\\B.manifest"
    with pytest.raises(DriveNotInJob):
        set_export_drive(came, "C", unlock_key="k", manifest_file="m", manifest_hash="h")
