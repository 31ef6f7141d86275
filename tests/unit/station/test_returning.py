"""Sending back: only what nobody needs here any more."""

from collections.abc import Callable

import pytest
from tests.support.docked import ADDRESS, JOB, Dock, Tripwire
from tests.support.simengine import Killed

from overland.station.connection import JobUnknown
from overland.station.returning import DrivesNotFinished, NothingToReturn, ReturnedParcel

MakeDock = Callable[..., Dock]


def send_back(dock: Dock, job: str = JOB) -> ReturnedParcel:
    return dock.station().returning.send_back(job, carrier="UPS", tracking_number="1Z-BACK")


def test_a_job_whose_drives_all_landed_is_completed_and_its_address_shown(
    make_dock: MakeDock,
) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    dock.station().run()

    parcel = send_back(dock)

    assert parcel.job_state == dock.job()["properties"]["state"] == "Completed"
    assert parcel.address is not None
    assert ADDRESS.items() <= parcel.address.items()
    assert dock.drive("D1")["state"] == "ShippedBack"
    assert dock.records.drives() == []


def test_a_job_with_a_damaged_drive_is_closed(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()
    dock.drives["D1"].disk.damage("DriveManifest.xml", offset=1)
    dock.station().run()

    assert send_back(dock).job_state == "Closed"


def test_a_drive_that_is_not_imported_holds_the_parcel_back(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()
    dock.receive()

    with pytest.raises(DrivesNotFinished, match="D1"):
        send_back(dock)

    assert dock.drive("D1")["state"] == "Received"


def test_a_job_none_of_whose_drives_came_has_nothing_to_return(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()

    with pytest.raises(NothingToReturn):
        send_back(dock)


def test_the_unopened_drive_of_a_cancelled_job_goes_back(make_dock: MakeDock) -> None:
    dock = make_dock(shares={"D1": [0, 1, 2], "D2": [3, 4]})
    dock.ship()
    dock.receive()
    dock.station().run(paths=["/drives/D1"])
    dock.cancel()

    assert send_back(dock).serials == ("D1", "D2")


def test_an_unknown_job_is_refused_with_the_way_to_find_it(make_dock: MakeDock) -> None:
    dock = make_dock()
    dock.ship()

    with pytest.raises(JobUnknown, match="station status"):
        send_back(dock, "another-job")


def test_a_return_that_was_killed_at_any_request_is_completed_by_the_same_command(
    make_dock: MakeDock,
) -> None:
    """Also after the cloud has ended the job, and does not list it any more."""
    for kill_at in range(6):
        dock = make_dock(shares={"D1": [0, 1, 2], "D2": [3, 4]})
        dock.ship()
        dock.receive()
        dock.station().run()
        with pytest.raises(Killed):
            dock.station(Tripwire(kill_at)).returning.send_back(
                JOB, carrier="UPS", tracking_number="1Z-BACK"
            )

        parcel = send_back(dock)

        assert (parcel.serials, parcel.job_state) == (("D1", "D2"), "Completed")
        assert dock.records.drives() == []
        with pytest.raises((NothingToReturn, JobUnknown)):
            send_back(dock)
