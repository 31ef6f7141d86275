"""Wrappers that make good `Files` fail in chosen ways, and the plan that chooses.

`tests/support/faulty_ports.py` has the wrappers of the other ports.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from tests.support.simdisk import reused_views

from overland.errors import ObjectAbsent, OutOfSpace
from overland.ports.clock import Clock
from overland.ports.files import Files, NewFile
from overland.values import ObjectInfo

if TYPE_CHECKING:
    from overland.ports.files import OpensFiles
    from overland.ports.objects import FileContent

__all__ = ["FaultPlan", "FaultyFileContent", "FaultyFiles", "FaultyOpensFiles", "spoiled"]

SLOW_S = 90.0
"""How long a slow call takes, on the clock of the plan."""


class FaultPlan:
    """Which calls of a port fail, and how; every choice comes from one number.

    The same number and the same calls give the same faults.  `trail` has what was done to whom.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        faults: Sequence[str] = (),
        rate: float = 1.0,
        at_most: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Plan.

        Args:
            seed: The number.
            faults: Kinds of faults; each wrapper says which it knows.
            rate: Of the calls that a fault could meet, how many it meets.
            at_most: So many faults in all; None for no limit.
            clock: Is moved on by `slow` calls.
        """
        self.random = random.Random(seed)
        self.trail: list[str] = []
        self._faults, self._rate, self._left = tuple(faults), rate, at_most
        self._clock = clock

    def draw(self, operation: str, name: str, *, among: Sequence[str]) -> str | None:
        """Return which fault of those `among` meets this call; None for most calls.

        A slow call has taken its time on return.
        """
        known = [fault for fault in self._faults if fault in among]
        if not known or self._left == 0 or self.random.random() >= self._rate:
            return None
        fault = self.random.choice(known)
        if self._left is not None:
            self._left -= 1
        self.trail.append(f"{operation} {name}: {fault}")
        if fault == "slow" and self._clock is not None:
            self._clock.sleep(SLOW_S)
        return fault


def spoiled(data: bytes, fault: str | None, chance: random.Random) -> bytes:
    """Return the data with one bit changed (`flip`), or cut off (`cut`); empty data as it is."""
    if not data or fault not in {"flip", "cut"}:
        return data
    if fault == "cut":
        return data[: chance.randrange(len(data))]
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


class FaultyFiles:
    """`Files` around other `Files`, with faults.

    - `full_after_bytes`: after so many written bytes the medium is full (`OutOfSpace`);
    - `flipped[name]`: offsets of bytes that read back with one bit changed;
    - `shortened[name]`: the length at which a file's content now ends;
    - `failing`: names whose reading fails with `OSError`, as a bad sector does;
    - `on_call(operation, name)`: called before each operation; may raise, or count, or advance a
      clock, which is how a slow medium is told;
    - `plan`: faults by chance: `error` (any call fails with `OSError`), `full` (a write finds no
      room), `short` (half of a write arrives, then it fails), `slow`, `flip` and `cut` (what is
      read), `lie` (`publish`, `show` or `settle` returns, and nothing is durable until
      `power_cut`).
    """

    def __init__(
        self,
        files: Files,
        *,
        full_after_bytes: int | None = None,
        on_call: Callable[[str, str], None] | None = None,
        plan: FaultPlan | None = None,
    ) -> None:
        self._files = files
        self.free: int | None = full_after_bytes
        self.flipped: dict[str, set[int]] = {}
        self.shortened: dict[str, int] = {}
        self.failing: set[str] = set()
        self._on_call = on_call or (lambda _operation, _name: None)
        self._plan = plan or FaultPlan()
        self._unsafe: dict[str, bytes | None] = {}  # what the medium holds of whom it lied about

    def create(self) -> NewFile:
        self._begin("create", "")
        return _FaultyNewFile(self, self._files.create())

    def write(self, name: str, data: bytes | bytearray | memoryview) -> None:
        new = self.create()
        try:
            new.write(data)
            new.publish(name)
        finally:
            new.abandon()

    def read(self, name: str) -> bytes:
        return self._seen("read", name, 0, None)

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        return self._seen("read_range", name, offset, length)

    def blocks(self, name: str, *, block_bytes: int = 4 << 20) -> Iterator[memoryview]:
        yield from reused_views(self._seen("blocks", name, 0, None), block_bytes)

    def size_bytes(self, name: str) -> int:
        self._begin("size_bytes", name)
        return min(self._files.size_bytes(name), self.shortened.get(name, 1 << 62))

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        self._begin("names", prefix)
        for info in self._files.names(prefix, start_after=start_after):
            size_bytes = min(info.size_bytes, self.shortened.get(info.name, 1 << 62))
            yield ObjectInfo(name=info.name, size_bytes=size_bytes)

    def settle(self, name: str) -> None:
        if self._begin("settle", name, "lie") != "lie":
            self._files.settle(name)
            self._unsafe.pop(name, None)

    def delete(self, name: str) -> None:
        self._begin("delete", name)
        self._files.delete(name)

    def forget(self, name: str) -> None:
        self._begin("forget", name)
        self._files.forget(name)

    def free_bytes(self) -> int:
        return self._files.free_bytes() if self.free is None else self.free

    def sweep(self) -> int:
        self._begin("sweep", "")
        return self._files.sweep()

    # What only tests ask.

    def power_cut(self) -> list[str]:
        """Lose what the medium lied about: the old content is back, or a part or zeros of the new.

        Returns the names whose content is not what was published.
        """
        lost = []
        for name, before in sorted(self._unsafe.items()):
            content = self._files.read(name)
            after = self._plan.random.choice([before, content[: len(content) // 2], content])
            if after is None:
                self._files.delete(name)
            else:
                self._files.write(name, after)
            if after != content:
                lost.append(name)
        self._unsafe.clear()
        return lost

    def _begin(self, operation: str, name: str, *faults: str) -> str | None:
        self._on_call(operation, name)
        fault = self._plan.draw(operation, name, among=("error", "slow", *faults))
        if fault == "error":
            raise OSError(5, "simulated failure of the device", name)
        return fault

    def _published(self, name: str, fault: str | None, before: bytes | None) -> None:
        if fault == "lie":
            self._unsafe.setdefault(name, before)
        else:
            self._unsafe.pop(name, None)

    def _content(self, name: str) -> bytes | None:
        try:
            return self._files.read(name)
        except ObjectAbsent:
            return None

    def _seen(self, operation: str, name: str, offset: int, length: int | None) -> bytes:
        fault = self._begin(operation, name, "flip", "cut")
        if name in self.failing:
            raise OSError(5, "simulated bad sector", name)
        content = bytearray(self._files.read(name))
        for position in self.flipped.get(name, ()):
            content[position] ^= 1
        end = self.shortened.get(name, len(content))
        found = bytes(content[:end][offset : None if length is None else offset + length])
        return spoiled(found, fault, self._plan.random)


class _FaultyNewFile:
    def __init__(self, faulty: FaultyFiles, new: NewFile) -> None:
        self._faulty, self._new = faulty, new

    def write(self, data: bytes | bytearray | memoryview) -> None:
        fault = self._faulty._begin("write", "", "full", "short")
        size_bytes = memoryview(data).nbytes
        if fault == "full":
            raise OutOfSpace("the medium", needed_bytes=size_bytes, free_bytes=0)
        if fault == "short":
            self._new.write(memoryview(data).cast("B")[: size_bytes // 2])
            raise OSError(5, "simulated short write")
        if self._faulty.free is not None:
            if size_bytes > self._faulty.free:
                free_bytes = self._faulty.free
                raise OutOfSpace("the medium", needed_bytes=size_bytes, free_bytes=free_bytes)
            self._faulty.free -= size_bytes
        self._new.write(data)

    def publish(self, name: str) -> None:
        fault = self._faulty._begin("publish", name, "lie")
        before = self._faulty._content(name) if fault == "lie" else None
        self._new.publish(name)
        self._faulty._published(name, fault, before)

    def settle(self) -> None:
        # Without a fault of its own: it may run beside other work, whose faults a seed decides.
        # A medium that lies about it is one whose `show` is a lie.
        self._new.settle()

    def show(self, name: str) -> None:
        fault = self._faulty._begin("show", name, "lie")
        before = self._faulty._content(name) if fault == "lie" else None
        self._new.show(name)
        self._faulty._published(name, fault, before)

    def abandon(self) -> None:
        self._new.abandon()


class FaultyOpensFiles:
    """`OpensFiles` with `error` and `slow`, and whose descriptors read what is `flip` or `cut`."""

    def __init__(self, files: "OpensFiles", plan: FaultPlan) -> None:
        self._files, self._plan = files, plan

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        with spoiling(self._plan, name) as spoil, self._files.opened(name) as descriptor:
            yield spoil(descriptor)


class FaultyFileContent:
    """`FileContent` with `error` and `slow`, and bytes that are `flip` or `cut`, read in any way.

    And `forgetful`: what it is told of the reading does not arrive.
    """

    def __init__(self, content: "FileContent", plan: FaultPlan) -> None:
        self._content, self._plan = content, plan

    @contextmanager
    def opened(self) -> Iterator[int]:
        with spoiling(self._plan, "") as spoil, self._content.opened() as descriptor:
            yield spoil(descriptor)

    def was_read(self, blocks: int) -> None:
        if not self._plan.draw("was_read", "", among=("forgetful",)):
            self._content.was_read(blocks)

    def reading_ended(self) -> None:
        if not self._plan.draw("reading_ended", "", among=("forgetful",)):
            self._content.reading_ended()

    def __iter__(self) -> Iterator[memoryview]:
        with spoiling(self._plan, "") as spoil, self._content.opened() as descriptor:
            os.lseek(spoilt := spoil(descriptor), 0, os.SEEK_SET)
            while block := os.read(spoilt, 4 << 20):
                yield memoryview(block)


@contextmanager
def spoiling(plan: FaultPlan, name: str) -> Iterator[Callable[[int], int]]:
    """Give what returns, for a file's descriptor, one of the same file or of a spoiled copy."""
    fault = plan.draw("opened", name, among=("error", "slow", "flip", "cut"))
    if fault == "error":
        raise OSError(5, "simulated failure of the device", name)
    with ExitStack() as stack:

        def spoil(descriptor: int) -> int:
            if fault not in {"flip", "cut"}:
                return descriptor
            copy = stack.enter_context(TemporaryFile(buffering=0))
            size_bytes = os.fstat(descriptor).st_size
            copy.write(spoiled(os.pread(descriptor, size_bytes, 0), fault, plan.random))
            copy.seek(0)
            return copy.fileno()

        yield spoil
