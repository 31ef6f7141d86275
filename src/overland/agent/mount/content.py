"""The bytes of one file of a recovery point, at any offset, with bounded memory."""

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import Final

import numpy as np

from overland.agent.mount.view import failed_as_eio
from overland.agent.points.chunks import ChunkStore, Wanted
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.format.tree import Entry
from overland.packing.index import Ids
from overland.packing.reader import ChunkAbsent

__all__ = ["ChunkCache", "FileContent"]

_AHEAD_BYTES: Final = 2 << 20
"""So much is read together: more than a segment, so that a reader in order seldom waits."""

_CACHE_BYTES: Final = 64 << 20
"""Chunks kept, over all open files; a chunk is at most 16 MiB."""


class ChunkCache:
    """Chunks that were read, by their ids, until others take their place."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._kept_bytes = 0

    def get(self, chunk_id: bytes) -> bytes | None:
        """Return a chunk that is kept."""
        found = self._kept.get(chunk_id)
        if found is not None:
            self._kept.move_to_end(chunk_id)
        return found

    def keep(self, chunk_id: bytes, data: bytes) -> None:
        """Keep a chunk."""
        if chunk_id in self._kept:
            return
        self._kept[chunk_id] = data
        self._kept_bytes += len(data)
        while self._kept_bytes > _CACHE_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)


class FileContent:
    """An open file.  Where its chunks begin is found out as far as it is read: 40 bytes a chunk.

    For any thread: the reads of one file wait for each other, so that none decodes what another
    is decoding already; those of several files decode at the same time.
    """

    def __init__(
        self, entry: Entry, *, tree: PointTree, store: ChunkStore, cache: ChunkCache, lock: Lock
    ) -> None:
        """Begin.

        Args:
            entry: Of the file.
            tree: Finds its chunks.
            store: Reads them.
            cache: Keeps them.
            lock: Held while one of these is asked, and not while segments are read and decoded.
        """
        self._entry, self._store, self._cache, self._lock = entry, store, cache, lock
        self._reading = Lock()
        self._pieces: Iterator[Ids] = tree.content_ids(entry)
        self._unlocated: Ids | None = None
        self._ids: Ids = np.empty((0, 32), np.uint8)
        self._ends = np.empty(0, np.int64)

    def read(self, size_bytes: int, offset: int) -> bytes:
        """Return what the file has from an offset on; less only at its end.

        Raises:
            OSError: EIO: it cannot be read there.
        """
        end = min(offset + size_bytes, self._entry.size_bytes)
        if offset >= end:
            return b""
        with self._reading, failed_as_eio("a file"):
            if self._entry.extents is None:
                return self._data(offset, end)
            return self._with_holes(offset, end)

    def _with_holes(self, start: int, end: int) -> bytes:
        found = bytearray(end - start)
        position = 0  # in the data without holes
        for offset, length in self._entry.extents or ():
            low, high = max(start, offset), min(end, offset + length)
            if low < high:
                data = self._data(position + low - offset, position + high - offset)
                found[low - start : high - start] = data
            position += length
        return bytes(found)

    def _data(self, start: int, end: int) -> bytes:
        with self._lock:
            self._locate(end)
        first = int(np.searchsorted(self._ends, start, side="right"))
        last = int(np.searchsorted(self._ends, end, side="left"))
        chunks = self._chunks(first, last)
        begin = int(self._ends[first - 1]) if first else 0
        data = b"".join(chunks)[start - begin : end - begin]
        if len(data) != end - start:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return data

    def _locate(self, end: int) -> None:
        """Find out where the chunks up to an offset begin."""
        while not len(self._ends) or self._ends[-1] < end:
            ids = self._unlocated if self._unlocated is not None else next(self._pieces, None)
            if ids is None:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._unlocated = ids  # a failure must not move what follows to its place
            places, is_known = self._store.find(ids)
            if not is_known.all():
                absent = np.flatnonzero(~is_known)
                raise ChunkAbsent(ids[absent[0]].tobytes(), count=len(absent))
            before = int(self._ends[-1]) if len(self._ends) else 0
            ends = before + np.cumsum(places["length"].astype(np.int64))
            self._ids = np.concatenate([self._ids, ids])
            self._ends = np.concatenate([self._ends, ends])
            self._unlocated = None

    def _chunks(self, first: int, last: int) -> list[bytes]:
        """Return chunks by number; those after them are read with them and kept."""
        wanted = [self._ids[number].tobytes() for number in range(first, last + 1)]
        with self._lock:
            found = {chunk_id: self._cache.get(chunk_id) for chunk_id in wanted}
        read = self._read_ahead(first, last) if None in found.values() else {}
        return [found[chunk_id] or read[chunk_id] for chunk_id in wanted]

    def _read_ahead(self, first: int, last: int) -> dict[bytes, bytes]:
        begin = int(self._ends[first - 1]) if first else 0
        stop = int(np.searchsorted(self._ends, begin + _AHEAD_BYTES, side="right"))
        ids = self._ids[first : max(last + 1, stop)]
        try:
            chunks = self._decoded(ids)
        except UNREADABLE:  # what lies ahead may be damaged, and nobody asked for it
            ids = self._ids[first : last + 1]
            with self._lock:  # rare: looks for other copies, and at every pack if it must
                chunks = self._store.read(ids)
        found = {row.tobytes(): data for row, data in zip(ids, chunks, strict=True)}
        with self._lock:
            for chunk_id, data in found.items():
                self._cache.keep(chunk_id, data)
        return found

    def _decoded(self, ids: Ids) -> list[bytes]:
        """Return chunks in the order of their ids, holding the lock only to find them."""
        with self._lock:
            places, is_known = self._store.find(ids)
            if not is_known.all():
                raise ChunkAbsent(ids[np.argmin(is_known)].tobytes(), count=int((~is_known).sum()))
            wanted = Wanted(ids, places)
            jobs = list(self._store.jobs(wanted))
        found = [b""] * len(ids)
        order, offsets = wanted.order.tolist(), wanted.places["offset"].tolist()
        lengths = wanted.places["length"].tolist()
        for job in jobs:
            for segment, raw, error in self._store.decode(job, wanted):
                if raw is None:
                    assert error is not None, "a segment without bytes says why"
                    raise error
                for row in range(segment.start, segment.end):
                    found[order[row]] = bytes(raw[offsets[row] : offsets[row] + lengths[row]])
        return found
