"""Which chunks recovery points need, and in which packs these lie.

A point's chunks are looked for only in packs that the point itself needs: the same chunk may lie
in a pack of another chain as well, and would go with that one.  One byte for each chunk of the
packs says whether it lives; everything else is streamed.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.agent.repack.shelf import Shelf
from overland.format.index import PackDirectory
from overland.format.tree import CHUNK_ID_BYTES, KIND_FILE, KIND_FOLDER, Entry
from overland.packing.index import ChunkIndex, Ids, as_ids
from overland.values import PackId, RepositoryId

__all__ = ["Liveness", "Need", "Unread", "id_lists"]

_TOGETHER: Final = 1 << 16
"""Ids looked up at a time: 2 MiB of them."""

_SIBLINGS: Final = 32
"""Nodes of so many sibling folders are read together."""

_LISTS: Final = 64
"""Chunks of id lists read at a time."""


class Need(NamedTuple):
    """Chunks that something at a path needs."""

    path: bytes
    ids: Ids


class Unread(NamedTuple):
    """A folder, or the list of a long file's chunks, that could not be read, and why."""

    point: Point
    path: bytes
    entry: Entry
    error: Exception


class _Span(NamedTuple):
    first: int
    end: int


@final
class Liveness:
    """Marks the chunks that points need.  For one thread.

    Attributes:
        live: For each pack that a point needs, which of its chunks some point needs.
        missing: What was needed and is in none of the point's packs.
        unreadable: What could not be read; nobody knows what it needs.  The same folder in a later
            point, of the same packs, is not tried again.
    """

    def __init__(
        self,
        repository_id: RepositoryId,
        store: ChunkStore,
        shelf: Shelf,
        *,
        scratch: Path | None = None,
    ) -> None:
        """Begin without a mark.

        Args:
            repository_id: Whose points these will be.
            store: Reads folders.
            shelf: Knows what lies in packs.
            scratch: A folder for what does not fit into memory.
        """
        self.live: dict[PackId, NDArray[np.bool_]] = {}
        self.missing: list[Need] = []
        self.unreadable: list[Unread] = []
        self._repository_id, self._scratch = repository_id, scratch
        self._store, self._shelf = store, shelf
        self._spans: dict[PackId, _Span] = {}
        self._begin()

    def add_point(self, point: Point, packs: frozenset[PackId]) -> None:
        """Mark what a point needs, in `packs`: the ones that it needs.

        Oldest points first: folders that an older one has in the same packs are not read again.
        """
        self._add(point, packs, [(root.path, root.entry) for root in point.root.roots])

    def add_again(self, unread: Unread, packs: frozenset[PackId]) -> None:
        """Mark what something needs that could not be read before, and all below it.

        It is in `unreadable` if it still cannot.  `packs` are those of its point.
        """
        self._add(unread.point, packs, [(unread.path, unread.entry)])

    def _add(
        self, point: Point, packs: frozenset[PackId], entries: list[tuple[bytes, Entry]]
    ) -> None:
        if not self._spans.keys() <= packs:
            self.finish()
            self._begin()
        for directory in self._shelf.directories(packs - self._spans.keys()):
            self._add_pack(directory)
        self._entries(PointTree(point, self._store), entries)
        self._look_up()

    def finish(self) -> None:
        """Bring `live` up to date with all points that were added."""
        for pack_id, span in self._spans.items():
            marks = self._marks[span.first : span.end]
            if pack_id in self.live:
                self.live[pack_id] |= marks
            else:
                self.live[pack_id] = marks.copy()

    def _begin(self) -> None:
        self._index = ChunkIndex(self._repository_id, scratch=self._scratch)
        self._spans.clear()
        self._end = 0
        self._marks = np.zeros(0, np.bool_)
        self._walked = np.zeros(0, np.bool_)
        self._walked_absent: set[bytes] = set()
        self._waiting: list[Need] = []
        self._waiting_ids = 0

    def _add_pack(self, directory: PackDirectory) -> None:
        first, end = self._end, self._end + len(directory.directory.chunks)
        self._index.add(directory)
        self._spans[directory.pack_id] = _Span(first, end)
        self._end = end
        if end > len(self._marks):
            room = np.zeros(max(end, 2 * len(self._marks)) - len(self._marks), np.bool_)
            self._marks = np.concatenate([self._marks, room])
            self._walked = np.concatenate([self._walked, room])

    def _entries(self, tree: PointTree, entries: list[tuple[bytes, Entry]]) -> None:
        """Mark entries and everything below them, with a stack of its own."""
        stack = [entries]
        while stack:
            folders: list[tuple[bytes, Entry]] = []
            for path, entry in stack.pop():
                if entry.kind == KIND_FILE:
                    self._later(tree, path, entry)
                elif entry.kind == KIND_FOLDER and not self._was_walked(tree, path, entry):
                    folders.append((path, entry))
            for start in range(0, len(folders), _SIBLINGS):
                stack.extend(self._below(tree, folders[start : start + _SIBLINGS]))

    def _below(
        self, tree: PointTree, folders: list[tuple[bytes, Entry]]
    ) -> Iterator[list[tuple[bytes, Entry]]]:
        plain = [entry for _, entry in folders if not entry.levels]
        nodes = iter(tree.nodes(plain))
        for path, folder in folders:
            node = None if folder.levels else next(nodes)
            try:
                entries = tree.node(folder) if node is None else node
            except UNREADABLE as error:
                self.unreadable.append(Unread(tree.point, path, folder, error))
                continue
            prefix = path if path == b"/" else path + b"/"
            yield [(prefix + below.name, below) for below in entries]

    def _was_walked(self, tree: PointTree, path: bytes, folder: Entry) -> bool:
        """Mark a folder's node; return whether everything below it is marked already."""
        if folder.levels or len(folder.content) != CHUNK_ID_BYTES:
            self._later(tree, path, folder)
            return False
        ids = as_ids(folder.content)
        row = int(self._index.lookup(ids)[0])
        if row < 0:
            self.missing.append(Need(path, ids))
            was_walked = folder.content in self._walked_absent
            self._walked_absent.add(folder.content)
            return was_walked
        was_walked = bool(self._walked[row])
        self._marks[row] = self._walked[row] = True
        return was_walked

    def _later(self, tree: PointTree, path: bytes, entry: Entry) -> None:
        try:
            for ids in id_lists(self._store, entry):
                self._waiting.append(Need(path, ids))
                self._waiting_ids += len(ids)
                if self._waiting_ids >= _TOGETHER:
                    self._look_up()
        except UNREADABLE as error:
            self.unreadable.append(Unread(tree.point, path, entry, error))

    def _look_up(self) -> None:
        if not self._waiting:
            return
        rows = self._index.lookup(np.concatenate([need.ids for need in self._waiting]))
        self._marks[rows[rows >= 0]] = True
        if (rows < 0).any():
            at = 0
            for need in self._waiting:
                lacking = rows[at : at + len(need.ids)] < 0
                at += len(need.ids)
                if lacking.any():
                    self.missing.append(Need(need.path, need.ids[lacking]))
        self._waiting, self._waiting_ids = [], 0


def id_lists(store: ChunkStore, entry: Entry) -> Iterator[Ids]:
    """Yield all chunks of an entry: those of its content, and those that only list others.

    Raises:
        ChunkAbsent, ObjectAbsent, IntegrityError: A list cannot be read; what it lists is unknown.
    """
    stream: Iterable[bytes] = (entry.content,)
    pending: list[Ids] = []
    for _ in range(entry.levels):
        stream = _contents(store, _noted(stream, pending.append))
    for block in _noted(stream, pending.append):
        del block
        yield from pending
        pending.clear()
    yield from pending


def _contents(store: ChunkStore, lists: Iterable[bytes]) -> Iterator[bytes]:
    for ids in lists:
        for start in range(0, len(ids), _LISTS * CHUNK_ID_BYTES):
            yield from store.read(as_ids(ids[start : start + _LISTS * CHUNK_ID_BYTES]))


def _noted(stream: Iterable[bytes], note: Callable[[Ids], None]) -> Iterator[bytes]:
    """Pass blocks on as whole ids, and note them."""
    rest = b""
    for block in stream:
        joined = rest + block if rest else block
        whole = len(joined) // CHUNK_ID_BYTES * CHUNK_ID_BYTES
        rest = joined[whole:]
        if whole:
            note(as_ids(joined[:whole]))
            yield joined[:whole]
