"""From new chunks to finished packs: lanes, one for each thread.

Every lane has its own segment buffer and its own open pack, so that threads do not wait for each
other; what they finish goes through a short queue to the publisher.
"""

from bisect import bisect_right
from itertools import pairwise
from typing import Final, final

from overland.agent.backup.publisher import Publisher
from overland.agent.repository import Repository
from overland.buffers import new_buffer
from overland.packing.writer import MAX_PACK_CHUNKS, PackWriter
from overland.ports.files import Files
from overland.sealing.seal import PackSeal, SegmentSealer

__all__ = ["SEGMENT_BYTES", "Lane"]

_SHARE: Final = 4  # of what a lane has stored, as long as its packs grow

SEGMENT_BYTES: Final = 1 << 20
"""Raw length that segments are filled up to: enough to compress well, little for one file."""


@final
class Lane:
    """Fills segments and packs with new chunks.  For one thread.

    The first packs have `first_pack_bytes`, later ones a quarter of what the lane has stored
    before, up to `pack_bytes`: what is sent while the run goes on should be most of it, and what
    is left to send at its end a small part, however much it is in all.
    """

    def __init__(
        self,
        *,
        repository: Repository,
        out: Files,
        publisher: Publisher,
        level: int,
        pack_bytes: int,
        first_pack_bytes: int,
    ) -> None:
        self.new_chunks = 0
        self.new_bytes = 0
        self._repository, self._out, self._publisher = repository, out, publisher
        self._pack_bytes = pack_bytes
        self._full_bytes = min(first_pack_bytes, pack_bytes)
        self._stored_bytes = 0
        self._sealer = SegmentSealer(level=level)
        self._seal: PackSeal | None = None
        self._writer: PackWriter | None = None
        self._buffer = memoryview(new_buffer(SEGMENT_BYTES))
        self._filled = 0
        self._ids: list[bytes] = []
        self._lengths: list[int] = []

    def add(self, buffer: memoryview, cuts: list[int], ids: list[bytes], *, new: list[int]) -> None:
        """Store the chunks at positions `new` of those that `cuts` makes in `buffer`.

        On return the buffer may be reused.

        Raises:
            OutOfSpace: The medium is full; packs that are finished stay.
            OSError: The device failed.
        """
        at = 0
        while at < len(new):
            first = last = new[at]
            while at < len(new) and new[at] == last:
                at, last = at + 1, last + 1
            self._add_run(buffer, cuts, ids, first, last)

    def close(self) -> None:
        """Finish the open segment and the open pack, and hand it over."""
        self._flush()
        self._finish_pack()

    def abandon(self) -> None:
        """Forget the open pack."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _add_run(
        self, buffer: memoryview, cuts: list[int], ids: list[bytes], first: int, last: int
    ) -> None:
        """Store neighbouring chunks: most of them are sealed where they lie, without a copy."""
        start = cuts[first - 1] if first else 0
        while first < last:
            end = max(first + 1, bisect_right(cuts, start + SEGMENT_BYTES, first, last))
            stop = cuts[end - 1]
            bounds = [start, *cuts[first:end]]
            lengths = [after - before for before, after in pairwise(bounds)]
            if stop - start > SEGMENT_BYTES // 2:
                self._append(buffer[start:stop], ids[first:end], lengths)
            else:
                self._keep(buffer[start:stop], ids[first:end], lengths)
            start, first = stop, end

    def _keep(self, data: memoryview, ids: list[bytes], lengths: list[int]) -> None:
        if self._filled + len(data) > SEGMENT_BYTES:
            self._flush()
        self._buffer[self._filled : self._filled + len(data)] = data
        self._filled += len(data)
        self._ids += ids
        self._lengths += lengths

    def _flush(self) -> None:
        if self._filled:
            self._append(self._buffer[: self._filled], self._ids, self._lengths)
            self._filled, self._ids, self._lengths = 0, [], []

    def _append(self, raw: memoryview, ids: list[bytes], lengths: list[int]) -> None:
        if self._writer is None or self._seal is None:
            self._seal = self._repository.new_pack()
            self._writer = PackWriter(self._out, header=self._seal.header)
        sealed = self._sealer.seal(raw, self._seal)
        self._writer.append(
            sealed.data, raw_bytes=sealed.raw_bytes, codec=sealed.codec, ids=ids, lengths=lengths
        )
        self.new_chunks += len(ids)
        self.new_bytes += sealed.raw_bytes
        if (
            self._writer.size_bytes + SEGMENT_BYTES > self._full_bytes
            or self._writer.chunk_count >= MAX_PACK_CHUNKS
        ):
            self._finish_pack()

    def _finish_pack(self) -> None:
        if self._writer is not None and self._seal is not None:
            pack = self._writer.finish(self._seal.seal_directory)
            self._stored_bytes += self._writer.size_bytes
            grown = max(self._full_bytes, self._stored_bytes // _SHARE)
            self._full_bytes = min(grown, self._pack_bytes)
            self._writer = self._seal = None
            try:
                self._publisher.submit(pack)
            except Exception:
                pack.abandon()  # nobody else knows of it
                raise
