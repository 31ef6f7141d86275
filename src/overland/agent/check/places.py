"""Checks a repository that lies in several places: drives, a staging location, the vault.

Together the places are one set of objects, so that an object is missing only if no place has it.
Yet every copy is to be whole: one that is damaged is found although another one could serve.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from overland.agent.check.findings import HARMLESS, CheckReport, Finding
from overland.agent.check.run import check
from overland.agent.points.reading import ReadKeys
from overland.agent.points.signatures import Signatures
from overland.agent.sources import ReadOnlySource
from overland.errors import ObjectAbsent
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
    not be restorable.  `digests` is as in `check`.

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
    held = [(label, store, {info.name: info for info in store.names()}) for label, store in layers]
    times = Counter(name for _, _, infos in held for name in infos)
    copies = {name for name, count in times.items() if count > 1}
    damaged: list[tuple[str, Finding]] = []
    for label, store, infos in held:
        shared = {name: (store, infos[name]) for name in infos.keys() & copies}
        if shared:
            report = check(_Chosen(shared), progress=progress, signatures=signatures)
            damaged += [(label, each) for each in report.findings if each.kind == "corrupt"]
    bad = {(label, finding.name) for label, finding in damaged}
    chosen: dict[str, tuple[Objects, ObjectInfo]] = {}
    place_of: dict[str, str] = {}
    for label, store, infos in held:
        for name, info in infos.items():
            worse = place_of.get(name)
            if worse is None or ((worse, name) in bad and (label, name) not in bad):
                chosen[name], place_of[name] = (store, info), label
    report = check(
        _Chosen(chosen),
        progress=progress,
        keys=keys,
        signatures=signatures,
        reclaimed=reclaimed,
        digests=digests,
    )
    return PlacesReport(checked=report, found=tuple(_placed(report, damaged, place_of)))


def _placed(
    report: CheckReport, damaged: list[tuple[str, Finding]], place_of: Mapping[str, str]
) -> Iterator[PlacedFinding]:
    corrupt = {finding.name for finding in report.findings if finding.kind == "corrupt"}
    for label, finding in damaged:
        whole_in = None if finding.name in corrupt else place_of[finding.name]
        yield PlacedFinding(finding=finding, place=label, whole_in=whole_in)
    known = {(label, finding.name) for label, finding in damaged}
    for finding in report.findings:
        place = place_of.get(finding.name)
        if finding.kind != "corrupt" or (place, finding.name) not in known:
            yield PlacedFinding(finding=finding, place=place, whole_in=None)


class _Chosen:
    """Of each object one copy, as one store that is only read."""

    def __init__(self, chosen: Mapping[str, tuple[Objects, ObjectInfo]]) -> None:
        self._chosen = chosen
        places = {id(store): store for store, _ in chosen.values()}.values()
        self.is_local = all(getattr(store, "is_local", False) for store in places)

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        return self._store(name).read_range(name, offset=offset, length=length)

    def read(self, name: str) -> bytes:
        return self._store(name).read(name)

    def blocks(self, name: str) -> Iterator[memoryview]:
        return self._store(name).blocks(name)

    def head(self, name: str) -> ObjectInfo:
        return self._store(name).head(name)

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        chosen = ((n, info) for n, (_, info) in sorted(self._chosen.items()) if n > start_after)
        return (info for name, info in chosen if name.startswith(prefix))

    def put(self, name: str, *_: object, **__: object) -> NoReturn:
        raise ReadOnlySource(name)

    def delete(self, name: str) -> NoReturn:
        raise ReadOnlySource(name)

    def _store(self, name: str) -> Objects:
        if name not in self._chosen:
            raise ObjectAbsent(name)
        return self._chosen[name][0]
