"""The curves of `bench.scale` as one SVG, for the documentation.

`python -m bench.plot FOUND.json > docs/explanation/scale.svg` draws what `bench.scale` printed.
What grows goes to the right on a logarithmic scale, and its cost upwards on a plain one from zero:
a cost that stays flat is a level line.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

__all__ = ["drawn"]

_WIDTH: Final = 360  # of a panel, in pixels
_HEIGHT: Final = 230
_LEFT: Final = 48
_TOP: Final = 34
_BOTTOM: Final = 40
_RIGHT: Final = 32
_COLOURS: Final = ("#2563a8", "#b4531f", "#7ba7d4", "#d99a72")
_LABEL: Final = 12  # the least from one label to the next
_STEPS: Final = 4  # lines across a panel
_FONT: Final = 'font-family="sans-serif" font-size="11" fill="#333"'

Rows = Sequence[dict[str, Any]]  # of JSON


class _Curve(NamedTuple):
    label: str
    points: list[tuple[float, float]]


class _Panel(NamedTuple):
    title: str
    under: str
    name_of: Callable[[float], str]
    curves: list[_Curve]


def main() -> None:
    """Draw the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("found", type=Path, help="JSON, as bench.scale prints it")
    sys.stdout.write(drawn(json.loads(parser.parse_args().found.read_text())))


def drawn(found: dict[str, Rows]) -> str:
    """Return an SVG of the curves of files and of the chunk index, as far as there are any."""
    panels = [panel for panel in _panels(found) if any(curve.points for curve in panel.curves)]
    columns = min(2, len(panels))
    lines = -(-len(panels) // 2)
    size = f"{columns * _WIDTH} {lines * _HEIGHT}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" {_FONT}>',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, panel in enumerate(panels):
        at = f"{number % 2 * _WIDTH} {number // 2 * _HEIGHT}"
        parts += [f'<g transform="translate({at})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panels(found: dict[str, Rows]) -> list[_Panel]:
    files, index = found.get("files", ()), found.get("index", ())
    runs = ("first", "unchanged")
    times = [
        *(_curve(files, run, "cpu_us_per_file", run) for run in runs),
        _curve(files, "first", "user_us_per_file", "first: the program"),
        _curve(files, "unchanged", "user_us_per_file", "unchanged: the program"),
    ]
    return [
        _Panel("Processor time, microseconds a file", "files", _count, times),
        _Panel(
            "Peak memory, MiB",
            "files",
            _count,
            [_curve(files, run, "peak_mib", run) for run in runs],
        ),
        _Panel(
            "Look-up in the chunk index, microseconds a chunk",
            "unique data, TB",
            lambda terabytes: f"{terabytes:g}",
            [
                _Curve(name, [(row["terabytes"], row[f"{name}_us_per_chunk"]) for row in index])
                for name in ("known", "new")
            ],
        ),
        _Panel(
            "Memory that look-ups search, GiB",
            "unique data, TB",
            lambda terabytes: f"{terabytes:g}",
            [_Curve("", [(row["terabytes"], row["searched_gib"]) for row in index])],
        ),
    ]


def _curve(files: Rows, run: str, field: str, label: str) -> _Curve:
    rows = [row for row in files if row["run"] == run and field in row]
    return _Curve(label, [(row["files"], row[field]) for row in rows])


def _panel(panel: _Panel) -> list[str]:
    across = sorted({x for curve in panel.curves for x, _ in curve.points})
    highest = max(y for curve in panel.curves for _, y in curve.points)
    top = _round_up(highest)

    def place(x: float, y: float) -> tuple[float, float]:
        span = math.log(across[-1] / across[0]) or 1
        share = math.log(x / across[0]) / span if len(across) > 1 else 0.5
        wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return round(_LEFT + share * wide, 1), round(_TOP + (1 - y / top) * high, 1)

    parts = [f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(panel.title)}</text>']
    for step in range(_STEPS + 1):
        value = top * step / _STEPS
        (left, y), (right, _) = place(across[0], value), place(across[-1], value)
        parts.append(f'<path d="M{left} {y}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    for x in across:
        left, bottom = place(x, 0)
        label = escape(panel.name_of(x))
        parts.append(f'<text x="{left}" y="{bottom + 14}" text-anchor="middle">{label}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(panel.under)}</text>'
    )
    taken: list[float] = []
    for curve, colour in zip(panel.curves, _COLOURS, strict=False):
        places = [place(*point) for point in sorted(curve.points)]
        parts += _line(places, curve.label, colour, taken)
    return parts


def _line(
    places: list[tuple[float, float]], label: str, colour: str, taken: list[float]
) -> list[str]:
    """Draw a curve, and its label above those that are `taken`, where it would lie on one."""
    if not places:
        return []
    path = " ".join(f"{x},{y}" for x, y in places)
    x, end = places[-1]
    y = end - 7
    while any(abs(y - other) < _LABEL for other in taken):
        y -= _LABEL
    taken.append(y)
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{left}" cy="{high}" r="3" fill="{colour}"/>' for left, high in places),
        f'<text x="{x - 6}" y="{y}" text-anchor="end" fill="{colour}">{escape(label)}</text>',
    ]


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4 or 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(power * step for step in (1, 2, 4, 8, 10) if power * step >= value)


def _count(files: float) -> str:
    return f"{files / 1e6:g} million" if files >= 1e6 else f"{files:,.0f}"


if __name__ == "__main__":
    main()
