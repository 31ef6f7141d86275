"""What a look ahead reports of a folder."""

import msgspec

from overland.source.entries import Xattrs
from overland.source.scan import State

__all__ = ["Sight"]


class Sight(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What was seen of a folder.

    Attributes:
        device: Of the folder that was opened, and of all that is in it.
        inode: Of the folder.
        xattrs: Of the folder.
        is_same: Whether names and fingerprints are those of the folder's block in the cache.
        names: Of the entries, joined with NUL; empty if they are the same.
        prints: Fingerprints of the entries, laid end to end; empty if they are the same.
        states: Places among the names, and states, of all entries but files that have one name
            and are as the last run left them.
        has_folders: Whether folders in it were seen too, all of them before the folders that the
            walk comes to earlier.
    """

    device: int
    inode: int
    xattrs: Xattrs
    is_same: bool
    names: bytes
    prints: bytes
    states: tuple[tuple[int, State], ...]
    has_folders: bool
