"""Progress on a terminal: how much, how fast, and how long still."""

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["RichProgress"]

_REFRESHES_PER_S: Final = 5


class RichProgress:
    """Draws one line on a terminal, and is quiet where there is none, as in a log.

    Further lines (`line`) are drawn below it, for what goes on side by side.  A terminal that goes
    away meanwhile ends the drawing, and not the work.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        """Draw on `console`; without one, on standard error, so that results stay alone."""
        self._display = _Display(console)
        self._task: TaskID | None = None
        self._count = 0
        self._total_count: int | None = None

    def line(self) -> "RichProgress":
        """Return another line of the same display."""
        other = RichProgress()
        other._display = self._display
        return other

    def start(self, phase: str, total_bytes: int | None, total_count: int | None) -> None:
        """Begin a phase; one that was not finished is ended."""
        self.finish()
        self._count, self._total_count = 0, total_count
        counted = _counted(0, total_count)
        self._task = self._display.begin(phase, total_bytes, counted)

    def advance(self, bytes: int = 0, count: int = 0) -> None:  # noqa: A002 - as in the port
        """Add what was done since the last call."""
        task = self._task
        if task is not None:
            with self._display.lock:
                self._count += count
                counted = _counted(self._count, self._total_count)
                self._display.update(task, bytes, counted)

    def finish(self) -> None:
        """End the phase; its line stays."""
        task, self._task = self._task, None
        if task is not None:
            self._display.end(task)


class _Display:
    """What all lines of a terminal share; it is drawn while one of them has a phase.

    It is drawn by who tells of progress, and not by a thread: beside one nobody could fork.
    """

    def __init__(self, console: "Console | None") -> None:
        self.lock = threading.RLock()
        self._console = console
        self._drawn: Progress | None = None
        self._running = 0
        self._is_gone = False
        self._drawn_at_s = 0.0

    def begin(self, phase: str, total_bytes: int | None, counted: str) -> "TaskID | None":
        """Draw a new line; None where nothing is drawn."""
        is_seen = self._console.is_terminal if self._console else sys.stderr.isatty()
        if self._is_gone or not is_seen:
            return None
        with self.lock:
            try:
                return self._begun(phase, total_bytes, counted)
            except OSError:
                self._give_up()
                return None

    def update(self, task: "TaskID", size_bytes: int, counted: str) -> None:
        """Draw how far a line is."""
        with self.lock:
            try:
                self._updated(task, size_bytes, counted)
            except OSError:
                self._give_up()

    def end(self, task: "TaskID") -> None:
        """Leave a line as it is; the display ends with the last one."""
        with self.lock:
            try:
                self._ended(task)
            except OSError:
                self._give_up()

    def _begun(self, phase: str, total_bytes: int | None, counted: str) -> "TaskID":
        if self._drawn is None:
            self._drawn = _drawing(self._console)
            self._drawn.start()
        self._running += 1
        return self._drawn.add_task(phase, total=total_bytes, counted=counted)

    def _updated(self, task: "TaskID", size_bytes: int, counted: str) -> None:
        if self._drawn is not None:
            self._drawn.update(task, advance=size_bytes, counted=counted)
            now_s = time.monotonic()
            if now_s - self._drawn_at_s >= 1 / _REFRESHES_PER_S:
                self._drawn_at_s = now_s
                self._drawn.refresh()

    def _ended(self, task: "TaskID") -> None:
        if self._drawn is not None:
            self._drawn.stop_task(task)
            self._running -= 1
            if not self._running:
                self._drawn.stop()
                self._drawn = None

    def _give_up(self) -> None:
        """Draw nothing any more: the terminal is gone, and the work goes on."""
        drawn, self._drawn, self._is_gone = self._drawn, None, True
        if drawn is not None:
            with contextlib.suppress(OSError):  # it gives the standard streams back
                drawn.stop()


def _drawing(console: "Console | None") -> "Progress":
    from rich import progress as rich  # noqa: PLC0415 - not where nothing is drawn
    from rich.console import Console  # noqa: PLC0415 - the same

    return rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.TextColumn("{task.fields[counted]}"),
        rich.DownloadColumn(binary_units=True),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
        console=console or Console(stderr=True),
        auto_refresh=False,
    )


def _counted(count: int, total_count: int | None) -> str:
    return f"{count}" if total_count is None else f"{count}/{total_count}"
