"""Accepting replacements: when objects may stand in for others (`replacement-v1.md` §5).

Accepting deletes nothing.  It changes what the points need, and reclaim deletes what is then
unneeded, two weeks later, when it has read the objects that came once more.  A copy of every
accepted document is kept where source computers cannot write, so that it is known which were
accepted even when this database is lost.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import ClassVar

from sqlalchemy import Connection, Engine, insert, update

from overland.errors import IntegrityError, ObjectAbsent, RefusedError
from overland.format.objectsizes import ObjectSizes
from overland.format.replacement import (
    REPLACEMENT_PURPOSE,
    Replacement,
    decode_replacement,
    needed_after,
)
from overland.format.signed import decode_signed
from overland.ports.objects import Objects
from overland.values import PointId, ReplacementId, point_name, replacement_name
from overland.vault import catalog, chains, garbage, needs, presence, replaced
from overland.vault.catalog import CatalogPoint
from overland.vault.chains import Fence
from overland.vault.needs import Document, ManifestOf
from overland.vault.owner import Foreign, Owner
from overland.vault.tables import points, replacements

__all__ = [
    "ChainChanged",
    "ChainRepacked",
    "Proposal",
    "ReplacementRefused",
    "accept",
    "keep_copy",
    "kept_name",
    "load_accepted",
    "open_replacement",
    "propose",
    "restore_rows",
]


class ReplacementRefused(RefusedError):
    """A replacement would take away what a recovery point needs; nothing was changed."""

    code: ClassVar[str] = "replacement-refused"

    def __init__(self, replacement_id: ReplacementId, reason: str) -> None:
        super().__init__(f"replacement {replacement_id} is refused: {reason}")
        self.replacement_id, self.reason = replacement_id, reason


class ChainChanged(RefusedError):
    """A point was recorded, or a replacement accepted, since the caller looked."""

    code: ClassVar[str] = "chain-changed"

    def __init__(self, *, expected: int, found: int) -> None:
        super().__init__(
            f"the recovery points have changed since version {expected}, it is {found} now; "
            "read them again and work it out anew"
        )
        self.expected, self.found = expected, found


class ChainRepacked(RefusedError):
    """A point may rely on what a replacement, accepted while it was made, lets go."""

    code: ClassVar[str] = "chain-repacked"

    def __init__(self, point_id: PointId) -> None:
        super().__init__(
            f"recovery point {point_id} was begun before packs of its chain were replaced, and is "
            "not entered; run the backup again"
        )
        self.point_id = point_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A replacement that may be accepted while the fence is as it was.

    `complete` tells of every point whether its own objects are all there afterwards.
    """

    replacement: Replacement
    fence: Fence
    complete: Mapping[PointId, bool]


def kept_name(owner: Owner, replacement_id: ReplacementId) -> str:
    """Return where an accepted document's copy lies in the vault's space."""
    return f"control/replacements/{owner.source_computer_id}/{replacement_id}.replacement"


def open_replacement(
    document: bytes, *, owner: Owner, replacement_id: ReplacementId, store: Objects
) -> Replacement:
    """Return a replacement, proven to be the owner's and of this id.

    Args:
        document: The signed document.
        owner: Whose it has to be.
        replacement_id: Which replacement.
        store: The vault's space; read only for what a former key signed.

    Raises:
        SigningKeyRetired: A former key of the owner signed it, and it was not accepted when the
            key was replaced.
        SignatureInvalid: Somebody else signed it, or it was changed.
        KeyChangeMissing: A former key signed it, and nobody can tell whether it counts.
        Foreign: It is another repository's.
        IntegrityError: It is not a replacement.
    """
    name = replacement_name(replacement_id)
    signed = decode_signed(document, REPLACEMENT_PURPOSE, name=name)
    owner.signers.prove(
        REPLACEMENT_PURPOSE,
        signed.body,
        signed.signature,
        file=document,
        name=name,
        vouched=owner.vouched(store),
        claimed=signed.public_key,
    )
    found = decode_replacement(signed.body, name=name)
    if found.repository_id != owner.repository_id:
        raise Foreign(
            name,
            field="repository id",
            found=found.repository_id,
            expected=owner.repository_id,
        )
    return found


def load_accepted(store: Objects, fence: Fence) -> tuple[Replacement, ...]:
    """Return the documents of the accepted replacements, in the order of acceptance.

    Raises:
        IntegrityError: One can be read nowhere, so that nobody knows what the points need.
        KeyChangeMissing: A former key signed one, and its key change can be read nowhere.
    """
    return tuple(_load(store, fence.owner, each) for each in fence.accepted)


def propose(
    store: Objects,
    *,
    fence: Fence,
    listed: Sequence[CatalogPoint],
    replacement_id: ReplacementId,
    manifest_of: ManifestOf,
) -> Proposal:
    """Check a replacement that is in the vault; the slow half, which needs no transaction.

    Args:
        store: The vault's space.
        fence: Read before this call, in one transaction with `listed`.
        listed: All points of the catalog.
        replacement_id: Which.
        manifest_of: Finds the manifests of seeds that travel.

    Raises:
        ObjectAbsent: The vault has no such document.
        ReplacementRefused: A rule of `replacement-v1.md` §5 is broken.
        IntegrityError: It, or a document that it concerns, does not hold.
        KeyChangeMissing: A former key signed one of these, and its key change can be read nowhere.
    """
    owner = fence.owner
    data = store.read(owner.prefix + replacement_name(replacement_id))
    replacement = open_replacement(data, owner=owner, replacement_id=replacement_id, store=store)
    accepted = load_accepted(store, fence)
    _check_objects(store, fence, replacement, accepted)
    documents = needs.read_documents(store, owner=owner, listed=listed, manifest_of=manifest_of)
    concerned = _concerned(documents, needs.living(listed), replacement, accepted)
    unproven = sorted(concerned - {*replacement.keeps, *replacement.lost})
    if unproven:
        raise ReplacementRefused(
            replacement_id, f"recovery point {unproven[0]} needs what goes and is not kept by it"
        )
    lacking = _lacking(store, fence, documents, [*accepted, replacement])
    for each in sorted(concerned - set(replacement.lost)):
        _check_whole(documents, each, lacking, replacement_id)
    return Proposal(
        replacement=replacement,
        fence=fence,
        # A seed that travels is complete when adoption says so, and not before.
        complete={each: not lacking[each] for each in documents if documents[each].is_present},
    )


def accept(
    connection: Connection, proposal: Proposal, *, chain_version: int, at: datetime, actor: str
) -> int:
    """Let a checked replacement take effect; return the version afterwards.

    Raises:
        ChainChanged: The version is not the caller's, or the fence not the proposal's.
        VaultChanged: Objects were deleted since it was checked; check again.
    """
    owner, replacement = proposal.fence.owner, proposal.replacement
    now = chains.require_epoch(connection, proposal.fence)
    for version in (chain_version, proposal.fence.version):
        if version != now.version:
            raise ChainChanged(expected=chain_version, found=now.version)
    version = chains.count_version(connection, owner, is_replaced=True)
    _insert(connection, owner, replacement.replacement_id, version=version, at=at)
    garbage.take_back(connection, owner, [each.name for each in replacement.objects])
    of_owner = points.c.source_computer_id == owner.source_computer_id
    for point_id, is_complete in proposal.complete.items():
        values: dict[str, object] = {"is_complete": is_complete}
        if is_complete:
            values["missing"] = []
        if point_id in replacement.lost:
            values["is_lost"] = True
        elif point_id in replacement.keeps:
            values["is_lost"] = False  # the signer found every chunk again
        connection.execute(
            update(points).where(of_owner, points.c.point_id == point_id).values(**values)
        )
    catalog.settle(connection, owner)
    detail = {"replaced": len(replacement.replaced), "objects": len(replacement.objects)}
    chains.note(
        connection,
        owner,
        "replacement-accepted",
        at=at,
        actor=actor,
        subject=replacement.replacement_id,
        detail=detail,
    )
    return version


def keep_copy(store: Objects, owner: Owner, replacement_id: ReplacementId) -> None:
    """Keep a copy of an accepted document out of the source computer's reach; again does nothing.

    Raises:
        OutOfSpace: The vault is full; reclaim tries again before it relies on the replacement.
        ObjectAbsent: The vault has lost the document since it was accepted.
        IntegrityError, KeyChangeMissing: As `open_replacement`.
    """
    name = kept_name(owner, replacement_id)
    if presence.size_bytes(store, name) is not None:
        return
    data = store.read(owner.prefix + replacement_name(replacement_id))
    open_replacement(data, owner=owner, replacement_id=replacement_id, store=store)
    store.put(name, [data], size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def restore_rows(database: Engine, store: Objects, owner: Owner, *, at: datetime) -> int:
    """Enter replacements that were accepted and of which the database lost the rows.

    Returns how many those were.  They are known by their copies, and entered in the order in which
    they were made, each in a transaction of its own.

    Raises:
        IntegrityError, KeyChangeMissing: As `load_accepted`; nothing was entered.
    """
    prefix = kept_name(owner, ReplacementId("")).removesuffix(".replacement")
    names = [each.name for each in store.names(prefix)]
    ids = [ReplacementId(n.removeprefix(prefix).removesuffix(".replacement")) for n in names]
    with database.begin() as connection:
        fence = chains.read_fence(connection, owner)
    lost = [_load(store, fence.owner, each) for each in ids if each not in fence.accepted]
    for each in sorted(lost, key=lambda found: found.created_at):
        with database.begin() as connection:
            version = chains.count_version(connection, owner, is_replaced=True)
            _insert(connection, owner, each.replacement_id, version=version, at=at)
    return len(lost)


def _load(store: Objects, owner: Owner, replacement_id: ReplacementId) -> Replacement:
    problem: Exception = ObjectAbsent(replacement_name(replacement_id))
    for name in (kept_name(owner, replacement_id), owner.prefix + replacement_name(replacement_id)):
        try:
            document = store.read(name)
            return open_replacement(
                document, owner=owner, replacement_id=replacement_id, store=store
            )
        except (ObjectAbsent, IntegrityError) as error:
            problem = error
    raise IntegrityError(
        f"the accepted replacement {replacement_id} cannot be read ({problem}); store it again"
    ) from problem


def _check_objects(
    store: Objects, fence: Fence, replacement: Replacement, accepted: Sequence[Replacement]
) -> None:
    sizes = {each.name: each.size_bytes for each in replacement.objects}
    returning = sorted(name for each in accepted for name in each.replaced if name in sizes)
    if returning:
        raise ReplacementRefused(
            replacement.replacement_id, f"{returning[0]} was replaced before and cannot come back"
        )
    absent = presence.absent(store, prefix=fence.owner.prefix, wanted=sizes)
    absent = sorted({*absent, *(fence.doomed & set(sizes))})
    if absent:
        raise ReplacementRefused(
            replacement.replacement_id, f"{absent[0]} is not in the vault with its size"
        )


def _concerned(
    documents: Mapping[PointId, Document],
    living: Sequence[CatalogPoint],
    replacement: Replacement,
    accepted: Sequence[Replacement],
) -> set[PointId]:
    """Return the living points that need something that goes, themselves or through a base."""
    goes = set(replacement.replaced)
    # Whatever a document's objects became counts here, what was lost on the way too: rather one
    # point too many has to be kept than one too few.
    own = {
        each: any(name in document.sizes for name in goes)
        or not goes.isdisjoint(
            needed_after(replaced.touched(document.sizes, accepted), accepted, point_id=each)
        )
        for each, document in documents.items()
    }
    return {
        row.point_id
        for row in living
        if any(own[each.point_id] for each in needs.chain(documents, row.point_id))
    }


def _lacking(
    store: Objects,
    fence: Fence,
    documents: Mapping[PointId, Document],
    accepted: Sequence[Replacement],
) -> dict[PointId, list[str]]:
    """Return what of each document's own objects is not in the vault afterwards."""
    prefix = fence.owner.prefix
    held = ObjectSizes(store.names(prefix), below=prefix)
    listed = (info for each in documents.values() for info in each.sizes.infos())
    sizes = ObjectSizes(chain(listed, (each for one in accepted for each in one.objects)))
    whole = [catalog.losing_nothing(each) for each in accepted]

    def is_lacking(name: str) -> bool:
        size_bytes = held.get(name)
        return (
            name in fence.doomed or size_bytes is None or sizes.get(name, size_bytes) != size_bytes
        )

    lacking: dict[PointId, list[str]] = {}
    for point_id, document in documents.items():
        met = replaced.touched(document.sizes, accepted)
        instead = needed_after(met, whole, point_id=point_id)
        instead |= {point_name(point_id)} if document.is_present else set()
        needed = chain((name for name in document.sizes if name not in met), instead)
        lacking[point_id] = sorted({name for name in needed if is_lacking(name)})
    return lacking


def _check_whole(
    documents: Mapping[PointId, Document],
    point_id: PointId,
    lacking: Mapping[PointId, list[str]],
    replacement_id: ReplacementId,
) -> None:
    for each in needs.chain(documents, point_id):
        if not each.is_present:
            raise ReplacementRefused(
                replacement_id, f"the seed {each.point_id} of its chain is still on its way"
            )
        if lacking[each.point_id]:
            name = lacking[each.point_id][0]
            raise ReplacementRefused(
                replacement_id, f"recovery point {point_id} lacks {name} in the vault"
            )


def _insert(
    connection: Connection,
    owner: Owner,
    replacement_id: ReplacementId,
    *,
    version: int,
    at: datetime,
) -> None:
    connection.execute(
        insert(replacements).values(
            source_computer_id=owner.source_computer_id,
            replacement_id=replacement_id,
            version=version,
            accepted_at=at,
        )
    )
