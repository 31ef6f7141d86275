"""The walk through the source: folders in, tree nodes out, everything else to the workers.

The walk goes down a folder at a time, gives its files to the workers and goes on; a folder is
complete when its files and folders are, in whatever order that happens.  Its node is written
then, and its entry put into its parent.  Depth is bounded by nothing but the source: there is no
recursion, and folders far above are closed and opened again.
"""

import os
import queue
import stat
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, final

from overland.agent.backup.collector import collecting_rarely
from overland.agent.backup.counts import Counts
from overland.agent.backup.folders import Folder, View, open_source
from overland.agent.backup.known import Old, keep_same, old_entries
from overland.agent.backup.large import LargeFile, read_large
from overland.agent.backup.looks import Looks
from overland.agent.backup.nodes import Nodes
from overland.agent.backup.sections import Sections
from overland.agent.backup.selection import Selection
from overland.agent.backup.workers import (
    SMALL_BYTES,
    Batches,
    FileJob,
    FileRead,
    FilesDone,
    PieceDone,
    Workers,
)
from overland.format.point import Root
from overland.format.tree import KIND_FILE, Entry
from overland.ports.progress import Progress
from overland.sealing.dedup import Dedup
from overland.source.changes import ChangeCache, ChangeCacheWriter
from overland.source.chunker import Chunker
from overland.source.entries import Entries, link_of, read_xattrs_at, with_link
from overland.source.scan import Stat, reason_of

__all__ = ["BUFFERS", "Walk"]

BUFFERS: Final = 6
"""Pieces of large files in memory at a time."""

_OPEN_LEVELS: Final = 64  # folders kept open on the way down
_PATIENCE_S: Final = 0.2


@final
class Walk:
    """Walks the roots of one run.  For one thread, which also writes the tree nodes."""

    def __init__(  # noqa: PLR0913 - a walk brings the parts of the path together
        self,
        *,
        selection: Selection,
        counts: Counts,
        cache: ChangeCache,
        new_cache: ChangeCacheWriter,
        is_cache_sure: bool,
        settled_before_ns: int,
        nodes: Nodes,
        dedup: Dedup,
        chunker: Chunker,
        entries: Entries,
        buffers: "queue.SimpleQueue[memoryview]",
        progress: Progress,
        scratch: Path | None,
    ) -> None:
        self.counts = counts
        self._selection, self._cache, self._new_cache = selection, cache, new_cache
        self._is_cache_sure = is_cache_sure
        self._since = settled_before_ns
        self._nodes, self._dedup, self._chunker = nodes, dedup, chunker
        self._entries, self._buffers, self._progress = entries, buffers, progress
        self._workers: Workers | None = None
        self._batches: Batches | None = None
        self._roots: dict[int, Root] = {}
        self._open: set[Folder] = set()
        self._looks = Looks(
            selection=selection,
            counts=counts,
            cache=cache,
            is_cache_sure=is_cache_sure,
            scratch=scratch,
        )
        self._sections: set[Sections] = set()

    def run(self, roots: Sequence[bytes], workers: Workers) -> list[Root]:
        """Walk the roots, and return them when everything in them is stored.

        Raises:
            OSError: A root cannot be opened, or the medium failed.
            OutOfSpace: The medium is full.
        """
        with collecting_rarely():
            return self._run(roots, workers)

    def _run(self, roots: Sequence[bytes], workers: Workers) -> list[Root]:
        self._workers, self._batches = workers, Batches(workers.submit)
        self._roots.clear()
        self._looks.begin(roots, workers.turns)
        for slot, path in enumerate(roots):
            opens_at = self._selection.elsewhere_root(path)
            root = open_source(path, opens_at=opens_at, slot=slot, still_open=self._open)
            root.is_included = self._selection.includes(root)
            self._looks.find_report(root)
            self._go_down(root)
        self._looks.end()
        self._batches.submit()
        while workers.waiting:
            self._receive(wait=True)
        self._nodes.flush()
        assert len(self._roots) == len(roots), "every folder is complete when nothing is awaited"
        return [self._roots[slot] for slot in range(len(roots))]

    def close(self) -> None:
        """Close what is still open, after a failure."""
        self._looks.end()
        for folder in list(self._open):
            folder.close()
        for sections in self._sections:
            sections.close()

    def take_buffer(self) -> memoryview:
        """Return a free buffer for a piece; waits for the workers."""
        while True:
            try:
                return self._buffers.get(timeout=_PATIENCE_S)
            except queue.Empty:
                self._receive_all()

    # -- down -----------------------------------------------------------------------------------

    def _go_down(self, root: Folder) -> None:
        self._enter(root)
        path = [root]
        while path:
            folder = path[-1]
            if folder.children:
                child = self._open_child(folder, folder.children.pop())
            elif folder.sections is not None and folder.sections.have_more:
                child = self._begin_section(folder, folder.sections)
            else:
                path.pop()
                folder.is_walked = True
                folder.close_when_idle()
                self._settle(folder)
                continue
            if child is not None:
                path.append(child)
                if len(path) > _OPEN_LEVELS + 1:
                    path[-_OPEN_LEVELS - 1].close_when_idle()
            self._receive_all()

    def _open_child(self, folder: Folder, slot: int) -> Folder | None:
        try:
            folder.keep_open()
            child = self._looks.child(folder, slot)
        except OSError as error:
            self._lose(folder, slot, reason_of(error))
            return None
        child.is_included = self._selection.includes(child)
        folder.awaited += 1
        self._enter(child)
        return child

    def _enter(self, folder: Folder) -> None:
        """Look into a folder and begin with what is in it."""
        try:
            view = self._looks.enter(folder)
        except OSError as error:
            self.counts.skip(folder.path(), reason_of(error))
            return
        if folder.sections is not None:
            self._sections.add(folder.sections)
        if view is not None:
            self._begin_folder(folder, view)

    def _begin_section(self, folder: Folder, sections: Sections) -> Folder | None:
        """Begin with the next section of a very large folder."""
        key, names = sections.take()
        try:
            folder.keep_open()
            section = folder.section(key)
        except OSError as error:
            self.counts.skip(folder.path(), reason_of(error))
            sections.take_no_more()
            return None
        folder.awaited += 1
        self._begin_folder(section, self._looks.section(section, names))
        return section

    def _begin_folder(self, folder: Folder, view: View) -> None:
        self._selection.kept(folder, view)
        folder.begin(view.names, view.stats)
        old = folder.old
        if old is not None and not old.node:
            old = None  # it had so many entries that the blocks of its sections have them
        folder.old = old
        if old is not None and self._is_cache_sure and folder.is_as(old, view.prints):
            folder.is_fresh = True
            self._progress.advance(bytes=old.file_bytes, count=old.files)
            return
        folder.slots, folder.prints = [None] * len(view.names), view.prints
        if old is None or not self._is_cache_sure or old.has_links or folder.has_links:
            self._begin_entries(folder, old_entries(old) if old is not None else {})
            return
        to_read = keep_same(folder, old)
        self._progress.advance(bytes=folder.kept.file_bytes, count=folder.kept.files)
        for slot in to_read:
            self._read(folder, slot)

    def _begin_entries(self, folder: Folder, old: Old) -> None:
        for slot, state in enumerate(folder.stats):
            if state is not None and stat.S_ISDIR(state.st_mode):
                continue
            known = old.get(folder.names[slot])
            is_known = known is not None and known[0] == folder.prints[slot]
            if known is not None and is_known and self._reuse(folder, slot, known[1]):
                if known[1].kind == KIND_FILE:
                    self._progress.advance(bytes=known[1].size_bytes, count=1)
            else:
                self._read(folder, slot)

    def _reuse(self, folder: Folder, slot: int, entry: Entry) -> bool:
        """Take an entry from the last run; return whether its content is surely stored."""
        state = folder.stats[slot]
        # With levels the content names chunks of the list; those of the file stay unproven.
        is_sure = self._is_cache_sure or not entry.content
        if not is_sure and (entry.levels or not self._dedup.knows_all(entry.content)):
            return False
        if entry.link or (state is not None and state.st_nlink > 1):
            entry = with_link(entry, b"" if state is None else link_of(state))
        if state is None:
            folder.slots[slot] = entry
        else:
            folder.set(slot, entry, state, self._since)
        return True

    def _read(self, folder: Folder, slot: int) -> None:
        try:
            state = folder.state_of(slot)
            folder.open_fd()
            if not stat.S_ISREG(state.st_mode):
                self._read_other(folder, slot, state)
                return
        except OSError as error:
            self._lose(folder, slot, reason_of(error))
            return
        if state.st_size > SMALL_BYTES:
            self._read_large(folder, slot)
        else:
            self._read_later(folder, slot, state)

    def _read_other(self, folder: Folder, slot: int, state: Stat) -> None:
        name, target, fd = folder.names[slot], b"", folder.fd
        if stat.S_ISLNK(state.st_mode):
            target = os.readlink(name, dir_fd=fd)
        xattrs = read_xattrs_at(name, parent_fd=fd)
        entry = self._entries.make(name, state, target=target, xattrs=xattrs)
        folder.set(slot, entry, state, self._since)

    def _read_later(self, folder: Folder, slot: int, state: Stat) -> None:
        assert self._batches is not None, "a walk runs with workers"
        folder.awaited += 1
        folder.readers += 1
        self._batches.add(FileJob(folder, slot, folder.names[slot], state))

    def _read_large(self, folder: Folder, slot: int) -> None:
        assert self._workers is not None, "a walk runs with workers"
        folder.awaited += 1
        try:
            large = read_large(
                folder.names[slot],
                folder=folder,
                slot=slot,
                parent_fd=folder.open_fd(),
                chunker=self._selection.chunker(folder, slot) or self._chunker,
                take=self.take_buffer,
                give_back=self._buffers.put,
                submit=self._workers.submit,
            )
        except OSError as error:
            folder.awaited -= 1
            self._lose(folder, slot, reason_of(error))
            return
        if large.is_complete:
            self._finish_large(large)
        self._receive_all()

    # -- up -------------------------------------------------------------------------------------

    def _receive_all(self) -> None:
        while self._receive(wait=False):
            pass

    def _receive(self, *, wait: bool) -> bool:
        assert self._workers is not None, "a walk runs with workers"
        done = self._workers.receive(wait=wait)
        if isinstance(done, PieceDone):
            large = done.owner
            assert isinstance(large, LargeFile), "pieces belong to large files"
            large.add(done.number, done.content)
            if large.is_complete:
                self._finish_large(large)
        elif isinstance(done, FilesDone):
            self._finish_files(done)
        return done is not None

    def _finish_files(self, done: FilesDone) -> None:
        """Put the files of a batch in their places; a folder's files come one after the other."""
        done_files = zip(done.jobs, done.results, strict=True)
        for folder, files in groupby(done_files, lambda done_file: done_file[0].folder):
            assert isinstance(folder, Folder), "files lie in folders of this walk"
            count = 0
            for count, (job, result) in enumerate(files, 1):  # noqa: B007 - how many there were
                self._finish_file(folder, job, result)
            folder.readers_done(count)
            folder.awaited -= count
            self._settle(folder)

    def _finish_file(self, folder: Folder, job: FileJob, result: FileRead) -> None:
        if result.entry is not None:
            self._put_file(folder, job.slot, result.entry, result.state)
        elif result.reason is not None:
            self._lose(folder, job.slot, result.reason)
        else:
            # It has grown since the scan: it is read here, and awaited as before.
            self._read_large(folder, job.slot)

    def _finish_large(self, large: LargeFile) -> None:
        folder = large.folder
        entry = large.finish(self._entries, *self._nodes.content(large.content()))
        self._progress.advance(count=1)
        self._put_file(folder, large.slot, entry, large.state)
        folder.awaited -= 1
        self._settle(folder)

    def _put_file(self, folder: Folder, slot: int, entry: Entry, state: Stat | None) -> None:
        folder.set(slot, entry, state, self._since)
        self.counts.read_files += 1
        if entry.changed:
            self.counts.changed_file(folder.path() + b"/" + entry.name)

    def _lose(self, folder: Folder, slot: int, reason: str) -> None:
        """Leave out an entry that could not be read, and say so."""
        self.counts.skip(folder.path() + b"/" + folder.names[slot], reason)
        if folder.is_fresh:
            folder.changed_children[slot] = None
        else:
            folder.set(slot, None, None, self._since)

    def _settle(self, folder: Folder) -> None:
        """Complete the folder, and those above it, as far as nothing is awaited in them."""
        at: Folder | None = folder
        while at is not None and at.is_walked and not at.awaited:
            at.is_walked = False  # complete once
            at = self._complete(at)

    def _complete(self, folder: Folder) -> Folder | None:
        old, sections, whole = folder.old, folder.sections, folder.whole
        if sections is not None:
            block = self._nodes.whole(folder, sections)
            self._sections.remove(sections)
            sections.close()
        elif folder.is_fresh and not folder.changed_children and old is not None:
            block = old
        else:
            block = self._nodes.block(folder)
        self._new_cache.add(block)
        folder.close()
        self.counts.add(block)
        if whole is not None and whole.sections is not None:
            whole.sections.add(block, is_known=block is old)
            whole.awaited -= 1
            return whole
        self.counts.folders += 1
        parent = folder.parent
        is_same = old is not None and (old.content, old.levels) == (block.content, block.levels)
        if parent is not None and parent.is_fresh and is_same and folder.opens_at is None:
            parent.awaited -= 1
            return parent
        name = folder.name if parent is not None else folder.name.rstrip(b"/").rpartition(b"/")[2]
        entry = self._entries.make(
            name, folder.state, content=block.content, levels=block.levels, xattrs=folder.xattrs
        )
        if parent is None:
            self._roots[folder.slot] = Root(folder.name, entry)
            return None
        if parent.is_fresh:
            parent.changed_children[folder.slot] = entry
        else:
            parent.set(folder.slot, entry, folder.state, self._since)
        parent.awaited -= 1
        return parent
