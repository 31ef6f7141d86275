"""One object from a drive into the container: read once, and hashed once.

While a block is sent, the drive's files read the next one ahead; both release the interpreter.

Nothing wrong ever becomes visible: the store is told the SHA-256 that the signed manifests have,
makes its own of what has arrived, and shows the object only when they agree.  So that one says of
drive and way together that they were right, and a second one, made here, would say nothing more.
The MD5 of each part in `DriveManifest.xml` does not either; only when the store refuses what it got
is the object read part by part, to tell exactly which parts are bad, and whether it was the drive.

Two objects of a drive may be on their way: the next one is read when the one before has been, while
the store still makes that durable.  So a drive is always read in one stream, as its head likes it.
Memory: two blocks for each object that is being read.

A store on this computer is handed the drive's open file and reads it itself.  Whether drive or way
was bad is found out in the same manner: here, part by part.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NoReturn

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
from overland.ports.files import Files, OpensFiles
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
    """Imports objects, from any number of threads."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

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
            UploadChanged: Bytes were changed on the way; the object's import stays open.
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
            verdict = _whole(item, medium, name)
        self._progress.advance(count=1)
        return verdict

    def _attempt(
        self, item: Item, medium: Files, name: str, container: Objects, turn: threading.Lock
    ) -> Verdict | None:
        """Return how the object went; None when it came out wrong, and then no part was bad."""
        kind = _FileReading if isinstance(medium, OpensFiles) else _Reading
        reading = kind(item, medium, name, turn=turn, progress=self._progress)
        reading.take_turn()  # before the store hears of it: it does not wait long for content
        try:
            container.put(item.name, reading, size_bytes=item.size_bytes, sha256=item.sha256)
        except (OverlandError, OSError) as error:
            reading.undo()
            if reading.is_bad or isinstance(error, ObjectCorrupt):
                return _bad(examine(item, medium=medium, name=name))
            if isinstance(error, ObjectExists):
                return _TAKEN
            raise
        finally:
            reading.end_turn()
        return LANDED


_TAKEN: Final = Verdict(status=BlobStatus.BLOB_REQUEST_FAILED, parts=PartStatus.BLOB_REQUEST_FAILED)
_FAILED: Final = Verdict(status=BlobStatus.FAILED, parts=PartStatus.FAILED)
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


def _whole(item: Item, medium: Files, name: str) -> Verdict:
    """Return the verdict on an object that came out wrong each time, though no part was bad.

    Raises:
        UploadChanged: It is what was signed, so it was changed on its way.
    """
    found, left_bytes = hashlib.sha256(), item.size_bytes
    try:
        for block in medium.blocks(name, block_bytes=_BLOCK_BYTES):
            found.update(block[:left_bytes])
            left_bytes -= min(left_bytes, len(block))
    except (ObjectAbsent, OSError):
        return _FAILED
    if found.hexdigest() != item.sha256:
        return _FAILED
    raise UploadChanged(item.name)


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
    """An object's content, as long as was signed; each iteration reads it anew."""

    def __init__(
        self,
        item: Item,
        medium: Files,
        name: str,
        *,
        turn: threading.Lock,
        progress: Progress,
    ) -> None:
        self.is_bad = False
        self._turn, self._has_turn = turn, False
        self._item, self._medium, self._name = item, medium, name
        self._progress = progress
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
        left_bytes = self._item.size_bytes
        for block in self._blocks():
            if not left_bytes:  # the file is longer than what was signed
                return
            view = block[:left_bytes]
            left_bytes -= len(view)
            if not left_bytes:  # it was read: the next object is made ready while this one is sent
                self.end_turn()
            yield view  # the last one too: the medium ends by itself, so that its buffers are kept
            self._tell(len(view))
        if left_bytes:
            self._refuse()

    def undo(self) -> None:
        """Take back what the progress was told: it was in vain, or is read again."""
        self._tell(-self._told_bytes)

    def _blocks(self) -> Iterator[memoryview]:
        # An error of the medium must not pass for one of the network, so it is named here.
        try:
            yield from self._medium.blocks(self._name, block_bytes=_BLOCK_BYTES)
        except (ObjectAbsent, OSError):
            self._refuse()

    def _refuse(self) -> NoReturn:
        self.is_bad = True
        raise _BadReading(f"{self._name} does not read as its manifests say")

    def _tell(self, size_bytes: int) -> None:
        self._told_bytes += size_bytes
        if size_bytes:
            self._progress.advance(bytes=size_bytes)


class _FileReading(_Reading):
    """The same of a file that a store on this computer may read itself: `FileContent`."""

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open the file, when it is its turn."""
        self.undo()
        self.take_turn()
        assert isinstance(self._medium, OpensFiles), "looked at by who made this"
        with ExitStack() as closing:
            try:
                descriptor = closing.enter_context(self._medium.opened(self._name))
            except (ObjectAbsent, OSError):
                self._refuse()
            yield descriptor

    def was_read(self, blocks: int) -> None:
        """Note that so many more blocks were read."""
        self._tell(min(blocks * _BLOCK_BYTES, self._item.size_bytes - self._told_bytes))

    def reading_ended(self) -> None:
        """Let the next object be read."""
        self.end_turn()
