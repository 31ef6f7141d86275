"""What index files say that packs hold, and so which packs their seals alone can prove.

An index file is sealed, and names each pack by its SHA-256 beside the whole directory.  Where a
pack's own sealed directory is that one, and every segment opens and holds the chunks that it
names, the pack is the one of that name: `docs/format/pack-v1.md` §6.1 says why.
"""

import hashlib
from collections.abc import Iterator
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from overland.format.digests import DIGEST_BYTES, SortedDigests
from overland.format.index import IndexTables
from overland.format.pack import Directory
from overland.values import PackId

__all__ = ["DescribedPacks", "fingerprint"]

_CONTRADICTED: Final = b""
"""Is no directory's fingerprint."""

_DTYPE: Final = f"S{DIGEST_BYTES}"  # of ids and fingerprints; both have 32 bytes


def fingerprint(directory: Directory) -> bytes:
    """Return 32 bytes that no other directory has."""
    digest = hashlib.sha256(len(directory.segments).to_bytes(4, "little"))
    digest.update(directory.segments.tobytes())
    digest.update(directory.chunks.tobytes())
    return digest.digest()


@final
class DescribedPacks:
    """The fingerprints of the directories that index files give for packs.

    They take 64 bytes for each pack, and three times as much for a moment when first asked for.

    Attributes:
        otherwise: Packs that an index file describes otherwise than they are, with the
            fingerprints of their own directories.
    """

    def __init__(self) -> None:
        self._ids, self._said = bytearray(), bytearray()
        self._packs: SortedDigests | None = None  # whose fingerprints `_said` has, in their order
        self._contradicted = set[bytes]()
        self._twins = set[bytes]()
        self.otherwise: dict[PackId, bytes] = {}

    def add(self, tables: IndexTables) -> None:
        """Take note of what an index file says."""
        if self._packs is not None:
            self._ids, self._packs = bytearray(self._packs.joined()), None
        for pack in tables.directories():
            self._ids += bytes.fromhex(pack.pack_id)
            self._said += fingerprint(pack.directory)

    def arrange(self) -> SortedDigests:
        """Put the packs in order, for all processes that are forked from now on; return them."""
        if self._packs is None:
            packs, said = SortedDigests(self._ids), np.frombuffer(self._said, _DTYPE)
            if len(packs) < len(said):
                ids = np.frombuffer(self._ids, _DTYPE)
                self._contradicted.update(_contradicted(ids, said))
            if packs.rows is not None:
                said, packs.rows = said[packs.rows], None
            at = [packs.find(each) for each in self._contradicted]
            self._twins = set(_doubled(np.delete(said, at) if at else said))
            self._packs, self._ids, self._said = packs, bytearray(), bytearray(said.tobytes())
        return self._packs

    def expected(self, pack_id: PackId) -> bytes | None:
        """Return the fingerprint that a pack's directory should have; None if no file says it.

        What two files contradict each other about is no directory's.
        """
        digest = bytes.fromhex(pack_id)
        place = self.arrange().find(digest)
        if place < 0:
            return None
        if digest in self._contradicted:
            return _CONTRADICTED
        return bytes(self._said[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES])

    def has_twin(self, pack_id: PackId) -> bool:
        """Return whether another pack has the same directory, so that it proves neither's name."""
        return self.expected(pack_id) in self._twins


def _contradicted(ids: NDArray[np.bytes_], said: NDArray[np.bytes_]) -> Iterator[bytes]:
    """Yield the packs of which two different things are said."""
    order = np.argsort(ids, kind="stable")
    ids, said = ids[order], said[order]
    yield from _each(ids[1:][(ids[1:] == ids[:-1]) & (said[1:] != said[:-1])])


def _doubled(digests: NDArray[np.bytes_]) -> Iterator[bytes]:
    """Yield those that are there more than once."""
    digests = np.sort(digests)
    yield from _each(digests[1:][digests[1:] == digests[:-1]])


def _each(digests: NDArray[np.bytes_]) -> Iterator[bytes]:
    # Not as numpy makes single texts, without the zeros at their ends.
    joined = digests.tobytes()
    return (joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES))
