"""Killed at any instant, the station's import goes on and ends as if nothing had happened."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.docked import Dock, Tripwire, path_in_drive
from tests.support.simengine import Killed
from tests.support.staged import SimDrive

pytestmark = [pytest.mark.crash, pytest.mark.slow]

_LIVES = 3  # two kills in a row, then one that runs to its end


def _dock(folder: Path) -> Dock:
    """Two drives, one with a damaged object; everything has been booked in."""
    folder.mkdir()
    dock = Dock(folder, packs=(1024, 512), shares={"D1": [0, 1], "D2": [2, 3]})
    dock.ship()
    dock.receive()
    damaged = next(name for name in dock.objects if name.endswith(".pack"))
    holder = next(each for each in dock.drives.values() if _holds(each, damaged))
    holder.disk.damage(path_in_drive(damaged), offset=9)
    return dock


def _holds(drive: SimDrive, name: str) -> bool:
    return any(info.name == path_in_drive(name) for info in drive.disk.names())


def _end_state(dock: Dock) -> str:
    """Return what the import left; the instant in a log's name depends on when it ended."""
    return re.sub(r"_\d{8}-\d{6}-\d{3}_", "_INSTANT_", dock.end_state())


def _run_with_kills(dock: Dock, *, kill_at: int) -> bool:
    """Run lives of the station until one ends; return whether one was killed."""
    before = None
    for life in range(_LIVES):
        # The second life dies early: what was recovered by then must not be lost again.
        instant = [kill_at, kill_at // 2, None][life]
        station = dock.station(Tripwire(instant), before=before)
        dock.cloud.clock.advance(timedelta(minutes=1))
        try:
            station.run()
        except Killed:
            before = station
        else:
            return life > 0
    raise AssertionError("the last life is never killed")


def test_killed_at_every_instant_an_import_ends_in_the_same_state(tmp_path: Path) -> None:
    undisturbed = _dock(tmp_path / "undisturbed")
    undisturbed.station().run()
    expected = _end_state(undisturbed)
    assert '"CompletedMoreInfo"' in expected
    undisturbed.close()

    kill_at, killed = 0, True
    while killed:
        dock = _dock(tmp_path / str(kill_at))
        killed = _run_with_kills(dock, kill_at=kill_at)
        assert _end_state(dock) == expected, f"after a kill at instant {kill_at}"
        assert len(dock.logs()) == 1, "a log is written once, however often it is begun"
        dock.close()
        kill_at += 1
    assert kill_at > 30, "requests, uploads and borders between steps are instants"
