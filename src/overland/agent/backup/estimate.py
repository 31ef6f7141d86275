"""How much a source holds, before it is read: what a staging location must have room for."""

import contextlib
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple, final

from overland.agent.backup.plan import BackupPlan
from overland.agent.backup.selection import identities, is_own_snapshot
from overland.source.marks import Marks
from overland.source.rules import Rules
from overland.source.scan import list_names, look_at, open_folder, open_root

__all__ = ["Estimate", "selected_bytes"]

_LOOKED_AT_ONCE: Final = 4096  # entries; a folder may hold millions, and the state of one is 0.6 kB


class Estimate(NamedTuple):
    """What the sources hold.

    `size_bytes` is of everything but the streams in `unknown`, whose length shows when they end.
    """

    size_bytes: int
    unknown: tuple[str, ...]


class _Folder(NamedTuple):
    """An open folder on the way down, and the folders in it that are still to be looked into."""

    fd: int
    path: bytes
    is_included: bool
    rest: Iterator[bytes]


def selected_bytes(plan: BackupPlan) -> Estimate:
    """Return the bytes that the selected files occupy, holes not counted.

    What cannot be looked at counts nothing, nor what lies deeper than there are descriptors; the
    backup itself names the one and enters the other.  A block device counts whole: its zeros show
    when it is read.
    """
    named = {os.fsencode(path) for path in (*plan.roots, *plan.images)}
    count = _Count(plan, named)
    for path in named:
        with contextlib.suppress(OSError):
            count.add_source(path)
    return Estimate(count.total_bytes, tuple(stream.path for stream in plan.streams))


@final
class _Count:
    """Goes through the roots with a stack of its own, because their depth has no limit."""

    def __init__(self, plan: BackupPlan, named: Collection[bytes]) -> None:
        self.total_bytes = 0
        self._rules = Rules(include=plan.include, exclude=plan.exclude)
        self._marks: Marks = plan.marks
        self._never_enter = identities(plan.never_enter)
        self._one_file_system = plan.one_file_system
        self._named = named
        self._root = b""
        self._way: list[_Folder] = []

    def add_source(self, path: bytes) -> None:
        """Count what is selected in a source of any kind."""
        state = os.stat(path)  # noqa: PTH116 - a Path is text, and this is bytes
        if stat.S_ISDIR(state.st_mode):
            self._add_folder(path)
        elif stat.S_ISBLK(state.st_mode):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.total_bytes += os.lseek(fd, 0, os.SEEK_END)
            os.close(fd)
        else:
            self.total_bytes += _occupied(state)

    def _add_folder(self, path: bytes) -> None:
        is_included = self._rules.includes(b"", is_included=False)
        self._root = path.rstrip(b"/")
        self._enter(open_root(path), b"", is_included=is_included)
        while self._way:
            folder = self._way[-1]
            name = next(folder.rest, None)
            if name is None:
                os.close(self._way.pop().fd)
                continue
            with contextlib.suppress(OSError):
                below = folder.path + b"/" + name if folder.path else name
                included = self._rules.includes(below, is_included=folder.is_included)
                self._enter(open_folder(name, parent_fd=folder.fd), below, is_included=included)

    def _enter(self, fd: int, path: bytes, *, is_included: bool) -> None:
        try:
            names, device = list_names(fd), os.fstat(fd).st_dev
        except OSError:
            os.close(fd)
            raise
        folders: list[bytes] = []
        for name, state in _of_interest(names, self._marks.found(names, fd=fd), fd=fd):
            below = path + b"/" + name if path else name
            is_folder = stat.S_ISDIR(state.st_mode)
            if self._root + b"/" + below in self._named:
                continue  # a source of its own, which is counted as such
            if self._one_file_system and state.st_dev != device:
                continue
            if not self._rules.keeps(below, is_folder=is_folder, is_included=is_included):
                continue
            if stat.S_ISREG(state.st_mode):
                if not self._marks.is_too_large(state.st_size):
                    self.total_bytes += _occupied(state)
            elif is_folder and self._is_entered(name, state):
                folders.append(name)
        self._way.append(_Folder(fd, path, is_included, iter(folders)))

    def _is_entered(self, name: bytes, state: os.stat_result) -> bool:
        is_ours = (state.st_dev, state.st_ino) in self._never_enter
        return not is_ours and not is_own_snapshot(name, state)


def _of_interest(
    names: Sequence[bytes], marks: frozenset[bytes], *, fd: int
) -> Iterator[tuple[bytes, os.stat_result]]:
    wanted = [name for name in names if name in marks] if marks else names
    for at in range(0, len(wanted), _LOOKED_AT_ONCE):
        listing = look_at(list(wanted[at : at + _LOOKED_AT_ONCE]), fd=fd)
        yield from zip(listing.names, listing.stats, strict=True)


def _occupied(state: os.stat_result) -> int:
    return min(state.st_size, state.st_blocks * 512)
