"""The way of an upload from the event loop to the thread that stores it."""

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from typing import Final, TypeVar

from overland.server.objects_wire import UploadInterrupted

__all__ = ["Upload"]

# Joined in the storing thread: hashing and writing few large buffers costs half as much as many
# small ones, which the two threads would also hand the interpreter over for.
_BATCH_BYTES: Final = 2 << 20
_BATCHES_AHEAD: Final = 2  # with the one that fills and the one being stored: at most 10 MiB
_IDLE_S: Final = 60.0  # a sender that is silent for longer has gone

T = TypeVar("T")

_Batch = list[bytes]


class Upload:
    """Hands the pieces of one request body to one thread, in bounded batches.

    The sender waits while the thread is behind; the thread waits while the sender is.  A body that
    breaks off raises in the thread, so that a half object is never taken for a whole one.
    """

    def __init__(self) -> None:
        self._batches: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(_BATCHES_AHEAD)
        self._loop = asyncio.get_running_loop()
        self._whole = False

    async def run(
        self, body: AsyncIterator[bytes], store: Callable[[Iterator[bytes]], T], *, on: Executor
    ) -> T:
        """Run `store` over the body in a thread of `on`, and return its result.

        When `store` ends before the body does, the rest of the body is left unread.

        Raises:
            UploadInterrupted: The body broke off or stood still.
            Exception: What `store` raised.
        """
        stored = self._loop.run_in_executor(on, lambda: store(self._blocks()))
        stored.add_done_callback(self._ended)
        try:
            async for batch in _batched(body):
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

    def _blocks(self) -> Iterator[bytes]:
        """Yield the body; in the storing thread."""
        while (batch := self._batches.get()) is not None:
            yield b"".join(batch)
            self._loop.call_soon_threadsafe(self._room.release)
        if not self._whole:
            raise UploadInterrupted


async def _batched(body: AsyncIterator[bytes]) -> AsyncIterator[_Batch]:
    """Yield the pieces of a body in batches of at least 2 MiB, and the rest."""
    batch: _Batch = []
    size_bytes = 0
    pieces = aiter(body)
    while (piece := await _next(pieces)) is not None:
        batch.append(piece)
        size_bytes += len(piece)
        if size_bytes >= _BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(_IDLE_S):
            return await anext(pieces, None)
    except TimeoutError:
        raise UploadInterrupted from None
