"""The real cloud in a process of its own: TLS, two listeners, clean end, durable state."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.cloud import LocalCloud, registration_body
from tests.support.cloudsamples import Journey
from typing_extensions import override

from overland.adapters.folderobjects import FolderSpaces
from overland.adapters.http import UrllibHttp
from overland.adapters.httpobjects import HttpObjects
from overland.crypto.secrets import Secret
from overland.ports.http import Reply

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "overland", "cloud"]
READY_S = 60.0
DOCK = "Example Import Dock; 1 Dock Road; Dublin; D22; Ireland"

pytestmark = pytest.mark.slow


class RunningCloud:
    """`overland cloud serve` in a home folder."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home / "cloud"
        self.environment = {
            **os.environ,
            "OVERLAND_HOME": str(home),
            "PYTHONPATH": str(ROOT / "src"),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log = self.home / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--port", "0"], env=self.environment, stderr=log
            )
        until = time.monotonic() + READY_S
        while not (self.folder / "endpoints.json").exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)
        self.endpoints = json.loads((self.folder / "endpoints.json").read_bytes())
        self.ca_pem = Path(self.endpoints["ca"]).read_text()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def run(self, *words: str, token: Path | None = None) -> Any:
        options = [] if token is None else ["--token-file", str(token)]
        done = subprocess.run(
            [*COMMAND, *words, *options, "--json"],
            env=self.environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def ask(self, token: str, method: str, path: str, body: object = None) -> Reply:
        http = UrllibHttp(self.endpoints["url"], token, self.ca_pem)
        return http.request(method, path, json=body)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    made = RunningCloud(tmp_path_factory.mktemp("home"))
    subprocess.run(
        [*COMMAND, "init", "--dock", DOCK], env=made.environment, check=True, capture_output=True
    )
    made.start()
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop()


def test_a_tenant_is_set_up_from_the_command_line_alone(
    cloud: RunningCloud, tmp_path: Path
) -> None:
    admin = tmp_path / "admin"
    made = cloud.run("tenant", "create", "Harbour", "--out", str(admin))
    assert "token" not in made
    assert stat.S_IMODE(admin.stat().st_mode) == 0o600
    subscription = cloud.run("subscription", "create", "Main", token=admin)
    cloud.run("storage-account", "create", "inlanddata", token=admin)
    cloud.run("container", "create", "seeds", "--storage-account", "inlanddata", token=admin)
    vault = cloud.run("vault", "create", "vault-1", token=admin)
    settings, credentials = tmp_path / "ps.xml", tmp_path / "credentials.json"
    cloud.run("publish-settings", "--out", str(settings), token=admin)
    cloud.run("vault-credentials", vault["vault_id"], "--out", str(credentials), token=admin)
    station = cloud.run("token", "create", "--role", "station")["token"]

    assert subscription["subscription_id"] in settings.read_text()
    document = json.loads(credentials.read_bytes())
    assert document["ca_pem"] == cloud.ca_pem
    body = registration_body(
        document,
        name="srv-1",
        repository_id="11111111-2222-4333-8444-555555555555",
        signing_key=Secret(b"a" * 32),
    )
    registered = cloud.ask(
        document["registration_token"], "POST", "/v1/source-computers", body
    ).body
    grant = cloud.ask(registered["token"], "POST", "/v1/grants", {"kind": "vault"}).body
    data = b"sealed bytes" * 1000
    name, digest = "keys/00000001.keyring", hashlib.sha256(data).hexdigest()
    objects = HttpObjects(
        endpoint=grant["endpoint"],
        space=grant["space"],
        prefix=grant["prefix"],
        token=grant["token"],
        ca_pem=cloud.ca_pem,
    )
    objects.put(name, [data], size_bytes=len(data), sha256=digest)
    assert objects.read(name) == data
    assert cloud.ask(station, "GET", "/v1/station/jobs").body == []
    assert cloud.run("job", "list", token=admin) == []

    assert cloud.stop() == 0
    assert not (cloud.folder / "endpoints.json").exists()
    cloud.start()
    assert cloud.run("vault", "list", token=admin)[0]["vault_id"] == vault["vault_id"]


class RemoteCloud(LocalCloud):
    """What `Journey` needs of a cloud, over HTTPS to the running one."""

    def __init__(self, running: RunningCloud) -> None:
        self.running = running
        self.root_token = (running.folder / "root-token").read_text().strip()
        self.spaces = FolderSpaces(running.folder / "objects")

    @override
    def send(self, method: str, path: str, *, token: str | None, content: bytes | None) -> Reply:
        http = UrllibHttp(self.running.endpoints["url"], token, self.running.ca_pem)
        body = None
        with suppress(TypeError, ValueError):
            body = json.loads(content or b"")
        if body is not None and not path.endswith("/manifest"):
            return http.request(method, path, json=body)
        return http.request(method, path, raw=content)


def test_adoption_goes_on_after_a_kill(cloud: RunningCloud) -> None:
    journey = Journey(cloud=RemoteCloud(cloud))
    journey.imported()
    path = f"{journey.seed_path}/adoption"
    assert journey.agent.ok("POST", path)["state"] in {"running", "done"}
    assert cloud.process is not None
    cloud.process.kill()
    cloud.process.wait()
    (cloud.folder / "endpoints.json").unlink()
    cloud.start()
    until = time.monotonic() + READY_S
    while (found := journey.agent.ok("GET", path))["state"] == "running":
        assert time.monotonic() < until, found
        time.sleep(0.1)
    assert (found["state"], found["missing"]) == ("done", [])
    assert journey.agent.ok("GET", journey.seed_path)["state"] == "Online"
    (point,) = journey.agent.ok("GET", "/v1/points")
    assert point["state"] == "available"
    (run,) = journey.admin.ok("POST", "/v1/reclaims", {})
    while run["state"] == "running":
        assert time.monotonic() < until, run
        time.sleep(0.1)
        (run,) = journey.admin.ok("GET", "/v1/reclaims")
    assert (run["state"], run["objects_deleted"], run["problem"]) == ("done", 0, None)


def test_everything_in_the_folder_is_for_its_owner_only(cloud: RunningCloud) -> None:
    assert stat.S_IMODE(cloud.folder.stat().st_mode) == 0o700
    for name in ("root-token", "ca.key", "server.key", "grant.key", "cloud.db", "work.db"):
        assert stat.S_IMODE((cloud.folder / name).stat().st_mode) == 0o600, name


def test_the_log_holds_events_and_no_secret(cloud: RunningCloud) -> None:
    token = (cloud.folder / "root-token").read_text().strip()
    cloud.ask(token, "POST", "/v1/tenants", {"nonsense": 1})
    lines = [json.loads(line) for line in cloud.log.read_text().splitlines()]
    assert {"cloud.opened", "cloud.started", "request.refused"} <= {each["event"] for each in lines}
    assert token.split("_")[2] not in cloud.log.read_text()


def test_a_second_process_in_the_same_folder_is_refused(cloud: RunningCloud) -> None:
    second = subprocess.run(
        [*COMMAND, "serve", "--port", "0"],
        env=cloud.environment,
        capture_output=True,
        check=False,
        timeout=READY_S,
    )
    assert second.returncode == 3
    [line] = second.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert line.endswith("[engine-in-use]")
    assert (cloud.folder / "endpoints.json").exists(), "the first one still serves"


def test_a_folder_without_a_cloud_is_not_served(tmp_path: Path) -> None:
    other = RunningCloud(tmp_path)
    done = subprocess.run(
        [*COMMAND, "serve", "--port", "0"],
        env=other.environment,
        capture_output=True,
        check=False,
        timeout=READY_S,
    )
    assert done.returncode == 3
    assert b"cloud-not-initialised" in done.stderr
