"""What a chain of recovery points has stored: from its newest point back to the one without base.

The saved index of a policy answers that in no time, and is believed only of packs that are still
there and that nothing stands in for: it may be older than a reclaim, in a folder that was restored
or copied.  Where it is missing, damaged, or of another chain, the points say which objects are
meant and the places say which are there.
"""

from collections.abc import Container, Iterator, Sequence
from heapq import merge
from operator import attrgetter
from typing import TYPE_CHECKING

from overland.agent.points.pointfile import read_point_file
from overland.agent.repository import ObjectReader, Repository, pack_id_of
from overland.errors import IntegrityError, KeyChangeMissing, ObjectAbsent
from overland.events import Log
from overland.format.objectsizes import ObjectSizes
from overland.format.objecttable import ObjectRef
from overland.format.point import PointPublic
from overland.packing.chainindex import ChainIndex
from overland.packing.head import SavedPacks
from overland.values import PointId, is_object_name, pack_name, point_name

if TYPE_CHECKING:
    from overland.format.index import PackDirectory
    from overland.packing.index import ChunkIndex

__all__ = ["add_pack", "chain_index", "named_by_points", "rebuild_index", "replaced_names"]

log = Log()


def chain_index(
    repository: Repository, policy: str, *, tip: PointId, stored: Sequence[ObjectReader]
) -> tuple[ChainIndex, bool]:
    """Return the chunks that the chain of points up to `tip` has stored, and if that is made anew.

    Args:
        repository: Whose points these are.
        policy: Whose saved index is taken, if it is of this chain.
        tip: The base of the next point.
        stored: The places where objects of the chain may lie: vault, staging, drives.  Chunks that
            are in none of them count as not stored.
    """
    saved = repository.saved_chain(policy)
    if saved is None or saved.tip != tip or _is_outdated(saved.packs, repository, stored):
        return ChainIndex.of(rebuild_index(repository, stored, tip=tip)), True
    return saved.chain, False


def rebuild_index(
    repository: Repository, stored: Sequence[ObjectReader], *, tip: PointId
) -> "ChunkIndex":
    """Make the index of the chain up to `tip` from what `stored` holds.

    Known are the packs that points of the chain name and that are there; where a point is in
    no place, the chain ends and what lies behind it counts as not stored.  So does what others
    were put in the place of: it may be deleted.  Beside the index it takes 80 bytes of memory for
    each object, and for a moment twice as much.
    """
    index = repository.new_index()
    index.tip = tip
    named = ObjectSizes(_listed_by_chain(repository, stored, tip))
    replaced = replaced_names(repository, stored)

    def is_wanted(name: str) -> bool:
        return name in named and name not in replaced

    for objects in stored:
        there = ObjectSizes(info for info in objects.names("packs/") if is_wanted(info.name))
        for info in named.infos("index/"):
            if info.name not in replaced:
                _add_described(repository, objects, index, name=info.name, packs=there)
        for info in there.infos():
            if not index.has_pack(pack_id_of(info.name)):
                add_pack(repository, objects, index, name=info.name, size_bytes=info.size_bytes)
    return index


def _is_outdated(packs: SavedPacks, repository: Repository, stored: Sequence[ObjectReader]) -> bool:
    """Return whether one of these packs is in no place, or others stand in for it."""
    replaced = replaced_names(repository, stored)
    listings = (objects.names("packs/") for objects in stored)
    there = (info.name for info in merge(*listings, key=attrgetter("name")))
    gone = len(packs) - packs.count_named(name for name in there if name not in replaced)
    if gone:
        log.warning("index_hint.outdated", packs=gone)
    return bool(gone)


def replaced_names(repository: Repository, stored: Sequence[ObjectReader]) -> frozenset[str]:
    """Return the objects that a new point must not rely on, although they may be there still.

    It does not matter whether a replacement was accepted: to count too much as replaced costs
    bytes, and to count too little costs a point.

    Raises:
        KeyChangeMissing: Of one it cannot be told whether it is the owner's.
    """
    names: frozenset[str] = frozenset()
    for objects in stored:
        if next(objects.names("replacements/"), None) is None:
            continue
        # Most chains have none, and do without what reads them.
        from overland.agent.points.replacements import read_replacements  # noqa: PLC0415 - so

        found = read_replacements(objects, signatures=repository.signatures)
        for missing in found.unproven:
            raise missing
        names |= found.replaced()
        for name in found.damaged:
            log.warning("replacement.left_aside", replacement=name)
    return names


def named_by_points(
    repository: Repository, objects: ObjectReader, *, beside: PointId | None
) -> ObjectSizes:
    """Return the objects that recovery points in a place name, in 40 bytes for each.

    Args:
        repository: Whose points count.
        objects: The place.
        beside: Leave out points with this base: a run that was killed after its point was
            safe, and before anybody took note of it, left such a one.
    """

    def listed() -> Iterator[ObjectRef]:
        for info in objects.names("points/"):
            public = _public(repository, objects, info.name) if is_object_name(info.name) else None
            if public is not None and (beside is None or public.base != beside):
                yield from public.objects

    return ObjectSizes(listed())


def add_pack(
    repository: Repository,
    objects: ObjectReader,
    index: "ChunkIndex | ChainIndex",
    *,
    name: str,
    size_bytes: int,
) -> "PackDirectory | None":
    """Make a pack known by its own directory; return None, and say so, if it is damaged."""
    from overland.packing.reader import read_directory  # noqa: PLC0415 - loads arrays

    try:
        directory = read_directory(
            objects, pack_id_of(name), size_bytes=size_bytes, open_pack=repository.open_pack
        )
    except IntegrityError as error:
        log.warning("pack.left_aside", pack=name, problem=str(error))
        return None
    index.add(directory)
    return directory


def _listed_by_chain(
    repository: Repository, stored: Sequence[ObjectReader], tip: PointId
) -> Iterator[ObjectRef]:
    seen: set[PointId] = set()
    at: PointId | None = tip
    while at is not None and at not in seen:
        seen.add(at)
        publics = (_public(repository, objects, point_name(at)) for objects in stored)
        public = next((found for found in publics if found is not None), None)
        if public is None:
            log.warning("point.not_found", point=at)
            break
        yield from public.objects
        at = public.base


def _public(repository: Repository, objects: ObjectReader, name: str) -> PointPublic | None:
    try:
        file = read_point_file(objects, name)
        return repository.verified_point(file, name=name, place=objects).public
    except ObjectAbsent:
        return None
    except (IntegrityError, KeyChangeMissing) as error:
        log.warning("point.left_aside", point=name, problem=str(error))
        return None


def _add_described(
    repository: Repository,
    objects: ObjectReader,
    index: "ChunkIndex",
    *,
    name: str,
    packs: Container[str],
) -> None:
    try:
        described = repository.open_index(objects.read(name), name=name)
    except ObjectAbsent:
        return
    except IntegrityError as error:
        log.warning("index.left_aside", index=name, problem=str(error))
        return
    index.add_tables(described, wanted=lambda pack_id: pack_name(pack_id) in packs)
