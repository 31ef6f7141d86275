"""Snapshots of the source's file systems, so that all of a source is read as of one instant.

A snapshot is taken of the btrfs subvolume, ZFS dataset or logical volume that a source lies in,
read under the source's own paths, and removed afterwards.  Its name has the repository's id in it,
and eight random digits; what a killed run left is found by that name, and removed before the next
one is taken.  What has another name, can be written to, or is no snapshot, stays.  A run holds the
lock of the agent's home folder, so that no snapshot of the repository is in use when the next run
looks.

A snapshot stops at what is mounted in it, and at subvolumes in it: these are read as they are
while the backup runs, unless they are sources themselves.  Snapshots of several file systems are
taken one after the other.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from overland.events import Log
from overland.ports.programs import ProgramAbsent, Programs
from overland.source.logicalvolumes import FILE_SYSTEMS, LogicalVolumes
from overland.source.snapshotkinds import (
    Btrfs,
    Method,
    Mount,
    SnapshotImpossible,
    SnapshotLost,
    Zfs,
    below,
    read_mounts,
)
from overland.source.snapshotview import DEFAULT_PERCENT, SnapshotMode, SnapshotView, lies_in

__all__ = ["snapshots"]

log = Log()


@contextlib.contextmanager
def snapshots(
    sources: Sequence[bytes],
    *,
    mode: SnapshotMode,
    repository_id: str,
    programs: Programs,
    folder: Path,
    percent: int = DEFAULT_PERCENT,
    random: Callable[[int], bytes] = os.urandom,
    mounts: Callable[[], list[Mount]] = read_mounts,
) -> Iterator[SnapshotView]:
    """Take snapshots of what the sources lie in, and remove them at the end.

    Args:
        sources: Full paths of folders and files.
        mode: `auto` takes those that can be taken, and notes the others; the others insist.
        repository_id: Part of the names, so that only this repository's are ever removed.
        programs: Runs the file systems' tools.
        folder: Of ours, where to mount snapshots of logical volumes.
        percent: Room for such a one, as a part of the volume, where the volume is not thin.
        random: Makes the names differ.
        mounts: Tells what is mounted.

    Raises:
        SnapshotImpossible, ProgramAbsent, OSError: A snapshot that the mode insists on cannot be
            taken; those before it are removed.
    """
    view = SnapshotView()
    if mode == "none":
        yield view
        return
    methods: dict[str, Method] = {"btrfs": Btrfs(programs), "zfs": Zfs(programs, mounts=mounts)}
    volumes = LogicalVolumes(programs, folder=folder, percent=percent, mounts=mounts)
    methods |= dict.fromkeys(FILE_SYSTEMS, volumes)
    prefix = f"overland-snapshot-{repository_id[:8]}-"
    taker = _Taker(
        mode,
        methods,
        names=(prefix, lambda: prefix + random(4).hex()),
        mounts=mounts(),
        view=view,
    )
    try:
        for source in sources:
            taker.add(source)
        yield view
    finally:
        taker.remove_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A snapshot of this run."""

    method: Method
    mount: Mount
    name: str
    where: bytes


@final
class _Taker:
    """The snapshots of one run."""

    def __init__(
        self,
        mode: SnapshotMode,
        methods: dict[str, Method],
        *,
        names: tuple[str, Callable[[], str]],
        mounts: list[Mount],
        view: SnapshotView,
    ) -> None:
        self._mode, self._methods, self._view = mode, methods, view
        self._prefix, self._new_name = names
        self._mounts = mounts
        self._taken: dict[bytes, _Taken] = {}

    def add(self, source: bytes) -> None:
        """Have a source read in a snapshot, or note why it is not."""
        try:
            real = os.path.realpath(source)
            mount = _mount_of(real, self._mounts)
            unit, taken = self._snapshot(real, mount)
        except (SnapshotImpossible, ProgramAbsent, OSError) as error:
            if self._mode != "auto":
                raise
            self._view.add_living(source, str(error))
            return
        inside = real[len(unit) :].lstrip(b"/")
        self._view.add(
            source,
            below(taken.where, inside) if inside else taken.where,
            # A source may have a link in its path, and the system tells of mounts by real paths.
            mounted=[
                below(source, mount.path[len(real) :].lstrip(b"/"))
                for mount in self._mounts
                if lies_in(mount.path, real) and mount.path != real
            ],
            leaves_stubs=taken.method.leaves_stubs,
        )

    def remove_all(self) -> None:
        """Remove what was taken; what cannot be removed is left to the next run."""
        for unit, it in self._taken.items():
            try:
                it.method.remove(unit, it.mount, it.name)
            except (SnapshotImpossible, ProgramAbsent, OSError) as error:
                log.warning("snapshot.left", name=it.name, problem=str(error))

    def _snapshot(self, path: bytes, mount: Mount) -> tuple[bytes, _Taken]:
        method = self._methods.get(mount.kind)
        if method is None or self._mode not in {"auto", method.mode}:
            problem = f"it lies in a file system of the kind {mount.kind}"
            raise SnapshotImpossible(os.fsdecode(path), problem=problem)
        unit = method.unit_of(path, mount)
        if unit is None:
            problem = "the top folder of its subvolume is not mounted"
            raise SnapshotImpossible(os.fsdecode(path), problem=problem)
        if unit not in self._taken:
            self._take(method, unit, mount)
        return unit, self._taken[unit]

    def _take(self, method: Method, unit: bytes, mount: Mount) -> None:
        # What is mounted in two places shows snapshots of this very run in the second.
        ours = {it.name for it in self._taken.values()}
        for name in method.names(unit, mount, self._prefix):
            if name not in ours:
                self._remove_left(method, unit, mount, name)
        name = self._new_name()
        where = method.take(unit, mount, name)
        self._taken[unit] = _Taken(method=method, mount=mount, name=name, where=where)

        def check() -> None:
            """Return if the snapshot still shows its instant.

            Raises:
                SnapshotLost: It does not, or nobody can tell.
            """
            if (loss := method.loss(unit, mount, name)) is not None:
                raise SnapshotLost(os.fsdecode(unit), problem=loss)

        self._view.watch(unit, where, check)
        log.info("snapshot.taken", name=name)

    def _remove_left(self, method: Method, unit: bytes, mount: Mount, name: str) -> None:
        """Remove what an earlier run left; what cannot be removed is noted, and in nobody's way."""
        try:
            method.remove(unit, mount, name)
        except (SnapshotImpossible, ProgramAbsent) as error:
            where = os.fsdecode(unit)
            problem = error.problem if isinstance(error, SnapshotImpossible) else error
            self._view.notes.append(f"{name} in {where} was not removed: {problem}")
        else:
            log.info("snapshot.removed", name=name)


def _mount_of(path: bytes, mounts: Sequence[Mount]) -> Mount:
    best = Mount(path=b"", kind="unknown", device=b"", number="", root=b"/")
    for mount in mounts:
        if lies_in(path, mount.path) and len(mount.path) >= len(best.path):
            best = mount  # a later one of the same path hides the earlier
    return best
