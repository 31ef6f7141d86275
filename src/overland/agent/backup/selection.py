"""What of a folder is backed up: by the policy's rules, and by what can be."""

import contextlib
import re
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, final

from overland.agent.backup.counts import Counts
from overland.agent.backup.folders import Folder, View
from overland.agent.backup.plan import Elsewhere
from overland.source.changes import state_as_seen
from overland.source.chunker import Chunker
from overland.source.marks import NO_MARKS, Marks
from overland.source.rules import Rules
from overland.source.scan import Stat, kind_of

__all__ = ["Selection", "full_path", "identities", "is_own_snapshot"]

_BACKED_UP: Final = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO})
_NONE: Final = frozenset[bytes]()

_OWN_SNAPSHOT: Final = re.compile(rb"\.overland-snapshot-[0-9a-f]{8}-[0-9a-f]{8}")


@final
class Selection:
    """Decides what is kept, and names what is not, but for what the rules exclude.

    A folder or file that is a source itself is kept though the source around it excludes it, and
    the rules begin anew in it.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        marks: Marks = NO_MARKS,
        never_enter: set[tuple[int, int]],
        one_file_system: bool,
        counts: Counts,
        sources: Collection[bytes] = (),
        image_chunker: tuple[Collection[bytes], Chunker] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Prepare to select.

        Args:
            rules: Of the policy.
            marks: What else is left out.
            never_enter: Device and inode of folders that are ours.
            one_file_system: Whether to leave out what is mounted below the roots.
            counts: Where to name what is left out.
            sources: Full paths of all folders and files that the policy names.
            image_chunker: The files among them that are images, and what cuts these.
            elsewhere: Where to read a folder, if not where it is.
        """
        self.reached: set[bytes] = set()  # sources that were met in another one
        self._rules, self._marks, self._counts = rules, marks, counts
        self._never_enter, self._one_file_system = never_enter, one_file_system
        self._images: Collection[bytes] = image_chunker[0] if image_chunker else ()
        self._image_chunker = image_chunker[1] if image_chunker else None
        self._elsewhere = elsewhere
        self._sources = _by_folder(sources)

    def includes(self, folder: Folder) -> bool:
        """Return whether everything in the folder is included, whatever its name."""
        if self._rules.keeps_everything:
            return True
        if folder.parent is None or (self.reached and full_path(folder) in self.reached):
            return self._rules.includes(b"", is_included=False)
        path = self._below_source(folder.parent) + folder.name
        return self._rules.includes(path, is_included=folder.parent.is_included)

    def marks(self, folder: Folder, names: list[bytes]) -> frozenset[bytes]:
        """Return the marks among all names of a folder; with any, only they are kept."""
        if self._marks.keeps_everything:
            return _NONE
        return self._marks.found(names, fd=folder.open_fd())

    def kept(self, folder: Folder, view: View) -> None:
        """Take out of the view what the rules exclude, and what cannot be backed up."""
        names, stats, prints = view
        sources = self._sources.get(full_path(folder), _NONE) if self._sources else _NONE
        marks = folder.marks
        prefix = b"" if self._rules.keeps_everything else self._below_source(folder)
        is_plain = (
            self._rules.keeps_everything
            and self._marks.larger_than_bytes is None
            and not sources
            and not marks
        )
        device, left_out = folder.state.st_dev, list[int]()
        for slot, state in enumerate(stats):
            if is_plain and (
                state is None or (stat.S_ISREG(state.st_mode) and state.st_dev == device)
            ):
                continue  # nothing could leave it out: most entries, and so not asked one by one
            if state is None:
                state = state_as_seen(prints[slot], device=device)  # noqa: PLW2901 - what it stands for
            name = names[slot]
            if name in sources:
                is_kept = self._meet(full_path(folder, name), state, folder)
            elif marks:
                is_kept = name in marks
            else:
                is_kept = self._is_kept(folder, prefix, name, state)
            if not is_kept:
                left_out.append(slot)
        for slot in reversed(left_out):
            del names[slot], stats[slot], prints[slot]

    def elsewhere_root(self, path: bytes) -> bytes | None:
        """Return the path to open a source by, where it is not its own."""
        return self._elsewhere(path, 0) if self._elsewhere else None

    def elsewhere(self, folder: Folder, slot: int) -> bytes | None:
        """Return the path to open a folder in `folder` by, where it is not the one it has."""
        if self._elsewhere is None:
            return None
        inode = folder.state_of(slot).st_ino
        return self._elsewhere(full_path(folder, folder.names[slot]), inode)

    def chunker(self, folder: Folder, slot: int) -> Chunker | None:
        """Return what cuts a file, where it is an image that the policy names."""
        if not self._images or full_path(folder, folder.names[slot]) not in self._images:
            return None
        return self._image_chunker

    def _meet(self, path: bytes, state: Stat, folder: Folder) -> bool:
        """Return whether a source that lies in another one is kept in its tree."""
        if not (stat.S_ISDIR(state.st_mode) or stat.S_ISREG(state.st_mode)):
            return False  # a link is followed, and a device is read, as a source of its own
        if self._one_file_system and state.st_dev != folder.state.st_dev:
            return False
        self.reached.add(path)
        return True

    def _is_kept(self, folder: Folder, prefix: bytes, name: bytes, state: Stat) -> bool:
        is_folder = stat.S_ISDIR(state.st_mode)
        if not self._rules.keeps_everything and not self._rules.keeps(
            prefix + name, is_folder=is_folder, is_included=folder.is_included
        ):
            return False
        if stat.S_ISREG(state.st_mode) and self._marks.is_too_large(state.st_size):
            return False
        reason = None
        if is_folder and (
            (state.st_dev, state.st_ino) in self._never_enter or is_own_snapshot(name, state)
        ):
            reason = "Overland's own folder"
        elif self._one_file_system and self._is_mounted(folder, name, state):
            reason = "another file system"
        elif stat.S_IFMT(state.st_mode) not in _BACKED_UP:
            reason = f"{kind_of(state.st_mode)} has no content to back up"
        if reason is not None:
            self._counts.skip(folder.path() + b"/" + name, reason)
        return reason is None

    def _is_mounted(self, folder: Folder, name: bytes, state: Stat) -> bool:
        if state.st_dev != folder.state.st_dev:
            return True
        # In a snapshot, what is mounted below it shows as an empty folder.
        if self._elsewhere is None or not stat.S_ISDIR(state.st_mode):
            return False
        return self._elsewhere(full_path(folder, name), state.st_ino) is not None

    def _below_source(self, folder: Folder) -> bytes:
        """Return the folder's path below its source, with a `/` behind it if not empty."""
        if not self.reached:
            return folder.relative(b"")
        path = here = full_path(folder)
        depth = folder.relative(b"").count(b"/")
        while depth and here not in self.reached:
            here, depth = here.rpartition(b"/")[0], depth - 1
        return path[len(here) :].lstrip(b"/") + b"/" if path != here else b""


def full_path(folder: Folder, name: bytes = b"") -> bytes:
    """Return the full path of a folder, or of an entry in it, with no `/` twice."""
    path = b"/" + folder.path().lstrip(b"/")
    return path.rstrip(b"/") + b"/" + name if name else path


def is_own_snapshot(name: bytes, state: Stat) -> bool:
    """Return whether an entry is a snapshot that a run made, or what shows of one in another."""
    # 256 is the top of a btrfs subvolume, 2 the empty folder that a snapshot has in its place.
    return state.st_ino in {2, 256} and _OWN_SNAPSHOT.fullmatch(name) is not None


def identities(paths: Sequence[Path]) -> set[tuple[int, int]]:
    """Return device and inode of the folders that exist."""
    found: set[tuple[int, int]] = set()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            found.add((state.st_dev, state.st_ino))
    return found


def _by_folder(sources: Collection[bytes]) -> dict[bytes, frozenset[bytes]]:
    """Return the names of sources that lie in others, by the folder that they are in."""
    found: dict[bytes, frozenset[bytes]] = {}
    for path in sources:
        above = path
        while above.strip(b"/"):
            above = above.rpartition(b"/")[0] or b"/"
            if above in sources:
                folder, _, name = path.rpartition(b"/")
                found[folder or b"/"] = found.get(folder or b"/", _NONE) | {name}
                break
            if above == b"/":
                break
    return found
