"""Which recovery points a vault has, and which of them can be restored from it alone.

A point is *available* when its own objects and those of every base below it are in the vault;
*waiting-for-seed* when what lacks travels by drive; *incomplete* when anything else lacks.
What a point needs follows from what it lists and the accepted replacements
(`docs/format/replacement-v1.md` §4).
The truth is in the vault: a row can be made again from the point's own file.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Final, Literal, get_args

import msgspec
from sqlalchemy import Connection, RowMapping, insert, select, update

from overland.format.objectsizes import ObjectSizes
from overland.format.point import PointPublic
from overland.format.replacement import Replacement, needed_after
from overland.format.seed_manifest import SeedManifest
from overland.ports.objects import Objects
from overland.values import ObjectInfo, PointId, SeedId, point_name
from overland.vault import chains, copies, garbage, presence, replaced
from overland.vault.chains import Fence
from overland.vault.owner import Owner
from overland.vault.tables import points

__all__ = [
    "MAX_MISSING_NAMED",
    "CatalogPoint",
    "Finding",
    "PointState",
    "announce_seed",
    "find_point",
    "inspect",
    "list_points",
    "losing_nothing",
    "lost_points",
    "record",
    "reject",
    "settle",
]

PointState = Literal["available", "waiting-for-seed", "incomplete"]

MAX_MISSING_NAMED: Final = 1000
"""So many missing objects are named; the others show when these have arrived."""

_MARKS: Final = (
    *("policy_id", "marked_at", "reclaim_after", "mark_reason", "marked_by"),
    *("is_held", "reclaimed_at"),
)
"""What a look at the vault leaves as it is."""

_STATES: Final[tuple[PointState, ...]] = get_args(PointState)  # from good to bad


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogPoint:
    """One recovery point; `created_at` is the instant of its snapshot.

    A marked one goes after `reclaim_after`, and is like any other until then; a reclaimed one
    is kept in the catalog for those that are based on it.
    """

    point_id: PointId
    source_computer_id: str
    kind: Literal["seed", "incremental", "full"]
    seed_id: SeedId | None
    base: PointId | None
    state: PointState
    missing: tuple[str, ...]
    object_count: int
    size_bytes: int
    created_at: datetime
    published_at: datetime | None
    policy_id: str | None = None
    marked_at: datetime | None = None
    reclaim_after: datetime | None = None
    mark_reason: Literal["retention", "deleted"] | None = None
    marked_by: str | None = None
    is_held: bool = False
    is_lost: bool = False
    reclaimed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A point as the vault holds it: proven to be the owner's, with what it lacks there.

    It was looked at behind `fence`; `needed` are its own objects after all replacements, and
    `names_replaced` tells whether these made a difference: a new point may not be like that.
    """

    owner: Owner
    public: PointPublic
    fence: Fence
    needed: AbstractSet[str]
    missing: tuple[str, ...]
    is_lost: bool
    names_replaced: bool

    @property
    def is_complete(self) -> bool:
        """Whether all its own objects are in the vault; its bases are another question."""
        return not self.missing


def announce_seed(connection: Connection, manifest: SeedManifest, *, owner: Owner) -> CatalogPoint:
    """Enter a seed that was staged, before its drives arrive; count the version if it is known.

    From then on, incrementals that are based on it wait for the seed instead of lacking a base.
    To be called once for every manifest: whoever lists what is there lists the manifest, too.
    `manifest` was opened with `owner.open_manifest`.
    """
    assert manifest.repository_id == owner.repository_id, "opened for this owner"
    known = find_point(connection, manifest.point_id, source_computer_id=owner.source_computer_id)
    if known is not None:
        chains.count_version(connection, owner)
        return known
    count = size_bytes = 0
    for each in manifest.objects:
        if each.name.startswith(("packs/", "index/")):
            count, size_bytes = count + 1, size_bytes + each.size_bytes
    _upsert(
        connection,
        CatalogPoint(
            point_id=manifest.point_id,
            source_computer_id=owner.source_computer_id,
            kind="seed",
            seed_id=manifest.seed_id,
            base=None,
            state="waiting-for-seed",
            missing=(),
            object_count=count,
            size_bytes=size_bytes,
            created_at=manifest.snapshot_at,
            published_at=None,
        ),
        is_complete=False,
    )
    chains.count_version(connection, owner)
    return _settled(connection, manifest.point_id, owner=owner)


def inspect(
    store: Objects,
    *,
    fence: Fence,
    point_id: PointId,
    replacements: Sequence[Replacement] = (),
) -> Finding:
    """Open a point whose file is in the vault, and look which of its objects are.

    This is the slow half of `record`, and needs no transaction.

    Args:
        store: The vault's space.
        fence: Read before this call; it names the owner.
        point_id: Which point.
        replacements: The documents of all that the fence has as accepted.

    Raises:
        ObjectAbsent: The vault has no such point.
        SignatureInvalid: Not signed by the owner.
        SigningKeyRetired: Signed by a former key, whose key change does not list it.
        KeyChangeMissing: The same, and that key change can be read nowhere.
        Foreign: Of another repository, or filed under another point's id.
        ObjectCorrupt: Not a recovery point.
    """
    assert len(replacements) == len(fence.accepted), "what a point needs follows from all of them"
    owner = fence.owner
    public = copies.read_file(store, owner=owner, point_id=point_id)
    own = ObjectSizes(public.objects)
    coming = {each.name: each.size_bytes for one in replacements for each in one.objects}
    met = replaced.touched(own, replacements)
    # What is lost of a point is lost to it alone: those above it need what is left.
    instead = needed_after(met, [losing_nothing(each) for each in replacements], point_id=point_id)
    names = chain((name for name in own if name not in met), instead)
    wanted = ObjectSizes(
        ObjectInfo(name=name, size_bytes=coming[name] if name in coming else own[name])
        for name in names
    )
    missing = presence.absent(store, prefix=owner.prefix, wanted=wanted)
    return Finding(
        owner=owner,
        public=public,
        fence=fence,
        needed=wanted.keys(),
        missing=tuple(missing),
        is_lost=_is_lost(replacements, point_id),
        names_replaced=not met <= instead,
    )


def lost_points(replacements: Sequence[Replacement]) -> set[PointId]:
    """Return the points of which a repair found no longer every chunk."""
    return {point for replacement in replacements for point in replacement.lost}


def _is_lost(replacements: Sequence[Replacement], point_id: PointId) -> bool:
    """Return whether the last repair that met the point found it wanting."""
    met = [each for each in replacements if point_id in {*each.keeps, *each.lost}]
    return bool(met) and point_id in met[-1].lost


def record(
    connection: Connection, finding: Finding, *, at: datetime, is_doubtful: bool = False
) -> CatalogPoint:
    """Enter what `inspect` found, and bring the points that are based on it up to date.

    A point that lacked objects is inspected and recorded again when they have arrived.  Objects
    that are being deleted count as missing, so that they are stored again.  Marks stay as they
    are; a point that was reclaimed stays so.  A doubtful one does not count as whole, until a
    repair finds every chunk of it.

    Raises:
        VaultChanged: Objects were deleted since the vault was looked at; inspect again.
    """
    public, owner = finding.public, finding.owner
    fence = chains.require_epoch(connection, finding.fence)
    known = find_point(connection, public.point_id, source_computer_id=owner.source_computer_id)
    missing = sorted({*finding.missing, *(finding.needed & fence.doomed)})
    point = CatalogPoint(
        point_id=public.point_id,
        source_computer_id=owner.source_computer_id,
        kind=public.kind,
        seed_id=public.seed_id,
        base=public.base,
        state="incomplete",  # until it is settled
        missing=tuple(missing[:MAX_MISSING_NAMED]),
        object_count=len(public.objects),
        size_bytes=sum(each.size_bytes for each in public.objects),
        created_at=public.created_at,
        published_at=(known.published_at if known else None) or at,
        is_lost=finding.is_lost or is_doubtful or (known is not None and known.is_lost),
    )
    if known is not None:
        kept = {name: getattr(known, name) for name in _MARKS}
        point = replace(point, **kept)
    _upsert(connection, point, is_complete=not missing)
    garbage.take_back(connection, owner, chain([point_name(public.point_id)], finding.needed))
    is_new = known is None or known.published_at is None
    chains.count_version(connection, owner, recorded_at=at if is_new else None)
    return _settled(connection, public.point_id, owner=owner)


def reject(connection: Connection, finding: Finding, *, at: datetime) -> None:
    """Remember that a point must not be relied upon; its file goes with the next reclaims."""
    public, computer = finding.public, finding.owner.source_computer_id
    assert find_point(connection, public.point_id, source_computer_id=computer) is None, "is new"
    point = CatalogPoint(
        point_id=public.point_id,
        source_computer_id=computer,
        kind=public.kind,
        seed_id=public.seed_id,
        base=public.base,
        state="incomplete",
        missing=(),
        object_count=len(public.objects),
        size_bytes=sum(each.size_bytes for each in public.objects),
        created_at=public.created_at,
        published_at=at,
        reclaimed_at=at,
    )
    _upsert(connection, point, is_complete=False)


def list_points(connection: Connection, *, source_computer_id: str) -> list[CatalogPoint]:
    """Return the points of a source computer, oldest snapshot first."""
    wanted = (
        select(points)
        .where(points.c.source_computer_id == source_computer_id)
        .order_by(points.c.created_at, points.c.point_id)
    )
    return [_from_row(row) for row in connection.execute(wanted).mappings()]


def find_point(
    connection: Connection, point_id: PointId, *, source_computer_id: str
) -> CatalogPoint | None:
    """Return one point of a source computer, or None if the catalog does not know it."""
    wanted = select(points).where(
        points.c.source_computer_id == source_computer_id, points.c.point_id == point_id
    )
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else _from_row(row)


def note_unreadable(connection: Connection, owner: Owner, point_ids: Iterable[PointId]) -> None:
    """Have points count as incomplete whose own files are damaged or missing in the vault.

    They count again when they are recorded again: reclaim does that when it can read the file.
    """
    for each in point_ids:
        of_point = (
            points.c.source_computer_id == owner.source_computer_id,
            points.c.point_id == each,
        )
        values = {"is_complete": False, "missing": [point_name(each)]}
        connection.execute(update(points).where(*of_point).values(**values))
    settle(connection, owner)


def _upsert(connection: Connection, point: CatalogPoint, *, is_complete: bool) -> None:
    values = {name: getattr(point, name) for name in CatalogPoint.__dataclass_fields__}
    values |= {"missing": list(point.missing), "is_complete": is_complete}
    changed = connection.execute(
        update(points)
        .where(
            points.c.source_computer_id == point.source_computer_id,
            points.c.point_id == point.point_id,
        )
        .values(values)
    )
    if changed.rowcount == 0:
        connection.execute(insert(points).values(values))


@dataclass(frozen=True, slots=True)
class _Link:
    """What decides a point's state: its own, and the base below it."""

    own: PointState
    base: str | None
    _: KW_ONLY
    is_lost: bool
    stored: str


def _settled(connection: Connection, point_id: PointId, *, owner: Owner) -> CatalogPoint:
    """Bring the states of all points of the owner up to date, and return one of them."""
    settle(connection, owner)
    point = find_point(connection, point_id, source_computer_id=owner.source_computer_id)
    assert point is not None, "it was just written"
    return point


def settle(connection: Connection, owner: Owner) -> None:
    """Bring the states of all points of the owner up to date, after rows have changed."""
    computer = owner.source_computer_id
    rows = connection.execute(select(points).where(points.c.source_computer_id == computer))
    links = {row["point_id"]: _link(row) for row in rows.mappings()}
    for each, state in _states(links).items():
        if state != links[each].stored:
            changed = points.c.point_id == each
            connection.execute(
                update(points)
                .where(points.c.source_computer_id == computer, changed)
                .values(state=state)
            )


def _link(row: RowMapping) -> _Link:
    # No drive brings a file back that was in the vault and is damaged there.
    travels = row["kind"] == "seed" and row["missing"] != [point_name(row["point_id"])]
    lacking: PointState = "waiting-for-seed" if travels else "incomplete"
    own = "available" if row["is_complete"] else lacking
    return _Link(own, row["base"], is_lost=row["is_lost"], stored=row["state"])


def _states(links: Mapping[str, _Link]) -> dict[str, PointState]:
    """Return each point's state: the worst of its own and those of its bases.

    A base that the catalog does not know lacks, and so does one in a circle.  Each point is
    walked once, without recursion: a chain may have thousands of points.
    """
    states: dict[str, PointState] = {}
    for start in links:
        chain: dict[str, None] = {}
        each: str | None = start
        while each is not None and each in links and each not in states and each not in chain:
            chain[each] = None
            each = links[each].base
        state: PointState = "available" if each is None else states.get(each, "incomplete")
        for above in reversed(chain):
            state = max(state, links[above].own, key=_STATES.index)
            states[above] = state
    # What is lost to one point is not lost to those that are based on it.
    return {each: "incomplete" if links[each].is_lost else state for each, state in states.items()}


def _from_row(row: RowMapping) -> CatalogPoint:
    values = {name: row[name] for name in CatalogPoint.__dataclass_fields__}
    return CatalogPoint(**(values | {"missing": tuple(row["missing"])}))


def losing_nothing(replacement: Replacement) -> Replacement:
    """Return the replacement as those see it that lost nothing by it."""
    return msgspec.structs.replace(replacement, lost=[])
