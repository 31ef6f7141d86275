"""The batches of a restore, one after the other: read and write, settle, link, describe.

While the writers work on one batch, the next is planned.  A folder gets its metadata when all
below it is settled, because writing into it changes its time and its mode may forbid it.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Final

import msgspec
from blake3 import blake3

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.agent.restore.batch import Batch, FileTask, Piece, Prepared, Wish
from overland.agent.restore.crew import Crew, Work
from overland.agent.restore.metadata import Describer
from overland.agent.restore.report import Recorder
from overland.agent.restore.target import Access, Folder, new_token, proc_path, unfinished_name
from overland.agent.restore.work import Writers, WrittenOtherwise
from overland.format.tree import KIND_FILE, KIND_SYMLINK, Entry

__all__ = ["Batches"]

_FEW_BYTES: Final = 1 << 10
"""A list of ids that is not longer is one piece: of most files."""

_NO_LINKS: Final = {errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP}
"""No hard links in this file system, no more of this file, or not into another file system."""

_LOOK_EVERY: Final = 1024
"""Entries planned between two looks at what the processes did, for who watches."""

_ABOVE_MODE: Final = 0o755
"""Of folders above the roots, of which nothing but the name is known."""


class Batches:
    """Takes entries from the walk and sees to it that each is restored, or reported."""

    def __init__(
        self,
        *,
        tree: PointTree,
        store: ChunkStore,
        access: Access,
        writers: Writers,
        crew: Crew,
        describer: Describer,
        recorder: Recorder,
        verify: bool,
    ) -> None:
        self._tree, self._store, self._access, self._writers = tree, store, access, writers
        self._crew = crew
        self._describer, self._recorder, self._verifies = describer, recorder, verify
        self._token, self._number = new_token(), 0
        self._added = 0
        self._batch = Batch(is_shared=crew.may_fork)
        self._running: tuple[Batch, Prepared, Work] | None = None
        self._begun: Prepared | None = None
        self._links: dict[bytes, FileTask | tuple[Folder, bytes]] = {}

    def add(self, wish: Wish, *, is_present: bool) -> None:
        """Restore an entry that is no folder; one that `is_present` is only verified, if asked."""
        self._added += 1
        if self._running and not self._added % _LOOK_EVERY:
            self._running[2].poll()
        group = _group(wish.entry)
        if is_present and not (self._verifies and wish.entry.content):
            self._recorder.count("already_there")
            if group:
                self._links.setdefault(group, (wish.folder, wish.name))
        elif group and group in self._links:
            self._batch.links.append(wish)
        else:
            self._plan(self._task(wish, is_present=is_present))
        if self._batch.is_full:
            self._turn()

    def add_final(self, folder: Folder, entry: Entry | None, path: bytes) -> None:
        """Give a folder its metadata, when all that was added before is restored."""
        self._batch.finals.append((folder, entry, path))
        if self._batch.is_full:
            self._turn()

    def finish(self) -> None:
        """Return when everything that was added is restored, or reported."""
        self._turn()
        self._finish_batch(self._settle_running())

    def abandon(self) -> None:
        """Remove what is unfinished; the writers have stopped."""
        for prepared in [self._begun] if self._begun else []:
            for task in prepared.tasks:
                with contextlib.suppress(OSError):
                    self._remove_unfinished(task)

    def _task(self, wish: Wish, *, is_present: bool = False) -> FileTask:
        self._number += 1
        task = FileTask(
            folder=wish.folder,
            name=wish.name,
            token=self._token,
            number=self._number,
            path=wish.path,
            entry=wish.entry,
            replace=wish.replace,
        )
        task.is_present = is_present
        if wish.entry.link:
            self._links[_group(wish.entry)] = task
        return task

    def _plan(self, task: FileTask) -> None:
        """Restore an entry at once if it has no data; otherwise with its batch."""
        content = task.entry.content
        if not content:
            self._at_once(task)
            return
        if not task.entry.levels and len(content) <= _FEW_BYTES:
            self._batch.add(Piece(task, content, is_last=True))
            return
        for piece in self._pieces(task):
            self._batch.add(piece)
            if self._batch.is_full and not piece.is_last:
                self._turn()

    def _at_once(self, task: FileTask) -> None:
        try:
            if task.entry.kind == KIND_FILE:
                self._writers.write_without_data(self._access, task)
            else:
                self._make_special(task)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._remove_unfinished(task)
            self._writers.raise_if_fatal(error)
            task.error = error
        self._settled(task)

    def _make_special(self, task: FileTask) -> None:
        fd = self._access.fd(task.folder)
        if task.entry.kind == KIND_SYMLINK:
            os.symlink(task.entry.target, task.unfinished, dir_fd=fd)
        else:
            os.mkfifo(task.unfinished, 0o600, dir_fd=fd)
        task.is_created = True
        with self._access.holding(task.folder, task.unfinished) as held:
            self._describer.describe(proc_path(held), task.entry, task.path)
        self._access.publish(task.folder, task.unfinished, task.name, replace=task.replace)
        task.is_done = True

    def _pieces(self, task: FileTask) -> Iterator[Piece]:
        """Yield a file's chunks; where their list cannot be read, the file has an error."""
        ids = b""
        try:
            for piece in self._tree.content_ids(task.entry):
                if ids:
                    yield Piece(task, ids, is_last=False)
                ids = piece.tobytes()
        except UNREADABLE as error:
            task.error = task.error or error
        yield Piece(task, ids, is_last=True)

    # -- one batch after the other --------------------------------------------------------------

    def _turn(self) -> None:
        """Hand the batch to the writers, when they have finished the one before it."""
        batch = self._batch
        prepared = Prepared(batch, self._store)
        before = self._settle_running()
        self._begun = prepared  # an interrupt may come before it runs
        self._running = (batch, prepared, self._crew.start(prepared))
        self._batch = Batch(is_shared=self._crew.may_fork, after=batch)
        self._finish_batch(before)  # while the writers work

    def _settle_running(self) -> Batch | None:
        """Return the batch that the writers had, when all its files are there, or reported."""
        if self._running is None:
            return None
        batch, prepared, work = self._running
        work.wait()
        again = self._settle(prepared)
        self._running = self._begun = None
        self._again(again)
        batch.pieces = []  # freed before the next processes are forked, and not copied by that
        return batch

    def _finish_batch(self, batch: Batch | None) -> None:
        """Make the links and describe the folders of a batch of which all files are there."""
        if batch is None:
            return
        for link in batch.links:
            self._link(link)
        for folder, entry, path in batch.finals:
            self._finish_folder(folder, entry, path)

    def _settle(self, prepared: Prepared) -> list[FileTask]:
        """Count what is restored; return what deserves another try."""
        self._writers.write_edges(prepared)
        if self._verifies:
            self._writers.sync()  # or the medium itself would not be asked
            for task in self._crew.verify(prepared):
                task.error = task.error or WrittenOtherwise()
        again: list[FileTask] = []
        for task in (piece.task for piece in prepared.pieces if piece.is_last):
            if task.error is not None:
                self._undo(task)
                if task.is_present or (task.earlier is None and task.packs):
                    again.append(task)
                    continue
            self._settled(task)
        return again

    def _settled(self, task: FileTask) -> None:
        if task.error is not None:
            self._recorder.problem(task.path, task.cause, task.packs)
            return
        assert task.is_done or task.is_present, "all chunks were written, so the file has its name"
        if task.is_present:
            self._recorder.count("already_there")
        else:
            self._recorder.count_entry(task.entry)
        if task.entry.link:
            self._links[_group(task.entry)] = (task.folder, task.name)

    def _undo(self, task: FileTask) -> None:
        """Leave no name that shows other bytes than were backed up."""
        with contextlib.suppress(OSError):
            if task.is_done:
                self._access.remove(task.folder, task.name)
            self._remove_unfinished(task)

    def _remove_unfinished(self, task: FileTask) -> None:
        if task.is_created and not task.is_done:
            self._access.remove(task.folder, task.unfinished)

    def _again(self, tasks: list[FileTask]) -> None:
        """Try once more, at once: other packs may have the chunks that could not be read."""
        if not tasks:
            return
        batch = Batch()
        for old in tasks:
            wish = Wish(old.folder, old.name, old.path, old.entry, old.replace)
            task = self._task(wish)
            task.earlier, task.packs = old.error, old.packs
            for piece in self._pieces(task):
                batch.add(piece)
                if batch.is_full:
                    self._now(batch)
                    batch = Batch()
        self._now(batch)

    def _now(self, batch: Batch) -> None:
        lost = {pack for piece in batch.pieces for pack in piece.task.packs}
        store = self._store.without(lost) if lost else self._store
        prepared = Prepared(batch, store)
        if self._running:  # links are made while it is written
            self._running[2].wait()
        self._crew.start(prepared).wait()
        again = self._settle(prepared)
        assert not again, "a second failure is final"

    # -- when the files of a batch are there ----------------------------------------------------

    def _link(self, link: Wish) -> None:
        source = self._links[_group(link.entry)]
        if isinstance(source, FileTask):  # it failed, so this name is the group's first
            self._alone(link, source.packs)
            return
        try:
            self._link_to(source, link)
        except OSError as error:
            self._writers.raise_if_fatal(error)
            if error.errno not in _NO_LINKS:
                self._recorder.problem(link.path, error)
                return
            self._recorder.lacking("hard link", link.path, error.strerror or str(error))
            self._alone(link, frozenset())

    def _alone(self, link: Wish, lost: frozenset[str]) -> None:
        """Restore another name of a file as a file of its own."""
        task = self._task(link)
        task.packs = lost
        if task.entry.content:
            self._again([task])
        else:
            self._at_once(task)

    def _link_to(self, source: tuple[Folder, bytes], link: Wish) -> None:
        if not link.replace:
            self._access.link(*source, link.folder, link.name)
        elif not self._access.is_same(*source, link.folder, link.name):
            self._number += 1
            unfinished = unfinished_name(self._token, self._number)
            self._access.link(*source, link.folder, unfinished)
            self._access.publish(link.folder, unfinished, link.name, replace=True)
        self._recorder.count("hard_links")

    def _finish_folder(self, folder: Folder, entry: Entry | None, path: bytes) -> None:
        try:
            fd = self._access.fd(folder)
            if entry is None:
                os.fchmod(fd, _ABOVE_MODE)
            else:
                self._describer.describe(fd, entry, path)
        except OSError as error:
            self._writers.raise_if_fatal(error)
            self._recorder.lacking("metadata of the folder", path, error.strerror or str(error))
        self._access.forget(folder)


def _group(entry: Entry) -> bytes:
    """Return what all names of one file share; empty where the file has one name.

    Names that were read with different content never share it.  They had one file's number, but
    not at one time: the file changed in between, or was removed and another one got its number.
    """
    if not entry.link:
        return b""
    content = (entry.link, entry.levels, entry.size_bytes, entry.extents, entry.content)
    return blake3(msgspec.msgpack.encode(content)).digest(16)
