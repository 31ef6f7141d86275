"""Files to restore, gathered until there are enough to read the packs in their own order.

A batch is what bounds memory: a number of files and of chunks, whatever the size of the point.
It is large because a segment that holds files of two batches is read and decoded for each.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from overland.agent.points.chunks import ChunkStore, Job, Segment, Wanted
from overland.agent.restore.target import Folder, unfinished_name
from overland.agent.restore.writing import Edges
from overland.format.tree import Entry, TreeCorrupt
from overland.packing.index import Ids, as_ids
from overland.packing.reader import ChunkAbsent

__all__ = ["Batch", "FileTask", "Piece", "Prepared", "Wish"]

_MAX_CHUNKS: Final = 1 << 17
_MAX_FILES: Final = 3 << 15
"""At 1 to 2 kB each, and a second batch is planned while one is written."""

_SHARED_FILES: Final = 3 << 14
"""Fewer, because each process copies what it touches of the plan; and they begin earlier."""

_FIRST_FILES: Final = 1 << 13
"""Of the first batch for processes: nobody works while that one is planned."""

_GROWTH: Final = 3
"""So much larger is the next one: writing takes about so many times as long as planning, and the
processes would wait for the plan of a larger one."""

_ID_BYTES: Final = 32
_NO_PACKS: Final = frozenset[str]()


class FileTask:
    """One file on its way to the target.

    Attributes:
        remaining: Chunks of started batches still to be written, and one more while the file goes
            on in a later batch.  Whoever brings it to 0 finishes the file.
        position: How far the file's data is located, without holes.
        error: Why the file will not be complete.
        earlier: The error of the first try, in the second.
        edges: Of a file that threads write together: what waits for the rest of its block.
        packs: Packs that could not be read for it.
        is_present: It was there already; its content is only verified.
    """

    __slots__ = (
        "_number",
        "_starts",
        "_token",
        "earlier",
        "edges",
        "entry",
        "error",
        "folder",
        "is_created",
        "is_done",
        "is_held",
        "is_present",
        "name",
        "packs",
        "path",
        "position",
        "remaining",
        "replace",
    )

    def __init__(
        self,
        *,
        folder: Folder,
        name: bytes,
        token: bytes,
        number: int,
        path: bytes,
        entry: Entry,
        replace: bool,
    ) -> None:
        self.folder, self.name, self._token, self._number = folder, name, token, number
        self.path, self.entry, self.replace = path, entry, replace
        self.remaining = 0
        self.position = 0
        self.error: Exception | None = None
        self.earlier: Exception | None = None
        self.packs = _NO_PACKS
        self.edges: Edges | None = None
        self.is_created = self.is_done = self.is_held = self.is_present = False
        extents = entry.extents
        self._starts = (
            [0, *accumulate(length for _, length in extents)] if extents is not None else None
        )

    @property
    def unfinished(self) -> bytes:
        """Its name until it is complete."""
        return unfinished_name(self._token, self._number)

    @property
    def cause(self) -> Exception:
        """Why there is no file: that no other pack has a chunk says less than the first error."""
        assert self.error is not None, "asked for what failed"
        is_search = isinstance(self.error, ChunkAbsent)
        return self.earlier if is_search and self.earlier is not None else self.error

    @property
    def data_bytes(self) -> int:
        """How long the file's data is, without holes."""
        return self.entry.size_bytes if self._starts is None else self._starts[-1]

    @property
    def is_sparse(self) -> bool:
        """Whether the file has holes."""
        return self._starts is not None

    def ranges(self, position: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Yield where data goes: offset in the data given, offset in the file, length."""
        if self._starts is None:
            yield 0, position, length
            return
        assert self.entry.extents is not None, "starts are made of extents"
        number, done = bisect_right(self._starts, position) - 1, 0
        while done < length:
            offset, extent_length = self.entry.extents[number]
            inside = position + done - self._starts[number]
            size = min(extent_length - inside, length - done)
            yield done, offset + inside, size
            done += size
            number += 1


class Wish(NamedTuple):
    """An entry that is no folder, and its place; a link, where its file is restored already."""

    folder: Folder
    name: bytes
    path: bytes
    entry: Entry
    replace: bool


class Piece(NamedTuple):
    """A run of a file's chunks, their ids end to end; a very large file has many."""

    task: FileTask
    ids: bytes
    is_last: bool

    @property
    def chunks(self) -> int:
        """How many chunks it is."""
        return len(self.ids) // _ID_BYTES


class Batch:
    """What is planned until it is time to read; afterwards come links, then folders' metadata.

    Attributes:
        pieces: What is to be written.
        links: Other names of files of this batch, or of earlier ones.
        finals: Folders that are complete with this batch.
        max_files: With so many it is full.
    """

    def __init__(self, *, is_shared: bool = False, after: "Batch | None" = None) -> None:
        """Begin; `is_shared` tells that processes may write it, as they did the one before."""
        shared_files = min(after.max_files * _GROWTH, _SHARED_FILES) if after else _FIRST_FILES
        self.max_files: int = shared_files if is_shared else _MAX_FILES
        self.pieces: list[Piece] = []
        self.links: list[Wish] = []
        self.finals: list[tuple[Folder, Entry | None, bytes]] = []
        self._chunks = 0

    def add(self, piece: Piece) -> None:
        """Plan to restore a run of a file's chunks."""
        self.pieces.append(piece)
        self._chunks += len(piece.ids) // _ID_BYTES

    @property
    def is_full(self) -> bool:
        """Whether it is time to read."""
        return (
            self._chunks >= _MAX_CHUNKS
            or len(self.pieces) >= self.max_files
            or len(self.links) >= _MAX_FILES
            or len(self.finals) >= _MAX_FILES
        )


class Prepared:
    """A batch whose chunks are located: jobs for the packs, and runs of bytes for the files.

    A run is a part of one raw segment that goes to one file in one piece.  A stretch is the runs
    of one job that follow each other in one file: it is written at once, from several segments.
    """

    def __init__(self, batch: Batch, store: ChunkStore) -> None:
        self.pieces = batch.pieces
        self.tasks = [piece.task for piece in batch.pieces]
        self.counts = np.array([len(piece.ids) for piece in batch.pieces], np.int64) // _ID_BYTES
        self._ends: list[int] = self.counts.cumsum().tolist()
        self.ids: Ids = as_ids(b"".join([piece.ids for piece in batch.pieces]))
        owner = np.repeat(np.arange(len(self.pieces)), self.counts)
        places, is_known = store.find(self.ids)
        self._note_absent(is_known, owner)
        known = np.flatnonzero(is_known)
        places = places[known]
        self.lengths = np.zeros(len(self.ids), np.int64)
        self.lengths[known] = places["length"]
        self.positions = self._positions()
        wanted = np.array([t.error is None and not t.is_present for t in self.tasks], bool)
        kept = wanted[owner[known]]
        self.wanted = Wanted(self.ids[known[kept]], places[kept])
        chosen = known[kept][self.wanted.order]
        self._is_wanted = wanted.tolist()
        self.jobs: list[Job] = list(store.jobs(self.wanted))
        self._make_runs(owner[chosen], self.positions[chosen])

    def begin(self) -> None:
        """Count what is to be written, before anybody begins to."""
        for piece, is_wanted in zip(self.pieces, self._is_wanted, strict=True):
            task = piece.task
            if is_wanted:
                task.remaining += piece.chunks
            if piece.is_last == task.is_held:
                task.remaining += -1 if task.is_held else 1
                task.is_held = not task.is_held

    def rows(self, number: int) -> tuple[int, int]:
        """Return where the chunks of a piece begin and end."""
        return (self._ends[number - 1] if number else 0), self._ends[number]

    def runs(self, first: Segment, last: Segment) -> range:
        """Return the numbers of the runs from one wanted segment to another of the same job."""
        return range(int(self.run_of_row[first.start]), int(self.run_of_row[last.end - 1]) + 1)

    def stretches(self, first: Segment, last: Segment) -> range:
        """Return the numbers of the stretches that begin between two segments of one job."""
        runs = self.runs(first, last)
        return range(
            bisect_left(self.stretch_runs, runs.start), bisect_left(self.stretch_runs, runs.stop)
        )

    def stretch(self, number: int) -> tuple[int, range, int]:
        """Return the number of a stretch's piece, its runs, and how many chunks it has."""
        first, end = self.stretch_runs[number], self.stretch_runs[number + 1]
        return self.run_task[first], range(first, end), self.stretch_chunks[number]

    def _note_absent(self, is_known: NDArray[np.bool_], owner: NDArray[np.int64]) -> None:
        absent = np.flatnonzero(~is_known)
        for number in sorted(set(owner[absent].tolist())):
            mine = absent[owner[absent] == number]
            task = self.tasks[number]
            task.error = task.error or ChunkAbsent(self.ids[mine[0]].tobytes(), count=len(mine))

    def _positions(self) -> NDArray[np.int64]:
        """Return where each chunk begins in its file's data; refuse lists that do not add up."""
        ends = np.cumsum(self.lengths)
        borders = np.concatenate([[0], np.cumsum(self.counts)])
        totals = np.concatenate([[0], ends])[borders].tolist()
        bases: list[int] = []
        for piece, before, after in zip(self.pieces, totals, totals[1:], strict=False):
            task = piece.task
            bases.append(task.position - before)
            task.position += after - before
            too_long = task.position > task.data_bytes
            if too_long or (piece.is_last and task.position != task.data_bytes):
                task.error = task.error or TreeCorrupt(
                    "a file's entry", check="its chunks do not add up to its size"
                )
        return ends - self.lengths + np.repeat(np.array(bases, np.int64), self.counts)

    def _make_runs(self, owner: NDArray[np.int64], positions: NDArray[np.int64]) -> None:
        places = self.wanted.places
        offsets, lengths = places["offset"].astype(np.int64), places["length"].astype(np.int64)
        goes_on = np.zeros(len(places), bool)  # in its file, from the row before
        goes_on[1:] = (np.diff(owner) == 0) & (positions[1:] == positions[:-1] + lengths[:-1])
        starts = np.array([job.segments[0].start for job in self.jobs], np.int64)
        goes_on[starts] = False
        begins = ~goes_on
        begins[1:] |= (
            (np.diff(places["pack"].astype(np.int64)) != 0)
            | (np.diff(places["segment"].astype(np.int64)) != 0)
            | (offsets[1:] != offsets[:-1] + lengths[:-1])
        )
        first = np.flatnonzero(begins)
        self.run_of_row = np.append(np.cumsum(begins) - 1, len(first))
        self.run_task: list[int] = owner[first].tolist()
        self.run_offset: list[int] = offsets[first].tolist()
        self.run_position: list[int] = positions[first].tolist()
        sums = np.add.reduceat(lengths, first) if len(first) else lengths
        self.run_length: list[int] = sums.tolist()
        stretches = np.append(np.flatnonzero(~goes_on[first]), len(first))
        self.stretch_runs: list[int] = stretches.tolist()
        rows = np.append(first, len(places))
        self.stretch_chunks: list[int] = np.diff(rows[stretches]).tolist()
