"""Trees of tiny files, and a backup of one in this process, measured; for `bench.scale`."""

import os
import resource
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from overland.adapters.posix import PosixFiles
from overland.agent.backup.plan import BackupPlan
from overland.agent.backup.run import back_up
from overland.agent.repository import ObjectReader, Repository
from overland.crypto.keys import MasterKey
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key
from overland.format.point import Statistics
from overland.ports.progress import NullProgress
from overland.values import PointId, RepositoryId

__all__ = [
    "POLICY",
    "REPOSITORY",
    "Figures",
    "Used",
    "backed_up",
    "make_tree",
    "measured",
    "peak_mib",
    "plan_of",
    "point",
    "repository_in",
]

POLICY: Final = "scale"
REPOSITORY: Final = RepositoryId(str(uuid.UUID(int=1)))
_FILE_BYTES: Final = 40

Figures = dict[str, Any]  # what JSON takes


class Used(NamedTuple):
    """Seconds of wall and of processor, in the program and in the system for it; and blocks."""

    wall_s: float
    user_s: float
    system_s: float
    read_mib: float

    @property
    def cpu_s(self) -> float:
        """Seconds of processor."""
        return self.user_s + self.system_s


class _SettledClock:
    """Real instants, ahead so far that a file made just now counts as settled."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=1)

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def measured(work: Callable[[], object]) -> Used:
    """Return what the work took of this process, and of those that it started and ended."""
    wall, before = time.monotonic(), _used()
    work()
    wall_s = time.monotonic() - wall
    user_s, system_s, read_mib = (now - was for now, was in zip(_used(), before, strict=True))
    return Used(wall_s, user_s, system_s, read_mib)


def _used() -> tuple[float, float, float]:
    """Return seconds of the program, of the system, and MiB read from disks, until now."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return (
        sum(used.ru_utime for used in both),
        sum(used.ru_stime for used in both),
        sum(used.ru_inblock for used in both) / 2048,
    )


def peak_mib() -> int:
    """Return how much memory this process has had at most, since its program was started."""
    # Not `ru_maxrss`, which begins with what the process had that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    [peak_kib] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peak_kib) // 1024


def make_tree(tree: Path, numbers: range, *, per_folder: int | None) -> None:
    """Add files with these numbers, all to one folder or so many to each."""
    step = per_folder or max(1, len(numbers))
    for first in range(numbers.start, numbers.stop, step):
        number = first // per_folder if per_folder else 0
        folder = tree / f"{number // 100:05d}" / f"{number % 100:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        for each in range(first, min(first + step, numbers.stop)):
            file = os.open(f"file-{each:08d}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            os.write(file, b"%0*d" % (_FILE_BYTES, each))
            os.close(file)
        os.close(fd)


def repository_in(state: Path) -> Repository:
    """Return the repository whose hints lie in a folder, which is made."""
    state.mkdir(parents=True, exist_ok=True)
    return Repository(
        repository_id=REPOSITORY,
        master_key=MasterKey(Secret(b"m" * 32)),
        signing_key=generate_signing_key(lambda size: b"s" * size),
        state=PosixFiles(state),
        state_folder=state,
    )


def point(number: int) -> PointId:
    """Return the id of the repository's point with this number."""
    return PointId(str(uuid.UUID(int=number)))


def plan_of(*roots: Path, number: int, base: int | None) -> BackupPlan:
    """Return the plan of the point with this number, on the one with number `base` if any."""
    return BackupPlan(
        point_id=point(number),
        kind="full" if base is None else "incremental",
        seed_id=None,
        base=None if base is None else point(base),
        roots=roots,
        include=(),
        exclude=(),
        one_file_system=False,
        never_enter=(),
        policy=POLICY,
        host="scale",
    )


def backed_up(plan: BackupPlan, state: Path, out: Path, stored: Iterable[ObjectReader]) -> Figures:
    """Make the point in the folder `out`; return what it took.

    `cpu_us_per_file` is the sum of `user_us_per_file`, which the program took itself, and of what
    the system took for it: files, mostly.
    """
    repository = repository_in(state)
    out.mkdir()
    before_mib, found = peak_mib(), list[Statistics]()

    def work() -> None:
        made = back_up(
            plan,
            repository=repository,
            out=PosixFiles(out),
            clock=_SettledClock(),
            progress=NullProgress(),
            stored=[*stored],
        )
        found.append(made.statistics)

    used = measured(work)
    [statistics] = found
    files = statistics.files
    return {
        "files": files,
        "new_chunks": statistics.new_chunks,
        "wall_s": round(used.wall_s, 2),
        "cpu_s": round(used.cpu_s, 2),
        "read_mib": round(used.read_mib, 1),
        "cpu_us_per_file": round(used.cpu_s / files * 1e6, 2),
        "user_us_per_file": round(used.user_s / files * 1e6, 2),
        "peak_mib": peak_mib(),
        "before_mib": before_mib,
    }
