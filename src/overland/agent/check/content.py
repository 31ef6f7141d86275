"""Checks one pack with the keys: every seal, every chunk's id, and its name, in one reading."""

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from overland.agent.check.described import fingerprint
from overland.agent.points.chunks import ChunkStore
from overland.crypto.ids import chunk_ids
from overland.errors import ObjectCorrupt
from overland.format.pack import HEADER_BYTES, Directory
from overland.packing.reader import OpenedPack, read_directory
from overland.ports.objects import Objects
from overland.values import ObjectInfo, PackId

__all__ = ["PackProof", "check_pack_content"]

_READ_BYTES: Final = 2 << 20
"""Read together: few requests, and what was read is in the processor's cache when it is used."""

_COLUMNS: Final = ("sealed_bytes", "codec", "raw_bytes")


class PackProof(NamedTuple):
    """How many chunks of a pack are what their ids say, and its directory's fingerprint."""

    chunks: int
    fingerprint: bytes


def check_pack_content(
    objects: Objects,
    info: ObjectInfo,
    store: ChunkStore,
    *,
    expected: bytes | None = None,
    digests: bool = False,
) -> PackProof:
    """Prove that a pack is the one that its name says, and that every chunk in it is whole.

    The segments are read once.  The name is proven by the seals, where the pack's directory is
    the `expected` one, and otherwise by the SHA-256 of what is opened.

    Args:
        objects: Hold the pack.
        info: Its name and size.
        store: Has the keys.
        expected: The fingerprint of the directory that an index file gives for this name.
        digests: Compute the SHA-256 in any case.

    Raises:
        ObjectAbsent: There is no such pack.
        IntegrityError: Its digest, a seal, its directory, or a chunk's id does not hold.
    """
    name, pack_id = info.name, PackId(info.name[9:-5])
    directory = read_directory(
        objects, pack_id, size_bytes=info.size_bytes, open_pack=store.open_pack
    ).directory
    found = PackProof(len(directory.chunks), fingerprint(directory))
    header = objects.read_range(name, offset=0, length=HEADER_BYTES)
    proof = _Proof(store, store.open_pack(header, name), directory, name)
    digest = hashlib.sha256(header) if digests or found.fingerprint != expected else None
    for first, data in _groups(objects, name, directory):
        if digest is not None:
            digest.update(data)
        proof.check(first, data)
    if digest is not None:
        last = directory.segments[-1]
        end = int(last["offset"]) + int(last["sealed_bytes"])
        digest.update(objects.read_range(name, offset=end, length=info.size_bytes - end))
        if digest.hexdigest() != pack_id:
            raise ObjectCorrupt(name, check="SHA-256 differs from the name")
    return found


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
        self._key, self._opened, self._name = store.keys.chunk_id, opened, name
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
        places = zip(self._offsets[start:end], self._lengths[start:end], strict=True)
        found = chunk_ids(self._key, raw, places)
        if found != self._ids[32 * start : 32 * end]:
            raise ObjectCorrupt(self._name, check="a chunk is not what its id says")
