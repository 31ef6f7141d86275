"""One object from a drive into the container: read once, and hashed on its way.

While a block is sent, its SHA-256 is made in another thread and the drive's files read the next one
ahead; all of it releases the interpreter.

Nothing wrong ever becomes visible: the object's last block is held back until the SHA-256 agrees
with the manifests, and the store checks it again before it shows the object.  The MD5 of each part
in `DriveManifest.xml` says nothing more about bytes that have their SHA-256; only when that
differs is the object read part by part, to tell exactly which parts are bad.

Two objects of a drive may be on their way: the next one is read when the one before has been, while
the store still makes that durable.  So a drive is always read in one stream, as its head likes it.
Memory: two blocks for each object that is being read.
"""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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

__all__ = ["UPLOADS_PER_DRIVE", "Transfer", "UploadChanged", "examine"]

UPLOADS_PER_DRIVE: Final = 2
"""One is being read and sent, the other is being made durable by the store."""

_BLOCK_BYTES: Final = 4 << 20
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
            UPLOADS_PER_DRIVE * drives_at_once, thread_name_prefix="digest"
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

    def move(
        self,
        item: Item,
        *,
        medium: Files,
        name: str,
        container: Objects,
        turn: "threading.Lock | None" = None,
    ) -> Verdict:
        """Bring an object into the container, unless it is there; return how it went.

        Args:
            item: The object, as the checked manifests list it.
            medium: The drive.
            name: The object's name on the drive.
            container: Where its name is `item.name`.
            turn: Held while the drive is read; who moves several objects at once shares one.

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
                verdict = self._attempt(item, medium, name, container, turn or threading.Lock())
        if verdict is None:
            # Every part has its MD5, and yet the whole is not what was signed.
            verdict = Verdict(status=BlobStatus.FAILED, parts=PartStatus.FAILED)
        self._progress.advance(count=1)
        return verdict

    def _attempt(
        self, item: Item, medium: Files, name: str, container: Objects, turn: threading.Lock
    ) -> Verdict | None:
        """Return how the object went; None when it read wrong, and then no part was bad."""
        reading = _Reading(item, medium, name, turn=turn, pool=self._pool, progress=self._progress)
        reading.take_turn()  # before the store hears of it: it does not wait long for content
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
        finally:
            reading.end_turn()
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
        turn: threading.Lock,
        pool: ThreadPoolExecutor,
        progress: Progress,
    ) -> None:
        self.is_bad = False
        self._turn, self._has_turn = turn, False
        self._item, self._medium, self._name = item, medium, name
        self._pool, self._progress = pool, progress
        self._told_bytes = 0

    def take_turn(self) -> None:
        """Wait until no other object of the drive is being read."""
        if not self._has_turn:
            self._turn.acquire()
            self._has_turn = True

    def end_turn(self) -> None:
        """Let the next object be read."""
        if self._has_turn:
            self._has_turn = False
            self._turn.release()

    def __iter__(self) -> Iterator[memoryview]:
        self.undo()
        self.take_turn()  # again, when an upload that broke off begins anew
        whole, seen_bytes = hashlib.sha256(), 0
        for block in self._blocks():
            seen_bytes += len(block)
            is_last = seen_bytes >= self._item.size_bytes
            view = block[: len(block) - max(0, seen_bytes - self._item.size_bytes)]
            digest = self._pool.submit(whole.update, view)
            try:
                if is_last:
                    digest.result()
                    self._check(whole.hexdigest() == self._item.sha256)
                yield view
            finally:
                digest.result()  # the block is reused for the next one
            self._tell(len(view))
            if is_last:
                self.end_turn()
                return
        self._check(self._item.size_bytes == 0)

    def undo(self) -> None:
        """Take back what the progress was told: it was in vain, or is read again."""
        self._tell(-self._told_bytes)

    def _blocks(self) -> Iterator[memoryview]:
        # An error of the medium must not pass for one of the network, so it is named here.
        try:
            yield from self._medium.blocks(self._name, block_bytes=_BLOCK_BYTES)
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
