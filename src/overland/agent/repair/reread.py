"""Chunks from the source itself: files that still are what was backed up have them.

A chunk's id proves its content, so that a file may be read while it changes: what does not fit is
not taken.  Where an index file or a saved index tells how long the chunks are, only the lacking
ones are read.  Where nothing tells, the file is cut again, as the backup did it.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.agent.repair.idsets import among
from overland.format.tree import KIND_FILE, Entry
from overland.packing.index import Ids
from overland.source.chunker import Chunker, chunks

__all__ = ["Lengths", "Part", "lacking_parts", "reread"]

Lengths = Callable[[Ids], NDArray[np.int64]]
"""Returns how long chunks are, -1 where nothing tells."""

_MAX_BYTES: Final = 64 << 20
_BLOCK_BYTES: Final = 8 << 20


class Part(NamedTuple):
    """A lacking chunk of a file, and where in the file's data it is.

    The length is 0 where the lengths of the chunks before are not known; the chunk is then behind
    the offset.
    """

    chunk_id: bytes
    offset: int
    length: int


def reread(
    tree: PointTree,
    store: ChunkStore,
    lengths: Lengths,
    lacking: Ids,
    *,
    chunkers: Sequence[Chunker],
) -> Iterator[tuple[bytes, bytes]]:
    """Yield ids and contents of lacking chunks that files on this computer still hold, each once.

    Args:
        tree: A point; the newest has the best chance.
        store: Computes ids.
        lengths: Of as many chunks as are known.
        lacking: Which chunks are looked for, as `sorted_ids` makes them.
        chunkers: Cut as the backups did; the likeliest first.
    """
    wanted = {row.tobytes() for row in lacking}
    for step in tree.walk(unreadable=lambda _path, _error: None):
        if not wanted or step.entry is None or step.entry.kind != KIND_FILE:
            continue
        try:
            parts = lacking_parts(tree, step.entry, lengths, lacking)
        except UNREADABLE:
            continue
        for data in _read(step.path, step.entry, parts, wanted, chunkers):
            chunk_id = store.chunk_id(data)
            if chunk_id in wanted:
                wanted.discard(chunk_id)
                yield chunk_id, data


def lacking_parts(tree: PointTree, entry: Entry, lengths: Lengths, lacking: Ids) -> list[Part]:
    """Return which lacking chunks a file has; `lacking` is as `sorted_ids` makes it.

    Raises:
        ChunkAbsent, ObjectAbsent, IntegrityError: The list of its chunks cannot be read.
    """
    lists = list(tree.content_ids(entry))
    ids = np.concatenate(lists) if lists else lacking[:0]
    at = np.flatnonzero(among(ids, lacking))
    if not len(at):
        return []
    sizes = lengths(ids)
    unknown = np.flatnonzero(sizes < 0)
    if len(unknown) == 1:
        sizes[unknown[0]] = _data_bytes(entry) - int(sizes[sizes >= 0].sum())
    elif len(unknown):
        sizes[unknown[0] :] = 0
    starts = np.cumsum(sizes) - sizes
    return [Part(ids[i].tobytes(), int(starts[i]), int(sizes[i])) for i in at]


def _data_bytes(entry: Entry) -> int:
    if entry.extents is None:
        return entry.size_bytes
    return sum(length for _, length in entry.extents)


def _read(
    path: bytes,
    entry: Entry,
    parts: Sequence[Part],
    wanted: AbstractSet[bytes],
    chunkers: Sequence[Chunker],
) -> Iterator[bytes]:
    """Yield what the file has where the parts are, or may be; nothing proves it yet."""
    if all(part.chunk_id not in wanted for part in parts):
        return
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return
        for part in parts:
            if part.chunk_id in wanted and 0 < part.length <= _MAX_BYTES:
                with contextlib.suppress(OSError):
                    yield _read_data(file, entry, part.offset, part.length)
        unplaced = [part for part in parts if not part.length]
        for chunker in chunkers:
            if all(part.chunk_id not in wanted for part in unplaced):
                break
            # A chunk's end depends on what follows its beginning, and on nothing before.
            with contextlib.suppress(OSError):
                yield from chunks(_blocks(file, entry, start=unplaced[0].offset), chunker)
    finally:
        os.close(file)


def _blocks(file: int, entry: Entry, *, start: int) -> Iterator[bytes]:
    """Yield the file's data where the point says that it had some."""
    for offset in range(start, _data_bytes(entry), _BLOCK_BYTES):
        yield _read_data(file, entry, offset, _BLOCK_BYTES)


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
