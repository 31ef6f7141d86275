"""What an entry is beside its content: owner, mode, times, attributes; put back, or reported."""

import contextlib
import errno
import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple

from overland.format.tree import KIND_FILE, KIND_SYMLINK, Entry

__all__ = ["Describer", "Made", "Owners", "has_default_acl"]

Owners = Literal["ids", "names", "none"]
"""Whose an entry becomes: of the same ids, of the users with the same names, or of who restores."""

_MODE_BITS: Final = 0o7777
_SET_ID_BITS: Final = 0o6000
_STICKY_BIT: Final = 0o1000
_OWN_MODE: Final = 0o600
_ALL_BITS: Final = 0o777
_DEFAULT_ACL: Final = b"system.posix_acl_default"
_ACLS: Final = {b"system.posix_acl_access", _DEFAULT_ACL}


class Made(NamedTuple):
    """What a new file has before anything is put back: its mode, and its user and group."""

    mode: int
    owner: tuple[int, int]


class Describer:
    """Gives restored entries their metadata; what cannot be given is told to `lacking`.

    Safe to use from several threads.
    """

    def __init__(self, owners: Owners, lacking: Callable[[str, bytes, str], None]) -> None:
        """Prepare.

        Args:
            owners: How owners are restored.
            lacking: Called with the kind (`owner`, `mode`, `time`, `attribute NAME`), the path
                and the reason of each thing that could not be put back.
        """
        self._owners, self._lacking = owners, lacking
        self._users: dict[str, int | None] = {}
        self._groups: dict[str, int | None] = {}
        self._is_root = os.geteuid() == 0
        self._own = (os.geteuid(), os.getegid())
        self._mask = _mask()
        self.inherits_acls = False  # set when a folder of the target gives its ACL to new entries

    def describe(
        self, place: int | bytes, entry: Entry, path: bytes, *, made: Made | None = None
    ) -> None:
        """Put back the metadata of what is at `place`, an open descriptor or a path to one.

        What it was `made` with need not be given again; None is not known.

        The order matters: a change of owner clears setuid bits and capabilities, and a mode
        without write permission would keep its owner from setting attributes.  What could not be
        given its owner does not get setuid and setgid bits: it would run as who restores.
        """
        times = (entry.mtime_ns, entry.mtime_ns)
        if made is not None and self._is_made(entry, made):
            self._put("time", path, _set_times, place, times)
            return
        if self._owners == "none":
            is_given = (entry.uid, entry.gid) == self._own
        else:
            is_given = self._give(place, entry, path, made)
        if self.inherits_acls:
            _remove_inherited(place, entry)
        for name, value in entry.xattrs:
            self._put(f"attribute {os.fsdecode(name)}", path, os.setxattr, place, name, value)
        is_made = made is not None and made.mode == entry.mode & _MODE_BITS
        if entry.kind != KIND_SYMLINK and not is_made:  # every symlink has the mode 0777
            self._put_mode(place, entry, path, is_given=is_given)
        self._put("time", path, _set_times, place, times)

    def _is_made(self, entry: Entry, made: Made) -> bool:
        """Return whether a new file has all that it is to have but its time, as most have."""
        return (
            self._owners == "ids"
            and made.owner == (entry.uid, entry.gid)
            and made.mode == entry.mode & _MODE_BITS
            and not (entry.xattrs or self.inherits_acls)
        )

    def _put_mode(self, place: int | bytes, entry: Entry, path: bytes, *, is_given: bool) -> None:
        mode = entry.mode & _MODE_BITS
        if not is_given and entry.kind == KIND_FILE and mode & _SET_ID_BITS:
            mode &= ~_SET_ID_BITS
            self._lacking("setuid and setgid", path, "it has another owner")
        self._put("mode", path, os.chmod, place, mode)

    def mode_to_make(self, entry: Entry) -> int:
        """Return the mode to make a file with, in a folder that only we may enter.

        It is the file's own where nothing can change it on the way: no mask, no inherited ACL, no
        change of owner or attributes that asks for another one meanwhile.
        """
        mode = entry.mode & _MODE_BITS
        is_plain = not (mode & _SET_ID_BITS or mode & _STICKY_BIT or mode & self._mask)
        return mode if is_plain and not self.inherits_acls and not entry.xattrs else _OWN_MODE

    def _give(self, place: int | bytes, entry: Entry, path: bytes, made: Made | None) -> bool:
        """Give the entry its owner; return whether it has it."""
        uid, gid = entry.uid, entry.gid
        if self._owners == "names":
            uid = _known(entry.user, uid, self._users, _user_id)
            gid = _known(entry.group, gid, self._groups, _group_id)
        if (not self._is_root and (uid, gid) == self._own) or (
            made is not None and (uid, gid) == made.owner
        ):
            return True
        return self._put("owner", path, os.chown, place, uid, gid)

    def _put(
        self, kind: str, path: bytes, call: Callable[..., None], place: int | bytes, *values: object
    ) -> bool:
        """Put one thing back; return whether that worked, and note it if it did not."""
        try:
            call(place, *values)
        except OverflowError:
            self._lacking(kind, path, "this system cannot express it")
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}:
                raise
            self._lacking(kind, path, error.strerror or str(error))
        else:
            return True
        return False


def _mask() -> int:
    """Return which bits the system takes from the mode of new files; all where it does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _ALL_BITS
    lines = [line for line in status.splitlines() if line.startswith("Umask:")]
    return int(lines[0].split()[1], 8) if lines else _ALL_BITS


def _set_times(place: int | bytes, times: tuple[int, int]) -> None:
    os.utime(place, ns=times)


def _remove_inherited(place: int | bytes, entry: Entry) -> None:
    own = {name for name, _ in entry.xattrs}
    for name in _ACLS - own:
        with contextlib.suppress(OSError):  # most have none, and some file systems never have
            os.removexattr(place, name)


def has_default_acl(fd: int) -> bool:
    """Return whether what is made in an open folder gets an ACL that nobody asked for."""
    try:
        return _DEFAULT_ACL in {os.fsencode(name) for name in os.listxattr(fd)}
    except OSError:
        return False


def _known(
    name: str | None, number: int, known: dict[str, int | None], find: Callable[[str], int]
) -> int:
    """Return the id that `name` has here; the stored one if the name is unknown here."""
    if name is None:
        return number
    if name not in known:
        try:
            known[name] = find(name)
        except KeyError:
            known[name] = None
    found = known[name]
    return number if found is None else found


def _user_id(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _group_id(name: str) -> int:
    return grp.getgrnam(name).gr_gid
