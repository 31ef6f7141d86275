"""What came out of a benchmark: medians, ratios, targets, as tables and for programs."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from bench.tools import STEPS
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

__all__ = ["TARGETS", "Result", "Target", "Verdict", "as_json", "print_tables", "verdicts"]

Measure = Literal["wall_s", "cpu_s", "peak_mib", "repository_bytes", "added_bytes"]

_OURS: Final = "overland"
_FLOORS: Final = {"tar", "floor"}  # what the file system and the disk take; they keep nothing
_TIME_HEADINGS: Final = ("wall s", "cpu s", "x wall", "x cpu")
_SIZE_HEADINGS: Final = ("peak MiB", "MB", "added MB", "share", "added")
_MEASURES: Final[tuple[Measure, ...]] = (
    "wall_s",
    "cpu_s",
    "peak_mib",
    "repository_bytes",
    "added_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One step of one tool in one round; sizes are those of the repository afterwards."""

    data: str
    round_number: int
    tool: str
    step: str
    wall_s: float
    cpu_s: float
    peak_mib: float
    repository_bytes: int
    added_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a step should reach: `limit` times less than `other`, or at most `limit` times it.

    A speed-up is met by `other / overland >= limit`, a share by `overland / other <= limit`, and
    without another tool the figure itself has to stay below the limit.
    """

    data: tuple[str, ...]
    steps: tuple[str, ...]
    measures: tuple[Measure, ...]
    kind: Literal["speed-up", "share", "figure"]
    other: str
    limit: float


_ALL: Final = ("SRC", "MIX", "VM", "FS")
_TIMES: Final[tuple[Measure, ...]] = ("wall_s", "cpu_s")
_SIZES: Final[tuple[Measure, ...]] = ("repository_bytes", "added_bytes")


def _speed_up(steps: str, limit: float, data: tuple[str, ...] = _ALL) -> Target:
    return Target(
        data=data, steps=(steps,), measures=_TIMES, kind="speed-up", other="restic", limit=limit
    )


TARGETS: Final = (
    _speed_up("first", 2.5, ("MIX", "VM", "FS")),
    _speed_up("first", 2.0, ("SRC",)),
    _speed_up("unchanged", 4.0),
    _speed_up("incremental", 3.0),
    _speed_up("restore", 1.4, ("MIX", "VM", "FS")),
    _speed_up("check", 3.0),
    Target(
        data=("SRC",),
        steps=("restore",),
        measures=("wall_s",),
        kind="share",
        other="tar",
        limit=1.15,
    ),
    Target(
        data=_ALL,
        steps=("first", "incremental"),
        measures=("repository_bytes",),
        kind="share",
        other="restic",
        limit=1.05,
    ),
    Target(
        data=("VM",),
        steps=("incremental",),
        measures=("added_bytes",),
        kind="share",
        other="restic",
        limit=0.35,
    ),
    Target(data=_ALL, steps=STEPS, measures=("peak_mib",), kind="figure", other="", limit=512.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One target, for one data set, step and measure, and what was reached."""

    data: str
    step: str
    measure: Measure
    kind: str
    other: str
    limit: float
    reached: float
    is_met: bool


class _Medians:
    """The medians of all rounds."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._rounds: dict[tuple[str, str, str], list[Result]] = {}
        for result in results:
            self._rounds.setdefault((result.data, result.step, result.tool), []).append(result)
        self.data = list(dict.fromkeys(data for data, _, _ in self._rounds))
        self.tools = list(dict.fromkeys(tool for _, _, tool in self._rounds))

    def get(self, data: str, step: str, tool: str, measure: Measure) -> float | None:
        """Return the median, or None where nothing was measured."""
        rounds = self._rounds.get((data, step, tool), ())
        return statistics.median(getattr(one, measure) for one in rounds) if rounds else None

    def ratio(self, data: str, step: str, measure: Measure, *, of: str, to: str) -> float | None:
        """Return the median of one tool divided by that of another."""
        upper, lower = self.get(data, step, of, measure), self.get(data, step, to, measure)
        return None if upper is None or not lower else upper / lower


def verdicts(results: Iterable[Result]) -> list[Verdict]:
    """Return every target that can be judged by what was measured."""
    medians = _Medians(results)
    return [
        verdict
        for target in TARGETS
        for data in target.data
        for step in target.steps
        for measure in target.measures
        for verdict in _judge(medians, target, data=data, step=step, measure=measure)
    ]


def _judge(
    medians: _Medians, target: Target, *, data: str, step: str, measure: Measure
) -> Iterator[Verdict]:
    reached: float | None
    match target.kind:
        case "speed-up":
            reached = medians.ratio(data, step, measure, of=target.other, to=_OURS)
        case "share":
            reached = medians.ratio(data, step, measure, of=_OURS, to=target.other)
        case _:
            reached = medians.get(data, step, _OURS, measure)
    if reached is None:
        return
    is_met = reached >= target.limit if target.kind == "speed-up" else reached <= target.limit
    yield Verdict(
        data=data,
        step=step,
        measure=measure,
        kind=target.kind,
        other=target.other,
        limit=target.limit,
        reached=round(reached, 3),
        is_met=is_met,
    )


def as_json(results: Sequence[Result], *, about: dict[str, Any]) -> dict[str, Any]:
    """Return everything for a program: medians with their ratios, verdicts, and every round."""
    medians = _Medians(results)
    rows = []
    for data in medians.data:
        for step in STEPS:
            for tool in medians.tools:
                figures: dict[str, float | None] = {}
                for one in _MEASURES:
                    figures[one] = medians.get(data, step, tool, one)
                if figures["wall_s"] is None:
                    continue
                ratios: dict[str, float | None] = {}
                for one in _MEASURES:
                    ratios[one] = medians.ratio(data, step, one, of=tool, to=_OURS)
                rows.append(
                    {"data": data, "step": step, "tool": tool, **figures, "to_overland": ratios}
                )
    return {
        "about": about,
        "medians": rows,
        "verdicts": [asdict(one) for one in verdicts(results)],
        "rounds": [asdict(one) for one in results],
    }


def print_tables(results: Sequence[Result], *, console: Console) -> None:
    """Print what each step took, what each repository holds, and which targets are missed."""
    medians, judged = _Medians(results), verdicts(results)
    console.print(_times(medians, judged))
    console.print(_sizes(medians, judged))
    missed = [one for one in judged if not one.is_met]
    console.print(f"{len(judged) - len(missed)} of {len(judged)} targets met")
    for one in missed:
        than = f" of {one.other}" if one.other else ""
        least = "at least" if one.kind == "speed-up" else "at most"
        console.print(
            f"  missed: {one.data} {one.step} {one.measure}: {one.reached:.2f}, "
            f"{least} {one.limit:g}{than}"
        )


def _times(medians: _Medians, judged: Sequence[Verdict]) -> Table:
    others = [tool for tool in medians.tools if tool != _OURS]
    title = "Seconds of wall and CPU; x: the other's divided by Overland's"
    table = _table(title, others, first=("wall s", "cpu s"), each=_TIME_HEADINGS)
    for data, step in _measured_steps(medians):
        cells = [_cell(medians.get(data, step, _OURS, one)) for one in _TIMES]
        for tool in others:
            cells += [_cell(medians.get(data, step, tool, one)) for one in _TIMES]
            cells += [_cell(medians.ratio(data, step, one, of=tool, to=_OURS)) for one in _TIMES]
        mine = [one for one in judged if (one.data, one.step) == (data, step)]
        table.add_row(data, step, *cells, *_target_cells(mine, _TIMES))
    return table


def _sizes(medians: _Medians, judged: Sequence[Verdict]) -> Table:
    others = [tool for tool in medians.tools if tool not in {_OURS, *_FLOORS}]
    title = "Peak memory, the repository and what was added; shares: Overland's of the other's"
    table = _table(title, others, first=_SIZE_HEADINGS[:3], each=_SIZE_HEADINGS)
    for data, step in _measured_steps(medians):
        sizes = _SIZES if step in {"first", "unchanged", "incremental"} else ()
        blank = [""] * (len(_SIZES) - len(sizes))
        cells = [_cell(medians.get(data, step, _OURS, "peak_mib"))]
        cells += [*(_cell(medians.get(data, step, _OURS, one), 1e6) for one in sizes), *blank]
        for tool in others:
            cells += [_cell(medians.get(data, step, tool, "peak_mib"))]
            cells += [*(_cell(medians.get(data, step, tool, one), 1e6) for one in sizes), *blank]
            shares = (medians.ratio(data, step, one, of=_OURS, to=tool) for one in sizes)
            cells += [*map(_cell, shares), *blank]
        mine = [one for one in judged if (one.data, one.step) == (data, step)]
        table.add_row(data, step, *cells, *_target_cells(mine, ("peak_mib", *_SIZES)))
    return table


def _table(
    title: str, others: Sequence[str], *, first: Sequence[str], each: Sequence[str]
) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("data")
    table.add_column("step", no_wrap=True)
    columns = [(_OURS, heading) for heading in first]
    columns += [(tool, heading) for tool in others for heading in each]
    for tool, heading in columns:
        table.add_column(f"{tool}\n{heading}", justify="right", no_wrap=True)
    table.add_column("target", justify="right")
    table.add_column("met", no_wrap=True)
    return table


def _measured_steps(medians: _Medians) -> Iterator[tuple[str, str]]:
    for data in medians.data:
        for step in STEPS:
            if any(medians.get(data, step, tool, "wall_s") is not None for tool in medians.tools):
                yield data, step


def _target_cells(judged: Sequence[Verdict], measures: Sequence[str]) -> tuple[str, str]:
    counted = [one for one in judged if one.measure in measures]
    limits = dict.fromkeys(f"{one.limit:g}" for one in counted if one.kind != "figure")
    missed = [one.measure.partition("_")[0] for one in counted if not one.is_met]
    if missed:
        return ", ".join(limits), f"[red]not {' '.join(missed)}[/]"
    return ", ".join(limits), "[green]yes[/]" if limits else ""


def _cell(value: float | None, unit: float = 1) -> str:
    if value is None:
        return ""
    return f"{value / unit:,.0f}" if value / unit >= 100 else f"{value / unit:.2f}"
