"""What the recovery points of a source computer need, read from the documents in its vault.

Nothing here is remembered from an earlier look: each signed document is opened anew, so that what
reclaim takes for unneeded follows from what the vault holds and not from rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from overland.errors import IntegrityError, ObjectAbsent
from overland.format.replacement import Replacement, needed_after
from overland.ports.objects import Objects
from overland.values import PointId, point_name, replacement_name
from overland.vault import catalog
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


class ChainUnreadable(IntegrityError):
    """A document that says what recovery points need is missing or damaged."""

    code: ClassVar[str] = "chain-unreadable"

    def __init__(self, point_id: PointId, *, problem: str) -> None:
        super().__init__(
            f"recovery point {point_id} cannot be read ({problem}), so that nobody knows what it "
            "needs; nothing is deleted. Run `overland check` on the source computer, then store "
            "the point again or delete what is based on it"
        )
        self.point_id = point_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What one point lists; `is_present` is false for a seed that is still on its way."""

    point_id: PointId
    base: PointId | None
    sizes: Mapping[str, int]
    is_present: bool


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

    Raises:
        ChainUnreadable: One of them is missing or damaged.
    """
    rows = {each.point_id: each for each in listed}
    found: dict[PointId, Document] = {}
    for start in living(listed):
        each: PointId | None = start.point_id
        while each is not None and each not in found:
            found[each] = _read(store, owner, each, rows.get(each), manifest_of)
            each = found[each].base
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
) -> set[str]:
    """Return everything in the vault that these points need, documents included.

    The points' own files and those of their bases, the objects that all these list, after the
    replacements, and the replacements that had a part in that.
    """
    lost = catalog.lost_points(replacements)
    wanted = list(points)
    whole = [each for each in wanted if each not in lost]
    # Points that lost nothing need together what each of them needs: one look for all of them.
    groups = [whole] if whole else []
    groups += [[each] for each in wanted if each in lost]
    names: set[str] = set()
    for group in groups:
        below: dict[PointId, Document] = {}
        for point in group:
            each: PointId | None = point
            while each is not None and each not in below:
                below[each] = documents[each]
                each = documents[each].base
        listed = {name for document in below.values() for name in document.sizes}
        names |= needed_after(listed, replacements, point_id=group[0])
        names |= {point_name(base) for base in below}
        names |= {replacement_name(each.replacement_id) for each in _used(listed, replacements)}
    return names


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
    try:
        if row is not None and row.published_at is None:
            return _announced(store, owner, row, manifest_of)
        public = catalog.read_point(store, owner=owner, point_id=point_id)
    except ObjectAbsent as absent:
        raise ChainUnreadable(point_id, problem=f"the vault has no {absent.name}") from None
    except IntegrityError as error:
        raise ChainUnreadable(point_id, problem=str(error)) from error
    return Document(
        point_id=point_id,
        base=public.base,
        sizes={each.name: each.size_bytes for each in public.objects},
        is_present=True,
    )


def _announced(
    store: Objects, owner: Owner, row: CatalogPoint, manifest_of: ManifestOf
) -> Document:
    """Return what a seed that travels will need, from its signed manifest."""
    assert row.seed_id is not None, "only seeds are announced"
    name = manifest_of(row.seed_id)
    if name is None:
        raise ObjectAbsent(f"manifest of seed {row.seed_id}")
    manifest = open_manifest(store.read(name), owner=owner, seed_id=row.seed_id)
    sizes = {each.name: each.size_bytes for each in manifest.objects}
    return Document(point_id=row.point_id, base=None, sizes=sizes, is_present=False)
