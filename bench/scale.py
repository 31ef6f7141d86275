"""Cost as work grows: files from one million to eight, chunk indexes from 1 TB to 100.

`./dev bench scale` measures a quick size, and prints a table on standard error and JSON on
standard output; `--files 1,2,4,8` (millions) and `--tb 1,10,100` are the whole curve, and
`--svg FILE` draws it.  `--beside-tb 0,100` backs up beside an index of that size (`bench.beside`),
and `--objects 10000,1500000` writes and reads points and manifests of so many (`bench.bigpoint`).
Each measurement has a process of its own, so that its peak memory is its own.

Trees are of tiny files, 100 in a folder, or all in one folder with `--one-folder`; each is the one
before it and more; eight million need 35 GB, and 5 GB on an ext4 made with `-O inline_data -N
8700000`.  After a backup the tree is walked with nothing but `scandir` and `lstat`: what
that takes more for each file of a larger tree is the file system's.  Indexes are generated, not
made of data: sorted random keys as of 256 KiB chunks, and a table of chunks with holes where
nothing is looked up, so that 100 TB fit a disk that holds none of it.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench.backedup import Figures, backed_up, make_tree, measured, plan_of
from bench.beside import CHILDREN as BESIDE
from bench.beside import measure as measure_beside
from bench.bigindex import looked_up
from bench.bigpoint import STEPS as POINT_STEPS
from bench.bigpoint import measure_point
from bench.plot import drawn

from overland.adapters.posix import PosixFiles

_FILES_PER_FOLDER: Final = 100
_NUMBERS: Final = {"first": 1, "unchanged": 2}


def main() -> None:
    """Measure what the options ask for."""
    options = _options()
    if options.child:
        kind, *arguments = options.child
        print(json.dumps(_CHILDREN[kind](*arguments)), flush=True)
        return
    found: Figures = {"files": [], "index": [], "beside": [], "points": []}
    work = Path(tempfile.mkdtemp(prefix="overland-scale-", dir=options.folder))
    try:
        made = 0
        for count in sorted(int(millions * 1e6) for millions in _numbers(options.files)):
            found["files"] += _measure_files(work, range(made, count), options.one_folder)
            made = count
        for terabytes in _numbers(options.tb):
            row = _child("index", str(work), str(terabytes))
            found["index"].append(row)
            _tell(row)
        for row in _measure_beside(work / "beside", options):
            found["beside"].append(row)
            _tell(row)
        for objects, step in itertools.product(_numbers(options.objects), POINT_STEPS):
            row = _child("point", str(work / "points"), str(int(objects)), step)
            found["points"].append(row)
            _tell(row)
    finally:
        shutil.rmtree(work)
    if options.svg:
        options.svg.write_text(drawn(found))
    json.dump(found, sys.stdout, indent=2)
    print()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", default="0.05,0.1", help="millions of files, comma separated")
    parser.add_argument("--tb", default="0.1,1", help="terabytes of chunk index, comma separated")
    parser.add_argument("--beside-tb", default="", help="terabytes beside which to back up")
    parser.add_argument("--beside-files", type=int, default=200_000, help="of each source")
    parser.add_argument("--beside-mib", type=int, default=2048, help="in large files of each")
    parser.add_argument("--objects", default="", help="objects in points and manifests")
    parser.add_argument("--one-folder", action="store_true", help="all files in one folder")
    parser.add_argument("--folder", type=Path, default=None, help="where to make trees and indexes")
    parser.add_argument("--svg", type=Path, default=None, help="where to draw the curves")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _numbers(text: str) -> Iterator[float]:
    return (float(part) for part in text.split(",") if part)


def _child(*arguments: str) -> Figures:
    command = [sys.executable, "-m", "bench.scale", "--child", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def _tell(row: Figures) -> None:
    print("  ".join(f"{name} {value}" for name, value in row.items()), file=sys.stderr)


def _measure_beside(work: Path, options: argparse.Namespace) -> Iterator[Figures]:
    work.mkdir()
    sizes = [*_numbers(options.beside_tb)]
    if sizes:
        files, large_mib = options.beside_files, options.beside_mib
        yield from measure_beside(work, sizes, files=files, large_mib=large_mib, child=_child)


# -- files ------------------------------------------------------------------------------------


def _measure_files(work: Path, more: range, one_folder: bool) -> list[Figures]:  # noqa: FBT001 - an option of the command
    tree, out = work / "tree", work / "out"
    make_tree(tree, more, per_folder=None if one_folder else _FILES_PER_FOLDER)
    rows: list[Figures] = []
    for run in ("first", "unchanged"):
        rows.append(_child("backup", str(tree), str(out), run))
        _tell(rows[-1])
    shutil.rmtree(out)
    return rows


def _back_up(tree: str, out: str, run: str) -> Figures:
    folder, number = Path(out), _NUMBERS[run]
    state = folder / "state"
    state.mkdir(parents=True, exist_ok=True)
    stored = [PosixFiles(found) for found in folder.iterdir() if found != state]
    plan = plan_of(Path(tree), number=number, base=number - 1 or None)
    row = backed_up(plan, state, folder / run, stored)
    counted: list[int] = []
    walked = measured(lambda: counted.append(_walked(tree)))
    assert counted == [row["files"]], "both see the same"
    return {
        "run": run,
        **row,
        "walk_us_per_file": round(walked.cpu_s / row["files"] * 1e6, 2),
        "state_bytes_per_file": round(_state_bytes(state) / row["files"], 1),
    }


def _walked(folder: str) -> int:
    """Look at all entries; return how many are files."""
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            entry.stat(follow_symlinks=False)
            count += _walked(entry.path) if entry.is_dir(follow_symlinks=False) else 1
    return count


def _state_bytes(state: Path) -> int:
    return sum(path.stat().st_size for path in state.rglob("*") if path.is_file())


_CHILDREN: Final[dict[str, Callable[..., Figures]]] = {
    "backup": _back_up,
    "index": looked_up,
    "point": measure_point,
    **BESIDE,
}


if __name__ == "__main__":
    main()
