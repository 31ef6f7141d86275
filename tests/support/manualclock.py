"""A clock that moves when a test says so."""

from datetime import UTC, datetime, timedelta

__all__ = ["ManualClock"]


class ManualClock:
    """`Clock` that stands still between calls of `sleep` and `advance`."""

    def __init__(self, now: datetime = datetime(2027, 3, 1, 12, tzinfo=UTC)) -> None:
        self._start, self._now = now, now

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return (self._now - self._start).total_seconds()

    def sleep(self, seconds: float) -> None:
        self.advance(timedelta(seconds=seconds))

    def advance(self, by: timedelta) -> None:
        self._now += by
