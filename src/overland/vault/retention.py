"""How many recovery points a policy keeps: the rule as data, and which points it chooses.

Nothing is deleted here: `marks` marks what the rule does not choose, `reclaim` acts on marks.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Final, TypeVar

import msgspec

from overland.errors import RefusedError

__all__ = ["MAX_POINTS", "MINIMA", "Retention", "RetentionInvalid", "decode", "encode", "kept"]

MAX_POINTS: Final = 9999
"""Recovery points per source computer, as in the original."""

MINIMA: Final = {"daily": 7, "weekly": 4, "monthly": 3, "yearly": 1}
"""The shortest row that may be kept: a stolen credential cannot shrink history to a day."""

_T = TypeVar("_T")

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_POINTS)]


class RetentionInvalid(RefusedError):
    """A retention rule keeps nothing, too little of something, or too much."""

    code: ClassVar[str] = "retention-invalid"

    def __init__(self, rule: str) -> None:
        super().__init__(f"the retention cannot be used: {rule}; correct it and save again")
        self.rule = rule


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many daily, weekly, monthly and yearly recovery points stay; 0 leaves a row out.

    A point counts from its own time, the instant of its snapshot; so a seed that travelled for
    weeks is as old as the data that it holds.
    """

    daily: _Count = 0
    weekly: _Count = 0
    monthly: _Count = 0
    yearly: _Count = 0


def decode(body: bytes) -> Retention:
    """Return the retention that a JSON text describes.

    Raises:
        RetentionInvalid: It is not one, or breaks a rule.
    """
    try:
        retention = msgspec.json.decode(body, type=Retention)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RetentionInvalid(str(error)) from None
    _check(retention)
    return retention


def encode(retention: Retention) -> bytes:
    """Return the retention as JSON.

    Raises:
        RetentionInvalid: It breaks a rule.
    """
    _check(retention)
    return msgspec.json.encode(retention)


def kept(retention: Retention, points: Iterable[tuple[_T, datetime]]) -> set[_T]:
    """Return which of some points the rule keeps.

    A row keeps the newest point of each of its newest periods that have one: a day, an ISO week,
    a month or a year of UTC.  So a period whose last run failed is stood for by the run before,
    and a computer that is gone keeps what it had.  The newest point of all is always kept.

    Args:
        retention: The rule.
        points: Each with the instant of its snapshot; of two at one instant the later in the
            sequence counts as newer.
    """
    newest_first = sorted(points, key=lambda point: point[1])[::-1]
    chosen = {point for point, _ in newest_first[:1]}
    for row, period in _PERIODS.items():
        newest: dict[tuple[int, ...], _T] = {}
        for point, at in newest_first:
            newest.setdefault(period(at.astimezone(UTC)), point)
        chosen.update(list(newest.values())[: getattr(retention, row)])
    return chosen


def _week(at: datetime) -> tuple[int, ...]:
    year, week, _ = at.isocalendar()
    return (year, week)


_PERIODS: Final[Mapping[str, Callable[[datetime], tuple[int, ...]]]] = {
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": _week,
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}


def _check(retention: Retention) -> None:
    rows = {name: getattr(retention, name) for name in MINIMA}
    if not any(rows.values()):
        raise RetentionInvalid("it keeps nothing")
    if sum(rows.values()) > MAX_POINTS:
        raise RetentionInvalid(f"it keeps more than {MAX_POINTS} recovery points")
    for name, kept in rows.items():
        if 0 < kept < MINIMA[name]:
            raise RetentionInvalid(f"{name} is 0, or at least {MINIMA[name]}")
