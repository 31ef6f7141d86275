"""Checks that recovery points' trees are complete: every node readable, every chunk there.

A folder that did not change has the same node in every point.  What was found whole below it is
known to be whole in the next point, and is not walked again.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.format.index import id_keys
from overland.format.tree import CHUNK_ID_BYTES, KIND_FILE, KIND_FOLDER, Entry
from overland.packing.index import Ids, as_ids
from overland.values import PackId, pack_name, path_text

__all__ = ["TreeChecks"]

_TOGETHER: Final = 1 << 13
"""Chunks of files looked up together: few enough for the processor's cache to hold all entries."""

_SHOWN: Final = 10
_NODES: Final = 128
"""Chunks of nodes read together: one look-up instead of many, and bounded memory."""

Node = tuple[bytes, list[Entry]]
"""A folder's path, and its entries."""


class TreeChecks:
    """The points of one repository, checked one after the other."""

    def __init__(self, store: ChunkStore) -> None:
        self._store = store
        self._bad = set[PackId]()
        self._whole = set[bytes]()

    def problems(
        self, point: Point, bad_packs: set[PackId], pause: Callable[[], None] | None = None
    ) -> list[str]:
        """Return in words which paths need something that is missing, or in one of `bad_packs`.

        At most ten, and how many more there are.  `pause` is called now and then, if it is given.
        """
        if bad_packs != self._bad:  # what was whole may be in one of them
            self._bad = bad_packs
            self._whole.clear()
        check = _TreeCheck(point, self._store, self._bad, self._whole)
        words = check.problems(pause)
        if not words:
            self._whole |= check.seen
        return words


class _Files(NamedTuple):
    """Folders with their entries, and the ids of the chunks of all files in them.

    Or one file with a long list of ids, alone, and some of them.
    """

    folders: list[Node]
    joined: bytes

    def paths(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Yield the paths of the files that chunks belong to."""
        below = [(path, entry) for path, node in self.folders for entry in node]
        files = [each for each in below if _is_plain_file(each[1])] or below
        ends = list(accumulate(len(entry.content) // CHUNK_ID_BYTES for _, entry in files))
        for number in numbers:
            # Ids of a long list are none of its entry's own content: it is alone then.
            path, entry = files[bisect_right(ends, number) if len(files) > 1 else 0]
            yield _below(path, entry.name)


class _TreeCheck:
    """One walk through one point."""

    def __init__(
        self, point: Point, store: ChunkStore, bad_packs: set[PackId], whole: set[bytes]
    ) -> None:
        self._point, self._tree = point, PointTree(point, store)
        self._store, self._bad, self._whole = store, bad_packs, whole
        self.seen: set[bytes] = set()
        self._to_come: list[tuple[bytes, Entry]] = []
        self._waiting: list[_Files] = []
        self._count = 0
        self._problems: dict[bytes, str] = {}
        self._missed, self._last = 0, b""

    def problems(self, pause: Callable[[], None] | None) -> list[str]:
        """Return in words what is wrong, as `TreeChecks` does."""
        self._to_come = [(root.path, root.entry) for root in reversed(self._point.root.roots)]
        while self._to_come:
            if pause is not None:
                pause()
            window = self._window()
            folders = iter(window)
            for nodes in self._tree.node_groups([entry for _, entry in window]):
                group = zip(nodes, folders, strict=False)  # the folders of the next group follow
                self._nodes(
                    [
                        (path, self._alone(path, entry) if node is None else node)
                        for node, (path, entry) in group
                    ]
                )
        self._look_up()
        words = [f"'{path_text(path)}': {reason}" for path, reason in self._problems.items()]
        if self._missed > len(words):
            words.append(f"and {self._missed - len(words)} more")
        return words

    def _window(self) -> list[tuple[bytes, Entry]]:
        """Take the next folders to read together; the last ones found, so that few wait."""
        window: list[tuple[bytes, Entry]] = []
        count = 0
        while self._to_come and count < _NODES:
            path, entry = self._to_come.pop()
            if entry.kind != KIND_FOLDER:
                self._files([(path.rpartition(b"/")[0], [entry])])
            elif entry.levels:
                self._nodes([(path, self._alone(path, entry))])
            elif entry.content not in self._whole:
                self.seen.add(entry.content)
                window.append((path, entry))
                count += len(entry.content) // CHUNK_ID_BYTES
        return window

    def _alone(self, path: bytes, entry: Entry) -> list[Entry]:
        """Return the entries of a folder whose node did not come with the others."""
        try:
            return self._tree.node(entry)
        except UNREADABLE as error:
            self._note(path, str(error))
            return []

    def _nodes(self, folders: list[Node]) -> None:
        for path, node in folders:
            self._to_come += [
                (_below(path, entry.name), entry)
                for entry in reversed(node)
                if entry.kind == KIND_FOLDER
            ]
        self._files(folders)

    def _files(self, folders: list[Node]) -> None:
        """Look up the chunks of the files among the entries of folders, soon."""
        contents = [
            entry.content
            for _, node in folders
            for entry in node
            if entry.kind == KIND_FILE and not entry.levels  # as `_is_plain_file`
        ]
        self._wait(_Files(folders, b"".join(contents)))
        for path, node in folders:
            for entry in node:
                if entry.levels and entry.kind == KIND_FILE:
                    self._long_file(path, entry)

    def _long_file(self, folder: bytes, entry: Entry) -> None:
        try:
            for ids in self._tree.content_ids(entry):
                self._wait(_Files([(folder, [entry])], ids.tobytes()))
        except UNREADABLE as error:
            self._note(_below(folder, entry.name), str(error))

    def _wait(self, files: _Files) -> None:
        if not files.joined:
            return
        self._waiting.append(files)
        self._count += len(files.joined) // CHUNK_ID_BYTES
        if self._count >= _TOGETHER:
            self._look_up()

    def _look_up(self) -> None:
        if not self._waiting:
            return
        every = as_ids(b"".join([files.joined for files in self._waiting]))
        # In the order of the index, so that what is looked up next lies near.
        in_order = every.take(np.argsort(id_keys(every)), axis=0)
        if self._bad or (self._store.index.lookup(in_order) < 0).any():
            for path, reason in dict(self._named(self._reasons(every))).items():
                self._note(path, reason)
        self._waiting, self._count = [], 0

    def _reasons(self, every: Ids) -> dict[int, str]:
        """Return what is wrong with chunks, by their numbers in what is looked up."""
        places, is_known = self._store.find(every)
        reasons = dict.fromkeys(np.flatnonzero(~is_known).tolist(), "its chunks are in no pack")
        packs = np.where(is_known, places["pack"].astype(np.int64), -1)
        for pack in sorted(set(packs[is_known].tolist())):
            if (pack_id := self._store.pack_id(pack)) in self._bad:
                rows = np.flatnonzero(packs == pack)
                # Another chain may have stored the same chunk, in a pack that is whole.
                others = self._store.without(map(pack_name, self._bad))
                damaged = rows[~others.find(every[rows])[1]].tolist()
                reasons |= dict.fromkeys(damaged, f"needs pack {pack_id}, which is damaged")
        return reasons

    def _named(self, reasons: dict[int, str]) -> Iterator[tuple[bytes, str]]:
        """Yield the files of chunks, by their numbers in what was looked up, and what is wrong."""
        numbers = sorted(reasons)
        first = done = 0
        for files in self._waiting:
            end = first + len(files.joined) // CHUNK_ID_BYTES
            up_to = bisect_left(numbers, end, lo=done)
            mine = numbers[done:up_to]
            if mine:
                paths = files.paths([number - first for number in mine])
                yield from zip(paths, map(reasons.__getitem__, mine), strict=True)
            first, done = end, up_to

    def _note(self, path: bytes, reason: str) -> None:
        if path in self._problems or path == self._last:  # files of many chunks come in turns
            return
        self._missed, self._last = self._missed + 1, path
        if len(self._problems) < _SHOWN:
            self._problems[path] = reason


def _below(folder: bytes, name: bytes) -> bytes:
    return folder.rstrip(b"/") + b"/" + name


def _is_plain_file(entry: Entry) -> bool:
    return entry.kind == KIND_FILE and not entry.levels
