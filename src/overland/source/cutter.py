"""Cuts files into chunks; where a file holds what is stored already, by comparing.

Chunks of a file are stored one behind the other, so that behind a chunk which is stored the next
ones are likely those that lie behind it in its pack.  To compare the id of a chunk takes less than
to find where it ends by its content, and its id has to be computed anyway.

The cuts are those of the `Chunker`.  A cut depends on the chunk in front of it and on the first
byte behind it; so one counts when the chunk behind it is the expected one too, or at the end of the
data.  Only chunks that were cut by other sizes, which a policy had before, and a file that ended
where another one begins in this one, may have their cuts kept.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, final

from overland.source.chunker import Chunker, Sizes

__all__ = ["Behind", "Cuts", "Cutter"]

Behind = Callable[[bytes], list[tuple[bytes, int]]]
"""Returns ids and lengths of some chunks that are stored behind the one with this id, in order.

Nothing if it is not stored, or nothing is known; what it returns is only a guess.
"""

_COMPARED: Final = 4
"""So many of the chunks that are expected may have gone or changed, and those behind are found."""

_MISSED: Final = 8
"""After so many chunks in a row that were not expected the index is asked."""

_SELDOM: Final = 64  # chunks; of new data the chunk index is asked for one in so many


class Cuts(NamedTuple):
    """Where chunks end, and the ids of those that had to be computed, by their positions."""

    ends: list[int]
    ids: dict[int, bytes]


@final
class Cutter:
    """Finds cuts in one file after the other.  For one thread at a time."""

    def __init__(
        self, chunker: Chunker, *, chunk_id: Callable[[memoryview], bytes], behind: Behind
    ) -> None:
        """Prepare to cut as the `chunker` does, with its sizes."""
        self._chunker, self._chunk_id, self._behind = chunker, chunk_id, behind
        self._expected: list[tuple[bytes, int]] = []  # the next one last
        self._missed = 0
        self._wait = 0  # chunks until the index is asked
        self._step = 1

    @property
    def sizes(self) -> Sizes:
        """Bounds and mean of the chunks."""
        return self._chunker.sizes

    def begin(self) -> None:
        """Begin with another file."""
        self._expected, self._missed = [], 0
        self._wait = min(self._wait, self._step // 4)

    def cut(self, data: memoryview, *, is_end: bool) -> Cuts:
        """Return where chunks of `data` end, as `Chunker.cuts`: behind the last cut is a rest."""
        cuts = Cuts([], {})
        certain = len(data) if is_end else len(data) - self.sizes.max_bytes
        start = 0
        while start < certain or (start == certain and not is_end):
            start, is_at_end = self._follow(data, start, cuts, is_end=is_end)
            if is_at_end:
                break
            start = self._by_content(data, start, cuts, certain=certain, is_end=is_end)
        return cuts

    def _follow(
        self, data: memoryview, start: int, cuts: Cuts, *, is_end: bool
    ) -> tuple[int, bool]:
        """Cut as expected; return where that ends, and whether the data does, as far as it is sure.

        The last chunk that is as expected is left to the next call, or to its content.
        """
        expected, chunk_id, sizes = self._expected, self._chunk_id, self.sizes
        first, before = len(cuts.ends), (b"", 0)
        while expected:
            wanted, length = expected[-1]
            end = start + length
            is_last = is_end and end == len(data)
            if length > sizes.max_bytes or (length < sizes.min_bytes and not is_last):
                break
            if end > len(data):
                if is_end:
                    break
                if len(cuts.ends) > first:
                    expected.append(before)
                    return self._take_back(cuts, length=before[1], start=start), True
                return start, True  # nearer to the end than the longest chunk
            if chunk_id(data[start:end]) != wanted:
                break
            before = expected.pop()
            cuts.ids[len(cuts.ends)] = wanted
            cuts.ends.append(end)
            start = end
            if is_last:
                return end, True
        if len(cuts.ends) > first:
            # What comes behind it is another byte than last time, perhaps.
            expected.append(before)
            start = self._take_back(cuts, length=before[1], start=start)
        return start, False

    def _take_back(self, cuts: Cuts, *, length: int, start: int) -> int:
        cuts.ends.pop()
        cuts.ids.pop(len(cuts.ends))
        return start - length

    def _by_content(
        self, data: memoryview, start: int, cuts: Cuts, *, certain: int, is_end: bool
    ) -> int:
        """Cut by content until what comes next is expected; return where that is."""
        for length in self._chunker.lengths(data[start:]):
            if start > certain or (start == certain and is_end):
                break
            end = start + length
            if self._expected or not self._wait:
                made = self._chunk_id(data[start:end])
                cuts.ids[len(cuts.ends)] = made
                is_found = self._find(made)
            else:
                self._wait, is_found = self._wait - 1, False
            cuts.ends.append(end)
            start = end
            if is_found:
                break
        return start

    def _find(self, made: bytes) -> bool:
        """Find a chunk among the expected ones, or in the index; return whether the next is known.

        Expectations that nothing came of are given up.
        """
        near = self._expected[-_COMPARED:]
        for place in range(len(near) - 1, -1, -1):
            if near[place][0] == made:
                del self._expected[len(self._expected) - len(near) + place :]
                self._missed = 0
                return bool(self._expected) or self._ask(made)
        if self._expected:
            self._expected.pop()
            self._missed += 1
            if self._missed < _MISSED:
                return False
        return self._ask(made)

    def _ask(self, made: bytes) -> bool:
        """Ask the index what is behind a chunk; return whether it knows."""
        self._expected, self._missed = self._behind(made)[::-1], 0
        self._step = 1 if self._expected else min(2 * self._step, _SELDOM)
        self._wait = 0 if self._expected else self._step
        return bool(self._expected)
