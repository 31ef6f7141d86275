"""Progress on a terminal: how much, how fast, and how long still."""

import threading
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

__all__ = ["RichProgress"]

_REFRESHES_PER_S: Final = 5


class RichProgress:
    """Draws one line on a terminal, and is quiet where there is none, as in a log."""

    def __init__(self, console: Console | None = None) -> None:
        """Draw on `console`; without one, on standard error, so that results stay alone."""
        self._console = console or Console(stderr=True)
        self._lock = threading.Lock()
        self._display: Progress | None = None
        self._count = 0
        self._total_count: int | None = None

    def start(self, phase: str, total_bytes: int | None, total_count: int | None) -> None:
        """Begin a phase; one that was not finished is ended."""
        self.finish()
        if not self._console.is_terminal:
            return
        with self._lock:
            self._count, self._total_count = 0, total_count
            self._display = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[counted]}"),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                refresh_per_second=_REFRESHES_PER_S,
            )
            self._display.add_task(phase, total=total_bytes, counted=_counted(0, total_count))
            self._display.start()

    def advance(self, bytes: int = 0, count: int = 0) -> None:  # noqa: A002 - as in the port
        """Add what was done since the last call."""
        with self._lock:
            if self._display is not None:
                self._count += count
                counted = _counted(self._count, self._total_count)
                self._display.update(self._display.task_ids[0], advance=bytes, counted=counted)

    def finish(self) -> None:
        """End the phase; its line stays."""
        with self._lock:
            if self._display is not None:
                self._display.stop()
                self._display = None


def _counted(count: int, total_count: int | None) -> str:
    return f"{count}" if total_count is None else f"{count}/{total_count}"
