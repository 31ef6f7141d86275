"""A folder of a POSIX file system as `Files`: the one module that renames and syncs files.

Nothing outside the root is ever reached: every folder on the way is opened by its last part alone,
from the folder above it, and no symbolic link is followed but to the root that the operator named.

What is durable when (`NewFile.publish`): `fsync` of the file, rename, `fsync` of the folder that
shows the new name, of every folder above it that leads there, and of the root last, which showed
the temporary name.  New folders wait for that too, so that a journal writes them and the name at
once.  A folder that exists already may have been made by somebody who was killed before the sync;
each instance therefore syncs each folder's entry once before it relies on it.  `NewFile.settle` is
the first of these steps, and `NewFile.show` the second alone.
"""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from overland.adapters import medium, temporaries
from overland.errors import ObjectAbsent, OutOfSpace, RefusedError
from overland.ports.files import TEMPORARY_PREFIX, NewFile, name_parts
from overland.values import ObjectInfo

__all__ = ["LeavesFolder", "PosixFiles", "remove_tree"]

_KNOWN_FOLDERS: Final = 4096
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: a fifo of that name must not hold us up.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class LeavesFolder(RefusedError):
    """A symbolic link lies where a folder or a file of ours was expected; it was not followed."""

    code = "leaves-folder"

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(
            f"{name} in {root} is, or goes through, a symbolic link; remove the link and run again"
        )
        self.root, self.name = root, name


class PosixFiles:
    """The files below a root; many threads, and many processes, may use one root."""

    def __init__(self, root: Path, *, reserve_bytes: int = 0, is_scratch: bool = False) -> None:
        """Use the existing folder `root`, and leave `reserve_bytes` of its file system free.

        With `is_scratch` nothing is synced.  A killed program leaves what the port promises, but a
        power cut may leave less, and any damaged content under a name: only for what can be made
        again and is never relied upon before it is compared with its digest.
        """
        assert reserve_bytes >= 0, "a reserve cannot be owed"
        self._root = _Root(root, reserve_bytes, is_scratch=is_scratch)

    def create(self) -> NewFile:
        """Begin a new file; see the port."""
        return _PosixNewFile(self._root)

    def write(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Create and publish a file in one step; see the port."""
        name_parts(name)
        new = self.create()
        try:
            new.write(data)
            new.publish(name)
        finally:
            new.abandon()

    def read(self, name: str) -> bytes:
        """Return the whole content; see the port."""
        with self._root.opened(name) as fd:
            return medium.read_at(fd, offset=0, length=os.fstat(fd).st_size)

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; see the port."""
        assert offset >= 0, "a range starts in the file"
        assert length >= 0, "a range has a length"
        with self._root.opened(name) as fd:
            return medium.read_at(fd, offset=offset, length=length)

    def blocks(self, name: str, *, block_bytes: int = medium.BUFFER_BYTES) -> Iterator[memoryview]:
        """Yield the content in order, past the page cache where the file system allows it.

        Raises:
            ObjectAbsent: There is no such file.
            OSError: The device failed; blocks before were good.
        """
        assert block_bytes > 0, "a block holds something"
        with self._root.opened(name) as fd:
            yield from medium.read_blocks(fd, block_bytes=block_bytes, pool=self._root.pool)

    def opened(self, name: str) -> contextlib.AbstractContextManager[int]:
        """Open a file for reading; see `OpensFiles`."""
        return self._root.opened(name)

    def size_bytes(self, name: str) -> int:
        """Return the file's length; see the port."""
        with self._root.opened(name) as fd:
            return os.fstat(fd).st_size

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield published files, sorted by name; folders, links and devices are left out."""
        return self._names((), prefix, start_after)

    def settle(self, name: str) -> None:
        """Make a visible file durable; see the port."""
        parts = name_parts(name)
        with self._root.opened(name) as fd:
            self._root.sync(fd)
        self._root.sync_folders(parts[:-1], name)

    def delete(self, name: str) -> None:
        """Remove the file, durably; see the port."""
        parts = name_parts(name)
        try:
            with self._root.folder(parts[:-1], name) as folder:
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(parts[-1], dir_fd=folder)
                # Also when it is absent: who removed it may have been killed before the sync.
                self._root.sync(folder)
        except (FileNotFoundError, NotADirectoryError):
            return

    def forget(self, name: str) -> None:
        """Remove the file, and wait for nothing; see the port."""
        parts = name_parts(name)
        absent = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
        with contextlib.suppress(*absent), self._root.folder(parts[:-1], name) as folder:
            os.unlink(parts[-1], dir_fd=folder)

    def free_bytes(self) -> int:
        """Return how much can still be written, without the reserve."""
        return self._root.free_bytes()

    def sweep(self) -> int:
        """Remove what interrupted writers left; files that a live process writes stay.

        What comes back after a power cut is removed by the next sweep.
        """
        with self._root.folder((), "") as folder:
            return temporaries.sweep(folder)

    def remove_empty_folders(self, folder: str) -> None:
        """Remove `folder` and those in it, as far as they hold nothing; does not follow links."""
        parts = name_parts(folder)
        with self._root.folder(parts[:-1], folder) as above:
            for _, names, _, fd in os.fwalk(parts[-1], topdown=False, dir_fd=above):
                for name in names:
                    _remove_if_empty(name, fd)
            _remove_if_empty(parts[-1], above)
            self._root.sync(above)

    def _names(self, above: tuple[str, ...], prefix: str, after: str) -> Iterator[ObjectInfo]:
        path = "".join(f"{part}/" for part in above)
        for name, size_bytes in self._root.listing(above):
            full = path + name
            if size_bytes is None:  # a folder; its name ends with a slash
                is_over = full <= after and not after.startswith(full)
                if not is_over and (full.startswith(prefix) or prefix.startswith(full)):
                    yield from self._names((*above, name[:-1]), prefix, after)
            elif full.startswith(prefix) and full > after:
                yield ObjectInfo(name=full, size_bytes=size_bytes)


class _PosixNewFile:
    """A temporary file in the root, locked for as long as its writer lives."""

    def __init__(self, root: "_Root") -> None:
        self._root = root
        with root.full_is_refused(0):
            self._temporary, self._fd = temporaries.create(lambda: root.folder((), ""))
        self._writer: medium.Writer | None = medium.Writer(self._fd, root.pool)
        self._is_settled = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`; see the port."""
        assert self._writer is not None, "the file was published or abandoned before"
        assert not self._is_settled, "what is settled is complete"
        with memoryview(data) as whole, whole.cast("B") as view:
            self._root.keep_the_reserve(len(view))
            with self._root.full_is_refused(len(view)):
                self._writer.append(view)

    def publish(self, name: str) -> None:
        """Give the file its final name, durably; see the port."""
        assert self._writer is not None, "the file was published or abandoned before"
        parts = name_parts(name)
        self.settle()
        with self._root.full_is_refused(0):
            self._root.make_folders(parts[:-1], name)
            self._rename(parts, name)
            # The root too: where no journal does both at once, the old name must not come back, or
            # `sweep` would remove with it the content of the new one.
            self._root.sync_folders(parts[:-1], name, root=True)
        self._close()

    def settle(self) -> None:
        """Make durable what was written; see the port."""
        assert self._writer is not None, "the file was published or abandoned before"
        if not self._is_settled:
            with self._root.full_is_refused(self._writer.buffered_bytes):
                self._writer.flush()
                self._root.sync(self._fd)
            self._is_settled = True

    def show(self, name: str) -> None:
        """Give the file its final name, and wait for nothing; see the port."""
        assert self._writer is not None, "the file was published or abandoned before"
        parts = name_parts(name)
        with self._root.full_is_refused(self._writer.buffered_bytes):
            self._writer.flush()
            self._root.make_folders(parts[:-1], name)
            self._rename(parts, name)
        self._close()

    def abandon(self) -> None:
        """Forget the file; see the port."""
        if self._writer is None:
            return
        with self._root.folder((), "") as root, contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary, dir_fd=root)
        self._close()

    def _rename(self, parts: tuple[str, ...], name: str) -> None:
        with self._root.folder((), name) as root, self._root.folder(parts[:-1], name) as folder:
            os.rename(self._temporary, parts[-1], src_dir_fd=root, dst_dir_fd=folder)

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        os.close(self._fd)


class _Root:
    """The way from the root to a file, one folder at a time."""

    def __init__(self, path: Path, reserve_bytes: int, *, is_scratch: bool) -> None:
        self.pool = medium.BufferPool()
        self._path, self._reserve_bytes, self._is_scratch = path, reserve_bytes, is_scratch
        self._synced: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def folder(self, parts: tuple[str, ...], name: str) -> Iterator[int]:
        """Open a folder below the root; `name` is for errors."""
        fd = os.open(self._path, _FOLDER)
        try:
            for part in parts:
                below = self._open(part, _FOLDER | os.O_NOFOLLOW, fd, name)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """Open a published file for reading."""
        parts = name_parts(name)
        try:
            with self.folder(parts[:-1], name) as folder:
                fd = self._open(parts[-1], _READ, folder, name)
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectAbsent(name) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ObjectAbsent(name)
            yield fd
        finally:
            os.close(fd)

    def listing(self, parts: tuple[str, ...]) -> list[tuple[str, int | None]]:
        """Return files with sizes, and folders with a slash: sorted as full names are."""
        try:
            with self.folder(parts, "/".join(parts)) as folder, os.scandir(folder) as entries:
                return sorted(found for entry in entries if (found := _listed(entry)))
        except (FileNotFoundError, NotADirectoryError):
            if not parts:
                raise
            return []

    def sync(self, fd: int) -> None:
        """Make an open file or folder durable, unless nothing here has to be."""
        if not self._is_scratch:
            os.fsync(fd)

    def make_folders(self, parts: tuple[str, ...], name: str) -> None:
        """Make the folders that lead to a name; `sync_folders` makes them durable."""
        for depth in range(1, len(parts) + 1):
            if parts[:depth] not in self._synced:
                with (
                    self.folder(parts[: depth - 1], name) as folder,
                    contextlib.suppress(FileExistsError),
                ):
                    os.mkdir(parts[depth - 1], dir_fd=folder)

    def sync_folders(self, parts: tuple[str, ...], name: str, *, root: bool = False) -> None:
        """Make durable what a folder shows, and from there upwards that it is there itself."""
        for depth in range(len(parts), -1, -1):
            is_needed = depth == len(parts) or parts[: depth + 1] not in self._synced
            if is_needed or (root and depth == 0):
                with self.folder(parts[:depth], name) as folder:
                    self.sync(folder)
        with self._lock:
            if len(self._synced) >= _KNOWN_FOLDERS:
                self._synced.clear()
            self._synced.update(parts[:depth] for depth in range(1, len(parts) + 1))

    def free_bytes(self) -> int:
        """Return what the file system has free beyond the reserve."""
        free = os.statvfs(self._path)
        return max(0, free.f_bavail * free.f_frsize - self._reserve_bytes)

    def keep_the_reserve(self, needed_bytes: int) -> None:
        """Refuse to write what only the reserve has room for."""
        if self._reserve_bytes and needed_bytes > (free_bytes := self.free_bytes()):
            where = str(self._path)
            raise OutOfSpace(where, needed_bytes=needed_bytes, free_bytes=free_bytes)

    @contextlib.contextmanager
    def full_is_refused(self, needed_bytes: int) -> Iterator[None]:
        """Turn the system's answers for a full medium into ours."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            where, free_bytes = str(self._path), self.free_bytes()
            raise OutOfSpace(where, needed_bytes=needed_bytes, free_bytes=free_bytes) from error

    def _open(self, part: str, flags: int, folder: int, name: str) -> int:
        try:
            return os.open(part, flags, dir_fd=folder)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENOTDIR} or not _is_link(part, folder):
                raise
            raise LeavesFolder(self._path, name) from error


def remove_tree(root: Path, *, keep: frozenset[str]) -> None:
    """Remove everything below `root`, durably, but for what `keep` names directly in it.

    No link is followed.  What survives a power cut: any part of the tree; run it again.

    Raises:
        OSError: Something could not be removed.
    """
    fd = os.open(root, _FOLDER)
    try:
        _remove_entries(fd, keep)
    finally:
        os.close(fd)


def _remove_entries(folder: int, keep: frozenset[str]) -> None:
    with os.scandir(folder) as entries:
        found = [(e.name, e.is_dir(follow_symlinks=False)) for e in entries if e.name not in keep]
    for name, is_folder in found:
        if is_folder:
            below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            try:
                _remove_entries(below, frozenset())
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    os.fsync(folder)


def _remove_if_empty(name: str, folder: int) -> None:
    with contextlib.suppress(OSError):  # it holds something, or is no folder
        os.rmdir(name, dir_fd=folder)


def _listed(entry: os.DirEntry[str]) -> tuple[str, int | None] | None:
    if entry.name.startswith(TEMPORARY_PREFIX):
        return None
    if entry.is_dir(follow_symlinks=False):
        return f"{entry.name}/", None
    if entry.is_file(follow_symlinks=False):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            return entry.name, entry.stat(follow_symlinks=False).st_size
    return None


def _is_link(part: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
