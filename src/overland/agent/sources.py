"""Where a restore reads from: vault, staging location and drives, whichever has the bytes.

A repository's objects are the same files under the same names everywhere, so that any copy of an
object is as good as any other; its bytes say whether they are what was written.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from typing import Final, NoReturn, TypeVar

import msgspec

from overland.errors import (
    IntegrityError,
    NotAuthorised,
    ObjectAbsent,
    ObjectCorrupt,
    RefusedError,
    TransientError,
)
from overland.ports.files import Files
from overland.ports.objects import Objects
from overland.seeding.subfolder import Subfolder
from overland.values import ObjectInfo, SeedId, is_object_name, named_digest

__all__ = ["LayeredObjects", "ReadOnlySource", "SeedFolderObjects", "Served", "named_digest"]

T = TypeVar("T")


class ReadOnlySource(RefusedError):
    """Somebody tried to change a place that is only read from."""

    code = "read-only-source"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} was not changed: a restore only reads from its sources")
        self.name = name


class Served(msgspec.Struct):
    """What one layer gave so far, and which of its objects turned out damaged."""

    reads: int = 0
    size_bytes: int = 0
    damaged: set[str] = msgspec.field(default_factory=set)


class LayeredObjects:
    """Several places that may hold the same objects, as one store that is only read.

    Layers are asked in order; the first one that has an object and whose bytes hold serves it.  A
    layer that has it damaged, or cannot be read, does not end the search.  Safe to use from
    several threads.
    """

    def __init__(self, layers: Sequence[tuple[str, Objects]]) -> None:
        assert len({label for label, _ in layers}) == len(layers), "labels tell the layers apart"
        self._lock = threading.Lock()
        self._served = {label: Served() for label, _ in layers}
        self._layers = tuple(
            (label, _Counted(objects, self._served[label], self._lock)) for label, objects in layers
        )

    @property
    def are_local(self) -> bool:
        """Whether all layers are folders: processes may share them, unlike connections."""
        return all(objects.is_local for _, objects in self._layers)

    @property
    def served(self) -> dict[str, Served]:
        """What came from where, by label, in the order of the layers."""
        return self._served

    def first(self, name: str, use: Callable[[Objects], T], *, even_damaged: bool = False) -> T:
        """Return what `use` makes of the first layer's copy for which it does not raise.

        Args:
            name: The object.
            use: Reads from one layer and checks; an `IntegrityError` condemns this layer's copy,
                which is not asked for again.
            even_damaged: Ask for condemned copies too: another part of them may hold.

        Raises:
            IntegrityError: No copy holds, and at least one is damaged: the last one's error.
            TransientError: No copy holds, and a layer did not answer: it may have a good one.
            NotAuthorised: As above; the layer did not let us read.
            OSError: As above; the layer's device failed.
            ObjectAbsent: No layer has it.
        """
        failure: Exception | None = None
        damage: IntegrityError | None = None
        for label, objects in self._layers:
            if name in self._served[label].damaged and not even_damaged:
                damage = damage or ObjectCorrupt(name, check=f"found by an earlier read: {label}")
                continue
            try:
                return use(objects)
            except ObjectAbsent:
                continue
            except IntegrityError as error:
                self._condemn(label, name)
                damage = error
            except (TransientError, NotAuthorised, OSError) as error:
                failure = failure or error
        raise failure or damage or ObjectAbsent(name)

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes; who can check them uses `first`."""
        return self.first(name, lambda o: o.read_range(name, offset=offset, length=length))

    def read(self, name: str) -> bytes:
        """Return a whole object, from a copy whose digest holds where the name promises one.

        Raises:
            ObjectAbsent, IntegrityError, TransientError, NotAuthorised, OSError: As `first`.
        """
        return self.first(name, lambda objects: _digest_held(name, objects.read(name)))

    def blocks(self, name: str) -> Iterator[memoryview]:
        """Yield the content in order, from the first layer that has it.

        Raises:
            ObjectCorrupt: After the last block: the digest does not hold.  Asked for again, the
                object comes from the next layer that has it; before the first, when none is left.
            ObjectAbsent: No layer has it.
            TransientError, NotAuthorised, OSError: A layer failed, and no other has it.
        """
        label, objects = self._holder(name)
        digest, promised = hashlib.sha256(), named_digest(name)
        for block in objects.blocks(name):
            digest.update(block)
            yield block
        if promised not in {None, digest.hexdigest()}:
            self._condemn(label, name)
            raise ObjectCorrupt(name, check="SHA-256 differs from the name")

    def head(self, name: str) -> ObjectInfo:
        """Return the object's size, from the first layer that has it.

        Raises:
            ObjectAbsent, ObjectCorrupt, TransientError, NotAuthorised, OSError: As `blocks` before
                the first block.
        """
        _, objects = self._holder(name)
        return objects.head(name)

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects of all layers, sorted by name, each once."""
        last = ""
        layers = [o.names(prefix, start_after=start_after) for _, o in self._layers]
        every = merge(*layers, key=_name)
        for info in every:
            if info.name != last:
                yield info
            last = info.name

    def put(self, name: str, *_: object, **__: object) -> NoReturn:
        """Refuse.

        Raises:
            ReadOnlySource: Always.
        """
        raise ReadOnlySource(name)

    def delete(self, name: str) -> NoReturn:
        """Refuse.

        Raises:
            ReadOnlySource: Always.
        """
        raise ReadOnlySource(name)

    def _holder(self, name: str) -> tuple[str, Objects]:
        failure: Exception | None = None
        damaged = False
        for label, objects in self._layers:
            if name in self._served[label].damaged:
                damaged = True
                continue
            try:
                objects.head(name)
            except ObjectAbsent:
                continue
            except (TransientError, NotAuthorised, OSError) as error:
                failure = failure or error
            else:
                return label, objects
        if damaged:
            failure = failure or ObjectCorrupt(name, check="every copy found so far")
        raise failure or ObjectAbsent(name)

    def _condemn(self, label: str, name: str) -> None:
        with self._lock:
            self._served[label].damaged.add(name)


class _Counted:
    """One layer, whose reads are counted."""

    def __init__(self, objects: Objects, served: Served, lock: threading.Lock) -> None:
        self._objects, self._served, self._lock = objects, served, lock
        self.is_local: bool = getattr(objects, "is_local", False)

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; see the port."""
        data = self._objects.read_range(name, offset=offset, length=length)
        self._count(len(data))
        return data

    def read(self, name: str) -> bytes:
        """Return a whole object; see the port."""
        data = self._objects.read(name)
        self._count(len(data))
        return data

    def blocks(self, name: str) -> Iterator[memoryview]:
        """Yield the content in order, each block counted as a read; see the port."""
        for block in self._objects.blocks(name):
            self._count(len(block))
            yield block

    def head(self, name: str) -> ObjectInfo:
        """Return the object's size, which counts as no read; see the port."""
        return self._objects.head(name)

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with `prefix`, sorted by name; see the port."""
        return self._objects.names(prefix, start_after=start_after)

    def put(self, name: str, *_: object, **__: object) -> NoReturn:
        """Refuse.

        Raises:
            ReadOnlySource: Always.
        """
        raise ReadOnlySource(name)

    def delete(self, name: str) -> NoReturn:
        """Refuse.

        Raises:
            ReadOnlySource: Always.
        """
        raise ReadOnlySource(name)

    def _count(self, size_bytes: int) -> None:
        with self._lock:
            self._served.reads += 1
            self._served.size_bytes += size_bytes


class SeedFolderObjects:
    """The objects in a seed folder of a staging location, or of a drive that is at hand.

    Other files of the folder (manifests, the mark of readiness) are not objects and do not show.
    """

    is_local: Final = True

    def __init__(self, files: Files, seed_id: SeedId) -> None:
        self._files = Subfolder(files, f"seed-{seed_id}")

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; see the port."""
        return self._files.read_range(_object(name), offset=offset, length=length)

    def read(self, name: str) -> bytes:
        """Return a whole object; see the port."""
        return self._files.read(_object(name))

    def blocks(self, name: str) -> Iterator[memoryview]:
        """Yield the content in order; see the port."""
        return self._files.blocks(_object(name))

    def head(self, name: str) -> ObjectInfo:
        """Return the object's size; see the port."""
        return ObjectInfo(name=name, size_bytes=self._files.size_bytes(_object(name)))

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with `prefix`, sorted by name."""
        every = self._files.names(prefix, start_after=start_after)
        return (info for info in every if is_object_name(info.name))

    def put(self, name: str, *_: object, **__: object) -> NoReturn:
        """Refuse.

        Raises:
            ReadOnlySource: Always.
        """
        raise ReadOnlySource(name)

    def delete(self, name: str) -> NoReturn:
        """Refuse.

        Raises:
            ReadOnlySource: Always.
        """
        raise ReadOnlySource(name)


def _object(name: str) -> str:
    if not is_object_name(name):
        raise ObjectAbsent(name)
    return name


def _name(info: ObjectInfo) -> str:
    return info.name


def _digest_held(name: str, data: bytes) -> bytes:
    if named_digest(name) not in {None, hashlib.sha256(data).hexdigest()}:
        raise ObjectCorrupt(name, check="SHA-256 differs from the name")
    return data
