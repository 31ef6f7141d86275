"""One folder while a backup is in it: what was found, what became of it, and its descriptor."""

import os
import stat
from typing import NamedTuple, final

import msgspec

from overland.agent.backup.sections import Sections
from overland.agent.backup.sights import Sight
from overland.format.tree import Entry
from overland.source.changes import (
    UNTRUSTED,
    FolderBlock,
    fingerprint,
    folder_key,
    folders_by_inode,
    is_settled,
    split_prints,
)
from overland.source.entries import Xattrs
from overland.source.scan import Stat, open_folder, open_root

__all__ = ["Folder", "Kept", "View", "open_source", "view_of"]


class View(NamedTuple):
    """What is in a folder: names, states (None: a file as the last run left it), fingerprints."""

    names: list[bytes]
    stats: list[Stat | None]
    prints: list[bytes]


class Kept(NamedTuple):
    """How many entries of a folder stay as the last run encoded them, but for folders in it."""

    files: int = 0
    others: int = 0
    file_bytes: int = 0
    has_links: bool = False


def view_of(sight: Sight, block: FolderBlock | None) -> View | None:
    """Return what a report says, which builds on the folder's block; None without the block."""
    if block is None:
        return None
    names = block.names if sight.is_same else sight.names
    found = names.split(b"\0") if names else []
    prints = split_prints(block.fingerprints if sight.is_same else sight.prints)
    stats: list[Stat | None] = [None] * len(found)
    for slot, state in sight.states:
        stats[slot] = state
    return View(found, stats, prints)


@final
class Folder:
    """A folder under way.  Complete when it was walked and nothing is awaited any more."""

    __slots__ = (
        "_may_close",
        "_open",
        "awaited",
        "block_key",
        "changed_children",
        "children",
        "fd",
        "former_names",
        "has_links",
        "is_fresh",
        "is_included",
        "is_walked",
        "kept",
        "key",
        "known_key",
        "marks",
        "name",
        "names",
        "old",
        "opens_at",
        "parent",
        "prints",
        "readers",
        "sections",
        "sight",
        "slot",
        "slots",
        "state",
        "stats",
        "whole",
        "xattrs",
    )

    def __init__(
        self,
        name: bytes,
        *,
        state: Stat,
        parent: "Folder | None",
        slot: int,
        fd: int,
        still_open: "set[Folder]",
    ) -> None:
        """Begin; the folder is in `still_open` for as long as it has a descriptor."""
        self.name, self.state, self.parent, self.slot, self.fd = name, state, parent, slot, fd
        self._open = still_open
        if fd >= 0:
            still_open.add(self)
        self.opens_at: bytes | None = None  # the path to open it by, if not its own: a snapshot
        self.xattrs: Xattrs = ()
        self.key = self.block_key = b""
        self.known_key = b""  # that the last run had for it; another one where it was renamed
        self.former_names: dict[int, bytes] | None = None  # of folders in it, by inode
        self.is_included = True
        self.marks = frozenset[bytes]()
        self.sections: Sections | None = None  # of a very large folder, which then has no slots
        self.whole: Folder | None = None  # the folder that this one is a section of
        self.names: list[bytes] = []
        self.sight: Sight | None = None  # what was reported of it from ahead, until it is entered
        self.stats: list[Stat | None] = []  # None: a file as the last run left it
        self.slots: list[Entry | msgspec.Raw | None] = []  # in MessagePack as the last run left it
        self.kept = Kept()  # what in the slots is in MessagePack
        self.prints: list[bytes] = []
        self.children: list[int] = []  # slots of folders to walk, the next one last
        self.changed_children: dict[int, Entry | None] = {}
        self.old: FolderBlock | None = None
        self.has_links = False  # a file in it has several names
        self.is_fresh = False  # nothing in it changed since the last run, but perhaps in folders
        self.is_walked = False
        self.awaited = 0  # files and folders in it that are not done
        self.readers = 0  # files in it that wait to be read through `fd`
        self._may_close = False

    def unopened_child(self, slot: int) -> "Folder":
        """Return the folder in a slot, which is opened when something in it has to be read."""
        name, state = self.names[slot], self.state_of(slot)
        found = Folder(name, state=state, parent=self, slot=slot, fd=-1, still_open=self._open)
        found.key = found.block_key = found.known_key = folder_key(self.key, name)
        return found

    def child(self, slot: int, *, opens_at: bytes | None) -> "Folder":
        """Open the folder in a slot, by another path than its own where one is given.

        Raises:
            OSError: It is gone, not a folder any more, or may not be read.
        """
        name = self.names[slot]
        fd = open_root(opens_at) if opens_at else open_folder(name, parent_fd=self.open_fd())
        state = os.fstat(fd) if opens_at else self.state_of(slot)
        found = Folder(name, state=state, parent=self, slot=slot, fd=fd, still_open=self._open)
        found.opens_at = opens_at
        found.key = found.block_key = found.known_key = folder_key(self.key, name)
        return found

    def section(self, block_key: bytes) -> "Folder":
        """Return a stand-in for this folder, for the next of its sections.

        Raises:
            OSError: The folder was closed, and is gone.
        """
        part = Folder(
            self.name,
            state=self.state,
            parent=self.parent,
            slot=self.slot,
            fd=os.dup(self.open_fd()),
            still_open=self._open,
        )
        part.opens_at, part.key, part.known_key = self.opens_at, self.key, self.known_key
        part.block_key = block_key
        part.is_included, part.marks = self.is_included, self.marks
        part.whole = self
        return part

    def former_key(self) -> bytes:
        """Return the key that the last run had for this folder, as far as its parent's block tells.

        The parent's block names the folders in it with their inodes; one that is there by another
        name now was renamed.  Where a file system is mounted its inode says nothing: who could
        mount something in a source could else have another's files taken for its own.
        """
        parent, name = self.parent, self.name
        if parent is None or parent.old is None:
            return self.key
        if not parent.is_fresh and self.state.st_dev == parent.state.st_dev:
            if parent.former_names is None:
                parent.former_names = folders_by_inode(parent.old)
            name = parent.former_names.get(self.state.st_ino, name)
        if name == self.name and parent.known_key == parent.key:
            return self.key
        return folder_key(parent.known_key, name)

    def path(self) -> bytes:
        """Return the absolute path; built when asked for, because depth has no limit."""
        return b"/".join(part.name for part in reversed(self._upwards()))

    def relative(self, name: bytes) -> bytes:
        """Return the path of the entry `name` below the source root."""
        parts = [part.name for part in self._upwards()[:-1]]
        return b"/".join([*reversed(parts), name])

    def open_fd(self) -> int:
        """Return the descriptor; open the folder again if it was closed for being far above.

        Raises:
            OSError: It is gone.
        """
        closed: list[Folder] = []
        at: Folder | None = self
        while at is not None and at.fd < 0:
            closed.append(at)
            at = at.parent
        for folder in reversed(closed):
            if folder.opens_at is not None:
                folder.fd = open_root(folder.opens_at)
            elif folder.parent is None:
                folder.fd = open_root(folder.name)
            else:
                folder.fd = open_folder(folder.name, parent_fd=folder.parent.fd)
            self._open.add(folder)
            now = os.fstat(folder.fd)
            if (now.st_dev, now.st_ino) != (folder.state.st_dev, folder.state.st_ino):
                folder.close()
                raise FileNotFoundError
        return self.fd

    def close_when_idle(self) -> None:
        """Close the descriptor as soon as no file waits to be read through it."""
        self._may_close = True
        if not self.readers:
            self.close()

    def readers_done(self, count: int) -> None:
        """Count so many files less that wait to be read."""
        self.readers -= count
        if self._may_close and not self.readers:
            self.close()

    def keep_open(self) -> None:
        """Take back `close_when_idle`."""
        self._may_close = False

    def close(self) -> None:
        """Close the descriptor, if it is open."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._open.discard(self)

    def begin(self, names: list[bytes], stats: list[Stat | None]) -> None:
        """Take note of what is in it."""
        self.names, self.stats = names, stats
        children: list[int] = []
        for slot, state in enumerate(stats):
            if state is None:
                continue
            if stat.S_ISDIR(state.st_mode):
                children.append(slot)
            elif state.st_nlink > 1:
                self.has_links = True
        children.reverse()
        self.children = children

    def is_as(self, block: FolderBlock, prints: list[bytes]) -> bool:
        """Return whether its entries, with these fingerprints, are as the last run left them."""
        return (
            block.fingerprints == b"".join(prints)
            and block.names == b"\0".join(self.names)
            and (not block.has_links or block.device == self.state.st_dev)
        )

    def state_of(self, slot: int) -> Stat:
        """Return the state of an entry; look at it if a report has left it out.

        Raises:
            OSError: It is gone meanwhile, or may not be looked at.
        """
        state = self.stats[slot]
        if state is None:
            state = os.stat(self.names[slot], dir_fd=self.open_fd(), follow_symlinks=False)
            if stat.S_ISDIR(state.st_mode):
                raise FileNotFoundError  # it was no folder a moment ago
            self.stats[slot], self.prints[slot] = state, fingerprint(state)
        return state

    def set(self, slot: int, entry: Entry | None, state: Stat | None, since: int) -> None:
        """Put an entry in its place; its state is trusted next time if it is older than `since`."""
        self.slots[slot] = entry
        is_known = entry is not None and not entry.changed
        if state is None or not is_known or not is_settled(state, before_ns=since):
            self.prints[slot] = UNTRUSTED
        elif state is not self.stats[slot]:  # else the fingerprint of the scan holds
            self.prints[slot] = fingerprint(state)

    def _upwards(self) -> "list[Folder]":
        found: list[Folder] = []
        at: Folder | None = self
        while at is not None:
            found.append(at)
            at = at.parent
        return found


def open_source(
    path: bytes, *, opens_at: bytes | None, slot: int, still_open: set[Folder]
) -> Folder:
    """Open a source root, by another path than its own where one is given.

    Raises:
        OSError: It cannot be opened.
    """
    fd = open_root(opens_at or path)
    root = Folder(path, state=os.fstat(fd), parent=None, slot=slot, fd=fd, still_open=still_open)
    root.opens_at = opens_at
    root.key = root.block_key = root.known_key = folder_key(b"", path)
    return root
