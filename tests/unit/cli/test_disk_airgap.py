"""A copy computer without a network: the job request travels as a file, and so does the answer."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.copyscene import JOB, SHIPPING_WORDS, Scene, at_copy_computer

from overland.cli.outcome import Exit

pytestmark = pytest.mark.requirement("R91")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with at_copy_computer(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def request_file(scene: Scene) -> tuple[Path, str]:
    """Finish the drives without a network and without publish settings; the file and its code."""
    scene.is_offline = True
    file = scene.folder / "stick" / "harbour.request"
    file.parent.mkdir()
    words = ["prepare", "--staging", scene.staging, *scene.both(), "--yes"]
    done = scene.disk(*words, "--offline-request", str(file), "--json")
    scene.is_offline = False
    assert done.exit_code == Exit.OK, done.output
    return file, json.loads(done.stdout)["code"]


def submit(scene: Scene, file: Path, code: str, *more: str) -> tuple[int, dict[str, str]]:
    words = ["submit", str(file), "--code", code, "--publish-settings", scene.settings, *more]
    done = scene.disk(*words, "--json", home="office")
    return done.exit_code, json.loads(done.stdout)


def test_drives_job_and_address_without_a_network_at_the_copy_computer(
    scene: Scene, request_file: tuple[Path, str]
) -> None:
    file, code = request_file

    status, answer = submit(scene, file, code)

    assert status == Exit.OK, answer
    job = scene.cloud.http(scene.world.admin).ok("GET", scene.world.job_path(JOB))
    assert [each["driveId"] for each in job["properties"]["driveList"]] == ["D1", "D2"]
    key = json.loads(file.read_bytes().split(b"\n")[0])["drive_key"]
    assert job["tags"]["overland-drive-key"] == key, "the copy computer's, which signed the drives"

    scene.is_offline = True
    accepted = scene.disk("accept-answer", answer["answer"], "--code", answer["code"])
    assert accepted.exit_code == Exit.OK, accepted.output
    assert "Example Import Dock" in accepted.stdout
    [place] = (scene.folder / "copy" / "disk-preparation").glob("*/packing-list.txt")
    assert "Example Import Dock" in place.read_text(encoding="utf-8")

    scene.is_offline = False
    shipped = scene.disk("ship", *SHIPPING_WORDS, "--yes", home="office")
    assert shipped.exit_code == Exit.OK, shipped.output
    watched = scene.disk("status", "--json", home="office")
    assert json.loads(watched.stdout)[0]["state"] == "Shipping"


def test_everything_done_twice_is_done_once(scene: Scene, request_file: tuple[Path, str]) -> None:
    file, code = request_file
    again = file.with_name("again.request")
    words = ["prepare", "--staging", scene.staging, "--offline-request", str(again), "--json"]
    made = scene.disk(*words)
    assert json.loads(made.stdout)["code"] == code, "the same drives, the same request"
    assert again.read_bytes() == file.read_bytes()

    first = submit(scene, file, code)
    assert submit(scene, file, code)[0] == first[0] == Exit.OK
    for _ in range(2):
        answer = first[1]
        done = scene.disk("accept-answer", answer["answer"], "--code", answer["code"])
        assert done.exit_code == Exit.OK, done.output


def test_every_changed_byte_of_a_request_is_noticed(
    scene: Scene, request_file: tuple[Path, str]
) -> None:
    file, code = request_file
    good = file.read_bytes()
    for position in range(0, len(good), max(1, len(good) // 40)):
        damaged = bytearray(good)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        status, answer = submit(scene, file, code)
        assert status == Exit.INTEGRITY, position
        assert json.loads(json.dumps(answer))["error"]["code"] == "job-file-changed"
    assert (
        scene.cloud.http(scene.world.admin).request("GET", scene.world.job_path(JOB)).status == 404
    )


def test_a_request_of_somebody_else_does_not_have_the_code(
    scene: Scene, request_file: tuple[Path, str]
) -> None:
    """A stranger can sign a request of their own; they cannot give it the code that was told."""
    file, code = request_file
    stranger = file.with_name("stranger.request")
    spare = ["prepare", "--staging", scene.staging, "--offline-request", str(stranger), "--yes"]
    for drive in ("D1", "D2"):
        label = scene.drive(drive) / ".overland-volume.json"
        (scene.folder / "theirs" / drive).mkdir(parents=True)
        (scene.folder / "theirs" / drive / label.name).write_bytes(label.read_bytes())
        spare += ["--drive", str(scene.folder / "theirs" / drive)]
    assert scene.disk(*spare, home="stranger").exit_code == Exit.OK

    status, answer = submit(scene, stranger, code)

    assert status == Exit.INTEGRITY
    assert "not the one that you typed" in str(answer)


def test_a_changed_or_foreign_answer_changes_no_address(
    scene: Scene, request_file: tuple[Path, str]
) -> None:
    file, code = request_file
    _, answer = submit(scene, file, code)
    good = Path(answer["answer"]).read_bytes()
    assert b"1 Dock Road" in good
    forged = file.with_name("forged.answer")
    forged.write_bytes(good.replace(b"1 Dock Road", b"9 Dock Road"))

    refused = scene.disk("accept-answer", str(forged), "--code", answer["code"])
    assert refused.exit_code == Exit.INTEGRITY
    wrong = scene.disk("accept-answer", answer["answer"], "--code", "0000-1111-2222-3333-4444")
    assert wrong.exit_code == Exit.INTEGRITY
    other = scene.disk("accept-answer", answer["answer"], "--code", answer["code"], home="third")
    assert other.exit_code == Exit.REFUSED
    assert not list((scene.folder / "copy" / "disk-preparation").glob("*/packing-list.txt"))


def test_an_answer_to_an_earlier_request_is_refused(
    scene: Scene, request_file: tuple[Path, str]
) -> None:
    file, code = request_file
    _, answer = submit(scene, file, code)
    scene.spare("D3")
    words = ["prepare", "--staging", scene.staging, "--replace", "D2", "--yes"]
    later = scene.disk(
        *words, "--drive", str(scene.drive("D3")), "--offline-request", str(file) + "2"
    )
    assert later.exit_code == Exit.OK, later.output

    refused = scene.disk("accept-answer", answer["answer"], "--code", answer["code"])

    assert refused.exit_code == Exit.REFUSED
    assert "[answer-for-another]" in refused.stderr


def test_the_custody_of_such_drives_is_gap_free_and_signed_where_they_were_shipped(
    scene: Scene, request_file: tuple[Path, str]
) -> None:
    file, code = request_file
    assert submit(scene, file, code)[0] == Exit.OK
    assert scene.disk("ship", *SHIPPING_WORDS, "--yes", home="office").exit_code == Exit.OK
    log = str(scene.folder / "custody.json")

    assert scene.disk("custody", "export", log, home="office").exit_code == Exit.OK
    done = scene.disk("custody", "verify", log, "--json", home="auditor")

    report = json.loads(done.stdout)
    assert [drive["gaps"] for drive in report["drives"]] == [[], []]
    drive_key = json.loads(file.read_bytes().split(b"\n")[0])["drive_key"]
    assert report["ledger_key"] != drive_key, "the office vouches for what it was sent"
