"""What is kept of a file or folder beside its content: mode, owners, times, attributes."""

import contextlib
import errno
import grp
import os
import pwd
import stat
import threading
from typing import Final, final

import msgspec
from blake3 import blake3

from overland.format.tree import KIND_FIFO, KIND_FILE, KIND_FOLDER, KIND_SYMLINK, Entry, Kind
from overland.source.scan import Stat

__all__ = ["Entries", "Xattrs", "link_of", "read_xattrs", "read_xattrs_at", "with_link"]

_KINDS: Final[dict[int, Kind]] = {
    stat.S_IFREG: KIND_FILE,
    stat.S_IFDIR: KIND_FOLDER,
    stat.S_IFLNK: KIND_SYMLINK,
    stat.S_IFIFO: KIND_FIFO,
}
_FIRST_NS: Final = -(2**63)  # the format holds the years 1677 to 2262
_LAST_NS: Final = 2**63 - 1
_NO_ATTRIBUTES: Final = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EACCES})
Xattrs = tuple[tuple[bytes, bytes], ...]


@final
class Entries:
    """Makes tree entries; remembers the names of owners.  Safe for many threads."""

    def __init__(self) -> None:
        self._users: dict[int, str | None] = {}
        self._groups: dict[int, str | None] = {}
        self._lock = threading.Lock()

    def make(  # noqa: PLR0913 - one place that knows which field comes from where
        self,
        name: bytes,
        state: Stat,
        *,
        content: bytes = b"",
        levels: int = 0,
        extents: tuple[tuple[int, int], ...] | None = None,
        size_bytes: int = 0,
        target: bytes = b"",
        xattrs: Xattrs = (),
        changed: bool = False,
    ) -> Entry:
        """Return the entry of something with this state; the rest depends on its kind.

        A time that the format cannot hold becomes the nearest one that it can.
        """
        mode, uid, gid = state.st_mode, state.st_uid, state.st_gid
        mtime_ns = state.st_mtime_ns
        if not _FIRST_NS <= mtime_ns <= _LAST_NS:
            mtime_ns = _FIRST_NS if mtime_ns < 0 else _LAST_NS
        kind = _KINDS[stat.S_IFMT(mode)]
        users, groups = self._users, self._groups
        return Entry(
            name=name,
            kind=kind,
            mode=stat.S_IMODE(mode),
            uid=uid,
            gid=gid,
            user=users[uid] if uid in users else self._user(uid),
            group=groups[gid] if gid in groups else self._group(gid),
            mtime_ns=mtime_ns,
            size_bytes=size_bytes,
            content=content,
            levels=levels,
            extents=extents,
            target=target,
            xattrs=xattrs,
            link=link_of(state) if state.st_nlink > 1 else b"",
            changed=changed,
        )

    def _user(self, uid: int) -> str | None:
        with self._lock:
            name: str | None = None
            with contextlib.suppress(KeyError):
                name = _valid(pwd.getpwuid(uid).pw_name)
            self._users[uid] = name
            return name

    def _group(self, gid: int) -> str | None:
        with self._lock:
            name: str | None = None
            with contextlib.suppress(KeyError):
                name = _valid(grp.getgrgid(gid).gr_name)
            self._groups[gid] = name
            return name


def link_of(state: Stat) -> bytes:
    """Return the id of a hard link group: the same for all names of one file, 16 bytes.

    Empty where the file has one name, and for folders, whose count means something else.
    """
    if state.st_nlink < 2 or stat.S_ISDIR(state.st_mode):
        return b""
    return blake3(b"%d %d" % (state.st_dev, state.st_ino)).digest(16)


def with_link(entry: Entry, link: bytes) -> Entry:
    """Return the entry with another hard link group; groups depend on the device's number."""
    return entry if entry.link == link else msgspec.structs.replace(entry, link=link)


def read_xattrs(fd: int) -> Xattrs:
    """Return the extended attributes, ACLs among them, of an open file or folder, sorted.

    Attributes that this process may not read, or that the file system does not have, are not
    there.
    """
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return ()
        raise
    return _values(names, fd) if names else ()


def read_xattrs_at(name: bytes, *, parent_fd: int) -> Xattrs:
    """Return the attributes of what cannot be opened, a link or a pipe, itself.

    The system has no call relative to a folder for this; its name below /proc/self/fd does the
    same.
    """
    path = b"/proc/self/fd/%d/%s" % (parent_fd, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES or isinstance(error, FileNotFoundError):
            return ()
        raise
    return _values(names, path) if names else ()


def _values(names: list[str], where: int | bytes) -> Xattrs:
    found: list[tuple[bytes, bytes]] = []
    for name in names:
        try:
            if isinstance(where, int):
                value = os.getxattr(where, name)
            else:
                value = os.getxattr(where, name, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTES and error.errno != errno.ENODATA:
                raise
            continue
        found.append((os.fsencode(name), value))
    return tuple(sorted(found))


def _valid(name: str) -> str | None:
    """Return the name if it is text that can be stored; surrogates cannot."""
    return name if name.isprintable() and len(name) <= 1024 else None
