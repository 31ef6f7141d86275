"""The four data sets of the benchmark, and what changes in them between two backups.

Everything follows from a seed number: the same seed and scale give the same names and bytes with
the same version of Python, and nothing is downloaded.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from bench.image import change_image, write_image
from bench.text import database_dump, log_lines, source_text
from bench.trees import Rates, change_tree

__all__ = ["DATA_SETS", "DataSet", "generate", "modify"]

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_BATCH_BYTES: Final = 32 * _MIB

Content = Callable[[np.random.Generator, int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One data set: what it is like, how big it is at scale 1, and how it is best cut."""

    name: str
    about: str
    size_bytes: int
    allocated_bytes: int
    mean_chunk_kib: int
    rates: Rates | None  # of an image, a second version is made instead


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """One kind of file: its share of a data set's bytes, and how long its files are."""

    suffix: str
    share: float
    median_bytes: int
    sigma: float
    longest_bytes: int
    content: Content


def _noise(random: np.random.Generator, length_bytes: int) -> bytes:
    return random.bytes(length_bytes)


def _program(random: np.random.Generator, length_bytes: int) -> bytes:
    """Return what compresses by about a half, as programs do."""
    words = random.integers(0, 1 << 63, 4096, dtype=np.int64)
    made = words[random.integers(0, len(words), length_bytes // 8 + 1)]
    made[::3] = random.integers(0, 1 << 63, len(made[::3]), dtype=np.int64)
    return made.tobytes()[:length_bytes]


_SRC_FILES: Final = 80_000
_SRC: Final = _Kind(
    suffix="py",
    share=1.0,
    median_bytes=5_000,
    sigma=1.15,
    longest_bytes=400_000,
    content=source_text,
)

_MIX: Final = (
    _Kind(
        suffix="deb",
        share=0.32,
        median_bytes=1_500_000,
        sigma=1.3,
        longest_bytes=128 * _MIB,
        content=_noise,
    ),
    _Kind(
        suffix="jpg",
        share=0.08,
        median_bytes=2_500_000,
        sigma=0.5,
        longest_bytes=16 * _MIB,
        content=_noise,
    ),
    _Kind(
        suffix="mp4",
        share=0.20,
        median_bytes=40_000_000,
        sigma=0.8,
        longest_bytes=256 * _MIB,
        content=_noise,
    ),
    _Kind(
        suffix="log",
        share=0.22,
        median_bytes=16_000_000,
        sigma=0.8,
        longest_bytes=128 * _MIB,
        content=log_lines,
    ),
    _Kind(
        suffix="sql",
        share=0.18,
        median_bytes=60_000_000,
        sigma=0.6,
        longest_bytes=256 * _MIB,
        content=database_dump,
    ),
)

_FS: Final = (
    _Kind(
        suffix="docx",
        share=0.25,
        median_bytes=35_000,
        sigma=1.6,
        longest_bytes=32 * _MIB,
        content=_noise,
    ),
    _Kind(
        suffix="pdf",
        share=0.20,
        median_bytes=90_000,
        sigma=1.7,
        longest_bytes=64 * _MIB,
        content=_noise,
    ),
    _Kind(
        suffix="txt",
        share=0.07,
        median_bytes=6_000,
        sigma=1.8,
        longest_bytes=8 * _MIB,
        content=source_text,
    ),
    _Kind(
        suffix="csv",
        share=0.10,
        median_bytes=60_000,
        sigma=2.0,
        longest_bytes=64 * _MIB,
        content=database_dump,
    ),
    _Kind(
        suffix="jpg",
        share=0.18,
        median_bytes=1_200_000,
        sigma=0.8,
        longest_bytes=16 * _MIB,
        content=_noise,
    ),
    _Kind(
        suffix="dll",
        share=0.12,
        median_bytes=150_000,
        sigma=1.6,
        longest_bytes=64 * _MIB,
        content=_program,
    ),
    _Kind(
        suffix="mbox",
        share=0.08,
        median_bytes=8_000_000,
        sigma=1.5,
        longest_bytes=256 * _MIB,
        content=source_text,
    ),
)
_FS_COPIES: Final = 0.08  # of the files are here twice

DATA_SETS: Final = {
    each.name: each
    for each in (
        DataSet(
            name="SRC",
            about="80,000 small source files",
            size_bytes=780_000_000,
            allocated_bytes=960_000_000,
            mean_chunk_kib=256,
            rates=Rates(edited=0.02, added=0.01, deleted=0.01, moved=0.01),
        ),
        DataSet(
            name="MIX",
            about="packages, media, logs and dumps of databases",
            size_bytes=4 * _GIB,
            allocated_bytes=4 * _GIB,
            mean_chunk_kib=256,
            rates=Rates(edited=0.08, added=0.04, deleted=0.03, moved=0.03),
        ),
        DataSet(
            name="VM",
            about="an image of a disk with runs of zeros, and its version 2",
            size_bytes=8 * _GIB,
            allocated_bytes=6 * _GIB,
            mean_chunk_kib=64,
            rates=None,
        ),
        DataSet(
            name="FS",
            about="a file server with a log-normal distribution of sizes",
            size_bytes=6 * _GIB,
            allocated_bytes=6 * _GIB,
            mean_chunk_kib=256,
            rates=Rates(edited=0.015, added=0.01, deleted=0.005, moved=0.01),
        ),
    )
}


def generate(name: str, folder: Path, *, scale: float, seed: int) -> None:
    """Fill `folder`, which must not exist, with the data set `name`.

    `scale` changes how many bytes there are; files keep their lengths, except that none is longer
    than a twentieth of the whole.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng([seed, sorted(DATA_SETS).index(name)])
    size_bytes = int(DATA_SETS[name].size_bytes * scale)
    match name:
        case "SRC":
            _write_source(folder, random, files=max(int(_SRC_FILES * scale), 20))
        case "VM":
            write_image(folder / "disk.img", size_bytes=size_bytes, random=random)
        case "MIX":
            _write_kinds(folder, random, kinds=_MIX, size_bytes=size_bytes, per_folder=12)
        case _:
            _write_kinds(folder, random, kinds=_FS, size_bytes=size_bytes, per_folder=40)
            _write_copies(folder, random)


def modify(name: str, folder: Path, *, scale: float, seed: int) -> None:
    """Make the changes of one day in the data set `name`, or version 2 of its image."""
    random = np.random.default_rng([seed, 99, sorted(DATA_SETS).index(name)])
    rates = DATA_SETS[name].rates
    if rates is None:
        change_image(folder / "disk.img", scale=scale, random=random)
    else:
        change_tree(folder, rates, random=random)


def _write_source(folder: Path, random: np.random.Generator, *, files: int) -> None:
    lengths = _lengths(random, _SRC, files)
    for number, length in enumerate(lengths):
        part = folder / f"package_{number // 600:03d}" / f"part_{number // 15 % 40:02d}"
        if number % 15 == 0:
            part.mkdir(parents=True, exist_ok=True)
        header = b"# unit %d of %d\n" % (number, files)
        _write(part / f"unit_{number:06d}.py", header + source_text(random, length))


def _write_kinds(
    folder: Path,
    random: np.random.Generator,
    *,
    kinds: tuple[_Kind, ...],
    size_bytes: int,
    per_folder: int,
) -> None:
    longest_bytes = max(size_bytes // 20, 4096)
    for kind in kinds:
        left, number = int(size_bytes * kind.share), 0
        while left > 0:
            length = min(_lengths(random, kind, 1)[0], longest_bytes, left)
            place = f"{kind.suffix}-{number // per_folder // 20:02d}"
            part = folder / place / f"{number // per_folder % 20:02d}"
            if number % per_folder == 0:
                part.mkdir(parents=True, exist_ok=True)
            path = part / f"file {number:06d}.{kind.suffix}"
            _write(path, *_batches(random, kind.content, length))
            left, number = left - length, number + 1


def _write_copies(folder: Path, random: np.random.Generator) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    (folder / "copies").mkdir()
    for number in random.permutation(len(files))[: int(len(files) * _FS_COPIES)].tolist():
        source = files[number]
        _write(folder / "copies" / f"copy of {source.name}", source.read_bytes())


def _batches(random: np.random.Generator, content: Content, length_bytes: int) -> list[bytes]:
    starts = range(0, length_bytes, _BATCH_BYTES)
    return [content(random, min(_BATCH_BYTES, length_bytes - at)) for at in starts]


def _lengths(random: np.random.Generator, kind: _Kind, count: int) -> list[int]:
    drawn = random.lognormal(np.log(kind.median_bytes), kind.sigma, count)
    lengths: list[int] = np.clip(drawn, 1, kind.longest_bytes).astype(int).tolist()
    return lengths


def _write(path: Path, *parts: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    for part in parts:
        written = os.write(fd, part)
        assert written == len(part), "a file of the local file system takes a whole block"
    os.close(fd)
