"""A copy computer at the command line, with a real cloud, a staged seed and practice drives."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs
from tests.support import staged
from tests.support.cloud import LocalCloud, LocalHttp, World

from overland.adapters.posix import PosixFiles
from overland.adapters.volumes import create_folder_volume
from overland.cli import copycomputer, disk
from overland.errors import Unreachable
from overland.ports.http import Http, Reply
from overland.seeding.staging import StagingLocation

__all__ = ["JOB", "SHIPPING_WORDS", "Scene", "at_copy_computer"]

JOB = "harbour-import-07"
SHIPPING = {
    "--carrier": "FedEx",
    "--tracking-number": "000123456789",
    "--return-name": "Ada Quist",
    "--return-street": "12 Quay Lane",
    "--return-city": "Aarhus",
    "--return-postal-code": "8000",
    "--return-country": "Denmark",
    "--return-phone": "+4500000000",
    "--return-email": "disks@example.org",
    "--return-carrier": "FedEx",
    "--return-account": "000111222",
}
SHIPPING_WORDS = [word for pair in SHIPPING.items() for word in pair]


@dataclass
class Scene:
    """A cloud, a staged seed, two practice drives, and the command line."""

    folder: Path
    cloud: LocalCloud
    world: World
    is_offline: bool = False
    agent: LocalHttp | None = None

    @property
    def staging(self) -> str:
        return str(self.folder / "staging")

    @property
    def settings(self) -> str:
        return str(self.folder / "harbour.publishsettings")

    def drive(self, serial: str) -> Path:
        return self.folder / "drives" / serial

    def disk(self, *words: str, typed: str | None = None, home: str = "copy") -> Result:
        env = {"OVERLAND_HOME": str(self.folder / home), "OVERLAND_PUBLISH_SETTINGS": ""}
        return CliRunner().invoke(disk.disk, words, env=env, input=typed)

    def prepare(self, *words: str, typed: str | None = None) -> Result:
        common = ("--staging", self.staging, "--publish-settings", self.settings)
        return self.disk("prepare", *common, *words, typed=typed)

    def spare(self, serial: str) -> None:
        create_folder_volume(self.drive(serial), serial=serial, capacity_bytes=1 << 20)

    def both(self) -> list[str]:
        return ["--drive", str(self.drive("D1")), "--drive", str(self.drive("D2"))]

    def http(self, token: str) -> Http:
        scene = self

        class Network:
            def request(self, method: str, path: str, **body: Any) -> Reply:
                if scene.is_offline:
                    raise Unreachable("cloud.test did not answer")
                return scene.cloud.http(token).request(method, path, **body)

        return Network()


@contextmanager
def at_copy_computer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Open a scene below `folder`."""
    # The cloud runs in this process, and its log must not be taken for the command's result.
    with capture_logs(), LocalCloud(folder / "cloud") as cloud:
        world = cloud.world()
        made = Scene(folder, cloud, world)
        monkeypatch.setattr(copycomputer, "UrllibHttp", lambda _url, token, **_: made.http(token))
        monkeypatch.setattr(copycomputer, "SystemClock", lambda: cloud.clock)
        _stage(made)
        path = f"/v1/subscriptions/{world.subscription_id}/publish-settings"
        answer = cloud.http(world.admin).ok("POST", path, {"job_name": JOB})
        Path(made.settings).write_text(answer["xml"], encoding="utf-8")
        for serial, size_bytes in (("D1", 200_000), ("D2", 1 << 20)):
            create_folder_volume(made.drive(serial), serial=serial, capacity_bytes=size_bytes)
        yield made


def _stage(scene: Scene) -> None:
    world = scene.world
    registered = scene.cloud.register(
        world,
        name="harbour-1",
        repository_id=staged.REPOSITORY_ID,
        signing_key=staged.SIGNING_KEY,
    )
    agent = scene.agent = scene.cloud.http(registered["token"])
    body = {
        "seed_id": staged.SEED_ID,
        "job_name": JOB,
        "policy": "nightly",
        "subscription_id": world.subscription_id,
        "storage_account": world.account,
        "container": world.container,
    }
    agent.ok("POST", "/v1/seeds", body)
    Path(scene.staging).mkdir()
    record = msgspec.structs.replace(
        staged.record(), subscription_id=world.subscription_id, storage_account=world.account
    )
    location = StagingLocation(scene.staging, files_of=lambda path: PosixFiles(Path(path)))
    draft = location.begin(record, needed_bytes=0)
    content = staged.objects(packs=(100_352, 100_864))
    for name, data in content.items():
        draft.files.write(name, data)
    staged.finish(draft, content)
    document = (Path(scene.staging) / f"seed-{staged.SEED_ID}" / "manifest.json").read_bytes()
    agent.request("PUT", f"/v1/seeds/{staged.SEED_ID}/manifest", raw=document)
