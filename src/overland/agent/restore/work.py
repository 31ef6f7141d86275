"""Writing files from decoded segments, and reading them back; for any thread or process."""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

from overland.agent.points.chunks import ChunkStore, Decoded, Job
from overland.agent.restore.batch import FileTask, Prepared
from overland.agent.restore.metadata import Describer, Made
from overland.agent.restore.report import Recorder
from overland.agent.restore.target import Access, Folder, sync_file_system
from overland.agent.restore.writing import Edges, cut, reserve
from overland.errors import ObjectCorrupt, OutOfSpace
from overland.values import pack_name

__all__ = ["Writers", "WrittenOtherwise"]

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_DEVICE: Final = {errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO}
_OWN_MODE: Final = 0o600

_SMALL_BYTES: Final = 1 << 20
"""Files up to this are written with one call, and nobody hands them to the device early."""

_SMALL_STRETCHES: Final = 16
"""A segment that goes to more places than this holds small files."""

_NOTHING: Final = memoryview(b"")


class WrittenOtherwise(ObjectCorrupt):
    """What was read back from the target is not what was written to it."""

    code = "written-otherwise"

    def __init__(self) -> None:
        super().__init__("the restored file", check="the medium gave back other bytes")


class Writers:
    """Writes what is planned; each thread has its own open folders and files below the target."""

    def __init__(
        self,
        top: int,
        *,
        shown: str,
        store: ChunkStore,
        describer: Describer,
        recorder: Recorder,
    ) -> None:
        self._top, self._shown, self.store = top, shown, store
        self._describer, self.recorder = describer, recorder
        self._mounted: dict[int, int] = {}  # by device, a folder of each other file system
        self.are_parts_shared = False  # set in processes: others may have a part of a file
        self._lock = threading.Lock()
        self._small_files = threading.Lock()
        self._local = threading.local()
        self._accesses: list[Access] = []

    def close(self) -> None:
        """Close what the threads, which have ended, had open."""
        for access in self._accesses:
            access.close()
        for fd in self._mounted.values():
            os.close(fd)
        self._mounted.clear()

    def enter(self, fd: int) -> None:
        """Have `sync` see to the file system of an open folder, before anything is written there.

        It is held open from then on: the system tells of writes that failed since.
        """
        device = os.fstat(fd).st_dev
        if device != os.fstat(self._top).st_dev and device not in self._mounted:
            self._mounted[device] = os.dup(fd)

    def sync(self) -> None:
        """Return when everything that was restored survives a power cut.

        Raises:
            OSError: A device of the target failed.
        """
        for fd in (*self._mounted.values(), self._top):
            sync_file_system(fd)

    def write_out(self) -> None:
        """Have most of what was restored so far on the disk, so that `sync` has less to wait for.

        Raises:
            OSError: The device failed; `sync` would not say so again.
        """
        sync_file_system(self._top)

    def access(self) -> Access:
        """Return the calling thread's open folders and files."""
        access: Access | None = getattr(self._local, "access", None)
        if access is None:
            access = self._local.access = Access(self._top)
            with self._lock:
                self._accesses.append(access)
        return access

    def write(self, job: Job, prepared: Prepared) -> tuple[int, int]:
        """Do a job; return how many bytes were written, and how many files are done.

        Raises:
            OutOfSpace: The target is full.
            TransientError: A source did not answer, and no other has the object.
            OSError: A device failed.
        """
        access = self.access()
        decoded = self.store.decode(job, prepared.wanted)
        views = self._views(decoded, prepared, pack_name(job.pack_id))
        first = prepared.runs(job.segments[0], job.segments[-1]).start
        written = files = 0
        for segment, _, _ in decoded:
            stretches = prepared.stretches(segment, segment)
            # Threads that create small files side by side hand the interpreter's lock to each other
            # at every call, which costs more than the calls: one creates, the others decode.
            is_turn = not self.are_parts_shared and _are_small_files(prepared, stretches)
            with self._small_files if is_turn else contextlib.nullcontext():
                for number in stretches:
                    piece, runs, chunks = prepared.stretch(number)
                    task = prepared.tasks[piece]
                    if task.error is None:
                        data = views[runs.start - first : runs.stop - first]
                        part = _Part(task, data, prepared.run_position[runs.start], chunks)
                        files += self._guarded(access, part)
                        written += part.size_bytes
        return written, files

    def _views(self, decoded: Sequence[Decoded], prepared: Prepared, pack: str) -> list[memoryview]:
        """Return the bytes of each run of a job; files whose bytes are lost get the error."""
        views: list[memoryview] = []
        for segment, raw, error in decoded:
            for run in prepared.runs(segment, segment):
                if raw is None:
                    assert error is not None, "a segment without bytes says why"
                    self._fail(prepared.tasks[prepared.run_task[run]], error, pack)
                    views.append(_NOTHING)
                else:
                    at = prepared.run_offset[run]
                    views.append(raw[at : at + prepared.run_length[run]])
        return views

    def _guarded(self, access: Access, part: "_Part") -> bool:
        """Write a part of a file; what concerns this file alone becomes its error."""
        task = part.task
        try:
            return self._write(access, part)
        except OSError as error:
            self.raise_if_fatal(error, needed_bytes=task.entry.size_bytes)
            self._fail(task, error, None)
            return False

    def raise_if_fatal(self, error: OSError, *, needed_bytes: int = 0) -> None:
        """Return if an error concerns one entry alone.

        Raises:
            OutOfSpace: The target is full.
            OSError: The target's device failed.
        """
        if error.errno in _FULL:
            free = os.fstatvfs(self._top)
            free_bytes = free.f_bavail * free.f_frsize
            raise OutOfSpace(self._shown, needed_bytes=needed_bytes, free_bytes=free_bytes)
        if error.errno in _DEVICE:
            raise error

    def _write(self, access: Access, part: "_Part") -> bool:
        """Write a part of a file; return whether it was the last."""
        task = part.task
        if task.remaining == part.chunks and not task.is_created:  # nobody else has a part of it
            if task.folder.is_new and not task.is_sparse and part.size_bytes <= _SMALL_BYTES:
                self._write_small(access, task, part.joined())
            else:
                self._write_whole(access, part)
            return True
        if self.are_parts_shared:
            self._write_shared(access, part)
            return False
        with self._lock:
            if not task.is_created:
                access.adopt(task.unfinished, self._create(access, task))
                task.edges = Edges()
        fd = access.reopen(task.folder, task.unfinished)
        _write_part(access, fd, part, task.edges)
        with self._lock:
            task.remaining -= part.chunks
            assert task.remaining >= 0, "a chunk is written once"
            if task.remaining or task.error is not None:
                return False
        self._complete_shared(access, task, fd)
        access.drop(task.unfinished)
        return True

    def _write_shared(self, access: Access, part: "_Part") -> None:
        """Write a part of a file of which other processes may have parts; the parent ends it."""
        task = part.task
        if not task.is_created:
            with contextlib.suppress(FileExistsError):  # another process was first
                access.adopt(task.unfinished, self._create(access, task))
            task.is_created = True
        _write_part(access, access.reopen(task.folder, task.unfinished), part)

    def end_shared(self, task: FileTask) -> bool:
        """Give a file of which processes wrote all parts its metadata and its name.

        Returns whether that worked; what concerns this file alone is its error then.

        Raises:
            OutOfSpace: The target is full.
            OSError: A device failed.
        """
        access = self.access()
        try:
            self._complete_shared(access, task, access.reopen(task.folder, task.unfinished))
        except OSError as error:
            self.raise_if_fatal(error, needed_bytes=task.entry.size_bytes)
            self._fail(task, error, None)
        access.drop(task.unfinished)
        return task.is_done

    def _write_small(self, access: Access, task: FileTask, data: bytes | memoryview) -> None:
        """Write a small file of a new folder: as `_write_whole`, with less around the calls."""
        mode = self._describer.mode_to_make(task.entry)
        unfinished = task.unfinished
        fd = access.create(task.folder, unfinished, mode=mode)
        task.is_created = True
        try:
            made = _made(task.folder, fd, mode)
            done = os.pwrite(fd, data, 0)
            if done < len(data):
                access.writer.write(fd, [memoryview(data)[done:]], done)
            self._describer.describe(fd, task.entry, task.path, made=made)
        finally:
            os.close(fd)
        access.publish(task.folder, unfinished, task.name, replace=task.replace)
        task.remaining = 0
        task.is_done = True

    def _write_whole(self, access: Access, part: "_Part") -> None:
        task = part.task
        mode = self._describer.mode_to_make(task.entry) if task.folder.is_new else _OWN_MODE
        fd = self._create(access, task, mode=mode)
        try:
            made = _made(task.folder, fd, mode)
            _write_part(access, fd, part)
            task.remaining = 0
            self.complete(access, task, fd, made=made)
        finally:
            os.close(fd)

    def _create(self, access: Access, task: FileTask, *, mode: int = _OWN_MODE) -> int:
        fd = access.create(task.folder, task.unfinished, mode=mode)
        task.is_created = True
        try:
            if task.is_sparse:
                os.ftruncate(fd, task.entry.size_bytes)
        except OSError:
            os.close(fd)
            raise
        if task.data_bytes > _SMALL_BYTES:
            for _, offset, length in task.ranges(0, task.data_bytes):
                if length > _SMALL_BYTES:
                    reserve(fd, offset, length)
        return fd

    def write_without_data(self, access: Access, task: FileTask) -> None:
        """Restore a file that is empty, or one hole; in the caller's thread."""
        self._write_whole(access, _Part(task, [], 0, 0))

    def write_edges(self, prepared: Prepared) -> None:
        """Write all that waits for later batches; no thread writes.

        What concerns one file alone is its error then.

        Raises:
            OutOfSpace: The target is full.
            OSError: A device failed.
        """
        access = self.access()
        for task in prepared.tasks:
            if task.is_held and task.edges is not None and task.error is None:
                try:
                    fd = access.reopen(task.folder, task.unfinished)
                    access.writer.finish(fd, task.edges)
                except OSError as error:
                    self.raise_if_fatal(error, needed_bytes=task.entry.size_bytes)
                    self._fail(task, error, None)

    def _complete_shared(self, access: Access, task: FileTask, fd: int) -> None:
        if task.edges is not None:  # this process wrote at least the first part of it
            access.writer.finish(fd, task.edges)
        self.complete(access, task, fd)

    def complete(
        self, access: Access, task: FileTask, fd: int, *, made: Made | None = None
    ) -> None:
        """Give a file with all its bytes its metadata and its name."""
        self._describer.describe(fd, task.entry, task.path, made=made)
        access.publish(task.folder, task.unfinished, task.name, replace=task.replace)
        task.is_done = True

    def is_as_stored(self, prepared: Prepared, number: int) -> bool:
        """Return whether the medium has one of a batch's pieces as it was stored.

        What has an error, or cannot be read again, is not said to be different.
        """
        task = prepared.tasks[number]
        if task.error is not None:
            return True
        start, end = prepared.rows(number)
        name = task.name if task.is_done or task.is_present else task.unfinished
        access = self.access()
        try:
            with access.reading(task.folder, name) as fd:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                same = self._is_same(fd, task, prepared, range(start, end))
        except PermissionError as error:
            self.recorder.lacking("verification", task.path, error.strerror or "not allowed")
            return True
        except OSError:
            same = False
        if same:
            self.recorder.count("verified_bytes", int(prepared.lengths[start:end].sum()))
        return same

    def _is_same(self, fd: int, task: FileTask, prepared: Prepared, rows: range) -> bool:
        for row in rows:
            position, length = int(prepared.positions[row]), int(prepared.lengths[row])
            data = b"".join(
                os.pread(fd, size, offset) for _, offset, size in task.ranges(position, length)
            )
            if self.store.chunk_id(data) != prepared.ids[row].tobytes():
                return False
        return True

    def _fail(self, task: FileTask, error: Exception, pack: str | None) -> None:
        with self._lock:
            task.error = task.error or error
            if pack is not None:
                task.packs |= {pack}


def _made(folder: Folder, fd: int, mode: int) -> Made | None:
    """Return what a new file has by itself; None where the file system does as it likes.

    It is asked once for each mode in each folder: the folder may give its group, a server another
    owner, and some file systems keep no modes.
    """
    owner = folder.gives.get(mode)
    if owner is None:
        found = os.fstat(fd)
        if stat.S_IMODE(found.st_mode) != mode:
            return None
        owner = folder.gives[mode] = (found.st_uid, found.st_gid)
    return Made(mode, owner)


def _are_small_files(prepared: Prepared, stretches: range) -> bool:
    """Return whether a segment holds many files, and not what one file has at many places."""
    if len(stretches) <= _SMALL_STRETCHES:
        return False
    first, last = (prepared.stretch(number)[0] for number in (stretches[0], stretches[-1]))
    return prepared.tasks[first] is not prepared.tasks[last]


class _Part(NamedTuple):
    """Bytes for one file, in pieces that follow each other, and where in its data they belong."""

    task: FileTask
    data: Sequence[memoryview]
    position: int
    chunks: int

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return sum(map(len, self.data))

    def joined(self) -> bytes | memoryview:
        """Return it in one piece; for what is small."""
        return self.data[0] if len(self.data) == 1 else b"".join(self.data)


def _write_part(access: Access, fd: int, part: _Part, edges: Edges | None = None) -> None:
    for start, offset, length in part.task.ranges(part.position, part.size_bytes):
        access.writer.write(fd, cut(part.data, start, start + length), offset, edges)
