"""Where every stored chunk lies: compact, searched in batches, and only a hint.

The index is rebuilt from index files and pack directories at any time, so that losing it costs
time and no data; `hints` saves it.  Sorted runs of 8-byte prefixes are searched; the full 32-byte
id confirms a hit.

With a scratch folder, its memory does not grow with the chunks, but for 300 bytes for each pack
that is added and 13 for each that was saved before.  At most 100 MiB are private: short runs, the
ends of tables that have not grown out of memory yet, a slice that is being merged.  All else is
mapped: parts that were saved, and new rows, which lie in scratch files (56 bytes a chunk).

On Linux, mapped pages are let go when more than `RESIDENT_BYTES` of the whole process's mapped
files are resident, which is looked at for every `_LOOKED_UP` chunks; each touches a few times 64
KiB in each table and run it looks into.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from overland.format.index import IndexTables, PackDirectory, chunk_keys, id_keys
from overland.packing.head import IndexHintDamaged
from overland.packing.packs import Packs
from overland.packing.parts import CHUNK_ROW, PACK_ROW, SEGMENT_ROW, IndexPart
from overland.packing.runs import NewRuns, Run, sorted_run
from overland.packing.scratch import RESIDENT_BYTES, blocks_read, is_too_much_resident
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

_LOOKED_UP: Final = 256  # chunks; as many as a batch of small files asks for
_APPENDED: Final = 1 << 16  # rows that are copied at a time
_MANY_BLOCKS: Final = 128  # of 512 bytes, read in a look-up of `_LOOKED_UP` chunks or fewer
_CHUNK_BYTES: Final = np.dtype((np.void, CHUNK_ROW.itemsize))  # copied five times as fast
_ID_BYTES: Final = np.dtype(
    {"names": ["id"], "formats": ["V32"], "offsets": [0], "itemsize": CHUNK_ROW.itemsize}
)


def as_ids(joined: bytes | bytearray | memoryview) -> Ids:
    """Return concatenated 32-byte ids as an array without copying them."""
    return np.frombuffer(joined, np.uint8).reshape(-1, 32)


@final
class ChunkIndex:
    """Chunk id -> pack, segment and place inside it.  Not locked: one thread at a time.

    `epoch` changes whenever chunks may have vanished (`forget_packs`, a rebuild), and with each
    new change cache (`agent.backup.hints`); what was known to be stored under an epoch still is
    while the epoch stays the same.  `tip` is the
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
        self._packs = Packs((), lost=np.empty(0, np.uint32))
        self._is_large = False  # more than may be resident
        self._is_cold = True  # look-ups of parts read much of them from a disk
        self._old_runs: list[Run] = []  # of the parts, which stay as they are
        self._runs = NewRuns(scratch=scratch)

    def __len__(self) -> int:
        return len(self._chunks)

    def add(self, pack: PackDirectory) -> None:
        """Make the chunks of a stored pack known; a pack that is known already changes nothing.

        A pack that was forgotten and is there again counts as stored again.

        Raises:
            OutOfSpace: The scratch folder's disk is full; the index is not to be used any more.
        """
        if self.has_pack(pack.pack_id):
            return
        entry = np.zeros(1, PACK_ROW)
        entry["id"] = as_ids(bytes.fromhex(pack.pack_id))
        entry["size_bytes"] = pack.pack_bytes
        pack_row = self._packs.append(entry)
        segments, chunks = pack.directory.segments, pack.directory.chunks
        first = self._append(segments, np.uint32(pack_row), np.arange(len(segments)), chunks)
        self._runs.add(sorted_run(chunk_keys(chunks), first_row=first))
        self._note_size()

    def add_tables(self, tables: IndexTables, *, wanted: Callable[[PackId], bool]) -> None:
        """Make the chunks of those packs of an index file known that are `wanted`.

        As `add` for each of them, and far faster: the file's chunks are sorted already.

        Raises:
            OutOfSpace: As `add`.
        """
        is_new = [wanted(pack_id) and not self.has_pack(pack_id) for pack_id in tables.pack_ids()]
        rows = np.flatnonzero(is_new)
        if not len(rows):
            return
        entries = np.zeros(len(rows), PACK_ROW)
        entries["id"] = tables.packs["id"][rows]
        entries["size_bytes"] = tables.packs["pack_bytes"][rows]
        first_pack = self._packs.append(entries)
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
        self._runs.add(Run(Piece(chunk_keys(chunks), digests=None), Piece(at, digests=None)))
        self._note_size()

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
        first = len(self._chunks)
        for at in range(0, len(chunks), _APPENDED):
            shifted = chunks[at : at + _APPENDED].view(_CHUNK_BYTES).copy().view(CHUNK_ROW)
            shifted["segment"] += np.uint32(first_segment)
            self._chunks.append(shifted)
        self.is_changed = True
        return first

    def lookup(self, ids: Ids) -> NDArray[np.int64]:
        """Return a row for each id, -1 where the chunk is not stored (or its pack was lost).

        A chunk whose row is damaged counts as not stored.
        """
        rows = np.full(len(ids), -1, np.int64)
        for some in self._steps(len(ids)):
            self._look_up(ids[some], rows[some])
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
        places = np.empty(len(rows), PLACE_DTYPE)
        for some in self._steps(len(rows)):
            places[some] = self._places(rows[some])
        return places

    def _places(self, rows: NDArray[np.int64]) -> Records:
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
        return self._packs.pack_id(row)

    def pack_ids(self) -> Iterator[PackId]:
        """Yield the packs that are known and not lost."""
        return self._packs.pack_ids()

    def has_pack(self, pack_id: PackId) -> bool:
        """Return whether the pack is known and not lost."""
        return self._packs.row_of(pack_id) is not None

    def forget_packs(self, pack_ids: Iterable[PackId]) -> int:
        """Take the chunks of lost packs for not stored; return how many packs were known.

        The next backup stores again what it needs of them.  The epoch changes.
        """
        rows = {row for pack_id in pack_ids if (row := self._packs.row_of(pack_id)) is not None}
        for row in rows:
            self._packs.lose(row)
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
        index._packs = Packs([part.packs for part in parts], lost=lost)
        index._segments = Table(SEGMENT_ROW, scratch=scratch, old=[p.segments for p in parts])
        index._chunks = Table(CHUNK_ROW, scratch=scratch, old=[part.chunks for part in parts])
        index._old_runs = [Run(part.keys, part.rows) for part in parts]
        index._note_size()
        return index

    def new_part(self) -> IndexPart:
        """Return what was added since the index was made or loaded."""
        run = self._runs.merged()
        return IndexPart(
            name="",
            digest=b"",
            keys=run.keys,
            rows=run.rows,
            packs=self._packs.new_piece(),
            segments=self._segments.new_piece(),
            chunks=self._chunks.new_piece(),
        )

    def lost_rows(self) -> NDArray[np.uint32]:
        """Return the rows of the packs that are lost."""
        return self._packs.lost_rows()

    def _steps(self, count: int) -> Iterator[slice]:
        """Yield slices of so many, between which too much resident memory is let go."""
        if not self._is_large:
            yield slice(0, count)
            return
        for first in range(0, count, _LOOKED_UP):
            yield slice(first, first + _LOOKED_UP)
            if is_too_much_resident():
                for each in self._all_mapped():
                    each.let_go()

    def _all_mapped(self) -> Iterator[Piece | Table]:
        for run in (*self._old_runs, *self._runs.runs):
            yield from run
        yield from (self._chunks, self._segments)

    def _look_up(self, ids: Ids, rows: NDArray[np.int64]) -> None:
        keys = id_keys(ids)
        open_: NDArray[np.int64] = np.flatnonzero(self._runs.may_know(keys))
        for run in reversed(self._runs.runs):
            self._search(run, keys, ids, open_, rows)
            open_ = open_[rows[open_] < 0]
        if self._old_runs:
            before = blocks_read()
            for run in reversed(self._old_runs):
                open_ = np.flatnonzero(rows < 0)
                self._search(run, keys, ids, open_, rows, is_cold=self._is_cold)
            self._is_cold = blocks_read() - before >= _MANY_BLOCKS

    def _search(
        self,
        run: Run,
        keys: NDArray[np.uint64],
        ids: Ids,
        open_: NDArray[np.int64],
        rows: NDArray[np.int64],
        *,
        is_cold: bool = False,
    ) -> None:
        """Set `rows` for the `open_` positions that the run knows."""
        sorted_keys, all_rows = run.keys.rows, run.rows.rows
        at = run.positions(keys[open_], is_cold=is_cold)
        while len(open_):
            # Different chunks may share a prefix, and a lost chunk may have been stored again:
            # look at each neighbour with the same prefix.
            inside = at < len(sorted_keys)
            open_, at = open_[inside], at[inside]
            same = sorted_keys[at] == keys[open_]
            open_, at = open_[same], at[same]
            if is_cold:
                run.rows.will_need(at, count=1)
            found = all_rows[at].astype(np.int64)
            hit = self._confirm(found, ids.take(open_, axis=0))
            rows[open_[hit]] = found[hit]
            open_, at = open_[~hit], at[~hit] + 1

    def _confirm(self, rows: NDArray[np.int64], ids: Ids) -> NDArray[np.bool_]:
        hit = self._sound(self._chunks, rows)
        sound = np.flatnonzero(hit)
        chunks = self._chunks.take(rows.take(sound))
        hit[sound] = _are_same(chunks, ids.take(sound, axis=0))
        if self._packs.any_lost and hit.any():
            at = self._chunks.take(rows[hit])["segment"].astype(np.int64)
            hit[hit] = self._are_kept(at)
        return hit

    def _are_kept(self, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for segments whether their packs are known and not lost."""
        kept = self._sound(self._segments, at)
        packs = self._segments.take(at[kept])["pack"].astype(np.int64)
        kept[kept] = self._packs.are_kept(packs)
        return kept

    def _sound(self, table: Table, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        sound = table.are_sound(rows)
        self.is_damaged = self.is_damaged or not sound.all()
        return sound

    def _note_size(self) -> None:
        mapped_bytes = sum(each.mapped_bytes for each in self._all_mapped())
        self._is_large = mapped_bytes > RESIDENT_BYTES


def _are_same(chunks: Records, ids: Ids) -> NDArray[np.bool_]:
    """Return for each row whether its id is the one beside it."""
    # By columns of words: a comparison of rows of 32 bytes takes five times as long.
    found = np.ascontiguousarray(chunks.view(_ID_BYTES)["id"]).view(np.uint64).reshape(-1, 4)
    asked = ids.view(np.uint64)
    same: NDArray[np.bool_] = found[:, 0] == asked[:, 0]
    for word in (1, 2, 3):
        same &= found[:, word] == asked[:, word]
    return same
