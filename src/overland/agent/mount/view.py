"""Recovery points as one tree of folders: a folder for each point, below it the point's roots.

Paths are of the mount: `/2026-11-22T205155Z/srv/harbour`.  What is not there is an `OSError` with
the number that a file system gives; what cannot be read is EIO, and the log says why.
"""

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Final

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import (
    Point,
    PointAbsent,
    ReadKeys,
    list_points,
    open_point,
)
from overland.agent.points.tree import UNREADABLE, PointTree, split_path
from overland.agent.sources import LayeredObjects
from overland.errors import KeyChangeMissing, NotAuthorised, RefusedError, TransientError
from overland.events import Log
from overland.format.point import PointPublic, Root
from overland.format.tree import KIND_FOLDER, Entry
from overland.ports.clock import Clock
from overland.values import PointId

__all__ = ["LATEST", "Attributes", "Place", "PointsView", "failed_as_eio"]

LATEST: Final = b"latest"
_KEPT_ENTRIES: Final = 1 << 16
"""Entries of folders kept for the next look: some 60 MB; the last folder always stays."""

_LOOK_EVERY_S: Final = 10.0
"""So long a list of the recovery points is good enough for who looks at the top folder."""

_KINDS: Final = {
    "file": stat.S_IFREG,
    "folder": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
}
_LINKED: Final = 2
"""How many names a file with several names shows: how many there are is not known."""

_FAILED: Final = (*UNREADABLE, KeyChangeMissing, TransientError, NotAuthorised)

_Folder = tuple[PointId, bytes]  # of which point, and where

log = Log()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What `stat` shows of a path; times are nanoseconds since 1970-01-01T00:00:00Z."""

    mode: int
    inode: int
    links: int
    uid: int
    gid: int
    size_bytes: int
    data_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What lies at a path: an entry of a point, or a folder that leads to entries (`entry` None).

    `point` is None for the top folder.
    """

    point: "_Point | None"
    path: bytes
    entry: Entry | None


class _Point:
    """One recovery point, opened when it is first looked into."""

    def __init__(self, store: ChunkStore, public: PointPublic) -> None:
        self.store, self.public = store, public

    @cached_property
    def tree(self) -> PointTree:
        """The tree; the point is read and proven at the first look.

        Raises:
            FileNotFoundError: The point went since it was listed.
            KeyChangeMissing, IntegrityError: As `open_point`; nothing is kept then.
        """
        return PointTree(self._opened, self.store)

    @cached_property
    def roots(self) -> list[Root]:
        """The roots; read, and raising, as `tree`."""
        return list(self._opened.root.roots)

    @cached_property
    def _opened(self) -> Point:
        try:
            return open_point(self.store.objects, self.store.keys, self.public.point_id)
        except PointAbsent as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error


class PointsView:
    """All recovery points of a place, as they were when last listed.  For one thread."""

    def __init__(self, look: Callable[[], LayeredObjects], keys: ReadKeys, *, clock: Clock) -> None:
        """List the recovery points; damaged ones are left out, and logged.

        Args:
            look: Returns the place, as it is now.
            keys: Open what lies there.
            clock: Says when to look again.
        """
        self._look, self._keys, self._clock = look, keys, clock
        self._uid, self._gid = os.getuid(), os.getgid()
        self._points: dict[bytes, _Point] = {}
        self._kept: OrderedDict[_Folder, dict[bytes, Entry | None]] = OrderedDict()
        self._kept_entries = 0
        objects = look()
        self._listed = _point_names(objects)
        self._list(objects)
        self._looked_s = clock.monotonic_s()

    def refresh(self) -> None:
        """List the recovery points again if others are there, at most every 10 seconds.

        While the place does not answer, the points stay as they were; the log says so.
        """
        if self._clock.monotonic_s() - self._looked_s < _LOOK_EVERY_S:
            return
        try:
            objects = self._look()
            listed = _point_names(objects)
            if listed != self._listed:
                self._list(objects)
                self._listed = listed
        except (*_FAILED, RefusedError, OSError) as error:
            log.warning("mount.points_not_listed", problem=str(error))
        self._looked_s = self._clock.monotonic_s()

    def _list(self, objects: LayeredObjects) -> None:
        # New points may need index files that a store which is open already does not know.
        store = ChunkStore(objects, self._keys)
        store.open_index()
        listing = list_points(objects, self._keys)
        for damaged in listing.damaged:
            log.warning("mount.point_left_out", point=damaged)
        for unproven in listing.unproven:
            log.warning("mount.point_unproven", point=unproven)
        points: dict[bytes, _Point] = {}
        for public in listing.points:
            name = f"{public.created_at:%Y-%m-%dT%H%M%SZ}".encode()
            if name in points:
                name += b"-" + public.point_id[:8].encode()
            points[name] = _Point(store, public)
        self._points = points

    def place(self, path: bytes) -> Place:
        """Return what lies at a path.

        Raises:
            FileNotFoundError: Nothing, or the point went since it was listed.
            NotADirectoryError: What is on the way there is no folder.
            OSError: EIO: a folder on the way cannot be read, or the point cannot be proven.
        """
        names = split_path(path)
        if not names:
            return Place(point=None, path=b"/", entry=None)
        point = self._points.get(names[0])
        if point is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with failed_as_eio("a folder on the way"):
            entry = self._entry(point, names[1:])
        return Place(point=point, path=b"/" + b"/".join(names[1:]), entry=entry)

    def is_latest(self, path: bytes) -> bool:
        """Whether the path is the link to the newest point."""
        return path == b"/" + LATEST and bool(self._points)

    def latest(self) -> bytes:
        """Return where that link leads."""
        return next(reversed(self._points))

    def names(self, place: Place) -> Iterator[tuple[bytes, Attributes]]:
        """Yield what a folder holds.

        Raises:
            NotADirectoryError: It is no folder.
            OSError: EIO: it cannot be read.
        """
        if place.point is None:
            for name, point in self._points.items():
                yield name, self.attributes(Place(point=point, path=b"/", entry=None))
            return
        if place.entry is not None and place.entry.kind != KIND_FOLDER:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with failed_as_eio("a folder"):
            below = self._below(place.point, split_path(place.path))
        prefix = place.path.rstrip(b"/") + b"/"
        for name, entry in below.items():
            child = Place(point=place.point, path=prefix + name, entry=entry)
            yield name, self.attributes(child)

    def attributes(self, place: Place) -> Attributes:
        """Return what `stat` shows of a place."""
        entry = place.entry
        if entry is None:
            created = place.point.public.created_at if place.point is not None else None
            return Attributes(
                mode=stat.S_IFDIR | 0o555,
                inode=self._inode(place),
                links=1,
                uid=self._uid,
                gid=self._gid,
                size_bytes=0,
                data_bytes=0,
                mtime_ns=int(created.timestamp()) * 10**9 if created else 0,
            )
        size_bytes = len(entry.target) if entry.kind == "symlink" else entry.size_bytes
        is_file = entry.kind == "file"
        holes = entry.extents is not None
        data_bytes = sum(size for _, size in entry.extents or ()) if holes else size_bytes
        return Attributes(
            mode=_KINDS[entry.kind] | entry.mode,
            inode=self._inode(place),
            links=_LINKED if entry.link else 1,
            uid=entry.uid,
            gid=entry.gid,
            size_bytes=size_bytes if is_file or entry.kind == "symlink" else 0,
            data_bytes=data_bytes if is_file else 0,
            mtime_ns=entry.mtime_ns,
        )

    def _inode(self, place: Place) -> int:
        """Return a number for a file, the same for all its names and in every mount."""
        point_id = place.point.public.point_id.encode() if place.point is not None else b""
        if place.entry is not None and place.entry.link:
            what = b"link" + place.entry.link
        else:
            what = b"path" + place.path
        digest = blake2b(point_id + what, digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1 or 1

    def _entry(self, point: _Point, names: list[bytes]) -> Entry | None:
        if not names:
            return next((root.entry for root in point.roots if not split_path(root.path)), None)
        below = self._below(point, names[:-1])
        if names[-1] not in below:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return below[names[-1]]

    def _below(self, point: _Point, names: list[bytes]) -> dict[bytes, Entry | None]:
        """Return what a folder holds, by name; None for folders above the roots."""
        # Not the name that is shown: another point of that second gets it when this one goes.
        key = (point.public.point_id, b"/".join(names))
        below = self._kept.get(key)
        if below is not None:
            self._kept.move_to_end(key)
            return below
        entry = self._entry(point, names)
        below = {}
        if entry is not None:
            if entry.kind != KIND_FOLDER:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            below |= {child.name: child for child in point.tree.node(entry)}
        for root in point.roots:
            parts = split_path(root.path)
            if parts[: len(names)] == names and len(parts) > len(names):
                is_root = len(parts) == len(names) + 1
                below.setdefault(parts[len(names)], root.entry if is_root else None)
        self._keep(key, below)
        return below

    def _keep(self, key: _Folder, below: dict[bytes, Entry | None]) -> None:
        self._kept[key] = below
        self._kept_entries += len(below)
        while self._kept_entries > _KEPT_ENTRIES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_entries -= len(dropped)


def _point_names(objects: LayeredObjects) -> frozenset[str]:
    return frozenset(info.name for info in objects.names("points/"))


@contextmanager
def failed_as_eio(what: str) -> Iterator[None]:
    """Turn what cannot be read into an `OSError` with EIO, and log why."""
    try:
        yield
    except _FAILED as error:
        log.error("mount.read_failed", what=what, problem=str(error))  # noqa: TRY400 - no stack
        raise OSError(errno.EIO, os.strerror(errno.EIO)) from error
