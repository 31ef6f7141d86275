"""Files that a program of this computer hands over instead of their bytes.

On the socket of this computer a request may bring two descriptors (`SCM_RIGHTS`, unix(7)): a file
that its sender has opened for reading, and one end of a pair of sockets, on which the sender hears
of each block that was read, and that it is closed when the last one is being read.  So a station's
drive is read straight into the buffers that are hashed and written: no byte goes through the
socket, and while they are written the next file is made ready.

Nothing is trusted for it.  The store hashes what it has read, and writes what it has hashed; who
changes the file meanwhile changes its digest.  Read is with the rights of who opened the file, only
after the grant was checked, and only as much as was announced.  What is stored is what its sender
named by SHA-256 before, so nobody learns anything of a file by having it read here.

At most two descriptors are held for a connection, and they are closed with the request that they
came with.  A sender that goes away, or a drive that gives nothing for too long, ends the reading.
"""

import array
import asyncio
import contextlib
import os
import queue
import socket
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakValueDictionary

from typing_extensions import override

from overland.errors import ObjectCorrupt
from overland.server.objects_wire import RequestInvalid, UploadInterrupted

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = [
    "FILES",
    "AttachedFile",
    "AttachedFiles",
    "AttachingListener",
    "ReadFile",
    "attached_to",
]

FILES: Final = "overland.files"
"""The key of `AttachedFiles` in `scope["extensions"]`, on connections that can bring some."""

_PER_REQUEST: Final = 2
_ROOM: Final = socket.CMSG_SPACE(_PER_REQUEST * array.array("i").itemsize)

ReadFile = Callable[[int], Generator[memoryview, None, None]]
"""Yields an open file's content in blocks; each lives until the next."""

_NOT_TWO: Final = "a regular file and a socket come with such a request"

T = TypeVar("T")


class _Connection(socket.socket):
    """A connection that keeps the descriptors that come with its bytes."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self._kept: list[int] = []

    @override
    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        """Receive as ever; what comes beside the bytes is kept for `take`."""
        view = memoryview(buffer)[: nbytes or None]
        size_bytes, beside, found, _ = self.recvmsg_into(
            [view], _ROOM, flags | socket.MSG_CMSG_CLOEXEC
        )
        if beside:
            self._keep(beside, is_cut=bool(found & socket.MSG_CTRUNC))
        return size_bytes

    @override
    def close(self) -> None:
        """Close, with what nobody has taken."""
        _close_elsewhere(self.take())
        super().close()

    def take(self) -> list[int]:
        """Return the descriptors that have come, which are the caller's to close."""
        kept, self._kept = self._kept, []
        return kept

    def _keep(self, beside: list[tuple[int, int, bytes]], *, is_cut: bool) -> None:
        came = array.array("i")
        for level, kind, data in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                came.frombytes(data[: len(data) // came.itemsize * came.itemsize])
        _close_elsewhere(self.take())  # of an earlier request, which nobody claimed
        if is_cut or len(came) != _PER_REQUEST:
            _close_elsewhere(list(came))
        else:
            self._kept = list(came)


_connections: WeakValueDictionary[int, _Connection] = WeakValueDictionary()


class AttachingListener(socket.socket):
    """A listening socket of this computer whose connections can bring files."""

    @override
    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, address = super().accept()
        made = _Connection(connection.detach())
        _connections[made.fileno()] = made
        return made, address


def attached_to(transport: asyncio.BaseTransport) -> "AttachedFiles | None":
    """Return what came with the request whose head was just read; None where nothing can come."""
    asked = transport.get_extra_info("socket")
    connection = None if asked is None else _connections.get(asked.fileno())
    if connection is None or connection.fileno() != asked.fileno():
        return None
    return AttachedFiles(connection.take())


class AttachedFiles:
    """What came with one request, closed with it unless somebody took it."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    def take(self) -> "AttachedFile":
        """Return the file with its line, which are the caller's to close.

        Raises:
            RequestInvalid: No two came.
        """
        if len(self._descriptors) != _PER_REQUEST:
            raise RequestInvalid(_NOT_TWO)
        taken, self._descriptors = self._descriptors, []
        return AttachedFile(taken)

    def close(self) -> None:
        """Close what nobody took."""
        _close_elsewhere(self._descriptors)
        self._descriptors = []


class AttachedFile:
    """An open file, and the line on which its sender hears how far it was read.

    For one thread that may wait: whoever opened the file may have it answer late, even to a look
    at its length.  Only `stop` is for others.
    """

    def __init__(self, descriptors: list[int]) -> None:
        """Take over the two; they are looked at when the file is read."""
        self._descriptors = descriptors
        self._stopping = threading.Event()

    def feed(
        self, store: Callable[[Iterator[memoryview]], T], *, size_bytes: int, read: ReadFile
    ) -> T:
        """Run `store` over `size_bytes` of the file, or all if there are fewer; then close both.

        Args:
            store: Takes blocks, each of which lives until the next; nothing is read before it asks.
            size_bytes: How much was announced; nothing behind it is given.
            read: Reads an open file.

        Raises:
            RequestInvalid: They are no regular file and no socket.
            UploadInterrupted: The sender has gone, or `stop` was called.
            ObjectCorrupt: The medium failed.
            Exception: What `store` or `read` raised.
        """
        try:
            # Closed before the file is: a block may be on its way to memory.
            with contextlib.closing(self._blocks(size_bytes, read)) as blocks:
                return store(blocks)
        finally:
            _close_all(self._descriptors)
            self._descriptors = []

    def stop(self) -> None:
        """Have the reading end at the next block."""
        self._stopping.set()

    def _blocks(self, size_bytes: int, read: ReadFile) -> Generator[memoryview, None, None]:
        file, line = _looked_at(self._descriptors)
        self._descriptors = [file]
        left_bytes, is_told = size_bytes, False
        with contextlib.closing(line), contextlib.closing(read(file)) as blocks:
            while left_bytes:
                try:
                    block = next(blocks, None)
                except OSError:
                    raise ObjectCorrupt("the attached file", check="it cannot be read") from None
                if block is None:
                    return
                view = block[:left_bytes]
                left_bytes -= len(view)
                if self._stopping.is_set():
                    raise UploadInterrupted
                if not is_told:
                    # The last one is being read ahead, so the sender may begin with another file.
                    is_told = left_bytes <= len(view)
                    _tell(line, blocks=1 + (is_told and left_bytes > 0), are_last=is_told)
                yield view
            with contextlib.suppress(OSError):  # behind the end, which is of no concern
                next(blocks, None)  # so that it ends by itself, and its buffers are kept


def _tell(line: socket.socket, *, blocks: int, are_last: bool) -> None:
    """Tell the sender of more blocks, without waiting for one that does not listen."""
    try:
        with contextlib.suppress(BlockingIOError):
            line.send(b"+" * blocks, socket.MSG_DONTWAIT)
    except OSError:
        raise UploadInterrupted from None
    if are_last:
        line.close()


def _looked_at(descriptors: list[int]) -> tuple[int, socket.socket]:
    """Return the two as what they have to be.

    Raises:
        RequestInvalid: They are not; they stay open.
    """
    file, line = descriptors
    try:
        if stat.S_ISREG(os.fstat(file).st_mode):
            return file, socket.socket(fileno=line)
    except OSError:
        pass
    raise RequestInvalid(_NOT_TWO)


def _close_all(descriptors: Iterable[int]) -> None:
    for each in descriptors:
        with contextlib.suppress(OSError):
            os.close(each)


class _Closer:
    """Closes descriptors in a thread of its own: a foreign file may have its close wait."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        self._begun = False

    def close(self, descriptors: list[int]) -> None:
        """Close them soon; for the event loop only."""
        if not descriptors:
            return
        self._waiting.put(descriptors)
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._work, name="close-attached", daemon=True).start()

    def _work(self) -> None:
        while True:
            _close_all(self._waiting.get())


_close_elsewhere = _Closer().close
