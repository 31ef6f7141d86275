"""Where every stored chunk lies: compact, searched in batches, and only a hint.

The index is rebuilt from index files and pack directories at any time, so that losing it costs
time and no data; `hints` saves it.  Sorted runs of 8-byte prefixes are searched; the full 32-byte
id confirms a hit.  Twelve bytes a chunk are needed in fast memory; the rest is mapped and read on
a hit only.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from overland.format.index import IndexTables, PackDirectory, chunk_keys, id_keys
from overland.packing.head import IndexHintDamaged
from overland.packing.parts import CHUNK_ROW, PACK_ROW, SEGMENT_ROW, IndexPart
from overland.packing.tables import Piece, Records, Table
from overland.values import PackId, PointId, RepositoryId

__all__ = [
    "PLACE_DTYPE",
    "ChunkIndex",
    "Ids",
    "as_ids",
]

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
        self.is_damaged = False  # rows were met that are not as they were written
        self.is_saved = False  # since it was made or loaded
        self.parts: tuple[IndexPart, ...] = ()  # what of it was loaded
        self._chunks = Table(CHUNK_ROW, scratch=scratch)
        self._segments = Table(SEGMENT_ROW, scratch=scratch)
        self._packs = Table(PACK_ROW, scratch=None)
        self._pack_rows: dict[PackId, int] = {}
        self._any_lost = False
        self._old_runs: list[_Run] = []  # of the parts, which stay as they are
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        return len(self._chunks)

    def add(self, pack: PackDirectory) -> None:
        """Make the chunks of a stored pack known; a pack that is known already changes nothing.

        A pack that was forgotten and is there again counts as stored again.
        """
        if self._revive(pack.pack_id):
            return
        entry = np.zeros(1, PACK_ROW)
        entry["id"] = as_ids(bytes.fromhex(pack.pack_id))
        entry["size_bytes"] = pack.pack_bytes
        pack_row = self._packs.append(entry)
        self._pack_rows[pack.pack_id] = pack_row
        segments, chunks = pack.directory.segments, pack.directory.chunks
        first = self._append(segments, np.uint32(pack_row), np.arange(len(segments)), chunks)
        self._add_run(_sorted_run(chunk_keys(chunks), first))

    def add_tables(self, tables: IndexTables, *, wanted: Callable[[PackId], bool]) -> None:
        """Make the chunks of those packs of an index file known that are `wanted`.

        As `add` for each of them, and far faster: the file's chunks are sorted already.
        """
        is_new = [wanted(pack_id) and not self._revive(pack_id) for pack_id in tables.pack_ids()]
        rows = np.flatnonzero(is_new)
        if not len(rows):
            return
        entries = np.zeros(len(rows), PACK_ROW)
        entries["id"] = tables.packs["id"][rows]
        entries["size_bytes"] = tables.packs["pack_bytes"][rows]
        first_pack = self._packs.append(entries)
        for row, pack_id in enumerate(_pack_ids(entries), first_pack):
            self._pack_rows[pack_id] = row
        counts = tables.packs["segments"].astype(np.int64)
        numbers = np.arange(len(tables.segments)) - np.repeat(np.cumsum(counts) - counts, counts)
        segments, chunks = tables.segments, tables.chunks
        if len(rows) < len(is_new):
            is_kept = np.repeat(is_new, counts)
            segments, numbers = segments[is_kept], numbers[is_kept]
            chunks = chunks[is_kept[chunks["segment"]]]
            chunks["segment"] = (np.cumsum(is_kept) - 1)[chunks["segment"]]
        pack_rows = np.repeat(np.arange(first_pack, len(self._packs)), counts[rows])
        first = self._append(segments, pack_rows, numbers, chunks)
        at = np.arange(first, first + len(chunks), dtype=np.uint32)
        self._add_run(_Run(chunk_keys(chunks), at))

    def _append(
        self,
        segments: Records,
        pack_rows: NDArray[Any] | np.uint32,
        numbers: NDArray[np.int64],
        chunks: Records,
    ) -> int:
        """Add rows of an index file or a directory; return the number of the first chunk's."""
        rows = np.empty(len(segments), SEGMENT_ROW)
        rows["pack"] = pack_rows
        rows["number"] = numbers
        for field in ("offset", "sealed_bytes", "raw_bytes", "codec"):
            rows[field] = segments[field]
        first_segment = self._segments.append(rows)
        first = self._chunks.append(chunks)
        self._chunks.new_rows()["segment"][-len(chunks) :] += np.uint32(first_segment)
        self.is_changed = True
        return first

    def lookup(self, ids: Ids) -> NDArray[np.int64]:
        """Return a row for each id, -1 where the chunk is not stored (or its pack was lost).

        A chunk whose row is damaged counts as not stored.
        """
        rows = np.full(len(ids), -1, np.int64)
        if not len(ids):
            return rows
        keys = id_keys(ids)
        open_: NDArray[np.int64] = np.arange(len(ids))
        for run in (*reversed(self._runs), *reversed(self._old_runs)):
            self._search(run, keys, ids, open_, rows)
            open_ = open_[rows[open_] < 0]
            if not len(open_):
                break
        return rows

    def unknown(self, joined: bytes) -> list[int]:
        """Return the positions of the ids, laid end to end, whose chunks are not stored."""
        found: list[int] = np.flatnonzero(self.lookup(as_ids(joined)) < 0).tolist()
        return found

    def places(self, rows: NDArray[np.int64]) -> Records:
        """Return `PLACE_DTYPE` records for rows that `lookup` found.

        Raises:
            IndexHintDamaged: A place is not as it was written.
        """
        assert (rows >= 0).all(), "only stored chunks have a place"
        chunks = self._chunks.take(rows)
        at = chunks["segment"].astype(np.int64)
        if not self._segments.are_sound(at).all():
            raise IndexHintDamaged(check="rows of segments")
        segments = self._segments.take(at)
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
        packs = self._packs.new_rows()
        yield from _pack_ids(packs[packs["lost"] == 0])

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

    @classmethod
    def of_parts(
        cls,
        repository_id: RepositoryId,
        parts: Sequence[IndexPart],
        *,
        lost: NDArray[np.uint32],
        scratch: Path | None,
    ) -> "ChunkIndex":
        """Return an index that was saved; the parts stay in use.

        Args:
            repository_id: Whose chunks these are.
            parts: In the order in which they were saved; their packs are sound.
            lost: Rows of lost packs.
            scratch: As of a new index.
        """
        index = cls(repository_id, scratch=scratch)
        index.parts = tuple(parts)
        for part in parts:
            index._packs.append(part.packs.rows)
        packs = index._packs.new_rows()
        packs["lost"] = 0
        packs["lost"][lost] = 1
        index._pack_rows = {pack_id: row for row, pack_id in enumerate(_pack_ids(packs))}
        index._any_lost = bool(len(lost))
        index._segments = Table(SEGMENT_ROW, scratch=scratch, old=[p.segments for p in parts])
        index._chunks = Table(CHUNK_ROW, scratch=scratch, old=[part.chunks for part in parts])
        index._old_runs = [_Run(part.keys.rows, part.rows.rows) for part in parts]
        return index

    def new_part(self) -> IndexPart:
        """Return what was added since the index was made or loaded."""
        run = _Run(np.empty(0, np.uint64), np.empty(0, np.uint32))
        if self._runs:
            run = self._runs[0] if len(self._runs) == 1 else _merge(self._runs)
        old = sum(len(part.packs) for part in self.parts)
        return IndexPart(
            name="",
            digest=b"",
            keys=Piece(run.keys, digests=None),
            rows=Piece(run.rows, digests=None),
            packs=Piece(self._packs.new_rows()[old:], digests=None),
            segments=Piece(self._segments.new_rows(), digests=None),
            chunks=Piece(self._chunks.new_rows(), digests=None),
        )

    def lost_rows(self) -> NDArray[np.uint32]:
        """Return the rows of the packs that are lost."""
        return np.flatnonzero(self._packs.new_rows()["lost"]).astype(np.uint32)

    def _revive(self, pack_id: PackId) -> bool:
        row = self._pack_rows.get(pack_id)
        if row is None:
            return False
        if self._is_lost(row):
            # Forget that it was known, so that it is added anew.
            del self._pack_rows[pack_id]
            return False
        return True

    def _is_lost(self, row: int) -> bool:
        return bool(self._packs.take(np.array([row], np.int64))["lost"][0])

    def _set_lost(self, row: int, *, lost: bool) -> None:
        self._packs.new_rows()["lost"][row] = lost
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
        hit = self._sound(self._chunks, rows)
        chunks = self._chunks.take(rows[hit])
        hit[hit] = (chunks["id"] == ids[hit]).all(axis=1)
        if self._any_lost and hit.any():
            at = self._chunks.take(rows[hit])["segment"].astype(np.int64)
            hit[hit] = self._are_kept(at)
        return hit

    def _are_kept(self, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for segments whether their packs are known and not lost."""
        kept = self._sound(self._segments, at)
        packs = self._segments.take(at[kept])["pack"].astype(np.int64)
        kept[kept] = self._packs.take(packs)["lost"] == 0
        return kept

    def _sound(self, table: Table, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        sound = table.are_sound(rows)
        self.is_damaged = self.is_damaged or not sound.all()
        return sound

    def _add_run(self, run: _Run) -> None:
        if not len(run.keys):
            return
        self._runs.append(run)
        # The logarithmic method: runs double in length from last to first, so that there are few.
        while len(self._runs) > 1 and 2 * len(self._runs[-1].keys) > len(self._runs[-2].keys):
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(_merge([older, newer]))


def _pack_ids(packs: Records) -> Iterator[PackId]:
    joined = packs["id"].tobytes().hex()
    return (PackId(joined[at : at + 64]) for at in range(0, len(joined), 64))


def _sorted_run(keys: NDArray[np.uint64], first_row: int) -> _Run:
    order = np.argsort(keys, kind="stable")
    return _Run(keys[order], (order + first_row).astype(np.uint32))


def _merge(runs: list[_Run]) -> _Run:
    keys = np.concatenate([run.keys for run in runs])
    rows = np.concatenate([run.rows for run in runs])
    order = np.argsort(keys, kind="stable")  # nearly linear: the runs are sorted already
    return _Run(keys[order], rows[order])
