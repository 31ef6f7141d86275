"""What a restore was asked, what it did, and what it could not do."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from overland.agent.points.chunks import pack_of
from overland.agent.restore.metadata import Owners
from overland.agent.sources import Served
from overland.errors import (
    IntegrityError,
    ObjectAbsent,
    OverlandError,
    RefusedError,
)
from overland.format.tree import KIND_FIFO, KIND_FILE, KIND_SYMLINK, Entry
from overland.packing.reader import ChunkAbsent
from overland.values import path_text

__all__ = [
    "Conflict",
    "Problem",
    "Recorder",
    "RestoreIncomplete",
    "RestoreOptions",
    "RestoreReport",
    "Shortfall",
    "TargetOccupied",
]

Conflict = Literal["refuse", "overwrite", "keep-both", "skip"]
"""What becomes of an entry whose name is taken in the target.

`refuse`: nothing at all is restored; `overwrite`: it is replaced; `keep-both`: the restored one
gets a name beside it; `skip`: it stays, and is not restored.
"""

ProblemKind = Literal["absent", "corrupt", "failed", "occupied"]

_COUNTS: Final = {KIND_FILE: "files", KIND_SYMLINK: "symlinks", KIND_FIFO: "fifos"}
_SHOWN: Final = 20
_KEPT: Final = 10_000
"""So many problems and shortfalls are kept one by one; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    """How to restore.

    Attributes:
        on_conflict: What becomes of names that are taken.
        resume: Files that are there with the same length and time were restored by an earlier,
            interrupted run: leave them.
        verify: Read back from the medium what was written, and compare every chunk's id.
        owners: Whose the entries become.
        strip: A folder's full path on the source computer: what is below it comes directly into
            the target, instead of below its full path.
        workers: Threads that read, decode and write; more than processors help, because each
            also waits for the disk.
        processes: Processes that do so in their place; None for one for each processor, at most
            four, where there are many files and the system can; 0 for threads.
        sync: On return, all that was restored survives a power cut.
    """

    on_conflict: Conflict = "refuse"
    resume: bool = False
    verify: bool = False
    owners: Owners = "ids"
    strip: bytes = b"/"
    workers: int = 3
    processes: int | None = None
    sync: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that was not restored: its path on the source computer, and why.

    `absent`: no source has the bytes; `corrupt`: the sources have them damaged; `failed`: the
    target refused; `occupied`: something that came meanwhile has the name.
    """

    path: bytes
    kind: ProblemKind
    reason: str
    packs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """Something that was restored, but for one property, such as its owner."""

    path: bytes
    what: str
    reason: str


@dataclass(slots=True, kw_only=True)
class RestoreReport:
    """What a restore did.  Counts are complete; the two lists keep the first 10,000 each.

    Attributes:
        packs: The packs that no source could give, and the paths that need each of them, of the
            problems kept.
        lost: With chunks that no index knows: objects of this point, and of those it builds on,
            that are in no source.
        served: What came from which source.
    """

    files: int = 0
    folders: int = 0
    symlinks: int = 0
    fifos: int = 0
    hard_links: int = 0
    size_bytes: int = 0
    already_there: int = 0
    skipped: int = 0
    changed_while_read: int = 0
    verified_bytes: int = 0
    problem_count: int = 0
    shortfall_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    shortfalls: list[Shortfall] = field(default_factory=list)
    packs: dict[str, list[bytes]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    served: dict[str, Served] = field(default_factory=dict)


class TargetOccupied(RefusedError):
    """Entries of the target have the names of what is to be restored; nothing was changed."""

    code = "target-occupied"

    def __init__(self, paths: list[bytes], *, count: int) -> None:
        shown = ", ".join(f"'{path_text(path)}'" for path in paths[:_SHOWN])
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        super().__init__(
            f"the target has these already ({count} in all): {shown}{more}; nothing was restored. "
            "Choose another folder, or give --on-conflict overwrite, keep-both or skip"
        )
        self.paths, self.count = paths, count


class RestoreIncomplete(OverlandError):
    """Everything was restored but what the report names."""

    code = "restore-incomplete"

    def __init__(self, report: RestoreReport) -> None:
        shown = "; ".join(
            f"'{path_text(one.path)}': {one.reason}" for one in report.problems[:_SHOWN]
        )
        more = report.problem_count - len(report.problems[:_SHOWN])
        packs = ", ".join(sorted({*report.packs, *report.lost})[:_SHOWN])
        super().__init__(
            f"not restored ({report.problem_count} in all): {shown}"
            + (f"; and {more} more" if more else "")
            + (f". Needed and not readable anywhere: {packs}" if packs else "")
            + ". All else is restored; connect another copy and run again with --resume"
        )
        self.report = report


class Recorder:
    """Writes the report; for any thread."""

    def __init__(self) -> None:
        self.report = RestoreReport()
        self._lock = threading.Lock()

    def count(self, what: str, number: int = 1) -> None:
        """Add to one of the report's counts."""
        with self._lock:
            setattr(self.report, what, getattr(self.report, what) + number)

    def count_entry(self, entry: Entry) -> None:
        """Count a restored entry that is no folder."""
        what = _COUNTS[entry.kind]
        with self._lock:
            setattr(self.report, what, getattr(self.report, what) + 1)
            self.report.size_bytes += entry.size_bytes
            self.report.changed_while_read += entry.changed

    def lacking(self, what: str, path: bytes, reason: str) -> None:
        """Note a property that could not be put back."""
        with self._lock:
            self.report.shortfall_count += 1
            if len(self.report.shortfalls) < _KEPT:
                self.report.shortfalls.append(Shortfall(path=path, what=what, reason=reason))

    def take_shortfalls(self) -> tuple[int, list[Shortfall]]:
        """Return how many properties could not be put back, and which; forget them."""
        with self._lock:
            taken = self.report.shortfall_count, self.report.shortfalls
            self.report.shortfall_count, self.report.shortfalls = 0, []
        return taken

    def add_shortfalls(self, count: int, shortfalls: list[Shortfall]) -> None:
        """Note what `take_shortfalls` gave in another process."""
        with self._lock:
            self.report.shortfall_count += count
            room = _KEPT - len(self.report.shortfalls)
            self.report.shortfalls += shortfalls[:room]

    def problem(self, path: bytes, error: Exception, packs: Iterable[str] = ()) -> None:
        """Note an entry that was not restored."""
        found = pack_of(error)
        named = tuple(sorted({*packs, found} if found else packs))
        kind = _kind_of(error)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        with self._lock:
            self.report.problem_count += 1
            is_kept = len(self.report.problems) < _KEPT
            if is_kept:
                problem = Problem(path=path, kind=kind, reason=reason, packs=named)
                self.report.problems.append(problem)
            for pack in named:
                if pack in self.report.packs or len(self.report.packs) < _KEPT:
                    self.report.packs.setdefault(pack, []).extend([path] if is_kept else [])


def _kind_of(error: Exception) -> ProblemKind:
    match error:
        case ObjectAbsent() | ChunkAbsent():
            return "absent"
        case IntegrityError():
            return "corrupt"
        case FileExistsError() | IsADirectoryError() | NotADirectoryError():
            return "occupied"
        case _:
            return "failed"
