"""What to back up, and what came of it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from overland.agent.backup.lanes import Published
from overland.errors import RefusedError
from overland.format.point import Skipped, Statistics
from overland.packing.writer import DEFAULT_PACK_BYTES
from overland.sealing.seal import DEFAULT_LEVEL
from overland.source.chunker import DEFAULT_SIZES, Sizes
from overland.values import PointId, SeedId

__all__ = ["BackupPlan", "BackupResult", "RootUnreadable"]


class RootUnreadable(RefusedError):
    """A source root is not a folder, or cannot be opened; nothing was written."""

    code = "root-unreadable"

    def __init__(self, path: str, *, problem: str) -> None:
        super().__init__(f"{path} cannot be backed up: {problem}; check the policy's sources")
        self.path, self.problem = path, problem


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPlan:
    """What to back up, and what the recovery point is to be.

    Attributes:
        point_id: Of the new point.  Of a seed it may be the same again after a kill; over the
            network every run takes a new one, because a vault never replaces a point.
        kind: `seed` and `full` points stand for themselves, an `incremental` builds on `base`.
        seed_id: Of a seed, and of nothing else.
        base: The point that an incremental builds on: the policy's last.
        roots: Absolute paths of folders.
        include: Patterns, see `overland.source.rules`; empty for everything.
        exclude: Patterns.
        one_file_system: Whether to leave out what is mounted below the roots.
        never_enter: Folders that are ours: staging location, spool, state.
        policy: Name of the policy; hints are kept for each.
        host: Name of the source computer.
        sizes: Of chunks; a policy keeps them, because other sizes share no chunks.
        level: Of zstd.
        pack_bytes: When a pack is full.
        workers: Threads that read, compress and seal.
        expected_bytes: About how much will be read, for the progress; None if nobody knows.
    """

    point_id: PointId
    kind: Literal["seed", "incremental", "full"]
    seed_id: SeedId | None
    base: PointId | None
    roots: tuple[Path, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    one_file_system: bool
    never_enter: tuple[Path, ...]
    policy: str
    host: str
    sizes: Sizes = DEFAULT_SIZES
    level: int = DEFAULT_LEVEL
    pack_bytes: int = DEFAULT_PACK_BYTES
    workers: int = 2
    expected_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupResult:
    """A recovery point that is made, and safe.

    Attributes:
        point_id: Of the point.
        created_at: The instant that it stands for.
        objects: Everything that makes it whole beside its base, in the order of publishing: packs
            and index files, the point last.  MD5 for seeds only.
        statistics: As in the point.
        skipped: What is not in it, and why; at most 50,000, `statistics.skipped` counts them all.
        changed: Files that changed while they were read, three times over; they are in the point
            as they were read.
    """

    point_id: PointId
    created_at: datetime
    objects: tuple[Published, ...]
    statistics: Statistics
    skipped: tuple[Skipped, ...]
    changed: tuple[bytes, ...]
