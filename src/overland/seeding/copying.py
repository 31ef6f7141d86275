"""Copy an object once, and read it back from the medium, with every digest on the way.

Each block is hashed in a second thread while it is written, or while its other digest is made, and
the files read the next one ahead: all of it releases the interpreter, and no block is copied in
memory.  An object on its way takes four blocks: two read ahead, one being written, one in reserve.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

import msgspec

from overland.errors import ObjectCorrupt, TransientError
from overland.ports.files import Files
from overland.ports.progress import Progress

__all__ = ["RANGE_BYTES", "CopyStopped", "Digests", "ObjectCopier", "SourceUnreadable"]

RANGE_BYTES: Final = 4 << 20
"""The most bytes that one MD5 of `DriveManifest.xml` may cover."""


class SourceUnreadable(TransientError):
    """Where objects are copied from cannot be read; the drive is not to blame."""

    code = "source-unreadable"

    def __init__(self, name: str, *, why: str) -> None:
        super().__init__(
            f"{name} cannot be read from the staging location ({why}); check that it is mounted, "
            "and run again"
        )
        self.name, self.why = name, why


class CopyStopped(BaseException):
    """The program ends.  No `Exception`, so that nothing on the way takes it for a failure."""


class Digests(msgspec.Struct, frozen=True, kw_only=True):
    """What reading an object once told: its size, its SHA-256, and the MD5 of each 4 MiB."""

    size_bytes: int
    sha256: str
    range_md5: tuple[str, ...]


class ObjectCopier:
    """Copies and verifies objects, one after the other; a context, because it owns a thread."""

    def __init__(self, progress: Progress, *, stopping: threading.Event | None = None) -> None:
        """Tell `progress` of each block; when `stopping` is set, raise `CopyStopped` there."""
        self._progress, self._stopping = progress, stopping
        self._second = ThreadPoolExecutor(1, thread_name_prefix="digest")

    def __enter__(self) -> Self:
        """Return this copier."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the second thread."""
        self._second.shutdown()

    def copy(
        self, name: str, *, source: Files, target: Files, size_bytes: int, sha256: str
    ) -> None:
        """Write the object to `target`, durably, reading `source` once.

        On return `target` has the name; nothing is visible there if the bytes read were others
        than `size_bytes` and `sha256` say.

        Raises:
            ObjectAbsent: `source` does not have it.
            ObjectCorrupt: `source` has other bytes under this name.
            OutOfSpace: `target` is full.
            SourceUnreadable: `source` failed.
            OSError: `target` failed.
            CopyStopped: `stopping` was set; nothing is visible.
        """
        digest, seen_bytes = hashlib.sha256(), 0
        new = target.create()
        try:
            for block in _of_source(name, source):
                self._beside(new.write, block, self._second.submit(digest.update, block))
                seen_bytes += len(block)
                self._advance(block)
            _refuse_other_bytes(
                name, seen_bytes, digest.hexdigest(), size_bytes=size_bytes, sha256=sha256
            )
            new.publish(name)
        finally:
            new.abandon()

    def read_back(self, name: str, *, medium: Files, size_bytes: int, sha256: str) -> Digests:
        """Read the object from the medium and return its digests.

        Raises:
            ObjectAbsent: It is not there.
            ObjectCorrupt: The medium gives other bytes than were written.
            OSError: The medium failed.
            CopyStopped: `stopping` was set.
        """
        digests = self.digests(name, medium.blocks(name, block_bytes=RANGE_BYTES))
        _refuse_other_bytes(
            name, digests.size_bytes, digests.sha256, size_bytes=size_bytes, sha256=sha256
        )
        return digests

    def digests(self, name: str, blocks: Iterable[memoryview]) -> Digests:
        """Return the digests of an object's content; `name` is for assertions only.

        Raises:
            CopyStopped: `stopping` was set.
            Exception: What `blocks` raised.
        """
        whole, seen_bytes, ranges = hashlib.sha256(), 0, _RangeDigests()
        for block in blocks:
            self._beside(ranges.update, block, self._second.submit(whole.update, block))
            seen_bytes += len(block)
            self._advance(block)
        range_md5 = tuple(ranges.finish())
        assert len(range_md5) == -(-seen_bytes // RANGE_BYTES), f"{name} has a digest per range"
        return Digests(size_bytes=seen_bytes, sha256=whole.hexdigest(), range_md5=range_md5)

    def _advance(self, block: memoryview) -> None:
        self._progress.advance(bytes=len(block))
        if self._stopping is not None and self._stopping.is_set():
            raise CopyStopped

    @staticmethod
    def _beside(
        work: Callable[[memoryview], None], block: memoryview, hashed: Future[None]
    ) -> None:
        """Do `work` on the block while it is hashed, and return when both are done."""
        try:
            work(block)
        finally:
            hashed.result()  # the block is reused for the next one


def _of_source(name: str, source: Files) -> Iterator[memoryview]:
    # An error of the source must not pass for one of the drive, so it is named here.
    try:
        yield from source.blocks(name, block_bytes=RANGE_BYTES)
    except OSError as error:
        raise SourceUnreadable(name, why=error.strerror or str(error)) from error


class _RangeDigests:
    """MD5 of each 4 MiB, from blocks cut in any way."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._digest, self._filled = hashlib.md5(usedforsecurity=False), 0

    def update(self, block: memoryview) -> None:
        """Take in the next bytes of the object, as many as there are."""
        for piece in _cut(block, first_bytes=RANGE_BYTES - self._filled):
            self._digest.update(piece)
            self._filled += len(piece)
            if self._filled == RANGE_BYTES:
                self._next()

    def finish(self) -> list[str]:
        """Return the MD5 of each 4 MiB in order, in upper case; the last may be shorter."""
        if self._filled:
            self._next()
        return self._done

    def _next(self) -> None:
        self._done.append(self._digest.hexdigest().upper())
        self._digest, self._filled = hashlib.md5(usedforsecurity=False), 0


def _cut(block: memoryview, *, first_bytes: int) -> Iterator[memoryview]:
    start, stop = 0, first_bytes
    while start < len(block):
        yield block[start:stop]
        start, stop = stop, stop + RANGE_BYTES


def _refuse_other_bytes(
    name: str, seen_bytes: int, seen_sha256: str, *, size_bytes: int, sha256: str
) -> None:
    if seen_bytes != size_bytes:
        raise ObjectCorrupt(name, check=f"it has {seen_bytes} bytes instead of {size_bytes}")
    if seen_sha256 != sha256:
        raise ObjectCorrupt(name, check="its SHA-256 is not the one in the manifest")
