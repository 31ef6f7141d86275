"""Objects, and all stores of an installation, as durable files in one folder."""

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from overland.adapters.posix import PosixFiles
from overland.errors import ObjectAbsent, ObjectCorrupt, ObjectExists
from overland.ports.files import Files, NewFile, name_parts
from overland.ports.objects import Objects
from overland.values import ObjectInfo, promised_digest

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["FolderObjects", "FolderSpaces"]

_LONG_BYTES: Final = 1 << 20  # half a millisecond to hash: more than to hand it over
_LOCKS: Final = 64  # more than the puts that one server runs at a time
_SPACE: Final = re.compile(
    r"accounts/[a-z0-9]{3,24}/(?:[a-z0-9](-?[a-z0-9]){0,62}|\$root)"
    r"|vaults/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)


class _Locks:
    """Enough locks that two names seldom share one."""

    def __init__(self) -> None:
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def of(self, name: str) -> threading.Lock:
        """Return the lock of a name: the same one every time; other names may share it."""
        return self._locks[hash(name) % _LOCKS]


class FolderObjects:
    """`Objects` as files.  One process at a time may put into a folder; any number may read."""

    is_local: Final = True
    """Whether processes that were forked may go on reading side by side."""

    def __init__(self, files: Files, *, prefix: str = "") -> None:
        """Keep objects in `files` under `prefix`, which is empty or ends with a slash."""
        self._files, self._prefix, self._locks = files, prefix, _Locks()
        assert not prefix or prefix.endswith("/"), "a prefix names a folder"

    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        """Store an object durably, checked while it is written; see the port.

        The content is not asked for when the same object is there already.
        """
        name_parts(name)
        if self._is_there(name, size_bytes=size_bytes, sha256=sha256):
            return
        new = self._files.create()
        try:
            if _write(new, content, name=name, size_bytes=size_bytes) != sha256:
                raise ObjectCorrupt(name, check="SHA-256 differs")
            # Files replace, objects do not: between the look above and now somebody else may
            # have put another object under this name.
            with self._locks.of(name):
                if not self._is_there(name, size_bytes=size_bytes, sha256=sha256):
                    self._publish(new, name)
        finally:
            new.abandon()

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; see the port."""
        with _named(name):
            return self._files.read_range(self._path(name), offset=offset, length=length)

    def read(self, name: str) -> bytes:
        """Return a whole object; see the port."""
        with _named(name):
            return self._files.read(self._path(name))

    def blocks(self, name: str) -> Iterator[memoryview]:
        """Yield the content in order; see the port."""
        with _named(name):
            yield from self._files.blocks(self._path(name))

    def head(self, name: str) -> ObjectInfo:
        """Return the object's size; see the port."""
        with _named(name):
            size_bytes = self._files.size_bytes(self._path(name))
        return ObjectInfo(name=name, size_bytes=size_bytes)

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with `prefix`, sorted by name; see the port."""
        after = self._prefix + start_after if start_after else ""
        for info in self._files.names(self._prefix + prefix, start_after=after):
            yield ObjectInfo(name=info.name.removeprefix(self._prefix), size_bytes=info.size_bytes)

    def delete(self, name: str) -> None:
        """Remove an object; do nothing if it is absent."""
        self._files.delete(self._path(name))

    def _path(self, name: str) -> str:
        name_parts(name)
        return self._prefix + name

    def _publish(self, new: NewFile, name: str) -> None:
        try:
            new.publish(self._prefix + name)
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            # Of `a` and `a/b` a folder holds one only.
            raise ObjectExists(name) from None

    def _is_there(self, name: str, *, size_bytes: int, sha256: str) -> bool:
        """Return whether this object is stored, durably.

        Not there is one whose name promises just this content, and whose stored bytes are not
        what the name promises: they were damaged, and the right ones may take their place.

        Raises:
            ObjectExists: Another one has its name.
        """
        path = self._path(name)
        heals = promised_digest(name) == sha256
        try:
            is_same = self._files.size_bytes(path) == size_bytes
            is_same = is_same and self._digest(path) == sha256
            if is_same:
                self._files.settle(path)
            elif not heals:
                raise ObjectExists(name)
        except ObjectAbsent:
            return False
        return is_same

    def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        for block in self._files.blocks(path):
            digest.update(block)
        return digest.hexdigest()


def _write(
    new: NewFile, content: Iterable[bytes | memoryview], *, name: str, size_bytes: int
) -> str:
    """Write content of this length; return its SHA-256.

    A long block is hashed while it is written: both let other threads run.
    """
    digest = hashlib.sha256()
    written_bytes = 0
    with contextlib.ExitStack() as closing:
        hashing: Executor | None = None
        for block in content:
            length = memoryview(block).nbytes
            written_bytes += length
            if written_bytes > size_bytes:
                raise ObjectCorrupt(name, check="longer than announced")
            if length < _LONG_BYTES:
                digest.update(block)
                new.write(block)
                continue
            if hashing is None:
                hashing = closing.enter_context(_one_thread())
            hashed = hashing.submit(digest.update, block)
            new.write(block)
            hashed.result()  # the block is its owner's again with the next one
    if written_bytes < size_bytes:
        raise ObjectCorrupt(name, check="shorter than announced")
    return digest.hexdigest()


def _one_thread() -> "Executor":
    # For long blocks only: it loads logging, which most commands do without.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as said above

    return ThreadPoolExecutor(1, thread_name_prefix="hash")


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Report an absent object by the name that was asked for, without the prefix."""
    try:
        yield
    except ObjectAbsent:
        raise ObjectAbsent(name) from None


class FolderSpaces:
    """All stores of an installation below one folder; one process at a time may put into it."""

    def __init__(self, root: Path, *, reserve_bytes: int = 0) -> None:
        """Use the existing folder `root`, and leave `reserve_bytes` of its file system free."""
        self._files = PosixFiles(root, reserve_bytes=reserve_bytes)
        self._open: dict[str, Objects] = {}
        self._lock = threading.Lock()

    def open(self, space: str) -> Objects:
        """Return the store `space`: `accounts/<account>/<container>` or `vaults/<uuid>`.

        Raises:
            ValueError: The name has another form.
        """
        if _SPACE.fullmatch(space) is None:
            raise ValueError(f"{space!r} is not the name of a space")
        # One instance per space, so that two puts of one name meet at one lock.
        with self._lock:
            return self._open.setdefault(space, FolderObjects(self._files, prefix=f"{space}/"))

    def sweep(self) -> int:
        """Remove what interrupted puts left behind; return how many files that were."""
        return self._files.sweep()
