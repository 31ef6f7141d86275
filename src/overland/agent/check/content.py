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
from overland.packing.reader import read_directory
from overland.ports.objects import Objects
from overland.sealing.seal import open_pack
from overland.values import ObjectInfo, PackId

__all__ = ["PackProof", "check_pack_content"]

_COLUMNS: Final = ("codec", "raw_bytes")


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

    All of it is read in order, from the medium where the system allows it; header, directory and
    trailer have been read before, and must be the same again.  The name is proven by the seals,
    where the pack's directory is the `expected` one, and otherwise by the SHA-256.

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
    ends = _Ends(objects)
    directory = read_directory(
        ends, pack_id, size_bytes=info.size_bytes, open_pack=store.open_pack
    ).directory
    found = PackProof(len(directory.chunks), fingerprint(directory))
    header, *tail = (ends.pieces[offset] for offset in sorted(ends.pieces))
    proof = _Proof(store, header, directory, name)
    digest = hashlib.sha256() if digests or found.fingerprint != expected else None
    stream = _Stream(objects.blocks(name), digest, name)
    is_same = stream.take(HEADER_BYTES) == header
    for number, sealed_bytes in enumerate(directory.segments["sealed_bytes"].tolist()):
        proof.check(number, stream.take(sealed_bytes))
    # As bytes: views are compared element by element, which takes several times as long.
    is_same = all(bytes(stream.take(len(piece))) == piece for piece in tail) and is_same
    if not (stream.is_at_end() and is_same):
        raise ObjectCorrupt(name, check="it is not the same when it is read again")
    if digest is not None and digest.hexdigest() != pack_id:
        raise ObjectCorrupt(name, check="SHA-256 differs from the name")
    return found


class _Ends:
    """Reads a pack's header, directory and trailer, and remembers their bytes by their offsets."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.pieces: dict[int, bytes] = {}

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return the bytes, and keep them by their offset; raises as `Objects.read_range`."""
        data = self.pieces[offset] = self._objects.read_range(name, offset=offset, length=length)
        return data


class _Stream:
    """The bytes of an object in order, a stretch at a time, copied only where two blocks meet."""

    def __init__(
        self, blocks: Iterator[memoryview], digest: "hashlib._Hash | None", name: str
    ) -> None:
        self._blocks, self._digest, self._name = blocks, digest, name
        self._rest = memoryview(b"")
        self._joined = memoryview(b"")

    def take(self, length: int) -> memoryview:
        """Return the next `length` bytes, valid until the next call.

        Raises:
            ObjectCorrupt: There are fewer.
        """
        if length > len(self._rest):
            return self._join(length)
        taken, self._rest = self._rest[:length], self._rest[length:]
        return taken

    def is_at_end(self) -> bool:
        """Return whether nothing follows."""
        return not self._rest and not self._next()

    def _join(self, length: int) -> memoryview:
        if length > len(self._joined):
            self._joined = memoryview(bytearray(length))
        joined, have = self._joined[:length], 0
        while have < length:
            if not self._rest and not self._next():
                raise ObjectCorrupt(self._name, check="it is cut off")
            some = self._rest[: length - have]
            joined[have : have + len(some)] = some
            self._rest = self._rest[len(some) :]
            have += len(some)
        return joined

    def _next(self) -> bool:
        """Have the next block that is not empty in `_rest`; return whether there is one."""
        for block in self._blocks:
            if self._digest is not None:
                self._digest.update(block)
            if len(block):
                self._rest = block
                return True
        return False


class _Proof:
    """Proves the segments of one pack."""

    def __init__(self, store: ChunkStore, header: bytes, directory: Directory, name: str) -> None:
        open_header = open_pack(store.keys.segment, repository_id=store.keys.repository_id)
        self._opened = open_header(header, name).segments()
        self._key, self._name = store.keys.chunk_id, name
        columns = [directory.segments[column].tolist() for column in _COLUMNS]
        self._segments: list[tuple[int, int]] = list(zip(*columns, strict=True))
        numbers = directory.chunks["segment"].astype(np.int64)
        self._borders: list[int] = np.searchsorted(
            numbers, np.arange(len(self._segments) + 1)
        ).tolist()
        self._ids: bytes = directory.chunks["id"].tobytes()
        self._offsets: list[int] = directory.chunks["offset"].tolist()
        self._lengths: list[int] = directory.chunks["length"].tolist()

    def check(self, number: int, sealed: memoryview) -> None:
        """Prove a segment and its chunks."""
        codec, raw_bytes = self._segments[number]
        raw = self._opened.open(number, sealed, codec=codec, raw_bytes=raw_bytes)
        start, end = self._borders[number], self._borders[number + 1]
        places = zip(self._offsets[start:end], self._lengths[start:end], strict=True)
        found = chunk_ids(self._key, raw, places)
        if found != self._ids[32 * start : 32 * end]:
            raise ObjectCorrupt(self._name, check="a chunk is not what its id says")
