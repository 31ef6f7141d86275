"""Folders and their entries, without a limit on depth and without following links.

Everything goes relative to an open folder, so that paths longer than the system's PATH_MAX work
and a folder that is swapped for a link while we look is not followed.
"""

import errno
import os
import stat
import sys
from typing import Any, Final, NamedTuple

import msgspec

__all__ = [
    "Listing",
    "NotAFile",
    "Stat",
    "State",
    "kind_of",
    "list_folder",
    "list_names",
    "look_at",
    "open_folder",
    "open_root",
    "reason_of",
    "state_of",
]

_ENCODING = sys.getfilesystemencoding()
_ERRORS = sys.getfilesystemencodeerrors()
_ENCODED_AT_ONCE = 4096
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class State(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The state of an entry that another process has looked at: what a backup asks of it."""

    st_mode: int
    st_ino: int
    st_dev: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_blocks: int


Stat = os.stat_result | State
"""The state of an entry, whoever has looked at it."""


class Listing(NamedTuple):
    """The entries of a folder: names sorted as bytes, and the state of each."""

    names: list[bytes]
    stats: list[os.stat_result]
    failed: list[tuple[bytes, str]]  # entries whose state cannot be read, and why


def open_root(path: bytes) -> int:
    """Return a descriptor of a source root; here, and only here, a link is followed."""
    return os.open(path, _FOLDER_FLAGS)


def open_folder(name: bytes, *, parent_fd: int) -> int:
    """Return a descriptor of the folder `name` in an open folder.

    Raises:
        OSError: It is gone, not a folder any more, or may not be read.
    """
    return os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=parent_fd)


def list_folder(fd: int) -> Listing:
    """Return what the open folder holds.

    Raises:
        OSError: The folder cannot be read.
    """
    return look_at(list_names(fd), fd=fd)


def list_names(fd: int) -> list[bytes]:
    """Return the names in the open folder, sorted as bytes.

    Raises:
        OSError: The folder cannot be read.
    """
    found: list[Any] = os.listdir(fd)
    # As `os.fsencode`, without a call of Python for each name; in parts, because a folder may
    # hold millions, and text and bytes of all of them are twice as much.
    for at in range(0, len(found), _ENCODED_AT_ONCE):
        part = found[at : at + _ENCODED_AT_ONCE]
        found[at : at + _ENCODED_AT_ONCE] = [name.encode(_ENCODING, _ERRORS) for name in part]
    names: list[bytes] = found
    names.sort()
    return names


def look_at(names: list[bytes], *, fd: int) -> Listing:
    """Return the state of each of these entries of the open folder.

    An entry that vanishes between the listing and the look at it is left out without a word: it
    was removed before it was backed up.
    """
    stats: list[os.stat_result] = []
    failed: list[tuple[bytes, str]] = []
    missing: set[bytes] = set()
    look = os.stat
    for name in names:
        try:
            stats.append(look(name, dir_fd=fd, follow_symlinks=False))
        except OSError as error:
            missing.add(name)
            if not isinstance(error, FileNotFoundError):
                failed.append((name, reason_of(error)))
    if missing:
        names = [name for name in names if name not in missing]
    return Listing(names, stats, failed)


def state_of(found: os.stat_result) -> State:
    """Return of a state what a backup asks of it."""
    return State(
        found.st_mode,
        found.st_ino,
        found.st_dev,
        found.st_nlink,
        found.st_uid,
        found.st_gid,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_blocks,
    )


def kind_of(mode: int) -> str:
    """Return `file`, `folder`, `symlink`, `fifo`, or what it is that a backup leaves out."""
    return _KINDS.get(stat.S_IFMT(mode), "something unknown")


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}

_REPLACED: Final = "replaced by something that is not a file"
_NOT_OF_FILES: Final = {errno.ESPIPE, errno.EISDIR, errno.ENXIO}  # a pipe, a folder, a socket


class NotAFile(OSError):
    """What was a file at the scan is something else now."""

    def __init__(self) -> None:
        super().__init__(errno.ENOENT, _REPLACED)


def reason_of(error: OSError) -> str:
    """Return why something of the source could not be read, in words for the operator."""
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, NotAFile) or error.errno in _NOT_OF_FILES:
        return _REPLACED
    if isinstance(error, FileNotFoundError):
        return "vanished while the backup ran"
    return f"cannot be read: {os.strerror(error.errno)}" if error.errno else "cannot be read"
