"""What one look at a source computer's part of a vault finds; the slow half of reclaim."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final

from sqlalchemy import Connection, Engine

from overland.errors import IntegrityError, ObjectAbsent, OutOfSpace
from overland.format.replacement import Replacement, ReplacementObject
from overland.ports.objects import Objects
from overland.values import PointId, point_name
from overland.vault import attempts, catalog, chains, copies, garbage, needs, presence, replacing
from overland.vault.catalog import CatalogPoint
from overland.vault.chains import Fence
from overland.vault.garbage import Unneeded
from overland.vault.needs import Document, ManifestOf
from overland.vault.owner import Owner

__all__ = [
    "ReplacementUnproven",
    "Survey",
    "mend",
    "prove_replacements",
    "record_unlisted",
    "ripe",
    "survey",
]

_ACTOR: Final = "cloud:reclaim"
"""How the log of points calls this work."""


class ReplacementUnproven(IntegrityError):
    """What stands in for replaced objects is not whole in the vault; they must not go."""

    code: ClassVar[str] = "replacement-unproven"

    def __init__(self, name: str, *, problem: str) -> None:
        super().__init__(
            f"{name} stands in for objects that are to go, and {problem}; nothing is deleted. "
            "Run `overland repair` on the source computer"
        )
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found behind a fence: who needs what, and what nobody needs, with its size."""

    fence: Fence
    listed: Sequence[CatalogPoint]
    documents: dict[PointId, Document]
    replacements: tuple[Replacement, ...]
    unneeded: dict[str, int]

    @property
    def dead(self) -> list[PointId]:
        """The reclaimed points on which no living one is based."""
        return [each.point_id for each in self.listed if each.point_id not in self.documents]

    @property
    def damaged(self) -> list[PointId]:
        """The points whose own files are damaged or missing in the vault, sorted."""
        return sorted(each for each, found in self.documents.items() if found.is_damaged)


def survey(
    store: Objects,
    *,
    fence: Fence,
    listed: Sequence[CatalogPoint],
    manifest_of: ManifestOf,
) -> Survey:
    """Find out what the living points need, and what of the owner's objects they do not.

    Args:
        store: The vault's space.
        fence: Read in one transaction with `listed`.
        listed: All points of the catalog.
        manifest_of: Finds the manifests of seeds that travel.

    Raises:
        IntegrityError: A document that says what is needed is missing or damaged.
        KeyChangeMissing: A former key signed one, and its key change can be read nowhere.
    """
    replacements = replacing.load_accepted(store, fence)
    documents = needs.read_documents(
        store, owner=fence.owner, listed=listed, manifest_of=manifest_of
    )
    alive = [each.point_id for each in needs.living(listed)]
    needed = needs.needed_names(documents, alive, replacements)
    return Survey(
        fence=fence,
        listed=listed,
        documents=documents,
        replacements=replacements,
        unneeded=garbage.unneeded(store, fence.owner, needed),
    )


def mend(database: Engine, store: Objects, found: Survey, *, at: datetime) -> list[PointId]:
    """Copy the points' files that have no copy, and put copies back for those damaged.

    Returns which were put back.  A damaged one without a copy counts as incomplete from now on.

    Raises:
        KeyChangeMissing: As `copies.keep`.
    """
    owner = found.fence.owner
    copies.keep(store, owner, [e for e, document in found.documents.items() if document.is_present])
    back = [each for each in found.damaged if copies.put_back(store, owner, each)]
    if not found.damaged:
        return []
    with database.begin() as connection:
        catalog.note_unreadable(connection, owner, set(found.damaged).difference(back))
        for each in back:
            chains.note(connection, owner, "point-put-back", at=at, actor=_ACTOR, subject=each)
    return back


def prove_replacements(
    database: Engine, store: Objects, found: Survey, *, going: set[str], vault: str, at: datetime
) -> set[str]:
    """Prove that what replaced some of `going` is whole; return what may not go yet after all.

    Every object that came is there with its size, and was read in full once; the copy of the
    document lies where the source computer cannot write.  A vault that is too full for the copy
    keeps the replaced objects until there is room.

    Raises:
        ReplacementUnproven: An object is missing or damaged.
        ObjectAbsent, IntegrityError, KeyChangeMissing: As `replacing.keep_copy`.
    """
    stay: set[str] = set()
    replaced = {name for each in found.replacements for name in each.replaced}
    for each in found.replacements:
        if going.isdisjoint(each.replaced):
            continue
        try:
            replacing.keep_copy(store, found.fence.owner, each.replacement_id)
        except OutOfSpace:
            stay.update(each.replaced)
            continue
        wanted = [came for came in each.objects if came.name not in replaced]
        _prove(database, store, found.fence.owner, wanted, vault=vault, at=at)
    return stay


def record_unlisted(
    connection: Connection,
    store: Objects,
    found: Survey,
    going: set[str],
    *,
    at: datetime,
) -> int:
    """Enter points that lie in the vault and are unknown to the catalog; return how many.

    Those are bases of points that it knows, and those that are about to go.
    Such a point was put and never recorded, or the catalog was lost.  What it needs is needed
    again.  If packs of its chain were replaced, nobody can say that it relies on none of them, so
    it does not count as whole.  A file that is not one of the owner's points is not entered.
    A point whose file could not be read for a time, and can be again, is entered anew as well.

    Raises:
        KeyChangeMissing: A former key signed one, and its key change can be read nowhere.
        VaultChanged: Objects were deleted since the survey.
    """
    listed = {each.point_id for each in found.listed}
    known = {p.point_id for p in found.listed if point_name(p.point_id) not in p.missing}
    names = sorted({*going, *(point_name(each) for each in found.documents)})
    count = 0
    for name in names:
        point_id = PointId(name.removeprefix("points/").removesuffix(".point"))
        if not name.startswith("points/") or point_id in known:
            continue
        try:
            finding = catalog.inspect(
                store, fence=found.fence, point_id=point_id, replacements=found.replacements
            )
        except (IntegrityError, ObjectAbsent):
            continue
        is_new = point_id not in listed
        is_doubtful = is_new and bool(found.replacements) and finding.public.base is not None
        catalog.record(connection, finding, at=at, is_doubtful=is_doubtful)
        owner = found.fence.owner
        chains.note(connection, owner, "point-found", at=at, actor=_ACTOR, subject=point_id)
        count += 1
    return count


def ripe(found: Survey, marked: dict[str, Unneeded], *, at: datetime, grace: timedelta) -> set[str]:
    """Return what was unneeded for so long that it may go."""
    return {
        name
        for name, each in marked.items()
        if garbage.is_ripe(each, found.fence, at=at, grace=grace)
    }


def _prove(
    database: Engine,
    store: Objects,
    owner: Owner,
    wanted: Sequence[ReplacementObject],
    *,
    vault: str,
    at: datetime,
) -> None:
    sizes = {each.name: each.size_bytes for each in wanted}
    absent = presence.absent(store, prefix=owner.prefix, wanted=sizes)
    if absent:
        raise ReplacementUnproven(absent[0], problem="is not in the vault with its size")
    with database.begin() as connection:
        verified = attempts.verified(connection, vault, wanted, prefix=owner.prefix)
    for each in wanted:
        if each.name in verified:
            continue
        digest = hashlib.sha256()
        for block in store.blocks(owner.prefix + each.name):
            digest.update(block)
        if digest.hexdigest() != each.sha256:
            raise ReplacementUnproven(each.name, problem="is damaged")
        with database.begin() as connection:
            attempts.mark_verified(connection, vault, each, prefix=owner.prefix, at=at)
