"""Digests in order, as one array: 32 bytes for each, found by halving.

Who keeps something for each of them keeps it in a column of its own, in the order of `rows`.
"""

import array
from collections.abc import Iterator
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIGEST_BYTES", "SortedDigests"]

DIGEST_BYTES: Final = 32
"""Of a SHA-256, and of what else is as long as one."""

_DTYPE: Final = f"S{DIGEST_BYTES}"
_TOGETHER: Final = 1 << 16  # looked up at once, 2 MiB


@final
class SortedDigests:
    """Digests, each once, sorted; where one was given several times, the last counts.

    What comes sorted is neither sorted nor copied again; everything else takes 72 bytes for each
    while it is being sorted.

    Attributes:
        rows: The places that the sorted digests had in what was given, 8 bytes for each; None
            where that was sorted and had none twice.  Who has arranged all columns may set it to
            None too.
    """

    __slots__ = ("_digests", "rows")

    def __init__(self, digests: bytes | bytearray) -> None:
        """Sort digests that stand back to back; a `bytearray` must not change any more."""
        assert len(digests) % DIGEST_BYTES == 0, "whole digests"
        given = np.frombuffer(digests, _DTYPE)
        self.rows: NDArray[np.intp] | None = None
        if not bool((given[1:] <= given[:-1]).any()):
            self._digests: NDArray[np.bytes_] = given
            return
        rows = np.argsort(given, kind="stable")
        in_order = given[rows]
        is_last = np.append(in_order[1:] != in_order[:-1], np.True_)
        is_unique = bool(is_last.all())
        self._digests = in_order if is_unique else in_order[is_last]
        self.rows = rows if is_unique else rows[is_last]

    def __len__(self) -> int:
        return len(self._digests)

    def find(self, digest: bytes) -> int:
        """Return which of the sorted digests this is, counted from 0; -1 if it is none."""
        assert len(digest) == DIGEST_BYTES, "a whole digest"
        at = int(self._digests.searchsorted(np.frombuffer(digest, _DTYPE))[0])
        # As bytes: numpy leaves out zeros at the end of a single text.
        return at if self._digests[at : at + 1].tobytes() == digest else -1

    def places_in(self, others: "SortedDigests") -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Yield where these digests are among others, some at a time and in order.

        Yields:
            The number of the first of some digests, and for each of them which of the others it
            is, or -1.
        """
        theirs = others._digests  # noqa: SLF001 - another of this class
        for first in range(0, len(self), _TOGETHER):
            mine = self._digests[first : first + _TOGETHER]
            if not len(theirs):
                yield first, np.full(len(mine), -1, np.intp)
                continue
            at = np.minimum(theirs.searchsorted(mine), len(theirs) - 1)
            yield first, np.where(theirs[at] == mine, at, -1)

    def arranged(self, column: "array.array[int]") -> "array.array[int]":
        """Return a column of `array` type Q, given in the order of what was given, in this one."""
        if self.rows is None:
            return column
        return array.array("Q", np.frombuffer(column, np.uint64)[self.rows].tobytes())

    def joined(self) -> bytes:
        """Return all of them, back to back."""
        return self._digests.tobytes()

    def hexadecimal(self, first: int, end: int) -> Iterator[str]:
        """Yield those from number `first` to before `end`, as 64 hexadecimal digits each."""
        joined = self._digests[first:end].tobytes().hex()
        step = 2 * DIGEST_BYTES
        return (joined[at : at + step] for at in range(0, len(joined), step))
