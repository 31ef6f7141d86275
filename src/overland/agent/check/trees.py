"""Checks that a recovery point's tree is complete: every node readable, every chunk there."""

from typing import Final

import numpy as np

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.format.tree import KIND_FILE, Entry
from overland.packing.index import Ids
from overland.values import PackId

__all__ = ["TreeCheck"]

_TOGETHER: Final = 1 << 16
_SHOWN: Final = 10


class TreeCheck:
    """One walk through one point."""

    def __init__(self, point: Point, store: ChunkStore, bad_packs: set[PackId]) -> None:
        self._tree, self._store, self._bad = PointTree(point, store), store, bad_packs
        self._waiting: list[tuple[bytes, Ids]] = []
        self._count = 0
        self._problems: dict[bytes, str] = {}
        self._missed = 0

    def problems(self) -> list[str]:
        """Return in words which paths need something that is missing or damaged.

        At most ten, and how many more there are.
        """
        for step in self._tree.walk(unreadable=self._unreadable):
            if step.action == "entry" and step.entry is not None and step.entry.kind == KIND_FILE:
                self._file(step.path, step.entry)
        self._look_up()
        words = [f"{path!r}: {reason}" for path, reason in self._problems.items()]
        if self._missed > len(words):
            words.append(f"and {self._missed - len(words)} more")
        return words

    def _file(self, path: bytes, entry: Entry) -> None:
        try:
            for ids in self._tree.content_ids(entry):
                self._waiting.append((path, ids))
                self._count += len(ids)
        except UNREADABLE as error:
            self._unreadable(path, error)
        if self._count >= _TOGETHER:
            self._look_up()

    def _look_up(self) -> None:
        if not self._waiting:
            return
        owner = np.repeat(np.arange(len(self._waiting)), [len(ids) for _, ids in self._waiting])
        places, is_known = self._store.find(np.concatenate([ids for _, ids in self._waiting]))
        reasons = dict.fromkeys(set(owner[~is_known].tolist()), "its chunks are in no pack")
        known = np.flatnonzero(is_known)
        packs = places["pack"][known]
        for pack in np.unique(packs).tolist():
            if (pack_id := self._store.pack_id(pack)) in self._bad:
                damaged = set(owner[known[packs == pack]].tolist())
                reasons |= dict.fromkeys(damaged, f"needs pack {pack_id}, which is damaged")
        for number in sorted(reasons):
            self._note(self._waiting[number][0], reasons[number])
        self._waiting, self._count = [], 0

    def _unreadable(self, path: bytes, error: Exception) -> None:
        self._note(path, str(error))

    def _note(self, path: bytes, reason: str) -> None:
        if path in self._problems:
            return
        self._missed += 1
        if len(self._problems) < _SHOWN:
            self._problems[path] = reason
