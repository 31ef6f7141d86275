"""How far long work has come, as a port."""

from typing import Protocol

__all__ = ["NullProgress", "Progress", "ProgressLines"]


class Progress(Protocol):
    """Is told how far the work has come; may be called from any thread, and often.

    Nothing here raises because nobody looks: a display that fails ends, and the work goes on.
    """

    def start(self, phase: str, total_bytes: int | None, total_count: int | None) -> None:
        """Begin a phase such as `copying`; None is a total that nobody knows yet."""
        ...

    def advance(self, bytes: int = 0, count: int = 0) -> None:  # noqa: A002 - the unit is the name
        """Add what was done since the last call."""
        ...

    def finish(self) -> None:
        """End the phase; another may start.  Does nothing without one."""
        ...


class ProgressLines(Protocol):
    """Shows work that goes on side by side, each on a line of its own."""

    def line(self) -> Progress:
        """Return a new line; it appears with its first phase."""
        ...


class NullProgress:
    """Shows nothing."""

    def line(self) -> Progress:
        """Return itself."""
        return self

    def start(self, phase: str, total_bytes: int | None, total_count: int | None) -> None:
        """Do nothing."""

    def advance(self, bytes: int = 0, count: int = 0) -> None:  # noqa: A002 - as in the port
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""
