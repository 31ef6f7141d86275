"""Restores a recovery point, or some of its paths, into a folder.

What can be read is restored, whatever else is lost: one damaged pack costs the files that need it
and nothing more, and the report names both.  Files appear under their names when they are
complete, so that a restore that was killed goes on with `resume`.
"""

import errno
import os
from collections.abc import Iterator, Sequence

from overland.agent.backup.collector import collecting_rarely
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.memory import keep_freed_memory
from overland.agent.points.reading import Point, PointAbsent, read_public
from overland.agent.points.tree import PointTree, Step, split_path
from overland.agent.restore.batch import Wish
from overland.agent.restore.crew import Crew
from overland.agent.restore.lost import not_there
from overland.agent.restore.metadata import Describer, has_default_acl
from overland.agent.restore.names import Names, Preview, chosen_paths
from overland.agent.restore.report import (
    Recorder,
    RestoreIncomplete,
    RestoreOptions,
    RestoreReport,
    TargetOccupied,
)
from overland.agent.restore.settle import Batches
from overland.agent.restore.target import Access, Folder, is_leftover, open_target
from overland.agent.restore.work import Writers
from overland.crypto.signers import KeyChangeMissing
from overland.errors import IntegrityError, RefusedError
from overland.format.point import PointPublic, Statistics
from overland.locks import lock
from overland.ports.progress import Progress

__all__ = [
    "RestoreIncomplete",
    "RestoreOptions",
    "RestoreReport",
    "TargetBusy",
    "TargetOccupied",
    "restore",
]


class TargetBusy(RefusedError):
    """Another restore writes to the same folder."""

    code = "target-busy"

    def __init__(self, target: str) -> None:
        super().__init__(f"another restore is writing to {target}; wait for it, or choose another")
        self.target = target


def restore(
    point: Point,
    *,
    store: ChunkStore,
    target: bytes,
    progress: Progress,
    paths: Sequence[bytes] = (),
    options: RestoreOptions | None = None,
) -> RestoreReport:
    """Restore a recovery point, or the chosen paths of it and all below them.

    Every entry comes below `target` under its full path on the source computer, or what is left
    of it after `options.strip`.  Memory is bounded whatever the size of the point, but for about
    250 bytes for each file with several names.

    Args:
        point: From `open_point`.
        store: Reads chunks; its index is loaded.
        target: A folder; made if it lacks.
        progress: Is told of bytes and files.
        paths: Full paths; none is the whole point.
        options: None for the safest: no name that is taken is touched.

    Returns:
        What was done, and which properties could not be put back.

    Raises:
        TargetOccupied: With `refuse`, names are taken; nothing was changed.
        TargetBusy: Another restore is at work there; nothing was changed.
        PathAbsent: A path is not in the point; nothing was changed.
        RestoreIncomplete: Some entries were not restored; all others were.
        OutOfSpace: The target is full; run again with `resume` when it has room.
        TransientError: A source did not answer, and no other has the object; run again with
            `resume`.
        OSError: The target's device failed.
    """
    options = options or RestoreOptions()
    keep_freed_memory()
    tree = PointTree(point, store)
    chosen = chosen_paths(tree, paths, options.strip)
    top = open_target(target)
    try:
        _lock(top, target)
        run = _Run(tree, store, top, options, progress, os.fsdecode(target))
        with collecting_rarely():
            report = _run(run, chosen, None if paths else point.root.statistics)
    finally:
        os.close(top)
    report.served = store.objects.served
    if report.problem_count:
        report.lost = not_there(_line(point, store), store.objects)
        raise RestoreIncomplete(report)
    return report


def _run(run: "_Run", paths: Sequence[bytes], expected: Statistics | None) -> RestoreReport:
    try:
        run.preview(paths)
        run.walk(paths, expected)
    finally:
        run.close()
    return run.recorder.report


def _lock(top: int, target: bytes) -> None:
    try:
        is_ours = lock(top)
    except OSError as error:  # some network file systems have no locks
        if error.errno not in {errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}:
            raise
    else:
        if not is_ours:
            raise TargetBusy(os.fsdecode(target))


def _line(point: Point, store: ChunkStore) -> Iterator[PointPublic]:
    """Yield what the point lists, and the points that it builds on, as far as they can be read."""
    seen = set()
    public = point.public
    while public.point_id not in seen:
        seen.add(public.point_id)
        yield public
        if public.base is None:
            break
        try:
            public = read_public(store.objects, store.keys, public.base)
        except (PointAbsent, KeyChangeMissing, IntegrityError):
            break


class _Frame:
    """A folder on the walk's way; without `folder`, nothing below it is restored."""

    __slots__ = ("describes", "folder")

    def __init__(self, folder: Folder | None, *, describes: bool) -> None:
        self.folder, self.describes = folder, describes


class _Run:
    """The walk through the point, and the folders that it makes in the target."""

    def __init__(
        self,
        tree: PointTree,
        store: ChunkStore,
        top: int,
        options: RestoreOptions,
        progress: Progress,
        shown: str,
    ) -> None:
        self.recorder = Recorder()
        self._tree, self._options, self._progress = tree, options, progress
        self._access = Access(top)
        self._names = Names(options, self._access, self.recorder)
        self._describer = Describer(options.owners, self.recorder.lacking)
        self._describer.inherits_acls = has_default_acl(top)
        self._writers = Writers(
            top,
            shown=shown,
            store=store,
            describer=self._describer,
            recorder=self.recorder,
        )
        self._crew = Crew(
            self._writers,
            progress,
            threads=options.workers,
            processes=options.processes,
            is_synced=options.sync,
        )
        self._batches = Batches(
            tree=tree,
            store=store,
            access=self._access,
            writers=self._writers,
            crew=self._crew,
            describer=self._describer,
            recorder=self.recorder,
            verify=options.verify,
        )
        self._top = Folder(None, b"", is_new=False)
        self._top.is_new = not self._access.names(self._top)
        self._depth = len(split_path(options.strip))

    def close(self) -> None:
        """End threads and processes; leave nothing unfinished behind."""
        self._crew.close()
        self._batches.abandon()
        self._writers.close()
        self._access.close()

    def preview(self, paths: Sequence[bytes]) -> None:
        """Refuse before anything is changed, where names are taken that must not be touched."""
        if self._options.on_conflict != "refuse" or self._top.is_new:
            return
        preview = Preview(self._tree, self._names, self._top, self._depth)
        preview.walk(paths)
        if preview.count:
            raise TargetOccupied(preview.taken, count=preview.count)

    def walk(self, paths: Sequence[bytes], expected: Statistics | None) -> None:
        """Restore everything; `expected` is how much that is, where it is known."""
        self._sweep(self._top)
        self._progress.start(
            "restoring",
            None if expected is None else expected.source_bytes,
            None if expected is None else expected.files,
        )
        frames: list[_Frame] = []
        for step in self._tree.walk(paths, unreadable=self.recorder.problem):
            if step.action == "leave":
                self._leave(frames.pop(), step)
                continue
            above = frames[-1].folder if frames else self._top
            if step.action == "enter":
                frames.append(self._enter(above, step))
            elif above is not None:
                self._entry(above, step)
        self._batches.finish()
        if self._options.sync:
            self._writers.sync()
        self._progress.finish()

    def _leave(self, frame: _Frame, step: Step) -> None:
        if frame.folder is not None and frame.describes:
            self._batches.add_final(frame.folder, step.entry, step.path)

    def _entry(self, above: Folder, step: Step) -> None:
        assert step.entry is not None, "only folders may be above the roots"
        try:
            placed = self._names.place(above, step.entry, step.path)
        except OSError as error:
            self._writers.raise_if_fatal(error)
            self.recorder.problem(step.path, error)
            return
        if placed is not None:
            wish = Wish(above, placed.name, step.path, step.entry, placed.replace)
            self._batches.add(wish, is_present=placed.is_present)

    def _enter(self, above: Folder | None, step: Step) -> _Frame:
        parts = split_path(step.path)
        if len(parts) <= self._depth:
            is_strip = len(parts) == self._depth and step.entry is not None
            return _Frame(self._top, describes=is_strip and (self._top.is_new or self._redoes))
        if above is None:
            return _Frame(None, describes=False)
        try:
            return self._folder(above, parts[-1], step)
        except OSError as error:
            self._writers.raise_if_fatal(error)
            self.recorder.problem(step.path, error)
            return _Frame(None, describes=False)

    def _folder(self, above: Folder, name: bytes, step: Step) -> _Frame:
        placed = self._names.place_folder(above, name, step.path, is_above=step.entry is None)
        if placed is None:
            return _Frame(None, describes=False)
        if not placed.is_present:
            self.recorder.count("folders")
            return _Frame(self._access.make_folder(above, placed.name), describes=True)
        folder = Folder(above, placed.name, is_new=False)
        self._sweep(folder)
        self._writers.enter(self._access.fd(folder))
        if has_default_acl(self._access.fd(folder)):
            self._describer.inherits_acls = True
        return _Frame(folder, describes=self._redoes and step.entry is not None)

    def _sweep(self, folder: Folder) -> None:
        """Remove what an interrupted restore left unfinished."""
        for name in filter(is_leftover, self._access.names(folder)):
            self._access.remove(folder, name)

    @property
    def _redoes(self) -> bool:
        """Whether folders that are there get the point's metadata."""
        return self._options.resume or self._options.on_conflict == "overwrite"
