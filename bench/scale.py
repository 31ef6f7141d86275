"""Cost as work grows: files from one million to eight, chunk indexes from 1 TB to 100.

`./dev bench scale` measures a quick size, and prints a table on standard error and JSON on
standard output; `--files 1,2,4,8` (millions) and `--tb 1,10,100` are the whole curve, and
`--svg FILE` draws it.  Each measurement has a process of its own, so that its peak memory is its
own.

Trees are of tiny files, 100 in a folder, or all in one folder with `--one-folder`; each is the one
before it and more; eight million need 35 GB, and 5 GB on an ext4 made with `-O inline_data -N
8700000`.  After a backup the tree is walked with nothing but `scandir` and `lstat`: what
that takes more for each file of a larger tree is the file system's.  Indexes are generated, not
made of data: sorted random keys as of 256 KiB chunks, and a table of chunks with holes where
nothing is looked up, so that 100 TB fit a disk that holds none of it.
"""

# ruff: noqa: SLF001 - an index is put together by hand, of a size that no data here would make

import argparse
import json
import mmap
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from bench.plot import drawn
from numpy.typing import NDArray

from overland.adapters.posix import PosixFiles
from overland.agent.backup.plan import BackupPlan
from overland.agent.backup.run import back_up
from overland.agent.repository import Repository
from overland.crypto.keys import MasterKey
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key
from overland.packing import index as chunk_index
from overland.packing.parts import CHUNK_ROW
from overland.packing.runs import Run
from overland.packing.scratch import Mapping
from overland.packing.tables import Piece, Table
from overland.ports.progress import NullProgress
from overland.values import PointId, RepositoryId

_MEAN_CHUNK_BYTES: Final = 256 << 10
_FILES_PER_FOLDER: Final = 100
_FILE_BYTES: Final = 40
_SAMPLE: Final = 1 << 18  # chunks looked up, present and absent
_BATCH: Final = 256  # ids in a look-up, as of a batch of small files
_BLOCK: Final = 1 << 22  # keys generated at a time
_REPOSITORY: Final = RepositoryId(str(uuid.UUID(int=1)))

Figures = dict[str, Any]  # what JSON takes


class _SettledClock:
    """Real instants, ahead so far that a file made just now counts as settled."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=1)

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def main() -> None:
    """Measure what the options ask for."""
    options = _options()
    if options.child:
        kind, *arguments = options.child
        print(json.dumps(_CHILDREN[kind](*arguments)), flush=True)
        return
    found: Figures = {"files": [], "index": []}
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


def _measured(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of wall and of processor."""
    cpu, wall = _cpu_s(), time.monotonic()
    work()
    return time.monotonic() - wall, _cpu_s() - cpu


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


# -- files ------------------------------------------------------------------------------------


def _measure_files(work: Path, more: range, one_folder: bool) -> list[Figures]:  # noqa: FBT001 - an option of the command
    tree, out = work / "tree", work / "out"
    _make_tree(tree, more, per_folder=None if one_folder else _FILES_PER_FOLDER)
    rows: list[Figures] = []
    for run in ("first", "unchanged"):
        rows.append(_child("backup", str(tree), str(out), run))
        _tell(rows[-1])
    shutil.rmtree(out)
    return rows


def _make_tree(tree: Path, numbers: range, *, per_folder: int | None) -> None:
    """Add files with these numbers, all to one folder or so many to each."""
    step = per_folder or max(1, len(numbers))
    for first in range(numbers.start, numbers.stop, step):
        number = first // per_folder if per_folder else 0
        folder = tree / f"{number // 100:05d}" / f"{number % 100:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        for each in range(first, min(first + step, numbers.stop)):
            file = os.open(f"file-{each:08d}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            os.write(file, b"%0*d" % (_FILE_BYTES, each))
            os.close(file)
        os.close(fd)


def _back_up(tree: str, out: str, run: str) -> Figures:
    state, place = Path(out, "state"), Path(out, run)
    state.mkdir(parents=True, exist_ok=True)
    place.mkdir()
    repository = Repository(
        repository_id=_REPOSITORY,
        master_key=MasterKey(Secret(b"m" * 32)),
        signing_key=generate_signing_key(lambda size: b"s" * size),
        state=PosixFiles(state),
        state_folder=state,
    )
    plan = _plan(Path(tree), run)
    idle_mib = _peak_mib()
    wall, cpu = _measured(
        lambda: back_up(
            plan,
            repository=repository,
            out=PosixFiles(place),
            clock=_SettledClock(),
            progress=NullProgress(),
            stored=[PosixFiles(found) for found in Path(out).iterdir() if found != state],
        )
    )
    peak_mib = _peak_mib()
    counted: list[int] = []
    _, walk_cpu = _measured(lambda: counted.append(_walked(tree)))
    [count] = counted
    return {
        "run": run,
        "files": count,
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "cpu_us_per_file": round(cpu / count * 1e6, 2),
        "walk_us_per_file": round(walk_cpu / count * 1e6, 2),
        "peak_mib": peak_mib,
        "before_mib": idle_mib,
        "state_bytes_per_file": round(_state_bytes(state) / count, 1),
    }


def _walked(folder: str) -> int:
    """Look at all entries; return how many are files."""
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            entry.stat(follow_symlinks=False)
            count += _walked(entry.path) if entry.is_dir(follow_symlinks=False) else 1
    return count


def _plan(tree: Path, run: str) -> BackupPlan:
    kind: Literal["full", "incremental"] = "full" if run == "first" else "incremental"
    point, base = (uuid.UUID(int=number) for number in ((1, 0) if run == "first" else (2, 1)))
    return BackupPlan(
        point_id=PointId(str(point)),
        kind=kind,
        seed_id=None,
        base=PointId(str(base)) if run != "first" else None,
        roots=(tree,),
        include=(),
        exclude=(),
        one_file_system=False,
        never_enter=(),
        policy="scale",
        host="scale",
    )


def _state_bytes(state: Path) -> int:
    return sum(path.stat().st_size for path in state.rglob("*") if path.is_file())


# -- index --------------------------------------------------------------------------------------


def _index(work: str, terabytes: str) -> Figures:
    """Measure look-ups in a generated index of one run, mapped from files as a saved one is."""
    count = int(float(terabytes) * 1e12 / _MEAN_CHUNK_BYTES)
    keys, rows, chunks = (
        _Generated(work, dtype, count) for dtype in (np.dtype("<u8"), np.dtype("<u4"), CHUNK_ROW)
    )
    _fill_keys(keys.rows, rows.rows)
    random = np.random.default_rng(2)
    places = np.sort(random.choice(count, min(_SAMPLE, count // 4), replace=False))
    present = _fill_chunks(chunks.rows, keys.rows, rows.rows, places, random)
    absent = random.integers(0, 256, present.shape, np.uint8)
    index = chunk_index.ChunkIndex(_REPOSITORY)
    index._chunks = Table(CHUNK_ROW, scratch=None, old=[chunks.piece()])
    index._old_runs = [Run(keys.piece(), rows.piece())]
    index._note_size()
    known = present[random.permutation(len(present))]
    searched = 8 + 4  # of a key and its row
    hits, misses = _look_up(index, known, is_known=True), _look_up(index, absent, is_known=False)
    return {
        "terabytes": float(terabytes),
        "chunks": count,
        "known_us_per_chunk": round(hits, 2),
        "new_us_per_chunk": round(misses, 2),
        "searched_bytes_per_chunk": searched,
        "saved_bytes_per_chunk": searched + CHUNK_ROW.itemsize,
        "searched_gib": round(count * searched / (1 << 30), 2),
    }


class _Generated:
    """A file of rows that are filled in first, and then mapped as a saved index is."""

    def __init__(self, work: str, dtype: np.dtype[Any], count: int) -> None:
        size_bytes = count * dtype.itemsize
        with tempfile.TemporaryFile(dir=work) as file:
            file.truncate(size_bytes)
            self.rows = np.frombuffer(mmap.mmap(file.fileno(), size_bytes), dtype)
            self._mapping = Mapping(file.fileno(), size_bytes=size_bytes)

    def piece(self) -> Piece:
        """Return the rows as they are; they are not to be changed any more."""
        rows = np.frombuffer(self._mapping.data, self.rows.dtype)
        del self.rows  # else its pages would stay resident
        return Piece(rows, digests=None, mapping=self._mapping)


def _fill_keys(keys: NDArray[np.uint64], rows: NDArray[np.uint32]) -> None:
    """Sorted keys as those of random ids are, each in its own slice of the range."""
    random = np.random.default_rng(1)
    width = (1 << 64) // len(keys)
    step = 2_654_435_761  # a prime: rows lie scattered, as in the order of arrival
    for first in range(0, len(keys), _BLOCK):
        numbers = np.arange(first, min(first + _BLOCK, len(keys)), dtype=np.uint64)
        inside = random.integers(0, width, len(numbers), np.uint64)
        keys[first : first + len(numbers)] = numbers * np.uint64(width) + inside
        rows[first : first + len(numbers)] = numbers * np.uint64(step) % np.uint64(len(keys))


def _fill_chunks(
    chunks: NDArray[Any],
    keys: NDArray[np.uint64],
    rows: NDArray[np.uint32],
    places: NDArray[np.int64],
    random: np.random.Generator,
) -> NDArray[np.uint8]:
    """Give the chunks at these places of the run their ids; return them."""
    ids = random.integers(0, 256, (len(places), 32), np.uint8)
    ids[:, :8] = keys[places].astype(">u8").view(np.uint8).reshape(-1, 8)
    chunks["id"][rows[places]] = ids
    return ids


def _look_up(index: chunk_index.ChunkIndex, ids: NDArray[np.uint8], *, is_known: bool) -> float:
    """Return microseconds for each chunk; the second of two rounds, when what is hot is in."""
    found: list[NDArray[np.int64]] = []

    def work() -> None:
        found[:] = [index.lookup(ids[at : at + _BATCH]) for at in range(0, len(ids), _BATCH)]

    seconds = [_measured(work)[1] for _ in range(2)][-1]
    assert all(((rows >= 0) == is_known).all() for rows in found), "the index answers right"
    return seconds / len(ids) * 1e6


_CHILDREN: Final[dict[str, Callable[..., Figures]]] = {"backup": _back_up, "index": _index}


if __name__ == "__main__":
    main()
