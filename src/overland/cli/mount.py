"""`overland mount` and `overland unmount`: recovery points as folders, for ordinary tools."""

import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from overland.adapters.clock import SystemClock
from overland.agent.mount.content import ChunkCache, FileContent
from overland.agent.mount.view import LATEST, Attributes, Place, PointsView
from overland.agent.sources import LayeredObjects
from overland.cli.machine import open_agent
from overland.cli.outcome import note
from overland.cli.places import open_layers, open_place, place_options
from overland.cli.refusals import NotAFolder
from overland.errors import RefusedError

__all__ = ["mount", "unmount"]

T = TypeVar("T")

_FOR_EVER_S: Final = 86_400
"""How long the kernel may remember names and attributes: a recovery point never changes."""

_BLOCK_BYTES: Final = 512

_LOOP_ENDED: Final = 8
"""What `fuse_main` of libfuse 3.14 returns when a signal has ended its loop.

It returns the same where the device failed; what is mounted no more is taken as ended by a signal.
"""

_FOLDER: Final = click.Path(path_type=Path, readable=False)  # a dead mount is not readable


class FuseAbsent(RefusedError):
    """The system's library for file systems in user space is not there."""

    code = "fuse-absent"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"file systems cannot be mounted here: {problem}; install fuse3 (Debian, Ubuntu: "
            "apt install fuse3), and see that /dev/fuse exists"
        )


class MountFailed(RefusedError):
    """The folder could not become, or cease to be, a mount."""

    code = "mount-failed"

    def __init__(self, folder: Path, *, problem: str) -> None:
        super().__init__(f"{folder}: {problem}")
        self.folder = folder


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--foreground", is_flag=True, help="Stay, show the log, and unmount with Ctrl-C.")
@click.option(
    "--allow-other",
    is_flag=True,
    help="Let other users in, each to what the stored permissions allow.",
)
@place_options
def mount(folder: Path, *, foreground: bool, allow_other: bool, **fields: Any) -> None:
    """Show all recovery points as folders in the empty FOLDER, read only.

    FOLDER/latest leads to the newest; new points show when FOLDER is listed.  Only you can look
    inside, unless --allow-other is given.
    End with `overland unmount FOLDER`.
    """
    _check_free(folder)
    fuse = _library()
    with open_agent() as machine:
        folders = [path.resolve() for path in fields["folders"]]  # the background has another
        objects, keys = open_place(
            machine,
            folders,
            passphrase_file=fields["passphrase_file"],
            recovery_kit=fields["recovery_kit"],
        )

        def look() -> LayeredObjects:
            """Return the place as it is now; raises as `open_layers` where a folder has gone."""
            # The vault tells of new points itself; folders may have got new seeds.
            return LayeredObjects(open_layers(machine, folders)) if folders else objects

        log_path = None if foreground else machine.folder / "mount.log"
        files = _Files(PointsView(look, keys, clock=SystemClock()), log_path)
        where = f"; problems are told in {log_path}" if log_path else ""
        note(f"mounting on {folder}; end with: overland unmount {folder}{where}")
        try:
            fuse.FUSE(
                files,
                str(folder.resolve()),
                foreground=foreground,
                ro=True,
                fsname="overland",
                use_ino=True,
                kernel_cache=True,
                attr_timeout=_FOR_EVER_S,
                entry_timeout=_FOR_EVER_S,
                allow_other=allow_other,
                default_permissions=allow_other,
            )
        except RuntimeError as error:
            if files.is_begun and error.args == (_LOOP_ENDED,) and _has_no_mount(folder):
                return  # by Ctrl-C
            problem = f"the mount failed ({error}); see the lines above"
            raise MountFailed(folder, problem=problem) from None


@click.command()
@click.argument("folder", type=_FOLDER)
def unmount(folder: Path) -> None:
    """End what `overland mount FOLDER` began."""
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        raise FuseAbsent("there is no fusermount3")
    done = subprocess.run(
        [program, "-u", "--", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        problem = done.stderr.strip() or "it could not be unmounted"
        if _has_no_mount(folder):
            problem = "nothing is mounted there; name the folder that was given to `overland mount`"
        raise MountFailed(folder, problem=problem)


def _has_no_mount(folder: Path) -> bool:
    """Return whether it is for certain; the folder of a mount whose program died cannot be read."""
    try:
        return folder.is_dir() and not folder.is_mount()
    except OSError:
        return False


def _check_free(folder: Path) -> None:
    try:
        if not folder.is_dir():
            raise NotAFolder(folder)
        if any(folder.iterdir()):
            raise MountFailed(folder, problem="it is not empty; name an empty folder")
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        problem = "the program behind an earlier mount has died; run `overland unmount` first"
        raise MountFailed(folder, problem=problem) from None


def _library() -> Any:  # noqa: ANN401 - the module is there only where libfuse is
    if not Path("/dev/fuse").exists():
        raise FuseAbsent("there is no /dev/fuse")
    try:
        return import_module("mfusepy")
    except OSError as error:
        raise FuseAbsent(str(error)) from None


class _Files:
    """The calls of the kernel, from many threads.

    The lock is held while names and places are looked up, for which the view and its stores are
    for one thread; the content of several files is read and decoded at the same time.

    The names and arguments are `mfusepy.Operations`'; paths come with surrogate escapes.
    """

    use_ns = True

    def __init__(self, view: PointsView, log_path: Path | None) -> None:
        self._view, self._log_path = view, log_path
        self._lock = threading.Lock()
        self._cache = ChunkCache()
        self._open: dict[int, FileContent] = {}
        self._handles = count(1)
        self.is_begun = False  # as seen by the process that serves the calls

    def init(self, _: str) -> None:
        """Begin, in the background process if there is one: its errors go to the log file."""
        self.is_begun = True
        if self._log_path is not None:
            log = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 2)
            os.close(log)

    def getattr(self, path: str, _: int | None = None) -> dict[str, int]:
        """Return what `stat` shows."""
        name = os.fsencode(path)
        if self._view.is_latest(name):
            return {"st_mode": 0o120777, "st_nlink": 1, "st_size": len(self._view.latest())}
        return _stat(self._at(path, self._view.attributes))

    def readlink(self, path: str) -> str:
        """Return where a symbolic link leads."""
        if self._view.is_latest(os.fsencode(path)):
            return os.fsdecode(self._view.latest())
        return os.fsdecode(self._at(path, _target))

    def readdir(self, path: str, _: int) -> Iterable[tuple[str, dict[str, int], int]]:
        """Return the names in a folder; in the top folder, of points that are new as well."""
        if path == "/":
            with self._lock:
                self._view.refresh()
        names = self._at(path, lambda place: list(self._view.names(place)))
        found = [(os.fsdecode(name), _stat(attributes), 0) for name, attributes in names]
        if self._view.is_latest(os.fsencode(path).rstrip(b"/") + b"/" + LATEST):
            found.append((os.fsdecode(LATEST), {"st_mode": 0o120777}, 0))
        own = [(name, {"st_mode": 0o040555}, 0) for name in (".", "..")]
        return own + found

    def open(self, path: str, flags: int) -> int:
        """Open a file for reading."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        content = self._at(path, self._content)
        handle = next(self._handles)
        self._open[handle] = content
        return handle

    def _content(self, place: Place) -> FileContent:
        if place.point is None or place.entry is None:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        point, cache = place.point, self._cache
        return FileContent(
            place.entry, tree=point.tree, store=point.store, cache=cache, lock=self._lock
        )

    def read(self, _: str, size: int, offset: int, handle: int) -> bytes:
        """Return bytes of an open file."""
        return self._open[handle].read(size, offset)

    def release(self, _: str, handle: int) -> int:
        """Forget an open file."""
        self._open.pop(handle, None)
        return 0

    def listxattr(self, path: str) -> list[str]:
        """Return the names of the extended attributes."""
        if self._view.is_latest(os.fsencode(path)):
            return []
        return [os.fsdecode(name) for name in self._at(path, _attributes_of)]

    def getxattr(self, path: str, name: str, _: int = 0) -> bytes:
        """Return one extended attribute."""
        is_latest = self._view.is_latest(os.fsencode(path))
        found = None if is_latest else self._at(path, _attributes_of).get(os.fsencode(name))
        if found is None:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return found

    def statfs(self, _: str) -> dict[str, int]:
        """Return what `df` shows: nothing is free."""
        return {"f_bsize": _BLOCK_BYTES, "f_frsize": _BLOCK_BYTES, "f_namemax": 255}

    def _at(self, path: str, use: Callable[[Place], T]) -> T:
        with self._lock:
            return use(self._view.place(os.fsencode(path)))


def _stat(found: Attributes) -> dict[str, int]:
    return {
        "st_mode": found.mode,
        "st_ino": found.inode,
        "st_nlink": found.links,
        "st_uid": found.uid,
        "st_gid": found.gid,
        "st_size": found.size_bytes,
        "st_blocks": -(-found.data_bytes // _BLOCK_BYTES),
        "st_atime": found.mtime_ns,
        "st_mtime": found.mtime_ns,
        "st_ctime": found.mtime_ns,
    }


def _target(place: Place) -> bytes:
    if place.entry is None or not place.entry.target:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return place.entry.target


def _attributes_of(place: Place) -> dict[bytes, bytes]:
    return dict(place.entry.xattrs) if place.entry is not None else {}
