"""One object from a drive into the container: read once, with every digest on the way.

While a block is sent, its SHA-256 and the MD5 of its part are made in two other threads, and the
next block is read in a third; all of them release the interpreter.

Nothing wrong ever becomes visible: the object's last block is held back until all digests agree
with the manifests, and the store checks the SHA-256 again before it shows the object.

Only when that fails is the object read part by part, to tell exactly which parts are bad.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Final, NoReturn, Self

from overland.errors import (
    IntegrityError,
    ObjectAbsent,
    ObjectCorrupt,
    ObjectExists,
    OverlandError,
    TransientError,
)
from overland.format.copy_log import BlobStatus, PartStatus
from overland.format.drive_xml import Block, PageRange
from overland.ports.files import Files
from overland.ports.objects import Objects
from overland.ports.progress import Progress
from overland.station.items import LANDED, Item, Verdict

__all__ = ["Transfer", "UploadChanged", "examine"]

_BLOCK_BYTES: Final = 4 << 20
_THREADS_PER_DRIVE: Final = 3  # two digests, and the next block
_READINGS: Final = 2  # a medium that read wrong once is asked again before it is called bad


class UploadChanged(TransientError):
    """The container received other bytes than were sent; nothing was stored."""

    code = "upload-changed"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} was changed between this station and the container; run again")
        self.name = name


class _BadReading(IntegrityError):
    """The medium does not give what the manifests promise."""

    code = "bad-reading"


class Transfer:
    """Imports objects, from any number of threads; a context, because it owns threads."""

    def __init__(self, progress: Progress, *, drives_at_once: int) -> None:
        self._progress = progress
        self._pool = ThreadPoolExecutor(
            _THREADS_PER_DRIVE * drives_at_once, thread_name_prefix="transfer"
        )

    def __enter__(self) -> Self:
        """Return this transfer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the threads."""
        self._pool.shutdown()

    def move(self, item: Item, *, medium: Files, name: str, container: Objects) -> Verdict:
        """Bring an object into the container, unless it is there; return how it went.

        Args:
            item: The object, as the checked manifests list it.
            medium: The drive.
            name: The object's name on the drive.
            container: Where its name is `item.name`.

        Raises:
            OverlandError: The container failed; the object's import stays open.
        """
        there = _found(container, item)
        if there is not None:
            self._progress.advance(bytes=item.size_bytes, count=1)
            return there
        verdict = _absent(medium, name)
        for _ in range(_READINGS):
            if verdict is None:
                verdict = self._attempt(item, medium=medium, name=name, container=container)
        if verdict is None:
            # Every part has its MD5, and yet the whole is not what was signed.
            verdict = Verdict(status=BlobStatus.FAILED, parts=PartStatus.FAILED)
        self._progress.advance(count=1)
        return verdict

    def _attempt(
        self, item: Item, *, medium: Files, name: str, container: Objects
    ) -> Verdict | None:
        """Return how the object went; None when it read wrong, and then no part was bad."""
        reading = _Reading(item, medium, name, pool=self._pool, progress=self._progress)
        try:
            container.put(item.name, reading, size_bytes=item.size_bytes, sha256=item.sha256)
        except (OverlandError, OSError) as error:
            reading.undo()
            if reading.is_bad:
                return _bad(examine(item, medium=medium, name=name))
            if isinstance(error, ObjectExists):
                return _TAKEN
            if isinstance(error, ObjectCorrupt):
                raise UploadChanged(item.name) from error
            raise
        return LANDED


_TAKEN: Final = Verdict(status=BlobStatus.BLOB_REQUEST_FAILED, parts=PartStatus.BLOB_REQUEST_FAILED)
_MISSING: Final = Verdict(status=BlobStatus.FILE_NOT_FOUND, parts=PartStatus.CANCELLED)


def examine(item: Item, *, medium: Files, name: str) -> tuple[PartStatus, ...]:
    """Read an object part by part and return how each is; the slow and certain way."""
    return tuple(_part_status(part, medium, name) for part in item.blob.parts)


def _part_status(part: PageRange | Block, medium: Files, name: str) -> PartStatus:
    try:
        data = medium.read_range(name, offset=part.offset, length=part.length)
    except (ObjectAbsent, OSError):
        return PartStatus.IO_FAILED
    if len(data) < part.length:
        return PartStatus.FILE_UNEXPECTED_END
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest().upper()
    return PartStatus.COMPLETED if digest == part.md5 else PartStatus.CORRUPTED


def _bad(parts: tuple[PartStatus, ...]) -> Verdict | None:
    if all(part is PartStatus.COMPLETED for part in parts):
        return None
    return Verdict(status=BlobStatus.COMPLETED_WITH_ERRORS, parts=parts)


def _found(container: Objects, item: Item) -> Verdict | None:
    """Return the verdict on an object that the container has, or None if it has not.

    The store has checked the SHA-256 of whatever it shows, so the size tells enough.
    """
    try:
        info = container.head(item.name)
    except ObjectAbsent:
        return None
    return LANDED if info.size_bytes == item.size_bytes else _TAKEN


def _absent(medium: Files, name: str) -> Verdict | None:
    """Return the verdict on an object that is not on the drive, or None if it is."""
    try:
        medium.size_bytes(name)
    except ObjectAbsent:
        return _MISSING
    except OSError:
        return None  # reading it will tell which parts are bad
    return None


class _Reading:
    """An object's content, checked while it is taken; each iteration reads it anew."""

    def __init__(
        self,
        item: Item,
        medium: Files,
        name: str,
        *,
        pool: ThreadPoolExecutor,
        progress: Progress,
    ) -> None:
        self.is_bad = False
        self._item, self._medium, self._name = item, medium, name
        self._pool, self._progress = pool, progress
        self._told_bytes = 0

    def __iter__(self) -> Iterator[memoryview]:
        self.undo()
        whole, parts, seen_bytes = hashlib.sha256(), _PartDigests(self._item), 0
        for block in self._blocks():
            seen_bytes += len(block)
            is_last = seen_bytes >= self._item.size_bytes
            view = block[: len(block) - max(0, seen_bytes - self._item.size_bytes)]
            digests = [
                self._pool.submit(whole.update, view),
                self._pool.submit(parts.update, view),
            ]
            try:
                if is_last:
                    self._wait(digests)
                    self._check(parts.are_good() and whole.hexdigest() == self._item.sha256)
                yield view
            finally:
                self._wait(digests)  # the block is reused for the next one
            self._tell(len(view))
            self._check(parts.are_good())
            if is_last:
                return
        self._check(self._item.size_bytes == 0)

    def undo(self) -> None:
        """Take back what the progress was told: it was in vain, or is read again."""
        self._tell(-self._told_bytes)

    def _blocks(self) -> Iterator[memoryview]:
        # An error of the medium must not pass for one of the network, so it is named here.
        try:
            blocks = self._medium.blocks(self._name, block_bytes=_BLOCK_BYTES)
            yield from _ahead(blocks, self._pool)
        except (ObjectAbsent, OSError):
            self._refuse()

    def _check(self, holds: bool) -> None:  # noqa: FBT001 - a condition, as of `assert`
        if not holds:
            self._refuse()

    def _refuse(self) -> NoReturn:
        self.is_bad = True
        raise _BadReading(f"{self._name} does not read as its manifests say")

    def _tell(self, size_bytes: int) -> None:
        self._told_bytes += size_bytes
        if size_bytes:
            self._progress.advance(bytes=size_bytes)

    @staticmethod
    def _wait(digests: "list[Future[None]]") -> None:
        for each in digests:
            each.result()


def _ahead(blocks: Iterator[memoryview], pool: ThreadPoolExecutor) -> Iterator[memoryview]:
    """Yield the blocks, each read while the one before is used; a view lives until the next."""
    buffers = (bytearray(_BLOCK_BYTES), bytearray(_BLOCK_BYTES))

    def read(number: int) -> memoryview | None:
        block = next(blocks, None)
        if block is None:
            return None
        view = memoryview(buffers[number % 2])[: len(block)]
        view[:] = block
        return view

    number, reading = 0, pool.submit(read, 0)
    try:
        while (view := reading.result()) is not None:
            number += 1
            reading = pool.submit(read, number)
            yield view
    finally:
        wait([reading])


class _PartDigests:
    """The MD5 of each part, compared as it is complete; parts may be sparse, and of any size."""

    def __init__(self, item: Item) -> None:
        self._parts = iter(item.blob.parts)
        self._part = next(self._parts, None)
        self._digest = hashlib.md5(usedforsecurity=False)
        self._offset = 0
        self._good = True

    def are_good(self) -> bool:
        """Return whether every part that is complete has its MD5."""
        return self._good

    def update(self, block: memoryview) -> None:
        """Take the next bytes of the object."""
        base = self._offset
        end = base + len(block)
        while self._part is not None and self._part.offset < end:
            part_end = self._part.offset + self._part.length
            start = max(self._offset, self._part.offset)
            self._digest.update(block[start - base : min(end, part_end) - base])
            if part_end > end:
                break
            self._good &= self._digest.hexdigest().upper() == self._part.md5
            self._digest = hashlib.md5(usedforsecurity=False)
            self._offset, self._part = part_end, next(self._parts, None)
        self._offset = end
