"""The way of an upload from the event loop to the thread that stores it.

Threads that store are few, and a slow sender holds one: so each upload has its patience, and each
grant its share of the threads.
"""

import asyncio
import contextlib
import queue
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar

from overland.server.bulk import Body
from overland.server.objects_wire import TooManyUploads, UploadInterrupted, UploadTooSlow

__all__ = ["Limits", "Shares", "Upload", "paced"]

# Joined in the storing thread: hashing and writing few large buffers costs half as much as many
# small ones, which the two threads would also hand the interpreter over for.
_BATCH_BYTES: Final = 2 << 20
_BATCHES_AHEAD: Final = 2  # the one being stored is one of them; with the one that fills: 12 MiB
T = TypeVar("T")

_Batch = list[bytes] | memoryview


_Blocks = Iterator[bytes | memoryview]
"""A body in the storing thread; each piece lives until the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What uploads may take of the threads that store.

    32 KiB/s is a line of 256 kbit/s, or a quarter of one of 1 Mbit/s: who backs up over less
    sends first copies by drive.  A pack of 64 MiB then has 35 minutes.  The time is earned byte by
    byte: whoever announces much and sends little is cut off after the grace of one minute.
    A station uploads 2 objects from each of 4 drives at once and an agent one, so 8 hinder nobody
    honest.
    """

    writers: int = 32  # threads that store; the next upload waits, and its sender with it
    per_grant: int = 8
    idle_s: float = 60.0  # a sender that is silent for longer has gone
    grace_s: float = 60.0
    slowest_bytes_per_s: float = 32 << 10

    def __post_init__(self) -> None:
        assert self.per_grant < self.writers, "one grant never holds all threads"

    def patience_s(self, sent_bytes: int) -> float:
        """Return how long a sender may have been waited for when so much of a body is here."""
        return self.grace_s + sent_bytes / self.slowest_bytes_per_s


class Shares:
    """How many uploads each holder has under way, in all event loops together."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.per_grant
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()

    @contextlib.contextmanager
    def taken(self, holder: str) -> Iterator[None]:
        """Count one upload of the holder for as long as the block runs.

        Raises:
            TooManyUploads: The holder has as many as it may.
        """
        with self._lock:
            if self._under_way[holder] >= self._limit:
                raise TooManyUploads(self._limit)
            self._under_way[holder] += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way[holder] -= 1
                if not self._under_way[holder]:
                    del self._under_way[holder]


def paced(
    blocks: Generator[memoryview, None, None], *, limits: Limits, monotonic_s: Callable[[], float]
) -> Generator[memoryview, None, None]:
    """Yield the blocks of a file that is read here; its medium has as long as a sender has.

    Raises:
        UploadTooSlow: Its time is over.  What is done with the blocks does not count.
    """
    waited_s, read_bytes = 0.0, 0
    with contextlib.closing(blocks):
        while True:
            began_s = monotonic_s()
            block = next(blocks, None)
            waited_s += monotonic_s() - began_s
            if waited_s > limits.patience_s(read_bytes):
                raise UploadTooSlow(
                    sent_bytes=read_bytes, slowest_bytes_per_s=limits.slowest_bytes_per_s
                )
            if block is None:
                return
            read_bytes += len(block)
            yield block


class Upload:
    """Hands the pieces of one request body to one thread, in bounded batches.

    The sender waits while the thread is behind; the thread waits while the sender is.  A body that
    breaks off raises in the thread, so that a half object is never taken for a whole one.
    """

    def __init__(self, *, limits: Limits, monotonic_s: Callable[[], float]) -> None:
        self._limits, self._now_s = limits, monotonic_s
        self._sent_bytes, self._waited_s = 0, 0.0
        self._batches: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(_BATCHES_AHEAD)
        self._loop = asyncio.get_running_loop()
        self._whole = False

    async def run(
        self, body: AsyncIterator[bytes] | Body, store: Callable[[_Blocks], T], *, on: Executor
    ) -> T:
        """Run `store` over the body in a thread of `on`, and return its result.

        When `store` ends before the body does, the rest of the body is left unread.

        Raises:
            UploadInterrupted: The body broke off or stood still.
            UploadTooSlow: The sender's time is over.  What the store itself takes does not count.
            Exception: What `store` raised.
        """
        stored = self._loop.run_in_executor(on, lambda: store(self._blocks()))
        stored.add_done_callback(self._ended)
        try:
            batches = self._filled(body) if isinstance(body, Body) else self._batched(body)
            async for batch in batches:
                await self._room.acquire()
                if stored.done():
                    break
                self._batches.put(batch)
            self._whole = True
        finally:  # also when this task is cancelled: the thread must end
            self._batches.put(None)
        return await stored

    def _ended(self, stored: asyncio.Future[T]) -> None:
        """Wake a sender that waits for room: nobody takes from the queue any more."""
        if not stored.cancelled():
            stored.exception()  # seen, also when the sender has gone and nobody awaits it
        self._room.release()

    def _blocks(self) -> _Blocks:
        """Yield the body; in the storing thread."""
        while (batch := self._batches.get()) is not None:
            if isinstance(batch, memoryview):
                yield batch
                Body.give(batch)
            else:
                yield b"".join(batch)
            self._loop.call_soon_threadsafe(self._room.release)
        if not self._whole:
            raise UploadInterrupted

    async def _filled(self, body: Body) -> AsyncIterator[memoryview]:
        """Yield a long body in full buffers, and the rest."""
        while (buffer := await self._next_filled(body)) is not None:
            yield buffer

    async def _next_filled(self, body: Body) -> memoryview | None:
        """Wait for the sender until a buffer is full, at the expense of its time.

        A silent one is noticed after one to two times `idle_s`: a buffer of 4 MiB may take long on
        a thin line, so what is asked each time is only whether anything has come.
        """
        while True:
            began_s = self._now_s()
            left_s = self._limits.patience_s(self._sent_bytes) - self._waited_s
            is_full, buffer = True, None
            try:
                async with asyncio.timeout(min(self._limits.idle_s, left_s)):
                    buffer = await body.fill()
            except TimeoutError:
                is_full = False
                if body.arrived_bytes == self._sent_bytes and left_s > self._limits.idle_s:
                    raise UploadInterrupted from None
            except ConnectionResetError:
                raise UploadInterrupted from None
            self._waited_s += self._now_s() - began_s
            is_silent = not is_full and body.arrived_bytes == self._sent_bytes
            self._sent_bytes = body.arrived_bytes
            if is_silent or self._waited_s > self._limits.patience_s(self._sent_bytes):
                raise self._too_slow()
            if is_full:
                return buffer

    async def _batched(self, body: AsyncIterator[bytes]) -> AsyncIterator[_Batch]:
        """Yield the pieces of a body in batches of at least 2 MiB, and the rest."""
        batch: list[bytes] = []
        size_bytes = 0
        pieces = aiter(body)
        while (piece := await self._next(pieces)) is not None:
            batch.append(piece)
            size_bytes += len(piece)
            if size_bytes >= _BATCH_BYTES:
                yield batch
                batch, size_bytes = [], 0
        if batch:
            yield batch

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        """Wait for the sender, at the expense of its time."""
        began_s = self._now_s()
        left_s = self._limits.patience_s(self._sent_bytes) - self._waited_s
        try:
            async with asyncio.timeout(min(self._limits.idle_s, left_s)):
                piece = await anext(pieces, None)
        except TimeoutError:
            if left_s > self._limits.idle_s:
                raise UploadInterrupted from None
            raise self._too_slow() from None
        self._waited_s += self._now_s() - began_s
        self._sent_bytes += len(piece or b"")
        if self._waited_s > self._limits.patience_s(self._sent_bytes):
            raise self._too_slow()
        return piece

    def _too_slow(self) -> UploadTooSlow:
        return UploadTooSlow(
            sent_bytes=self._sent_bytes, slowest_bytes_per_s=self._limits.slowest_bytes_per_s
        )
