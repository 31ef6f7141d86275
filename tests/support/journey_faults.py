"""What can go wrong with a program: it is killed at some operation, and its clock is set."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tests.support.simengine import Killed, SimEngine
from typing_extensions import override

from overland.adapters.volumes import FolderVolumes
from overland.ports.files import Files, NewFile
from overland.ports.volume import Attachment, Content, Volume
from overland.values import ObjectInfo

__all__ = ["BaseClock", "Life", "MachineClock", "MortalEngine", "MortalFiles", "MortalVolumes"]


class Life:
    """One run of a program: counts its operations, is killed at one of them, and stays dead.

    Every thread of a dead program dies at its next operation, as those of a killed process do.
    """

    def __init__(self, kill_at: int | None = None) -> None:
        self.steps = 0
        self.killed_at: str | None = None
        self._kill_at, self._lock = kill_at, threading.Lock()

    @property
    def is_mortal(self) -> bool:
        return self._kill_at is not None

    @property
    def is_over(self) -> bool:
        return self.killed_at is not None

    def step(self, what: str) -> None:
        """Count an operation that is about to happen, or has just happened."""
        with self._lock:
            if self.killed_at is None and self.steps == self._kill_at:
                self.killed_at = what
            if self.killed_at is not None:
                raise Killed(f"killed at operation {self._kill_at}: {self.killed_at}")
            self.steps += 1


class MortalFiles:
    """`Files` of a program that can be killed before and after each operation."""

    def __init__(self, files: Files, life: Life) -> None:
        self._files, self.life = files, life

    def create(self) -> NewFile:
        self.life.step("create")
        return _MortalNewFile(self._files.create(), self.life)

    def write(self, name: str, data: bytes | bytearray | memoryview) -> None:
        new = self.create()
        try:
            new.write(data)
            new.publish(name)
        finally:
            new.abandon()

    def read(self, name: str) -> bytes:
        self.life.step(f"read {name}")
        return self._files.read(name)

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        self.life.step(f"read {name}")
        return self._files.read_range(name, offset=offset, length=length)

    def blocks(self, name: str, *, block_bytes: int = 4 << 20) -> Iterator[memoryview]:
        for block in self._files.blocks(name, block_bytes=block_bytes):
            self.life.step(f"read {name}")
            yield block

    def size_bytes(self, name: str) -> int:
        return self._files.size_bytes(name)

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        self.life.step(f"list {prefix}")
        return self._files.names(prefix, start_after=start_after)

    def settle(self, name: str) -> None:
        self.life.step(f"settle {name}")
        self._files.settle(name)

    def delete(self, name: str) -> None:
        self.life.step(f"before deleting {name}")
        self._files.delete(name)
        self.life.step(f"after deleting {name}")

    def forget(self, name: str) -> None:
        self.life.step(f"before forgetting {name}")
        self._files.forget(name)
        self.life.step(f"after forgetting {name}")

    def free_bytes(self) -> int:
        return self._files.free_bytes()

    def sweep(self) -> int:
        self.life.step("sweep")
        return self._files.sweep()


class _MortalNewFile:
    def __init__(self, new: NewFile, life: Life) -> None:
        self._new, self._life = new, life

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._life.step("write")
        self._new.write(data)

    def publish(self, name: str) -> None:
        self._life.step(f"before publishing {name}")
        self._new.publish(name)
        self._life.step(f"after publishing {name}")

    def settle(self) -> None:
        self._new.settle()  # nobody sees whether it happened: no place of its own to be killed at

    def show(self, name: str) -> None:
        self._life.step(f"before showing {name}")
        self._new.show(name)
        self._life.step(f"after showing {name}")

    def abandon(self) -> None:
        self._new.abandon()  # what the system does for a dead program, too


class MortalVolumes:
    """`Volumes`: the folder drives of a program that can be killed."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def open(self, path: str) -> Volume:
        return _MortalVolume(FolderVolumes().open(path), self._life)


class _MortalVolume:
    def __init__(self, volume: Volume, life: Life) -> None:
        self._volume, self._life = volume, life

    @property
    def serial(self) -> str:
        return self._volume.serial

    @property
    def capacity_bytes(self) -> int:
        return self._volume.capacity_bytes

    @property
    def path(self) -> str:
        return self._volume.path

    def content(self) -> Content:
        return self._volume.content()

    def holds(self, path: str) -> bool:
        return self._volume.holds(path)

    def attachment(self) -> Attachment:
        return self._volume.attachment()

    def is_system(self) -> bool:
        return self._volume.is_system()

    def erase(self) -> None:
        self._life.step(f"before erasing {self.serial}")
        self._volume.erase()
        self._life.step(f"after erasing {self.serial}")

    def files(self) -> Files:
        return MortalFiles(self._volume.files(), self._life)


class MortalEngine(SimEngine):
    """An engine whose borders are operations of a program; what it stored outlives that."""

    def __init__(self, life: Life, *, before: "MortalEngine | None" = None) -> None:
        super().__init__()
        self.life = life
        if before is not None:
            self._stored = before._stored

    @override
    def _border(self) -> None:
        self.life.step("a border of the engine")


class BaseClock:
    """The time that really passes, when the story says so."""

    def __init__(self) -> None:
        self.now = datetime(2027, 3, 1, 12, tzinfo=UTC)
        self._lock = threading.Lock()

    def advance(self, by: timedelta) -> None:
        assert by >= timedelta(), "time passes forwards"
        with self._lock:
            self.now += by


class MachineClock:
    """`Clock` of one machine: it may be wrong, and may be set; its monotonic part never is."""

    def __init__(self, base: BaseClock) -> None:
        self.wrong_by = timedelta()
        self._base, self._start = base, base.now

    def now(self) -> datetime:
        return self._base.now + self.wrong_by

    def monotonic_s(self) -> float:
        return (self._base.now - self._start).total_seconds()

    def sleep(self, seconds: float) -> None:
        self._base.advance(timedelta(seconds=seconds))
