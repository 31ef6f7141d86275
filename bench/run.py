"""Compare the data path with restic and borg on this machine, side by side.

    ./dev bench                            all four data sets, one round; half an hour
    ./dev bench --scale 0.1                a tenth of it, in minutes
    ./dev bench --data VM --tools overland,restic --rounds 3 --json figures.json

Every step is run by all tools in turn before the next one begins, and the figures of one run are
compared with each other only: `bench/README.md` has the data, the settings and the targets.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.data import DATA_SETS, DataSet, generate, modify
from bench.freshdisk import fresh_ext4, image_bytes, memory_bytes
from bench.install import borg_program, restic_program
from bench.measure import Command, Cost, ToolFailed, folder_bytes, forget, recall, run
from bench.report import Result, as_json, print_tables
from bench.tools import STEPS, Borg, Floor, Overland, Place, Restic, Step, Tar, Tool
from rich.console import Console

from overland.agent.compare import Rules, compare_trees

T = TypeVar("T")

_TOOLS: Final = ("overland", "restic", "borg")
_READING: Final = ("restore", "check")  # begin with a repository that is not in memory
_BACKUPS: Final = ("first", "unchanged", "incremental")  # begin with the source in memory
_NEEDED: Final = ("first", "incremental")  # every other step can be left out
_SETTLE_S: Final = 3.0  # a backup does not trust younger files to be unchanged
_SEED: Final = 1
_WIDTH: Final = 210  # of tables in a file

# What a step leaves at most, in bytes per byte that the source occupies.
_REPOSITORY_SHARE: Final = 1.1  # nothing compresses, and two points build on each other
_SOURCE_SHARE: Final = 1.1

# Rates of one machine of two cores, for the estimate only: seconds per GB, all steps together.
_MAKE_S_PER_GB: Final = 20
_TOOL_S_PER_GB: Final = {"overland": 12, "restic": 25, "borg": 40}

_CONTENT_ONLY: Final = Rules(owners=False, attributes=False, holes=False, root=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    options = _options(arguments)
    tools = list(_tools(options))
    chosen = [DATA_SETS[name] for name in options.data]
    _say(", ".join(f"{tool.name} {tool.version}" for tool in tools))
    base = Path(options.folder or tempfile.gettempdir())
    needed = int(_needed_bytes(chosen, options.scale, len(tools)))
    taken, free = needed, shutil.disk_usage(base).free
    if options.fresh:
        taken, free = image_bytes(needed), min(free, memory_bytes(base) or free)
    if free < taken:
        _say(f"{base} has {free / 1e9:.1f} GB free and {taken / 1e9:.1f} GB are needed;")
        _say("choose another place with --folder, less with --scale, or fewer with --data")
        return 1
    _say(f"about {_estimate_s(chosen, options, tools) / 60:.0f} minutes, in {base}")
    try:
        results = _measured(chosen, tools, options, base=base, needed_bytes=needed)
    except ToolFailed as failure:
        _say(str(failure))
        return 1
    print_tables(results, console=Console(width=None if sys.stdout.isatty() else _WIDTH))
    if options.json:
        text = json.dumps(as_json(results, about=_about(options, tools)), indent=1)
        Path(options.json).write_text(text + "\n")
    return 0


def _measured(
    chosen: Sequence[DataSet],
    tools: Sequence[Tool],
    options: argparse.Namespace,
    *,
    base: Path,
    needed_bytes: int,
) -> list[Result]:
    results: list[Result] = []
    with contextlib.ExitStack() as leaving:
        if options.fresh:
            base = leaving.enter_context(fresh_ext4(base, size_bytes=needed_bytes))
        work = Path(tempfile.mkdtemp(prefix="overland-bench-", dir=base)).resolve()
        if not options.keep:
            leaving.callback(shutil.rmtree, work)
        for data in chosen:
            results += _DataBench(data, work / data.name, tools, options).rounds()
            if not options.keep:
                shutil.rmtree(work / data.name)
    return results


class _DataBench:
    """All rounds over one data set."""

    def __init__(
        self, data: DataSet, folder: Path, tools: Sequence[Tool], options: argparse.Namespace
    ) -> None:
        self._data, self._folder, self._options = data, folder, options
        with_tar = data.name == "SRC" and "restore" not in options.without
        self._tools = [*tools, Tar()] if with_tar else list(tools)
        # Behind the tools in each step: it writes as many bytes as our first copy has.
        self._floors = [Floor()] if any(tool.name == Overland().name for tool in tools) else []
        self._source = folder / "source"
        self._sizes: dict[str, int] = {}

    def rounds(self) -> list[Result]:
        """Measure; every round backs up the newest version of the source into new repositories."""
        scale = self._options.scale
        self._say(f"making {self._data.about}")
        self._folder.mkdir(parents=True)
        _elsewhere(generate, self._data.name, self._source, scale=scale, seed=_SEED)
        results: list[Result] = []
        for number in range(1, self._options.rounds + 1):
            for tool in (*self._tools, *self._floors):
                self._prepare(tool)
            for step in STEPS:
                if step == "incremental":
                    self._change(number)
                if step in self._options.without:
                    continue
                if step in _NEEDED:  # both find files that have just been made
                    time.sleep(self._options.settle)
                results += self._step(step, number)
            for tool in (*self._tools, *self._floors):
                if not self._options.keep:
                    shutil.rmtree(self._place(tool).home)
        return results

    def _prepare(self, tool: Tool) -> None:
        place = self._place(tool)
        shutil.rmtree(place.home, ignore_errors=True)
        place.home.mkdir()
        for command in tool.prepare(place):
            self._run(tool, "prepare", command)
        self._sizes[tool.name] = folder_bytes(place.repository)

    def _change(self, number: int) -> None:
        scale = self._options.scale
        _elsewhere(modify, self._data.name, self._source, scale=scale, seed=_SEED + number)
        for tool in self._tools:
            if isinstance(tool, Tar):
                self._run(tool, "pack", tool.pack(self._place(tool)))

    def _step(self, step: Step, number: int) -> Iterator[Result]:
        # Who begins changes, so that what the first one leaves in caches helps nobody more often.
        first = (STEPS.index(step) + number) % len(self._tools)
        for tool in [*self._tools[first:], *self._tools[:first], *self._floors]:
            if isinstance(tool, Tar | Floor) and step not in tool.steps:
                continue
            place = self._place(tool)
            if step in _BACKUPS:
                recall(self._source)  # borg has the system forget what it has read
            if self._options.settle:
                os.sync()  # or one tool would wait for what another has written
            if step in _READING:
                forget(place.repository, place.home / Tar.archive)
            is_synced = step == "restore" or isinstance(tool, Floor)
            cost = self._run(tool, step, tool.command(step, place), until_on_disk=is_synced)
            self._say(f"{step:<11} {tool.name:<9} {cost.wall_s:8.2f} s {cost.cpu_s:8.2f} cpu s")
            if step == "restore" and number == 1:
                self._compare(tool)
            size_bytes = folder_bytes(place.repository)
            yield Result(
                data=self._data.name,
                round_number=number,
                tool=tool.name,
                step=step,
                wall_s=round(cost.wall_s, 3),
                cpu_s=round(cost.cpu_s, 3),
                peak_mib=round(cost.peak_mib, 1),
                repository_bytes=size_bytes,
                added_bytes=size_bytes - self._sizes[tool.name],
            )
            self._sizes[tool.name] = size_bytes
        # Not between two tools: ext4 is slow to make files where many have just been removed.
        for tool in (*self._tools, *self._floors):
            shutil.rmtree(self._place(tool).restored, ignore_errors=True)

    def _compare(self, tool: Tool) -> None:
        """Refuse figures of a restore that is not the source."""
        restored = self._place(tool).restored
        if tool.restores_under_source:
            restored = restored / self._source.relative_to("/")
        rules = Rules() if isinstance(tool, Overland) else _CONTENT_ONLY
        found = _elsewhere(compare_trees, self._source, restored, rules)
        assert found.equal, f"{tool.name} restored something else: {found.differences[:10]}"

    def _run(self, tool: Tool, step: str, command: Command, *, until_on_disk: bool = False) -> Cost:
        log = self._folder / f"{tool.name}-{step}.log"
        return run(command, log=log, until_on_disk=until_on_disk)

    def _place(self, tool: Tool) -> Place:
        home = self._folder / tool.name
        return Place(
            home=home,
            source=self._source,
            restored=home / "restored",
            mean_chunk_kib=self._data.mean_chunk_kib,
        )

    def _say(self, text: str) -> None:
        _say(f"{self._data.name:<4} {text}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=_list_of(DATA_SETS),
        default=list(DATA_SETS),
        metavar="NAMES",
        help="some of SRC,MIX,VM,FS",
    )
    parser.add_argument(
        "--tools",
        type=_list_of(_TOOLS),
        default=list(_TOOLS),
        metavar="NAMES",
        help="some of overland,restic,borg",
    )
    parser.add_argument("--rounds", type=int, default=1, help="medians are of so many")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1: a tenth of the data")
    parser.add_argument(
        "--without",
        type=_list_of(set(STEPS) - set(_NEEDED)),
        default=[],
        metavar="STEPS",
        help="leave out some of unchanged,list,restore,check",
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=_SETTLE_S,
        metavar="S",
        help="age of files when backed up; 0 for a quick try",
    )
    parser.add_argument(
        "--before", type=Path, metavar="SRC", help="another version of src, measured beside this"
    )
    parser.add_argument("--folder", help="where 60 GB are free; by default the system's temp")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="on a new ext4 in an image file in that folder, as root; /dev/shm: in memory",
    )
    parser.add_argument("--json", metavar="FILE", help="all figures for a program")
    parser.add_argument("--keep", action="store_true", help="leave the folders as they are")
    options = parser.parse_args(arguments)
    if options.fresh and options.keep:
        parser.error("--fresh leaves nothing to keep")
    return options


def _list_of(known: Any) -> Callable[[str], list[str]]:  # noqa: ANN401 - any collection of names
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse


def _tools(options: argparse.Namespace) -> Iterator[Tool]:
    if "overland" in options.tools:
        yield Overland()
    if options.before:
        yield Overland(name="before", source=options.before.resolve())
    makers: dict[str, tuple[Callable[..., Path | None], Callable[[Path], Tool]]] = {
        "restic": (restic_program, Restic),
        "borg": (borg_program, Borg),
    }
    for name, (find, make) in makers.items():
        if name in options.tools:
            program = find(_say)
            if program is None:
                _say(f"{name} cannot be had here; going on without it")
            else:
                yield make(program)


def _needed_bytes(chosen: Sequence[DataSet], scale: float, tools: int) -> float:
    largest = max(data.allocated_bytes for data in chosen)
    floor = 1
    return scale * largest * (_SOURCE_SHARE + (1 + _REPOSITORY_SHARE) * (tools + floor))


def _estimate_s(
    chosen: Sequence[DataSet], options: argparse.Namespace, tools: Sequence[Tool]
) -> float:
    scale, rounds = float(options.scale), int(options.rounds)
    gigabytes = scale * sum(data.allocated_bytes for data in chosen) / 1e9
    per_gb = sum(_TOOL_S_PER_GB.get(tool.name, 12) for tool in tools) * rounds
    return gigabytes * (_MAKE_S_PER_GB + per_gb) + 20 * len(chosen) * rounds


def _about(options: argparse.Namespace, tools: Sequence[Tool]) -> dict[str, Any]:
    return {
        "scale": options.scale,
        "rounds": options.rounds,
        "seed": _SEED,
        "tools": {tool.name: tool.version for tool in tools},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def _elsewhere(work: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Do something in another process, so that its memory is not inherited by what is measured."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments, **named).result()


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
