"""Where every stored chunk lies: compact, searched in batches, and only a hint.

The index is rebuilt from index files and pack directories at any time, so that losing it costs
time and no data.  Sorted runs of 8-byte prefixes are searched; the full 32-byte id confirms a
hit.  Twelve bytes a chunk are needed in fast memory; the rest is mapped and read on a hit only.
"""

import struct
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from overland.errors import IntegrityError
from overland.format.index import PackDirectory
from overland.packing.tables import Records, Table
from overland.values import PackId, PointId, RepositoryId

__all__ = ["PLACE_DTYPE", "ChunkIndex", "Ids", "IndexHintDamaged", "as_ids"]

Ids = NDArray[np.uint8]
"""Chunk ids, shape (n, 32)."""

PLACE_DTYPE: Final = np.dtype(
    [
        ("pack", "<u4"),  # a row for `ChunkIndex.pack_id`
        ("segment", "<u4"),  # number in its pack
        ("segment_offset", "<u8"),
        ("sealed_bytes", "<u4"),
        ("raw_bytes", "<u4"),
        ("codec", "u1"),
        ("offset", "<u4"),  # inside the raw segment
        ("length", "<u4"),
    ]
)
_CHUNK: Final = np.dtype(
    [("id", "u1", (32,)), ("segment", "<u4"), ("offset", "<u4"), ("length", "<u4")]
)
_SEGMENT: Final = np.dtype(
    [
        ("pack", "<u4"),
        ("number", "<u4"),
        ("offset", "<u8"),
        ("sealed_bytes", "<u4"),
        ("raw_bytes", "<u4"),
        ("codec", "<u4"),
    ]
)
_PACK: Final = np.dtype([("id", "u1", (32,)), ("size_bytes", "<u8"), ("lost", "<u8")])
# Magic, version, repository, epoch, tip, and how many packs, segments, chunks and sorted keys.
_HEADER: Final = struct.Struct("<8sI4x16s16s16sQQQQ")
_MAGIC: Final = b"OVLCHIDX"
_VERSION: Final = 1
_DIGEST_BYTES: Final = 32
_WRITE_BYTES: Final = 4 << 20


class IndexHintDamaged(IntegrityError):
    """The saved index cannot be used; it is rebuilt from the repository."""

    code = "index-hint-damaged"

    def __init__(self, *, check: str) -> None:
        super().__init__(f"the saved chunk index is damaged: {check}; it will be rebuilt")
        self.check = check


class _Run(NamedTuple):
    keys: NDArray[np.uint64]  # sorted
    rows: NDArray[np.uint32]


def as_ids(joined: bytes | bytearray | memoryview) -> Ids:
    """Return concatenated 32-byte ids as an array without copying them."""
    return np.frombuffer(joined, np.uint8).reshape(-1, 32)


@final
class ChunkIndex:
    """Chunk id -> pack, segment and place inside it.  Not locked: one thread at a time.

    `epoch` changes whenever chunks may have vanished (`forget_packs`, a rebuild); what was
    known to be stored under an epoch still is while the epoch stays the same.  `tip` is the
    newest recovery point whose chunks the index covers, for who keeps an index for each chain.
    """

    def __init__(self, repository_id: RepositoryId, *, scratch: Path | None = None) -> None:
        """Begin empty.

        Args:
            repository_id: Whose chunks these are.
            scratch: A folder for what does not fit into memory; None keeps all in memory.
        """
        self.repository_id = repository_id
        self.epoch = uuid.uuid4().bytes
        self.tip: PointId | None = None
        self.is_changed = False
        self._scratch = scratch
        self._chunks = Table(_CHUNK, scratch=scratch)
        self._segments = Table(_SEGMENT, scratch=scratch)
        self._packs = Table(_PACK, scratch=None)
        self._pack_rows: dict[PackId, int] = {}
        self._any_lost = False
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        return sum(len(run.keys) for run in self._runs)

    def add(self, pack: PackDirectory) -> None:
        """Make the chunks of a stored pack known; a pack that is known already changes nothing.

        A pack that was forgotten and is there again counts as stored again.
        """
        if self._revive(pack.pack_id):
            return
        entry = np.zeros(1, _PACK)
        entry["id"] = as_ids(bytes.fromhex(pack.pack_id))
        entry["size_bytes"] = pack.pack_bytes
        pack_row = self._packs.append(entry)
        self._pack_rows[pack.pack_id] = pack_row
        first_segment = self._segments.append(_segment_rows(pack, pack_row))
        chunks = np.empty(len(pack.directory.chunks), _CHUNK)
        chunks["id"] = _ids_of(pack.directory.chunks)
        chunks["segment"] = pack.directory.chunks["segment"] + np.uint32(first_segment)
        chunks["offset"] = pack.directory.chunks["offset"]
        chunks["length"] = pack.directory.chunks["length"]
        first = self._chunks.append(chunks)
        self._add_run(_sorted_run(_keys(chunks["id"]), first))
        self.is_changed = True

    def lookup(self, ids: Ids) -> NDArray[np.int64]:
        """Return a row for each id, -1 where the chunk is not stored (or its pack was lost)."""
        rows = np.full(len(ids), -1, np.int64)
        if not len(ids):
            return rows
        keys = _keys(ids)
        open_: NDArray[np.int64] = np.arange(len(ids))
        for run in reversed(self._runs):
            self._search(run, keys, ids, open_, rows)
            open_ = open_[rows[open_] < 0]
            if not len(open_):
                break
        return rows

    def places(self, rows: NDArray[np.int64]) -> Records:
        """Return `PLACE_DTYPE` records for rows that `lookup` found."""
        assert (rows >= 0).all(), "only stored chunks have a place"
        chunks = self._chunks.take(rows)
        segments = self._segments.take(chunks["segment"].astype(np.int64))
        places = np.empty(len(rows), PLACE_DTYPE)
        places["pack"] = segments["pack"]
        places["segment"] = segments["number"]
        places["segment_offset"] = segments["offset"]
        for field in ("sealed_bytes", "raw_bytes", "codec"):
            places[field] = segments[field]
        for field in ("offset", "length"):
            places[field] = chunks[field]
        return places

    def pack_id(self, row: int) -> PackId:
        """Return the id of the pack in a place's `pack` field."""
        found = self._packs.take(np.array([row], np.int64))
        return PackId(found["id"][0].tobytes().hex())

    def pack_ids(self) -> Iterator[PackId]:
        """Yield the packs that are known and not lost."""
        for part in self._packs.parts():
            for pack in part[part["lost"] == 0]:
                yield PackId(pack["id"].tobytes().hex())

    def has_pack(self, pack_id: PackId) -> bool:
        """Return whether the pack is known and not lost."""
        row = self._pack_rows.get(pack_id)
        return row is not None and not self._is_lost(row)

    def forget_packs(self, pack_ids: Iterable[PackId]) -> int:
        """Take the chunks of lost packs for not stored; return how many packs were known.

        The next backup stores again what it needs of them.  The epoch changes.
        """
        rows = [row for pack_id in pack_ids if (row := self._pack_rows.get(pack_id)) is not None]
        rows = [row for row in rows if not self._is_lost(row)]
        for row in rows:
            self._set_lost(row, lost=True)
        if rows:
            self.epoch = uuid.uuid4().bytes
            self.is_changed = True
        return len(rows)

    def save(self, write: Callable[[memoryview], None]) -> None:
        """Write the whole index through `write`; the caller publishes it."""
        digest = blake3()

        def out(data: memoryview) -> None:
            for start in range(0, len(data), _WRITE_BYTES):
                block = data[start : start + _WRITE_BYTES]
                digest.update(block)
                write(block)

        run = self._merged()
        counts = (len(self._packs), len(self._segments), len(self._chunks), len(run.keys))
        repository = uuid.UUID(self.repository_id).bytes
        tip = uuid.UUID(self.tip).bytes if self.tip else bytes(16)
        out(memoryview(_HEADER.pack(_MAGIC, _VERSION, repository, self.epoch, tip, *counts)))
        for table in (self._packs, self._segments, self._chunks):
            for part in table.parts():
                out(_bytes_of(part))
        out(_bytes_of(run.keys))
        out(_bytes_of(run.rows))
        write(memoryview(digest.digest()))
        self.is_changed = False

    @classmethod
    def load(
        cls, data: bytes | memoryview, repository_id: RepositoryId, *, scratch: Path | None = None
    ) -> "ChunkIndex":
        """Return the index that `save` wrote; `data` (mapped, if it is large) stays in use.

        Raises:
            IndexHintDamaged: It is damaged, or of another repository or version.
        """
        view = memoryview(data)
        epoch, tip, counts = _checked_header(view, repository_id)
        index = cls(repository_id, scratch=scratch)
        index.epoch = epoch
        index.tip = PointId(str(uuid.UUID(bytes=tip))) if any(tip) else None
        offset = _HEADER.size
        parts: list[Records] = []
        dtypes: tuple[np.dtype[Any], ...] = (
            *(_PACK, _SEGMENT, _CHUNK),
            *(np.dtype("<u8"), np.dtype("<u4")),
        )
        for count, dtype in zip((*counts, counts[3]), dtypes, strict=True):
            parts.append(np.frombuffer(view, dtype, count, offset))
            offset += count * dtype.itemsize
        packs, segments, chunks, keys, rows = parts
        index._packs = Table(_PACK, scratch=None)
        index._packs.append(packs)
        index._segments = Table(_SEGMENT, scratch=scratch, old=segments)
        index._chunks = Table(_CHUNK, scratch=scratch, old=chunks)
        index._pack_rows = {
            PackId(pack_id.tobytes().hex()): row for row, pack_id in enumerate(packs["id"])
        }
        index._any_lost = bool(packs["lost"].any())
        index._runs = [_Run(keys, rows)] if len(keys) else []
        return index

    def _revive(self, pack_id: PackId) -> bool:
        row = self._pack_rows.get(pack_id)
        if row is None:
            return False
        if self._is_lost(row):
            # A load may have dropped the rows of lost packs from the run: forget that it was
            # known, so that it is added anew.
            del self._pack_rows[pack_id]
            return False
        return True

    def _is_lost(self, row: int) -> bool:
        return bool(self._packs.take(np.array([row], np.int64))["lost"][0])

    def _set_lost(self, row: int, *, lost: bool) -> None:
        self._packs.parts()[1]["lost"][row] = lost
        self._any_lost = True

    def _search(
        self,
        run: _Run,
        keys: NDArray[np.uint64],
        ids: Ids,
        open_: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> None:
        """Set `rows` for the `open_` positions that the run knows."""
        at = np.searchsorted(run.keys, keys[open_])
        while len(open_):
            # Different chunks may share a prefix, and a lost chunk may have been stored again:
            # look at each neighbour with the same prefix.
            inside = at < len(run.keys)
            open_, at = open_[inside], at[inside]
            same = run.keys[at] == keys[open_]
            open_, at = open_[same], at[same]
            found = run.rows[at].astype(np.int64)
            hit = self._confirm(found, ids[open_])
            rows[open_[hit]] = found[hit]
            open_, at = open_[~hit], at[~hit] + 1

    def _confirm(self, rows: NDArray[np.int64], ids: Ids) -> NDArray[np.bool_]:
        chunks = self._chunks.take(rows)
        hit: NDArray[np.bool_] = (chunks["id"] == ids).all(axis=1)
        if self._any_lost and len(rows):
            segments = self._segments.take(chunks["segment"].astype(np.int64))
            hit &= self._packs.take(segments["pack"].astype(np.int64))["lost"] == 0
        return hit

    def _add_run(self, run: _Run) -> None:
        if not len(run.keys):
            return
        self._runs.append(run)
        # The logarithmic method: runs double in length from last to first, so that there are few.
        while len(self._runs) > 1 and 2 * len(self._runs[-1].keys) > len(self._runs[-2].keys):
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(_merge([older, newer]))

    def _merged(self) -> _Run:
        if not self._runs:
            return _Run(np.empty(0, np.uint64), np.empty(0, np.uint32))
        run = self._runs[0] if len(self._runs) == 1 else _merge(self._runs)
        if self._any_lost:
            chunks = self._chunks.take(run.rows.astype(np.int64))
            segments = self._segments.take(chunks["segment"].astype(np.int64))
            kept = self._packs.take(segments["pack"].astype(np.int64))["lost"] == 0
            run = _Run(run.keys[kept], run.rows[kept])
        return run


def _segment_rows(pack: PackDirectory, pack_row: int) -> Records:
    segments = pack.directory.segments
    rows = np.empty(len(segments), _SEGMENT)
    rows["pack"] = pack_row
    rows["number"] = np.arange(len(segments))
    for field in ("offset", "sealed_bytes", "raw_bytes", "codec"):
        rows[field] = segments[field]
    return rows


def _ids_of(chunks: Records) -> Ids:
    ids = np.ascontiguousarray(chunks["id"])
    return ids.view(np.uint8).reshape(len(chunks), 32)


def _keys(ids: Ids) -> NDArray[np.uint64]:
    return np.ascontiguousarray(ids[:, :8]).view("<u8").reshape(-1)


def _sorted_run(keys: NDArray[np.uint64], first_row: int) -> _Run:
    order = np.argsort(keys, kind="stable")
    return _Run(keys[order], (order + first_row).astype(np.uint32))


def _merge(runs: list[_Run]) -> _Run:
    keys = np.concatenate([run.keys for run in runs])
    rows = np.concatenate([run.rows for run in runs])
    order = np.argsort(keys, kind="stable")  # nearly linear: the runs are sorted already
    return _Run(keys[order], rows[order])


def _bytes_of(array: NDArray[Any]) -> memoryview:
    if not array.size:
        return memoryview(b"")
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1).data


def _checked_header(
    view: memoryview, repository_id: RepositoryId
) -> tuple[bytes, bytes, tuple[int, int, int, int]]:
    if len(view) < _HEADER.size + _DIGEST_BYTES:
        raise IndexHintDamaged(check="too short")
    magic, version, repository, epoch, tip, *counts = _HEADER.unpack_from(view)
    if magic != _MAGIC or version != _VERSION:
        raise IndexHintDamaged(check="unknown format")
    if repository != uuid.UUID(repository_id).bytes:
        raise IndexHintDamaged(check="another repository")
    packs, segments, chunks, keys = counts
    body = packs * _PACK.itemsize + segments * _SEGMENT.itemsize + chunks * _CHUNK.itemsize
    if len(view) != _HEADER.size + body + keys * 12 + _DIGEST_BYTES:
        raise IndexHintDamaged(check="wrong length")
    digest = blake3(view[:-_DIGEST_BYTES], max_threads=blake3.AUTO).digest()
    if digest != bytes(view[-_DIGEST_BYTES:]):
        raise IndexHintDamaged(check="checksum")
    return epoch, tip, (packs, segments, chunks, keys)
