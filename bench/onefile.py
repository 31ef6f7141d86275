"""Measures what one file out of a large recovery point costs: seconds, and bytes read.

Run as `.venv/bin/python bench/onefile.py [--folders N] [--files N] [--work FOLDER]`.  It makes a
tree of tiny files, backs it up with the real backup, removes the tree, and then restores files
from here and there with the real command, each in a process of its own.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Final
from uuid import uuid4

from overland.adapters.clock import SystemClock
from overland.adapters.posix import PosixFiles
from overland.agent.backup.run import BackupPlan, back_up
from overland.agent.repository import Repository
from overland.crypto.keyring import encode_keyring
from overland.crypto.keys import new_keyring, signing_key
from overland.ports.progress import NullProgress
from overland.source.chunker import Sizes
from overland.values import PointId, RepositoryId, keyring_name

PASSPHRASE: Final = "a passphrase for measuring"
LIMIT_S: Final = 2.0
LIMIT_MIB: Final = 16
KIB: Final = 1 << 10


def main() -> int:
    """Measure; return 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folders", type=int, default=1000)
    parser.add_argument("--files", type=int, default=1000, help="in each folder")
    parser.add_argument("--restores", type=int, default=5)
    parser.add_argument("--work", type=Path, help="keep the repository here, and use it again")
    given = parser.parse_args()
    with _work_folder(given.work) as work:
        if not (work / "repository").exists():
            _make_repository(work, folders=given.folders, files=given.files)
        _restore(work, random.Random(0), folders=given.folders, files=given.files)  # compiles all
        runs = [
            _restore(work, random.Random(seed), folders=given.folders, files=given.files)
            for seed in range(given.restores)
        ]
        start_s = _start_s(work)
    seconds, mib = (max(column) for column in zip(*runs, strict=True))
    print(
        f"one file of {given.folders * given.files:,}: "
        f"{statistics.median(run[0] for run in runs):.2f} s (at most {seconds:.2f}), "
        f"{mib:.2f} MiB read at most; the command's start alone {start_s:.2f} s"
    )
    return int(seconds > LIMIT_S or mib > LIMIT_MIB)


@contextmanager
def _work_folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    made = Path(mkdtemp(prefix="overland-onefile-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def _name(folder: int, file: int) -> str:
    return f"folder-{folder:04}/file-{file:04}"


def _content(folder: int, file: int) -> bytes:
    return f"{folder} {file}\n".encode() * (1 + file % 40)


def _make_repository(work: Path, *, folders: int, files: int) -> None:
    source = work / "source"
    for folder in range(folders):
        (source / f"folder-{folder:04}").mkdir(parents=True)
        for file in range(files):
            fd = os.open(source / _name(folder, file), os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(fd, _content(folder, file))
            os.close(fd)
    repository_id = RepositoryId(str(uuid4()))
    document, master, _ = new_keyring(PASSPHRASE, repository_id=repository_id, random=os.urandom)
    (work / "state").mkdir()
    unfinished = work / "unfinished"
    unfinished.mkdir()
    out = PosixFiles(unfinished)
    out.write(keyring_name(1), encode_keyring(document))
    (work / "passphrase").write_text(PASSPHRASE)
    began = time.perf_counter()
    back_up(
        BackupPlan(
            point_id=PointId(str(uuid4())),
            kind="full",
            seed_id=None,
            base=None,
            roots=(source,),
            include=(),
            exclude=(),
            one_file_system=True,
            never_enter=(),
            policy="bench",
            host="bench",
            sizes=Sizes(min_bytes=64 * KIB, mean_bytes=256 * KIB, max_bytes=1024 * KIB),
            pack_bytes=64 << 20,
        ),
        repository=Repository(
            repository_id=repository_id,
            master_key=master,
            signing_key=signing_key(document, master),
            state=PosixFiles(work / "state"),
            state_folder=work / "state",
        ),
        out=out,
        clock=SystemClock(),
        progress=NullProgress(),
        stored=[],
    )
    seconds = time.perf_counter() - began
    print(f"backed up at {datetime.now(UTC):%H:%M:%S} in {seconds:.1f} s", file=sys.stderr)
    shutil.rmtree(source)
    unfinished.rename(work / "repository")


def _restore(work: Path, chosen: random.Random, *, folders: int, files: int) -> tuple[float, float]:
    """Restore one file; return seconds and MiB read."""
    folder, file = chosen.randrange(folders), chosen.randrange(files)
    target = work / "target"
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "overland", "restore", "newest"]
    command += [f"{work}/source/{_name(folder, file)}", "--target", str(target), "--json"]
    command += ["--from", f"{work}/repository", "--passphrase-file", f"{work}/passphrase"]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, env=_environment(work))
    seconds = time.perf_counter() - began
    found = Path(f"{target}{work}/source/{_name(folder, file)}").read_bytes()
    assert found == _content(folder, file), "the restored byte is the byte that was backed up"
    served = json.loads(done.stdout)["served_bytes"]
    return seconds, sum(served.values()) / (1 << 20)


def _start_s(work: Path) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "overland", "--version"]
    subprocess.run(command, check=True, capture_output=True, env=_environment(work))
    return time.perf_counter() - began


def _environment(work: Path) -> dict[str, str]:
    """Let the program keep its compiled modules, as an installed one does."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    own = {"OVERLAND_HOME": str(work / "home"), "PYTHONPYCACHEPREFIX": str(work / "compiled")}
    return kept | own


if __name__ == "__main__":
    sys.exit(main())
