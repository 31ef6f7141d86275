"""Booking parcels in: each drive's outcome is told apart, and nothing on a drive is changed."""

from collections.abc import Callable

import pytest
from tests.support.docked import JOB, TRACKING, Dock
from tests.support.staged import SimDrive

from overland.station.intake import DriveGivenTwice, DriveNotOpened, Parcel

MakeDock = Callable[..., Dock]
TWO = {"D1": [0, 1, 2], "D2": [3, 4]}


def receive(
    dock: Dock, *paths: str, serials: tuple[str, ...] = (), number: str = TRACKING
) -> Parcel:
    return dock.station().intake.receive(
        tracking_number=number, carrier="UPS", paths=paths, serials=serials
    )


def outcomes(parcel: Parcel) -> dict[str, str]:
    return {each.serial: each.outcome for each in parcel.drives}


def attach(dock: Dock, serial: str) -> str:
    drive = SimDrive(serial, capacity_bytes=1 << 30)
    dock.replace(drive)
    return drive.path


def test_the_drives_of_a_job_are_received_and_the_next_step_is_told(make_dock: MakeDock) -> None:
    dock = make_dock(shares=TWO)
    dock.ship()

    parcel = receive(dock, "/drives/D1", "/drives/D2")

    assert outcomes(parcel) == {"D1": "received", "D2": "received"}
    assert (parcel.missing, parcel.flags) == ((), ())
    assert all("station ingest" in each.next_step for each in parcel.drives)
    assert dock.job()["properties"]["state"] == "Received"
    assert [each.path for each in dock.records.drives()] == ["/drives/D1", "/drives/D2"]


def test_a_drive_that_was_not_in_the_parcel_is_missing_and_taken_in_late(
    make_dock: MakeDock,
) -> None:
    dock = make_dock(shares=TWO)
    dock.ship()

    first = receive(dock, "/drives/D1")
    later = receive(dock, "/drives/D2")

    assert first.missing == ("D2",)
    assert outcomes(later) == {"D2": "late"}


@pytest.mark.requirement("R104")
def test_a_drive_of_no_job_is_for_quarantine(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    stranger = attach(dock, "STRANGER")

    parcel = receive(dock, "/drives/D1", stranger)

    assert outcomes(parcel) == {"D1": "received", "STRANGER": "unknown"}
    [told] = [each for each in parcel.drives if each.serial == "STRANGER"]
    assert "quarantine" in told.next_step
    assert told.content == "blank"


def test_the_same_parcel_again_says_so_and_changes_nothing(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    receive(dock, "/drives/D1")
    before = dock.job()["properties"]["driveList"]

    again = receive(dock, "/drives/D1")

    assert outcomes(again) == {"D1": "already-received"}
    assert dock.job()["properties"]["driveList"] == before


def test_a_parcel_before_its_ship_notice_waits_and_is_booked_in_by_it(
    make_dock: MakeDock,
) -> None:
    dock = make_dock()
    dock.order()

    parcel = receive(dock, "/drives/D1")
    dock.give_notice()

    assert outcomes(parcel) in ({"D1": "awaiting-ship-notice"}, {"D1": "unknown"})
    assert dock.drive("D1")["state"] == "Received"
    [imported] = dock.station().run()
    assert imported.result == "completed"


def test_a_parcel_with_an_unknown_number_is_told_by_its_drives(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()

    parcel = receive(dock, "/drives/D1", number="1Z-9999")

    assert outcomes(parcel) == {"D1": "received"}
    assert parcel.flags == ("unknown-tracking-number",)


def test_a_drive_that_cannot_be_opened_is_booked_in_by_its_label(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()

    with pytest.raises(DriveNotOpened, match="--serial"):
        receive(dock, "/drives/dead")
    assert dock.records.drives() == []
    parcel = receive(dock, serials=("D1",))

    assert outcomes(parcel) == {"D1": "received"}
    assert "give-up D1" in parcel.drives[0].next_step


def test_a_drive_is_given_once(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()

    with pytest.raises(DriveGivenTwice):
        receive(dock, "/drives/D1", serials=("d1",))


def test_a_drive_with_foreign_content_is_announced_as_such(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    disk = dock.drives["D1"].disk
    for info in list(disk.names()):
        disk.delete(info.name)
    disk.write("holiday.jpg", b"sun")

    [told] = receive(dock, "/drives/D1").drives

    assert told.content == "foreign"
    assert "expect it to be rejected" in told.next_step


def test_a_blank_drive_is_for_an_export(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    disk = dock.drives["D1"].disk
    for info in list(disk.names()):
        disk.delete(info.name)

    [told] = receive(dock, "/drives/D1").drives

    assert told.content == "blank"
    assert "overland station export --job" in told.next_step


def test_booking_in_changes_nothing_on_a_drive(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    before = dock.drives["D1"].disk.steps

    receive(dock, "/drives/D1")

    assert dock.drives["D1"].disk.steps == before


def test_an_extra_drive_goes_back_with_the_parcel_it_came_in(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.ship_other("OTHER")
    other = attach(dock, "OTHER")

    parcel = receive(dock, "/drives/D1", other)

    assert outcomes(parcel) == {"D1": "received", "OTHER": "extra"}
    assert "mixed-parcel" in parcel.flags
    dock.station().run()
    returned = dock.station().returning.send_back(JOB, carrier="UPS", tracking_number="1Z-BACK")
    assert (returned.serials, returned.extra) == (("D1",), ("OTHER",))
