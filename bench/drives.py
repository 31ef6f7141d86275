"""Measure disk preparation and ingest on this machine, against what plain tools need.

    python -m bench.drives [--quick] [--size-mib 4096] [--rounds 3] [--json] [--folder /var/tmp]
    python -m bench.drives --only ingest --drives-folder /dev/shm --store-folder /var/tmp

With the two folders drives and store are on devices of their own, as they are at a station.

A real seed of random bytes is staged, put on drives and brought in by the real programs; the cloud
is a process of its own, reached over TLS, and for ingest over its socket too.  `bench/README.md`
says what each figure means.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from bench.driveworld import World
from bench.plaintools import COPIES, Run

_SOCKET = "overland, the cloud's socket"
_TLS = "overland, TLS"
_READING = "reading the drives"
_WRITING = "writing the store"


@dataclass(slots=True, kw_only=True)
class Measured:
    """All runs of one way to do a thing, and its ratio to ours: above 1 we are faster."""

    name: str
    size_bytes: int
    runs: list[Run] = field(default_factory=list)
    our_speed_ratio: float = 1.0

    @property
    def wall_s(self) -> float:
        """The median."""
        return statistics.median(run.wall_s for run in self.runs)

    @property
    def cpu_s(self) -> float:
        """The median."""
        return statistics.median(run.cpu_s for run in self.runs)


class Series:
    """Ways that are run in turns, so that a noisy minute hits them all; the first is ours."""

    def __init__(self, title: str, size_bytes: int, rounds: int) -> None:
        self.title, self._size_bytes, self._rounds = title, size_bytes, rounds
        self.measured: list[Measured] = []
        self.notes: list[str] = []
        self._ways: list[Callable[[], Run]] = []

    def add(self, name: str, way: Callable[[], Run]) -> None:
        """Add a way."""
        self.measured.append(Measured(name=name, size_bytes=self._size_bytes))
        self._ways.append(way)

    def run(self) -> None:
        """Run each way once per round, and compare."""
        for turn in range(self._rounds):
            for measured, way in zip(self.measured, self._ways, strict=True):
                measured.runs.append(way())
                print(f"{self.title} {turn + 1}: {measured.name}", file=sys.stderr)
        ours = self.measured[0].runs
        for measured in self.measured[1:]:
            pairs = zip(ours, measured.runs, strict=True)
            measured.our_speed_ratio = statistics.median(b.wall_s / a.wall_s for a, b in pairs)


def main() -> None:
    """Run all series and print what came out."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="overland-drives-", dir=options.folder))
    world, apart = None, [_folder_in(options.drives_folder), _folder_in(options.store_folder)]
    try:
        world = World(
            folder,
            size_mib=options.size_mib,
            drives=options.drives,
            drives_folder=apart[0],
            store_folder=apart[1],
        )
        series = _all_series(world, options)
    finally:
        if world is not None:
            world.journey.close(keep_serving=False)
        for each in (folder, *filter(None, apart)):
            shutil.rmtree(each)
    if options.json:
        print(json.dumps({s.title: [asdict(m) for m in s.measured] for s in series}, indent=2))
    else:
        _print_table(series)


def _against_the_slower(measured: Sequence[Measured]) -> list[str]:
    """Return how our rates stand to that of the slower of reading and writing; target 0.8."""
    reading = next(each for each in measured if each.name == _READING)
    writing = next(each for each in measured if each.name == _WRITING)
    slower = [max(a.wall_s, b.wall_s) for a, b in zip(reading.runs, writing.runs, strict=True)]
    which = _READING if reading.wall_s > writing.wall_s else _WRITING
    notes = [f"against {which}, the slower of the two (target 0.8):"]
    for each in measured[: measured.index(reading)]:
        pairs = zip(slower, each.runs, strict=True)
        ratio = statistics.median(limit_s / ours.wall_s for limit_s, ours in pairs)
        notes.append(f"  {each.name:<38}{ratio:>9.2f}")
    return notes


def _folder_in(device: Path | None) -> Path | None:
    """Return a fresh folder on a device that was named."""
    return None if device is None else Path(tempfile.mkdtemp(prefix="overland-", dir=device))


def _all_series(world: World, options: argparse.Namespace) -> list[Series]:
    size_bytes, made = world.size_bytes(), list[Series]()
    if "prepare" in options.only:
        for count in dict.fromkeys((1, options.drives)):
            series = Series(f"disk preparation, drives: {count}", size_bytes, options.rounds)
            series.add("overland", partial(world.prepare, count))
            for name, script in COPIES.items():
                series.add(name, partial(world.plain_copy, script, count))
            series.run()
            made.append(series)
    if "ingest" in options.only:
        world.ship()
        series = Series(f"ingest, drives: {options.drives}", size_bytes, options.rounds)
        series.add(_SOCKET, partial(world.ingest, over_socket=True))
        series.add("  of that, while objects move", world.moving)
        series.add(_TLS, partial(world.ingest, over_socket=False))
        series.add("  of that, while objects move", world.moving)
        series.add(_READING, world.read_drives)
        series.add(_WRITING, world.write_store)
        series.add("reading and writing at once", world.read_and_write)
        series.run()
        series.notes = _against_the_slower(series.measured)
        made.append(series)
    return made


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mib", type=int, default=4096)
    parser.add_argument("--quick", action="store_true", help="512 MiB")
    parser.add_argument("--drives", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="prepare,ingest")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--drives-folder", type=Path, help="the device of ingest's drives")
    parser.add_argument("--store-folder", type=Path, help="the device of the cloud's objects")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.size_mib = 512
    return options


def _print_table(series: Sequence[Series]) -> None:
    for each in series:
        print(f"\n{each.title:<40}{'wall s':>9}{'cpu s':>8}{'MB/s':>7}{'MiB':>6}{'ours/this':>11}")
        for found in each.measured:
            rate = found.size_bytes / 1e6 / found.wall_s
            peak = max(run.peak_mib for run in found.runs)
            cpu = f"{found.cpu_s:.2f}" if found.cpu_s else ""
            print(
                f"  {found.name:<38}{found.wall_s:>9.2f}{cpu:>8}{rate:>7.0f}"
                f"{peak or '':>6}{found.our_speed_ratio:>11.2f}"
            )
        print("\n".join(each.notes), end="\n" if each.notes else "")


if __name__ == "__main__":
    main()
