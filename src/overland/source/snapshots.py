"""Snapshots of the source's file systems, so that all of a source is read as of one instant.

A snapshot is taken of the btrfs subvolume or ZFS dataset that a source lies in, read under the
source's own paths, and removed afterwards.  Its name has the repository's id in it, and eight
random digits; what a killed run left is found by that name, and removed before the next one is
taken.  What has another name, can be written to, or is no snapshot, stays.  A run holds the lock of
the agent's home folder, so that no snapshot of the repository is in use when the next run looks.

A snapshot stops at what is mounted in it, and at subvolumes in it: these are read as they are
while the backup runs, unless they are sources themselves.  Snapshots of several file systems are
taken one after the other.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, final

from overland.errors import RefusedError
from overland.events import Log
from overland.ports.programs import ProgramAbsent, Programs

__all__ = [
    "Mount",
    "SnapshotImpossible",
    "SnapshotMode",
    "SnapshotView",
    "read_mounts",
    "snapshots",
]

SnapshotMode = Literal["none", "auto", "btrfs", "zfs"]

_TIMEOUT_S: Final = 300.0  # a snapshot waits for what is being written, and no longer
_SUBVOLUME: Final = 256  # the inode of a btrfs subvolume's top folder
_STUB: Final = 2  # the inode of the empty folder that stands for a subvolume in a snapshot
_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_TOKEN: Final = re.compile(rb"[0-9a-f]{8}")  # behind the prefix; anything else is somebody else's

log = Log()


class SnapshotImpossible(RefusedError):
    """The policy asks for snapshots, and one of a source cannot be taken; nothing was read."""

    code = "snapshot-impossible"

    def __init__(self, path: str, *, problem: str) -> None:
        super().__init__(
            f"no snapshot of {path} can be taken: {problem}; put that right, or change the policy "
            "with --snapshot auto, which reads what is there"
        )
        self.path, self.problem = path, problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mounted file system."""

    path: bytes
    kind: str
    device: bytes


@dataclass(slots=True, kw_only=True)
class SnapshotView:
    """Where to read what, while snapshots are there.

    Attributes:
        notes: In words: which sources are read as they are, and why.
    """

    notes: list[str] = field(default_factory=list)
    _sources: dict[bytes, bytes] = field(default_factory=dict)
    _mounted: set[bytes] = field(default_factory=set)

    def elsewhere(self, path: bytes, inode: int) -> bytes | None:
        """Return where to open what has this full path, None for where the walk is already.

        Args:
            path: Under which it stands in the recovery point.
            inode: Of what the walk sees there; 0 for a source.
        """
        if path in self._sources:
            return self._sources[path]
        if self._sources and (inode == _STUB or path in self._mounted):
            return path  # a snapshot shows an empty folder in its place
        return None

    def add(self, source: bytes, where: bytes) -> None:
        """Have a source read in a snapshot."""
        self._sources[source] = where


class _Method(Protocol):
    """One kind of snapshots."""

    def unit_of(self, path: bytes, mount: Mount) -> bytes | None:
        """Return the top folder of what a snapshot is taken of as a whole; None if of nothing."""
        ...

    def take(self, unit: bytes, mount: Mount, name: str) -> bytes:
        """Take a snapshot; return the folder that shows it."""
        ...

    def names(self, unit: bytes, mount: Mount, prefix: str) -> list[str]:
        """Return the snapshots of ours that are there."""
        ...

    def remove(self, unit: bytes, mount: Mount, name: str) -> None:
        """Remove a snapshot."""
        ...


@final
class _Btrfs:
    """Read-only snapshots of a subvolume, in its top folder."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def unit_of(self, path: bytes, mount: Mount) -> bytes | None:
        at = path
        # Paths are bytes here, which pathlib does not take.
        while os.stat(at).st_ino != _SUBVOLUME or not os.path.isdir(at):  # noqa: PTH112, PTH116 - so
            if at in {mount.path, b"/"}:
                return None  # a folder of a subvolume, mounted without its top
            at = at.rpartition(b"/")[0] or b"/"
        return at

    def take(self, unit: bytes, mount: Mount, name: str) -> bytes:  # noqa: ARG002 - as ZFS needs it
        where = _below(unit, b"." + name.encode())
        _call(self._programs, unit, "btrfs", "subvolume", "snapshot", "-r", unit, where)
        return where

    def names(self, unit: bytes, mount: Mount, prefix: str) -> list[str]:  # noqa: ARG002 - as ZFS
        found = []
        for name in os.listdir(unit):  # noqa: PTH208 - names as bytes
            is_ours = _is_named_by_us(name, b"." + prefix.encode())
            if is_ours and os.lstat(_below(unit, name)).st_ino == _SUBVOLUME:
                found.append(name[1:].decode())
        return found

    def remove(self, unit: bytes, mount: Mount, name: str) -> None:  # noqa: ARG002 - as ZFS needs it
        where = _below(unit, b"." + name.encode())
        shown = _call(self._programs, unit, "btrfs", "property", "get", "-ts", where, "ro")
        if shown.strip() != b"ro=true":
            raise SnapshotImpossible(os.fsdecode(where), problem="it is not a snapshot of ours")
        _call(self._programs, unit, "btrfs", "subvolume", "delete", where)


@final
class _Zfs:
    """Snapshots of a dataset, shown in its `.zfs` folder."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def unit_of(self, path: bytes, mount: Mount) -> bytes | None:  # noqa: ARG002 - as btrfs needs it
        return mount.path

    def take(self, unit: bytes, mount: Mount, name: str) -> bytes:
        _call(self._programs, unit, "zfs", "snapshot", mount.device + b"@" + name.encode())
        return _below(unit, b".zfs/snapshot/" + name.encode())

    def names(self, unit: bytes, mount: Mount, prefix: str) -> list[str]:
        listed = _call(
            self._programs, unit, "zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-d", "1",
            mount.device,
        )  # fmt: skip
        ours = mount.device + b"@" + prefix.encode()
        start = len(mount.device) + 1
        return [
            line[start:].decode() for line in listed.splitlines() if _is_named_by_us(line, ours)
        ]

    def remove(self, unit: bytes, mount: Mount, name: str) -> None:
        _call(self._programs, unit, "zfs", "destroy", mount.device + b"@" + name.encode())


@contextlib.contextmanager
def snapshots(
    sources: Sequence[bytes],
    *,
    mode: SnapshotMode,
    repository_id: str,
    programs: Programs,
    random: Callable[[int], bytes] = os.urandom,
    mounts: Callable[[], list[Mount]] | None = None,
) -> Iterator[SnapshotView]:
    """Take snapshots of what the sources lie in, and remove them at the end.

    Args:
        sources: Full paths of folders and files.
        mode: `auto` takes those that can be taken, and notes the others; `btrfs` and `zfs` insist.
        repository_id: Part of the names, so that only this repository's are ever removed.
        programs: Runs the file systems' tools.
        random: Makes the names differ.
        mounts: What is mounted; None asks the system.

    Raises:
        SnapshotImpossible: A snapshot that the mode insists on cannot be taken; none is left.
    """
    view = SnapshotView()
    if mode == "none":
        yield view
        return
    prefix = f"overland-snapshot-{repository_id[:8]}-"
    taker = _Taker(mode, prefix, random(4).hex(), programs, (mounts or read_mounts)(), view)
    try:
        for source in sources:
            taker.add(source)
        yield view
    finally:
        taker.remove_all()


@final
class _Taker:
    """The snapshots of one run."""

    def __init__(
        self,
        mode: SnapshotMode,
        prefix: str,
        token: str,
        programs: Programs,
        mounts: list[Mount],
        view: SnapshotView,
    ) -> None:
        self._mode, self._prefix, self._name = mode, prefix, prefix + token
        self._mounts, self._view = mounts, view
        self._methods: dict[str, _Method] = {"btrfs": _Btrfs(programs), "zfs": _Zfs(programs)}
        self._taken: dict[bytes, tuple[_Method, Mount, bytes]] = {}
        view._mounted.update(mount.path for mount in mounts)  # noqa: SLF001 - one module

    def add(self, source: bytes) -> None:
        """Have a source read in a snapshot, or note why it is not."""
        try:
            real = os.path.realpath(source)
            mount = _mount_of(real, self._mounts)
            unit, where = self._snapshot(real, mount)
        except (SnapshotImpossible, ProgramAbsent, OSError) as error:
            if self._mode != "auto":
                raise
            self._view.notes.append(f"{os.fsdecode(source)} is read without a snapshot: {error}")
            return
        inside = real[len(unit) :].lstrip(b"/")
        self._view.add(source, _below(where, inside) if inside else where)

    def remove_all(self) -> None:
        """Remove what was taken; what cannot be removed is left to the next run."""
        for unit, (method, mount, _) in self._taken.items():
            try:
                method.remove(unit, mount, self._name)
            except (SnapshotImpossible, ProgramAbsent, OSError) as error:
                log.warning("snapshot.left", name=self._name, problem=str(error))

    def _snapshot(self, path: bytes, mount: Mount) -> tuple[bytes, bytes]:
        method = self._methods.get(mount.kind)
        if method is None or self._mode not in {"auto", mount.kind}:
            problem = f"it lies in a file system of the kind {mount.kind}"
            raise SnapshotImpossible(os.fsdecode(path), problem=problem)
        unit = method.unit_of(path, mount)
        if unit is None:
            problem = "the top folder of its subvolume is not mounted"
            raise SnapshotImpossible(os.fsdecode(path), problem=problem)
        if unit not in self._taken:
            for name in method.names(unit, mount, self._prefix):
                self._remove_left(method, unit, mount, name)
            self._taken[unit] = (method, mount, method.take(unit, mount, self._name))
            log.info("snapshot.taken", name=self._name)
        return unit, self._taken[unit][2]

    def _remove_left(self, method: _Method, unit: bytes, mount: Mount, name: str) -> None:
        """Remove what an earlier run left; what cannot be removed is noted, and in nobody's way."""
        try:
            method.remove(unit, mount, name)
        except SnapshotImpossible as error:
            where = os.fsdecode(unit)
            self._view.notes.append(f"{name} in {where} was not removed: {error.problem}")
        else:
            log.info("snapshot.removed", name=name)


def read_mounts() -> list[Mount]:
    """Return what is mounted, in the order of mounting (proc(5), `/proc/[pid]/mountinfo`)."""
    found = []
    with open("/proc/self/mountinfo", "rb") as file:  # noqa: PTH123 - a fixed name
        for line in file:
            fields = line.split()
            after = fields.index(b"-")
            found.append(
                Mount(
                    path=_unescaped(fields[4]),
                    kind=fields[after + 1].decode(),
                    device=_unescaped(fields[after + 2]),
                )
            )
    return found


def _mount_of(path: bytes, mounts: Sequence[Mount]) -> Mount:
    best = Mount(path=b"", kind="unknown", device=b"")
    for mount in mounts:
        is_above = path == mount.path or path.startswith(mount.path.rstrip(b"/") + b"/")
        if is_above and len(mount.path) >= len(best.path):
            best = mount  # a later one of the same path hides the earlier
    return best


def _call(programs: Programs, unit: bytes, *argv: str | bytes) -> bytes:
    """Run a tool and return what it printed.

    Raises:
        SnapshotImpossible: It failed.
        ProgramAbsent: It is not installed.
    """
    done = programs.run([os.fsdecode(part) for part in argv], timeout_s=_TIMEOUT_S)
    if done.status:
        said = done.errors.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        raise SnapshotImpossible(os.fsdecode(unit), problem=said[-1][:300])
    return done.output


def _is_named_by_us(name: bytes, prefix: bytes) -> bool:
    return name.startswith(prefix) and _TOKEN.fullmatch(name, len(prefix)) is not None


def _below(folder: bytes, name: bytes) -> bytes:
    return folder.rstrip(b"/") + b"/" + name


def _unescaped(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), text)
