"""Time, as a port: instants are aware and in UTC."""

from datetime import datetime
from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds from a fixed but unknown start; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after about `seconds`."""
        ...
