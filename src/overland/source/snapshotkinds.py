"""The kinds of snapshots: how each is taken, found again, proven whole and removed."""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, final

from overland.errors import RefusedError
from overland.ports.programs import Programs
from overland.source.snapshotview import SnapshotMode

__all__ = [
    "Btrfs",
    "Method",
    "Mount",
    "SnapshotImpossible",
    "SnapshotLost",
    "Zfs",
    "below",
    "call",
    "is_named_by_us",
    "read_mounts",
]

_TIMEOUT_S: Final = 300.0  # a snapshot waits for what is being written, and no longer
_GONE: Final = "it is gone"
_SUBVOLUME: Final = 256  # the inode of a btrfs subvolume's top folder
_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_TOKEN: Final = re.compile(rb"[0-9a-f]{8}")  # behind the prefix; anything else is somebody else's


class SnapshotImpossible(RefusedError):
    """The policy asks for snapshots, and one of a source cannot be taken; nothing was read."""

    code = "snapshot-impossible"

    def __init__(self, path: str, *, problem: str) -> None:
        super().__init__(
            f"no snapshot of {path} can be taken: {problem}; put that right, or change the policy "
            "with --snapshot auto, which reads what is there"
        )
        self.path, self.problem = path, problem


class SnapshotLost(RefusedError):
    """A snapshot did not last as long as the run that read from it; no point was made."""

    code = "snapshot-lost"

    def __init__(self, path: str, *, problem: str) -> None:
        super().__init__(
            f"the snapshot of {path} was lost while it was read: {problem}; no recovery point was "
            "made of it"
        )
        self.path, self.problem = path, problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mounted file system.

    Attributes:
        path: Where it is mounted.
        kind: Of file system.
        device: What is mounted, as the system names it.
        number: Of the device, as `253:0`.
        root: The folder of the file system that `path` shows; `/` for all of it.
    """

    path: bytes
    kind: str
    device: bytes
    number: str
    root: bytes


class Method(Protocol):
    """One kind of snapshots.

    Attributes:
        mode: That insists on it.
        leaves_stubs: Whether a snapshot has a folder of inode 2 for each subvolume below.

    Raises:
        SnapshotImpossible: From each method but `loss`: a tool failed, and said why.
        ProgramAbsent: From each method: a tool is not installed.
        OSError: From each method but `loss`: a folder cannot be looked into.
    """

    mode: SnapshotMode
    leaves_stubs: bool

    def unit_of(self, path: bytes, mount: Mount) -> bytes | None:
        """Return the top folder of what a snapshot is taken of as a whole; None if of nothing."""
        ...

    def take(self, unit: bytes, mount: Mount, name: str) -> bytes:
        """Take a snapshot; return the folder that shows it."""
        ...

    def loss(self, unit: bytes, mount: Mount, name: str) -> str | None:
        """Return in words why a snapshot does not show the instant any more; None if it does."""
        ...

    def names(self, unit: bytes, mount: Mount, prefix: str) -> list[str]:
        """Return the snapshots of ours that are there."""
        ...

    def remove(self, unit: bytes, mount: Mount, name: str) -> None:
        """Remove a snapshot."""
        ...


@final
class Btrfs:
    """Read-only snapshots of a subvolume, in its top folder."""

    mode: SnapshotMode = "btrfs"
    leaves_stubs = True

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def unit_of(self, path: bytes, mount: Mount) -> bytes | None:
        """Return the top folder of the subvolume; see the protocol."""
        at = path
        # Paths are bytes here, which pathlib does not take.
        while os.stat(at).st_ino != _SUBVOLUME or not os.path.isdir(at):  # noqa: PTH112, PTH116 - so
            if at in {mount.path, b"/"}:
                return None  # a folder of a subvolume, mounted without its top
            at = at.rpartition(b"/")[0] or b"/"
        return at

    def take(self, unit: bytes, mount: Mount, name: str) -> bytes:  # noqa: ARG002 - as ZFS needs it
        """Take a snapshot; see the protocol."""
        where = below(unit, b"." + name.encode())
        call(self._programs, unit, "btrfs", "subvolume", "snapshot", "-r", unit, where)
        return where

    def loss(self, unit: bytes, mount: Mount, name: str) -> str | None:  # noqa: ARG002 - as ZFS
        """Return why the snapshot cannot be relied upon; see the protocol."""
        try:
            is_there = os.lstat(below(unit, b"." + name.encode())).st_ino == _SUBVOLUME
        except OSError as error:
            return _GONE if isinstance(error, FileNotFoundError) else f"{error.strerror}"
        return None if is_there else _GONE

    def names(self, unit: bytes, mount: Mount, prefix: str) -> list[str]:  # noqa: ARG002 - as ZFS
        """Return the snapshots of ours; see the protocol."""
        found = []
        for name in os.listdir(unit):  # noqa: PTH208 - names as bytes
            is_ours = is_named_by_us(name, b"." + prefix.encode())
            if is_ours and os.lstat(below(unit, name)).st_ino == _SUBVOLUME:
                found.append(name[1:].decode())
        return found

    def remove(self, unit: bytes, mount: Mount, name: str) -> None:  # noqa: ARG002 - as ZFS needs it
        """Remove a snapshot that is read-only; see the protocol."""
        where = below(unit, b"." + name.encode())
        shown = call(self._programs, unit, "btrfs", "property", "get", "-ts", where, "ro")
        if shown.strip() != b"ro=true":
            raise SnapshotImpossible(os.fsdecode(where), problem="it is not a snapshot of ours")
        call(self._programs, unit, "btrfs", "subvolume", "delete", where)


@final
class Zfs:
    """Snapshots of a dataset, shown in its `.zfs` folder; fulfils `Method`.

    The kernel mounts one there when its folder is opened, and unmounts it when nothing in it was
    open for a while (`zfs_expire_snapshot`, zfs(4)).  So the folder is held open until the
    snapshot is removed: before, a look at it shows a placeholder; and after another mount it has
    another device's number, by which hard links and `--one-file-system` go.  Nor can anybody
    destroy what is open.
    """

    mode: SnapshotMode = "zfs"
    leaves_stubs = False

    def __init__(self, programs: Programs, *, mounts: Callable[[], list[Mount]]) -> None:
        self._programs, self._mounts = programs, mounts
        self._held: dict[str, tuple[int, bytes]] = {}  # by name: open folder, and its path

    def unit_of(self, path: bytes, mount: Mount) -> bytes | None:  # noqa: ARG002 - as btrfs needs it
        """Return where the dataset, or a folder of it, is mounted; see the protocol."""
        return mount.path

    def take(self, unit: bytes, mount: Mount, name: str) -> bytes:
        """Take a snapshot, and hold the folder that shows it.

        Raises:
            SnapshotImpossible: It cannot be taken, or not be seen; none is left.
        """
        top = self._top_of(unit, mount)
        call(self._programs, unit, "zfs", "snapshot", _snapshot(mount, name))
        where = below(top, b".zfs/snapshot/" + name.encode())
        try:
            fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            with contextlib.suppress(SnapshotImpossible):  # then the next run removes it
                self.remove(unit, mount, name)
            problem = f"its snapshot does not show in {os.fsdecode(where)}: {error.strerror}"
            raise SnapshotImpossible(os.fsdecode(unit), problem=problem) from None
        self._held[name] = fd, where
        return where + mount.root.rstrip(b"/")

    def loss(self, unit: bytes, mount: Mount, name: str) -> str | None:
        """Return why the snapshot cannot be relied upon; see the protocol."""
        try:
            is_there = name.encode() in self._listed(unit, mount)
        except SnapshotImpossible as error:
            return f"its state is not known: {error.problem}"
        if not is_there:
            return _GONE
        if name in self._held and not _is_shown(*self._held[name]):
            return "somebody unmounted it"
        return None

    def names(self, unit: bytes, mount: Mount, prefix: str) -> list[str]:
        """Return the snapshots of ours; see the protocol."""
        listed = self._listed(unit, mount)
        return [name.decode() for name in listed if is_named_by_us(name, prefix.encode())]

    def remove(self, unit: bytes, mount: Mount, name: str) -> None:
        """Remove a snapshot; see the protocol."""
        if (held := self._held.pop(name, None)) is not None:
            os.close(held[0])
        call(self._programs, unit, "zfs", "destroy", _snapshot(mount, name))

    def _top_of(self, unit: bytes, mount: Mount) -> bytes:
        """Return where the dataset's own top folder is mounted: only that has a `.zfs`."""
        if mount.root == b"/":
            return mount.path
        for other in self._mounts():
            if (other.kind, other.device, other.root) == (mount.kind, mount.device, b"/"):
                return other.path
        problem = f"of {os.fsdecode(mount.device)} only a folder is mounted, and not its top"
        raise SnapshotImpossible(os.fsdecode(unit), problem=problem)

    def _listed(self, unit: bytes, mount: Mount) -> list[bytes]:
        """Return the names of all snapshots of the dataset, without its own."""
        listed = call(
            self._programs, unit, "zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-d", "1",
            mount.device,
        )  # fmt: skip
        return [line[len(mount.device) + 1 :] for line in listed.splitlines()]


def _is_shown(fd: int, where: bytes) -> bool:
    """Return whether the path leads to the open folder."""
    try:
        found = os.stat(below(where, b"."))  # noqa: PTH116 - bytes
    except OSError:
        return False
    held = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


def _snapshot(mount: Mount, name: str) -> bytes:
    return mount.device + b"@" + name.encode()


def call(programs: Programs, unit: bytes, *argv: str | bytes) -> bytes:
    """Run a tool and return what it printed.

    Raises:
        SnapshotImpossible: It failed.
        ProgramAbsent: It is not installed.
    """
    done = programs.run([os.fsdecode(part) for part in argv], timeout_s=_TIMEOUT_S)
    if done.status:
        said = done.errors.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        raise SnapshotImpossible(os.fsdecode(unit), problem=said[-1].strip()[:300])
    return done.output


def is_named_by_us(name: bytes, prefix: bytes) -> bool:
    """Return whether a name is the prefix and eight digits, as we name snapshots."""
    return name.startswith(prefix) and _TOKEN.fullmatch(name, len(prefix)) is not None


def below(folder: bytes, name: bytes) -> bytes:
    """Return the full path of what has a name in a folder."""
    return folder.rstrip(b"/") + b"/" + name


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
                    number=fields[2].decode(),
                    root=_unescaped(fields[3]),
                )
            )
    return found


def _unescaped(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), text)
