"""The objects that a point or a manifest lists: few bytes of memory for each, and their JSON.

100 TB are one and a half million packs.  As Python values their names and digests take 330 bytes
each; a table has 37 of each, and makes the values when they are asked for.  The JSON is written
and read in blocks, so that neither needs all values at once.
"""

import array
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Final, final, overload

import msgspec
from typing_extensions import override

from overland.values import PackId, index_name, pack_name

__all__ = ["Buffer", "ListingBroken", "ObjectRef", "ObjectTable", "joined", "listing", "split"]

Buffer = bytes | bytearray | memoryview

_START: Final = b'"objects":['
_BETWEEN: Final = b"},{"
_SHELL_BYTES: Final = 16 << 10  # before and behind the objects: ids, instants, a job's name
_BLOCK_BYTES: Final = 256 << 10  # of JSON: about 1,400 objects, half a MiB as values
_BLOCK_ROWS: Final = 1400
_FEW: Final = 4096  # objects whose names may all be in memory: arrays would have to be loaded
_DIGEST_BYTES: Final = 32
_PACK, _INDEX, _OTHER = range(3)


class ListingBroken(ValueError):
    """What should be a list of objects is none; who reads it says of which file."""


class ObjectRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object that a run published: its name, size and SHA-256."""

    name: str
    size_bytes: Annotated[int, msgspec.Meta(gt=0, le=1 << 30)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


@final
class ObjectTable(Sequence[ObjectRef]):
    """A sequence of objects that grows at its end, and equals any sequence of the same ones.

    A pack or index file takes 37 bytes; what is not named by its SHA-256 alone takes its name too.
    While one thread appends, no other may look.
    """

    __slots__ = ("_digests", "_kinds", "_names", "_sizes")
    __hash__ = None  # type: ignore[assignment]  # as of a list, because it grows

    def __init__(self, refs: Iterable[ObjectRef] = ()) -> None:
        self._digests, self._kinds = bytearray(), bytearray()
        self._sizes = array.array("I")
        self._names: dict[int, str] = {}
        for ref in refs:
            self.append(ref)

    def append(self, ref: ObjectRef) -> None:
        """Add an object whose size and digest are within the bounds of `ObjectRef`."""
        digest = bytes.fromhex(ref.sha256)
        assert len(digest) == _DIGEST_BYTES, "a SHA-256 has 32 bytes"
        kind = _kind_of(ref)
        if kind == _OTHER:
            self._names[len(self)] = ref.name
        self._digests += digest
        self._sizes.append(ref.size_bytes)
        self._kinds.append(kind)

    @property
    def size_bytes(self) -> int:
        """The size of all objects together."""
        return sum(self._sizes)

    def has_twice(self) -> bool:
        """Return whether two objects have the same name."""
        if len(self) <= _FEW:
            return len({ref.name for ref in self}) < len(self)
        import numpy as np  # noqa: PLC0415 - arrays, which short lists do without

        kinds = np.frombuffer(self._kinds, np.uint8)
        digests = np.frombuffer(self._digests, f"S{_DIGEST_BYTES}")
        for kind in (_PACK, _INDEX):
            found = digests[kinds == kind]
            found.sort()
            if bool((found[1:] == found[:-1]).any()):
                return True
        return len(set(self._names.values())) < len(self._names)

    def by_name(self) -> "ObjectTable":
        """Return the same objects, sorted by name; of packs that is the order of their digests."""
        import numpy as np  # noqa: PLC0415 - arrays, which most readers do without

        order = np.argsort(np.frombuffer(self._digests, f"S{_DIGEST_BYTES}"), kind="stable")
        kinds = np.frombuffer(self._kinds, np.uint8)[order]
        lines = [map(self._ref, order[kinds == kind]) for kind in (_PACK, _INDEX)]
        others = sorted(map(self._ref, self._names), key=_name)
        return ObjectTable(heapq.merge(*lines, others, key=_name))

    @override
    def __len__(self) -> int:
        return len(self._kinds)

    @overload
    def __getitem__(self, place: int) -> ObjectRef: ...

    @overload
    def __getitem__(self, place: slice) -> list[ObjectRef]: ...

    @override
    def __getitem__(self, place: int | slice) -> ObjectRef | list[ObjectRef]:
        if isinstance(place, slice):
            return [self._ref(row) for row in range(len(self))[place]]
        return self._ref(range(len(self))[place])

    @override
    def __iter__(self) -> Iterator[ObjectRef]:
        return map(self._ref, range(len(self)))

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == its for mine, its in zip(self, other, strict=True)
        )

    @override
    def __repr__(self) -> str:
        return f"ObjectTable({len(self)} objects)"

    def _ref(self, row: int) -> ObjectRef:
        row = int(row)
        start = row * _DIGEST_BYTES
        sha256 = self._digests[start : start + _DIGEST_BYTES].hex()
        kind = self._kinds[row]
        name = self._names[row] if kind == _OTHER else _name_of(kind, sha256)
        return ObjectRef(name=name, size_bytes=self._sizes[row], sha256=sha256)


def joined(shell: bytes, refs: Sequence[ObjectRef]) -> Iterator[bytes]:
    """Yield a document's canonical JSON with these objects, in parts; undoes `split`.

    `shell` is the canonical JSON of the document without objects.
    """
    start = shell.index(_START) + len(_START)
    yield shell[:start]
    for at in range(0, len(refs), _BLOCK_ROWS):
        rows = list(refs[at : at + _BLOCK_ROWS])
        yield (b"," if at else b"") + msgspec.json.encode(rows)[1:-1]
    yield shell[start:]


def split(document: Buffer) -> tuple[bytes, memoryview]:
    """Take the member `objects` out of a document's canonical JSON.

    Returns:
        The document with an empty array, and the array's elements, between its brackets.  Nothing
        is proven of either.  In canonical JSON no text can be taken for the member's beginning,
        because quotes within texts have a backslash before them.

    Raises:
        ListingBroken: There is no such member, or too much beside it.
    """
    view = memoryview(document)
    head = bytes(view[:_SHELL_BYTES])
    start = head.find(_START) + len(_START)
    if start < len(_START):
        raise ListingBroken("it has no objects where they belong")
    if head[start : start + 1] == b"]":
        end = start
    else:
        tail_at = max(start, len(view) - _SHELL_BYTES)
        end = tail_at + bytes(view[tail_at:]).rfind(b"}]") + 1
        if end == tail_at:
            raise ListingBroken("its objects have no end where it belongs")
    if start + len(view) - end > 2 * _SHELL_BYTES:
        raise ListingBroken("it is too long beside its objects")
    return b"".join((view[:start], view[end:])), view[start:end]


def listing(elements: memoryview, *, check: Callable[[ObjectRef], None]) -> ObjectTable:
    """Return the objects of an array's elements, as `split` gives them.

    Args:
        elements: Has to be the canonical JSON of objects, with commas between them.
        check: Raises where an object breaks a rule of the document; called in order.

    Raises:
        ListingBroken: They are not what they have to be.
        Whatever `check` raises.
    """
    table, at = ObjectTable(), 0
    while at < len(elements):
        block = bytes(elements[at : at + _BLOCK_BYTES])
        if at + len(block) < len(elements):
            # No object's name can hold these three characters: a cut elsewhere is refused below.
            block = block[: block.rfind(_BETWEEN) + 1]
        text = b"[%b]" % block
        at += len(block) + 1
        try:
            rows = msgspec.json.decode(text, type=list[ObjectRef])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ListingBroken(str(error)) from None
        if not rows or msgspec.json.encode(rows) != text:
            raise ListingBroken("its objects are not in canonical form")
        for row in rows:
            check(row)
            table.append(row)
    return table


def _kind_of(ref: ObjectRef) -> int:
    for kind in (_PACK, _INDEX):
        if ref.name == _name_of(kind, ref.sha256):
            return kind
    return _OTHER


def _name_of(kind: int, sha256: str) -> str:
    return pack_name(PackId(sha256)) if kind == _PACK else index_name(sha256)


def _name(ref: ObjectRef) -> str:
    return ref.name
