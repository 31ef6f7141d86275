"""Threads that read small files, hash, find what is new, and seal it.

Work comes in batches: of small files, each read whole into the worker's buffer, or of one piece
of a large file that the walk has read already.  A batch runs to its end in one thread.
"""

import queue
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Final, NamedTuple, Protocol, final

import msgspec

from overland.agent.backup.crew import Crew, Take
from overland.agent.backup.stores import ChunkStore
from overland.agent.backup.turns import Turns
from overland.buffers import new_buffer
from overland.format.tree import Entry
from overland.ports.progress import Progress
from overland.source.chunker import Chunker
from overland.source.entries import Entries
from overland.source.pieces import Piece
from overland.source.reader import WholeFile, read_whole
from overland.source.scan import Stat, reason_of

__all__ = [
    "SMALL_BYTES",
    "Batches",
    "FileJob",
    "FileRead",
    "FilesDone",
    "OpenFolder",
    "PieceDone",
    "PieceJob",
    "Work",
    "Workers",
]

SMALL_BYTES: Final = 4 << 20
"""Files up to this length are read by the workers; longer ones come to them in pieces."""

_BATCH_FILES: Final = 256
_BATCH_BYTES: Final = 4 << 20
_BATCH_FOLDERS: Final = 32  # folders kept open for one batch
_BUFFER_BYTES: Final = _BATCH_BYTES + SMALL_BYTES
_WAITING_PER_WORKER: Final = 2
_MANY_FILES: Final = 32
"""A batch of so many is read in turn: its files are short, and the calls are most of the work."""

_PATIENCE_S: Final = 0.2


class OpenFolder(Protocol):
    """A folder that stays open while files in it wait to be read."""

    fd: int


class FileJob(msgspec.Struct, frozen=True, gc=False):
    """A small file to read."""

    folder: OpenFolder
    slot: int
    name: bytes
    state: Stat


class FileRead(msgspec.Struct, frozen=True, gc=False):
    """What became of it: an entry, or the reason why there is none, or neither: it has grown."""

    entry: Entry | None = None
    state: Stat | None = None
    reason: str | None = None


class FilesDone(NamedTuple):
    """A batch of small files, finished."""

    jobs: Sequence[FileJob]
    results: Sequence[FileRead]


class PieceJob(NamedTuple):
    """A piece of a large file; `number` is its place in the file, for `owner` to know."""

    owner: object
    number: int
    piece: Piece


class PieceDone(NamedTuple):
    """The chunk ids of a piece, laid end to end."""

    owner: object
    number: int
    content: bytes


Work = list[FileJob] | PieceJob


@final
class Batches:
    """Small files, until there are enough of them for a worker."""

    def __init__(self, submit: Callable[[list[FileJob]], None]) -> None:
        self._submit = submit
        self._jobs: list[FileJob] = []
        self._bytes = self._folders = 0

    def add(self, job: FileJob) -> None:
        """Take a file; its batch is submitted when it is full."""
        if not self._jobs or self._jobs[-1].folder is not job.folder:
            self._folders += 1
        self._jobs.append(job)
        self._bytes += job.state.st_size
        if (
            self._bytes >= _BATCH_BYTES
            or len(self._jobs) >= _BATCH_FILES
            or self._folders >= _BATCH_FOLDERS
        ):
            self.submit()

    def submit(self) -> None:
        """Submit what is there."""
        jobs, self._jobs, self._bytes, self._folders = self._jobs, [], 0, 0
        if jobs:
            self._submit(jobs)


@final
class Workers:
    """The threads, their queue of work and their queue of results; for one walk."""

    def __init__(
        self,
        count: int,
        *,
        prepare: Callable[[], None],
        new_store: Callable[[], ChunkStore],
        new_chunker: Callable[[], Chunker],
        entries: Entries,
        give_back: Callable[[memoryview], None],
        progress: Progress,
    ) -> None:
        self.stores = [new_store() for _ in range(count)]
        self.turns = Turns()
        self._prepare: Callable[[], None] | None = prepare
        self._entries, self._give_back, self._progress = entries, give_back, progress
        self._results: queue.SimpleQueue[FilesDone | PieceDone] = queue.SimpleQueue()
        self._is_failed = False
        self.waiting = 0  # batches that were submitted and not received
        bodies = [partial(self._run, store, new_chunker()) for store in self.stores]
        self._crew = Crew[Work]("back-up", bodies, limit=count * _WAITING_PER_WORKER)

    def submit(self, work: Work) -> None:
        """Hand over a batch; waits while the workers are behind.

        Raises:
            Whatever stopped a worker, or `prepare` raised.
        """
        if self._prepare is not None:
            # Before the threads, which would wait for each other at every step of an import.
            self._prepare()
            self._prepare = None
        self._crew.hand_over(work)
        self.waiting += 1

    def receive(self, *, wait: bool) -> FilesDone | PieceDone | None:
        """Return a finished batch; None if there is none (yet, or at all).

        Raises:
            Whatever stopped a worker.
        """
        while self.waiting:
            if not wait and not self._is_failed and self._results.empty():
                return None  # asked for each folder, and mostly so
            self._crew.raise_failure()
            try:
                done = self._results.get(block=wait, timeout=_PATIENCE_S)
            except queue.Empty:
                if wait:
                    continue
                return None
            self.waiting -= 1
            return done
        return None

    def finish(self) -> None:
        """Return when all lanes are closed.

        Raises:
            Whatever stopped a worker.
        """
        assert not self.waiting, "all results were received"
        self._crew.end()
        self._crew.raise_failure()

    def stop(self) -> None:
        """End the threads, after a failure; what was not begun is not done."""
        self._is_failed = True
        self._crew.end()

    def _run(self, store: ChunkStore, chunker: Chunker, take: Take[Work]) -> None:
        buffer = memoryview(new_buffer(_BUFFER_BYTES))
        try:
            while (work := take()) is not None:
                self._do(work, store, chunker, buffer)
            if not self._is_failed:
                store.close()
        except BaseException:
            self._is_failed = True  # the others need not go on
            raise

    def _do(self, work: Work, store: ChunkStore, chunker: Chunker, buffer: memoryview) -> None:
        try:
            if not self._is_failed:
                self._results.put(self._done(work, store, chunker, buffer))
        finally:
            if isinstance(work, PieceJob):
                self._give_back(work.piece.buffer)

    def _done(
        self,
        work: Work,
        store: ChunkStore,
        chunker: Chunker,
        buffer: memoryview,
    ) -> FilesDone | PieceDone:
        if isinstance(work, PieceJob):
            content = b"".join(store.store(work.piece.buffer, work.piece.cuts))
            self._progress.advance(bytes=work.piece.cuts[-1] if work.piece.cuts else 0)
            return PieceDone(work.owner, work.number, content)
        return FilesDone(work, self._read(work, store, chunker, buffer))

    def _read(
        self, jobs: list[FileJob], store: ChunkStore, chunker: Chunker, buffer: memoryview
    ) -> list[FileRead]:
        """Read a batch of files into the buffer, and store what is new of them.

        A batch that outgrew the buffer meanwhile is stored in several parts.
        """
        results: list[FileRead] = []
        part = _Part()
        with self.turns.one(len(jobs)) if len(jobs) >= _MANY_FILES else nullcontext():
            for job in jobs:
                if part.filled > _BUFFER_BYTES - SMALL_BYTES:
                    results += self._stored(part, store, buffer)
                    part = _Part()
                free = buffer[part.filled : part.filled + SMALL_BYTES]
                part.read(job, chunker, free)
        results += self._stored(part, store, buffer)
        return results

    def _stored(self, part: "_Part", store: ChunkStore, buffer: memoryview) -> list[FileRead]:
        ids = store.store(buffer[: part.filled], part.cuts)
        self._progress.advance(bytes=part.filled, count=len(part.files))
        make, results, at = self._entries.make, list[FileRead](), 0
        for job, whole, chunks, reason in part.files:
            if whole is None:
                results.append(FileRead(None, None, reason))
                continue
            entry = make(
                job.name,
                whole.state,
                content=b"".join(ids[at : at + chunks]) if chunks != 1 else ids[at],
                extents=whole.extents,
                size_bytes=whole.size_bytes,
                xattrs=whole.xattrs,
                changed=whole.changed,
            )
            at += chunks
            results.append(FileRead(entry, whole.state, None))
        return results


class _Part:
    """Files that lie in the buffer, one behind the other, and the cuts through all of them."""

    __slots__ = ("cuts", "files", "filled")

    def __init__(self) -> None:
        self.files: list[tuple[FileJob, WholeFile | None, int, str | None]] = []
        self.cuts: list[int] = []
        self.filled = 0

    def read(self, job: FileJob, chunker: Chunker, free: memoryview) -> None:
        """Read a file into the `free` rest of the buffer, and cut it."""
        try:
            whole = read_whole(job.name, parent_fd=job.folder.fd, expected=job.state, buffer=free)
        except OSError as error:
            self.files.append((job, None, 0, reason_of(error)))
            return
        if whole is None or not whole.length:
            self.files.append((job, whole, 0, None))
            return
        before, length = self.filled, whole.length
        if length <= chunker.sizes.mean_bytes:
            self.cuts.append(before + length)
            chunks = 1
        else:
            cuts = chunker.cuts(free[:length], is_end=True)
            self.cuts += [before + cut for cut in cuts]
            chunks = len(cuts)
        self.filled += length
        self.files.append((job, whole, chunks, None))
