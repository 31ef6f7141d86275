"""What to back up, and what came of it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from overland.agent.backup.publisher import Published
from overland.errors import RefusedError
from overland.format.point import Skipped, Statistics
from overland.source.chunker import DEFAULT_SIZES, IMAGE_SIZES, Sizes
from overland.source.marks import NO_MARKS, Marks
from overland.source.streams import StreamSource
from overland.values import PointId, SeedId

__all__ = [
    "DEFAULT_LEVEL",
    "FULL_PACK_BYTES",
    "BackupPlan",
    "BackupResult",
    "Elsewhere",
    "RootUnreadable",
    "SourceFailed",
]

DEFAULT_LEVEL: Final = 1
"""Of zstd; on mixed data 0.71 times the time of level 3, for the same size."""

FULL_PACK_BYTES: Final = 64 << 20
"""When a pack is full, if nothing else is said."""

Elsewhere = Callable[[bytes, int], bytes | None]
"""Tells where to read what has this full path and inode, if not there: see `SnapshotView`."""


class RootUnreadable(RefusedError):
    """A source cannot be opened, or is of a kind that has no content; nothing was written."""

    code = "root-unreadable"

    def __init__(self, path: str, *, problem: str) -> None:
        super().__init__(f"{path} cannot be backed up: {problem}; check the policy's sources")
        self.path, self.problem = path, problem


class SourceFailed(RefusedError):
    """A command, an image or a file that a policy names could not be read to its end.

    Of a first copy by drive nothing is finished then: its drives could not be given the rest.
    """

    code = "source-failed"

    def __init__(self, path: str, *, problem: str) -> None:
        super().__init__(
            f"{path} is not in the first copy: {problem}; what is staged stays, so put it right "
            "and run the same command again"
        )
        self.path, self.problem = path, problem


class BackupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to back up, and what the recovery point is to be.

    Attributes:
        point_id: Of the new point.  Of a seed it may be the same again after a kill; over the
            network every run takes a new one, because a vault never replaces a point.
        kind: `seed` and `full` points stand for themselves, an `incremental` builds on `base`.
        seed_id: Of a seed, and of nothing else.
        base: The point that an incremental builds on: the policy's last.
        roots: Absolute paths of folders and files.  One that lies in another is backed up by its
            own rules, whatever the other's say, and stands in the tree of the other if that
            reaches it.
        include: Patterns, see `overland.source.rules`; empty for everything.
        exclude: Patterns.
        marks: What else is left out.
        one_file_system: Whether to leave out what is mounted below the roots.
        never_enter: Folders that are ours: staging location, spool, state.
        policy: Name of the policy; hints are kept for each.
        host: Name of the source computer.
        images: Absolute paths of block devices and image files, read in small chunks.
        streams: What becomes one file each; read first, so that it is near the point's instant.
        elsewhere: Where to read what is in a snapshot.
        confirm: Returns if the snapshots held until all was read, and raises otherwise.
        sizes: Of chunks; a policy keeps them, because other sizes share no chunks.
        image_sizes: Of the chunks of images and streams.
        reads_all: Whether to read every file again, whatever the last run knew of it.
        level: Of zstd.
        pack_bytes: When a pack is full.
        first_pack_bytes: When the first packs of a run are full, which later ones outgrow; less
            than `pack_bytes` where packs are sent while the run goes on.
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
    marks: Marks = NO_MARKS
    one_file_system: bool
    never_enter: tuple[Path, ...]
    policy: str
    host: str
    images: tuple[Path, ...] = ()
    streams: tuple[StreamSource, ...] = ()
    elsewhere: Elsewhere | None = None
    confirm: Callable[[], None] = lambda: None
    sizes: Sizes = DEFAULT_SIZES
    image_sizes: Sizes = IMAGE_SIZES
    reads_all: bool = False
    level: int = DEFAULT_LEVEL
    pack_bytes: int = FULL_PACK_BYTES
    first_pack_bytes: int = FULL_PACK_BYTES
    workers: int = 2
    expected_bytes: int | None = None


class BackupResult(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery point that is made, and safe.

    Attributes:
        point_id: Of the point.
        created_at: The instant that it stands for.
        objects: Everything that makes it whole beside its base, in the order of publishing: packs
            and index files, the point last.
        statistics: As in the point.
        skipped: What is not in it, and why; at most 50,000, `statistics.skipped` counts them all.
        failed: Those of `skipped` that the plan names: streams, images and files.
        changed: Files that changed while they were read, three times over; they are in the point
            as they were read.
    """

    point_id: PointId
    created_at: datetime
    objects: Sequence[Published]
    statistics: Statistics
    skipped: tuple[Skipped, ...]
    failed: tuple[Skipped, ...]
    changed: tuple[bytes, ...]
