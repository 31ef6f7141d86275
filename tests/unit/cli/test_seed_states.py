"""What can be done with a seed in every state: it works, or is refused with a next step.

A state of seed and import job is made with the commands of all machines; then everything is tried
that somebody may want to do.  Nothing may be lost by it: what was backed up can be restored
afterwards, and a seed that was abandoned leaves the way free for a new one.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import Result
from tests.support.cloud import LocalHttp
from tests.support.registered import SourceComputer, registered, typed

from overland.adapters.volumes import create_folder_volume
from overland.cli.outcome import Exit
from overland.seeding.staging import SeedDraft

JOB: Final = "harbour-import-07"
NUMBER: Final = "000123456789"
FORM: Final = (
    *("--carrier", "FedEx", "--return-name", "Ada Quist", "--return-street", "12 Quay Lane"),
    *("--return-city", "Aarhus", "--return-postal-code", "8000", "--return-country", "Denmark"),
    *("--return-phone", "+4500000000", "--return-email", "disks@example.org"),
    *("--return-carrier", "FedEx", "--return-account", "000111222", "--yes"),
)

STATES: Final = (
    *("configured", "staging", "no job", "creating", "shipping", "overdue", "received"),
    *("transferring", "packaging", "completed", "closed", "incomplete", "online", "abandoned"),
)
ACTIONS: Final = ("abandon", "relink", "clean up", "top up", "replace", "network", "adopt")

# What is refused, and with which code; everything else works.
REFUSED: Final[dict[str, dict[str, str]]] = {
    "abandon": {"configured": "seed-absent"},
    "relink": {
        "configured": "seed-absent",
        "online": "refused-by-cloud",
        "abandoned": "refused-by-cloud",
    },
    "clean up": {
        "configured": "seed-absent",
        **dict.fromkeys(STATES[1:-2], "seed-still-needed"),
    },
    "top up": {
        "configured": "no-seed-to-prepare",
        "staging": "seed-incomplete",
        "no job": "nothing-shipped",
        "creating": "nothing-shipped",
        "shipping": "drives-under-way",
        "received": "drives-under-way",
        "transferring": "drives-under-way",
        "online": "nothing-missing",
        "abandoned": "seed-given-up",
    },
    "replace": {
        "configured": "no-seed-to-prepare",
        "staging": "seed-incomplete",
        "no job": "drive-not-found",
        "received": "drive-arrived",
        "transferring": "drive-arrived",
        "online": "nothing-missing",
        "abandoned": "seed-given-up",
    },
    "network": {"abandoned": "seed-abandoned"},
    "adopt": {
        "configured": "seed-absent",
        "abandoned": "seed-abandoned",
        **dict.fromkeys(STATES[1:8], "refused-by-cloud"),
    },
}


class Scene:
    """One seed, and everybody who moves it on."""

    def __init__(self, computer: SourceComputer, patch: pytest.MonkeyPatch) -> None:
        self.computer, self.patch = computer, patch
        self.admin: LocalHttp = computer.cloud.http(computer.world.admin)
        self.station: LocalHttp = computer.cloud.station()
        self.photo = random.Random(7).randbytes(150_000)
        (computer.source / "photo.bin").write_bytes(self.photo)
        self.drives = computer.folder / "drives"
        for serial, size_bytes in (("D1", 120_000), ("D2", 1 << 20), ("D3", 1 << 21)):
            create_folder_volume(self.drives / serial, serial=serial, capacity_bytes=size_bytes)

    def prepare(self, *words: object) -> Result:
        common = ("--staging", self.computer.staging, "--yes")
        settings = ("--publish-settings", self.computer.publish_settings)
        return typed("disk", "prepare", *common, *settings, *words)

    def drive(self, serial: str) -> tuple[str, Path]:
        return ("--drive", self.drives / serial)

    def job_id(self) -> str:
        (job_id,) = [each["job_id"] for each in self.station.ok("GET", "/v1/station/jobs")]
        return str(job_id)

    def report(self, serial: str, event: str) -> None:
        path = f"/v1/station/jobs/{self.job_id()}/drives/{serial}/events"
        self.station.ok("POST", path, {"event": event})

    def jobs(self) -> list[Any]:
        path = f"{self.computer.world.jobs}?api-version=2021-01-01"
        jobs: list[Any] = self.admin.ok("GET", path)["value"]
        return sorted(jobs, key=lambda job: str(job["name"]))

    def content(self, serial: str) -> list[Path]:
        return sorted((self.drives / serial).glob("seed-*/*/**/*.*"))

    def land(self, *serials: str) -> None:
        world = self.computer.world
        for serial in serials:
            for path in self.content(serial):
                name = path.relative_to(self.drives / serial).as_posix()
                space = f"accounts/{world.account}/{world.container}"
                self.computer.cloud.put_object(space, name, path.read_bytes())

    def receive(self, *serials: str) -> None:
        body = {"tracking_number": NUMBER, "carrier": "FedEx", "serials": list(serials)}
        self.station.ok("POST", "/v1/station/parcels", body)

    def give_back(self) -> None:
        body = {"carrier": "FedEx", "tracking_number": "BACK-1"}
        self.station.ok("POST", f"/v1/station/jobs/{self.job_id()}/return", body)

    def reach(self, state: str) -> None:
        """Go the way of a seed until it is in this state."""
        assert self.computer.create().exit_code == Exit.OK
        for step in _WAYS[state]:
            step(self)


def _break_off(scene: Scene) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with scene.patch.context() as broken:
        broken.setattr(SeedDraft, "finish", full)
        assert typed("backup", "now", "docs").exit_code != Exit.OK


def _stage(_: Scene) -> None:
    assert typed("backup", "now", "docs").exit_code == Exit.OK


def _prepare(scene: Scene) -> None:
    done = scene.prepare(*scene.drive("D1"), *scene.drive("D2"))
    assert done.exit_code == Exit.OK, done.output


def _ship(_: Scene) -> None:
    done = typed("disk", "ship", "--tracking-number", NUMBER, *FORM)
    assert done.exit_code == Exit.OK, done.output


def _wait(scene: Scene) -> None:
    scene.computer.cloud.clock.advance(timedelta(days=15))
    scene.computer.cloud.sweep()
    _settings(scene)


def _settings(scene: Scene) -> None:
    path = f"/v1/subscriptions/{scene.computer.world.subscription_id}/publish-settings"
    scene.computer.publish_settings.write_text(scene.admin.ok("POST", path, {})["xml"])


def _receive(scene: Scene) -> None:
    scene.receive("D1", "D2")


def _start(scene: Scene) -> None:
    scene.report("D1", "started")
    scene.report("D2", "started")


def _import_one(scene: Scene) -> None:
    scene.land("D1")
    scene.report("D1", "completed")
    scene.report("D2", "completed_more_info")


def _import_all(scene: Scene) -> None:
    scene.land("D1", "D2")
    scene.report("D1", "completed")
    scene.report("D2", "completed")


def _receive_one(scene: Scene) -> None:
    scene.receive("D1")
    scene.land("D1")
    scene.report("D1", "started")
    scene.report("D1", "completed")


def _give_back(scene: Scene) -> None:
    scene.give_back()


def _run(_: Scene) -> None:
    assert typed("backup", "run-schedule", "--once", "--due", "docs").exit_code == Exit.OK


def _abandon(_: Scene) -> None:
    assert typed("seed", "abandon", "docs", "--yes").exit_code == Exit.OK


_SHIPPED: Final = (_stage, _prepare, _ship)
_WAYS: Final[dict[str, tuple[Callable[[Scene], None], ...]]] = {
    "configured": (),
    "staging": (_break_off,),
    "no job": (_stage,),
    "creating": (_stage, _prepare),
    "shipping": _SHIPPED,
    "overdue": (*_SHIPPED, _wait),
    "received": (*_SHIPPED, _receive),
    "transferring": (*_SHIPPED, _receive, _start),
    "packaging": (*_SHIPPED, _receive, _start, _import_one),
    "completed": (*_SHIPPED, _receive, _start, _import_one, _give_back),
    "closed": (*_SHIPPED, _receive_one, _give_back),
    "incomplete": (*_SHIPPED, _receive_one, _run),
    "online": (*_SHIPPED, _receive, _start, _import_all, _run),
    "abandoned": (*_SHIPPED, _abandon),
}


def do(scene: Scene, action: str) -> Result:
    if action == "top up":
        return scene.prepare("--missing", *scene.drive("D3"))
    if action == "replace":
        return scene.prepare("--replace", "D2", *scene.drive("D3"))
    words: dict[str, tuple[str, ...]] = {
        "abandon": ("seed", "abandon", "docs", "--yes"),
        "relink": ("seed", "relink", "docs", "harbour-import-08"),
        "clean up": ("seed", "clean-up", "docs", "--yes"),
        "network": ("backup", "now", "docs"),
        "adopt": ("seed", "adopt", "docs"),
    }
    return typed(*words[action])


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    with registered(tmp_path) as computer:
        yield Scene(computer, monkeypatch)


def restored(scene: Scene) -> bytes | None:
    """Return the photo as a restore gives it, or None when the restore fails."""
    target = scene.computer.folder / "restored"
    shutil.rmtree(target, ignore_errors=True)
    if typed("restore", "newest", "--target", target).exit_code != Exit.OK:
        return None
    (found,) = target.rglob("photo.bin")
    return found.read_bytes()


def check(scene: Scene, state: str, action: str, *, before: bytes | None) -> None:
    """Do something; it works or is refused as the table says, and nothing is lost by it."""
    ended = do(scene, action)
    code = REFUSED[action].get(state)
    if code is None:
        assert ended.exit_code == Exit.OK, (action, ended.output)
    else:
        assert ended.exit_code in (Exit.REFUSED, Exit.INTEGRITY), (action, ended.output)
        assert f"[{code}]" in ended.stderr, (action, ended.output)
    if before is not None and (state, action) != ("abandoned", "clean up"):
        assert restored(scene) == before, f"after {action}"


@pytest.mark.parametrize("state", STATES)
@pytest.mark.requirement("R127", "R131", "R132", "R134")
def test_what_is_done_in_a_state_works_or_says_what_to_do(scene: Scene, state: str) -> None:
    scene.reach(state)
    before = restored(scene)
    assert before in (None, scene.photo)
    assert (before is None) == (state == "configured")
    for action in ACTIONS:
        if state in REFUSED[action]:
            check(scene, state, action, before=before)
    for action in ("relink", "adopt", "network", "abandon", "clean up"):
        if state not in REFUSED[action]:
            check(scene, state, action, before=before)
            if action == "relink":  # and back, for what follows
                assert typed("seed", "relink", "docs", JOB).exit_code == Exit.OK


def test_a_seed_that_was_cleaned_up_is_so_again_without_an_error(scene: Scene) -> None:
    scene.reach("online")
    for deleted in ("objects deleted", "0 objects deleted, 0 bytes"):
        ended = do(scene, "clean up")
        assert ended.exit_code == Exit.OK, ended.output
        lines = ended.stdout.splitlines()
        assert len(lines) == 2
        assert all(deleted in line for line in lines)
    assert restored(scene) == scene.photo


@pytest.mark.parametrize(
    ("state", "action"),
    [
        *((state, "replace") for state in STATES if state not in REFUSED["replace"]),
        *((state, "top up") for state in STATES if state not in REFUSED["top up"]),
    ],
)
@pytest.mark.requirement("R133")
def test_only_what_is_missing_is_made_again(scene: Scene, state: str, action: str) -> None:
    scene.reach(state)
    check(scene, state, action, before=scene.photo)
    made = {path.relative_to(scene.drives / "D3") for path in scene.content("D3")}
    if (state, action) == ("overdue", "top up"):
        assert len(made) == 4, "nothing of the seed has come"
    else:
        lost = {path.relative_to(scene.drives / "D2") for path in scene.content("D2")}
        assert made == lost
    names = [job["name"] for job in scene.jobs()]
    assert names == ([JOB] if state == "creating" else [JOB, f"{JOB}-topup-1"])


@pytest.mark.parametrize("state", ["staging", "no job", "creating", "shipping", "incomplete"])
@pytest.mark.parametrize("name", [JOB, "harbour-import-08"], ids=["same name", "other name"])
@pytest.mark.requirement("R131")
def test_after_abandoning_a_new_seed_can_begin_at_once(scene: Scene, state: str, name: str) -> None:
    scene.reach(state)
    assert typed("seed", "abandon", "docs", "--yes").exit_code == Exit.OK
    made = scene.computer.create("again", **{"job-name": name})
    if name == JOB and state in ("shipping", "incomplete"):
        assert (made.exit_code, "[job-name-taken]" in made.stderr) == (Exit.REFUSED, True)
        return  # a job that has left keeps its name; another name is free
    assert made.exit_code == Exit.OK, made.output
    assert typed("backup", "now", "again").exit_code == Exit.OK
    (found,) = [
        record.parent.name.removeprefix("seed-")
        for record in scene.computer.staging.glob("seed-*/seed.json")
        if b'"again"' in record.read_bytes()
    ]
    done = scene.prepare("--seed", found, *scene.drive("D3"))
    assert done.exit_code == Exit.OK, done.output
    assert restored(scene) == scene.photo


@pytest.mark.requirement("R54", "R132")
def test_two_policies_of_one_job_name_part_when_their_drives_are_made(scene: Scene) -> None:
    for name in ("first", "second"):
        assert scene.computer.create(name).exit_code == Exit.OK, "the same name, the same account"
        assert typed("backup", "now", name).exit_code == Exit.OK
    of = {
        json.loads(path.read_bytes())["policy"]: path.parent.name.removeprefix("seed-")
        for path in scene.computer.staging.glob("seed-*/seed.json")
    }
    assert scene.prepare("--seed", of["first"], *scene.drive("D2")).exit_code == Exit.OK
    refused = scene.prepare("--seed", of["second"], *scene.drive("D3"))
    assert (refused.exit_code, "[job-differs]" in refused.stderr) == (Exit.REFUSED, True)
    assert "overland seed relink POLICY OTHER_NAME" in refused.stderr
    assert list(scene.drives.glob("D3/seed-*")) == [], "told before a drive is touched"

    assert typed("seed", "relink", "second", "harbour-import-08").exit_code == Exit.OK
    done = scene.prepare("--seed", of["second"], *scene.drive("D3"))

    assert done.exit_code == Exit.OK, done.output
    assert [job["name"] for job in scene.jobs()] == [JOB, "harbour-import-08"]
    assert [job["tags"]["overland-seed"] for job in scene.jobs()] == [of["first"], of["second"]]
