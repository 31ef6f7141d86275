"""`overland cloud serve` in a process of its own, and a seed's journey over HTTPS to it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.cloud import LocalCloud
from typing_extensions import override

from overland.adapters.folderobjects import FolderSpaces
from overland.adapters.http import UrllibHttp
from overland.ports.http import Reply

__all__ = ["COMMAND", "READY_S", "RemoteCloud", "RunningCloud", "running_cloud"]

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "overland", "cloud"]
READY_S = 300.0  # against waiting for ever; a quiet machine takes two
DOCK = "Example Import Dock; 1 Dock Road; Dublin; D22; Ireland"


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

    def start(self, *options: str) -> None:
        self.log = self.home / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--port", "0", *options], env=self.environment, stderr=log
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
        return self.process.wait(timeout=READY_S)

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


@contextmanager
def running_cloud(home: Path) -> Iterator[RunningCloud]:
    """Make a cloud below `home` and serve it until the block ends."""
    made = RunningCloud(home)
    subprocess.run(
        [*COMMAND, "init", "--dock", DOCK], env=made.environment, check=True, capture_output=True
    )
    made.start()
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop()


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
