"""Measure the data path on this machine: back up, back up again, change a little, restore, check.

    ./dev bench --size-mib 2048 --small-files 20000 [--json] [--folder /var/tmp]

Rates count the source's bytes.  Figures depend on the machine and on what else it does; compare
those of one run, or of runs side by side.
"""

import argparse
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import structlog

from overland.adapters.clock import SystemClock
from overland.adapters.folderobjects import FolderObjects
from overland.adapters.posix import PosixFiles
from overland.agent.backup.run import BackupPlan, BackupResult, back_up
from overland.agent.check.run import check
from overland.agent.compare import compare_trees
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import ReadKeys, open_point
from overland.agent.repository import Repository
from overland.agent.restore.report import RestoreOptions
from overland.agent.restore.run import restore
from overland.agent.sources import LayeredObjects
from overland.crypto.keys import MasterKey, Purpose
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key, public_key
from overland.ports.progress import NullProgress
from overland.values import PointId, RepositoryId, SeedId

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.data import generate

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

T = TypeVar("T")

_SETTLE_S = 2.5  # files younger than this are not trusted to be unchanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One phase."""

    phase: str
    wall_s: float
    cpu_s: float
    files: int
    size_bytes: int
    stored_bytes: int
    peak_rss_mib: int


@dataclass(slots=True, kw_only=True)
class Bench:
    """The folders and the repository of one benchmark."""

    work: Path
    files: int
    size_bytes: int
    workers: int
    level: int
    master: MasterKey
    signing: Secret
    repository_id: RepositoryId

    @property
    def source(self) -> Path:
        """What is backed up."""
        return self.work / "source"

    def repository(self) -> Repository:
        """Open the repository, as a new process would."""
        state = self.work / "state"
        return Repository(
            repository_id=self.repository_id,
            master_key=self.master,
            signing_key=self.signing,
            state=PosixFiles(state),
            state_folder=state,
        )

    def read_keys(self) -> ReadKeys:
        """Return the keys for restoring."""
        return ReadKeys(
            repository_id=self.repository_id,
            signing_public_key=public_key(self.signing),
            chunk_id=self.master.subkey(Purpose.CHUNK_ID),
            segment=self.master.subkey(Purpose.SEGMENT),
            index=self.master.subkey(Purpose.INDEX),
            point=self.master.subkey(Purpose.POINT),
        )

    def objects(self, out: str) -> FolderObjects:
        """Return what lies in the folder `out`."""
        return FolderObjects(PosixFiles(self.work / out))

    def restore(self, point: PointId) -> None:
        """Restore a point of the folder `seed`."""
        layered = LayeredObjects([("seed", self.objects("seed"))])
        keys = self.read_keys()
        store = ChunkStore(layered, keys)
        store.load_index()
        restore(
            open_point(layered, keys, point),
            store=store,
            target=os.fsencode(self.work / "restored"),
            progress=NullProgress(),
            options=RestoreOptions(
                strip=os.fsencode(self.source), workers=self.workers, sync=False
            ),
        )

    def check(self) -> None:
        """Check the folder `seed`."""
        report = check(
            self.objects("seed"),
            progress=NullProgress(),
            keys=self.read_keys(),
            workers=self.workers,
        )
        assert not report.findings, report.findings

    def back_up(self, out: str, *, base: PointId | None) -> BackupResult:
        """Make a point in the folder `out`."""
        seed = None if base else SeedId(str(uuid4()))
        plan = BackupPlan(
            point_id=PointId(str(uuid4())),
            kind="incremental" if base else "seed",
            seed_id=seed,
            base=base,
            roots=(self.source,),
            include=(),
            exclude=(),
            one_file_system=True,
            never_enter=(),
            policy="bench",
            host="bench",
            workers=self.workers,
            level=self.level,
        )
        (self.work / out).mkdir(exist_ok=True)
        return back_up(
            plan,
            repository=self.repository(),
            out=PosixFiles(self.work / out),
            clock=SystemClock(),
            progress=NullProgress(),
        )


def main() -> None:
    """Run the benchmark and print what came out."""
    options = _options()
    work = Path(tempfile.mkdtemp(prefix="overland-bench-", dir=options.folder))
    try:
        phases = _measure_all(work, options)
    finally:
        if not options.keep:
            shutil.rmtree(work)
    if options.json:
        print(json.dumps([asdict(phase) for phase in phases], indent=2))
    else:
        _print_table(phases)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--small-files", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def _measure_all(work: Path, options: argparse.Namespace) -> list[Measured]:
    (work / "state").mkdir()
    files, size_bytes = _generated(work / "source", options)
    bench = Bench(
        work=work,
        files=files,
        size_bytes=size_bytes,
        workers=options.workers,
        level=options.level,
        master=MasterKey(Secret(os.urandom(32))),
        signing=generate_signing_key(os.urandom),
        repository_id=RepositoryId(str(uuid4())),
    )
    time.sleep(_SETTLE_S)
    phases: list[Measured] = []
    first = _measured(bench, phases, "first", lambda: bench.back_up("seed", base=None))
    second = _measured(
        bench, phases, "unchanged", lambda: bench.back_up("spool", base=first.point_id)
    )
    _measured(bench, phases, "restore", lambda: bench.restore(first.point_id))
    differences = compare_trees(bench.source, work / "restored").differences
    assert not differences, differences[:10]
    shutil.rmtree(work / "restored")
    _measured(bench, phases, "check", bench.check)
    _change(bench.source)
    _measured(bench, phases, "incremental", lambda: bench.back_up("spool", base=second.point_id))
    return phases


def _generated(folder: Path, options: argparse.Namespace) -> tuple[int, int]:
    """Make the data in another process, so that its memory does not count as ours."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        made = pool.submit(
            generate,
            folder,
            size_bytes=options.size_mib << 20,
            small_files=options.small_files,
        )
        return made.result()


def _change(source: Path) -> None:
    """Touch one small file in fifty, and a few places in every image."""
    for path in sorted((source / "source").rglob("*.c"))[::50]:
        with path.open("ab") as file:
            file.write(b"int changed;\n")
    for path in sorted((source / "images").rglob("*.bin")):
        with path.open("r+b") as file:
            for place in range(0, path.stat().st_size, 64 << 20):
                file.seek(place)
                file.write(b"changed block" * 300)


def _measured(bench: Bench, phases: list[Measured], phase: str, work: Callable[[], T]) -> T:
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts from here
    before, wall = _cpu_s(), time.monotonic()
    result = work()
    wall_s, cpu_s = time.monotonic() - wall, _cpu_s() - before
    stored = result.statistics.stored_bytes if isinstance(result, BackupResult) else 0
    phases.append(
        Measured(
            phase=phase,
            wall_s=round(wall_s, 3),
            cpu_s=round(cpu_s, 3),
            files=bench.files,
            size_bytes=bench.size_bytes,
            stored_bytes=stored,
            peak_rss_mib=_peak_rss_mib(),
        )
    )
    return result


def _peak_rss_mib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _print_table(phases: list[Measured]) -> None:
    print(
        f"{'phase':<12}{'wall s':>9}{'cpu s':>9}{'MB/s':>9}{'files/s':>10}"
        f"{'stored MB':>11}{'peak MiB':>10}"
    )
    for phase in phases:
        print(
            f"{phase.phase:<12}{phase.wall_s:>9.2f}{phase.cpu_s:>9.2f}"
            f"{phase.size_bytes / 1e6 / phase.wall_s:>9.0f}{phase.files / phase.wall_s:>10.0f}"
            f"{phase.stored_bytes / 1e6:>11.1f}{phase.peak_rss_mib:>10}"
        )


if __name__ == "__main__":
    main()
