"""Runs `overland` commands, each in the home folder of its machine, and tells what they did."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

__all__ = ["Journey", "StepFailed"]

_READY_S: Final = 60.0
_STOP_S: Final = 20.0


class StepFailed(Exception):
    """A command did not succeed; its own error was printed."""

    def __init__(self, machine: str, words: Sequence[str], code: int) -> None:
        super().__init__(f"{machine}: overland {shlex.join(words)} ended with exit code {code}")


class Journey:
    """One folder with a home for each machine, one running cloud, and a timeline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.endpoints: dict[str, str] = {}
        self._console = Console(soft_wrap=True, highlight=False)
        self._started = time.monotonic()
        self._ticks = 0
        self._cloud: subprocess.Popen[bytes] | None = None

    def title(self, text: str) -> None:
        """Begin a part of the timeline."""
        self._console.print(f"\n[bold]{_escaped(text)}[/]")

    def say(self, who: str, text: str) -> None:
        """Print one line of the timeline."""
        at_s = time.monotonic() - self._started
        self._console.print(f"[dim]{at_s:6.1f} s[/]  [cyan]{who:<16}[/] {_escaped(text)}")

    def plain(self, text: str) -> None:
        """Print a line that can be copied."""
        self._console.print(f"  {_escaped(text)}")

    def tick(self) -> int:
        """Return 1 at the first call, 2 at the second, and so on."""
        self._ticks += 1
        return self._ticks

    def run(self, machine: str, *words: str | Path) -> Any:  # noqa: ANN401 - the JSON it printed
        """Run `overland WORDS --json` on `machine` and return its result.

        Raises:
            StepFailed: It ended with another code than 0.
        """
        line = [str(word) for word in words]
        self._keep(machine, line)
        done = subprocess.run(
            [sys.executable, "-m", "overland", *line, "--json"],
            env=self._environment(machine),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        name = f"{self.tick():02d}-{machine}-{'-'.join(line[:2])}"
        results = self.folder / "results"
        results.mkdir(exist_ok=True)
        (results / f"{name}.json").write_bytes(done.stdout)
        (results / f"{name}.log").write_bytes(done.stderr)
        if done.returncode != 0:
            self.plain(done.stderr.decode("utf-8", "replace"))
            raise StepFailed(machine, line, done.returncode)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def serve(self, *options: str | Path) -> dict[str, str]:
        """Start the cloud on free ports; return its endpoints when it answers.

        Raises:
            StepFailed: It ended, or did not answer in time; `cloud.log` tells why.
        """
        line = ["cloud", "serve", "--port", "0", *map(str, options)]
        self._keep("cloud", line)
        with (self.folder / "cloud.log").open("ab") as log:
            self._cloud = subprocess.Popen(
                [sys.executable, "-m", "overland", *line],
                env=self._environment("cloud"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        ready = self.folder / "cloud" / "cloud" / "endpoints.json"
        until = time.monotonic() + _READY_S
        while not ready.is_file():
            if self._cloud.poll() is not None or time.monotonic() > until:
                raise StepFailed("cloud", line, self._cloud.poll() or 1)
            time.sleep(0.05)
        self.endpoints = json.loads(ready.read_bytes())
        return self.endpoints

    @property
    def cloud_pid(self) -> int:
        """The process that serves."""
        assert self._cloud is not None, "the cloud was started"
        return self._cloud.pid

    def vault_folder(self) -> Path:
        """Return the folder in which this computer's objects rest."""
        vaults = self.folder / "cloud" / "cloud" / "objects" / "vaults"
        return next((found.parent for found in vaults.glob("*/*/points")), vaults)

    def close(self, *, keep_serving: bool) -> None:
        """Stop the cloud, unless it is to go on."""
        if self._cloud is None or keep_serving:
            return
        self._cloud.send_signal(signal.SIGTERM)
        try:
            self._cloud.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._cloud.kill()
            self._cloud.wait()

    def _keep(self, machine: str, line: Sequence[str]) -> None:
        home = shlex.quote(str(self.folder / machine))
        with (self.folder / "commands.sh").open("a", encoding="utf-8") as file:
            file.write(f"OVERLAND_HOME={home} overland {shlex.join(line)}\n")

    def _environment(self, machine: str) -> dict[str, str]:
        return {**os.environ, "OVERLAND_HOME": str(self.folder / machine)}


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
