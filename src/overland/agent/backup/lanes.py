"""From new chunks to published packs: lanes, one for each thread, and one publisher.

Every lane has its own segment buffer and its own open pack, so that threads do not wait for each
other; what they finish goes through a short queue to the publisher, which makes it durable,
tells the index, and tells whoever carries it on.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

from overland.agent.backup.crew import Crew, Take
from overland.agent.repository import Repository
from overland.format.index import MAX_PLAIN_BYTES, PackDirectory, plain_bytes
from overland.packing.index import ChunkIndex
from overland.packing.writer import MAX_PACK_CHUNKS, FinishedPack, PackWriter
from overland.ports.files import Files
from overland.sealing.dedup import Dedup
from overland.sealing.seal import PackSeal, SegmentSealer
from overland.values import index_name, pack_name

__all__ = ["SEGMENT_BYTES", "Lane", "OnPublished", "Published", "Publisher"]

SEGMENT_BYTES: Final = 1 << 20
"""Raw length that segments are filled up to: enough to compress well, little for one file."""

_WAITING_PACKS: Final = 2  # finished and not yet durable; each holds a file's buffer
_INDEX_PLAIN_BYTES: Final = MAX_PLAIN_BYTES // 4  # about 90 GB of mixed data
_INDEX_PACKS: Final = 64  # so that a kill over a thin line costs the directories of 4 GiB at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """An object that a run put into its folder, or found there and took over."""

    name: str
    size_bytes: int
    sha256: str
    md5: str | None


OnPublished = Callable[[Published], None]
"""Called when an object is durable in the run's folder: packs, their index, the point last."""


@final
class Publisher:
    """Makes packs durable in a thread of its own, and describes them in index files."""

    def __init__(
        self,
        *,
        repository: Repository,
        index: ChunkIndex,
        dedup: Dedup,
        out: Files,
        on_published: OnPublished,
        with_md5: bool,
    ) -> None:
        self.published: list[Published] = []
        self._repository, self._index, self._dedup = repository, index, dedup
        self._out, self._on_published, self._with_md5 = out, on_published, with_md5
        self._described: list[PackDirectory] = []
        self._crew = Crew[FinishedPack]("publish-packs", [self._run], limit=_WAITING_PACKS)

    def submit(self, pack: FinishedPack) -> None:
        """Hand over a finished pack; waits while the medium is behind.

        Raises:
            Whatever stopped the publisher.
        """
        self._crew.hand_over(pack)

    def finish(self) -> None:
        """Return when all packs and the index files that describe them are durable.

        Raises:
            Whatever stopped the publisher.
        """
        for pack in self._crew.end():
            pack.abandon()
        self._crew.raise_failure()
        self._write_index()

    def stop(self) -> list[FinishedPack]:
        """End the thread, after a failure; return the packs that it did not publish."""
        return self._crew.end()

    def take_over(
        self, found: Published, directory: PackDirectory | None, *, is_local: bool
    ) -> None:
        """Count an object that an interrupted run has published among this run's.

        Args:
            found: The object.
            directory: For a pack that no index file describes yet.
            is_local: Whether it lies in this run's folder, and not where it is carried to.
        """
        if is_local:
            self._announce(found)
        else:
            self.published.append(found)
        if directory is not None:
            self._describe(directory)

    def write(self, name: Callable[[str], str], data: bytes) -> None:
        """Publish a small object whose name may depend on its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() if self._with_md5 else None
        self._out.write(name(sha256), data)
        self._announce(Published(name=name(sha256), size_bytes=len(data), sha256=sha256, md5=md5))

    def _run(self, take: Take[FinishedPack]) -> None:
        while (pack := take()) is not None:
            self._publish(pack)

    def _publish(self, pack: FinishedPack) -> None:
        directory = pack.directory
        try:
            pack.publish()
        except Exception:
            pack.abandon()
            raise
        with self._dedup.lock:
            self._index.add(directory)
            self._dedup.arrived(directory.directory.chunks["id"].tobytes())
        self._announce(
            Published(
                name=pack_name(directory.pack_id),
                size_bytes=directory.pack_bytes,
                sha256=directory.pack_id,
                md5=pack.md5,
            )
        )
        self._describe(directory)

    def _announce(self, published: Published) -> None:
        self.published.append(published)
        self._on_published(published)

    def _describe(self, directory: PackDirectory) -> None:
        if _plain_bytes([*self._described, directory]) > _INDEX_PLAIN_BYTES:
            self._write_index()
        self._described.append(directory)
        if len(self._described) >= _INDEX_PACKS:
            self._write_index()

    def _write_index(self) -> None:
        if self._described:
            self.write(index_name, self._repository.seal_index(self._described))
            self._described = []


@final
class Lane:
    """Fills segments and packs with new chunks.  For one thread."""

    def __init__(
        self,
        *,
        repository: Repository,
        out: Files,
        publisher: Publisher,
        level: int,
        pack_bytes: int,
        with_md5: bool,
    ) -> None:
        self.new_chunks = 0
        self.new_bytes = 0
        self._repository, self._out, self._publisher = repository, out, publisher
        self._pack_bytes, self._with_md5 = pack_bytes, with_md5
        self._sealer = SegmentSealer(level=level)
        self._seal: PackSeal | None = None
        self._writer: PackWriter | None = None
        self._buffer = memoryview(bytearray(SEGMENT_BYTES))
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
            self._writer = PackWriter(self._out, header=self._seal.header, with_md5=self._with_md5)
        sealed = self._sealer.seal(raw, self._seal)
        self._writer.append(
            sealed.data, raw_bytes=sealed.raw_bytes, codec=sealed.codec, ids=ids, lengths=lengths
        )
        self.new_chunks += len(ids)
        self.new_bytes += sealed.raw_bytes
        if (
            self._writer.size_bytes + SEGMENT_BYTES > self._pack_bytes
            or self._writer.chunk_count >= MAX_PACK_CHUNKS
        ):
            self._finish_pack()

    def _finish_pack(self) -> None:
        if self._writer is not None and self._seal is not None:
            pack = self._writer.finish(self._seal.seal_directory)
            self._writer = self._seal = None
            try:
                self._publisher.submit(pack)
            except Exception:
                pack.abandon()  # nobody else knows of it
                raise


def _plain_bytes(packs: list[PackDirectory]) -> int:
    return plain_bytes(
        packs=len(packs),
        segments=sum(len(pack.directory.segments) for pack in packs),
        chunks=sum(len(pack.directory.chunks) for pack in packs),
    )
