"""The folder that a restore writes to: nothing leaves it, nothing in it is replaced unasked.

Everything goes relative to an open folder and follows no symbolic link, so that a hostile tree, or
somebody who swaps folders for links meanwhile, gets nothing outside the target.  A file has
another name until it is complete, so that a kill leaves whole files and a few `.overland-…` ones,
which the next restore into the same folders removes.
"""

import contextlib
import ctypes
import errno
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from overland.agent.restore.writing import FileWriter

__all__ = [
    "MAX_NAME_BYTES",
    "Access",
    "Folder",
    "free_name",
    "is_leftover",
    "new_token",
    "open_target",
    "proc_path",
    "sync_file_system",
    "unfinished_name",
]

MAX_NAME_BYTES: Final = 255

_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_FOLDERS: Final = 48
_OPEN_FILES: Final = 48
_LEFTOVER: Final = re.compile(rb"\.overland-[0-9a-f]{16}-[0-9]+\.part")
_RENAME_NOREPLACE: Final = 1  # linux/fs.h
_NOT_SUPPORTED: Final = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


class Folder:
    """A folder of the target, by its name in its parent; the top one has no parent."""

    __slots__ = ("gives", "is_new", "name", "parent")

    def __init__(self, parent: "Folder | None", name: bytes, *, is_new: bool) -> None:
        self.parent, self.name, self.is_new = parent, name, is_new
        self.gives: dict[int, tuple[int, int]] = {}  # user and group of new files, by mode


def open_target(path: bytes) -> int:
    """Return a descriptor of the target folder, made with its parents where it lacks."""
    os.makedirs(path, mode=0o700, exist_ok=True)  # noqa: PTH103 - a Path is text, and this is bytes
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def new_token() -> bytes:
    """Return what the unfinished files of one restore have in their names; nobody can guess it."""
    return os.urandom(8).hex().encode()


def unfinished_name(token: bytes, number: int) -> bytes:
    """Return a name for what is not complete; `number` differs for each of one restore."""
    return b".overland-%s-%d.part" % (token, number)


def is_leftover(name: bytes) -> bool:
    """Return whether a name is that of a file which a restore did not finish."""
    return _LEFTOVER.fullmatch(name) is not None


def proc_path(fd: int) -> bytes:
    """Return a path to what is open, for calls that take none of the other ways."""
    return b"/proc/self/fd/%d" % fd


def free_name(name: bytes, number: int) -> bytes:
    """Return a name for a copy beside what has `name`; `number` counts from 1."""
    suffix = b".restored" if number == 1 else b".restored-%d" % number
    return name[: MAX_NAME_BYTES - len(suffix)] + suffix


class Access:
    """One thread's open folders and files below the target, a bounded number of them.

    Each thread has its own, so that no descriptor is closed, and its number given to another
    file, while a thread still writes to it.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._folders: OrderedDict[Folder, int] = OrderedDict()
        self._files: OrderedDict[bytes, int] = OrderedDict()
        self.writer = FileWriter()

    def close(self) -> None:
        """Close everything; the target's own descriptor belongs to the caller."""
        for fd in (*self._folders.values(), *self._files.values()):
            os.close(fd)
        self._folders.clear()
        self._files.clear()

    def fd(self, folder: Folder) -> int:
        """Return the folder's descriptor, valid until the next call.

        Raises:
            OSError: It is not there any more, or something else has its name.
        """
        known = self._folders.get(folder)
        if known is not None:
            self._folders.move_to_end(folder)
            return known
        chain: list[Folder] = []
        here: Folder | None = folder
        while here is not None and here.parent is not None and here not in self._folders:
            chain.append(here)
            here = here.parent
        assert here is not None, "every folder hangs below the target"
        fd = self._top if here.parent is None else self._folders[here]
        if here.parent is not None:
            self._folders.move_to_end(here)
        for below in reversed(chain):
            fd = os.open(below.name, _FOLDER_FLAGS, dir_fd=fd)
            self._folders[below] = fd
            if len(self._folders) > _OPEN_FOLDERS:
                os.close(self._folders.popitem(last=False)[1])
        return fd

    def forget(self, folder: Folder) -> None:
        """Close a folder that is complete."""
        fd = self._folders.pop(folder, None)
        if fd is not None:
            os.close(fd)

    def stat(self, folder: Folder, name: bytes) -> os.stat_result | None:
        """Return what has the name, itself and not what it points to; None if nothing has."""
        try:
            return os.stat(name, dir_fd=self.fd(folder), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self, folder: Folder) -> list[bytes]:
        """Return the names in a folder."""
        return [
            os.fsencode(name)
            for name in os.listdir(self.fd(folder))  # noqa: PTH208 - of a descriptor
        ]

    def make_folder(self, parent: Folder, name: bytes) -> Folder:
        """Make a folder that only we may enter until it is complete.

        Raises:
            FileExistsError: Something has the name.
        """
        os.mkdir(name, 0o700, dir_fd=self.fd(parent))
        return Folder(parent, name, is_new=True)

    def create(self, folder: Folder, name: bytes, *, mode: int = 0o600) -> int:
        """Create a file that must not exist, and return its descriptor, which the caller closes.

        Others must not be able to see a file that is not complete: a `mode` that lets them is for
        new folders, which nobody else may enter until they are complete.
        """
        return os.open(name, _NEW_FLAGS, mode, dir_fd=self.fd(folder))

    def reopen(self, folder: Folder, name: bytes) -> int:
        """Return a descriptor to go on writing a file that `create` made; it is kept open."""
        fd = self._files.get(name)
        if fd is not None:
            self._files.move_to_end(name)
            return fd
        fd = os.open(name, _WRITE_FLAGS, dir_fd=self.fd(folder))
        self.adopt(name, fd)
        return fd

    def adopt(self, name: bytes, fd: int) -> None:
        """Keep open what `create` returned, for `reopen`."""
        self._files[name] = fd
        if len(self._files) > _OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])

    def drop(self, name: bytes) -> None:
        """Close a file that `reopen` keeps open."""
        fd = self._files.pop(name, None)
        if fd is not None:
            os.close(fd)

    @contextlib.contextmanager
    def reading(self, folder: Folder, name: bytes) -> Iterator[int]:
        """Open a file for reading.

        Raises:
            OSError: It is gone, may not be read, or is no file any more.
        """
        fd = os.open(name, _READ_FLAGS, dir_fd=self.fd(folder))
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "is not a file any more")
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def holding(self, folder: Folder, name: bytes) -> Iterator[int]:
        """Hold a symlink or FIFO itself, to describe it through `proc_path`."""
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd(folder))
        try:
            yield fd
        finally:
            os.close(fd)

    def publish(self, folder: Folder, unfinished: bytes, name: bytes, *, replace: bool) -> None:
        """Give a complete entry its name.

        Raises:
            FileExistsError: Something has the name, and `replace` is not set; nothing changed.
            IsADirectoryError: A folder has the name; folders are never replaced.
        """
        fd = self.fd(folder)
        if replace:
            os.rename(unfinished, name, src_dir_fd=fd, dst_dir_fd=fd)
        else:
            _rename_to_new(fd, unfinished, name)

    def link(self, source: Folder, source_name: bytes, folder: Folder, name: bytes) -> None:
        """Give a file another name in another folder, which must be free."""
        from_fd = os.dup(self.fd(source))  # the next look-up may close the descriptor
        try:
            os.link(
                source_name,
                name,
                src_dir_fd=from_fd,
                dst_dir_fd=self.fd(folder),
                follow_symlinks=False,
            )
        finally:
            os.close(from_fd)

    def is_same(self, folder: Folder, name: bytes, other: Folder, other_name: bytes) -> bool:
        """Return whether two names are of one file."""
        one, two = self.stat(folder, name), self.stat(other, other_name)
        return one is not None and two is not None and os.path.samestat(one, two)

    def remove(self, folder: Folder, name: bytes) -> None:
        """Remove a file, symlink or FIFO; do nothing if there is none."""
        self.drop(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd(folder))


def sync_file_system(fd: int) -> None:
    """Return when everything written to the file system of an open folder survives a power cut.

    Raises:
        OSError: The device failed.
    """
    if _syncfs is None:
        os.sync()
    elif _syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _rename_to_new(fd: int, old: bytes, new: bytes) -> None:
    """Rename in one folder, atomically refusing a name that is taken."""
    if _renameat2 is not None:
        if _renameat2(fd, old, fd, new, _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NOT_SUPPORTED:
            raise OSError(number, os.strerror(number), new)
    try:
        os.link(old, new, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # neither way is there, as on a FAT drive: look first
        with contextlib.suppress(FileNotFoundError):
            os.stat(new, dir_fd=fd, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
        os.rename(old, new, src_dir_fd=fd, dst_dir_fd=fd)
    else:
        os.unlink(old, dir_fd=fd)


_libc = ctypes.CDLL(None, use_errno=True)
_syncfs = getattr(_libc, "syncfs", None)
_renameat2 = getattr(_libc, "renameat2", None)
if _renameat2 is not None:
    _renameat2.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    )
