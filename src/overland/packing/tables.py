"""Growing arrays that may be larger than memory.

A table is an old part that is only read (usually mapped from a file) and a new part that grows in
a scratch file without a name: the kernel may write it out when memory is short, and it vanishes
with the process, so that a kill leaves nothing behind.
"""

import mmap
import tempfile
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Records", "Table"]

Records = NDArray[Any]  # structured arrays: numpy has no static type for their fields
_FIRST_ROWS: Final = 4096


@final
class Table:
    """Rows of one dtype, appended and taken by number."""

    def __init__(
        self, dtype: np.dtype[Any], *, scratch: Path | None, old: Records | None = None
    ) -> None:
        """Begin with the rows of `old`.

        Args:
            dtype: Of the rows.
            scratch: A folder for the part that grows; None keeps it in memory.
            old: Rows that exist already, never written to.
        """
        self._dtype = dtype
        self._old: Records = np.empty(0, dtype) if old is None else old
        self._scratch = scratch
        self._new: Records = np.empty(0, dtype)
        self._used = 0

    def __len__(self) -> int:
        return len(self._old) + self._used

    def append(self, rows: Records) -> int:
        """Add rows at the end; return the number of the first."""
        first = len(self)
        needed = self._used + len(rows)
        if needed > len(self._new):
            self._grow(max(needed, 2 * len(self._new), _FIRST_ROWS))
        self._new[self._used : needed] = rows
        self._used = needed
        return first

    def take(self, numbers: NDArray[np.int64]) -> Records:
        """Return copies of the rows with these numbers."""
        border = len(self._old)
        if border == 0:
            return self._new[numbers]
        in_old = numbers < border
        if in_old.all():
            return self._old[numbers]
        rows = np.empty(len(numbers), self._dtype)
        rows[in_old] = self._old[numbers[in_old]]
        rows[~in_old] = self._new[numbers[~in_old] - border]
        return rows

    def parts(self) -> tuple[Records, Records]:
        """Return all rows as two arrays, old and new; valid until the next `append`."""
        return self._old, self._new[: self._used]

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
        with tempfile.TemporaryFile(dir=self._scratch) as file:
            file.truncate(size_bytes)
            return np.frombuffer(mmap.mmap(file.fileno(), size_bytes), self._dtype)
