"""How much a source holds, before it is read: what a staging location must have room for."""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, final

from overland.agent.backup.selection import identities
from overland.source.rules import Rules
from overland.source.scan import list_folder, open_folder, open_root

__all__ = ["selected_bytes"]


class _Folder(NamedTuple):
    """An open folder on the way down, and the folders in it that are still to be looked into."""

    fd: int
    path: bytes
    is_included: bool
    rest: Iterator[bytes]


def selected_bytes(
    roots: Sequence[Path],
    rules: Rules,
    *,
    never_enter: Sequence[Path],
    one_file_system: bool,
) -> int:
    """Return the bytes that the selected files occupy, holes not counted.

    What cannot be looked at counts nothing, nor what lies deeper than there are descriptors; the
    backup itself names the one and enters the other.

    Args:
        roots: The source roots.
        rules: Of the policy.
        never_enter: Folders that are ours, as the backup leaves them out.
        one_file_system: Whether what is mounted below the roots is left out.
    """
    count = _Count(rules, identities(never_enter), one_file_system=one_file_system)
    for root in roots:
        with contextlib.suppress(OSError):
            count.add_root(os.fsencode(root))
    return count.total_bytes


@final
class _Count:
    """Goes through the roots with a stack of its own, because their depth has no limit."""

    def __init__(
        self, rules: Rules, never_enter: set[tuple[int, int]], *, one_file_system: bool
    ) -> None:
        self.total_bytes = 0
        self._rules, self._never_enter = rules, never_enter
        self._one_file_system = one_file_system
        self._way: list[_Folder] = []

    def add_root(self, path: bytes) -> None:
        """Count what is selected in a root."""
        is_included = self._rules.includes(b"", is_included=False)
        self._enter(open_root(path), b"", is_included=is_included)
        while self._way:
            folder = self._way[-1]
            name = next(folder.rest, None)
            if name is None:
                os.close(self._way.pop().fd)
                continue
            with contextlib.suppress(OSError):
                below = folder.path + b"/" + name if folder.path else name
                included = self._rules.includes(below, is_included=folder.is_included)
                self._enter(open_folder(name, parent_fd=folder.fd), below, is_included=included)

    def _enter(self, fd: int, path: bytes, *, is_included: bool) -> None:
        try:
            listing, device = list_folder(fd), os.fstat(fd).st_dev
        except OSError:
            os.close(fd)
            raise
        folders: list[bytes] = []
        for name, state in zip(listing.names, listing.stats, strict=True):
            below = path + b"/" + name if path else name
            is_folder = stat.S_ISDIR(state.st_mode)
            if self._one_file_system and state.st_dev != device:
                continue
            if not self._rules.keeps(below, is_folder=is_folder, is_included=is_included):
                continue
            if stat.S_ISREG(state.st_mode):
                self.total_bytes += min(state.st_size, state.st_blocks * 512)
            elif is_folder and (state.st_dev, state.st_ino) not in self._never_enter:
                folders.append(name)
        self._way.append(_Folder(fd, path, is_included, iter(folders)))
