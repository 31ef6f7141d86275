"""Chunks become ids, and those that are new go into a lane.

The lanes, and the chunk index when it is loaded, bring arrays with them, which take longer to load
than a whole run that finds nothing changed: they are loaded when the first file has to be read.
"""

import threading
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING, Final, final

from overland.packing.chainindex import ChainIndex
from overland.sealing.dedup import Dedup

if TYPE_CHECKING:
    from overland.agent.backup.lanes import Lane
    from overland.agent.backup.plan import BackupPlan
    from overland.agent.backup.publisher import Publisher
    from overland.agent.repository import Repository
    from overland.ports.files import Files

__all__ = ["ChunkStore", "load", "new_lane", "once"]

_LATE_BYTES: Final = 512 << 10
_LATE_CHUNKS: Final = 256


@final
class ChunkStore:
    """Hashes chunks, and stores those that are new, through one lane; for one thread."""

    def __init__(
        self,
        new_lane: "Callable[[], Lane]",
        *,
        dedup: Dedup,
        chunk_id: Callable[[memoryview], bytes],
    ) -> None:
        """Begin without a lane: `new_lane` gives it when a chunk is new."""
        self.chunks = 0
        self._new_lane = new_lane
        self._lane: Lane | None = None
        self._dedup, self._chunk_id = dedup, chunk_id
        self._late: list[bytes] = []
        self._late_bytes = 0

    def store(self, buffer: memoryview, cuts: list[int]) -> list[bytes]:
        """Return the ids of the chunks in `buffer`, which `cuts` ends; the first begins at 0."""
        chunk_id = self._chunk_id
        ids: list[bytes] = []
        start = 0
        for end in cuts:
            ids.append(chunk_id(buffer[start:end]))
            start = end
        if ids:
            new = self._dedup.claim(b"".join(ids))
            if new:
                if self._lane is None:
                    self._lane = self._new_lane()
                self._lane.add(buffer, cuts, ids, new=new)
            self.chunks += len(ids)
        return ids

    def store_later(self, chunk: bytes) -> bytes:
        """Return the id of a chunk, which is stored together with others, in `flush` at last.

        For what comes in small chunks, one at a time: to ask for each whether it is new would
        cost more than to store it.
        """
        self._late.append(chunk)
        self._late_bytes += len(chunk)
        if self._late_bytes >= _LATE_BYTES or len(self._late) >= _LATE_CHUNKS:
            self.flush()
        return self._chunk_id(memoryview(chunk))

    @property
    def new_chunks(self) -> int:
        """How many chunks were new."""
        return self._lane.new_chunks if self._lane else 0

    @property
    def new_bytes(self) -> int:
        """How long they are."""
        return self._lane.new_bytes if self._lane else 0

    def close(self) -> None:
        """Finish the open pack, and hand it over."""
        if self._lane:
            self._lane.close()

    def abandon(self) -> None:
        """Forget the open pack."""
        if self._lane:
            self._lane.abandon()

    def flush(self) -> None:
        """Store what was to be stored later."""
        late, self._late, self._late_bytes = self._late, [], 0
        self.store(memoryview(b"".join(late)), list(accumulate(map(len, late))))


def load(index: ChainIndex) -> None:
    """Load what reading the first file needs."""
    import overland.agent.backup.lanes  # noqa: F401, PLC0415 - as said above

    index.load()


def once(act: Callable[[], None]) -> Callable[[], None]:
    """Return what acts at its first call, and returns from every call when that is done."""
    lock, is_done = threading.Lock(), False

    def act_once() -> None:
        nonlocal is_done
        with lock:
            if not is_done:
                act()
                is_done = True

    return act_once


def new_lane(
    plan: "BackupPlan",
    *,
    repository: "Repository",
    out: "Files",
    publisher: "Publisher",
    begin: Callable[[], None],
) -> "Lane":
    """Return a lane with the plan's settings, when `begin` has returned: it makes packs."""
    from overland.agent.backup.lanes import Lane  # noqa: PLC0415 - as said above

    begin()
    return Lane(
        repository=repository,
        out=out,
        publisher=publisher,
        level=plan.level,
        pack_bytes=plan.pack_bytes,
        first_pack_bytes=plan.first_pack_bytes,
    )
