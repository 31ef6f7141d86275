"""An image of a disk: extents of zeros, text, programs and noise; and a version 2 of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from bench.text import log_lines, source_text

__all__ = ["change_image", "write_image"]

_BLOCK_BYTES: Final = 4096
_MEDIAN_BYTES: Final = 1 << 20
_LONGEST_BYTES: Final = 64 << 20
_COPY_BYTES: Final = 4 << 20

# Of an extent's bytes: never written, written as zeros, text, logs, noise, an earlier extent again.
_KINDS: Final = ("hole", "zeros", "text", "log", "noise", "again")
_SHARES: Final = (0.30, 0.15, 0.20, 0.05, 0.20, 0.10)

_CHANGES: Final = 2000  # blocks of 4 KiB, at scale 1
_INSERTIONS: Final = 24


def write_image(path: Path, *, size_bytes: int, random: np.random.Generator) -> None:
    """Write an image of about `size_bytes`, with holes; the size is a whole number of blocks."""
    size_bytes = max(size_bytes // _BLOCK_BYTES, 64) * _BLOCK_BYTES
    earlier: list[tuple[int, int]] = []
    with path.open("w+b", buffering=0) as file:
        at = 0
        while at < size_bytes:
            drawn = random.lognormal(np.log(_MEDIAN_BYTES), 1.6)
            length = int(np.clip(drawn, _BLOCK_BYTES, min(_LONGEST_BYTES, size_bytes // 16)))
            length = min(-(-length // _BLOCK_BYTES) * _BLOCK_BYTES, size_bytes - at)
            kind = _KINDS[int(random.choice(len(_KINDS), p=_SHARES))]
            content = _content(file.fileno(), kind, length, earlier=earlier, random=random)
            if content:
                os.pwrite(file.fileno(), content, at)
                earlier.append((at, length))
            at += length
        file.truncate(size_bytes)


def _content(
    fd: int,
    kind: str,
    length: int,
    *,
    earlier: list[tuple[int, int]],
    random: np.random.Generator,
) -> bytes:
    match kind:
        case "hole":
            return b""
        case "zeros":
            return bytes(length)
        case "text":
            return source_text(random, length)
        case "log":
            return log_lines(random, length)
        case "again" if earlier:
            start, available = earlier[int(random.integers(0, len(earlier)))]
            return os.pread(fd, min(length, available), start).ljust(length, b"\0")
        case _:
            return random.bytes(length)


def change_image(path: Path, *, scale: float, random: np.random.Generator) -> None:
    """Make version 2 in place of the image: scattered blocks of 4 KiB change, others come in.

    What was a hole stays one.  The changes lie where there is data, as a guest's would.
    """
    newer = path.with_name("disk.img.new")
    with path.open("rb", buffering=0) as old, newer.open("wb", buffering=0) as new:
        extents = list(_data(old.fileno()))
        changed = _blocks(extents, max(int(_CHANGES * scale), 2), random)
        inserted = _blocks(extents, max(int(_INSERTIONS * scale), 1), random)
        shift = 0
        for start, end in extents:
            here = [block for block in inserted if start <= block < end]
            for first, last in zip([start, *here], [*here, end], strict=True):
                if first in here:
                    length = int(random.integers(1, 17)) * _BLOCK_BYTES
                    os.pwrite(new.fileno(), random.bytes(length), first + shift)
                    shift += length
                _copy(old.fileno(), new.fileno(), first=first, last=last, shift=shift)
                for block in changed:
                    if first <= block < last:
                        os.pwrite(new.fileno(), random.bytes(_BLOCK_BYTES), block + shift)
        new.truncate(path.stat().st_size + shift)
    newer.replace(path)


def _blocks(extents: list[tuple[int, int]], count: int, random: np.random.Generator) -> list[int]:
    """Return where `count` different blocks of data begin, in rising order."""
    starts = np.concatenate([np.arange(start, end, _BLOCK_BYTES) for start, end in extents])
    chosen: list[int] = sorted(
        random.choice(starts, min(count, len(starts)), replace=False).tolist()
    )
    return chosen


def _data(fd: int) -> Iterator[tuple[int, int]]:
    at, size = 0, os.fstat(fd).st_size
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, at


def _copy(source: int, target: int, *, first: int, last: int, shift: int) -> None:
    for at in range(first, last, _COPY_BYTES):
        os.pwrite(target, os.pread(source, min(_COPY_BYTES, last - at), at), at + shift)
