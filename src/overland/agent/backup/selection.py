"""What of a folder is backed up: by the policy's rules, and by what can be."""

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

from overland.agent.backup.counts import Counts
from overland.agent.backup.folders import Folder
from overland.source.rules import Rules
from overland.source.scan import kind_of

__all__ = ["Selection", "identities"]

_BACKED_UP: Final = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO})


@final
class Selection:
    """Decides what is kept, and names what is not, but for what the rules exclude."""

    def __init__(
        self,
        rules: Rules,
        *,
        never_enter: set[tuple[int, int]],
        one_file_system: bool,
        counts: Counts,
    ) -> None:
        """Prepare to select.

        Args:
            rules: Of the policy.
            never_enter: Device and inode of folders that are ours.
            one_file_system: Whether to leave out what is mounted below the roots.
            counts: Where to name what is left out.
        """
        self._rules, self._counts = rules, counts
        self._never_enter, self._one_file_system = never_enter, one_file_system

    def includes(self, folder: Folder) -> bool:
        """Return whether everything in the folder is included, whatever its name."""
        if self._rules.keeps_everything:
            return True
        if folder.parent is None:
            return self._rules.includes(b"", is_included=False)
        path = folder.parent.relative(folder.name)
        return self._rules.includes(path, is_included=folder.parent.is_included)

    def kept(
        self, folder: Folder, names: list[bytes], stats: list[os.stat_result]
    ) -> tuple[list[bytes], list[os.stat_result]]:
        """Leave out what the rules exclude, and what cannot be backed up."""
        left_out = [
            slot
            for slot, state in enumerate(stats)
            if not self._is_kept(folder, names[slot], state)
        ]
        if left_out:
            for slot in reversed(left_out):
                del names[slot], stats[slot]
        return names, stats

    def _is_kept(self, folder: Folder, name: bytes, state: os.stat_result) -> bool:
        is_folder = stat.S_ISDIR(state.st_mode)
        if not self._rules.keeps_everything and not self._rules.keeps(
            folder.relative(name), is_folder=is_folder, is_included=folder.is_included
        ):
            return False
        reason = None
        if is_folder and (state.st_dev, state.st_ino) in self._never_enter:
            reason = "Overland's own folder"
        elif self._one_file_system and state.st_dev != folder.state.st_dev:
            reason = "another file system"
        elif stat.S_IFMT(state.st_mode) not in _BACKED_UP:
            reason = f"{kind_of(state.st_mode)} has no content to back up"
        if reason is not None:
            self._counts.skip(folder.path() + b"/" + name, reason)
        return reason is None


def identities(paths: Sequence[Path]) -> set[tuple[int, int]]:
    """Return device and inode of the folders that exist."""
    found: set[tuple[int, int]] = set()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            found.add((state.st_dev, state.st_ino))
    return found
