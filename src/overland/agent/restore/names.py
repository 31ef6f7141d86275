"""Which name a restored entry gets, where the target has something of that name already."""

import errno
import itertools
import os
import stat
from collections.abc import Sequence
from typing import Final, NamedTuple

from overland.agent.points.tree import PointTree, split_path
from overland.agent.restore.report import Recorder, RestoreOptions
from overland.agent.restore.target import Access, Folder, free_name
from overland.errors import RefusedError
from overland.format.tree import KIND_FIFO, KIND_FILE, KIND_FOLDER, KIND_SYMLINK, Entry
from overland.values import path_text

__all__ = ["Names", "Placed", "Preview", "StripOutside", "chosen_paths"]

_KINDS: Final = {
    stat.S_IFREG: KIND_FILE,
    stat.S_IFDIR: KIND_FOLDER,
    stat.S_IFLNK: KIND_SYMLINK,
    stat.S_IFIFO: KIND_FIFO,
}
_SECOND_NS: Final = 10**9
_LISTED: Final = 1000


class StripOutside(RefusedError):
    """What is to be restored does not lie below the folder whose path is to be left out."""

    code = "strip-outside"

    def __init__(self, path: bytes, *, strip: bytes) -> None:
        super().__init__(
            f"'{path_text(path)}' is not below '{path_text(strip)}'; "
            "leave out less of the path, or nothing"
        )
        self.path, self.strip = path, strip


class Placed(NamedTuple):
    """Where an entry goes; `is_present` means that an equal one is there."""

    name: bytes
    replace: bool
    is_present: bool


class Names:
    """Decides by the options; what is not restored is counted, or noted as a problem."""

    def __init__(self, options: RestoreOptions, access: Access, recorder: Recorder) -> None:
        self._options, self._access, self._recorder = options, access, recorder

    def place(self, folder: Folder, entry: Entry, path: bytes) -> Placed | None:
        """Return the name for an entry that is no folder; None where it is not restored."""
        found = None if folder.is_new else self._access.stat(folder, entry.name)
        if found is None:
            return Placed(entry.name, replace=False, is_present=False)
        if self._options.resume and self._is_equal(folder, entry, found):
            return Placed(entry.name, replace=True, is_present=True)
        if self._options.on_conflict == "overwrite" and not stat.S_ISDIR(found.st_mode):
            return Placed(entry.name, replace=True, is_present=False)
        return self._beside(folder, entry.name, path)

    def place_folder(
        self, folder: Folder, name: bytes, path: bytes, *, is_above: bool
    ) -> Placed | None:
        """Return the name for a folder, `is_present` where there is one; None as in `place`.

        One that `is_above` the roots is there already when another root has it above, too.
        """
        is_free = folder.is_new and not is_above
        found = None if is_free else self._access.stat(folder, name)
        if found is None:
            return Placed(name, replace=False, is_present=False)
        if stat.S_ISDIR(found.st_mode):
            return Placed(name, replace=False, is_present=True)
        if self._options.on_conflict == "overwrite":
            self._access.remove(folder, name)
            return Placed(name, replace=False, is_present=False)
        return self._beside(folder, name, path)

    def is_taken(self, folder: Folder, name: bytes) -> bool:
        """Return whether anything has the name."""
        return self._access.stat(folder, name) is not None

    def is_folder(self, folder: Folder, name: bytes) -> bool:
        """Return whether a folder has the name."""
        found = self._access.stat(folder, name)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def is_conflict(self, folder: Folder, entry: Entry) -> bool:
        """Return whether an entry that is no folder would need a name that is taken."""
        found = self._access.stat(folder, entry.name)
        is_equal = found is not None and self._options.resume
        return found is not None and not (is_equal and self._is_equal(folder, entry, found))

    def _beside(self, folder: Folder, name: bytes, path: bytes) -> Placed | None:
        match self._options.on_conflict:
            case "keep-both":
                copies = (free_name(name, number) for number in itertools.count(1))
                free = next(copy for copy in copies if not self.is_taken(folder, copy))
                return Placed(free, replace=False, is_present=False)
            case "skip":
                self._recorder.count("skipped")
            case "refuse" | "overwrite":
                error = FileExistsError(errno.EEXIST, "something else has the name in the target")
                self._recorder.problem(path, error)
        return None

    def _is_equal(self, folder: Folder, entry: Entry, found: os.stat_result) -> bool:
        """Return whether an entry was restored by an earlier run, by what is cheap to see."""
        if _KINDS.get(stat.S_IFMT(found.st_mode)) != entry.kind:
            return False
        if entry.kind == KIND_SYMLINK:
            fd = self._access.fd(folder)
            return os.readlink(entry.name, dir_fd=fd) == entry.target
        if entry.kind == KIND_FIFO:
            return True
        return found.st_size == entry.size_bytes and _is_same_time(
            found.st_mtime_ns, entry.mtime_ns
        )


def _is_same_time(found_ns: int, wanted_ns: int) -> bool:
    if found_ns == wanted_ns:
        return True
    # Some file systems keep whole seconds, FAT every other one.
    return found_ns % _SECOND_NS == 0 and abs(found_ns - wanted_ns) < 2 * _SECOND_NS


def chosen_paths(tree: PointTree, paths: Sequence[bytes], strip: bytes) -> Sequence[bytes]:
    """Return what to walk when the path of `strip` is left out.

    Raises:
        PathAbsent: A path, or the folder `strip`, is not in the point.
        StripOutside: A path is not below `strip`, or that is no folder.
    """
    base = split_path(strip)
    entry = tree.entry(strip) if base else None
    if entry is not None and entry.kind != KIND_FOLDER:
        raise StripOutside(strip, strip=strip)
    for path in paths:
        if split_path(path)[: len(base)] != base:
            raise StripOutside(path, strip=strip)
        tree.entry(path)
    return paths or ([strip] if base else [])


class Preview:
    """Finds the names that a restore would need and that are taken, without changing anything."""

    def __init__(self, tree: PointTree, names: Names, top: Folder, depth: int) -> None:
        self._tree, self._names, self._top, self._depth = tree, names, top, depth
        self._frames: list[Folder | None] = []
        self.taken: list[bytes] = []
        self.count = 0

    def walk(self, paths: Sequence[bytes]) -> None:
        """Look at every entry whose folder exists in the target."""
        for step in self._tree.walk(paths, unreadable=_later, enters=self._enters):
            if step.action == "leave":
                self._frames.pop()
            elif step.action == "enter":
                self._frames.append(self._folder(step.path))
            elif step.entry is not None and step.entry.kind != KIND_FOLDER:
                self._look(step.entry, step.path)

    def _folder(self, path: bytes) -> Folder | None:
        """Return the folder that a path of the point goes to, if it exists."""
        parts = split_path(path)
        if len(parts) <= self._depth:
            return self._top
        above = self._frames[-1] if self._frames else self._top
        if above is None or not self._names.is_folder(above, parts[-1]):
            return None
        return Folder(above, parts[-1], is_new=False)

    def _enters(self, path: bytes) -> bool:
        if self._folder(path) is not None:
            return True
        above, name = self._frames[-1] if self._frames else self._top, split_path(path)[-1]
        if above is not None and self._names.is_taken(above, name):
            self._note(path)
        return False

    def _look(self, entry: Entry, path: bytes) -> None:
        above = self._frames[-1] if self._frames else self._top
        if above is not None and self._names.is_conflict(above, entry):
            self._note(path)

    def _note(self, path: bytes) -> None:
        self.count += 1
        if len(self.taken) < _LISTED:
            self.taken.append(path)


def _later(_path: bytes, _error: Exception) -> None:
    """An unreadable folder is reported by the restore itself."""
