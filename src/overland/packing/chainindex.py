"""The chunks that a chain of recovery points has stored, loaded when one is asked for.

What it takes of memory once it is loaded is bounded, as `index` says.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from overland.format.index import PackDirectory
    from overland.packing.index import ChunkIndex
    from overland.values import PackId

__all__ = ["ChainIndex"]


@final
class ChainIndex:
    """A chunk index that may not be loaded yet.  Not locked: one thread at a time.

    A run that finds nothing changed asks for no chunk, and does without the index and without all
    that it is made of.
    """

    def __init__(self, load: "Callable[[], ChunkIndex]", *, epoch: bytes) -> None:
        """Load when needed.

        Args:
            load: Gives the index; called once at most.
            epoch: Of that index, as its head says.
        """
        self.loaded: ChunkIndex | None = None
        self._load, self._epoch = load, epoch

    @classmethod
    def of(cls, index: "ChunkIndex") -> "ChainIndex":
        """Return a chain's index that is in memory."""
        chain = cls(lambda: index, epoch=index.epoch)
        chain.loaded = index
        return chain

    @property
    def epoch(self) -> bytes:
        """As `ChunkIndex.epoch`."""
        return self._epoch if self.loaded is None else self.loaded.epoch

    def unknown(self, joined: bytes) -> list[int]:
        """As `ChunkIndex.unknown`.

        Raises:
            IndexHintDamaged: The saved index changed since its head was read.
        """
        return self.load().unknown(joined)

    def has_pack(self, pack_id: "PackId") -> bool:
        """As `ChunkIndex.has_pack`; raises as `unknown`."""
        return self.load().has_pack(pack_id)

    def add(self, pack: "PackDirectory") -> None:
        """As `ChunkIndex.add`; raises as `unknown`."""
        self.load().add(pack)

    def load(self) -> "ChunkIndex":
        """Return the index, loaded at the first call; raises as `unknown`."""
        if self.loaded is None:
            self.loaded = self._load()
        return self.loaded

    def let_go(self) -> None:
        """Give up the index, and its memory with it; from now on only its epoch may be asked."""
        self._epoch, self._load, self.loaded = self.epoch, _let_go, None


def _let_go() -> "ChunkIndex":
    raise AssertionError("nobody asks for chunks when the hints are written")
