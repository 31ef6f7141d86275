"""How a file was cut, found out again from the ids of its chunks.

Nothing in a repository says by what sizes a file was cut: the policy says what counts now, and may
have said something else when a point was made.  The ids of the chunks tell it: sizes are right if
what they cut off has the id that comes next.  So files are cut in order, by the likeliest sizes
first, and where none fits, by all that a policy can have.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Final, final

from overland.agent.repair.sourcefile import SourceFile
from overland.packing.index import Ids
from overland.source.chunker import Chunker, Sizes

__all__ = ["MEANS_KIB", "Cutting"]

MEANS_KIB: Final = range(16, 2048 + 1)
"""What policies can have as mean sizes of chunks, in KiB."""

_MAX_SEARCHES: Final = 100
"""So many files that have changed are searched in vain at most: each takes up to some seconds.

Of a file that has not changed, a search finds the sizes, so that these are not counted.
"""

_MAX_LEARNED: Final = 16  # files that changed inside are cut whole by each of them

_PROVING: Final = 32
"""So many chunks at the beginning have to be made by sizes that are taken later in a file, too.

Sizes that made all of them are the ones, or cut hardly otherwise.
"""

_ROUNDEST_FIRST: Final = sorted(MEANS_KIB, key=lambda kib: (-(kib & -kib), kib))
"""People choose round numbers; many neighbours make the same cuts for a while."""


@final
class Cutting:
    """Cuts files as backups did, and learns by what sizes that was.  For one thread."""

    def __init__(
        self,
        likely: Sequence[Sizes],
        *,
        chunker: Callable[[Sizes], Chunker],
        chunk_id: Callable[[bytes], bytes],
    ) -> None:
        """Begin with the likely sizes; `chunker` cuts by sizes, `chunk_id` computes ids."""
        self._likely, self._learned = tuple(likely), list[Sizes]()
        self._new_chunker, self._chunk_id = chunker, chunk_id
        self._chunkers: dict[Sizes, Chunker] = {}
        self._searches = _MAX_SEARCHES

    @property
    def learned(self) -> int:
        """How many sizes were found that nobody had named."""
        return len(self._learned)

    def in_order(
        self, file: SourceFile, ids: Ids, *, start: int, is_wanted: Callable[[], bool]
    ) -> Generator[bytes, None, tuple[int, list[Sizes]]]:
        """Yield the chunks from `start` on, as long as the file has those of `ids` there, in order.

        Ends where `is_wanted` says no, or the file does not have the next chunk, or cannot be read.
        Returns where that begins, and by what sizes to go on: those that made the chunks so far,
        and, where these are few and so prove little, then all that are likely.
        """
        fitting = self._candidates(file, start, len(ids))
        before: list[tuple[int, int]] = []
        offset = start
        for row in ids:
            if not is_wanted():
                break
            data, fitting = self._next(file, offset, row.tobytes(), fitting, before)
            if not data:
                self._searches -= not file.is_unchanged
                break
            if len(before) < _PROVING:
                before.append((offset, len(data)))
            offset += len(data)
            yield data
        made = fitting[:1] if before else []
        self._learn(made)
        if len(before) == _PROVING:
            return offset, made
        return offset, [*made, *(sizes for sizes in self._known() if sizes not in made)]

    def chunker(self, sizes: Sizes) -> Chunker:
        """Return what cuts by these sizes; the same for the same sizes."""
        if sizes not in self._chunkers:
            self._chunkers[sizes] = self._new_chunker(sizes)
        return self._chunkers[sizes]

    def _known(self) -> list[Sizes]:
        return [*self._likely, *self._learned]

    def _learn(self, made: list[Sizes]) -> None:
        if self.learned < _MAX_LEARNED:
            self._learned += [sizes for sizes in made if sizes not in self._known()]

    def _candidates(self, file: SourceFile, start: int, count: int) -> list[Sizes]:
        """Return by what sizes the rest of the file can be so many chunks, the likeliest first."""
        known = self._known()
        if not file.is_unchanged and self._searches <= 0:
            return known
        size_bytes = file.data_bytes - start
        every = (Sizes.around(kib << 10) for kib in _ROUNDEST_FIRST)
        possible = [
            sizes
            for sizes in every
            if (count - 1) * sizes.min_bytes <= size_bytes <= count * sizes.max_bytes
        ]
        return [*known, *(sizes for sizes in possible if sizes not in known)]

    def _next(
        self,
        file: SourceFile,
        offset: int,
        expected: bytes,
        fitting: list[Sizes],
        before: Sequence[tuple[int, int]],
    ) -> tuple[bytes, list[Sizes]]:
        """Return the chunk at `offset` if it has the id, else nothing; and what sizes still fit.

        The first of them is asked alone.  Where it fails, those go that do not make this chunk, or
        one `before`, which are offsets and lengths.
        """
        data = self._found(file, offset, expected, fitting[:1])
        if data:
            return data, fitting
        data = self._found(file, offset, expected, fitting[1:])
        if not data:
            return b"", fitting
        rest = fitting[1:]
        for start, length in ((offset, len(data)), *before):
            ends, _ = self._ends(file, start, rest)
            rest = [sizes for sizes, end in zip(rest, ends, strict=True) if end == length]
        return data, rest

    def _found(
        self, file: SourceFile, offset: int, expected: bytes, every: Sequence[Sizes]
    ) -> bytes:
        """Return what some of the sizes cut off and has the id; nothing if none does."""
        ends, window = self._ends(file, offset, every)
        for end in dict.fromkeys(ends):
            if self._chunk_id(window[:end]) == expected:
                return window[:end]
        return b""

    def _ends(
        self, file: SourceFile, offset: int, every: Sequence[Sizes]
    ) -> tuple[list[int], bytes]:
        """Return how long each of the sizes makes the chunk at `offset`, and what is there."""
        window = b""
        with contextlib.suppress(OSError):
            window = file.read(offset, max((sizes.max_bytes for sizes in every), default=0) + 1)
        ends: list[int] = []
        for sizes in every:
            view = memoryview(window)[: sizes.max_bytes + 1]  # as much as one sure cut needs
            cuts = self.chunker(sizes).cuts(view, is_end=len(view) <= sizes.max_bytes)
            ends.append(cuts[0] if cuts else 0)
        return ends, window
