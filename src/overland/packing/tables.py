"""Growing arrays that may be larger than memory.

A table is old pieces that are only read (usually mapped from files) and a new part that grows: in
memory up to `_IN_MEMORY_BYTES`, from then on in a scratch file (`scratch`), which grows where it
is: nothing is copied, and rows that are appended are not resident before they are taken.

A piece that lay in a file has a digest for each block of rows.  A block is verified when a row of
it is first asked for, so that opening a piece takes no longer for being large.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from overland.packing.head import DIGEST_BYTES, blocks_of, rows_per_block
from overland.packing.scratch import Mapping, ScratchFile

__all__ = ["Piece", "Records", "Table"]

Records = NDArray[Any]  # structured arrays: numpy has no static type for their fields
_FIRST_ROWS: Final = 4096
_IN_MEMORY_BYTES: Final = 8 << 20
_SLICE_BYTES: Final = 4 << 20
_UNKNOWN: Final = 0
_SOUND: Final = 1
_DAMAGED: Final = 2


@final
class Piece:
    """Rows that exist already, and that are sound as far as their digests say so."""

    def __init__(
        self, rows: Records, *, digests: memoryview | None, mapping: Mapping | None = None
    ) -> None:
        """Take rows over.

        Args:
            rows: Never written to.
            digests: BLAKE3 of each block, shortened and laid end to end; None for rows that were
                made in this process.
            mapping: In which the rows lie; None for rows in memory.
        """
        self.rows = rows
        self._mapping = mapping
        self._digests = digests
        # Where in the mapping the rows begin.
        self._start = _address(rows) - _address(mapping.data) if mapping and len(rows) else 0
        self._per_block = rows_per_block(rows.dtype.itemsize)
        state = _SOUND if digests is None else _UNKNOWN
        self._states = np.full(blocks_of(len(rows), rows.dtype.itemsize), state, np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    def are_sound(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each of these rows whether its block is as it was written."""
        blocks = numbers // self._per_block
        # Not `np.unique`, which loads all of numpy's masked arrays to ask whether this is one.
        unknown = sorted(set(blocks[self._states[blocks] == _UNKNOWN].tolist()))
        for block in unknown:
            self.will_need_slice(block * self._per_block, self._per_block)
        for block in unknown:
            self._verify(block)
        found: NDArray[np.bool_] = self._states[blocks] == _SOUND
        return found

    def is_sound(self) -> bool:
        """Return whether all rows are as they were written."""
        blocks_at_once = _SLICE_BYTES // (self._per_block * self.rows.dtype.itemsize)
        unknown = np.flatnonzero(self._states == _UNKNOWN).tolist()
        for at in range(0, len(unknown), blocks_at_once):
            some = unknown[at : at + blocks_at_once]
            for block in some:
                self.will_need_slice(block * self._per_block, self._per_block)
            for block in some:
                self._verify(block)
            self.let_go()
        return bool((self._states == _SOUND).all())

    def slices(self) -> Iterator[Records]:
        """Yield all rows in order, a few MiB at a time, and let them go behind."""
        step = _SLICE_BYTES // self.rows.dtype.itemsize
        for first in range(0, len(self.rows), step):
            self.will_need_slice(first, step)
            yield self.rows[first : first + step]
            self.let_go()

    def will_need_slice(self, first: int, count: int) -> None:
        """Have the system begin to read rows, if they lie in a file; there may be fewer of them."""
        size, end = self.rows.dtype.itemsize, min(first + count, len(self.rows))
        if self._mapping is not None and first < end:
            self._mapping.will_need(self._start + first * size, self._start + end * size)

    def will_need(self, numbers: NDArray[np.int64], *, count: int) -> None:
        """Have the system begin to read so many rows from each of these on.

        Only of what was saved, and is so large that nothing else is read ahead of it: what was
        made in this process is in memory as a rule.
        """
        is_saved = self._digests is not None
        if self._mapping is not None and is_saved and self._mapping.is_read_singly:
            for first in np.clip(numbers, 0, len(self.rows) - 1).tolist():
                self.will_need_slice(first, count)

    @property
    def mapped_bytes(self) -> int:
        """How much of the rows can become resident and be let go."""
        return self.rows.nbytes if self._mapping else 0

    def let_go(self) -> None:
        """Give the memory of mapped rows back until they are asked for."""
        if self._mapping:
            self._mapping.let_go()

    def _verify(self, block: int) -> None:
        assert self._digests is not None, "what has no digests is sound"
        first = block * self._per_block
        rows = self.rows[first : first + self._per_block]
        digest = self._digests[block * DIGEST_BYTES : (block + 1) * DIGEST_BYTES]
        is_sound = blake3(rows.view(np.uint8).data).digest(DIGEST_BYTES) == digest
        self._states[block] = _SOUND if is_sound else _DAMAGED


@final
class Table:
    """Rows of one dtype, appended and taken by number."""

    def __init__(
        self, dtype: np.dtype[Any], *, scratch: Path | None, old: Sequence[Piece] = ()
    ) -> None:
        """Begin with the rows of `old`, one piece behind the other.

        Args:
            dtype: Of the rows.
            scratch: A folder for what grows out of memory; None keeps all of it in memory.
            old: Rows that exist already.
        """
        self._dtype = dtype
        self._bytes = np.dtype((np.void, dtype.itemsize))
        self._old = old
        # Where the rows of each piece end; the new part begins where the last one does.
        self._ends = np.cumsum([0, *map(len, old)], dtype=np.int64)[1:]
        self._border = int(self._ends[-1]) if len(old) else 0
        self._scratch = scratch
        self._new: Records = np.empty(0, dtype)
        self._used = 0
        self._file: ScratchFile | None = None
        self._mapping: Mapping | None = None  # of the file, when there is one

    def __len__(self) -> int:
        return self._border + self._used

    def append(self, rows: Records) -> int:
        """Add rows at the end; return the number of the first.

        Raises:
            OutOfSpace: The scratch folder's disk is full; the table is as before.
        """
        first = len(self)
        needed = self._used + len(rows)
        if needed > len(self._new):
            self._grow(max(needed, 2 * len(self._new), _FIRST_ROWS))
        # As bytes: numpy copies records field by field, which takes five times as long.
        if self._file:
            self._file.append(np.ascontiguousarray(rows).view(np.uint8).data)
        else:
            self._new.view(self._bytes)[self._used : needed] = rows.view(self._bytes)
        self._used = needed
        return first

    def take(self, numbers: NDArray[np.int64]) -> Records:
        """Return copies of the rows with these numbers."""
        # As bytes, like in `append`: field by field takes ten times as long here.
        if not self._border:
            return self._new.view(self._bytes).take(numbers).view(self._dtype)
        rows = np.empty(len(numbers), self._bytes)
        for piece, first, at in self._by_piece(numbers):
            among = self._new if piece is None else piece.rows
            rows[at] = among.view(self._bytes).take(numbers[at] - first)
        return rows.view(self._dtype)

    def are_sound(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each number whether there is such a row, and it is as it was written."""
        found = (numbers >= 0) & (numbers < len(self))
        if self._border:
            for piece, first, at in self._by_piece(numbers):
                if piece is not None:
                    inside = at[found[at]]
                    found[inside] = piece.are_sound(numbers[inside] - first)
        return found

    def new_rows(self) -> Records:
        """Return the rows that were appended, which others may change while they are in memory."""
        return self._new[: self._used]

    def new_piece(self) -> Piece:
        """Return the rows that were appended; later ones are not in it."""
        return Piece(self.new_rows(), digests=None, mapping=self._mapping)

    @property
    def mapped_bytes(self) -> int:
        """How much of the table can become resident and be let go."""
        new_bytes = self._used * self._dtype.itemsize if self._mapping else 0
        return new_bytes + sum(piece.mapped_bytes for piece in self._old)

    def let_go(self) -> None:
        """Give the memory of mapped rows back until they are asked for."""
        if self._mapping:
            self._mapping.let_go()
        for piece in self._old:
            piece.let_go()

    def _by_piece(
        self, numbers: NDArray[np.int64]
    ) -> list[tuple[Piece | None, int, NDArray[np.int64]]]:
        """Return the pieces in which rows with these numbers lie, None for the new part.

        With each, the number of its first row, and the positions of its numbers.
        """
        which = np.searchsorted(self._ends, numbers, side="right")
        found: list[tuple[Piece | None, int, NDArray[np.int64]]] = []
        for number in np.flatnonzero(np.bincount(which)).tolist():
            piece = self._old[number] if number < len(self._old) else None
            first = int(self._ends[number - 1]) if number else 0
            found.append((piece, first, np.flatnonzero(which == number)))
        return found

    def _grow(self, capacity: int) -> None:
        capacity_bytes = capacity * self._dtype.itemsize
        if self._scratch is None or capacity_bytes <= _IN_MEMORY_BYTES:
            grown: Records = np.empty(capacity, self._dtype)
            grown.view(self._bytes)[: self._used] = self.new_rows().view(self._bytes)
            self._new = grown
            return
        file = self._file or ScratchFile(self._scratch)
        if not self._file:
            file.append(self.new_rows().view(np.uint8).data)
        self._mapping = file.mapped(capacity_bytes)
        self._new = np.frombuffer(self._mapping.data, self._dtype)
        self._file = file


def _address(data: Records | memoryview) -> int:
    rows = np.frombuffer(data, np.uint8, 1) if isinstance(data, memoryview) else data
    address: int = rows.__array_interface__["data"][0]
    return address
