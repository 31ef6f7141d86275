"""What changes in a tree of files between two backups: edits, new, deleted and moved files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from bench.text import log_lines, source_text

__all__ = ["Rates", "change_tree"]

_REWRITTEN_BYTES: Final = 256 << 10  # shorter files are rewritten, longer ones written into
_PAGE_BYTES: Final = 4096
_PLACES_APART: Final = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Which part of the files is changed, in each way."""

    edited: float
    added: float
    deleted: float
    moved: float


def change_tree(folder: Path, rates: Rates, *, random: np.random.Generator) -> None:
    """Change files below `folder`, at least one in each way, and rename a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    order = [files[number] for number in random.permutation(len(files)).tolist()]
    counts = [
        max(int(len(files) * rate), 1)
        for rate in (rates.edited, rates.added, rates.deleted, rates.moved)
    ]
    groups = [[order.pop() for _ in range(min(count, len(order)))] for count in counts]
    edited, models, deleted, moved = groups
    for path in edited:
        _edit(path, random)
    for number, model in enumerate(models):
        new = model.with_name(f"new {number} {model.name}")
        new.write_bytes(_alike(model, random))
    for path in deleted:
        path.unlink()
    for number, path in enumerate(moved):
        path.rename(order[number % len(order)].with_name(f"moved {number} {path.name}"))
    parent = order[0].parent
    if parent != folder:
        parent.rename(parent.with_name(f"renamed {parent.name}"))


def _edit(path: Path, random: np.random.Generator) -> None:
    size = path.stat().st_size
    if size < _REWRITTEN_BYTES:
        old = path.read_bytes()
        at = int(random.integers(0, size + 1))
        path.write_bytes(old[:at] + source_text(random, 80) + old[at:])
        return
    with path.open("r+b") as file:
        for _ in range(1 + size // _PLACES_APART):
            file.seek(int(random.integers(0, size - _PAGE_BYTES)))
            file.write(random.bytes(_PAGE_BYTES))
        file.seek(0, 2)
        file.write(log_lines(random, size // 50))


def _alike(model: Path, random: np.random.Generator) -> bytes:
    """Return new content, as long as the model's and as compressible."""
    head = model.read_bytes()[:_PAGE_BYTES]
    length = model.stat().st_size
    return source_text(random, length) if head.isascii() else random.bytes(length)
