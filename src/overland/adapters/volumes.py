"""Drives that are folders with a declared capacity: for trying out, for tests, and for mounts.

A folder is a drive when it holds `.overland-volume.json` with serial and capacity.  That label is
not among the drive's files, and survives `erase`.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Final

import msgspec

from overland.adapters.attachment import attachment_of
from overland.adapters.posix import PosixFiles, remove_tree
from overland.errors import ObjectAbsent, OutOfSpace, RefusedError
from overland.format.stored import UNREADABLE
from overland.ports.files import TEMPORARY_PREFIX, Files, NewFile, name_parts
from overland.ports.volume import Attachment, Content
from overland.values import ObjectInfo

__all__ = ["DriveAbsent", "DriveUnusable", "FolderVolume", "FolderVolumes", "create_folder_volume"]

_LABEL: Final = ".overland-volume.json"
_SERIAL: Final = r"^(?=.*[A-Za-z0-9])[A-Za-z0-9_.-]{1,64}$"
_OURS: Final = re.compile(
    r"seed-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|DriveManifest\.xml"
)
# What file systems put on every drive.
_FURNITURE: Final = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN"})
# A drive may lie in none of these, and none of them on a drive.
_SYSTEM: Final = ("/bin", "/boot", "/etc", "/lib", "/proc", "/sbin", "/sys", "/usr")


class DriveAbsent(RefusedError):
    """There is no drive where the operator said."""

    code = "drive-absent"

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no drive at {path}; connect it, or name another path")
        self.path = path


class DriveUnusable(RefusedError):
    """Something is there, and it cannot serve as a drive."""

    code = "drive-unusable"

    def __init__(self, path: str, *, reason: str) -> None:
        super().__init__(f"{path} cannot be used as a drive: {reason}")
        self.path, self.reason = path, reason


class _Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    serial: Annotated[str, msgspec.Meta(pattern=_SERIAL)]
    capacity_bytes: Annotated[int, msgspec.Meta(gt=0)]


def create_folder_volume(path: Path, *, serial: str, capacity_bytes: int) -> "FolderVolume":
    """Make the folder `path`, or take it when it is empty, and return it as a drive.

    Raises:
        DriveUnusable: It holds something, or serial or capacity cannot be.
    """
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise DriveUnusable(str(path), reason="the folder is not empty")
    label = json.dumps({"serial": serial, "capacity_bytes": capacity_bytes}).encode()
    _decoded(label, str(path))
    PosixFiles(path).write(_LABEL, label)
    return FolderVolumes().open(str(path))


class FolderVolumes:
    """`Volumes`: every labelled folder is a drive."""

    def open(self, path: str) -> "FolderVolume":
        """Return the drive at `path`; see the port.

        Raises:
            DriveAbsent: There is no folder.
            DriveUnusable: The folder has no label, or a damaged one.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise DriveAbsent(path)
        try:
            label = PosixFiles(folder).read(_LABEL)
        except ObjectAbsent:
            raise DriveUnusable(path, reason="it was not set up as one") from None
        return FolderVolume(folder.resolve(), _decoded(label, path))


class FolderVolume:
    """`Volume`: a folder that pretends to end where its declared capacity does."""

    def __init__(self, folder: Path, label: _Label) -> None:
        """Use `FolderVolumes.open` instead."""
        self._folder, self._label = folder, label
        self._files: _BoundedFiles | None = None

    @property
    def serial(self) -> str:
        """The drive's serial number."""
        return self._label.serial

    @property
    def capacity_bytes(self) -> int:
        """How much the drive can hold in all."""
        return self._label.capacity_bytes

    @property
    def path(self) -> str:
        """Where the operator sees it."""
        return str(self._folder)

    def content(self) -> Content:
        """Say what the drive holds; one foreign file makes it foreign."""
        kinds = {_kind(entry) for entry in self._folder.iterdir()} - {"blank"}
        if not kinds:
            return "blank"
        return "overland" if kinds == {"overland"} else "foreign"

    def holds(self, path: str) -> bool:
        """Return whether `path` lies on this drive, or the drive's folder in `path`."""
        other = Path(path).resolve()
        if other.is_relative_to(self._folder) or self._folder.is_relative_to(other):
            return True
        return self._folder.is_mount() and _device(other) == _device(self._folder)

    def attachment(self) -> Attachment:
        """Say how the folder's file system hangs on this computer; see the port."""
        return attachment_of(self._folder)

    def is_system(self) -> bool:
        """Return whether the system or somebody's home would be overwritten."""
        system = [Path(each) for each in _SYSTEM]
        above = [*system, Path.home().resolve(), Path.cwd(), Path("/var/lib")]
        return any(each.is_relative_to(self._folder) for each in above) or any(
            self._folder.is_relative_to(each) for each in system
        )

    def erase(self) -> None:
        """Remove everything but the label, durably; links are removed, not followed.

        After a power cut any part of it may be left; erase it again.

        Raises:
            OSError: Something could not be removed.
        """
        assert not self.is_system(), "callers have refused the system's drive"
        self._files = None
        remove_tree(self._folder, keep=frozenset({_LABEL}))

    def files(self) -> Files:
        """Return the drive's root folder; writing past the capacity raises `OutOfSpace`."""
        if self._files is None:
            self._files = _BoundedFiles(
                PosixFiles(self._folder), self.capacity_bytes, f"drive {self.serial}"
            )
        return self._files


class _BoundedFiles:
    """`Files` that hold no more than a capacity; names and folders cost nothing."""

    def __init__(self, files: PosixFiles, capacity_bytes: int, where: str) -> None:
        self._files, self._capacity_bytes, self._where = files, capacity_bytes, where
        self._lock = threading.Lock()
        self._used_bytes = sum(info.size_bytes for info in self.names())

    def create(self) -> NewFile:
        """Begin a new file; what is written to it counts at once; see the port."""
        return _BoundedNewFile(self, self._files.create())

    def write(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Create and publish a file in one step; see the port.

        Raises:
            OutOfSpace: With it the drive would hold more than its capacity; nothing was published.
            ValueError: It is the name of the drive's label; so with every call that takes a name.
        """
        _checked(name)
        new = self.create()
        try:
            new.write(data)
            new.publish(name)
        finally:
            new.abandon()

    def read(self, name: str) -> bytes:
        """Return the whole content; see the port."""
        return self._files.read(_checked(name))

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; see the port."""
        return self._files.read_range(_checked(name), offset=offset, length=length)

    def blocks(self, name: str, *, block_bytes: int = 4 << 20) -> Iterator[memoryview]:
        """Yield the content in order; see the port."""
        return self._files.blocks(_checked(name), block_bytes=block_bytes)

    def opened(self, name: str) -> AbstractContextManager[int]:
        """Open a file for reading, as a descriptor until the block ends; see the port."""
        return self._files.opened(_checked(name))

    def size_bytes(self, name: str) -> int:
        """Return the file's length; see the port."""
        return self._files.size_bytes(_checked(name))

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield published files, sorted by name, without the label; see the port."""
        every = self._files.names(prefix, start_after=start_after)
        return (info for info in every if info.name != _LABEL)

    def settle(self, name: str) -> None:
        """Make a visible file durable; see the port."""
        self._files.settle(_checked(name))

    def delete(self, name: str) -> None:
        """Remove the file, durably; its bytes are free on return; see the port."""
        with self._lock:
            size_bytes = self.present_bytes(name)
            self._files.delete(_checked(name))
            self._used_bytes -= size_bytes

    def forget(self, name: str) -> None:
        """Remove the file, and wait for nothing; its bytes are free on return; see the port."""
        with self._lock:
            size_bytes = self.present_bytes(name)
            self._files.forget(_checked(name))
            self._used_bytes -= size_bytes

    def free_bytes(self) -> int:
        """Return what the capacity leaves, or the folder's file system if that is less."""
        with self._lock:
            return min(max(0, self._capacity_bytes - self._used_bytes), self._files.free_bytes())

    def sweep(self) -> int:
        """Remove what interrupted writers left behind, which no capacity counts; see the port."""
        return self._files.sweep()

    def take(self, size_bytes: int) -> None:
        """Count bytes that are about to be written.

        Raises:
            OutOfSpace: The drive would hold too much.
        """
        with self._lock:
            free_bytes = self._capacity_bytes - self._used_bytes
            if size_bytes > free_bytes:
                raise OutOfSpace(
                    self._where, needed_bytes=size_bytes, free_bytes=max(0, free_bytes)
                )
            self._used_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Count bytes that are gone."""
        with self._lock:
            self._used_bytes -= size_bytes

    def present_bytes(self, name: str) -> int:
        """Return the size of a file, 0 when it is absent."""
        try:
            return self._files.size_bytes(_checked(name))
        except ObjectAbsent:
            return 0


class _BoundedNewFile:
    def __init__(self, files: _BoundedFiles, new: NewFile) -> None:
        self._files, self._new = files, new
        self._size_bytes = 0
        self._is_open = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`, counted before it is written; see the port.

        Raises:
            OutOfSpace: The drive would hold more than its capacity; nothing of `data` was written.
        """
        size_bytes = memoryview(data).nbytes
        self._files.take(size_bytes)
        self._size_bytes += size_bytes
        self._new.write(data)

    def publish(self, name: str) -> None:
        """Give the file its name, durably; what it replaces counts no more; see the port."""
        replaced_bytes = self._files.present_bytes(name)
        self._new.publish(name)
        self._is_open = False
        self._files.give_back(replaced_bytes)

    def settle(self) -> None:
        """Make durable what was written; see the port."""
        self._new.settle()

    def show(self, name: str) -> None:
        """Give the file its name, and wait for nothing; what it replaces counts no more."""
        replaced_bytes = self._files.present_bytes(name)
        self._new.show(name)
        self._is_open = False
        self._files.give_back(replaced_bytes)

    def abandon(self) -> None:
        """Forget the file, and count its bytes no more, unless it has a name; see the port."""
        self._new.abandon()
        if self._is_open:
            self._is_open = False
            self._files.give_back(self._size_bytes)


def _decoded(label: bytes, path: str) -> _Label:
    try:
        return msgspec.json.decode(label, type=_Label)
    except UNREADABLE as error:
        raise DriveUnusable(path, reason=f"its label is damaged: {error}") from error


def _checked(name: str) -> str:
    name_parts(name)
    if name == _LABEL:
        raise ValueError(f"{name} is the drive's label, and none of its files")
    return name


def _kind(entry: Path) -> Content:
    name = entry.name
    if name == _LABEL or name in _FURNITURE or name.startswith(TEMPORARY_PREFIX):
        return "blank"
    if _OURS.fullmatch(name) and not entry.is_symlink():
        return "overland"
    return "foreign"


def _device(path: Path) -> int:
    """Return the file system that `path` is, or will be, on."""
    while not path.exists():
        path = path.parent
    return path.stat().st_dev
