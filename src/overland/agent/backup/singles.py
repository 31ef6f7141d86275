"""Sources that become one file each: streams, files that a policy names, images and devices.

They are read in pieces by the one thread of the walk, and hashed and stored by the workers.  What
cannot be read to its end is not in the point: half a database dump looks too much like a whole
one.
"""

import contextlib
import os
import queue
import signal
import stat
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, final

import msgspec

from overland.agent.backup.counts import LISTED, Counts
from overland.agent.backup.nodes import Nodes
from overland.agent.backup.plan import Elsewhere
from overland.agent.backup.workers import PieceDone, PieceJob, Workers
from overland.errors import RefusedError
from overland.format.point import Root, Skipped
from overland.format.tree import Entry, decode_node, encode_node
from overland.ports.progress import Progress
from overland.sealing.dedup import Dedup
from overland.source.changes import (
    UNTRUSTED,
    ChangeCache,
    ChangeCacheWriter,
    FolderBlock,
    fingerprint,
    folder_key,
    is_settled,
)
from overland.source.chunker import Chunker
from overland.source.entries import Entries, link_of, read_xattrs
from overland.source.pieces import Piece, pieces
from overland.source.reader import (
    ATTEMPTS,
    Extents,
    cut_short,
    data_extents,
    is_same,
    total_bytes,
)
from overland.source.scan import reason_of
from overland.source.streams import (
    MAX_EXTENTS,
    DeviceReader,
    PipeReader,
    StreamReader,
    StreamSource,
    pieces_of,
)

__all__ = ["Singles"]

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PATIENCE_S: Final = 0.2
_KEY: Final = b"a file of its own"  # no folder has a key of this length
_STREAM_MODE: Final = 0o600  # a dump is nobody else's business


class _Content(NamedTuple):
    """What was read of a file."""

    ids: bytes
    size_bytes: int
    extents: Extents | None
    state: os.stat_result
    changed: bool


class _Reading:
    """The pieces of one reading that are stored so far."""

    def __init__(self) -> None:
        self.contents: dict[int, bytes] = {}
        self.length = 0


@final
class Singles:
    """Reads the single files of one run.  For the thread of the walk, while that does not run."""

    def __init__(  # noqa: PLR0913 - as the walk, it brings the parts of the path together
        self,
        *,
        workers: Workers,
        nodes: Nodes,
        entries: Entries,
        counts: Counts,
        cache: ChangeCache,
        new_cache: ChangeCacheWriter,
        is_cache_sure: bool,
        settled_before_ns: int,
        started_ns: int,
        dedup: Dedup,
        chunker: Chunker,
        image_chunker: Chunker,
        buffers: "queue.SimpleQueue[memoryview]",
        progress: Progress,
        elsewhere: Elsewhere | None,
    ) -> None:
        self.failed: list[Skipped] = []
        self._workers, self._nodes, self._entries, self._counts = workers, nodes, entries, counts
        self._cache, self._new_cache, self._is_cache_sure = cache, new_cache, is_cache_sure
        self._since, self._started_ns = settled_before_ns, started_ns
        self._dedup, self._progress, self._buffers = dedup, progress, buffers
        self._chunker, self._image_chunker = chunker, image_chunker
        self._elsewhere = elsewhere

    def read_stream(self, stream: StreamSource) -> Root | Skipped:
        """Store what a stream gives; return its root, or why it is not in the point.

        Raises:
            OSError: The medium failed; a stream that fails is `Skipped`.
        """
        path = stream.path.encode()
        try:
            running = stream.open()
        except RefusedError as error:
            return self._fail(path, str(error))
        with contextlib.closing(running):
            reader = PipeReader(running.fd, timeout_s=stream.timeout_s)
            try:
                ids, size_bytes = self._store_stream(reader, self._image_chunker)
            except _SourceError as error:
                return self._fail(path, error.reason)
            problem = _problem(running.finish(timeout_s=stream.timeout_s), stream.timeout_s)
        if problem is not None:
            return self._fail(path, problem)
        state = self._state(os.getuid(), os.getgid(), size_bytes)
        return self._finish(path, _Content(ids, size_bytes, None, state, changed=False))

    def read_file(self, path: bytes) -> Root | Skipped:
        """Store a file, unless it is as it was; return its root, or why it is not in the point.

        Raises:
            OSError: The medium failed; a file that cannot be read is `Skipped`.
        """
        return self._read_file(path, self._chunker)

    def read_image(self, path: bytes) -> Root | Skipped:
        """Do as `read_file`, with the chunks of an image."""
        return self._read_file(path, self._image_chunker)

    def read_device(self, path: bytes) -> Root | Skipped:
        """Store the content of a block device as that of a file; see `read_file`.

        It counts as changed while it was read if a file system on it is mounted for writing.
        """
        try:
            fd = os.open(path, _FLAGS)
        except OSError as error:
            return self._fail(path, reason_of(error))
        try:
            with _of_source():
                device, size_bytes = os.fstat(fd), os.lseek(fd, 0, os.SEEK_END)
            reader = DeviceReader(fd, size_bytes=size_bytes)
            ids, _ = self._store_stream(reader, self._image_chunker)
        except _SourceError as error:
            return self._fail(path, error.reason)
        finally:
            os.close(fd)
        state = self._state(device.st_uid, device.st_gid, size_bytes)
        changed = _is_mounted_for_writing(device.st_rdev)
        return self._finish(path, _Content(ids, size_bytes, reader.extents, state, changed))

    def _read_file(self, path: bytes, chunker: Chunker) -> Root | Skipped:
        try:
            opens_at = self._elsewhere(path, 0) if self._elsewhere else None
            fd = os.open(opens_at or path, _FLAGS)
        except OSError as error:
            return self._fail(path, reason_of(error))
        try:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                return self._fail(path, "replaced by something that is not a file")
            known = self._known(path, state)
            if known is not None:
                return self._note(path, known, state)
            content = self._read_attempts(fd, chunker)
            with _of_source():
                xattrs = read_xattrs(fd)
        except _SourceError as error:
            return self._fail(path, error.reason)
        finally:
            os.close(fd)
        return self._finish(path, content, xattrs=xattrs)

    def _read_attempts(self, fd: int, chunker: Chunker) -> _Content:
        """Read a file; once more if it changed meanwhile, up to three times."""
        content = self._read_once(fd, chunker)
        for _ in range(ATTEMPTS - 1):
            if not content.changed:
                break
            content = self._read_once(fd, chunker)
        return content

    def _read_once(self, fd: int, chunker: Chunker) -> _Content:
        with _of_source():
            before = os.fstat(fd)
            size_bytes, extents = before.st_size, data_extents(fd, before)
        if extents is not None and len(extents) > MAX_EXTENTS:
            extents = None
        ids, length = self._store(
            pieces(
                fd,
                extents,
                size_bytes,
                chunker=chunker,
                take=self._take,
                give_back=self._buffers.put,
            )
        )
        with _of_source():
            state = os.fstat(fd)
        expected = size_bytes if extents is None else total_bytes(extents)
        changed = length != expected or not is_same(before, state)
        if length != expected:
            extents, size_bytes = cut_short(extents, length)
        return _Content(ids, size_bytes, extents, state, changed)

    # -- storing --------------------------------------------------------------------------------

    def _store_stream(self, reader: StreamReader, chunker: Chunker) -> tuple[bytes, int]:
        return self._store(
            pieces_of(reader, chunker=chunker, take=self._take, give_back=self._buffers.put)
        )

    def _store(self, parts: Iterable[Piece]) -> tuple[bytes, int]:
        """Have all pieces stored; return their chunk ids, laid end to end, and their length.

        Raises:
            _SourceError: The source could not be read; nothing of it is waited for any more.
        """
        reading, count, length = _Reading(), 0, 0
        source = iter(parts)
        failure: OSError | None = None
        while True:
            try:
                piece = next(source, None)
            except OSError as error:
                failure = error
                break
            if piece is None:
                break
            self._workers.submit(PieceJob(reading, count, piece))
            count, length = count + 1, length + (piece.cuts[-1] if piece.cuts else 0)
            while self._receive(wait=False):
                pass
        while self._workers.waiting:
            self._receive(wait=True)
        if failure is not None:
            raise _SourceError(failure)
        assert len(reading.contents) == count, "every piece is stored when none is waited for"
        return b"".join([reading.contents[number] for number in range(count)]), length

    def _take(self) -> memoryview:
        while True:
            try:
                return self._buffers.get(timeout=_PATIENCE_S)
            except queue.Empty:
                self._receive(wait=False)

    def _receive(self, *, wait: bool) -> bool:
        done = self._workers.receive(wait=wait)
        if done is None:
            return False
        assert isinstance(done, PieceDone), "no walk is running"
        assert isinstance(done.owner, _Reading), "no walk is running"
        done.owner.contents[done.number] = done.content
        return True

    # -- what became of it ----------------------------------------------------------------------

    def _finish(
        self, path: bytes, content: _Content, *, xattrs: tuple[tuple[bytes, bytes], ...] = ()
    ) -> Root:
        ids, levels = self._nodes.content(content.ids)
        entry = self._entries.make(
            path.rpartition(b"/")[2],
            content.state,
            content=ids,
            levels=levels,
            extents=content.extents,
            size_bytes=content.size_bytes,
            xattrs=xattrs,
            changed=content.changed,
        )
        self._counts.read_files += 1
        if content.changed:
            self._counts.changed_while_read += 1
            if len(self._counts.changed) < LISTED:
                self._counts.changed.append(path)
        self._progress.advance(count=1)
        return self._note(path, entry, content.state if content.state.st_ino else None)

    def _note(self, path: bytes, entry: Entry, state: os.stat_result | None) -> Root:
        """Count an entry that is in the point, and keep it for the next run if it has a state."""
        self._counts.files += 1
        self._counts.source_bytes += entry.size_bytes
        if state is not None:
            is_trusted = not entry.changed and is_settled(state, before_ns=self._since)
            self._new_cache.add(_block(path, entry, state, is_trusted=is_trusted))
        return Root(path, entry)

    def _known(self, path: bytes, state: os.stat_result) -> Entry | None:
        """Return the entry of the last run, if the file is as it was and surely stored."""
        block = self._cache.find(folder_key(_KEY, path))
        if block is None or block.fingerprints != fingerprint(state):
            return None
        (entry,) = decode_node(block.node, name="the change cache")
        is_sure = self._is_cache_sure or not entry.content
        if not is_sure and (entry.levels or not self._dedup.knows_all(entry.content)):
            return None
        self._progress.advance(bytes=entry.size_bytes, count=1)
        return msgspec.structs.replace(entry, link=link_of(state))

    def _fail(self, path: bytes, reason: str) -> Skipped:
        self._counts.skip(path, reason)
        failed = Skipped(path, reason[:1000])
        self.failed.append(failed)
        return failed

    def _state(self, uid: int, gid: int, size_bytes: int) -> os.stat_result:
        """Return the state of a file that is none on this computer; it has no inode."""
        at_s, at_ns = self._started_ns // 10**9, self._started_ns
        return os.stat_result(
            (stat.S_IFREG | _STREAM_MODE, 0, 0, 1, uid, gid, size_bytes, at_s, at_s, at_s),
            {"st_atime_ns": at_ns, "st_mtime_ns": at_ns, "st_ctime_ns": at_ns},
        )


class _SourceError(Exception):
    """A source could not be read; the medium that its content goes to is well."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.reason = str(error.args[1]) if isinstance(error, TimeoutError) else reason_of(error)


@contextlib.contextmanager
def _of_source() -> Iterator[None]:
    """Name an error of the system as the source's; one of the medium ends the run."""
    try:
        yield
    except OSError as error:
        raise _SourceError(error) from error


def _problem(status: int | None, timeout_s: float) -> str | None:
    """Return what a program's end says against what it gave; None if nothing."""
    if status is None:
        return f"the command did not end within {timeout_s:g} s of its last output"
    if status < 0:
        return f"the command was killed by {signal.Signals(-status).name}"
    return f"the command ended with exit status {status}" if status else None


def _block(path: bytes, entry: Entry, state: os.stat_result, *, is_trusted: bool) -> FolderBlock:
    return FolderBlock(
        key=folder_key(_KEY, path),
        device=state.st_dev,
        has_links=bool(entry.link),
        names=entry.name,
        fingerprints=fingerprint(state) if is_trusted else UNTRUSTED,
        node=encode_node([entry]),
        content=b"",
        levels=0,
        files=1,
        others=0,
        file_bytes=entry.size_bytes,
    )


def _is_mounted_for_writing(device: int) -> bool:
    number = b"%d:%d" % (os.major(device), os.minor(device))
    with open("/proc/self/mountinfo", "rb") as mounts:  # noqa: PTH123 - a fixed name
        fields = (line.split() for line in mounts)
        return any(line[2] == number and b"rw" in line[5].split(b",") for line in fields)
