"""Chunks out of packs: in the order of the packs, decoded in parallel, each checked by its id.

Keys stay outside: a callable opens the sealed parts of a pack.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

from overland.errors import ObjectCorrupt, OverlandError
from overland.format import pack as pack_format
from overland.format.index import PackDirectory
from overland.packing.index import ChunkIndex, Ids
from overland.packing.tables import Records
from overland.values import PackId, pack_name

__all__ = [
    "ChunkAbsent",
    "OpenPack",
    "OpenedPack",
    "PackReader",
    "RangeReader",
    "read_directory",
]

_READ_BYTES: Final = 8 << 20  # neighbouring segments are fetched together up to this
_OPENED_PACKS: Final = 1024  # remembered ciphers, a few hundred bytes each
_JOBS_PER_WORKER: Final = 2


class RangeReader(Protocol):
    """What of `Files` and `Objects` is needed to read packs."""

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end.

        Raises:
            ObjectAbsent: There is no such object.
        """
        ...


class OpenedPack(Protocol):
    """Opens the sealed parts of one pack; `overland.sealing` has it for real."""

    def open_segment(
        self, number: int, sealed: bytes | memoryview, *, codec: int, raw_bytes: int
    ) -> bytes:
        """Return the raw segment, `raw_bytes` long.

        Raises:
            IntegrityError: The seal does not hold, or the content has another length.
        """
        ...

    def open_directory(self, sealed: bytes | memoryview) -> bytes:
        """Return the encoded directory.

        Raises:
            IntegrityError: The seal does not hold.
        """
        ...


OpenPack = Callable[[bytes, str], OpenedPack]
"""Opens a pack by its header (`HEADER_BYTES`) and its name, which is for errors only."""


class ChunkAbsent(OverlandError):
    """Nothing that is known holds the chunk: it was never stored, or its pack is lost."""

    code = "chunk-absent"

    def __init__(self, chunk_id: bytes, *, count: int) -> None:
        super().__init__(
            f"{count} needed chunks are in no pack that can be read, the first is "
            f"{chunk_id.hex()}; connect the drive or the vault that holds them"
        )
        self.chunk_id, self.count = chunk_id, count


class _Segment(NamedTuple):
    """One segment to decode and the wanted chunks in it."""

    number: int
    offset: int
    sealed_bytes: int
    raw_bytes: int
    codec: int
    chunks: list[tuple[int, int, int]]  # position in the request, offset, length


class _Job(NamedTuple):
    """Neighbouring segments of one pack, fetched with one read."""

    pack_id: PackId
    segments: list[_Segment]


@final
class PackReader:
    """Reads chunks by id.  Use it as a context manager: it has threads."""

    def __init__(
        self,
        objects: RangeReader,
        index: ChunkIndex,
        *,
        open_pack: OpenPack,
        chunk_id: Callable[[memoryview], bytes],
        workers: int = 2,
    ) -> None:
        """Prepare to read.

        Args:
            objects: Holds the packs.
            index: Knows the places.
            open_pack: Opens sealed parts.
            chunk_id: Computes a chunk's id, to check it after decoding.
            workers: Threads that fetch and decode; memory is about 40 MiB for each.
        """
        self._objects, self._index = objects, index
        self._open_pack, self._chunk_id = open_pack, chunk_id
        self._limit = workers * _JOBS_PER_WORKER
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="read-pack")
        self._opened: OrderedDict[PackId, OpenedPack] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads; the reader is of no more use."""
        self._pool.shutdown(cancel_futures=True)

    def missing(self, ids: Ids) -> NDArray[np.int64]:
        """Return the positions of ids that the index does not know."""
        return np.flatnonzero(self._index.lookup(ids) < 0)

    def read(self, ids: Ids) -> list[bytes]:
        """Return whole chunks in the order of `ids`; for few and small ones, such as tree nodes.

        Raises:
            As `read_chunks`.
        """
        found: list[bytes] = [b""] * len(ids)
        for position, data in self.read_chunks(ids):
            found[position] = bytes(data)
        return found

    def read_chunks(self, ids: Ids) -> Iterator[tuple[int, memoryview]]:
        """Yield position in `ids` and content of every chunk, in the order of packs and segments.

        Each segment is fetched and decoded once, whatever the order and the repetitions in
        `ids`, so ask for many at once.  A view keeps its whole segment in memory while it lives.

        Raises:
            ChunkAbsent: The index does not know some of them; raised before anything is read.
            ObjectAbsent: A pack is not there.
            IntegrityError: A pack is damaged, or a chunk is not what its id says.
        """
        rows = self._index.lookup(ids)
        absent = np.flatnonzero(rows < 0)
        if len(absent):
            raise ChunkAbsent(ids[absent[0]].tobytes(), count=len(absent))
        return self._decoded(ids, self._jobs(self._index.places(rows)))

    def _decoded(self, ids: Ids, jobs: Iterator[_Job]) -> Iterator[tuple[int, memoryview]]:
        running: deque[Future[list[tuple[int, memoryview]]]] = deque()
        try:
            for job in jobs:
                running.append(self._pool.submit(self._decode, job, self._opened_for(job), ids))
                if len(running) >= self._limit:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        finally:
            for future in running:
                future.cancel()

    def _jobs(self, places: Records) -> Iterator[_Job]:
        if not len(places):
            return
        order = np.lexsort((places["offset"], places["segment"], places["pack"]))
        places = places[order]
        new_segment = np.ones(len(places), bool)
        new_segment[1:] = (places["pack"][1:] != places["pack"][:-1]) | (
            places["segment"][1:] != places["segment"][:-1]
        )
        starts = np.flatnonzero(new_segment)
        ends = np.append(starts[1:], len(places))
        job_pack, segments, size_bytes = -1, list[_Segment](), 0
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            pack, segment = int(places["pack"][start]), _segment(places, order, start, end)
            if segments and not (
                pack == job_pack
                and segment.offset == segments[-1].offset + segments[-1].sealed_bytes
                and size_bytes + segment.sealed_bytes <= _READ_BYTES
            ):
                yield _Job(self._index.pack_id(job_pack), segments)
                segments, size_bytes = [], 0
            job_pack = pack
            segments.append(segment)
            size_bytes += segment.sealed_bytes
        if segments:
            yield _Job(self._index.pack_id(job_pack), segments)

    def _opened_for(self, job: _Job) -> OpenedPack:
        opened = self._opened.get(job.pack_id)
        if opened is None:
            name = pack_name(job.pack_id)
            header = self._objects.read_range(name, offset=0, length=pack_format.HEADER_BYTES)
            opened = self._opened[job.pack_id] = self._open_pack(header, name)
            if len(self._opened) > _OPENED_PACKS:
                self._opened.popitem(last=False)
        return opened

    def _decode(self, job: _Job, opened: OpenedPack, ids: Ids) -> list[tuple[int, memoryview]]:
        name = pack_name(job.pack_id)
        first, last = job.segments[0], job.segments[-1]
        length = last.offset + last.sealed_bytes - first.offset
        fetched = self._objects.read_range(name, offset=first.offset, length=length)
        if len(fetched) != length:
            raise ObjectCorrupt(name, check="a segment is cut off")
        sealed = memoryview(fetched)
        found: list[tuple[int, memoryview]] = []
        for segment in job.segments:
            start = segment.offset - first.offset
            raw = memoryview(
                opened.open_segment(
                    segment.number,
                    sealed[start : start + segment.sealed_bytes],
                    codec=segment.codec,
                    raw_bytes=segment.raw_bytes,
                )
            )
            for position, offset, size in segment.chunks:
                data = raw[offset : offset + size]
                if self._chunk_id(data) != ids[position].tobytes():
                    raise ObjectCorrupt(name, check="a chunk is not what its id says")
                found.append((position, data))
        return found


def read_directory(
    objects: RangeReader, pack_id: PackId, *, size_bytes: int, open_pack: OpenPack
) -> PackDirectory:
    """Return the directory of a pack that no index describes, with three small reads.

    The seal proves that header, directory and trailer belong to this repository; the segments
    are not read.

    Raises:
        ObjectAbsent: There is no such pack.
        IntegrityError: It is damaged, or not sealed with this repository's keys.
    """
    name = pack_name(pack_id)
    if size_bytes < pack_format.HEADER_BYTES + pack_format.TRAILER_BYTES:
        raise ObjectCorrupt(name, check="too short")
    header = objects.read_range(name, offset=0, length=pack_format.HEADER_BYTES)
    trailer = pack_format.decode_trailer(
        objects.read_range(
            name,
            offset=size_bytes - pack_format.TRAILER_BYTES,
            length=pack_format.TRAILER_BYTES,
        ),
        name=name,
        pack_bytes=size_bytes,
    )
    sealed = objects.read_range(
        name, offset=trailer.directory_offset, length=trailer.directory_sealed_bytes
    )
    plain = open_pack(header, name).open_directory(sealed)
    directory = pack_format.decode_directory(
        plain, name=name, pack_bytes=size_bytes, trailer=trailer
    )
    return PackDirectory(pack_id=pack_id, pack_bytes=size_bytes, directory=directory)


def _segment(places: Records, order: NDArray[np.int64], start: int, end: int) -> _Segment:
    first = places[start]
    chunks = zip(
        order[start:end].tolist(),
        places["offset"][start:end].tolist(),
        places["length"][start:end].tolist(),
        strict=True,
    )
    return _Segment(
        number=int(first["segment"]),
        offset=int(first["segment_offset"]),
        sealed_bytes=int(first["sealed_bytes"]),
        raw_bytes=int(first["raw_bytes"]),
        codec=int(first["codec"]),
        chunks=list(chunks),
    )
