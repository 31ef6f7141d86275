"""What index files say that packs hold, and so which packs their seals alone can prove.

An index file is sealed, and names each pack by its SHA-256 beside the whole directory.  Where a
pack's own sealed directory is that one, and every segment opens and holds the chunks that it
names, the pack is the one of that name: `docs/format/pack-v1.md` §6.1 says why.
"""

import hashlib
from collections import Counter
from typing import final

from overland.format.index import IndexTables
from overland.format.pack import Directory
from overland.values import PackId

__all__ = ["DescribedPacks", "fingerprint"]

_CONTRADICTED = b""
"""Is no directory's fingerprint."""


def fingerprint(directory: Directory) -> bytes:
    """Return 32 bytes that no other directory has."""
    digest = hashlib.sha256(len(directory.segments).to_bytes(4, "little"))
    digest.update(directory.segments.tobytes())
    digest.update(directory.chunks.tobytes())
    return digest.digest()


@final
class DescribedPacks:
    """The fingerprints of the directories that index files give for packs.

    Attributes:
        otherwise: Packs that an index file describes otherwise than they are, with the
            fingerprints of their own directories.
    """

    def __init__(self) -> None:
        self._expected: dict[PackId, bytes] = {}
        self._twins: frozenset[bytes] | None = None
        self.otherwise: dict[PackId, bytes] = {}

    def add(self, tables: IndexTables) -> None:
        """Take note of what an index file says."""
        for pack in tables.directories():
            said = fingerprint(pack.directory)
            if self._expected.setdefault(pack.pack_id, said) != said:
                self._expected[pack.pack_id] = _CONTRADICTED
        self._twins = None

    def expected(self, pack_id: PackId) -> bytes | None:
        """Return the fingerprint that a pack's directory should have; None if no file says it.

        What two files contradict each other about is no directory's.
        """
        return self._expected.get(pack_id)

    def has_twin(self, pack_id: PackId) -> bool:
        """Return whether another pack has the same directory, so that it proves neither's name."""
        if self._twins is None:
            times = Counter(self._expected.values())
            self._twins = frozenset(said for said, count in times.items() if count > 1)
        return self._expected.get(pack_id) in self._twins
