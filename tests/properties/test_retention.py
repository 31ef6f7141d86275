"""The rule of retention against a model that walks over every period there is."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from overland.vault.retention import Retention, kept

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
INSTANTS = st.integers(0, 6 * 366 * 24).map(lambda hours: FIRST + timedelta(hours=hours))
ROWS = st.integers(0, 12)
RULES = st.builds(Retention, daily=ROWS, weekly=ROWS, monthly=ROWS, yearly=ROWS)


def naive(rule: Retention, points: list[tuple[int, datetime]]) -> set[int]:
    """Day by day backwards from the newest; the newest point of a period is the one it keeps."""
    if not points:
        return set()
    newest_of: dict[date, int] = {}
    for number, at in sorted(points, key=lambda point: (point[1], point[0])):
        newest_of[at.date()] = number  # a later one of the day takes its place
    chosen = {max(points, key=lambda point: (point[1], point[0]))[0]}
    rows: dict[str, Callable[[date], date]] = {
        "daily": lambda day: day,
        "weekly": lambda day: day - timedelta(days=day.weekday()),
        "monthly": lambda day: day.replace(day=1),
        "yearly": lambda day: day.replace(month=1, day=1),
    }
    for row, start in rows.items():
        seen: list[date] = []
        day = max(newest_of)
        while day >= min(newest_of):
            if day in newest_of and start(day) not in seen:
                seen.append(start(day))
                if len(seen) <= getattr(rule, row):
                    chosen.add(newest_of[day])
            day -= timedelta(days=1)
    return chosen


@given(rule=RULES, instants=st.lists(INSTANTS, max_size=25))
def test_the_rule_keeps_what_the_model_keeps(rule: Retention, instants: list[datetime]) -> None:
    points = list(enumerate(sorted(instants)))
    assert kept(rule, points) == naive(rule, points)


@given(rule=RULES, instants=st.lists(INSTANTS, min_size=1, max_size=25))
def test_the_newest_is_kept_whatever_the_rule(rule: Retention, instants: list[datetime]) -> None:
    points = list(enumerate(instants))
    newest = max(instants)
    assert any(instants[number] == newest for number in kept(rule, points))


@given(
    rule=RULES,
    more=st.tuples(ROWS, ROWS, ROWS, ROWS),
    instants=st.lists(INSTANTS, max_size=25),
)
def test_raising_a_rule_never_lets_a_point_go(
    rule: Retention, more: tuple[int, int, int, int], instants: list[datetime]
) -> None:
    raised = Retention(
        daily=rule.daily + more[0],
        weekly=rule.weekly + more[1],
        monthly=rule.monthly + more[2],
        yearly=rule.yearly + more[3],
    )
    points = list(enumerate(instants))
    assert kept(rule, points) <= kept(raised, points)


@given(rule=RULES, instants=st.lists(INSTANTS, max_size=25), data=st.data())
def test_when_a_long_term_point_is_not_there_the_next_of_its_period_stands_for_it(
    rule: Retention, instants: list[datetime], data: st.DataObject
) -> None:
    points = list(enumerate(sorted(instants)))
    chosen = kept(rule, points)
    if not chosen:
        return
    failed = data.draw(st.sampled_from(sorted(chosen)))
    rest = [point for point in points if point[0] != failed]
    assert chosen - {failed} <= kept(rule, rest)


@given(rule=RULES, instants=st.lists(INSTANTS, max_size=25), hours=st.integers(-12, 14))
def test_periods_are_those_of_utc(rule: Retention, instants: list[datetime], hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    points = list(enumerate(sorted(instants)))
    moved = [(number, at.astimezone(zone)) for number, at in points]
    assert kept(rule, moved) == kept(rule, points)
