"""Backups beside a chunk index of many terabytes: what its look-ups cost a source's own work.

A source of tiny files and large ones is backed up once.  Then the chunk index of a repository of
so many terabytes is put in place, in which the chunks of the source lie scattered, and three runs
follow, each a process of its own that begins with nothing of the index in memory:

* `known`: there is no change cache, so that all is read, and each chunk is found in the index;
* `unchanged`: folders are looked at, and no chunk is asked for;
* `new`: a second source of the same size, of which no chunk is in the index.

Without terabytes the index is the one that the first copy saved.  The packs of a large one are
only listed, as a vault would; nothing reads them.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from bench.backedup import (
    POLICY,
    REPOSITORY,
    Figures,
    backed_up,
    make_tree,
    plan_of,
    point,
    repository_in,
)
from bench.bigindex import ListedPacks, index_file, write_index

from overland.adapters.posix import PosixFiles
from overland.agent.repository import ObjectReader, changes_name

__all__ = ["CHILDREN", "RUNS", "Child", "measure"]

_LARGE_BYTES: Final = 256 << 20  # of one file
_BLOCK_BYTES: Final = 16 << 20

RUNS: Final = ("known", "unchanged", "new")

Child = Callable[..., Figures]
"""Does a part of the work, called with words; each in a process of its own."""


def measure(
    work: Path, terabytes: list[float], *, files: int, large_mib: int, child: Child
) -> Iterator[Figures]:
    """Yield what each run took, beside an index of each of these sizes in turn.

    Args:
        work: An empty folder.
        terabytes: Sizes; 0 is a run without a large index.
        files: Tiny files of a source.
        large_mib: Length of its large files together.
        child: Runs one of `CHILDREN` in a process of its own.
    """
    for number, name in enumerate(("tree", "more")):
        make_tree(work / name, range(number * files, (number + 1) * files), per_folder=100)
        _make_large(work / name, large_mib << 20, seed=number)
    child("beside-first", str(work))
    for size in terabytes:
        shutil.copytree(work / "first-state", work / "state")
        (work / "out").mkdir()
        if size:
            child("beside-index", str(work), str(size))
        for run in RUNS:
            yield {"terabytes": size, **child("beside-run", str(work), run)}
        for folder in ("state", "out"):
            shutil.rmtree(work / folder)


def _make_large(tree: Path, size_bytes: int, *, seed: int) -> None:
    random = np.random.default_rng(seed)
    for number, start in enumerate(range(0, size_bytes, _LARGE_BYTES)):
        with (tree / f"large-{number}").open("wb") as file:
            for at in range(start, min(start + _LARGE_BYTES, size_bytes), _BLOCK_BYTES):
                file.write(random.bytes(min(_BLOCK_BYTES, size_bytes - at)))


def _first(work: str) -> Figures:
    """Back the source up; its packs and its index are what all runs begin with."""
    folder = Path(work)
    plan = plan_of(folder / "tree", number=1, base=None)
    return backed_up(plan, folder / "first-state", folder / "first", stored=())


def _index(work: str, terabytes: str) -> Figures:
    """Put an index of so many terabytes in the place of the saved one, with what that knows."""
    state = Path(work, "state")
    index = repository_in(state).index_hint(POLICY).load(REPOSITORY)
    known = np.concatenate([part.chunks.rows["id"] for part in index.parts])
    write_index(
        state,
        POLICY,
        repository_id=REPOSITORY,
        tip=point(1),
        terabytes=float(terabytes),
        known=known,
    )
    return {}


def _run(work: str, run: str) -> Figures:
    folder, number = Path(work), 2 + RUNS.index(run)
    state, out = folder / "state", folder / "out"
    place = PosixFiles(folder / "first")
    stored: list[ObjectReader] = [place, *map(PosixFiles, out.iterdir())]
    if index_file(state, POLICY).exists():
        stored[0] = ListedPacks(place, state=state, policy=POLICY, repository_id=REPOSITORY)
    if run == "known":
        (state / changes_name(POLICY)).unlink()
    _out_of_memory(state)
    roots = [folder / name for name in ("tree", "more")[: 2 if run == "new" else 1]]
    plan = plan_of(*roots, number=number, base=number - 1)
    return {"run": run, **backed_up(plan, state, out / run, stored)}


def _out_of_memory(state: Path) -> None:
    """Have the system forget what it holds of these files, as after a day of other work."""
    for path in filter(Path.is_file, state.rglob("*")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


CHILDREN: Final[dict[str, Child]] = {
    "beside-first": _first,
    "beside-index": _index,
    "beside-run": _run,
}
