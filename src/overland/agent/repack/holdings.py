"""What the vault holds of which recovery points, and what each of these needs.

The cloud says which points live and which replacements it accepted; what that means for objects
follows from the signed documents in the vault (`docs/format/replacement-v1.md` §4).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from overland.agent.connection import Chains, VaultPoint
from overland.agent.points.reading import PointAbsent, ReadKeys, read_public
from overland.agent.points.replacements import replacements_of
from overland.agent.repack.listednames import ListedNames
from overland.agent.sources import LayeredObjects
from overland.errors import IntegrityError
from overland.format.objectsizes import ObjectSizes
from overland.format.point import PointPublic
from overland.format.replacement import Replacement, needed_after
from overland.values import PackId, PointId, ReplacementId

__all__ = ["Held", "Holdings", "Keeper", "ReplacementUnreadable", "look", "pack_ids"]

_RECLAIMED: Final = "reclaimed"
_AVAILABLE: Final = "available"
_TRAVELS: Final = "waiting-for-seed"


class Keeper(Protocol):
    """The cloud, as the keeper of the chains of recovery points."""

    def chains(self) -> Chains:
        """Return all points, their version, and which replacements were accepted."""
        ...

    def accept_replacement(self, replacement_id: str, *, chain_version: int) -> int:
        """Let a replacement in the vault take effect; return the version afterwards.

        Raises:
            RefusedError: It does not hold, or the chains are not those of `chain_version`.
        """
        ...


class ReplacementUnreadable(IntegrityError):
    """An accepted replacement is missing or damaged, so that nobody knows what is needed."""

    code = "replacement-unreadable"

    def __init__(self, replacement_id: str) -> None:
        super().__init__(
            f"replacement {replacement_id} was accepted and cannot be read; run "
            "`overland repair` with --from and a place that has it; nothing was changed"
        )
        self.replacement_id = replacement_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A living recovery point.

    `named` is what it and its bases list, with everything that was ever put in the place of that;
    `needed` is what of this it still needs; `line` are the point and its bases, newest first.
    """

    public: PointPublic
    line: tuple[PointId, ...]
    named: ListedNames
    needed: ListedNames
    is_whole: bool
    travels: bool

    @property
    def point_id(self) -> PointId:
        """Which point it is."""
        return self.public.point_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """All of one instant: the vault's objects, and living points, oldest first.

    `unreadable` are living points of which the own file, or that of a base, is nowhere;
    `travelling` are those of them whose seed is still on its way.
    """

    chain_version: int
    sizes: Mapping[str, int]
    points: tuple[Held, ...]
    accepted: tuple[Replacement, ...]
    replaced: frozenset[str]
    unreadable: tuple[PointId, ...]
    travelling: frozenset[PointId]

    def connected(self, points: Iterable[Held]) -> list[Held]:
        """Return these points and all that share an object with one of them, oldest first."""
        found = {held.point_id for held in points}
        names = ListedNames.together(h.named for h in self.points if h.point_id in found)
        grows = True
        while grows:
            more = [
                held
                for held in self.points
                if held.point_id not in found and not names.isdisjoint(held.named)
            ]
            found.update(held.point_id for held in more)
            names = ListedNames.together([names, *(held.named for held in more)])
            grows = bool(more)
        return [held for held in self.points if held.point_id in found]


def look(keeper: Keeper, vault: LayeredObjects, places: LayeredObjects, keys: ReadKeys) -> Holdings:
    """Read what the points of this repository need.

    Args:
        keeper: Asked first, so that its version is not newer than what is read.
        vault: The vault alone.
        places: The vault and other places, for points and replacements that it lacks.
        keys: The owner's.

    Raises:
        ReplacementUnreadable: An accepted one is in no place.
        KeyChangeMissing: What a former signing key signed cannot be told from a forgery here.
        TransientError: A place did not answer.
    """
    chains = keeper.chains()
    sizes = ObjectSizes(vault.names())
    replacements = replacements_of(places, keys)
    for missing in replacements.unproven:
        raise missing  # it may be an accepted one
    known = {each.replacement_id: each for each in replacements.found}
    for each in chains.replacements:
        if ReplacementId(each) not in known:
            raise ReplacementUnreadable(each)
    accepted = tuple(known[ReplacementId(each)] for each in chains.replacements)
    found: list[Held] = []
    unreadable: list[PointId] = []
    publics: dict[PointId, PointPublic] = {}
    documents: dict[PointId, ObjectSizes] = {}
    for point in chains.points:
        if point.state == _RECLAIMED:
            continue
        try:
            line = _line(places, keys, PointId(point.point_id), publics)
        except (PointAbsent, IntegrityError):
            unreadable.append(PointId(point.point_id))
            continue
        for public in line:
            if public.point_id not in documents:
                documents[public.point_id] = ObjectSizes(public.objects)
        own = [documents[public.point_id] for public in line]
        found.append(_held(point, line, own, accepted))
    found.sort(key=lambda held: (held.public.created_at, held.point_id))
    return Holdings(
        chain_version=chains.chain_version,
        sizes=sizes,
        points=tuple(found),
        accepted=accepted,
        replaced=frozenset(name for each in known.values() for name in each.replaced),
        unreadable=tuple(unreadable),
        travelling=frozenset(
            PointId(point.point_id) for point in chains.points if point.state == _TRAVELS
        ).intersection(unreadable),
    )


def _held(
    point: VaultPoint,
    line: Sequence[PointPublic],
    own: Sequence[ObjectSizes],
    accepted: Sequence[Replacement],
) -> Held:
    """Return a point that is the first of a line, whose documents list what is its own."""
    # Only what was replaced decides what becomes of names; the others stay needed.
    replaced = {name for each in accepted for name in each.replaced}
    met = frozenset(name for name in replaced if any(name in each for each in own))
    needed = frozenset(needed_after(met, accepted, point_id=line[0].point_id))
    return Held(
        public=line[0],
        line=tuple(public.point_id for public in line),
        named=ListedNames(own, more=_closed(met, accepted)),
        needed=ListedNames(own, without=met, more=needed),
        is_whole=point.state == _AVAILABLE and not point.missing,
        travels=point.state == _TRAVELS,
    )


def _line(
    places: LayeredObjects, keys: ReadKeys, point_id: PointId, publics: dict[PointId, PointPublic]
) -> list[PointPublic]:
    """Return a point and its bases, from the newest on; a circle ends where it closes."""
    line: list[PointPublic] = []
    seen: set[PointId] = set()
    at: PointId | None = point_id
    while at is not None and at not in seen:
        seen.add(at)
        if at not in publics:
            publics[at] = read_public(places, keys, at)
        line.append(publics[at])
        at = publics[at].base
    return line


def _closed(names: Iterable[str], accepted: Sequence[Replacement]) -> frozenset[str]:
    found = set(names)
    waiting = list(accepted)
    while met := [each for each in waiting if not found.isdisjoint(each.replaced)]:
        waiting = [each for each in waiting if each not in met]
        found.update(item.name for each in met for item in each.objects)
    return frozenset(found)


def pack_ids(names: Iterable[str]) -> frozenset[PackId]:
    """Return the ids of the packs among object names."""
    return frozenset(PackId(name[9:-5]) for name in names if name.startswith("packs/"))
