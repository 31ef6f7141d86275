"""What the sizes of sealed segments tell, and what hiding them would cost.

    .venv/bin/python -m bench.leakage [--sets 40] [--scale 0.05]

*Identify*: sets of files of the same kind, of which one is backed up.  An observer who has all the
sets in clear, and no key, backs each up with a key of his own, and names the set whose sizes are
nearest to those he sees.  *Cost*: what rounding the segments up adds to the bench's data sets.
The results are in `docs/explanation/what-sizes-tell.md`.
"""

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final
from uuid import uuid4

from bench.data import DATA_SETS, generate

from overland.adapters.clock import SystemClock
from overland.adapters.posix import PosixFiles
from overland.agent.backup.run import BackupPlan, back_up
from overland.agent.repository import Repository
from overland.crypto.keys import MasterKey
from overland.crypto.secrets import Secret
from overland.packing.reader import read_directory
from overland.ports.progress import NullProgress
from overland.source.chunker import Sizes
from overland.values import PackId, PointId, RepositoryId

KIB: Final = 1 << 10
Padding = Callable[[int], int]


def _up_to(unit: int) -> Padding:
    return lambda length: -(-length // unit) * unit


def _padme(length: int) -> int:
    """Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", 2019, §4)."""
    exponent = length.bit_length() - 1
    unit = 1 << max(0, exponent - exponent.bit_length())
    return -(-length // unit) * unit


PADDINGS: Final[Mapping[str, Padding]] = {
    "none": lambda length: length,
    "512 B": _up_to(512),
    "4 KiB": _up_to(4 * KIB),
    "16 KiB": _up_to(16 * KIB),
    "64 KiB": _up_to(64 * KIB),
    "Padmé": _padme,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One backup as somebody without the key sees it: the sealed segments, and the chunk count.

    The single sizes are seen by who sees which ranges a restore reads; their sum and the count
    stand in the trailers of the packs.
    """

    segments: Sequence[int]
    chunks: int


def main() -> int:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=40, help="sets to tell apart (40)")
    parser.add_argument("--scale", type=float, default=0.05, help="of the data sets (0.05)")
    given = parser.parse_args()
    folder = Path(mkdtemp(prefix="overland-leakage-"))
    try:
        _identify(folder, sets=given.sets)
        _cost(folder, scale=given.scale)
    finally:
        shutil.rmtree(folder)
    return 0


def _identify(folder: Path, *, sets: int) -> None:
    mine, theirs = list[Seen](), list[Seen]()
    for number in range(sets):
        source = folder / f"set-{number}"
        generate("SRC", source, scale=0.004, seed=number)
        mine.append(_backed_up(source, folder / "mine", mean_kib=256))
        theirs.append(_backed_up(source, folder / "theirs", mean_kib=256))
    print(f"one of {sets} sets of {mine[0].chunks} small files, named by its sizes alone")
    print(f"{'padding':<10}{'segments':>10}{'their sum':>11}{'sum, count':>12}")
    for name, padding in PADDINGS.items():
        rates = [_named(mine, theirs, padding, distance) for distance in _DISTANCES]
        print(f"{name:<10}" + "".join(f"{rate:>11.0%}" for rate in rates))


def _named(
    mine: Sequence[Seen],
    theirs: Sequence[Seen],
    padding: Padding,
    distance: Callable[[Seen, Seen, Padding], float],
) -> float:
    """Return how often the right set is nearest; where several are, it is named by chance."""
    right = 0.0
    for number, seen in enumerate(mine):
        distances = [distance(seen, guess, padding) for guess in theirs]
        nearest = [n for n, found in enumerate(distances) if found == min(distances)]
        right += (number in nearest) / len(nearest)
    return right / len(mine)


def _by_segments(seen: Seen, guess: Seen, padding: Padding) -> float:
    ours, theirs = (Counter(map(padding, each.segments)) for each in (seen, guess))
    return -(ours & theirs).total() + abs(ours.total() - theirs.total()) / 1000


def _by_sum(seen: Seen, guess: Seen, padding: Padding) -> float:
    ours, theirs = (sum(map(padding, each.segments)) for each in (seen, guess))
    return abs(ours - theirs)


def _by_sum_and_count(seen: Seen, guess: Seen, padding: Padding) -> float:
    return _by_sum(seen, guess, padding) + (1 << 30) * abs(seen.chunks - guess.chunks)


_DISTANCES: Final = (_by_segments, _by_sum, _by_sum_and_count)


def _cost(folder: Path, *, scale: float) -> None:
    print(f"\nbytes that rounding segments up adds, data sets at scale {scale}")
    print(f"{'data':<8}{'segments':>10}{'mean KiB':>10}" + "".join(f"{n:>10}" for n in PADDINGS))
    for name in sorted(DATA_SETS):
        source = folder / name
        generate(name, source, scale=scale, seed=1)
        seen = _backed_up(source, folder / "out", mean_kib=DATA_SETS[name].mean_chunk_kib)
        shutil.rmtree(source)
        total = sum(seen.segments)
        added = [sum(map(padding, seen.segments)) / total - 1 for padding in PADDINGS.values()]
        mean_kib = total / len(seen.segments) / KIB
        print(f"{name:<8}{len(seen.segments):>10}{mean_kib:>10.0f}", end="")
        print("".join(f"{each:>10.2%}" for each in added), flush=True)


def _backed_up(source: Path, place: Path, *, mean_kib: int) -> Seen:
    """Back `source` up with fresh keys into `place`, which is empty again afterwards."""
    for below in ("out", "state"):
        (place / below).mkdir(parents=True)
    out = PosixFiles(place / "out")
    repository = Repository(
        repository_id=RepositoryId(str(uuid4())),
        master_key=MasterKey(Secret(os.urandom(32))),
        signing_key=Secret(os.urandom(32)),
        state=PosixFiles(place / "state"),
        state_folder=place / "state",
    )
    mean = mean_kib * KIB
    plan = BackupPlan(
        point_id=PointId(str(uuid4())),
        kind="full",
        seed_id=None,
        base=None,
        roots=(source,),
        include=(),
        exclude=(),
        one_file_system=False,
        never_enter=(),
        policy="leakage",
        host="bench",
        sizes=Sizes(min_bytes=mean // 4, mean_bytes=mean, max_bytes=mean * 4),
        workers=1,
    )
    back_up(plan, repository=repository, out=out, clock=SystemClock(), progress=NullProgress())
    segments, chunks = list[int](), 0
    for info in out.names("packs/"):
        pack_id = PackId(Path(info.name).stem)
        found = read_directory(
            out, pack_id, size_bytes=info.size_bytes, open_pack=repository.open_pack
        ).directory
        segments += found.segments["sealed_bytes"].tolist()
        chunks += len(found.chunks)
    shutil.rmtree(place)
    return Seen(segments=segments, chunks=chunks)


if __name__ == "__main__":
    sys.exit(main())
