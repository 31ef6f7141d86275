"""Chunks from the source itself: files that still are what was backed up have them.

A chunk's id proves its content, so that a file may be read while it changes: what does not fit is
not taken.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.format.tree import KIND_FILE, Entry
from overland.packing.index import Ids

__all__ = ["Lengths", "lacking_parts", "reread"]

Lengths = Callable[[Ids], NDArray[np.int64]]
"""Returns how long chunks are, -1 where nothing tells."""

_MAX_BYTES: Final = 64 << 20


def reread(
    tree: PointTree, store: ChunkStore, lengths: Lengths, lacking: Ids
) -> Iterator[tuple[bytes, bytes]]:
    """Yield ids and contents of lacking chunks that files on this computer still hold.

    Args:
        tree: A point; the newest has the best chance.
        store: Computes ids.
        lengths: Of as many chunks as are known.
        lacking: Which chunks are looked for.
    """
    wanted = {row.tobytes() for row in lacking}
    for step in tree.walk(unreadable=lambda _path, _error: None):
        if not wanted or step.entry is None or step.entry.kind != KIND_FILE:
            continue
        try:
            parts = [part for part in lacking_parts(tree, step.entry, lengths, lacking) if part[2]]
        except UNREADABLE:
            continue
        for chunk_id, data in _read(step.path, step.entry, parts):
            if chunk_id in wanted and store.chunk_id(data) == chunk_id:
                wanted.discard(chunk_id)
                yield chunk_id, data


def lacking_parts(
    tree: PointTree, entry: Entry, lengths: Lengths, lacking: Ids
) -> list[tuple[bytes, int, int]]:
    """Return which lacking chunks a file has: id, offset in its data, length.

    Offset and length are 0 where the lengths of the chunks before are not known.

    Raises:
        ChunkAbsent, ObjectAbsent, IntegrityError: The list of its chunks cannot be read.
    """
    lists = list(tree.content_ids(entry))
    ids = np.concatenate(lists) if lists else lacking[:0]
    at = np.flatnonzero(np.isin(_whole(ids), _whole(lacking)))
    if not len(at):
        return []
    sizes = lengths(ids)
    unknown = np.flatnonzero(sizes < 0)
    if len(unknown) == 1:
        sizes[unknown[0]] = _data_bytes(entry) - int(sizes[sizes >= 0].sum())
    elif len(unknown):
        at_known = at[at < unknown[0]]
        known = [(ids[i].tobytes(), int(sizes[:i].sum()), int(sizes[i])) for i in at_known.tolist()]
        return known + [(ids[i].tobytes(), 0, 0) for i in at[at >= unknown[0]].tolist()]
    ends = np.cumsum(sizes)
    return [(ids[i].tobytes(), int(ends[i] - sizes[i]), int(sizes[i])) for i in at.tolist()]


def _whole(ids: Ids) -> NDArray[np.bytes_]:
    return np.ascontiguousarray(ids).view("S32").reshape(-1)


def _data_bytes(entry: Entry) -> int:
    if entry.extents is None:
        return entry.size_bytes
    return sum(length for _, length in entry.extents)


def _read(
    path: bytes, entry: Entry, parts: list[tuple[bytes, int, int]]
) -> Iterator[tuple[bytes, bytes]]:
    if not parts:
        return
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return
        for chunk_id, offset, length in parts:
            if 0 < length <= _MAX_BYTES:
                with contextlib.suppress(OSError):
                    yield chunk_id, _read_data(file, entry, offset, length)
    finally:
        os.close(file)


def _read_data(file: int, entry: Entry, offset: int, length: int) -> bytes:
    """Return a part of a file's data; holes are not data."""
    extents = ((0, entry.size_bytes),) if entry.extents is None else entry.extents
    found = []
    for start, size in extents:
        skipped = min(offset, size)
        part = min(size - skipped, length)
        if part:
            found.append(os.pread(file, part, start + skipped))
        offset, length = offset - skipped, length - part
    return b"".join(found)
