"""What a backup needs to know of snapshots, taken or not; `snapshots` takes them."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal

__all__ = ["DEFAULT_PERCENT", "SnapshotMode", "SnapshotView", "lies_in"]

SnapshotMode = Literal["none", "auto", "btrfs", "zfs", "lvm"]

DEFAULT_PERCENT: Final = 10
"""So much of a volume that is not thin may be overwritten while its snapshot is read."""

_STUB: Final = 2  # the inode of the empty folder that stands for a subvolume in one's snapshot


class SnapshotView:
    """Where to read what, while snapshots are there; without any, all is read where it is.

    Attributes:
        notes: In words: which sources are read as they are, and why.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._sources: dict[bytes, bytes] = {}
        self._leaves_stubs: dict[bytes, bool] = {}
        self._mounted: set[bytes] = set()
        self._shown: dict[bytes, bytes] = {}
        self._checks: list[Callable[[], None]] = []

    def elsewhere(self, path: bytes, inode: int) -> bytes | None:
        """Return where to open what has this full path, None for where the walk is already.

        Args:
            path: Under which it stands in the recovery point.
            inode: Of what the walk sees there; 0 for a source.
        """
        if path in self._sources:
            return self._sources[path]
        if not self._sources:
            return None
        if path in self._mounted or (inode == _STUB and self._may_be_stub(path)):
            return path  # a snapshot shows an empty folder in its place
        return None

    def also_shown(self, folders: Iterable[Path]) -> list[Path]:
        """Return where the snapshots show copies of these folders."""
        found = []
        for folder in folders:
            real = os.path.realpath(os.fsencode(folder))
            for unit, where in self._shown.items():
                if lies_in(real, unit):
                    found.append(Path(os.fsdecode(where + real[len(unit.rstrip(b"/")) :])))
        return found

    def confirm(self) -> None:
        """Return if all snapshots still show what they did when they were taken.

        Raises:
            SnapshotLost: One does not; what was read of it must not become a recovery point.
        """
        for check in self._checks:
            check()

    def add(
        self, source: bytes, where: bytes, *, mounted: Iterable[bytes], leaves_stubs: bool
    ) -> None:
        """Have a source read in a snapshot, but not what is mounted in it."""
        self._sources[source] = where
        self._mounted.update(mounted)
        self._leaves_stubs[source] = leaves_stubs

    def add_living(self, source: bytes, problem: str) -> None:
        """Have a source read as it is, and note why."""
        self.notes.append(f"{os.fsdecode(source)} is read without a snapshot: {problem}")
        self._leaves_stubs[source] = False

    def watch(self, unit: bytes, where: bytes, check: Callable[[], None]) -> None:
        """Note what a snapshot shows, and how to tell whether it still does."""
        self._shown[unit] = where
        self._checks.append(check)

    def _may_be_stub(self, path: bytes) -> bool:
        """Return whether a folder is read in a snapshot with stubs, by the source around it.

        In ZFS, the first folder of a dataset has the inode that is a stub's in btrfs.
        """
        while path not in self._leaves_stubs and path != b"/":
            path = path.rpartition(b"/")[0] or b"/"
        return self._leaves_stubs.get(path, False)


def lies_in(path: bytes, folder: bytes) -> bool:
    """Return whether a full path is that of a folder, or of something below it."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
