"""Test data for the benchmark: the same bytes on every machine, for the same seed and size.

The mixture is that of a small file server: source text, documents that hardly compress, images of
disks with zeros and repetitions, and copies of what is there already.
"""

import os
from pathlib import Path
from typing import Final

import numpy as np

_WORDS: Final = 4096
_MIB: Final = 1 << 20


def generate(folder: Path, *, size_bytes: int, small_files: int, seed: int = 1) -> tuple[int, int]:
    """Fill `folder` with about `size_bytes`; return how many files and bytes there are.

    Args:
        folder: Must not exist.
        size_bytes: In all; small files take what they need of it, a median of 3 KiB each.
        small_files: How many of the files are small text files.
        seed: Other seeds give other bytes.
    """
    random = np.random.default_rng(seed)
    text = _text(random, 16 * _MIB)
    folder.mkdir(parents=True)
    files, used = _small(folder / "source", random, text, small_files)
    left = max(size_bytes - used, 0)
    shares = (("documents", 0.35), ("images", 0.40), ("logs", 0.15), ("copies", 0.10))
    for name, share in shares:
        budget = int(left * share)
        number = 0
        while budget > 0:
            length = int(min(budget, _length(random, name)))
            path = folder / name / f"{number % 16:02d}" / f"file-{number:05d}.bin"
            _write(path, _content(random, text, name, length))
            number, files, used, budget = number + 1, files + 1, used + length, budget - length
    return files, used


def _small(folder: Path, random: np.random.Generator, text: bytes, count: int) -> tuple[int, int]:
    lengths = np.clip(random.lognormal(8.0, 1.3, count), 0, 200_000).astype(int).tolist()
    starts = random.integers(0, len(text) - 200_000, count).tolist()
    used = 0
    for number, (length, start) in enumerate(zip(lengths, starts, strict=True)):
        part = folder / f"module-{number // 480:03d}" / f"part-{number // 12 % 40:02d}"
        if number % 12 == 0:
            part.mkdir(parents=True, exist_ok=True)
        fd = os.open(part / f"unit_{number:06d}.c", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, b"/* %d */\n" % number + text[start : start + length])
        os.close(fd)
        used += length
    return count, used


def _text(random: np.random.Generator, length: int) -> bytes:
    letters = np.frombuffer(b"etaoinshrdlucmfwypvbgkqjxz_", np.uint8)
    words = [
        letters[np.minimum(random.geometric(0.12, size) - 1, 26)].tobytes()
        for size in random.integers(2, 11, _WORDS).tolist()
    ]
    chosen = np.minimum(random.zipf(1.25, length // 5) - 1, _WORDS - 1).tolist()
    joints = (b" ", b" ", b" ", b"(", b");\n    ", b" = ", b", ")
    glue = random.integers(0, len(joints), len(chosen)).tolist()
    text = b"".join([words[word] + joints[joint] for word, joint in zip(chosen, glue, strict=True)])
    return text[:length]


def _length(random: np.random.Generator, name: str) -> float:
    if name == "images":
        return float(random.integers(64, 512)) * _MIB
    if name == "logs":
        return float(random.integers(1, 64)) * _MIB
    return float(random.lognormal(13.5, 1.5))


def _content(random: np.random.Generator, text: bytes, name: str, length: int) -> list[bytes]:
    if name == "documents":
        return [random.bytes(length)]
    if name == "images":
        return _image(random, text, length)
    start = int(random.integers(0, len(text) // 2))
    if name == "logs":
        stamps = [b"%012d " % int(n) for n in random.integers(0, 10**12, length // 65_536 + 1)]
        return [stamp + text[start : start + 65_536] for stamp in stamps]
    return [text[:length]]


def _image(random: np.random.Generator, text: bytes, length: int) -> list[bytes]:
    """A third zeros, a third data that does not compress, a third text."""
    parts: list[bytes] = []
    for kind in random.integers(0, 3, length // _MIB + 1).tolist():
        start = int(random.integers(0, len(text) - _MIB))
        parts.append((bytes(_MIB), random.bytes(_MIB), text[start : start + _MIB])[kind])
    return parts


def _write(path: Path, parts: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
