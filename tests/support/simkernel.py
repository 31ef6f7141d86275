"""The system calls of `PosixFiles`, with a model of what a power cut leaves of their effects.

`SimKernel` stands in for the module `os` of the code under test.  Calls go through to a real
folder; beside it a model keeps, for each file, what was synced, and for each name in each folder,
what the folder's last sync made durable.  Each call that changes something is a step, and step
`cut_at` never happens.  `survivors` then builds a folder as the computer may find it afterwards:
every unsynced name and every unsynced byte is there or not, each for itself, as file systems
without a journal may leave them.
"""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.support.simdisk import PowerCut

from overland.adapters import medium, posix, temporaries

__all__ = ["SimKernel", "running_on"]


@dataclass(eq=False)
class _File:
    seen: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass(eq=False)
class _Folder:
    seen: dict[str, "_Node"] = field(default_factory=dict)
    synced: dict[str, "_Node"] = field(default_factory=dict)


_Node = _File | _Folder


class SimKernel:
    """The module `os`, with a power cut."""

    def __init__(self, root: Path, *, cut_at: int | None) -> None:
        self.steps = 0
        self.trail: list[str] = []
        self._root, self._cut_at, self._is_cut = root, cut_at, False
        self._model = _Folder()

    def __getattr__(self, name: str) -> Any:  # the rest of the module
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & os.O_CREAT:
            return os.open(path, flags, mode, dir_fd=dir_fd)
        assert dir_fd is not None, "new files are made in an open folder"
        self._step(f"create {path}")
        fd = os.open(path, flags, mode, dir_fd=dir_fd)
        self._folder(dir_fd).seen[path] = _File()
        return fd

    def write(self, fd: int, data: memoryview) -> int:
        self._step(f"write {len(data)}")
        node = self._node(fd)
        assert isinstance(node, _File), "bytes go to files"
        count = os.write(fd, data)
        node.seen += data[:count]
        return count

    def fsync(self, fd: int) -> None:
        node = self._node(fd)
        self._step(f"fsync {_path(fd)}")
        os.fsync(fd)
        if isinstance(node, _File):
            node.synced = bytes(node.seen)
        else:
            node.synced = dict(node.seen)

    def mkdir(self, path: str, *, dir_fd: int) -> None:
        self._step(f"mkdir {path}")
        os.mkdir(path, dir_fd=dir_fd)
        self._folder(dir_fd).seen[path] = _Folder()

    def rename(self, source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        self._step(f"rename to {target}")
        os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        node = self._folder(src_dir_fd).seen.pop(source)
        self._folder(dst_dir_fd).seen[target] = node

    def unlink(self, path: str, *, dir_fd: int) -> None:
        self._step(f"unlink {path}")
        os.unlink(path, dir_fd=dir_fd)
        del self._folder(dir_fd).seen[path]

    def survivors(self, target: Path, *, seed: int) -> Path:
        """Build in `target` what the computer may find when the power is back."""
        _survive(self._model, target, random.Random(seed))
        return target

    def _step(self, what: str) -> None:
        if self._is_cut or self.steps == self._cut_at:
            self._is_cut = True
            raise PowerCut(f"at step {self.steps}: {what}")
        self.steps += 1
        self.trail.append(what)

    def _node(self, fd: int) -> _Node:
        node: _Node = self._model
        for part in _path(fd).relative_to(self._root).parts:
            assert isinstance(node, _Folder), "the way leads through folders"
            node = node.seen[part]
        return node

    def _folder(self, fd: int) -> _Folder:
        node = self._node(fd)
        assert isinstance(node, _Folder), "names are in folders"
        return node


@contextmanager
def running_on(kernel: SimKernel) -> Iterator[None]:
    """Have `PosixFiles` make its calls to this kernel."""
    with ExitStack() as patched:
        for module in (posix, temporaries, medium):
            patched.enter_context(patch.object(module, "os", kernel))
        yield


def _path(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()


def _survive(folder: _Folder, target: Path, chance: random.Random) -> None:
    target.mkdir(exist_ok=True)
    for name in sorted(folder.seen.keys() | folder.synced.keys()):
        node = chance.choice([folder.seen.get(name), folder.synced.get(name)])
        if isinstance(node, _Folder):
            _survive(node, target / name, chance)
        elif node is not None:
            (target / name).write_bytes(_content(node, chance))


def _content(file: _File, chance: random.Random) -> bytes:
    synced = len(file.synced)
    match chance.choice(["gone", "partly", "zeros", "whole"]):
        case "gone":
            return file.synced
        case "partly":
            return bytes(file.seen[: chance.randint(synced, len(file.seen))])
        case "zeros":
            return file.synced + bytes(len(file.seen) - synced)
        case _:
            return bytes(file.seen)
