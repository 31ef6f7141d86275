"""How much a source holds, before it is read: what a staging location must have room for."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from overland.source.rules import Rules
from overland.source.scan import list_folder, open_folder, open_root

__all__ = ["selected_bytes"]


def selected_bytes(roots: Sequence[Path], rules: Rules) -> int:
    """Return the bytes that the selected files occupy, holes not counted.

    What cannot be looked at counts nothing; the backup itself names it.
    """
    total = 0
    for root in roots:
        try:
            fd = open_root(os.fsencode(root))
        except OSError:
            continue
        try:
            is_included = rules.includes(b"", is_included=False)
            total += _folder_bytes(fd, b"", rules, is_included=is_included)
        finally:
            os.close(fd)
    return total


def _folder_bytes(fd: int, path: bytes, rules: Rules, *, is_included: bool) -> int:
    try:
        listing = list_folder(fd)
    except OSError:
        return 0
    total = 0
    for name, state in zip(listing.names, listing.stats, strict=True):
        below = path + b"/" + name if path else name
        is_folder = stat.S_ISDIR(state.st_mode)
        if not rules.keeps(below, is_folder=is_folder, is_included=is_included):
            continue
        if stat.S_ISREG(state.st_mode):
            total += min(state.st_size, state.st_blocks * 512)
        elif is_folder:
            total += _below(fd, name, below, rules, is_included=is_included)
    return total


def _below(fd: int, name: bytes, path: bytes, rules: Rules, *, is_included: bool) -> int:
    try:
        child = open_folder(name, parent_fd=fd)
    except OSError:
        return 0
    try:
        return _folder_bytes(
            child, path, rules, is_included=rules.includes(path, is_included=is_included)
        )
    finally:
        os.close(child)
