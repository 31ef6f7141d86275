"""How the walk sees a folder: by a report from ahead, or with a look of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import msgspec

from overland.agent.backup.counts import Counts
from overland.agent.backup.folders import Folder, View, view_of
from overland.agent.backup.sections import MANY_ENTRIES, Sections
from overland.agent.backup.selection import Selection
from overland.agent.backup.turns import Turns
from overland.source.changes import ChangeCache, FolderBlock, as_mounted, fingerprint
from overland.source.entries import read_xattrs
from overland.source.scan import list_names, look_at

if TYPE_CHECKING:
    from overland.agent.backup.lookahead import LookAhead

__all__ = ["WORTH_BYTES", "Looks"]

WORTH_BYTES: Final = 1 << 20
"""Of the change cache: some thousand entries.  To start a process takes as long as a thousand."""


@final
class Looks:
    """Opens folders and looks into them; for one thread."""

    def __init__(
        self,
        *,
        selection: Selection,
        counts: Counts,
        cache: ChangeCache,
        is_cache_sure: bool,
        scratch: Path | None,
    ) -> None:
        """Prepare to look.

        Args:
            selection: Tells where to look, and which marks count.
            counts: Where to name what cannot be looked at.
            cache: What the last run saw.
            is_cache_sure: Whether all that the cache names is stored, so that nothing of it has
                to be read: only then it is worth to look ahead.
            scratch: Where a folder with very many entries may keep what is done of it.
        """
        self._selection, self._counts, self._cache = selection, counts, cache
        self._is_cache_sure, self._scratch = is_cache_sure, scratch
        self._ahead: LookAhead | None = None
        self._turns = Turns()

    def begin(self, roots: Sequence[bytes], turns: Turns) -> None:
        """Look ahead, if that is worth it; own looks take turns with the workers."""
        self._turns = turns
        if not self._is_cache_sure or self._cache.size_bytes < WORTH_BYTES:
            return
        from overland.agent.backup import lookahead  # noqa: PLC0415 - a short run does without

        if lookahead.is_possible():
            self._ahead = lookahead.LookAhead()
            elsewhere = self._selection.elsewhere_root
            self._ahead.start([(path, elsewhere(path) or path) for path in roots], self._cache)

    def end(self) -> None:
        """Look ahead no more."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def find_report(self, folder: Folder) -> None:
        """Keep with a folder what was reported of it, if it still is the same one."""
        sight = self._ahead.take(folder.key) if self._ahead is not None else None
        state = folder.state
        if sight is not None and (sight.device, sight.inode) == (state.st_dev, state.st_ino):
            folder.sight = sight

    def child(self, folder: Folder, slot: int) -> Folder:
        """Return the folder in a slot; open, unless there is a report of it.

        Raises:
            OSError: It is gone, not a folder any more, or may not be read.
        """
        opens_at = self._selection.elsewhere(folder, slot)
        if opens_at is not None or self._ahead is None:
            return folder.child(slot, opens_at=opens_at)
        child = folder.unopened_child(slot)
        self.find_report(child)
        if child.sight is None:
            child.open_fd()
        return child

    def enter(self, folder: Folder) -> View | None:
        """Return what is in a folder; None for one with so many entries that it has sections now.

        Raises:
            OSError: It cannot be read.
        """
        folder.old = self._cache.find(folder.key)
        sight, folder.sight = folder.sight, None
        view = view_of(sight, folder.old) if sight is not None else None
        self._find_renamed(folder)
        if sight is not None and view is not None:
            folder.xattrs = sight.xattrs
            folder.marks = self._selection.marks(folder, view.names)
            return view
        fd = folder.open_fd()
        folder.xattrs = read_xattrs(fd)
        names = list_names(fd)
        folder.marks = self._selection.marks(folder, names)
        if len(names) > MANY_ENTRIES:
            folder.sections = Sections(
                names, key=folder.key, former_key=folder.known_key, scratch=self._scratch
            )
            return None
        return self._look(folder, names)

    def section(self, folder: Folder, names: list[bytes]) -> View:
        """Return what is in the next section of a folder with very many entries."""
        sections = folder.whole.sections if folder.whole is not None else None
        assert sections is not None, "a section is one of a folder"
        folder.old = self._known(sections.former_key, as_key=folder.block_key)
        return self._look(folder, names)

    def _find_renamed(self, folder: Folder) -> None:
        """Take what the last run knew of a folder by another name, its own or of one above it.

        What is in it is trusted by its own fingerprints, as everywhere.
        """
        key = folder.former_key()
        if key != folder.key:
            found = self._known(key, as_key=folder.key)
            if found is not None:
                folder.old, folder.known_key = found, key

    def _known(self, key: bytes, *, as_key: bytes) -> FolderBlock | None:
        """Return the block that the last run kept by a key, for a new cache to keep by another."""
        found = self._cache.find(key)
        if found is None or key == as_key:
            return found
        return msgspec.structs.replace(found, key=as_key)

    def _look(self, folder: Folder, names: list[bytes]) -> View:
        with self._turns.one(len(names)):
            listing = look_at(names, fd=folder.fd)
        for name, reason in listing.failed:
            self._counts.skip(folder.path() + b"/" + name, reason)
        device = folder.state.st_dev
        prints = [
            fingerprint(state) if state.st_dev == device else as_mounted(fingerprint(state))
            for state in listing.stats
        ]
        return View(listing.names, list(listing.stats), prints)
