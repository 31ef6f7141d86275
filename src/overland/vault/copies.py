"""Copies of recovery points' files, where source computers cannot write.

A point's file says what the point needs, and its name does not say what its bytes must be: once it
is damaged, nobody can make it again.  So every run of reclaim copies the files that it read and
that have no copy yet, and puts a copy back where the vault's own file is damaged or gone.  The
owner's signature covers a file from its first byte to its last, so that a copy that verifies is
the file.  While there is no room for copies there are none, and nothing else is different.
"""

import contextlib
import hashlib
from collections.abc import Collection

from overland.errors import (
    IntegrityError,
    ObjectAbsent,
    ObjectCorrupt,
    ObjectExists,
    OutOfSpace,
)
from overland.events import Log
from overland.format.point import MAX_POINT_BYTES, PointPublic
from overland.ports.objects import Objects
from overland.values import PointId, point_name
from overland.vault import presence
from overland.vault.owner import Owner, open_point

__all__ = ["forget", "keep", "kept_name", "put_back", "read_copy", "read_file"]

log = Log()


def kept_name(owner: Owner, point_id: PointId) -> str:
    """Return where the copy of a point's file lies in the vault's space."""
    return f"{_prefix(owner)}{point_id}.point"


def read_file(store: Objects, *, owner: Owner, point_id: PointId) -> PointPublic:
    """Return the public part of a point in the vault, proven to be the owner's.

    Raises:
        ObjectAbsent: The vault has no such point.
        IntegrityError: It is damaged, or somebody else's.
        KeyChangeMissing: A former key signed it, and its key change can be read nowhere.
    """
    name = point_name(point_id)
    return _read(store, owner.prefix + name, owner, point_id, shown=name)[0]


def read_copy(store: Objects, *, owner: Owner, point_id: PointId) -> PointPublic:
    """Return the public part of the copy of a point's file, proven like the file itself.

    Raises:
        ObjectAbsent: There is no copy.
        IntegrityError, KeyChangeMissing: As `read_file`.
    """
    name = kept_name(owner, point_id)
    return _read(store, name, owner, point_id, shown=name)[0]


def keep(store: Objects, owner: Owner, point_ids: Collection[PointId]) -> None:
    """Copy the files of these points that have no copy, as far as there is room.

    Raises:
        KeyChangeMissing: As `read_file`; those before it are copied.
    """
    prefix = _prefix(owner)
    kept = {info.name for info in store.names(prefix)}
    for point_id in point_ids:
        name = kept_name(owner, point_id)
        if name in kept:
            continue
        path = owner.prefix + point_name(point_id)
        # Whoever damaged the file since it was read has the next run find it.
        with contextlib.suppress(ObjectAbsent, IntegrityError):
            data = _read(store, path, owner, point_id, shown=point_name(point_id))[1]
            try:
                _put(store, name, data)
            except OutOfSpace:
                log.warning("point.not_copied", computer=owner.source_computer_id)
                return


def put_back(store: Objects, owner: Owner, point_id: PointId) -> bool:
    """Have the copy take the place of a damaged or missing file; return whether it did.

    Without a copy that holds nothing is touched.  A kill in between, or a vault that is full,
    leaves no file and the copy, and the next run puts it back.

    Raises:
        KeyChangeMissing: As `read_file`; nothing was touched.
    """
    try:
        name = kept_name(owner, point_id)
        data = _read(store, name, owner, point_id, shown=name)[1]
    except (ObjectAbsent, IntegrityError):
        return False
    path = owner.prefix + point_name(point_id)
    store.delete(path)
    try:
        _put(store, path, data)
    except (OutOfSpace, ObjectExists):
        return False
    log.warning("point.put_back", point=point_id)
    return True


def forget(store: Objects, owner: Owner, point_id: PointId) -> None:
    """Remove the copy of a point that no living one needs; without one, do nothing."""
    store.delete(kept_name(owner, point_id))


def _prefix(owner: Owner) -> str:
    return f"control/points/{owner.source_computer_id}/"


def _put(store: Objects, name: str, data: bytes) -> None:
    store.put(name, [data], size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _read(
    store: Objects, path: str, owner: Owner, point_id: PointId, *, shown: str
) -> tuple[PointPublic, bytes]:
    size_bytes = presence.size_bytes(store, path)
    if size_bytes is None:
        raise ObjectAbsent(shown)
    if size_bytes > MAX_POINT_BYTES:
        raise ObjectCorrupt(shown, check="it is longer than any recovery point")
    data = store.read(path)
    return open_point(data, owner=owner, point_id=point_id, store=store), data
