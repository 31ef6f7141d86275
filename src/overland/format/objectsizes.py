"""The names of many objects, each with its size: what a place lists, or what documents name.

100 TB are one and a half million packs.  In a dictionary a name and a size take 200 to 300 bytes;
here they take 40, because the names of packs and index files follow from digests.
"""

import array
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol, final, overload

from typing_extensions import override

from overland.values import ObjectInfo, PackId, index_name, pack_name

__all__ = ["ObjectSizes", "Sized"]

_FEW: Final = 4096  # objects that may all be in a dictionary: arrays would have to be loaded
_TOGETHER: Final = 1400  # names made at a time
_HEX_DIGITS: Final = 64
_PACK, _INDEX = range(2)


class Sized(Protocol):
    """An object as a listing or a document gives it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def size_bytes(self) -> int:
        """Its size."""
        ...


@final
class ObjectSizes(Mapping[str, int]):
    """Sizes by names, sorted by name; equals any mapping of the same.

    A pack or index file takes 40 bytes, and up to 112 for a moment where they did not come sorted
    by name; what has another name takes that name too.  It never changes, so that any thread may
    look.  `keys()` is a set of the names; what set operations with it return is an ordinary set.
    """

    __slots__ = ("_columns", "_named")

    def __init__(self, objects: Iterable[Sized] = (), *, below: str = "") -> None:
        """Take note of objects; where a name comes several times, the last counts.

        Args:
            objects: As listings or documents give them; none is kept.
            below: What all their names begin with, and what is left out here.
        """
        digests = [bytearray(), bytearray()]
        sizes = [array.array("Q"), array.array("Q")]
        self._named: dict[str, int] = {}
        for each in objects:
            name = each.name.removeprefix(below)
            kind, digest = _parsed(name)
            if digest is None:
                self._named[name] = each.size_bytes
            else:
                digests[kind] += digest
                sizes[kind].append(each.size_bytes)
        self._columns: tuple[_Column, ...] = ()
        if sum(map(len, sizes)) > _FEW:
            self._columns = tuple(_Column(k, digests[k], sizes[k]) for k in (_PACK, _INDEX))
            return
        for kind in (_PACK, _INDEX):
            joined = digests[kind].hex()
            for place, size_bytes in enumerate(sizes[kind]):
                at = place * _HEX_DIGITS
                self._named[_name_of(kind, joined[at : at + _HEX_DIGITS])] = size_bytes

    @property
    def size_bytes(self) -> int:
        """The size of all objects together."""
        return sum(self._named.values()) + sum(sum(column.sizes) for column in self._columns)

    def infos(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose names start with `prefix` and come after another, by name."""
        named = sorted(self._named.items())
        lines: list[Iterator[tuple[str, int]]] = [iter(named)]
        lines += [column.items() for column in self._columns if column.may_have(prefix)]
        for name, size_bytes in heapq.merge(*lines) if len(lines) > 1 else lines[0]:
            if name > start_after and name.startswith(prefix):
                yield ObjectInfo(name=name, size_bytes=size_bytes)

    def packs(self) -> Sequence[ObjectInfo]:
        """Return the packs, sorted by name; each is made when it is asked for."""
        if self._columns:
            return _Infos(self._columns[_PACK])
        return [info for info in self.infos("packs/") if _parsed(info.name)[1] is not None]

    def differing(self, held: "ObjectSizes") -> Iterator[str]:
        """Yield the names of those that are not held with the same size, sorted."""
        theirs = held._columns  # noqa: SLF001 - another of this class
        if not self._columns or not theirs:
            sizes = ((info.name, info.size_bytes) for info in self.infos())
            yield from (name for name, size_bytes in sizes if held.get(name) != size_bytes)
            return
        named = sorted(n for n, size_bytes in self._named.items() if held.get(n) != size_bytes)
        pairs = zip(self._columns, theirs, strict=True)
        yield from heapq.merge(named, *(mine.differing(its) for mine, its in pairs))

    @override
    def __getitem__(self, name: str) -> int:
        if self._columns:
            kind, digest = _parsed(name)
            if digest is not None:
                return self._columns[kind].size_of(digest, name)
        return self._named[name]

    @override
    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        kind, digest = _parsed(name) if self._columns else (_PACK, None)
        return name in self._named if digest is None else self._columns[kind].has(digest)

    @override
    def __len__(self) -> int:
        return len(self._named) + sum(len(column.sizes) for column in self._columns)

    @override
    def __iter__(self) -> Iterator[str]:
        return (info.name for info in self.infos())

    @override
    def __repr__(self) -> str:
        return f"ObjectSizes({len(self)} objects)"


@final
class _Column:
    """The objects of one kind, by their digests: `sizes` are in the order of these."""

    __slots__ = ("_kind", "digests", "sizes")

    def __init__(self, kind: int, digests: bytearray, sizes: "array.array[int]") -> None:
        from overland.format.digests import SortedDigests  # noqa: PLC0415 - arrays, for many only

        self._kind = kind
        self.digests = SortedDigests(digests)
        self.sizes = self.digests.arranged(sizes)
        self.digests.rows = None

    def may_have(self, prefix: str) -> bool:
        folder = _name_of(self._kind, "").partition("/")[0] + "/"
        return folder.startswith(prefix) or prefix.startswith(folder)

    def has(self, digest: bytes) -> bool:
        return self.digests.find(digest) >= 0

    def size_of(self, digest: bytes, name: str) -> int:
        place = self.digests.find(digest)
        if place < 0:
            raise KeyError(name)
        return self.sizes[place]

    def info(self, number: int) -> ObjectInfo:
        [text] = self.digests.hexadecimal(number, number + 1)
        return ObjectInfo(name=_name_of(self._kind, text), size_bytes=self.sizes[number])

    def items(self) -> Iterator[tuple[str, int]]:
        for first in range(0, len(self.sizes), _TOGETHER):
            end = first + _TOGETHER
            names = (_name_of(self._kind, text) for text in self.digests.hexadecimal(first, end))
            yield from zip(names, self.sizes[first:end], strict=True)

    def differing(self, held: "_Column") -> Iterator[str]:
        for first, places in self.digests.places_in(held.digests):
            for number, place in enumerate(places.tolist(), first):
                if place < 0 or held.sizes[place] != self.sizes[number]:
                    yield self.info(number).name


@final
class _Infos(Sequence[ObjectInfo]):
    """The objects of one kind, by their numbers."""

    def __init__(self, column: _Column) -> None:
        self._column = column

    @overload
    def __getitem__(self, number: int) -> ObjectInfo: ...

    @overload
    def __getitem__(self, number: slice) -> list[ObjectInfo]: ...

    @override
    def __getitem__(self, number: int | slice) -> ObjectInfo | list[ObjectInfo]:
        if isinstance(number, slice):
            return [self._column.info(each) for each in range(len(self))[number]]
        return self._column.info(range(len(self))[number])

    @override
    def __len__(self) -> int:
        return len(self._column.sizes)

    @override
    def __iter__(self) -> Iterator[ObjectInfo]:
        return (ObjectInfo(name=name, size_bytes=size) for name, size in self._column.items())


def _parsed(name: str) -> tuple[int, bytes | None]:
    """Return of which kind an object is, and its digest; None where the name has another form."""
    if name.startswith("packs/"):
        kind, text = _PACK, name[9:73]
    elif name.startswith("index/"):
        kind, text = _INDEX, name[6:70]
    else:
        return _PACK, None
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        return kind, None
    # Capital digits and blanks are read as well, and are no name of an object.
    is_name = len(text) == _HEX_DIGITS and digest.hex() == text and _name_of(kind, text) == name
    return kind, digest if is_name else None


def _name_of(kind: int, sha256: str) -> str:
    return pack_name(PackId(sha256)) if kind == _PACK else index_name(sha256)
