"""Finds the tools to compare with, or fetches them below `.dev/bench`, without changing the system.

restic comes as the newest package that Debian offers in any suite: a static program, unpacked
from its package, from the same mirror that this system uses.  borg comes from PyPI into a virtual
environment of its own.  What cannot be had is said, and the benchmark goes on without it.
`rm -r .dev/bench` makes the next run look for newer ones.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

__all__ = ["borg_program", "restic_program"]

_HOME: Final = Path(__file__).resolve().parent.parent / ".dev" / "bench"
_NEWEST_SUITE: Final = "sid"
_BORG: Final = "borgbackup~=1.4.0"
_BORG_NEEDS: Final = (
    "gcc",
    "libacl1-dev",
    "liblz4-dev",
    "libssl-dev",
    "libxxhash-dev",
    "libzstd-dev",
    "pkg-config",
    "python3-dev",
)

Say = Callable[[str], None]


def restic_program(say: Say) -> Path | None:
    """Return restic: the newest of Debian, else the one of PATH, else one that apt installs."""
    program = _HOME / "restic" / "usr" / "bin" / "restic"
    if program.exists():
        return program
    say("fetching the newest restic that Debian offers ...")
    if _fetch_restic():
        return program
    say("that did not work; taking the restic of this system")
    if shutil.which("restic") is None:
        _apt_install("restic")
    found = shutil.which("restic")
    return Path(found) if found else None


def borg_program(say: Say) -> Path | None:
    """Return borg from a virtual environment of its own; its build takes a minute."""
    venv = _HOME / "borg"
    program = venv / "bin" / "borg"
    if program.exists():
        return program
    say("building borg ...")
    if not _try([sys.executable, "-m", "venv", venv]):
        return None
    install: list[str | Path] = [venv / "bin" / "pip", "install", "--quiet", _BORG]
    if not _try(install):
        _apt_install(*_BORG_NEEDS)
        _try(install)
    return program if program.exists() else None


def _fetch_restic() -> bool:
    """Unpack the newest package, with package lists of our own, not the system's."""
    sites = _output(["apt-get", "indextargets", "--format", "$(LABEL) $(SITE)"]).splitlines()
    site = next((line.split()[1] for line in sites if line.startswith("Debian ")), None)
    if site is None:
        return False
    work = _HOME / "apt"
    shutil.rmtree(work, ignore_errors=True)
    for name in ("lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (work / "sources.list").write_text(f"deb [signed-by={keys}] {site} {_NEWEST_SUITE} main\n")
    options = [
        f"Dir::Etc::sourcelist={work / 'sources.list'}",
        "Dir::Etc::sourceparts=/dev/null",
        f"Dir::State::lists={work / 'lists'}",
        f"Dir::Cache={work / 'cache'}",
        f"APT::Sandbox::User={os.environ.get('USER', 'root')}",
    ]
    apt = ["apt-get", *(word for option in options for word in ("-o", option))]
    for words in (["update"], ["download", "restic"]):
        if not _try([*apt, *words], folder=work):
            return False
    package = next(work.glob("restic_*.deb"))
    unpacked = _HOME / "restic.new"
    shutil.rmtree(unpacked, ignore_errors=True)
    if not _try(["dpkg-deb", "--extract", package, unpacked]):
        return False
    shutil.rmtree(work)
    if not _try([unpacked / "usr" / "bin" / "restic", "version"]):
        return False
    unpacked.rename(_HOME / "restic")  # so whatever has this name is whole
    return True


def _apt_install(*packages: str) -> None:
    if os.geteuid() == 0:
        _try(["apt-get", "update"])
        _try(["apt-get", "install", "--yes", "--no-install-recommends", *packages])


def _try(command: Sequence[str | Path], *, folder: Path | None = None) -> bool:
    """Run a command quietly; return whether it succeeded."""
    _HOME.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, cwd=folder or _HOME, capture_output=True, check=False)
    except OSError:  # there is no such program here
        return False
    return done.returncode == 0


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
