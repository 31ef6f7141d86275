"""Checks one pack with the keys: its digest, every seal, every chunk's id, in one reading."""

import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np

from overland.agent.points.chunks import ChunkStore
from overland.errors import ObjectCorrupt
from overland.format.pack import HEADER_BYTES, Directory
from overland.packing.reader import OpenedPack, read_directory
from overland.ports.objects import Objects
from overland.values import ObjectInfo, PackId

__all__ = ["check_pack_content"]

_READ_BYTES: Final = 8 << 20
"""Read together: few requests, and bounded memory."""

_COLUMNS: Final = ("sealed_bytes", "codec", "raw_bytes")


def check_pack_content(objects: Objects, info: ObjectInfo, store: ChunkStore) -> int:
    """Return how many chunks of a pack were proven to be what their ids say.

    The segments are read once: what is hashed is what is opened.

    Raises:
        ObjectAbsent: There is no such pack.
        IntegrityError: Its digest, a seal, its directory, or a chunk's id does not hold.
    """
    name, pack_id = info.name, PackId(info.name[9:-5])
    directory = read_directory(
        objects, pack_id, size_bytes=info.size_bytes, open_pack=store.open_pack
    ).directory
    header = objects.read_range(name, offset=0, length=HEADER_BYTES)
    proof = _Proof(store, store.open_pack(header, name), directory, name)
    digest = hashlib.sha256(header)
    for first, data in _groups(objects, name, directory):
        digest.update(data)
        proof.check(first, data)
    end = int(directory.segments["offset"][-1]) + int(directory.segments["sealed_bytes"][-1])
    digest.update(objects.read_range(name, offset=end, length=info.size_bytes - end))
    if digest.hexdigest() != pack_id:
        raise ObjectCorrupt(name, check="SHA-256 differs from the name")
    return len(directory.chunks)


def _groups(objects: Objects, name: str, directory: Directory) -> Iterator[tuple[int, memoryview]]:
    """Yield the number of a first segment, and whole segments from it on; all of them in order."""
    offsets = directory.segments["offset"].astype(np.int64)
    ends = offsets + directory.segments["sealed_bytes"]
    first = 0
    while first < len(offsets):
        last = int(np.searchsorted(ends, offsets[first] + _READ_BYTES, side="right"))
        last = max(last, first + 1)
        start, length = int(offsets[first]), int(ends[last - 1] - offsets[first])
        data = objects.read_range(name, offset=start, length=length)
        if len(data) != length:
            raise ObjectCorrupt(name, check="it is cut off")
        yield first, memoryview(data)
        first = last


class _Proof:
    """Proves the segments of one pack."""

    def __init__(
        self, store: ChunkStore, opened: OpenedPack, directory: Directory, name: str
    ) -> None:
        self._store, self._opened, self._name = store, opened, name
        columns = [directory.segments[column].tolist() for column in _COLUMNS]
        self._segments: list[tuple[int, int, int]] = list(zip(*columns, strict=True))
        numbers = directory.chunks["segment"].astype(np.int64)
        self._borders: list[int] = np.searchsorted(
            numbers, np.arange(len(self._segments) + 1)
        ).tolist()
        self._ids: bytes = directory.chunks["id"].tobytes()
        self._offsets: list[int] = directory.chunks["offset"].tolist()
        self._lengths: list[int] = directory.chunks["length"].tolist()

    def check(self, first: int, data: memoryview) -> None:
        """Prove the segments from number `first` on that `data` holds, back to back."""
        at, number = 0, first
        while at < len(data):
            sealed_bytes, codec, raw_bytes = self._segments[number]
            raw = self._opened.open_segment(
                number, data[at : at + sealed_bytes], codec=codec, raw_bytes=raw_bytes
            )
            self._check_chunks(number, memoryview(raw))
            at, number = at + sealed_bytes, number + 1

    def _check_chunks(self, number: int, raw: memoryview) -> None:
        start, end = self._borders[number], self._borders[number + 1]
        key = self._store.chunk_id
        places = zip(self._offsets[start:end], self._lengths[start:end], strict=True)
        found = b"".join([key(raw[offset : offset + length]) for offset, length in places])
        if found != self._ids[32 * start : 32 * end]:
            raise ObjectCorrupt(self._name, check="a chunk is not what its id says")
