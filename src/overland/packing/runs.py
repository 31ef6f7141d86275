"""Sorted keys of chunks with their rows: searched in batches, merged a slice at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from overland.packing.scratch import ScratchFile
from overland.packing.tables import Piece

__all__ = ["NewRuns", "Run", "merged_slices", "sorted_run"]

_LONG: Final = 1 << 20  # keys; below, halving is as fast, for the processor's cache has all of them
_WINDOW: Final = 64  # keys; five times as far as two guesses are off, in a run of 2**32
_IN_MEMORY: Final = 1 << 20  # keys of a run, 12 bytes each; a longer one goes to a file
_MERGED_AT_ONCE: Final = 1 << 18  # keys of the longest run
_FILTERED: Final = 1 << 18  # keys from which on there is a filter
_FILTER_BITS: Final = 26  # of a key; 8 MiB, of which 8 million chunks fill an eighth


class Run(NamedTuple):
    """Keys, sorted, and the rows of their chunks in the same order."""

    keys: Piece
    rows: Piece

    def positions(self, wanted: NDArray[np.uint64], *, is_cold: bool) -> NDArray[np.int64]:
        """Return for each key the position of the first in the run that is not smaller.

        Of a run that `is_cold`, all that lies on a disk is asked for before it is waited for.

        Keys are even as chunk ids are, so that in a long run it is guessed where one lies: the
        time, and the memory that is touched, are the same in a run of any length.  Keys that are
        not even take longer and are found as well.
        """
        keys = self.keys.rows
        if len(keys) < _LONG:
            return np.searchsorted(keys, wanted)
        start = _guessed(self.keys, wanted, is_cold=is_cold)
        near = sliding_window_view(keys, _WINDOW)[start]
        smaller = np.count_nonzero(near < wanted[:, None], axis=1)
        at: NDArray[np.int64] = start + smaller
        # The window holds the place when it begins before it, or with the run, and ends likewise.
        missed = (smaller == 0) & (start > 0)
        missed |= (smaller == _WINDOW) & (at < len(keys))
        if missed.any():
            at[missed] = np.searchsorted(keys, wanted[missed])
        return at


def sorted_run(keys: NDArray[np.uint64], *, first_row: int) -> Run:
    """Return the run of chunks whose rows follow one another."""
    order = np.argsort(keys, kind="stable")
    rows = (order + first_row).astype(np.uint32)
    return Run(Piece(keys[order], digests=None), Piece(rows, digests=None))


@final
class NewRuns:
    """The runs of what is added, oldest first: few, however much is added.

    Most chunks of a first copy are new, and would be searched for in every run in vain: a bit for
    each beginning of a key that there is tells of most of them that they are in none.
    """

    def __init__(self, *, scratch: Path | None) -> None:
        """Begin without runs; `scratch` is a folder for those that are too long for memory."""
        self.runs: list[Run] = []
        self._scratch = scratch
        self._filter: NDArray[np.uint8] | None = None

    def add(self, run: Run) -> None:
        """Add a run.

        Raises:
            OutOfSpace: The scratch folder's disk is full.
        """
        if not len(run.keys):
            return
        self.runs.append(run)
        self._note([run])
        # The logarithmic method: runs double in length from last to first, so that there are few.
        while len(self.runs) > 1 and 2 * len(self.runs[-1].keys) > len(self.runs[-2].keys):
            newer, older = self.runs.pop(), self.runs.pop()
            self.runs.append(_merged_run([older, newer], scratch=self._scratch))

    def may_know(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return for each key False only when no run has it."""
        if self._filter is None:
            return np.full(len(keys), bool(self.runs))
        at, bit = _filter_bits(keys)
        return (self._filter[at] & bit).astype(np.bool_)

    def merged(self) -> Run:
        """Return all runs as one; raises as `add`."""
        if not self.runs:
            nothing = (np.empty(0, np.uint64), np.empty(0, np.uint32))
            return Run(*(Piece(rows, digests=None) for rows in nothing))
        if len(self.runs) == 1:
            return self.runs[0]
        return _merged_run(self.runs, scratch=self._scratch)

    def _note(self, new: list[Run]) -> None:
        if self._filter is None:
            if sum(len(run.keys) for run in self.runs) < _FILTERED:
                return
            self._filter, new = np.zeros(1 << (_FILTER_BITS - 3), np.uint8), self.runs
        for run in new:
            np.bitwise_or.at(self._filter, *_filter_bits(run.keys.rows))


def merged_slices(
    runs: Sequence[Run],
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint32]]]:
    """Yield the keys and rows of all runs, sorted, in slices; what they came from is let go."""
    longest = max((run.keys.rows for run in runs), key=len)
    starts = [0] * len(runs)
    for at in range(_MERGED_AT_ONCE, len(longest) + _MERGED_AT_ONCE, _MERGED_AT_ONCE):
        ends = [len(run.keys) for run in runs]
        if at < len(longest):
            ends = [int(np.searchsorted(run.keys.rows, longest[at])) for run in runs]
        for run, start, end in zip(runs, starts, ends, strict=True):
            run.keys.will_need_slice(start, end - start)
            run.rows.will_need_slice(start, end - start)
        yield _merged([(run, slice(*span)) for run, *span in zip(runs, starts, ends, strict=True)])
        starts = ends
        for run in runs:
            run.keys.let_go()
            run.rows.let_go()


def _merged(parts: list[tuple[Run, slice]]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    keys = [run.keys.rows[span] for run, span in parts if span.start < span.stop]
    rows = [run.rows.rows[span] for run, span in parts if span.start < span.stop]
    if len(keys) == 1:
        return keys[0], rows[0]
    if not keys:
        return np.empty(0, np.uint64), np.empty(0, np.uint32)
    joined = np.concatenate(keys)
    order = np.argsort(joined, kind="stable")  # nearly linear: the runs are sorted already
    return joined[order], np.concatenate(rows)[order]


def _guessed(piece: Piece, wanted: NDArray[np.uint64], *, is_cold: bool) -> NDArray[np.int64]:
    """Return where windows begin that supposedly hold the places of the keys."""
    keys = piece.rows
    per_key, last = len(keys) / 2.0**64, len(keys) - 1
    values = wanted.astype(np.float64)
    guess = np.minimum((values * per_key).astype(np.int64), last)
    for near in (1, 4 * _WINDOW):  # what the last guess, and the window, are within
        if is_cold:
            piece.will_need(guess - near // 2, count=near)
        # How far a key is off tells how far its place is: about the root of the distance is left.
        guess += ((values - keys[guess]) * per_key).astype(np.int64)
        np.clip(guess, 0, last, out=guess)
    start: NDArray[np.int64] = np.clip(guess - _WINDOW // 2, 0, len(keys) - _WINDOW)
    return start


def _piece(file: ScratchFile, dtype: np.dtype[np.uint64] | np.dtype[np.uint32]) -> Piece:
    mapping = file.mapped(file.size_bytes)
    return Piece(np.frombuffer(mapping.data, dtype), digests=None, mapping=mapping)


def _merged_run(runs: Sequence[Run], *, scratch: Path | None) -> Run:
    """Return one run of several; of equal keys, those of an earlier run come first.

    Args:
        runs: At least one.
        scratch: A folder for a run that is too long for memory; None keeps it in memory.

    Raises:
        OutOfSpace: The scratch folder's disk is full.
    """
    count = sum(len(run.keys) for run in runs)
    if scratch is None or count <= _IN_MEMORY:
        slices = list(merged_slices(runs))
        keys, rows = (np.concatenate(column) for column in zip(*slices, strict=True))
        return Run(Piece(keys, digests=None), Piece(rows, digests=None))
    keys_file, rows_file = ScratchFile(scratch), ScratchFile(scratch)
    for keys, rows in merged_slices(runs):
        keys_file.append(keys.view(np.uint8).data)
        rows_file.append(rows.view(np.uint8).data)
    return Run(_piece(keys_file, np.dtype("<u8")), _piece(rows_file, np.dtype("<u4")))


def _filter_bits(keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Return the byte and the bit of each key in a filter."""
    number = (keys >> np.uint64(64 - _FILTER_BITS)).astype(np.intp)
    return number >> 3, np.left_shift(np.uint8(1), (number & 7).astype(np.uint8))
