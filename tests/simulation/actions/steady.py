"""What makes a story replay: disks, randomness and threads whose order nothing decides but it."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch
from uuid import UUID

from tests.support.simdisk import SimDisk, _SimNewFile
from typing_extensions import override

from overland.agent.backup.publisher import Published, Publisher
from overland.agent.backup.upload import Uploader
from overland.agent.backup.workers import FilesDone, PieceDone, Workers
from overland.values import ObjectInfo

__all__ = ["SteadyDisk", "SteadyRandom", "steady"]

_UNCOUNTED = ("create", "write", "settle", "sweep")
"""Steps whose order the threads decide; nobody ever sees what they did before it is published."""


class SteadyDisk(SimDisk):
    """A `SimDisk` that counts only steps with a visible effect, and may lie about flush.

    One that `is_scratch` keeps nothing for sure, as a folder that nobody syncs.
    """

    def __init__(
        self,
        *,
        cut_at: int | None = None,
        seed: int = 0,
        lies: bool = False,
        is_scratch: bool = False,
    ) -> None:
        super().__init__(cut_at=cut_at, seed=seed)
        self.lies, self.is_scratch = lies, is_scratch
        self.on_look: Callable[[], None] = _nothing
        """Called before names are listed, a file is read whole, or one is removed."""

    @override
    def create(self) -> "_SimNewFile":
        with self._lock:
            self._step("create")
            return _LyingNewFile(self) if self.lies or self.is_scratch else _SimNewFile(self)

    @override
    def restart(
        self, *, cut_at: int | None = None, seed: int = 0, lies: bool = False
    ) -> "SteadyDisk":
        survived = super().restart()
        again = SteadyDisk(cut_at=cut_at, seed=seed, lies=lies, is_scratch=self.is_scratch)
        again._entries, again._orphans = survived._entries, survived._orphans
        return again

    @override
    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        self.on_look()
        return super().names(prefix, start_after=start_after)

    @override
    def read(self, name: str) -> bytes:
        self.on_look()
        return super().read(name)

    @override
    def delete(self, name: str) -> None:
        self.on_look()
        super().delete(name)

    @override
    def settle(self, name: str) -> None:
        if not self.is_scratch:
            super().settle(name)

    @override
    def truncate(self, name: str, *, length: int) -> None:
        super().truncate(name, length=length)
        super().settle(name)  # behind everybody's back, and for good

    @override
    def _step(self, what: str) -> None:
        if what not in _UNCOUNTED or self.is_cut:
            super()._step(what)


def _nothing() -> None:
    pass


class _LyingNewFile(_SimNewFile):
    """A file whose medium says that it is flushed, and keeps it in its own memory."""

    @override
    def publish(self, name: str) -> None:
        disk = self._disk
        with disk._lock:
            before = disk._entries.get(name)
            durable = before.durable if before else None
            super().publish(name)
            self._inode.synced_bytes = 0
            disk._entries[name].durable = durable

    @override
    def settle(self) -> None:
        super().settle()
        self._inode.synced_bytes = 0


class SteadyRandom:
    """`Random` that gives each thread a stream of its own, known by the thread's name."""

    def __init__(self, seed: int) -> None:
        self._seed, self._lock = seed, threading.Lock()
        self.begin("")

    def begin(self, part: str) -> None:
        """Begin anew: what a part of the story used does not move what the next one gets."""
        self._part, self._counts = part, dict[str, int]()

    def __call__(self, size: int) -> bytes:
        name = threading.current_thread().name
        with self._lock:
            count = self._counts[name] = self._counts.get(name, 0) + 1
        text = f"{self._seed}/{self._part}/{name}/{count}"
        return hashlib.shake_256(text.encode()).digest(size)

    def uuid(self) -> UUID:
        """Return a UUID from the stream."""
        return UUID(bytes=self(16), version=4)


@contextmanager
def steady(chance: SteadyRandom) -> Iterator[None]:
    """Have the program's threads meet at fixed places; each of these orders is one that happens."""
    receive, submit = Workers.receive, Uploader.submit

    def late(self: Workers, *, wait: bool) -> FilesDone | PieceDone | None:
        # Results that are not waited for come when the walk is over.
        return receive(self, wait=True) if wait else None

    def carried(self: Uploader, published: Published) -> None:
        submit(self, published)
        self.drain()

    with (
        patch.object(Workers, "receive", late),
        patch.object(Uploader, "submit", carried),
        patch.object(Publisher, "submit", Publisher._publish),
        patch("overland.agent.repack.run.uuid4", chance.uuid),
        patch("overland.packing.hints.uuid.uuid4", chance.uuid),
    ):
        yield
