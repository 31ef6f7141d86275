"""The real cloud in a process of its own: TLS, two listeners, clean end, durable state."""

import hashlib
import json
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cloud import registration_body
from tests.support.cloudsamples import Journey
from tests.support.runningcloud import COMMAND, READY_S, RemoteCloud, RunningCloud, running_cloud

from overland.adapters.http import UrllibHttp
from overland.adapters.httpobjects import HttpObjects
from overland.crypto.secrets import Secret

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    with running_cloud(tmp_path_factory.mktemp("home")) as made:
        yield made


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


def test_the_data_plane_answers_on_a_socket_that_a_killed_cloud_left(cloud: RunningCloud) -> None:
    """And a second cloud leaves the socket of one that serves alone."""
    local = cloud.home / "objects.sock"
    cloud.stop()
    cloud.start("--object-socket", str(local))
    assert cloud.process is not None
    assert cloud.endpoints["object_socket"] == str(local)
    assert stat.S_IMODE(local.stat().st_mode) == 0o600
    cloud.process.kill()
    cloud.process.wait()
    (cloud.folder / "endpoints.json").unlink()
    assert local.is_socket()

    cloud.start("--object-socket", str(local))
    answer = UrllibHttp("", None, None, local=local).request("GET", "/healthz")
    assert answer.status == 200
    words = [*COMMAND, "serve", "--port", "0", "--object-socket", str(local)]
    second = subprocess.run(words, env=cloud.environment, capture_output=True, check=False)
    assert second.returncode == 3
    assert b"[socket-in-use]" in second.stderr
    assert UrllibHttp("", None, None, local=local).request("GET", "/healthz").status == 200

    assert cloud.stop() == 0
    assert not local.exists()
    cloud.start()
