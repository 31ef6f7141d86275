"""A disk in memory that loses power on demand.

It keeps two truths apart: what a program sees, and what the medium holds.  Every effect is a step:
a write, each `fsync`, each new folder, the rename, the removal.  `cut_at` names the step that
never happens; it raises `PowerCut`, and so does everything that would change the disk afterwards.
From then on the disk shows what survived:

- content that was synced is whole; other content may be gone, partly there, or zeros;
- a name that was synced stays; what it showed since then it shows now or not, each as a coin
  falls (`seed`), whatever other names do;
- a removal that was not synced may not have happened.

Reading never is a step, so a test may look at a disk, before and after a cut, for free.
`restart()` returns the surviving disk for the next run of the program.
"""

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from overland.errors import ObjectAbsent, OutOfSpace
from overland.ports.files import name_parts
from overland.values import ObjectInfo

__all__ = ["PowerCut", "SimDisk", "reused_views"]


class PowerCut(BaseException):
    """The power failed; a BaseException, so that no handler in the code under test survives it."""


@dataclass(slots=True, eq=False)
class _Inode:
    content: bytearray = field(default_factory=bytearray)
    synced_bytes: int = 0


@dataclass(slots=True)
class _Entry:
    """One name: what is seen, what is surely on the medium, and what may be there instead."""

    seen: _Inode | None = None
    durable: _Inode | None = None
    between: list[_Inode | None] = field(default_factory=list)

    def becomes(self, inode: _Inode | None) -> None:
        """Show another file, or none; nothing says yet that this is durable."""
        if self.seen is not self.durable:
            self.between.append(self.seen)
        self.seen = inode

    def is_synced(self) -> None:
        """Keep for sure what is seen."""
        self.durable = self.seen
        self.between.clear()


class SimDisk:
    """`Files` in memory, with a model of what a power cut leaves; see the module."""

    def __init__(
        self, *, cut_at: int | None = None, seed: int = 0, capacity_bytes: int | None = None
    ) -> None:
        """Cut the power at step `cut_at`, counted from 0 (None: never)."""
        self.steps = 0
        self.trail: list[str] = []  # the steps so far, for messages of tests
        self.is_cut = False
        self._cut_at, self._random = cut_at, random.Random(seed)
        self._capacity_bytes = capacity_bytes
        self._entries: dict[str, _Entry] = {}
        self._unpublished: list[_Inode] = []
        self._orphans = 0  # temporary files of earlier lives; `sweep` removes them
        self._lock = threading.RLock()

    def create(self) -> "_SimNewFile":
        with self._lock:
            self._step("create")
            return _SimNewFile(self)

    def write(self, name: str, data: bytes | bytearray | memoryview) -> None:
        name_parts(name)
        new = self.create()
        try:
            new.write(data)
            new.publish(name)
        finally:
            new.abandon()

    def read(self, name: str) -> bytes:
        return bytes(self._content(name))

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        return bytes(self._content(name)[offset : offset + length])

    def blocks(self, name: str, *, block_bytes: int = 4 << 20) -> Iterator[memoryview]:
        yield from reused_views(self.read(name), block_bytes)

    def size_bytes(self, name: str) -> int:
        return len(self._content(name))

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            found = [(name, entry.seen) for name, entry in sorted(self._entries.items())]
        for name, inode in found:
            if inode is not None and name.startswith(prefix) and name > start_after:
                yield ObjectInfo(name=name, size_bytes=len(inode.content))

    def settle(self, name: str) -> None:
        with self._lock:
            self._content(name)
            self._step(f"settle {name}")
            entry = self._entries[name]
            assert entry.seen is not None, "its content was found"
            entry.seen.synced_bytes = len(entry.seen.content)
            entry.is_synced()

    def delete(self, name: str) -> None:
        name_parts(name)
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                return
            if entry.seen is not None:
                self._step(f"unlink {name}")
                entry.becomes(None)
            self._step(f"sync folder of removed {name}")
            del self._entries[name]

    def forget(self, name: str) -> None:
        name_parts(name)
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry.seen is not None:
                self._step(f"unlink {name}")
                entry.becomes(None)

    def free_bytes(self) -> int:
        if self._capacity_bytes is None:
            return 1 << 50
        with self._lock:
            published = {id(e.seen): len(e.seen.content) for e in self._entries.values() if e.seen}
            unpublished = {id(inode): len(inode.content) for inode in self._unpublished}
            return max(0, self._capacity_bytes - sum((published | unpublished).values()))

    def sweep(self) -> int:
        with self._lock:
            if self._orphans:
                self._step("sweep")
            swept, self._orphans = self._orphans, 0
            return swept

    # What only tests ask.

    def restart(self, *, cut_at: int | None = None, seed: int = 0) -> "SimDisk":
        """Return what the disk holds when the computer starts again; steps count from 0."""
        with self._lock:
            if not self.is_cut:
                self._cut()
            again = SimDisk(cut_at=cut_at, seed=seed, capacity_bytes=self._capacity_bytes)
            for name, entry in self._entries.items():
                assert entry.seen is not None, "a cut leaves no removed names"
                inode = _Inode(bytearray(entry.seen.content), len(entry.seen.content))
                again._entries[name] = _Entry(inode, inode)
            again._orphans = self._orphans
            return again

    def catch_up(self) -> None:
        """Let time pass: what nobody waited for has reached the medium by itself."""
        with self._lock:
            for name, entry in list(self._entries.items()):
                entry.is_synced()
                if entry.seen is None:
                    del self._entries[name]
                else:
                    entry.seen.synced_bytes = len(entry.seen.content)

    def damage(self, name: str, *, offset: int, mask: int = 1) -> None:
        """Flip the bits of `mask` in one byte of a published file, behind everybody's back."""
        self._content(name)[offset] ^= mask

    def truncate(self, name: str, *, length: int) -> None:
        """Cut a published file off, behind everybody's back."""
        del self._content(name)[length:]

    # Below: for `_SimNewFile`, and helpers.

    def _content(self, name: str) -> bytearray:
        name_parts(name)
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.seen is None:
                raise ObjectAbsent(name)
            return entry.seen.content

    def _step(self, what: str) -> None:
        if self.is_cut:
            raise PowerCut(f"the power is off; {what} does not happen")
        if self.steps == self._cut_at:
            self._cut()
            raise PowerCut(f"cut at step {self.steps}: {what}")
        self.steps += 1
        self.trail.append(what)

    def _cut(self) -> None:
        """Decide what survives, and show it from now on."""
        self.is_cut = True
        for name, entry in list(self._entries.items()):
            survivor = self._random.choice([entry.seen, *entry.between, entry.durable])
            if survivor is None:
                del self._entries[name]
                continue
            kept = _Inode(self._survives(survivor))
            entry.seen = entry.durable = kept
            entry.between.clear()
        self._orphans += sum(self._random.random() < 0.5 for _ in self._unpublished)
        self._unpublished.clear()

    def _survives(self, inode: _Inode) -> bytearray:
        content, synced = inode.content, inode.synced_bytes
        match self._random.choice(["gone", "partly", "zeros", "whole"]):
            case "gone":
                return content[:synced]
            case "partly":
                return content[: self._random.randint(synced, len(content))]
            case "zeros":
                return content[:synced] + bytes(len(content) - synced)
            case _:
                return content[:]


def reused_views(content: bytes, block_bytes: int) -> Iterator[memoryview]:
    """Yield blocks out of one buffer, as real files do: who keeps a view sees it change."""
    buffer = bytearray(min(block_bytes, len(content)))
    for start in range(0, len(content), block_bytes):
        count = min(block_bytes, len(content) - start)
        buffer[:count] = content[start : start + count]
        yield memoryview(buffer)[:count].toreadonly()


class _SimNewFile:
    def __init__(self, disk: SimDisk) -> None:
        self._disk, self._inode, self._open = disk, _Inode(), True
        disk._unpublished.append(self._inode)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self._open, "the file was published or abandoned before"
        with self._disk._lock:
            self._disk._step("write")
            size_bytes, free_bytes = memoryview(data).nbytes, self._disk.free_bytes()
            if size_bytes > free_bytes:
                raise OutOfSpace("the disk", needed_bytes=size_bytes, free_bytes=free_bytes)
            self._inode.content += memoryview(data).cast("B")

    def publish(self, name: str) -> None:
        assert self._open, "the file was published or abandoned before"
        parts = name_parts(name)
        disk = self._disk
        with disk._lock:
            disk._step(f"fsync content of {name}")
            self._inode.synced_bytes = len(self._inode.content)
            for depth in range(1, len(parts)):
                disk._step(f"make and sync folder {'/'.join(parts[:depth])}")
            self._rename(name)
            disk._step(f"sync folder of {name}")
            disk._entries[name].is_synced()
        self._open = False

    def settle(self) -> None:
        assert self._open, "the file was published or abandoned before"
        with self._disk._lock:
            self._disk._step("settle")
            self._inode.synced_bytes = len(self._inode.content)

    def show(self, name: str) -> None:
        assert self._open, "the file was published or abandoned before"
        parts = name_parts(name)
        with self._disk._lock:
            for depth in range(1, len(parts)):
                self._disk._step(f"make folder {'/'.join(parts[:depth])}")
            self._rename(name)
        self._open = False

    def _rename(self, name: str) -> None:
        disk = self._disk
        disk._step(f"rename to {name}")
        disk._entries.setdefault(name, _Entry()).becomes(self._inode)
        disk._unpublished.remove(self._inode)

    def abandon(self) -> None:
        if not self._open:
            return
        self._open = False
        with self._disk._lock:
            if not self._disk.is_cut and self._inode in self._disk._unpublished:
                self._disk._unpublished.remove(self._inode)
