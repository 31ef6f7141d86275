"""Threads that work from one short queue, and whose failure comes out where work is handed over."""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Crew", "Take"]

T = TypeVar("T")

Take = Callable[[], T | None]
"""Returns the next work, or None when there will be no more."""

_PATIENCE_S: Final = 0.2  # how often one who waits looks whether the threads still live


@final
class Crew(Generic[T]):
    """Runs each body in a thread; a body takes work until there is no more, or fails.

    The threads start with the first piece of work; where there is none, no body runs.
    """

    def __init__(
        self, name: str, bodies: Sequence[Callable[[Take[T]], None]], *, limit: int
    ) -> None:
        """Have `bodies` for threads; at most `limit` pieces of work wait for them."""
        self._queue: queue.Queue[T | None] = queue.Queue(limit)
        self._name, self._bodies = name, bodies
        self._pool: ThreadPoolExecutor | None = None
        self._running: list[Future[None]] = []
        self._starting = threading.Lock()

    def hand_over(self, work: T) -> None:
        """Give work to the threads; waits while too much is waiting.

        Raises:
            Whatever a thread failed with; the work was not taken.
        """
        self._start()
        while True:
            self.raise_failure()
            try:
                self._queue.put(work, timeout=_PATIENCE_S)
            except queue.Full:
                continue
            return

    def _start(self) -> None:
        with self._starting:
            if self._pool is None:
                # It brings logging with it, which a run without work does without.
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as said above

                pool = ThreadPoolExecutor(len(self._bodies), thread_name_prefix=self._name)
                self._running = [pool.submit(body, self._queue.get) for body in self._bodies]
                self._pool = pool

    def raise_failure(self) -> None:
        """Return if no thread has failed.

        Raises:
            Whatever the first thread that failed did.
        """
        for running in self._running:
            if running.done():
                running.result()

    def end(self) -> list[T]:
        """Let the threads work off what waits, and end them; return what nobody took."""
        for _ in self._running:
            while not all(running.done() for running in self._running):
                try:
                    self._queue.put(None, timeout=_PATIENCE_S)
                except queue.Full:
                    continue
                break
        if self._pool is not None:
            self._pool.shutdown()  # waits for all
        left: list[T] = []
        while not self._queue.empty():
            work = self._queue.get_nowait()
            if work is not None:
                left.append(work)
        return left
