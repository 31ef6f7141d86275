"""Drives that never came, or brought too little, are made again as a job of their own."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support import staged
from tests.support.cloud import LocalHttp
from tests.support.copyscene import JOB, SHIPPING_WORDS, Scene, at_copy_computer

from overland.adapters.posix import PosixFiles
from overland.cli.outcome import Exit
from overland.diskprep.record import Preparations
from overland.seeding.seedrecord import seed_folder

SEED = f"/v1/seeds/{staged.SEED_ID}"


class Dock:
    """A datacenter that takes parcels in and uploads what lies on drives."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.station: LocalHttp = scene.cloud.station()

    def receive(self, number: str, *serials: str) -> Any:
        body = {"tracking_number": number, "carrier": "FedEx", "serials": list(serials)}
        return self.station.ok("POST", "/v1/station/parcels", body)

    def ingest(self, job: str, serial: str, *, without: Sequence[str] = ()) -> None:
        folder = self.scene.drive(serial) / seed_folder(staged.SEED_ID)
        space = f"accounts/{self.scene.world.account}/{self.scene.world.container}"
        for path in sorted(folder.rglob("*.*")):
            name = path.relative_to(folder).as_posix()
            if "/" in name and name not in without:
                self.scene.cloud.put_object(
                    space, f"seed-{staged.SEED_ID}/{name}", path.read_bytes()
                )
        self.report(job, serial, "started")
        self.report(job, serial, "completed_more_info" if without else "completed")

    def report(self, job: str, serial: str, event: str) -> None:
        found = {
            each["name"]: each["job_id"] for each in self.station.ok("GET", "/v1/station/jobs")
        }
        path = f"/v1/station/jobs/{found[job]}/drives/{serial}/events"
        self.station.ok("POST", path, {"event": event})


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with at_copy_computer(tmp_path, monkeypatch) as made:
        for serial in ("D3", "D4"):
            made.spare(serial)
        yield made


@pytest.fixture
def dock(scene: Scene) -> Dock:
    return Dock(scene)


def shipped(scene: Scene, number: str = "000123456789", *words: str) -> None:
    options = [*SHIPPING_WORDS]
    options[options.index("--tracking-number") + 1] = number
    result = scene.disk("ship", *options, *words, "--yes")
    assert result.exit_code == Exit.OK, result.output


def prepared(scene: Scene) -> None:
    assert scene.prepare(*scene.both(), "--yes").exit_code == Exit.OK
    shipped(scene)


def seed(scene: Scene) -> Any:
    assert scene.agent is not None
    return scene.agent.ok("GET", SEED)


def may_adopt(scene: Scene) -> bool:
    """Whether the cloud begins an adoption; it fails, because the point is made of noise."""
    assert scene.agent is not None
    return scene.agent.request("POST", f"{SEED}/adoption").status == 200


def names_on(scene: Scene, serial: str) -> set[str]:
    document = scene.drive(serial) / seed_folder(staged.SEED_ID) / "drive.json"
    found = json.loads(document.read_bytes().partition(b"\n")[0])
    return {each["name"] for each in found.get("objects", found.get("body", {}).get("objects"))}


def top_up(scene: Scene, drive: str, *words: str) -> Any:
    return scene.prepare(*words, "--drive", str(scene.drive(drive)), "--yes", "--json")


@pytest.mark.requirement("R133")
def test_what_a_lost_drive_carried_travels_as_a_job_of_its_own(scene: Scene, dock: Dock) -> None:
    prepared(scene)
    dock.receive("000123456789", "D1")
    dock.ingest(JOB, "D1")
    assert "never received: D2" in seed(scene)["next_step"]["what"]

    made = top_up(scene, "D3", "--missing")

    assert made.exit_code == Exit.OK, made.output
    assert json.loads(made.stdout)["job"] == f"{JOB}-topup-1"
    assert names_on(scene, "D3") == names_on(scene, "D2")
    assert "tracking number" in seed(scene)["next_step"]["what"]
    shipped(scene, "000555")
    assert seed(scene)["ready_to_adopt"] is False, "drives are on their way"
    dock.receive("000555", "D3")
    dock.ingest(f"{JOB}-topup-1", "D3")
    found = seed(scene)
    assert found["ready_to_adopt"] is True
    assert [job["name"] for job in found["earlier_jobs"]] == [JOB]
    status = scene.disk("status", "--json")
    assert [each["job_name"] for each in json.loads(status.stdout)] == [JOB, f"{JOB}-topup-1"]


@pytest.mark.requirement("R133")
def test_several_top_ups_come_one_after_the_other(scene: Scene, dock: Dock) -> None:
    prepared(scene)
    lost = min(names_on(scene, "D2"))
    dock.receive("000123456789", "D1", "D2")
    dock.ingest(JOB, "D1")
    dock.ingest(JOB, "D2", without=[lost])
    assert top_up(scene, "D3", "--missing").exit_code == Exit.OK
    assert names_on(scene, "D3") == {lost}
    shipped(scene, "000555")
    dock.receive("000555", "D3")
    dock.ingest(f"{JOB}-topup-1", "D3", without=[lost])

    made = top_up(scene, "D4", "--missing")

    assert json.loads(made.stdout)["job"] == f"{JOB}-topup-2"
    assert names_on(scene, "D4") == {lost}
    shipped(scene, "000666")
    dock.receive("000666", "D4")
    dock.ingest(f"{JOB}-topup-2", "D4")
    assert seed(scene)["ready_to_adopt"] is True
    again = top_up(scene, "D1", "--missing")
    assert (again.exit_code, "[nothing-missing]" in again.stderr) == (Exit.REFUSED, True)


@pytest.mark.requirement("R133")
def test_a_drive_that_the_carrier_lost_is_replaced_while_the_others_travel(
    scene: Scene, dock: Dock
) -> None:
    prepared(scene)
    early = top_up(scene, "D3", "--missing")
    assert (early.exit_code, "[drives-under-way]" in early.stderr) == (Exit.REFUSED, True)

    made = top_up(scene, "D3", "--replace", "D2")

    assert json.loads(made.stdout)["job"] == f"{JOB}-topup-1"
    assert names_on(scene, "D3") == names_on(scene, "D2")
    more = top_up(scene, "D4", "--replace", "D1")
    assert more.exit_code == Exit.OK, more.output
    assert names_on(scene, "D4") == names_on(scene, "D1")
    assert {each["serial"] for each in json.loads(more.stdout)["drives"]} == {"D3", "D4"}
    shipped(scene, "000555")
    dock.receive("000555", "D3", "D4")
    for serial in ("D3", "D4"):
        dock.ingest(f"{JOB}-topup-1", serial)
    assert seed(scene)["ready_to_adopt"] is False, "the first parcel may still come"
    assert may_adopt(scene), "whoever asks by hand need not wait for it"


def test_a_drive_that_has_arrived_is_not_lost(scene: Scene, dock: Dock) -> None:
    prepared(scene)
    dock.receive("000123456789", "D1", "D2")
    refused = top_up(scene, "D3", "--replace", "D2")
    assert (refused.exit_code, "[drive-arrived]" in refused.stderr) == (Exit.REFUSED, True)
    unknown = top_up(scene, "D3", "--replace", "D9")
    assert (unknown.exit_code, "[drive-not-found]" in unknown.stderr) == (Exit.REFUSED, True)


def test_before_the_ship_notice_there_is_nothing_to_top_up(scene: Scene) -> None:
    assert "[nothing-shipped]" in top_up(scene, "D1", "--missing").stderr
    scene.prepare(*scene.both(), "--yes")
    refused = top_up(scene, "D3", "--missing")
    assert (refused.exit_code, "[nothing-shipped]" in refused.stderr) == (Exit.REFUSED, True)
    assert list(scene.drive("D3").glob("seed-*")) == []


@pytest.mark.requirement("R88", "R133")
def test_a_top_up_goes_on_where_it_was(scene: Scene, dock: Dock) -> None:
    prepared(scene)
    dock.receive("000123456789", "D1")
    dock.ingest(JOB, "D1")
    no_drive = scene.prepare("--missing", "--yes")  # it stops when it needs one
    assert no_drive.exit_code != Exit.OK
    records = Preparations(PosixFiles(scene.folder / "copy" / "disk-preparation"))
    begun = records.newest(staged.SEED_ID)
    assert begun is not None
    assert (begun.top_up, begun.drives) == (1, ())

    made = [top_up(scene, "D3"), top_up(scene, "D3", "--missing")]

    assert [json.loads(each.stdout)["job"] for each in made] == [f"{JOB}-topup-1"] * 2
    first, newest = records.find(staged.SEED_ID), records.newest(staged.SEED_ID)
    assert first is not None
    assert first.job is not None
    assert [drive.serial for drive in first.sealed()] == ["D1", "D2"], "its record stays"
    assert newest is not None
    assert [drive.serial for drive in newest.sealed()] == ["D3"]
    names = [
        job["name"]
        for job in scene.cloud.http(scene.world.admin).ok(
            "GET", f"{scene.world.jobs}?api-version=2021-01-01"
        )["value"]
    ]
    assert sorted(names) == [JOB, f"{JOB}-topup-1"]


@pytest.mark.requirement("R93", "R133")
def test_a_top_up_has_a_parcel_of_its_own(scene: Scene, dock: Dock) -> None:
    prepared(scene)
    dock.receive("000123456789", "D1")
    dock.ingest(JOB, "D1")
    top_up(scene, "D3", "--missing")
    refused = scene.disk("ship", *SHIPPING_WORDS, "--yes")
    assert "[tracking-number-reused]" in refused.stderr
    number = ("--tracking-number", "000555")
    done = scene.disk("ship", *number, "--carrier", "FedEx", "--yes")
    assert done.exit_code == Exit.OK, "the return address was typed before"


@pytest.mark.requirement("R133")
def test_another_copy_computer_makes_the_top_up(scene: Scene, dock: Dock) -> None:
    prepared(scene)
    dock.receive("000123456789", "D1")
    dock.ingest(JOB, "D1")
    words = ("--staging", scene.staging, "--publish-settings", scene.settings, "--missing")
    drive = ("--drive", str(scene.drive("D3")))
    made = scene.disk("prepare", *words, *drive, "--yes", "--json", home="elsewhere")
    assert json.loads(made.stdout)["job"] == f"{JOB}-topup-1", made.output
    assert names_on(scene, "D3") == names_on(scene, "D2")


@pytest.mark.requirement("R132")
def test_a_seed_that_was_relinked_gets_its_job_under_the_new_name(scene: Scene) -> None:
    taken = {
        "location": "westeurope",
        "properties": {
            "storageAccountId": scene.world.account_id,
            "jobType": "Import",
            "driveList": [{
                "driveId": "HAND", "bitLockerKey": "k", "manifestFile": "\\m",
                "manifestHash": "0" * 64,
            }],
        },
    }  # fmt: skip
    admin = scene.cloud.http(scene.world.admin)
    admin.ok("PUT", scene.world.job_path(JOB), taken)
    path = f"/v1/subscriptions/{scene.world.subscription_id}/publish-settings"
    Path(scene.settings).write_text(admin.ok("POST", path, {})["xml"], encoding="utf-8")
    refused = scene.prepare(*scene.both(), "--yes")
    assert (refused.exit_code, "[job-differs]" in refused.stderr) == (Exit.REFUSED, True)
    assert "seed relink" in refused.stderr
    assert scene.agent is not None
    scene.agent.ok("PATCH", SEED, {"job_name": "harbour-import-08"})

    made = scene.prepare(*scene.both(), "--yes", "--json")

    assert json.loads(made.stdout)["job"] == "harbour-import-08"
    assert seed(scene)["job"]["name"] == "harbour-import-08"
