"""Threads that work from one short queue, and whose failure comes out where work is handed over."""

import queue
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Generic, TypeVar, final

__all__ = ["Crew", "Take"]

T = TypeVar("T")

Take = Callable[[], T | None]
"""Returns the next work, or None when there will be no more."""

_PATIENCE_S: Final = 0.2  # how often one who waits looks whether the threads still live


@final
class Crew(Generic[T]):
    """Runs each body in a thread; a body takes work until there is no more, or fails.

    The threads start with the first piece of work; where there is none, no body runs.  They are
    plain ones: an executor's bring all of logging with them, which a short command does without.
    """

    def __init__(
        self, name: str, bodies: Sequence[Callable[[Take[T]], None]], *, limit: int
    ) -> None:
        """Have `bodies` for threads; at most `limit` pieces of work wait for them."""
        self._queue: queue.Queue[T | None] = queue.Queue(limit)
        self._name, self._bodies = name, tuple(bodies)
        self._threads: list[threading.Thread] = []
        self._failures = _Failures()
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
            for body in self._bodies[len(self._threads) :]:
                name = f"{self._name}_{len(self._threads)}"
                thread = threading.Thread(target=self._run, args=(body,), name=name)
                thread.start()
                self._threads.append(thread)

    def _run(self, body: Callable[[Take[T]], None]) -> None:
        with self._failures:
            body(self._queue.get)

    def raise_failure(self) -> None:
        """Return if no thread has failed.

        Raises:
            Whatever the first thread that failed did.
        """
        self._failures.raise_first()

    def end(self) -> list[T]:
        """Let the threads work off what waits, and end them; return what nobody took.

        No work may be handed over after that.  The bodies are let go: they mostly are methods of
        the crew's owner, and such a circle would keep all that a run held, its keys and its index
        too, until Python next looks for garbage.
        """
        for _ in self._threads:
            while any(thread.is_alive() for thread in self._threads):
                try:
                    self._queue.put(None, timeout=_PATIENCE_S)
                except queue.Full:
                    continue
                break
        for thread in self._threads:
            thread.join()
        self._bodies = ()
        left: list[T] = []
        while not self._queue.empty():
            work = self._queue.get_nowait()
            if work is not None:
                left.append(work)
        return left


@final
class _Failures:
    """What fails inside it, in any thread, comes out at `raise_first`, in every thread."""

    def __init__(self) -> None:
        self._kept: list[BaseException] = []

    def __enter__(self) -> None:
        """Begin what may fail."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is not None:
            self._kept.append(error)
        return True

    def raise_first(self) -> None:
        """Return if nothing has failed, raise the first failure else."""
        if self._kept:
            raise self._kept[0]
