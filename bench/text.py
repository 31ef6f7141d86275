"""Text that reads and compresses like people's: source, log lines, and dumps of databases.

Source is made of short stretches of the standard library, shuffled, with names of their own, so
that no two files are copies and none is longer than one would write.  The same seed gives the
same bytes with the same version of Python.
"""

import sysconfig
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

__all__ = ["database_dump", "log_lines", "source_text"]

_STRETCH_LINES: Final = 80
_LEFT_OUT: Final = {"test", "tests", "idlelib", "encodings", "site-packages", "dist-packages"}
_COMMON_NAMES: Final = (b"self", b"name", b"value", b"data")
_RENAMED_MAX_BYTES: Final = 1 << 20  # longer texts are not of one author
_MESSAGES: Final = 5000
_PEOPLE: Final = 50_000
_LEVELS: Final = (b"INFO", b"INFO", b"INFO", b"INFO", b"DEBUG", b"WARN", b"ERROR")


def source_text(random: np.random.Generator, length_bytes: int) -> bytes:
    """Return source text of exactly `length_bytes`."""
    text, starts = _library()
    lines = len(starts) - _STRETCH_LINES
    mean_bytes = len(text) // len(starts) * _STRETCH_LINES
    parts: list[bytes] = []
    missing = length_bytes
    while missing > 0:
        for first in random.integers(0, lines, missing // mean_bytes + 1).tolist():
            parts.append(text[starts[first] : starts[first + _STRETCH_LINES]])
            missing -= len(parts[-1])
    made = b"".join(parts)
    if length_bytes <= _RENAMED_MAX_BYTES:
        words = _words()
        for old, new in zip(_COMMON_NAMES, random.integers(0, len(words), 4).tolist(), strict=True):
            made = made.replace(old, words[new].ljust(len(old), b"_"))
    return made[:length_bytes]


def log_lines(random: np.random.Generator, length_bytes: int) -> bytes:
    """Return lines of a server's log, of exactly `length_bytes`."""
    messages = _messages()
    count = length_bytes // min(map(len, messages)) + 1
    steps_ms = np.cumsum(random.integers(0, 300, count)) + 1_760_000_000_000
    chosen = np.minimum(random.zipf(1.3, count), _MESSAGES) - 1
    made = [
        b"%d %b" % (at, messages[number])
        for at, number in zip(steps_ms.tolist(), chosen.tolist(), strict=True)
    ]
    return b"".join(made)[:length_bytes]


def database_dump(random: np.random.Generator, length_bytes: int) -> bytes:
    """Return a dump of a table as SQL, of exactly `length_bytes`."""
    people = _people()
    count = length_bytes // 40 + 1
    first = int(random.integers(0, 1 << 30))
    chosen = random.integers(0, _PEOPLE, count).tolist()
    amounts = random.integers(0, 1 << 40, count).tolist()
    rows = [
        b"(%d,%b,%d,'%08x',NULL),\n" % (first + number, people[who], amount % 90_000, amount)
        for number, (who, amount) in enumerate(zip(chosen, amounts, strict=True))
    ]
    return b"".join(rows)[:length_bytes]


@cache
def _library() -> tuple[bytes, list[int]]:
    """Return the standard library's sources, and where each of their lines begins."""
    root = Path(sysconfig.get_paths()["stdlib"])
    parts = [
        path.read_bytes()
        for path in sorted(root.rglob("*.py"))
        if not _LEFT_OUT & set(path.relative_to(root).parts)
    ]
    assert parts, f"the standard library's sources are not in {root}"
    text = b"\n".join(parts)
    return text, [0, *np.flatnonzero(np.frombuffer(text, np.uint8) == 10).tolist()]


@cache
def _words() -> list[bytes]:
    """Return the words of the standard library, sorted, so that numbers can choose them."""
    letters = bytes(byte if chr(byte).isalpha() and byte < 128 else 32 for byte in range(256))
    sample = _library()[0].translate(letters)
    return sorted({word for word in sample.split() if 3 < len(word) < 14})


@cache
def _messages() -> list[bytes]:
    words = _words()
    return [
        b"%b 10.0.%d.%d %b status=%d took=%d\n"
        % (
            _LEVELS[row[0] % len(_LEVELS)],
            row[1] % 16,
            row[1] >> 8 & 255,
            b" ".join([words[number % len(words)] for number in row[2:]]),
            (200, 200, 200, 304, 404, 500)[row[0] % 6],
            row[0] % 900,
        )
        for row in np.random.default_rng(1).integers(0, 1 << 31, (_MESSAGES, 8)).tolist()
    ]


@cache
def _people() -> list[bytes]:
    words = _words()
    return [
        b"'%b %b','%b@%b.example'" % tuple(words[number % len(words)] for number in row)
        for row in np.random.default_rng(2).integers(0, 1 << 31, (_PEOPLE, 4)).tolist()
    ]
