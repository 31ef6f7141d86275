"""The source tree of a story: files on disk, and beside them what they should be."""

import os
import random
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Kept", "Source", "Tree"]

_FOLDERS: Final = ("a", "b", "b/deep", "c", "c/d/e")
_FILES: Final = 8  # names in each folder
_BLOBS: Final = 24
_LARGEST: Final = 30_000
_FIRST_NS: Final = 1_700_000_000 * 10**9


class Kept(NamedTuple):
    """What has to come back of one entry."""

    kind: str
    content: bytes
    mtime_ns: int


Tree = dict[str, Kept]
"""Files and links, by their path below the source."""


class Source:
    """A small tree that changes by chance; old contents come back, as with a checkout."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self._random = chance
        self._ticks = 0
        sizes = [chance.choice((1, 80, 3000, 9000, _LARGEST)) for _ in range(_BLOBS)]
        self._blobs = [chance.randbytes(size) for size in sizes]
        self.tree: Tree = {}
        folder.mkdir()

    def change(self) -> str:
        """Do one thing to the tree; return what."""
        action = self._random.choice((self._write, self._write, self._patch, self._remove))
        if self._random.random() < 0.25:
            action = self._random.choice((self._rename, self._link))
        done = action()
        self._date_folders()
        return done

    def _write(self) -> str:
        path = self._path()
        self._put(path, self._random.choice(self._blobs))
        return f"write {path}"

    def _patch(self) -> str:
        path = self._any("file")
        if path is None:
            return self._write()
        content = bytearray(self.tree[path].content)
        at = self._random.randrange(len(content) + 1)
        content[at : at + self._random.randint(0, 40)] = self._random.randbytes(20)
        self._put(path, bytes(content))
        return f"patch {path}"

    def _remove(self) -> str:
        path = self._any()
        if path is None:
            return self._write()
        (self.folder / path).unlink()
        del self.tree[path]
        return f"remove {path}"

    def _rename(self) -> str:
        path, new = self._any(), self._path()
        if path is None or new == path:
            return self._write()
        (self.folder / path).replace(self._ready(new))
        self.tree[new] = self.tree.pop(path)
        return f"rename {path} {new}"

    def _link(self) -> str:
        path, target = self._path(), self._random.choice(("../a", "nowhere"))
        place = self._ready(path)
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        self._keep(path, Kept("symlink", target.encode(), self._now_ns()))
        return f"link {path}"

    def _put(self, path: str, content: bytes) -> None:
        place = self._ready(path)
        if place.is_symlink():
            place.unlink()
        place.write_bytes(content)
        self._keep(path, Kept("file", content, self._now_ns()))

    def _keep(self, path: str, kept: Kept) -> None:
        # The clock of the file system is no part of the story: it would not replay.
        times = (kept.mtime_ns, kept.mtime_ns)
        os.utime(self.folder / path, ns=times, follow_symlinks=False)
        self.tree[path] = kept

    def _date_folders(self) -> None:
        for folder, _, _ in os.walk(self.folder):
            os.utime(folder, ns=(_FIRST_NS, _FIRST_NS))

    def _ready(self, path: str) -> Path:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _path(self) -> str:
        return f"{self._random.choice(_FOLDERS)}/file{self._random.randrange(_FILES)}"

    def _any(self, kind: str | None = None) -> str | None:
        paths = [path for path, kept in self.tree.items() if kind in {None, kept.kind}]
        return self._random.choice(sorted(paths)) if paths else None

    def _now_ns(self) -> int:
        self._ticks += 1
        return _FIRST_NS + self._ticks * 10**7
