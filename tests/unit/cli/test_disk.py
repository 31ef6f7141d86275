"""`overland disk` as it is typed: scripted, interactive, and what it answers when it cannot."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.copyscene import JOB, SHIPPING_WORDS, Scene, at_copy_computer

from overland import locks
from overland.adapters.volumes import create_folder_volume
from overland.cli import copycomputer, disk, diskform, diskquestions, outcome
from overland.cli.outcome import Exit
from overland.ports.files import Files
from overland.seeding.copying import Digests, ObjectCopier


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with at_copy_computer(tmp_path, monkeypatch) as made:
        yield made


def alone(home: Path, *words: str) -> Result:
    """Run a command that gets nowhere near a cloud."""
    env = {"OVERLAND_HOME": str(home), "OVERLAND_PUBLISH_SETTINGS": ""}
    return CliRunner().invoke(disk.disk, words, env=env)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (outcome, diskform, diskquestions):
        monkeypatch.setattr(module, "is_interactive", lambda: True)


def test_a_script_prepares_ships_and_watches(scene: Scene) -> None:
    prepared = scene.prepare(*scene.both(), "--yes", "--json")
    assert prepared.exit_code == Exit.OK, prepared.output
    result = json.loads(prepared.stdout)
    assert (result["job"], result["location"]) == (JOB, "westeurope")
    assert [drive["serial"] for drive in result["drives"]] == ["D1", "D2"]
    assert sum(drive["objects"] for drive in result["drives"]) == result["objects"] == 4
    assert Path(result["record"], "packing-list.txt").read_text(encoding="utf-8")

    shipped = scene.disk("ship", *SHIPPING_WORDS, "--yes", "--json")
    assert shipped.exit_code == Exit.OK, shipped.output
    assert Path(json.loads(shipped.stdout)["record"]).is_file()

    watched = scene.disk("status", "--json")
    assert watched.exit_code == Exit.OK, watched.output
    [found] = json.loads(watched.stdout)
    assert (found["answer"], found["state"]) == ("in-progress", "Shipping")


@pytest.mark.usefixtures("terminal")
def test_the_operator_is_asked_for_drives_until_everything_fits(scene: Scene) -> None:
    wrong = f"{scene.folder}/nowhere"
    typed = f"{wrong}\n{scene.drive('D1')}\nyes\n{scene.drive('D2')}\nYES\n"

    result = scene.prepare(typed=typed)

    assert result.exit_code == Exit.OK, result.output
    assert "refused: there is no drive at" in result.stderr
    assert "Ship to" in result.stdout
    assert "Example Import Dock" in result.stdout


@pytest.mark.parametrize("answer", ["no", "y", "", "yes please"])
@pytest.mark.usefixtures("terminal")
def test_anything_but_yes_leaves_the_drive_untouched(scene: Scene, answer: str) -> None:
    result = scene.prepare("--drive", str(scene.drive("D2")), typed=f"{answer}\n-\n")

    assert result.exit_code == Exit.REFUSED
    assert "[drives-missing]" in result.stderr
    assert "left untouched" in result.stderr
    assert [path.name for path in scene.drive("D2").iterdir()] == [".overland-volume.json"]


def test_data_is_erased_only_for_the_repeated_serial(scene: Scene) -> None:
    (scene.drive("D2") / "holiday.jpg").write_bytes(b"precious")
    words = ["--drive", str(scene.drive("D2")), "--yes"]

    refused = scene.prepare(*words)
    assert refused.exit_code == Exit.REFUSED
    assert refused.stderr.splitlines()[-1].endswith("[drive-not-blank]")
    assert "--erase D2" in refused.stderr
    assert (scene.drive("D2") / "holiday.jpg").read_bytes() == b"precious"

    assert scene.prepare(*words, "--erase", "D2").exit_code == Exit.OK
    assert not (scene.drive("D2") / "holiday.jpg").exists()


def test_a_drive_that_is_not_needed_is_left_alone_and_said_so(scene: Scene) -> None:
    words = ["--drive", str(scene.drive("D2")), "--drive", str(scene.drive("D1"))]

    result = scene.prepare(*words, "--yes")

    assert result.exit_code == Exit.OK, result.output
    assert f"{scene.drive('D1')} was not needed" in result.stderr
    assert [path.name for path in scene.drive("D1").iterdir()] == [".overland-volume.json"]


@pytest.mark.usefixtures("terminal")
def test_at_a_terminal_the_serial_is_typed_to_erase(scene: Scene) -> None:
    (scene.drive("D2") / "holiday.jpg").write_bytes(b"precious")
    words = ["--drive", str(scene.drive("D2"))]

    assert scene.prepare(*words, typed="yes\n-\n").exit_code == Exit.REFUSED
    assert (scene.drive("D2") / "holiday.jpg").exists()
    assert scene.prepare(*words, typed="D2\n").exit_code == Exit.OK


def test_without_a_network_the_next_run_only_creates_the_job(scene: Scene) -> None:
    scene.is_offline = True
    first = scene.prepare(*scene.both(), "--yes", "--json")
    assert first.exit_code == Exit.TRY_AGAIN
    assert json.loads(first.stdout)["error"]["code"] == "job-not-created-yet"
    before = {path: path.stat().st_mtime_ns for path in scene.folder.glob("drives/*/*")}

    scene.is_offline = False
    again = scene.disk("prepare", "--staging", scene.staging, "--json")

    assert again.exit_code == Exit.OK, again.output
    assert {path: path.stat().st_mtime_ns for path in scene.folder.glob("drives/*/*")} == before


def test_a_damaged_staging_object_ends_with_its_name_and_code_4(scene: Scene) -> None:
    [victim, *_] = sorted(Path(scene.staging).rglob("*.pack"))
    content = bytearray(victim.read_bytes())
    content[1000] ^= 1
    victim.write_bytes(content)

    result = scene.prepare(*scene.both(), "--yes")

    assert result.exit_code == Exit.INTEGRITY
    assert result.stderr.splitlines()[-1].endswith("[staged-object-damaged]")
    assert victim.name in result.stderr


def test_a_staged_seed_is_checked_without_drives(scene: Scene) -> None:
    words = ("check-staging", "--staging", scene.staging)
    assert scene.disk(*words).exit_code == Exit.OK
    [victim, *_] = sorted(Path(scene.staging).rglob("*.pack"))
    victim.write_bytes(victim.read_bytes()[:-512])

    result = scene.disk(*words)

    assert result.exit_code == Exit.INTEGRITY
    assert victim.name in result.stderr


def test_a_staged_object_that_cannot_be_read_is_named_and_no_damage(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims = sorted(path.name for path in Path(scene.staging).rglob("*.pack"))[:2]
    real = ObjectCopier.read_back

    def failing(
        self: ObjectCopier, name: str, *, medium: Files, size_bytes: int, sha256: str
    ) -> Digests:
        if Path(name).name in victims:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, name, medium=medium, size_bytes=size_bytes, sha256=sha256)

    monkeypatch.setattr(ObjectCopier, "read_back", failing)

    result = scene.disk("check-staging", "--staging", scene.staging)

    assert result.exit_code == Exit.TRY_AGAIN
    assert result.stderr.splitlines()[-1].endswith("[source-unreadable]")
    assert all(f"{name}: it cannot be read" in result.stderr for name in victims)
    assert "0 absent or damaged, 2 unreadable" in result.stderr


def test_a_lost_drive_is_replaced_before_shipping(scene: Scene) -> None:
    assert scene.prepare(*scene.both(), "--yes").exit_code == Exit.OK
    spare = create_folder_volume(scene.drive("D3"), serial="D3", capacity_bytes=1 << 20)

    result = scene.prepare("--drive", spare.path, "--replace", "D2", "--yes", "--json")

    assert result.exit_code == Exit.OK, result.output
    assert [each["serial"] for each in json.loads(result.stdout)["drives"]] == ["D1", "D3"]
    job = scene.cloud.http(scene.world.admin).ok("GET", scene.world.job_path(JOB))
    assert [each["driveId"] for each in job["properties"]["driveList"]] == ["D1", "D3"]


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["prepare"], "usage", Exit.USAGE),
        (["prepare", "--staging", "/nowhere"], "staging-location-absent", Exit.REFUSED),
        (["prepare", "--drive-limit", "much"], "usage", Exit.USAGE),
        (["ship", "--yes"], "no-preparation", Exit.REFUSED),
        (["status"], "no-preparation", Exit.REFUSED),
        (["nonsense"], "usage", Exit.USAGE),
    ],
)
def test_what_cannot_be_done_is_one_line_with_a_code(
    tmp_path: Path, words: list[str], code: str, status: Exit
) -> None:
    result = alone(tmp_path, *words)

    assert result.exit_code == status
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith(f"[{code}]")


def test_missing_publish_settings_are_told_before_any_drive_is_touched(scene: Scene) -> None:
    result = scene.disk("prepare", "--staging", scene.staging, *scene.both(), "--yes")

    assert result.exit_code == Exit.REFUSED
    assert "[publish-settings-missing]" in result.stderr
    assert [path.name for path in scene.drive("D1").iterdir()] == [".overland-volume.json"]


def test_a_blank_drive_needs_yes_in_a_script(scene: Scene) -> None:
    result = scene.prepare(*scene.both())

    assert result.exit_code == Exit.USAGE
    assert "--yes" in result.stderr


@pytest.mark.usefixtures("terminal")
def test_the_shipping_wizard_sends_nothing_before_yes_and_keeps_everything(scene: Scene) -> None:
    assert scene.prepare(*scene.both(), "--yes").exit_code == Exit.OK
    answers = [
        "FedEx",
        "000123456789",
        "Ada Quist",
        "12 Quay Lane",
        "",
        "8000",
        "Aarhus",
        "",
        "Denmark",
        "+4500000000",
        "disks@example.org",
        "FedEx",
        "000111222",
    ]

    declined = scene.disk("ship", typed="\n".join([*answers, "no"]) + "\n")
    assert declined.exit_code == Exit.REFUSED
    assert "[shipping-declined]" in declined.stderr
    http = scene.cloud.http(scene.world.admin)
    assert http.ok("GET", scene.world.job_path(JOB))["properties"]["state"] == "Creating"

    accepted = scene.disk("ship", typed="yes\n")
    assert accepted.exit_code == Exit.OK, accepted.output
    assert "Ada Quist" in accepted.stderr, "the review shows what was typed before"
    properties = http.ok("GET", scene.world.job_path(JOB))["properties"]
    assert properties["state"] == "Shipping"
    assert properties["returnAddress"]["recipientName"] == "Ada Quist"


def test_incomplete_shipping_information_is_refused_in_a_script(scene: Scene) -> None:
    assert scene.prepare(*scene.both(), "--yes").exit_code == Exit.OK

    result = scene.disk("ship", "--carrier", "FedEx", "--yes")

    assert result.exit_code == Exit.REFUSED
    assert "tracking number" in result.stderr


def test_status_tells_four_answers_apart_by_text_and_code(scene: Scene) -> None:
    scene.is_offline = True
    scene.prepare(*scene.both(), "--yes")
    unreachable = scene.disk("status")
    scene.is_offline = False
    absent = scene.disk("status")
    scene.prepare()
    waiting = scene.disk("status")
    Path(scene.settings).write_text(
        Path(scene.settings).read_text(encoding="utf-8").replace('Token="', 'Token="x'),
        encoding="utf-8",
    )
    forbidden = scene.disk("status")

    assert [each.exit_code for each in (unreachable, absent, waiting, forbidden)] == [
        Exit.TRY_AGAIN,
        Exit.ERROR,
        Exit.OK,
        Exit.REFUSED,
    ]
    for answer, text in [
        (unreachable, "cannot be reached"),
        (absent, "there is no such job"),
        (waiting, "Creating"),
        (forbidden, "not authorised"),
    ]:
        assert text in answer.stdout
        assert "next: " in answer.stdout


def test_a_practice_drive_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new"

    words = ("create-folder-drive", str(path), "--serial", "P1", "--capacity", "40MiB", "--json")
    result = alone(tmp_path, *words)

    assert result.exit_code == Exit.OK, result.output
    assert json.loads(result.stdout)["capacity_bytes"] == 40 << 20


def test_two_disk_commands_do_not_work_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path))
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)
    with copycomputer.open_copy_computer():
        result = alone(tmp_path, "status")

    assert result.exit_code == Exit.TRY_AGAIN
    assert "[disk-busy]" in result.stderr
