"""Threads that decode packs and write files, each from the first byte to the last."""

import contextlib
import errno
import os
import stat
import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Final, NamedTuple

from overland.agent.points.chunks import ChunkStore, Decoded, Job
from overland.agent.restore.batch import FileTask, Prepared
from overland.agent.restore.metadata import Describer, Made
from overland.agent.restore.report import Recorder
from overland.agent.restore.target import Access, Folder, sync_file_system
from overland.errors import ObjectCorrupt, OutOfSpace
from overland.ports.progress import Progress
from overland.values import pack_name

__all__ = ["Writers", "WrittenOtherwise"]

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_DEVICE: Final = {errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO}
_OWN_MODE: Final = 0o600

_SMALL_RUNS: Final = 16
"""A segment that goes to more places than this holds small files."""


class WrittenOtherwise(ObjectCorrupt):
    """What was read back from the target is not what was written to it."""

    code = "written-otherwise"

    def __init__(self) -> None:
        super().__init__("the restored file", check="the medium gave back other bytes")


class Writers:
    """A fixed number of threads with their own open folders and files below the target."""

    def __init__(
        self,
        top: int,
        *,
        shown: str,
        store: ChunkStore,
        describer: Describer,
        recorder: Recorder,
        progress: Progress,
        workers: int,
    ) -> None:
        self._top, self._shown, self._store = top, shown, store
        self._describer, self._recorder, self._progress = describer, recorder, progress
        self.spans_devices = False  # set when the target has other file systems mounted in it
        self._lock = threading.Lock()
        self._small_files = threading.Lock()
        self._local = threading.local()
        self._accesses: list[Access] = []
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="restore")

    def close(self) -> None:
        """End the threads and close what they have open."""
        self._pool.shutdown(cancel_futures=True)
        for access in self._accesses:
            access.close()

    def start(self, prepared: Prepared) -> list[Future[None]]:
        """Begin with all jobs of a batch; the one before it is finished."""
        prepared.begin()
        return [self._pool.submit(self._run, job, prepared) for job in prepared.jobs]

    def finish(self, futures: list[Future[None]]) -> None:
        """Return when all jobs are done; on the first error that stops a restore, cancel the rest.

        Raises:
            OutOfSpace: The target is full.
            TransientError: A source did not answer, and no other has the object.
            OSError: A device failed.
        """
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        failed = next((f for f in done if not f.cancelled() and f.exception()), None)
        if failed is not None:
            for future in futures:
                future.cancel()
            wait(futures)
            failed.result()

    def sync(self) -> None:
        """Return when everything that was restored survives a power cut."""
        if self.spans_devices:
            os.sync()
        else:
            sync_file_system(self._top)

    def verify(self, prepared: Prepared) -> list[FileTask]:
        """Read back every file of a batch; return those that are not what was stored.

        What was written is dropped from the cache, so that the medium itself is asked.
        """
        self.sync()
        ends = prepared.counts.cumsum().tolist()
        starts = (prepared.counts.cumsum() - prepared.counts).tolist()
        found = self._pool.map(
            lambda number: self._verify(prepared, number, starts[number], ends[number]),
            range(len(ends)),
        )
        return [task for task in found if task is not None]

    # -- in the threads -------------------------------------------------------------------------

    def _access(self) -> Access:
        access: Access | None = getattr(self._local, "access", None)
        if access is None:
            access = self._local.access = Access(self._top)
            with self._lock:
                self._accesses.append(access)
        return access

    def _run(self, job: Job, prepared: Prepared) -> None:
        access = self._access()
        name = pack_name(job.pack_id)
        for decoded in self._store.decode(job, prepared.wanted):
            self._write_segment(access, name, decoded, prepared)

    def _write_segment(
        self, access: Access, pack: str, decoded: Decoded, prepared: Prepared
    ) -> None:
        segment = decoded.segment
        first = int(prepared.run_of_row[segment.start])
        last = int(prepared.run_of_row[segment.end - 1]) + 1
        # Threads that create small files side by side hand the interpreter's lock to each other at
        # every call, which costs more than the calls: one creates, the others decode.
        is_turn = last - first > _SMALL_RUNS
        with self._small_files if is_turn else contextlib.nullcontext():
            done = self._write_runs(access, pack, decoded, prepared, range(first, last))
        self._progress.advance(*done)

    def _write_runs(
        self, access: Access, pack: str, decoded: Decoded, prepared: Prepared, runs: range
    ) -> tuple[int, int]:
        """Write the stretches of a segment; return how many bytes, and how many files are done."""
        _, raw, error = decoded
        written = finished = 0
        for run in runs:
            task, chunks = prepared.tasks[prepared.run_task[run]], prepared.run_chunks[run]
            if raw is None:
                assert error is not None, "a segment without bytes says why"
                self._fail(task, error, pack)
            elif task.error is None:
                at, length = prepared.run_offset[run], prepared.run_length[run]
                part = _Part(task, raw[at : at + length], prepared.run_position[run], chunks)
                finished += self._guarded(access, part)
                written += length
        return written, finished

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
        if task.remaining == part.chunks and not task.is_created:
            self._write_whole(access, part)  # nobody else has a part of it
            return True
        with self._lock:
            if not task.is_created:
                access.adopt(task.unfinished, self._create(access, task))
        fd = access.reopen(task.folder, task.unfinished)
        _write_part(access, fd, part)
        with self._lock:
            task.remaining -= part.chunks
            assert task.remaining >= 0, "a chunk is written once"
            if task.remaining or task.error is not None:
                return False
        self.complete(access, task, fd)
        access.drop(task.unfinished)
        return True

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
            access.writer.hand_over()
            os.close(fd)

    def _create(self, access: Access, task: FileTask, *, mode: int = _OWN_MODE) -> int:
        fd = access.create(task.folder, task.unfinished, mode=mode)
        task.is_created = True
        if task.is_sparse:
            os.ftruncate(fd, task.entry.size_bytes)
        return fd

    def write_without_data(self, access: Access, task: FileTask) -> None:
        """Restore a file that is empty, or one hole; in the caller's thread."""
        self._write_whole(access, _Part(task, memoryview(b""), 0, 0))

    def complete(
        self, access: Access, task: FileTask, fd: int, *, made: Made | None = None
    ) -> None:
        """Give a file with all its bytes its metadata and its name."""
        self._describer.describe(fd, task.entry, task.path, made=made)
        access.publish(task.folder, task.unfinished, task.name, replace=task.replace)
        task.is_done = True

    def _verify(self, prepared: Prepared, number: int, start: int, end: int) -> FileTask | None:
        task = prepared.tasks[number]
        if task.error is not None:
            return None
        name = task.name if task.is_done or task.is_present else task.unfinished
        access = self._access()
        try:
            with access.reading(task.folder, name) as fd:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                same = self._is_same(fd, task, prepared, range(start, end))
        except PermissionError as error:
            self._recorder.lacking("verification", task.path, error.strerror or "not allowed")
            return None
        except OSError:
            same = False
        if same:
            self._recorder.count("verified_bytes", int(prepared.lengths[start:end].sum()))
        return None if same else task

    def _is_same(self, fd: int, task: FileTask, prepared: Prepared, rows: range) -> bool:
        for row in rows:
            position, length = int(prepared.positions[row]), int(prepared.lengths[row])
            data = b"".join(
                os.pread(fd, size, offset) for _, offset, size in task.ranges(position, length)
            )
            if self._store.chunk_id(data) != prepared.ids[row].tobytes():
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


class _Part(NamedTuple):
    """Bytes for one file, and where in its data they belong."""

    task: FileTask
    data: memoryview
    position: int
    chunks: int


def _write_part(access: Access, fd: int, part: _Part) -> None:
    for start, offset, length in part.task.ranges(part.position, len(part.data)):
        access.writer.write(fd, part.data[start : start + length], offset)
