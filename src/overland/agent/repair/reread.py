"""Chunks from the source itself: files that still are what was backed up have them.

A chunk's id proves its content, so that a file may be read while it changes: what does not fit is
not taken.  Where an index file or a saved index tells how long the chunks are, only the lacking
ones are read.  Where nothing tells, the file is cut again, as the backup did it: by the sizes that
its chunks' ids prove (`overland.agent.repair.cutting`).
"""

import contextlib
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.tree import UNREADABLE, PointTree, split_path
from overland.agent.repair.cutting import Cutting
from overland.agent.repair.idsets import among
from overland.agent.repair.sourcefile import SourceFile, data_bytes, open_source
from overland.format.tree import KIND_FILE, Entry
from overland.packing.index import Ids
from overland.source.chunker import chunks

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


class _Layout(NamedTuple):
    """The lacking parts of a file, and its chunks from the first on whose end nothing tells."""

    parts: list[Part]
    behind: Ids
    start: int


def reread(
    tree: PointTree, store: ChunkStore, lengths: Lengths, lacking: Ids, *, cutting: Cutting
) -> Iterator[tuple[bytes, bytes]]:
    """Yield ids and contents of lacking chunks that files on this computer still hold, each once.

    Single files, images and block devices that a policy names are read as files are.

    Args:
        tree: A point; the newest has the best chance.
        store: Computes ids.
        lengths: Of as many chunks as are known.
        lacking: Which chunks are looked for, as `sorted_ids` makes them.
        cutting: Cuts as the backups did, and learns how that was.
    """
    wanted, named = {row.tobytes() for row in lacking}, _named(tree)
    for step in tree.walk(unreadable=lambda _path, _error: None):
        if not wanted or step.entry is None or step.entry.kind != KIND_FILE:
            continue
        try:
            layout = _layout(tree, step.entry, lengths, lacking)
        except UNREADABLE:
            continue
        if all(part.chunk_id not in wanted for part in layout.parts):
            continue
        with open_source(step.path, step.entry, is_named=step.path in named) as file:
            for data in _read(file, layout, wanted, cutting) if file else ():
                chunk_id = store.chunk_id(data)
                if chunk_id in wanted:
                    wanted.discard(chunk_id)
                    yield chunk_id, data


def lacking_parts(tree: PointTree, entry: Entry, lengths: Lengths, lacking: Ids) -> list[Part]:
    """Return which lacking chunks a file has; `lacking` is as `sorted_ids` makes it.

    Raises:
        ChunkAbsent, ObjectAbsent, IntegrityError: The list of its chunks cannot be read.
    """
    return _layout(tree, entry, lengths, lacking).parts


def _layout(tree: PointTree, entry: Entry, lengths: Lengths, lacking: Ids) -> _Layout:
    lists = list(tree.content_ids(entry))
    ids = np.concatenate(lists) if lists else lacking[:0]
    at = np.flatnonzero(among(ids, lacking))
    if not len(at):
        return _Layout([], ids[:0], 0)
    sizes = lengths(ids)
    unknown = np.flatnonzero(sizes < 0)
    first = len(ids)
    if len(unknown) == 1:
        sizes[unknown[0]] = max(data_bytes(entry) - int(sizes[sizes >= 0].sum()), 0)
    elif len(unknown):
        first = int(unknown[0])
        sizes[first:] = 0
    starts = np.cumsum(sizes) - sizes
    parts = [Part(ids[i].tobytes(), int(starts[i]), int(sizes[i])) for i in at]
    return _Layout(parts, ids[first:], int(sizes.sum()))


def _read(
    file: SourceFile, layout: _Layout, wanted: AbstractSet[bytes], cutting: Cutting
) -> Iterator[bytes]:
    """Yield what the file has where the parts are, or may be; nothing proves it yet."""
    for part in layout.parts:
        if part.chunk_id in wanted and 0 < part.length <= _MAX_BYTES:
            with contextlib.suppress(OSError):
                yield file.read(part.offset, part.length)
    unplaced = {part.chunk_id for part in layout.parts if not part.length}

    def is_wanted() -> bool:
        return not unplaced.isdisjoint(wanted)

    # Where the file is what it was, each chunk tells where the next begins.
    offset, likely = yield from cutting.in_order(
        file, layout.behind, start=layout.start, is_wanted=is_wanted
    )
    for sizes in likely:
        # A chunk's end depends on what follows its beginning, and on nothing before.
        with contextlib.suppress(OSError):
            blocks = _blocks(file, start=offset, is_wanted=is_wanted)
            yield from chunks(blocks, cutting.chunker(sizes))


def _blocks(file: SourceFile, *, start: int, is_wanted: Callable[[], bool]) -> Iterator[bytes]:
    """Yield the file's data where the point says that it had some, as long as it is wanted."""
    for offset in range(start, file.data_bytes, _BLOCK_BYTES):
        if not is_wanted():
            break
        yield file.read(offset, _BLOCK_BYTES)


def _named(tree: PointTree) -> frozenset[bytes]:
    """Return the paths that a policy named and that became one file each, as the tree has them."""
    return frozenset(
        b"/" + b"/".join(split_path(root.path))
        for root in tree.point.root.roots
        if root.entry.kind == KIND_FILE
    )
