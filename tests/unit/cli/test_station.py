"""`overland station` as an operator types it, with real sockets, files and engine."""

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.docked import JOB, SEED, TRACKING, Dock
from tests.support.served import drive_folders, served

from overland.cli.station import station

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dock(tmp_path: Path) -> Iterator[Dock]:
    (tmp_path / "cloud").mkdir()
    dock = Dock(tmp_path / "cloud", shares={"D1": [0, 1, 2], "D2": [3, 4]})
    dock.ship()
    yield dock
    dock.close()


@pytest.fixture
def url(dock: Dock) -> Iterator[str]:
    with served(dock) as url:
        yield url


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))

    def typed(*words: str) -> tuple[int, str, str]:
        with capture_logs(), pytest.raises(SystemExit) as ended:
            station.main(list(words))
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return typed


@pytest.fixture
def started(dock: Dock, url: str, command: Command, tmp_path: Path) -> Command:
    """A station that knows its cloud."""
    token = tmp_path / "token"
    token.write_text(dock.token + "\n")
    code, _, err = command("init", "--cloud-url", url, "--token-file", str(token))
    assert code == 0, err
    return command


def json_of(text: str) -> Any:  # as the command printed it
    return json.loads(text)


def test_the_whole_stay_of_a_parcel(dock: Dock, started: Command, tmp_path: Path) -> None:
    drives = drive_folders(dock, tmp_path / "drives")
    parcel = ("--tracking-number", TRACKING, "--carrier", "UPS", "--json")

    code, out, err = started("receive", *parcel, *_drives(drives))
    assert (code, err) == (0, "")
    assert [each["outcome"] for each in json_of(out)["drives"]] == ["received", "received"]

    code, out, err = started("ingest", "--all", "--json")
    assert (code, err) == (0, ""), "progress is quiet where there is no terminal"
    assert [each["result"] for each in json_of(out)] == ["completed", "completed"]
    assert dock.landed() == dock.objects

    code, out, _ = started("status")
    assert code == 0
    assert f"overland station return --job {JOB}" in out

    back = ("--carrier", "UPS", "--tracking-number", "1Z-BACK")
    code, out, _ = started("return", "--job", JOB, *back)
    assert code == 0
    assert "Harbour Ltd" in out
    assert dock.job()["properties"]["state"] == "Completed"


def test_objects_take_the_socket_of_a_cloud_on_this_computer(
    dock: Dock, command: Command, tmp_path: Path
) -> None:
    drives, local = drive_folders(dock, tmp_path / "drives"), tmp_path / "objects.sock"
    token = tmp_path / "token"
    token.write_text(dock.token + "\n")
    with served(dock, local=local) as url:
        told = ("--cloud-url", url, "--token-file", str(token), "--object-socket", str(local))
        code, _, err = command("init", *told)
        assert code == 0, err
        command("receive", "--tracking-number", TRACKING, "--carrier", "UPS", *_drives(drives))
        code, out, err = command("ingest", "--all", "--json")

    assert (code, err) == (0, "")
    assert [each["result"] for each in json_of(out)] == ["completed", "completed"]
    assert dock.landed() == dock.objects


def test_a_socket_on_which_nobody_answers_is_told_at_once_and_nothing_is_kept(
    dock: Dock, url: str, command: Command, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(dock.token + "\n")
    told = ("--cloud-url", url, "--token-file", str(token))

    code, _, err = command("init", *told, "--object-socket", str(tmp_path / "none.sock"))
    assert (code, "unreachable" in err) == (5, True), err
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    code, _, err = command("init", *told, "--object-socket", str(open_folder / "objects.sock"))
    assert (code, "socket-unsafe" in err) == (3, True), err

    code, _, err = command("status")
    assert "station-not-initialised" in err


def test_damage_ends_with_its_own_exit_code_and_names_what_is_bad(
    dock: Dock, started: Command, tmp_path: Path
) -> None:
    drives = drive_folders(dock, tmp_path / "drives")
    bad = next(name for name in dock.objects if name.endswith(".pack"))
    for folder in drives.values():
        path = folder / f"seed-{SEED}" / bad
        if path.exists():
            content = bytearray(path.read_bytes())
            content[100] ^= 4
            path.write_bytes(content)
    started("receive", "--tracking-number", TRACKING, "--carrier", "UPS", *_drives(drives))

    code, out, _ = started("ingest", "--job", JOB)

    assert code == 4
    assert f"damaged: {bad} (CompletedWithErrors: Corrupted at 0+" in out
    assert set(dock.landed()) == set(dock.objects) - {bad}


def test_a_drive_that_is_not_attached_is_asked_for(
    dock: Dock, started: Command, tmp_path: Path
) -> None:
    serials = [word for serial in dock.drives for word in ("--serial", serial)]
    started("receive", "--tracking-number", TRACKING, "--carrier", "UPS", *serials)

    code, out, _ = started("ingest", "--all")

    assert code == 3
    assert "give its path with --drive" in out
    drives = drive_folders(dock, tmp_path / "drives")
    code, _, _ = started("ingest", *_drives(drives))
    assert code == 0
    assert dock.landed() == dock.objects


def test_a_drive_that_cannot_be_read_is_given_up(dock: Dock, started: Command) -> None:
    serials = [word for serial in dock.drives for word in ("--serial", serial)]
    started("receive", "--tracking-number", TRACKING, "--carrier", "UPS", *serials)

    code, out, err = started("give-up", "D1", "--reason", "DiskNotFound")

    assert code == 4, err
    assert "DiskNotFound" in out
    assert dock.drive("D1")["copyStatus"] == "DiskNotFound"


def test_the_token_is_kept_for_its_owner_alone(started: Command, tmp_path: Path) -> None:
    home = tmp_path / "home" / "station"

    assert started("status")[0] == 0
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for name in ("station.json", "station.db"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600


def test_a_wrong_token_is_refused_and_not_kept(url: str, command: Command, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("nonsense")

    code, _, err = command("init", "--cloud-url", url, "--token-file", str(token))

    assert code == 3
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "nonsense" not in err
    assert command("status")[0] == 3, "still not initialised"


def test_a_station_without_a_cloud_says_how_to_get_one(command: Command) -> None:
    code, out, err = command("status", "--json")

    assert code == 3
    assert json_of(out)["error"]["code"] == "station-not-initialised"
    assert "overland station init" in err


@pytest.mark.parametrize(
    "words", [("ingest",), ("receive", "--tracking-number", "1", "--carrier", "UPS")]
)
def test_a_command_without_drives_is_wrong_usage(command: Command, words: tuple[str, ...]) -> None:
    assert command(*words)[0] == 2


def _drives(drives: dict[str, Path]) -> list[str]:
    return [word for path in drives.values() for word in ("--drive", str(path))]
