"""A source computer that is registered with a cloud behind real sockets, driven by its commands."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from tests.support.cloud import LocalCloud, World
from tests.support.dataplane import serving_app
from tests.support.manualclock import ManualClock
from tests.support.terminal import state_of
from uvicorn.protocols.http.h11_impl import H11Protocol

from overland.adapters.posix import PosixFiles
from overland.agent.policy import Policies
from overland.cli.main import overland
from overland.cli.outcome import Exit
from overland.cloud.services import Endpoints
from overland.crypto import sign
from overland.server.objects_app import create_objects_app

__all__ = ["SourceComputer", "Terminal", "registered", "typed"]

_PATIENCE_S = 120.0  # against waiting for ever
_AGAIN_S = 2.0
_ECHOED = {b"\x03": "^C", b"\x04": ""}
# The first terminal that a new session opens becomes its own, so that Ctrl-C reaches it.
_AT_TERMINAL = 'exec "$@" <>"$TERMINAL" >&0 2>&0'


def typed(*words: object) -> Result:
    """Run a command of the program in this process."""
    return CliRunner().invoke(overland, [str(word) for word in words])


@dataclass(slots=True, kw_only=True)
class SourceComputer:
    """A registered computer below `folder`, its cloud, and what an offline page needs."""

    folder: Path
    cloud: LocalCloud
    world: World

    @property
    def home(self) -> Path:
        return self.folder / "home" / "agent"

    @property
    def staging(self) -> Path:
        return self.folder / "staging"

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def publish_settings(self) -> Path:
        return self.folder / "harbour.publishsettings"

    @property
    def policies(self) -> Policies:
        return Policies(PosixFiles(self.home))

    def six(self, **changes: object) -> list[str]:
        """Return the options of the offline page, with some of them changed, or left out."""
        fields: dict[str, object] = {
            "staging": self.staging,
            "publish-settings": self.publish_settings,
            "job-name": "harbour-import-07",
            "subscription": self.world.subscription_id,
            "storage-account": self.world.account,
            "container": self.world.container,
        }
        fields |= {key.replace("_", "-"): value for key, value in changes.items()}
        return [
            word
            for key, value in fields.items()
            if value is not None
            for word in (f"--{key}", str(value))
        ]

    def create(self, name: str = "docs", **changes: object) -> Result:
        """Make an offline policy of the source folder."""
        words = ("policy", "create", name, "--source", self.source, "--offline")
        return typed(*words, *self.six(**changes))

    def findings(self, *words: object, code: int = Exit.OK) -> dict[str, dict[str, Any]]:
        """Return what a preflight finds, by the name of the check."""
        ended = typed("preflight", *words, "--json")
        assert ended.exit_code == code, ended.output
        return {each["check"]: each for each in json.loads(ended.stdout)["findings"]}

    def checked(self, *, code: int = Exit.OK, **changes: object) -> dict[str, dict[str, Any]]:
        """Return what a preflight of the page finds, with some of the fields changed."""
        return self.findings("--source", self.source, *self.six(**changes), code=code)


@contextmanager
def registered(folder: Path) -> Iterator[SourceComputer]:
    """Serve a cloud and register a computer with it; `OVERLAND_HOME` has to be `folder/home`."""
    (folder / "source").mkdir(parents=True)
    (folder / "source" / "letter.txt").write_text("plain words\n" * 100)
    (folder / "staging").mkdir()
    with LocalCloud(folder / "cloud-side", ManualClock(datetime.now(UTC))) as cloud:
        objects = create_objects_app(
            cloud.spaces, public_key=sign.public_key(cloud.grant_key), clock=cloud.clock
        )
        with (
            serving_app(objects, None) as object_url,
            serving_app(cloud.app, None, http=H11Protocol) as url,
        ):
            endpoints = Endpoints(url=url, object_url=object_url, ca_pem="")
            cloud.services = replace(cloud.services, endpoints=endpoints)
            cloud.app.state.services = cloud.services
            made = SourceComputer(folder=folder, cloud=cloud, world=cloud.world())
            _register(made)
            yield made


def _register(made: SourceComputer) -> None:
    admin = made.cloud.http(made.world.admin)
    credentials = admin.ok("POST", f"/v1/vaults/{made.world.vault_id}/credentials")
    (made.folder / "vault-credentials").write_text(json.dumps(credentials))
    issued = admin.ok(
        "POST", f"/v1/subscriptions/{made.world.subscription_id}/publish-settings", {}
    )
    made.publish_settings.write_text(issued["xml"])
    (made.folder / "passphrase").write_text("correct horse battery\n")
    for words in (
        (
            "init",
            "--passphrase-file",
            made.folder / "passphrase",
            "--recovery-kit",
            made.folder / "kit",
        ),
        ("register", "--vault-credentials", made.folder / "vault-credentials"),
    ):
        done = typed("agent", *words)
        assert done.exit_code == Exit.OK, done.output


class Terminal:
    """The program at a pseudo-terminal of its own, with a person who answers what is asked."""

    def __init__(self, words: Sequence[object], *, environment: dict[str, str]) -> None:
        ours, theirs = pty.openpty()
        self._ours = ours
        self.shown, self._seen = "", 0
        argv = [sys.executable, "-m", "overland", *(str(word) for word in words)]
        self._process = subprocess.Popen(
            ["sh", "-c", _AT_TERMINAL, "sh", *argv],
            env={**os.environ, **environment, "TERMINAL": os.ttyname(theirs), "COLUMNS": "200"},
            stdin=theirs,  # keeps it open until the shell has opened it by its name
            start_new_session=True,
            preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 - it does nothing that needs a lock
        )
        os.close(theirs)

    def until(self, text: str) -> str:
        """Read until the program shows a text; return what it showed up to and with that."""
        while text not in self.shown[self._seen :]:
            piece = self._read()
            assert piece, f"the program ended before it showed {text!r}:\n{self.shown}"
            self.shown += piece
        begin, self._seen = self._seen, self.shown.index(text, self._seen) + len(text)
        return self.shown[begin : self._seen]

    def answer(self, text: str) -> None:
        """Type a line."""
        os.write(self._ours, f"{text}\n".encode())

    def interrupt(self, key: bytes) -> int:
        """Press Ctrl-C (03) or Ctrl-D (04) until the program ends; return the exit code.

        A signal that comes right before a process begins to wait for a line wakes it only with
        the next one: that is so for every Python program, and a person presses again too.
        """
        os.write(self._ours, key)
        self._press_until_shown(key)
        self.until(_ECHOED[key])
        self._press_until_shown(key)
        return self.end()

    def _press_until_shown(self, key: bytes) -> None:
        """Press again as long as the program waits; one that is slow to end is left alone."""
        while not select.select([self._ours], [], [], _AGAIN_S)[0]:
            if state_of(self._process.pid) == "S":
                os.write(self._ours, key)

    def end(self) -> int:
        """Read to the end; return the exit code."""
        while piece := self._read():
            self.shown += piece
        os.close(self._ours)
        return self._process.wait(timeout=_PATIENCE_S)

    def _read(self) -> str:
        ready, _, _ = select.select([self._ours], [], [], _PATIENCE_S)
        if not ready:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the program says nothing and does not end:\n{self.shown}")
        try:
            return os.read(self._ours, 65536).decode("utf-8", "replace")
        except OSError:  # as Linux says that nobody is at the other end any more
            return ""


def _heed_ctrl_c() -> None:
    """Undo what whoever runs the tests in the background has: Ctrl-C ignored, and inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
