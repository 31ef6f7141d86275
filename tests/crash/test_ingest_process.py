"""The real program, killed with SIGKILL while it uploads: run again, it brings the rest."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest
from tests.support.docked import JOB, TRACKING, Dock
from tests.support.served import drive_folders, served

pytestmark = [pytest.mark.crash, pytest.mark.slow]

ROOT: Final = Path(__file__).resolve().parents[2]
MIB: Final = 1 << 20
PATIENCE_S: Final = 600.0  # against waiting for ever


def _start(home: Path, *words: str) -> "subprocess.Popen[bytes]":
    program = "from overland.cli.main import main; main()"
    environment = {**os.environ, "OVERLAND_HOME": str(home), "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, "-c", program, "station", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _run(home: Path, *words: str) -> str:
    process = _start(home, *words)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err.decode()
    return out.decode()


def _kill_during(process: "subprocess.Popen[bytes]", dock: Dock, *, landed: int) -> None:
    """Kill the process as soon as `landed` objects are in the container."""
    end_s = time.monotonic() + PATIENCE_S
    while process.poll() is None and len(list(dock.container.names("seed-"))) < landed:
        assert time.monotonic() < end_s, "it takes too long"
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("way", ["line", "socket"])
def test_killed_while_it_uploads_the_station_goes_on(tmp_path: Path, way: str) -> None:
    (tmp_path / "cloud").mkdir()
    dock = Dock(tmp_path / "cloud", packs=[(8 + number) * MIB for number in range(12)])
    dock.ship()
    drives = drive_folders(dock, tmp_path / "drives")
    token = tmp_path / "token"
    token.write_text(dock.token)
    home, local = tmp_path / "home", tmp_path / "objects.sock" if way == "socket" else None
    with served(dock, local=local) as url:
        place = () if local is None else ("--object-socket", str(local))
        _run(home, "init", "--cloud-url", url, "--token-file", str(token), *place)
        parcel = ("--tracking-number", TRACKING, "--carrier", "UPS")
        _run(home, "receive", *parcel, "--drive", str(drives["D1"]))
        for landed in (2, 7):
            _kill_during(_start(home, "ingest", "--job", JOB), dock, landed=landed)
            assert dock.drive("D1")["state"] == "Transferring"
            assert set(dock.landed().items()) < set(dock.objects.items())
        before = {name: path.stat() for name, path in _stored(tmp_path)}

        out = _run(home, "ingest", "--job", JOB)

    assert "complete" in out
    assert dock.landed() == dock.objects
    assert dock.drive("D1")["state"] == "Completed"
    for name, path in _stored(tmp_path):
        if name in before:
            assert path.stat().st_ino == before[name].st_ino, "what had landed was left alone"
    dock.close()


def _stored(folder: Path) -> list[tuple[str, Path]]:
    packs = (folder / "cloud" / "objects").rglob("*.pack")
    return [(path.name, path) for path in packs]
