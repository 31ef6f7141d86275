"""Sockets of this computer: the way between two programs on it that needs no TLS.

What TLS is for is done by the file system here: who may connect is what the socket's mode says,
and who may answer in its place is what its folder's says.  Tokens are asked for as everywhere.
The rules are the same at both ends, so that no program of ours sends a token to a socket that
somebody else could have put there (`docs/threat-model.md`).

A request may bring an open file instead of a body (`server.attached` has the other end): its
descriptor goes along with the head, and one end of a pair of sockets, on which a byte comes for
each block that was read, and with the last but one the last one's and the end.
"""

import contextlib
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import urllib3
from typing_extensions import override
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.response import HTTPResponse

from overland.errors import RefusedError
from overland.ports.objects import FileContent

__all__ = ["Attachment", "SocketInUse", "SocketUnsafe", "listening", "local_pools"]

_MAX_PATH_BYTES: Final = 107  # of `sun_path` in unix(7), less the byte that ends it
_BACKLOG: Final = 256
_TOLD_BYTES: Final = 64
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class SocketUnsafe(RefusedError):
    """A socket's place cannot be used, or somebody else could answer there; nothing was sent."""

    code = "socket-unsafe"

    def __init__(self, path: Path, *, why: str) -> None:
        super().__init__(f"the socket {path} cannot be used: {why}")
        self.path, self.why = path, why


class SocketInUse(RefusedError):
    """Another program answers on the socket; it was left alone."""

    code = "socket-in-use"

    def __init__(self, path: Path) -> None:
        super().__init__(f"another program listens on {path}; stop it, or give another path")
        self.path = path


@contextlib.contextmanager
def listening(path: Path, *, group: str | None) -> Iterator[socket.socket]:
    """Give a socket that listens at `path`, for this user alone or a group too; remove it after.

    What a killed program left there is replaced; the mode is 0600, with a group 0660, from the
    first moment on.

    Raises:
        SocketUnsafe: The path is too long, is no socket, the group is unknown, or others than
            this user and root may change the folder.
        SocketInUse: A program listens there.
        OSError: The system refused it.
    """
    _check_place(path)
    owner = path.parent.stat().st_uid
    if owner not in {0, os.geteuid()}:
        raise SocketUnsafe(path, why="its folder belongs to another user")
    _remove_stale(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)  # there is no moment in which it is open to others
        try:
            listener.bind(os.fsencode(path))
        finally:
            os.umask(before)
        made = path.lstat()
        try:
            if group is not None:
                _share(path, group)
            listener.listen(_BACKLOG)
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(made, path.lstat()):  # and not a later program's
                    path.unlink()


def local_pools(path: Path, *, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """Return what connects to the socket, whichever http address is asked for.

    Raises, with the first request:
        SocketUnsafe: Others may change the folder, or this user may not connect.
    """
    pools = urllib3.PoolManager(maxsize=16, retries=False, timeout=timeout)
    classes: dict[str, Any] = {"http": partial(_Pool, path)}  # urllib3 calls it like the class
    pools.pool_classes_by_scheme = classes
    return pools


@dataclass(frozen=True, slots=True)
class Attachment:
    """A request's body that is a file; opened anew for each attempt."""

    content: FileContent


class _Connection(HTTPConnection):
    """HTTP over a socket of this computer."""

    path: Path
    _attached: FileContent | None = None
    _told: socket.socket | None = None

    @override
    def request(self, method: str, url: str, body: Any = None, *args: Any, **options: Any) -> None:
        """Send a request as urllib3 does; of an `Attachment` the open file goes along, and no body.

        Raises:
            SocketUnsafe: Others could answer on the socket, or it is not open to this user.
            ObjectAbsent, OSError: What was to be attached cannot be opened; nothing was sent.
        """
        self._forget_attached()
        if isinstance(body, Attachment):
            self._attached, body = body.content, None
        super().request(method, url, body, *args, **options)

    @override
    def send(self, data: Any) -> None:
        """Send bytes; with the first ones, the head, goes what is attached, once.

        Raises:
            ObjectAbsent, OSError: What was to be attached cannot be opened; nothing was sent.
        """
        if self._attached is None or self._told is not None:
            super().send(data)
            return
        if self.sock is None:
            self.connect()
        # The head, in one piece; a file that cannot be opened fails before anything is sent.
        with self._attached.opened() as descriptor:
            self._told, theirs = socket.socketpair()
            with theirs:
                sent = socket.send_fds(self.sock, [data], [descriptor, theirs.fileno()])
        self.sock.sendall(data[sent:])

    @override
    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as urllib3 itself has it
        """Return the answer, when the other end has told how much it read of what is attached.

        Raises:
            OSError: The other end was silent for longer than the timeout.
        """
        if self._attached is not None and self._told is not None:
            self._told.settimeout(self.timeout)
            while told := self._told.recv(_TOLD_BYTES):
                self._attached.was_read(len(told))
            self._attached.reading_ended()
            self._forget_attached()
        return super().getresponse()

    @override
    def close(self) -> None:
        """Close the connection, and with it the socket on which the other end tells of blocks."""
        self._forget_attached()
        super().close()

    def _forget_attached(self) -> None:
        if self._told is not None:
            self._told.close()
        self._told = self._attached = None

    @override
    def _new_conn(self) -> socket.socket:
        _check_place(self.path)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if isinstance(self.timeout, int | float):
                connection.settimeout(self.timeout)
            connection.connect(os.fsencode(self.path))
        except PermissionError:
            connection.close()
            raise SocketUnsafe(self.path, why="this user may not connect to it") from None
        except OSError as error:
            connection.close()
            raise NewConnectionError(self, f"no connection to {self.path}: {error}") from error
        return connection


class _Pool(HTTPConnectionPool):
    """Connections to one socket."""

    ConnectionCls: type[Any] = _Connection  # urllib3's own type leaves sockets like this out

    def __init__(self, path: Path, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ConnectionCls = type("_ConnectionTo", (_Connection,), {"path": path})


def _check_place(path: Path) -> None:
    """Refuse a place where somebody else than its folder's owner could put a socket."""
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise SocketUnsafe(path, why=f"its path is longer than {_MAX_PATH_BYTES} bytes")
    try:
        folder = path.parent.resolve(strict=True)
        if folder.stat().st_mode & _OTHERS_MAY_WRITE:
            raise SocketUnsafe(path, why="others than the owner may write into its folder")
        for above in folder.parents:
            mode = above.stat().st_mode
            if mode & _OTHERS_MAY_WRITE and not mode & stat.S_ISVTX:
                raise SocketUnsafe(path, why=f"others than the owner may change {above}")
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise SocketUnsafe(path, why=f"its folder cannot be used ({error.strerror})") from None


def _remove_stale(path: Path) -> None:
    """Remove the socket of a program that was killed."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketUnsafe(path, why="something else has its name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(os.fsencode(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:  # it has many to answer
            raise SocketInUse(path) from None
        else:
            raise SocketInUse(path)


def _share(path: Path, group: str) -> None:
    try:
        shutil.chown(path, group=group)
    except LookupError:
        raise SocketUnsafe(path, why=f"there is no group {group}") from None
    except PermissionError:
        raise SocketUnsafe(path, why=f"this user is not in the group {group}") from None
    path.chmod(0o660)
