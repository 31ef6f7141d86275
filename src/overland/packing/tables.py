"""Growing arrays that may be larger than memory.

A table is old pieces that are only read (usually mapped from files) and a new part that grows in
a scratch file without a name: the kernel may write it out when memory is short, and it vanishes
with the process, so that a kill leaves nothing behind.

A piece that lay in a file has a digest for each block of rows.  A block is verified when a row of
it is first asked for, so that opening a piece takes no longer for being large.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from overland.packing.head import DIGEST_BYTES, blocks_of, rows_per_block

__all__ = ["Piece", "Records", "Table"]

Records = NDArray[Any]  # structured arrays: numpy has no static type for their fields
_FIRST_ROWS: Final = 4096
_UNKNOWN: Final = 0
_SOUND: Final = 1
_DAMAGED: Final = 2


@final
class Piece:
    """Rows that exist already, and that are sound as far as their digests say so."""

    def __init__(self, rows: Records, *, digests: memoryview | None) -> None:
        """Take rows over.

        Args:
            rows: Never written to.
            digests: BLAKE3 of each block, shortened and laid end to end; None for rows that were
                made in this process.
        """
        self.rows = rows
        self._digests = digests
        self._per_block = rows_per_block(rows.dtype.itemsize)
        state = _SOUND if digests is None else _UNKNOWN
        self._states = np.full(blocks_of(len(rows), rows.dtype.itemsize), state, np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    def are_sound(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each of these rows whether its block is as it was written."""
        blocks = numbers // self._per_block
        for block in np.unique(blocks[self._states[blocks] == _UNKNOWN]).tolist():
            self._verify(block)
        found: NDArray[np.bool_] = self._states[blocks] == _SOUND
        return found

    def is_sound(self) -> bool:
        """Return whether all rows are as they were written."""
        for block in np.flatnonzero(self._states == _UNKNOWN).tolist():
            self._verify(block)
        return bool((self._states == _SOUND).all())

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
            scratch: A folder for the part that grows; None keeps it in memory.
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

    def __len__(self) -> int:
        return self._border + self._used

    def append(self, rows: Records) -> int:
        """Add rows at the end; return the number of the first."""
        first = len(self)
        needed = self._used + len(rows)
        if needed > len(self._new):
            self._grow(max(needed, 2 * len(self._new), _FIRST_ROWS))
        # As bytes: numpy copies records field by field, which takes five times as long.
        self._new.view(self._bytes)[self._used : needed] = rows.view(self._bytes)
        self._used = needed
        return first

    def take(self, numbers: NDArray[np.int64]) -> Records:
        """Return copies of the rows with these numbers."""
        if not self._border:
            return self._new[numbers]
        rows = np.empty(len(numbers), self._dtype)
        for piece, first, at in self._by_piece(numbers):
            rows[at] = (self._new if piece is None else piece.rows)[numbers[at] - first]
        return rows

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
        """Return the rows that were appended; valid until the next `append`."""
        return self._new[: self._used]

    def _by_piece(
        self, numbers: NDArray[np.int64]
    ) -> list[tuple[Piece | None, int, NDArray[np.int64]]]:
        """Return the pieces in which rows with these numbers lie, None for the new part.

        With each, the number of its first row, and the positions of its numbers.
        """
        which = np.searchsorted(self._ends, numbers, side="right")
        found: list[tuple[Piece | None, int, NDArray[np.int64]]] = []
        for number in np.unique(which).tolist():
            piece = self._old[number] if number < len(self._old) else None
            first = int(self._ends[number - 1]) if number else 0
            found.append((piece, first, np.flatnonzero(which == number)))
        return found

    def _grow(self, capacity: int) -> None:
        if self._scratch is None:
            grown: Records = np.empty(capacity, self._dtype)
        else:
            grown = self._mapped(capacity)
        grown[: self._used] = self._new[: self._used]
        self._new = grown

    def _mapped(self, capacity: int) -> Records:
        size_bytes = capacity * self._dtype.itemsize
        # The mapping keeps the file without a name alive, and the array keeps the mapping.
        import tempfile  # noqa: PLC0415 - for indexes that outgrow memory only

        with tempfile.TemporaryFile(dir=self._scratch) as file:
            file.truncate(size_bytes)
            return np.frombuffer(mmap.mmap(file.fileno(), size_bytes), self._dtype)
