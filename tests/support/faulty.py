"""Wrappers that make good `Files` fail in chosen ways."""

from collections.abc import Callable, Iterator

from tests.support.simdisk import reused_views

from overland.errors import OutOfSpace
from overland.ports.files import Files, NewFile
from overland.values import ObjectInfo

__all__ = ["FaultyFiles"]


class FaultyFiles:
    """`Files` around other `Files`, with faults.

    - `full_after_bytes`: after so many written bytes the medium is full (`OutOfSpace`);
    - `flipped[name]`: offsets of bytes that read back with one bit changed;
    - `shortened[name]`: the length at which a file's content now ends;
    - `failing`: names whose reading fails with `OSError`, as a bad sector does;
    - `on_call(operation, name)`: called before each operation; may raise, or count, or advance a
      clock, which is how a slow medium is told.
    """

    def __init__(
        self,
        files: Files,
        *,
        full_after_bytes: int | None = None,
        on_call: Callable[[str, str], None] | None = None,
    ) -> None:
        self._files = files
        self.free: int | None = full_after_bytes
        self.flipped: dict[str, set[int]] = {}
        self.shortened: dict[str, int] = {}
        self.failing: set[str] = set()
        self._on_call = on_call or (lambda _operation, _name: None)

    def create(self) -> NewFile:
        self._on_call("create", "")
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
        self._on_call("size_bytes", name)
        return min(self._files.size_bytes(name), self.shortened.get(name, 1 << 62))

    def names(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._on_call("names", prefix)
        for info in self._files.names(prefix):
            size_bytes = min(info.size_bytes, self.shortened.get(info.name, 1 << 62))
            yield ObjectInfo(name=info.name, size_bytes=size_bytes)

    def settle(self, name: str) -> None:
        self._on_call("settle", name)
        self._files.settle(name)

    def delete(self, name: str) -> None:
        self._on_call("delete", name)
        self._files.delete(name)

    def free_bytes(self) -> int:
        return self._files.free_bytes() if self.free is None else self.free

    def sweep(self) -> int:
        self._on_call("sweep", "")
        return self._files.sweep()

    def _seen(self, operation: str, name: str, offset: int, length: int | None) -> bytes:
        self._on_call(operation, name)
        if name in self.failing:
            raise OSError(5, "simulated bad sector", name)
        content = bytearray(self._files.read(name))
        for position in self.flipped.get(name, ()):
            content[position] ^= 1
        end = self.shortened.get(name, len(content))
        return bytes(content[:end][offset : None if length is None else offset + length])


class _FaultyNewFile:
    def __init__(self, faulty: FaultyFiles, new: NewFile) -> None:
        self._faulty, self._new = faulty, new

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._faulty._on_call("write", "")
        size_bytes = memoryview(data).nbytes
        if self._faulty.free is not None:
            if size_bytes > self._faulty.free:
                free_bytes = self._faulty.free
                raise OutOfSpace("the medium", needed_bytes=size_bytes, free_bytes=free_bytes)
            self._faulty.free -= size_bytes
        self._new.write(data)

    def publish(self, name: str) -> None:
        self._faulty._on_call("publish", name)
        self._new.publish(name)

    def abandon(self) -> None:
        self._new.abandon()
