"""What the recovery points of a source computer need, read from the documents in its vault.

Nothing here is remembered from an earlier look: each signed document is opened anew, so that what
reclaim takes for unneeded follows from what the vault holds and not from rows.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from overland.errors import IntegrityError, ObjectAbsent
from overland.format.objectsizes import ObjectSizes
from overland.format.point import PointPublic
from overland.format.replacement import Replacement, needed_after
from overland.ports.objects import Objects
from overland.values import ObjectInfo, PointId, point_name, replacement_name
from overland.vault import catalog, copies, replaced
from overland.vault.catalog import CatalogPoint
from overland.vault.owner import Owner, open_manifest

__all__ = [
    "ChainUnreadable",
    "Document",
    "ManifestOf",
    "chain",
    "living",
    "needed_names",
    "read_documents",
]

ManifestOf = Callable[[str], str | None]
"""Returns the name, in the vault's space, of a seed's signed manifest; None if there is none."""

_NAMED: Final = 10  # so many points does an error name


class ChainUnreadable(IntegrityError):
    """Files that say what recovery points need are missing or damaged, and so are their copies."""

    code: ClassVar[str] = "chain-unreadable"

    def __init__(self, problems: Mapping[PointId, str]) -> None:
        named = [f"{point_id} ({problem})" for point_id, problem in problems.items()]
        rest = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        super().__init__(
            f"recovery points that cannot be read: {', '.join(named[:_NAMED])}{rest}; nobody knows "
            "what they need, and nothing more is deleted. Run `overland repair` on the source "
            "computer, with `--from` for a place that may have a missing file; or give up each of "
            "them, with all that are based on it: `overland points delete`"
        )
        self.point_ids = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What one point lists; `is_present` is false for a seed that is still on its way.

    Of a damaged one the vault's own file is damaged or missing, and a copy or the seed's manifest
    told this.
    """

    point_id: PointId
    base: PointId | None
    sizes: ObjectSizes
    is_present: bool
    is_damaged: bool = False


def living(listed: Iterable[CatalogPoint]) -> list[CatalogPoint]:
    """Return the points that are not reclaimed."""
    return [each for each in listed if each.reclaimed_at is None]


def read_documents(
    store: Objects,
    *,
    owner: Owner,
    listed: Sequence[CatalogPoint],
    manifest_of: ManifestOf,
) -> dict[PointId, Document]:
    """Return the documents of all living points and of every base below them.

    A point whose file is damaged or missing is read from its copy, or a seed's manifest tells.

    Raises:
        ChainUnreadable: Some can be read nowhere; it names them all.
        KeyChangeMissing: A former key signed one, and its key change can be read nowhere.
    """
    rows = {each.point_id: each for each in listed}
    found: dict[PointId, Document] = {}
    problems: dict[PointId, str] = {}
    for start in living(listed):
        each: PointId | None = start.point_id
        while each is not None and each not in found and each not in problems:
            try:
                found[each] = _read(store, owner, each, rows.get(each), manifest_of)
            except ObjectAbsent as absent:
                problems[each] = f"the vault has no {absent.name}"
            except IntegrityError as error:
                problems[each] = str(error)
            each = found[each].base if each in found else None
    if problems:
        raise ChainUnreadable(problems)
    return found


def chain(documents: Mapping[PointId, Document], point_id: PointId) -> list[Document]:
    """Return a point's document and those of its bases; a circle ends where it closes."""
    found: dict[PointId, Document] = {}
    each: PointId | None = point_id
    while each is not None and each not in found:
        found[each] = documents[each]
        each = documents[each].base
    return list(found.values())


def needed_names(
    documents: Mapping[PointId, Document],
    points: Iterable[PointId],
    replacements: Sequence[Replacement],
) -> AbstractSet[str]:
    """Return everything in the vault that these points need, documents included.

    The points' own files and those of their bases, the objects that all these list, after the
    replacements, and the replacements that had a part in that.  Each takes 40 bytes, and for a
    moment three times as much.
    """
    lost = catalog.lost_points(replacements)
    wanted = list(points)
    whole = [each for each in wanted if each not in lost]
    # Points that lost nothing need together what each of them needs: one look for all of them.
    groups = [whole] if whole else []
    groups += [[each] for each in wanted if each in lost]
    names: set[str] = set()
    bases: set[PointId] = set()
    for group in groups:
        below: dict[PointId, Document] = {}
        for point in group:
            each: PointId | None = point
            while each is not None and each not in below:
                below[each] = documents[each]
                each = documents[each].base
        met = {n for each in below.values() for n in replaced.touched(each.sizes, replacements)}
        names |= needed_after(met, replacements, point_id=group[0])
        names |= {point_name(base) for base in below}
        names |= {replacement_name(each.replacement_id) for each in _used(met, replacements)}
        bases |= below.keys()
    # What was replaced is among the names already, where a group needs it all the same.
    gone = {name for each in replacements for name in each.replaced}
    documented = (info for base in bases for info in documents[base].sizes.infos())
    listed = (info for info in documented if info.name not in gone)
    others = (ObjectInfo(name=name, size_bytes=0) for name in names)
    return ObjectSizes(itertools.chain(listed, others)).keys()


def _used(listed: set[str], replacements: Sequence[Replacement]) -> list[Replacement]:
    """Return the replacements that say where some of the listed objects went."""
    names, used, waiting = set(listed), list[Replacement](), list(replacements)
    while met := [each for each in waiting if not names.isdisjoint(each.replaced)]:
        used += met
        waiting = [each for each in waiting if each not in met]
        names.update(item.name for each in met for item in each.objects)
    return used


def _read(
    store: Objects,
    owner: Owner,
    point_id: PointId,
    row: CatalogPoint | None,
    manifest_of: ManifestOf,
) -> Document:
    if row is not None and row.published_at is None:
        return _announced(store, owner, row, manifest_of)
    try:
        return _document(copies.read_file(store, owner=owner, point_id=point_id))
    except (ObjectAbsent, IntegrityError):
        with contextlib.suppress(ObjectAbsent, IntegrityError):
            found = _document(copies.read_copy(store, owner=owner, point_id=point_id))
            return replace(found, is_damaged=True)
        if row is not None and row.seed_id is not None:
            with contextlib.suppress(ObjectAbsent, IntegrityError):
                found = _announced(store, owner, row, manifest_of)
                return replace(found, is_present=True, is_damaged=True)
        raise


def _document(public: PointPublic) -> Document:
    return Document(
        point_id=public.point_id,
        base=public.base,
        sizes=ObjectSizes(public.objects),
        is_present=True,
    )


def _announced(
    store: Objects, owner: Owner, row: CatalogPoint, manifest_of: ManifestOf
) -> Document:
    """Return what a seed needs, from its signed manifest; rather too much than too little."""
    assert row.seed_id is not None, "only seeds are announced"
    name = manifest_of(row.seed_id)
    if name is None:
        raise ObjectAbsent(f"manifest of seed {row.seed_id}")
    document = store.read(name)
    manifest = open_manifest(document, owner=owner, seed_id=row.seed_id, store=store)
    sizes = ObjectSizes(manifest.objects)
    return Document(point_id=row.point_id, base=None, sizes=sizes, is_present=False)
