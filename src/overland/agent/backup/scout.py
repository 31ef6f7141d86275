"""What the process does that looks ahead: back through the folders that the last run knew.

It goes into every folder that the last run kept, as the change cache tells, in the reverse of the
walk's order, except that a folder is seen before those in it.  Rules need not be known here; what
was seen of a folder that the walk leaves out is not asked for.
"""

import os
import stat
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, final

import msgspec

from overland.agent.backup.sections import MANY_ENTRIES
from overland.agent.backup.sights import Sight
from overland.source.changes import ChangeCache, FolderBlock, fingerprint, folder_key, split_prints
from overland.source.entries import read_xattrs
from overland.source.scan import list_names, look_at, open_folder, open_root, state_of

__all__ = ["HEAD", "report"]

HEAD: Final = struct.Struct("<I16s")
"""What stands before each report: its length, and the folder's key in the change cache."""

_SEND_BYTES: Final = 4 << 10
_DEEPEST: Final = 64  # folders that are open at a time, one in the other; the walk has as many


def report(roots: Sequence[tuple[bytes, bytes]], cache: ChangeCache, fd: int) -> None:
    """Write a report of each folder that the cache knows to a pipe, the walk's last ones first.

    Raises:
        BrokenPipeError: Nobody reads them any more.
    """
    waiting: list[bytes] = []
    size = 0
    for key, sight in _Scout(cache).sights(roots):
        encoded = _encoded(sight)
        waiting += (HEAD.pack(len(encoded), key), encoded)
        size += len(encoded)
        if size >= _SEND_BYTES:
            _write(fd, b"".join(waiting))
            waiting, size = [], 0
    _write(fd, b"".join(waiting))


class _Open(NamedTuple):
    """A folder on the way, and the places of those in it that are still to be seen."""

    fd: int
    key: bytes
    names: list[bytes]
    rest: Iterator[int]


@final
class _Scout:
    def __init__(self, cache: ChangeCache) -> None:
        self._cache = cache
        self._way: list[_Open] = []

    def sights(self, roots: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, Sight]]:
        """Yield key and sight of each folder at and below the roots that the cache knows.

        `roots` are their paths, and the paths to open them by; the last one comes first.  A folder
        that cannot be opened or read, lies too deep, or is of a kind that is left to the walk, is
        left out with all below it.
        """
        way = self._way
        for path, opens_at in reversed(roots):
            yield from self._see(folder_key(b"", path), opens_at, parent=None)
            while way:
                folder = way[-1]
                slot = next(folder.rest, None)
                if slot is None:
                    os.close(way.pop().fd)
                else:
                    name = folder.names[slot]
                    yield from self._see(folder_key(folder.key, name), name, parent=folder.fd)

    def _see(self, key: bytes, name: bytes, *, parent: int | None) -> Iterator[tuple[bytes, Sight]]:
        block = self._cache.find(key)
        if block is None or not block.node or len(self._way) == _DEEPEST:
            return
        try:
            fd = open_root(name) if parent is None else open_folder(name, parent_fd=parent)
        except OSError:  # the walk says what it is, here and below
            return
        try:
            names, below, sight = _seen(fd, block)
        except OSError:
            os.close(fd)
            return
        self._way.append(_Open(fd, key, names, reversed(below)))
        yield key, sight


def _seen(fd: int, block: FolderBlock) -> tuple[list[bytes], list[int], Sight]:
    """Return the names in an open folder, the places of folders to go into, and the report.

    Raises:
        OSError: It cannot be read as a whole, or is of a kind that is left to the walk.
    """
    own, xattrs = os.fstat(fd), read_xattrs(fd)
    names, stats, failed = look_at(list_names(fd), fd=fd)
    device = own.st_dev
    if failed or len(names) > MANY_ENTRIES or any(state.st_dev != device for state in stats):
        raise OSError
    prints = [fingerprint(state) for state in stats]
    joined_names, joined = b"\0".join(names), b"".join(prints)
    is_same = joined == block.fingerprints and joined_names == block.names
    old_names = names if is_same else block.names.split(b"\0")
    old = dict(zip(old_names, split_prints(block.fingerprints), strict=False))  # no names: one
    states = [
        (slot, state_of(state))
        for slot, (name, state, mark) in enumerate(zip(names, stats, prints, strict=True))
        if not stat.S_ISREG(state.st_mode) or state.st_nlink != 1 or old.get(name) != mark
    ]
    below = [slot for slot, state in states if stat.S_ISDIR(state.st_mode) and names[slot] in old]
    sight = Sight(
        device,
        own.st_ino,
        xattrs,
        is_same,
        b"" if is_same else joined_names,
        b"" if is_same else joined,
        tuple(states),
        bool(below),
    )
    return names, below, sight


def _encoded(sight: Sight) -> bytes:
    """Return the report; nothing, which counts as none, where a time does not fit a message."""
    try:
        return _encoder.encode(sight)
    except OverflowError:
        return b""


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


_encoder: Final = msgspec.msgpack.Encoder()
