"""Compares two trees of files, name by name and byte by byte.

This is the judge of every restore, so it must not share a mistake with what it judges: **it imports
nothing of Overland**, and asks the operating system for everything.  `overland demo` and the
tests both end with it; `tests/unit/agent/test_compare.py` holds it to the rule.

What it compares: names as bytes, kinds, modes, owners, modification times in nanoseconds (of
files, folders, symlinks and FIFOs), lengths, every byte, symlink targets, which names are hard
links of each other, extended attributes (POSIX ACLs are among them) and holes.  What it leaves
out: access and change times, which reading and copying change, and inode numbers.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

__all__ = ["Comparison", "Rules", "compare_trees"]

_BLOCK_BYTES: Final = 1 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
_KEPT_OPEN: Final = 64
_ALLOCATION_SLACK_BYTES: Final = 64 << 10
"""File systems count their own maps and attribute blocks into a file's allocated bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What counts as a difference.

    Attributes:
        owners: Compare user and group ids; only root can restore them.
        attributes: Compare extended attributes, ACLs among them.
        holes: A hole of the first tree must be a hole of the second one.
        left_out: Kinds that a backup leaves out: they may lack in the second tree.
        root: Compare the metadata of the two top folders as well.
    """

    owners: bool = True
    attributes: bool = True
    holes: bool = True
    left_out: frozenset[str] = frozenset({"socket", "character device", "block device"})
    root: bool = True


@dataclass(slots=True, kw_only=True)
class Comparison:
    """What was compared, and every difference in words; equal trees have none."""

    entries: int = 0
    size_bytes: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether no difference was found."""
        return not self.differences


def compare_trees(
    first: str | bytes | Path, second: str | bytes | Path, rules: Rules | None = None
) -> Comparison:
    """Return all differences between the tree `first` and its copy `second`.

    Paths of any depth are reached, and names are bytes.  Neither tree may change meanwhile.

    Raises:
        OSError: One of the two, or a folder that both have, cannot be opened or listed, or a medium
            failed.  A file that must not be read is a difference.
    """
    comparer = _Comparer(rules or Rules())
    with _Place(os.fsencode(first)) as left, _Place(os.fsencode(second)) as right:
        comparer.walk(left, right)
    return comparer.found


class _Place:
    """An open folder that steps into its folders and back, holding few descriptors.

    Names are only ever looked up in the open folder, so that no path can become too long; at most
    64 of the folders above stay open.
    """

    def __init__(self, path: bytes) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._above: list[tuple[int, int, int | None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.fd)
        for _, _, kept in self._above:
            if kept is not None:
                os.close(kept)

    def names(self) -> list[bytes]:
        """Return the names in the open folder, sorted as bytes."""
        with os.scandir(self.fd) as entries:  # a descriptor gives text: undo it, byte for byte
            return sorted(os.fsencode(entry.name) for entry in entries)

    def stat(self, name: bytes) -> os.stat_result:
        """Return the status of an entry of the open folder; of a symlink, its own."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def path(self, name: bytes) -> bytes:
        """Return a short path to an entry, for the calls that take no descriptor."""
        return b"/proc/self/fd/%d/%s" % (self.fd, name)

    def enter(self, name: bytes) -> None:
        """Step into a folder of the open one.

        Raises:
            OSError: It is no folder, or must not be read; the open folder stays as it is.
        """
        below = os.open(name, _FOLDER, dir_fd=self.fd)
        here = os.fstat(self.fd)
        kept = self.fd if len(self._above) < _KEPT_OPEN else None
        if kept is None:
            os.close(self.fd)
        self._above.append((here.st_dev, here.st_ino, kept))
        self.fd = below

    def leave(self) -> None:
        """Step back to the folder above, which has to be the one that was open before."""
        device, inode, kept = self._above.pop()
        # Who may not search a folder cannot leave it by `..`, so the first ones stay open.
        above = os.open(b"..", _FOLDER, dir_fd=self.fd) if kept is None else kept
        os.close(self.fd)
        self.fd = above
        here = os.fstat(self.fd)
        assert (here.st_dev, here.st_ino) == (device, inode), "a folder moved while compared"


@dataclass(frozen=True, slots=True)
class _Pair:
    """One name in both trees: `shown` is its path below the top, for messages."""

    shown: bytes
    name: bytes
    left: _Place
    right: _Place

    def stats(self) -> tuple[os.stat_result, os.stat_result]:
        """Return the status of both entries, the first tree's first; links are not followed."""
        return self.left.stat(self.name), self.right.stat(self.name)


class _Comparer:
    """The walk: pairs of names, and the hard links seen so far."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.found = Comparison()
        self._to_right: dict[tuple[int, int], tuple[int, int]] = {}
        self._to_left: dict[tuple[int, int], tuple[int, int]] = {}

    def walk(self, left: _Place, right: _Place) -> None:
        """Compare two open folders and all below, depth first; the differences are in `found`.

        Raises:
            OSError: A folder that both have cannot be opened or listed.
        """
        if self._rules.root:
            self._metadata(_Pair(b".", b".", left, right), os.fstat(left.fd), os.fstat(right.fd))
        path: list[bytes] = []
        waiting = [iter(self._folders(path, left, right))]
        while waiting:
            name = next(waiting[-1], None)
            if name is not None:
                left.enter(name)
                right.enter(name)
                path.append(name)
                waiting.append(iter(self._folders(path, left, right)))
                continue
            waiting.pop()
            if waiting:
                path.pop()
                left.leave()
                right.leave()

    def _folders(self, path: list[bytes], left: _Place, right: _Place) -> list[bytes]:
        """Compare the entries of the two open folders; return the folders that both have."""
        ours, theirs = set(left.names()), set(right.names())
        for name in sorted(ours - theirs):
            kind = _kind(left.stat(name))
            if kind not in self._rules.left_out:
                self._differ(b"/".join([*path, name]), f"the {kind} lacks in the second tree")
        for name in sorted(theirs - ours):
            kind = _kind(right.stat(name))
            self._differ(b"/".join([*path, name]), f"the {kind} is only in the second tree")
        pairs = (_Pair(b"/".join([*path, n]), n, left, right) for n in sorted(ours & theirs))
        return [pair.name for pair in pairs if self._entry(pair) == "folder"]

    def _entry(self, pair: _Pair) -> str:
        """Compare one entry; return its kind, or nothing if the kinds differ."""
        one, two = pair.stats()
        kind = _kind(one)
        if kind != _kind(two):
            self._differ(pair.shown, f"is a {kind}, and in the second tree a {_kind(two)}")
            return ""
        self._metadata(pair, one, two)
        if kind == "symlink":
            ours, theirs = (os.readlink(pair.name, dir_fd=p.fd) for p in (pair.left, pair.right))
            self._require(pair, "target", ours, theirs)
        if kind == "file":
            self._content(pair)
        if kind != "folder":
            self._links(pair, one, two)
        return kind

    def _metadata(self, pair: _Pair, one: os.stat_result, two: os.stat_result) -> None:
        self.found.entries += 1
        self._require(pair, "modification time", one.st_mtime_ns, two.st_mtime_ns)
        if not stat.S_ISLNK(one.st_mode):  # Linux gives every symlink the mode 0777
            modes = (oct(stat.S_IMODE(one.st_mode)), oct(stat.S_IMODE(two.st_mode)))
            self._require(pair, "mode", *modes)
        if self._rules.owners:
            self._require(pair, "user", one.st_uid, two.st_uid)
            self._require(pair, "group", one.st_gid, two.st_gid)
        if self._rules.attributes:
            ours = _attributes_of(pair.left.path(pair.name))
            theirs = _attributes_of(pair.right.path(pair.name))
            self._require(pair, "extended attributes", ours, theirs)

    def _links(self, pair: _Pair, one: os.stat_result, two: os.stat_result) -> None:
        """Hold the two partitions into hard link groups equal: a bijection of inodes."""
        if one.st_nlink == two.st_nlink == 1:
            return
        ours, theirs = (one.st_dev, one.st_ino), (two.st_dev, two.st_ino)
        if self._to_right.setdefault(ours, theirs) != theirs:
            self._differ(pair.shown, "a hard link that is a file of its own in the second tree")
        elif self._to_left.setdefault(theirs, ours) != ours:
            self._differ(pair.shown, "a file of its own that is a hard link in the second tree")

    def _content(self, pair: _Pair) -> None:
        opened: list[int] = []
        try:
            opened += [os.open(pair.name, _FILE, dir_fd=pair.left.fd)]
            opened += [os.open(pair.name, _FILE, dir_fd=pair.right.fd)]
            for difference in _file_differences(*opened, holes=self._rules.holes):
                self._differ(pair.shown, difference)
            self.found.size_bytes += os.fstat(opened[0]).st_size
        except PermissionError:
            tree = "second" if opened else "first"
            self._differ(pair.shown, f"cannot be read in the {tree} tree: content not compared")
        finally:
            for fd in opened:
                os.close(fd)

    def _require(self, pair: _Pair, what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            self._differ(pair.shown, f"{what} {ours!r}, and in the second tree {theirs!r}")

    def _differ(self, shown: bytes, what: str) -> None:
        self.found.differences.append(f"{shown!r}: {what}")


def _kind(status: os.stat_result) -> str:
    return _KINDS[stat.S_IFMT(status.st_mode)]


def _attributes_of(path: bytes) -> list[tuple[str, bytes]]:
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
        return [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
    except OSError as error:
        return [(f"unreadable: {error.strerror}", b"")]


def _file_differences(one: int, two: int, *, holes: bool) -> Iterator[str]:
    size, other = os.fstat(one).st_size, os.fstat(two).st_size
    if size != other:
        yield f"{size} bytes long, and in the second tree {other}"
        return
    ours, theirs = _data_ranges(one, size), _data_ranges(two, size)
    at = _first_unequal(one, two, _union(ours, theirs))
    if at is not None:
        yield f"content differs from byte {at} on"
    if holes:
        yield from _hole_differences(one, two, ours=ours, theirs=theirs, size=size)


def _first_unequal(one: int, two: int, ranges: list[tuple[int, int]]) -> int | None:
    """Return the first byte that differs inside `ranges`; outside, both files are holes."""
    for start, end in ranges:
        for at in range(start, end, _BLOCK_BYTES):
            length = min(_BLOCK_BYTES, end - at)
            ours, theirs = os.pread(one, length, at), os.pread(two, length, at)
            if ours != theirs:
                same = next(
                    (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
                    min(len(ours), len(theirs)),
                )
                return at + same
            assert len(ours) == length, "a file became shorter while compared"
    return None


def _hole_differences(
    one: int, two: int, *, ours: list[tuple[int, int]], theirs: list[tuple[int, int]], size: int
) -> Iterator[str]:
    """Yield the holes of the first file that the second one fills, in whole blocks."""
    status, other = os.fstat(one), os.fstat(two)
    block = max(status.st_blksize, other.st_blksize, 4096)
    filled = _Ranges(theirs)
    for start, end in _holes(ours, size):
        first, last = -(-start // block) * block, end // block * block
        if first < last and filled.meet(first, last):
            yield f"the hole {start} to {end} is filled in the second tree"
            return
    allocated, copied = status.st_blocks * 512, other.st_blocks * 512
    if copied > allocated + allocated // 8 + max(_ALLOCATION_SLACK_BYTES, 2 * block):
        yield f"{allocated} bytes allocated, and in the second tree {copied}"


class _Ranges:
    """Sorted ranges, asked in rising order."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self._ranges, self._next = ranges, 0

    def meet(self, start: int, end: int) -> bool:
        """Return whether a byte from `start` to before `end` lies in a range.

        `start` is never less than the one asked before.
        """
        while self._next < len(self._ranges) and self._ranges[self._next][1] <= start:
            self._next += 1
        return self._next < len(self._ranges) and self._ranges[self._next][0] < end


def _data_ranges(fd: int, size: int) -> list[tuple[int, int]]:
    ranges, at = [], 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        ranges.append((start, min(at, size)))
    return ranges


def _holes(ranges: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    at = 0
    for start, end in ranges:
        if at < start:
            yield at, start
        at = end
    if at < size:
        yield at, size


def _union(ours: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in sorted([*ours, *theirs]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
