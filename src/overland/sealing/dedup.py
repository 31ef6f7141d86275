"""Which chunks are new: neither stored before nor on their way in this run."""

import threading
from typing import Protocol, final

__all__ = ["Dedup", "KnownChunks"]


class KnownChunks(Protocol):
    """Answers whether chunks are stored; the chunk index does."""

    def unknown(self, joined: bytes) -> list[int]:
        """Return the positions of the ids, laid end to end, whose chunks are not stored."""
        ...


@final
class Dedup:
    """Lets each new chunk through once, whatever thread meets it first.

    Whoever is told that a chunk is new has to store it, or to end the run: the others rely on it.
    The chunks on their way are remembered until their pack is published; that is bounded by the
    packs that can be under way.
    """

    def __init__(self, known: KnownChunks) -> None:
        self._known = known
        self._on_their_way: set[bytes] = set()
        self.lock = threading.RLock()

    def claim(self, joined: bytes) -> list[int]:
        """Return the positions of the ids, laid end to end, whose chunks the caller has to store.

        An id that is there twice is new at its first position only.
        """
        with self.lock:
            unknown = self._known.unknown(joined)
            new: list[int] = []
            on_their_way = self._on_their_way
            for position in unknown:
                chunk_id = joined[32 * position : 32 * position + 32]
                if chunk_id not in on_their_way:
                    on_their_way.add(chunk_id)
                    new.append(position)
            return new

    def knows_all(self, joined: bytes) -> bool:
        """Return whether all chunks with these ids are stored."""
        with self.lock:
            return not self._known.unknown(joined)

    def arrived(self, joined: bytes) -> None:
        """Forget ids that the index knows by now; call with `lock` held since it was told."""
        with self.lock:
            self._on_their_way.difference_update(
                joined[start : start + 32] for start in range(0, len(joined), 32)
            )
