"""Drives side by side: each has a lane, and what happens to one drive is no matter to the others.

A drive is written by one lane and, when it is whole, read back by the same lane, while the next
drives are written.  Drives are not read back before they are whole: a medium with turning parts
would lose its time in moving the head, and a drive's own cache would answer for its medium.
"""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Self

from overland.errors import OverlandError

__all__ = ["WRITTEN_AT_ONCE", "Lanes"]

WRITTEN_AT_ONCE: Final = 4
"""How many drives are written at a time; one read-ahead of staging each is enough for the lot."""

_MAX_LANES: Final = 10  # as many as a job has drives
_POLL_S: Final = 0.5  # how soon an interrupt from the keyboard is seen


class Lanes:
    """Runs the work of several drives; a context, because it owns threads.

    Leaving it by an error tells the lanes to stop, and waits until they have.  What they finished
    stays, as after any kill.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Report a failed drive through `tell` while others go on."""
        self.stopping = threading.Event()
        self._tell = tell
        self._slots = threading.Semaphore(WRITTEN_AT_ONCE)
        self._threads = ThreadPoolExecutor(_MAX_LANES, thread_name_prefix="drive")
        self._running: dict[Future[None], str] = {}

    def __enter__(self) -> Self:
        """Return the lanes."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all lanes."""
        self.stopping.set()
        self._threads.shutdown(cancel_futures=True)

    def writing(self) -> AbstractContextManager[object]:
        """Return what a lane holds while it writes."""
        return self._slots

    def start(self, serial: str, work: Callable[[], None]) -> None:
        """Begin the work of a drive."""
        self._running[self._threads.submit(work)] = serial

    def wait(self) -> None:
        """Return when all lanes have ended.

        A lane that fails leaves the others alone.

        Raises:
            BaseException: What a lane raised: the first that failed; the others' were told.
        """
        failures: list[BaseException] = []
        while self._running:
            ended, _ = wait(self._running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for lane in ended:
                serial = self._running.pop(lane)
                if (error := lane.exception()) is not None:
                    self._note(serial, error, is_first=not failures)
                    failures.append(error)
        if failures:
            raise failures[0]

    def _note(self, serial: str, error: BaseException, *, is_first: bool) -> None:
        if not isinstance(error, Exception):
            raise error  # the program itself is at its end
        if self._running or not is_first:
            code = f" [{error.code}]" if isinstance(error, OverlandError) else ""
            others = "; the other drives go on" if self._running else ""
            self._tell(f"drive {serial} failed: {error}{code}{others}")
