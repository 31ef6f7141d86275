"""The sources of a plan: what kind each is, and the order in which they are read.

Streams come first, because what they say is of the instant they begin at; then the folders, those
that lie in no other before those that another one did not reach; then files, images and devices.
"""

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from overland.agent.backup.plan import BackupPlan, RootUnreadable, SourceFailed
from overland.agent.backup.selection import Selection
from overland.agent.backup.singles import Singles
from overland.agent.backup.walk import Walk
from overland.agent.backup.workers import Workers
from overland.format.point import Root, Skipped
from overland.source.scan import kind_of, reason_of

__all__ = ["Sources", "checked_sources", "read_sources"]


class Sources(msgspec.Struct):
    """The folders, files, images and devices of a plan, by their full paths."""

    folders: list[bytes] = msgspec.field(default_factory=list)
    files: list[bytes] = msgspec.field(default_factory=list)
    images: list[bytes] = msgspec.field(default_factory=list)
    devices: list[bytes] = msgspec.field(default_factory=list)

    @property
    def every(self) -> set[bytes]:
        """All of them."""
        return {*self.folders, *self.files, *self.images, *self.devices}


def checked_sources(plan: BackupPlan) -> Sources:
    """Return the plan's sources by their kind.

    Raises:
        RootUnreadable: One is not there, or is nothing that can be read.
    """
    assert plan.roots or plan.images or plan.streams, "a policy has sources"
    found = Sources()
    for path in plan.roots:
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            found.folders.append(os.fsencode(path))
        elif stat.S_ISREG(mode):
            found.files.append(os.fsencode(path))
        elif stat.S_ISBLK(mode):
            raise RootUnreadable(str(path), problem="a block device is named with --image")
        else:
            raise RootUnreadable(str(path), problem=f"{kind_of(mode)} has no content to back up")
    for path in plan.images:
        mode = _mode(path)
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise RootUnreadable(str(path), problem="an image is a file or a block device")
        kind = found.images if stat.S_ISREG(mode) else found.devices
        kind.append(os.fsencode(path))
    return found


def read_sources(
    plan: BackupPlan,
    sources: Sources,
    *,
    walk: Walk,
    singles: Singles,
    selection: Selection,
    workers: Workers,
) -> list[Root]:
    """Read everything, and return the roots of the point in the order of the plan.

    Raises:
        SourceFailed: Something that a first copy by drive must have could not be read.
        OSError: A folder cannot be opened, or the medium failed.
        OutOfSpace: The medium is full.
    """
    found: dict[bytes, Root] = {}

    def add(root: Root | Skipped) -> None:
        """Keep a root, or go on without it.

        Raises:
            SourceFailed: It was not read, and a first copy by drive must have it.
        """
        if isinstance(root, Root):
            found[root.path] = root
        elif plan.kind == "seed":
            raise SourceFailed(os.fsdecode(root.path), problem=root.reason)

    for stream in plan.streams:
        add(singles.read_stream(stream))
    waiting = sorted(set(sources.folders))
    while waiting:
        outer = _outer(waiting)
        for root in walk.run(outer, workers):
            found[root.path] = root
        waiting = [path for path in waiting if path not in found and path not in selection.reached]
    for read, paths in _single_readers(singles, sources):
        for path in paths:
            if path not in selection.reached:
                add(read(path))
    return sorted(found.values(), key=_place_in(plan))


def _mode(path: Path) -> int:
    if ".." in path.parts:
        raise RootUnreadable(str(path), problem="a path with '..' has no place in a restore")
    try:
        return path.stat().st_mode
    except OSError as error:
        raise RootUnreadable(str(path), problem=reason_of(error)) from None


def _outer(paths: Sequence[bytes]) -> list[bytes]:
    """Return those of the sorted paths that lie in none of the others."""
    found: list[bytes] = []
    inside = set(paths)
    for path in paths:
        parts = path.split(b"/")
        above = (b"/".join(parts[:depth]) or b"/" for depth in range(1, len(parts)))
        if path == b"/" or inside.isdisjoint(above):
            found.append(path)
    return found


def _single_readers(
    singles: Singles, sources: Sources
) -> list[tuple[Callable[[bytes], Root | Skipped], list[bytes]]]:
    return [
        (singles.read_file, sources.files),
        (singles.read_image, sources.images),
        (singles.read_device, sources.devices),
    ]


def _place_in(plan: BackupPlan) -> Callable[[Root], int]:
    paths = [os.fsencode(path) for path in (*plan.roots, *plan.images)]
    paths += [stream.path.encode() for stream in plan.streams]
    places = {path: place for place, path in reversed(list(enumerate(paths)))}
    return lambda root: places[root.path]
