"""Checks a repository that lies in several places: drives, a staging location, the vault.

Together the places are one set of objects, so that an object is missing only if no place has it.
Yet every copy is to be whole: one that is damaged is found although another one could serve.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from heapq import merge
from operator import attrgetter
from typing import NamedTuple, NoReturn

from overland.agent.check.findings import HARMLESS, CheckReport, Finding
from overland.agent.check.run import check
from overland.agent.points.reading import ReadKeys
from overland.agent.points.signatures import Signatures
from overland.agent.sources import ReadOnlySource
from overland.errors import ObjectAbsent
from overland.format.objectsizes import ObjectSizes
from overland.ports.objects import Objects
from overland.ports.progress import Progress
from overland.values import ObjectInfo

__all__ = ["PlacedFinding", "PlacesReport", "check_places"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFinding:
    """A finding, the place whose copy it is about, and a place whose copy is whole, if any."""

    finding: Finding
    place: str | None
    whole_in: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacesReport:
    """What was checked, and what was found in which place."""

    checked: CheckReport
    found: tuple[PlacedFinding, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every copy of every object is there and whole, and every point restorable."""
        harmless = all(one.finding.kind in HARMLESS for one in self.found)
        return harmless and all(self.checked.restorable.values())


def check_places(
    layers: Sequence[tuple[str, Objects]],
    *,
    progress: Progress,
    keys: ReadKeys | None,
    signatures: Signatures | None,
    reclaimed: Collection[str] = (),
    digests: bool = False,
) -> PlacesReport:
    """Read every object of every place, and report what is missing or corrupt, and where.

    Copies beyond the first are compared by digest and signature; of each object one copy, a
    whole one if there is one, is opened with the keys.  Recovery points that were `reclaimed` need
    not be restorable.  `digests` is as in `check`, and so is memory, with another 40 bytes for each
    object of each place.

    Raises:
        Unreachable: A place did not answer.
        NotAuthorised: A place did not let us read.
        OSError: A place's device failed.
    """
    if keys is not None:
        signatures = keys.signatures
    if signatures is not None:
        # A document may lie in one place, and what vouches for it in another.
        signatures = signatures.beside(*(store for _, store in layers))
    held = [_Layer(label, store, ObjectSizes(store.names())) for label, store in layers]
    damaged: list[tuple[str, Finding]] = []
    for layer in held if len(held) > 1 else ():
        shared = _Chosen([layer], partial(_only_shared, layer, held))
        if next(shared.names(), None) is not None:
            report = check(shared, progress=progress, signatures=signatures)
            damaged += [(layer.label, each) for each in report.findings if each.kind == "corrupt"]
    chosen = _Chosen(held, partial(_best, held, {(label, each.name) for label, each in damaged}))
    report = check(
        chosen,
        progress=progress,
        keys=keys,
        signatures=signatures,
        reclaimed=reclaimed,
        digests=digests,
    )
    return PlacesReport(checked=report, found=tuple(_placed(report, damaged, chosen.place_of)))


class _Layer(NamedTuple):
    """A place, and what it lists."""

    label: str
    store: Objects
    sizes: ObjectSizes


def _only_shared(layer: _Layer, held: Sequence[_Layer], name: str) -> _Layer | None:
    """Return the layer for what it has and another one has as well."""
    others = (other for other in held if other is not layer)
    is_shared = name in layer.sizes and any(name in other.sizes for other in others)
    return layer if is_shared else None


def _best(held: Sequence[_Layer], bad: Collection[tuple[str, str]], name: str) -> _Layer | None:
    """Return the first layer that has an object whole, or else the first that has it."""
    first: _Layer | None = None
    for layer in held:
        if name in layer.sizes:
            if (layer.label, name) not in bad:
                return layer
            first = first or layer
    return first


def _placed(
    report: CheckReport,
    damaged: list[tuple[str, Finding]],
    place_of: Callable[[str], str | None],
) -> Iterator[PlacedFinding]:
    corrupt = {finding.name for finding in report.findings if finding.kind == "corrupt"}
    for label, finding in damaged:
        whole_in = None if finding.name in corrupt else place_of(finding.name)
        yield PlacedFinding(finding=finding, place=label, whole_in=whole_in)
    known = {(label, finding.name) for label, finding in damaged}
    for finding in report.findings:
        place = place_of(finding.name)
        if finding.kind != "corrupt" or (place, finding.name) not in known:
            yield PlacedFinding(finding=finding, place=place, whole_in=None)


class _Chosen:
    """Of each object one copy, or none, as one store that is only read."""

    def __init__(self, layers: Sequence[_Layer], choose: Callable[[str], _Layer | None]) -> None:
        self._layers, self._choose = layers, choose

    @cached_property
    def is_local(self) -> bool:
        """Whether all that serve an object are folders."""
        remote = [each for each in self._layers if not getattr(each.store, "is_local", False)]
        return not any(self._choose(name) is each for each in remote for name in each.sizes)

    def place_of(self, name: str) -> str | None:
        """Return the label of the layer whose copy of an object this is; None without one."""
        layer = self._choose(name)
        return None if layer is None else layer.label

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        return self._store(name).read_range(name, offset=offset, length=length)

    def read(self, name: str) -> bytes:
        return self._store(name).read(name)

    def blocks(self, name: str) -> Iterator[memoryview]:
        return self._store(name).blocks(name)

    def head(self, name: str) -> ObjectInfo:
        return self._store(name).head(name)

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        last = ""
        lines = [each.sizes.infos(prefix, start_after=start_after) for each in self._layers]
        for info in merge(*lines, key=attrgetter("name")):
            layer = self._choose(info.name) if info.name != last else None
            last = info.name
            if layer is not None:
                yield ObjectInfo(name=last, size_bytes=layer.sizes[last])

    def put(self, name: str, *_: object, **__: object) -> NoReturn:
        raise ReadOnlySource(name)

    def delete(self, name: str) -> NoReturn:
        raise ReadOnlySource(name)

    def _store(self, name: str) -> Objects:
        layer = self._choose(name)
        if layer is None:
            raise ObjectAbsent(name)
        return layer.store
