"""What a backup has met on its way, and what it had to leave out."""

from typing import Final, final

from overland.format.point import Skipped
from overland.source.changes import FolderBlock

__all__ = ["LISTED", "Counts"]

LISTED: Final = 50_000
"""So many entries are named one by one; all are counted."""

_LISTED_BYTES: Final = 16 << 20  # of their paths, whose length has no limit; a point's root has one


@final
class Counts:
    """What a walk has met."""

    def __init__(self) -> None:
        self.files = self.folders = self.others = 0
        self.source_bytes = 0
        self.changed_while_read = 0
        self.read_files = 0
        self.skipped_count = self._skipped_bytes = 0
        self.skipped: list[Skipped] = []
        self.changed: list[bytes] = []

    def add(self, block: FolderBlock) -> None:
        """Count what a folder, or a section of one, holds."""
        self.files += block.files
        self.others += block.others
        self.source_bytes += block.file_bytes

    def changed_file(self, path: bytes) -> None:
        """Name a file that changed while it was read."""
        self.changed_while_read += 1
        if len(self.changed) < LISTED:
            self.changed.append(path)

    def skip(self, path: bytes, reason: str) -> None:
        """Name something that is not in the recovery point."""
        self.skipped_count += 1
        self._skipped_bytes += len(path)
        if len(self.skipped) < LISTED and self._skipped_bytes <= _LISTED_BYTES:
            self.skipped.append(Skipped(path, reason[:1000]))
