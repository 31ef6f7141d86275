"""A real cloud, killed with SIGKILL in the middle of an object that a station brings."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.support.docked import JOB, TRACKING, Dock
from tests.support.runningcloud import RemoteCloud, RunningCloud, running_cloud
from tests.support.served import drive_folders

from overland.cli.outcome import Exit
from overland.ports.files import TEMPORARY_PREFIX

pytestmark = [pytest.mark.crash, pytest.mark.slow]

ROOT: Final = Path(__file__).resolve().parents[2]
MIB: Final = 1 << 20
LONG: Final = 64 * MIB  # a tenth of a second at least, in blocks of 4 MiB
PATIENCE_S: Final = 60.0


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[RunningCloud]:
    with running_cloud(tmp_path / "cloud-home") as made:
        yield made


@pytest.fixture
def dock(tmp_path: Path, cloud: RunningCloud) -> Iterator[Dock]:
    (tmp_path / "dock").mkdir()
    made = Dock(tmp_path / "dock", packs=[LONG, MIB, LONG, LONG], cloud=RemoteCloud(cloud))
    yield made
    made.records._database.dispose()


class _Station:
    """The station's program, with a home of its own."""

    def __init__(self, home: Path) -> None:
        self._environment = {
            **os.environ,
            "OVERLAND_HOME": str(home),
            "PYTHONPATH": str(ROOT / "src"),
        }

    def start(self, *words: str | Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "overland", "station", *map(str, words)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str | Path, code: int = 0) -> str:
        process = self.start(*words)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, err.decode()
        return (out + err).decode()


def _unfinished(cloud: RunningCloud) -> dict[str, int]:
    """Return the length of each file that is being written."""
    found = (cloud.folder / "objects").glob(f"{TEMPORARY_PREFIX}*")
    sizes = dict[str, int]()
    for path in found:
        with contextlib.suppress(FileNotFoundError):  # it was finished a moment ago
            sizes[path.name] = path.stat().st_size
    return sizes


def _opened(pid: int, folder: Path) -> set[str]:
    """Return the files of a folder that a process has open."""
    links = (each.readlink() for each in Path(f"/proc/{pid}/fd").iterdir())
    return {str(link) for link in links if link.is_relative_to(folder)}


def _kill_within_an_object(cloud: RunningCloud, station: "subprocess.Popen[bytes]") -> set[str]:
    """Kill the cloud when it has a part of a long object; return the files it had open then."""
    assert cloud.process is not None
    until = time.monotonic() + PATIENCE_S
    while True:
        assert station.poll() is None, "the station ended before"
        assert time.monotonic() < until, "it takes too long"
        if _has_a_part(cloud):
            cloud.process.send_signal(signal.SIGSTOP)
            if _has_a_part(cloud):
                break
            cloud.process.send_signal(signal.SIGCONT)
    opened = _opened(cloud.process.pid, cloud.home.parent / "drives")
    cloud.process.kill()
    cloud.process.wait()
    (cloud.folder / "endpoints.json").unlink()
    return opened


def _has_a_part(cloud: RunningCloud) -> bool:
    return any(0 < size_bytes < LONG for size_bytes in _unfinished(cloud).values())


@pytest.mark.parametrize("way", ["line", "socket"])
def test_a_cloud_that_is_killed_within_an_object_has_nothing_of_it(
    tmp_path: Path, cloud: RunningCloud, dock: Dock, way: str
) -> None:
    dock.ship()
    drive = drive_folders(dock, tmp_path / "drives")["D1"]
    place = ("--object-socket", tmp_path / "objects.sock") if way == "socket" else ()
    assert cloud.stop() == 0
    _serve_again(cloud, *place)
    station, token, ca = _Station(tmp_path / "home"), tmp_path / "token", cloud.endpoints["ca"]
    token.write_text(dock.token)
    address = ("--cloud-url", cloud.endpoints["url"], "--ca-file", ca, "--token-file", token)
    station.run("init", *address, *place)
    station.run("receive", "--tracking-number", TRACKING, "--carrier", "UPS", "--drive", drive)

    ingest = station.start("ingest", "--job", JOB)
    opened = _kill_within_an_object(cloud, ingest)
    _, err = ingest.communicate(timeout=PATIENCE_S)

    assert bool(opened) == (way == "socket"), "by the socket it is the cloud that reads"
    assert ingest.returncode == Exit.TRY_AGAIN, err.decode()
    assert set(dock.landed().items()) < set(dock.objects.items())
    assert _unfinished(cloud)
    _serve_again(cloud, *place)
    assert _unfinished(cloud) == {}
    assert dock.drive("D1")["state"] == "Transferring"

    assert "complete" in station.run("ingest", "--job", JOB)
    assert dock.landed() == dock.objects
    assert dock.drive("D1")["state"] == "Completed"
    assert _unfinished(cloud) == {}


def _serve_again(cloud: RunningCloud, *options: str | Path) -> None:
    """Serve at the address of before."""
    port = cloud.endpoints["url"].rpartition(":")[2]
    cloud.start("--port", port, "--object-port", "0", *map(str, options))
