"""Marks on recovery points: what a rule does not keep, and what a person deleted.

A mark deletes nothing.  It names the instant from which on `reclaim` may act, two weeks later or
more, and until then everybody who may set one may take it back.  A rule marks available points
only, and takes its own marks back where it keeps a point again; what a person took back, no rule
marks.  The newest available point of each policy is neither marked nor, should it have become the
newest since, reclaimed; and neither is the one that was recorded last, because a source computer
whose clock is wrong dates its points wrongly.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar, Final

from sqlalchemy import Connection, insert, select, update

from overland.errors import RefusedError
from overland.values import PointId
from overland.vault import catalog, chains
from overland.vault.catalog import CatalogPoint
from overland.vault.owner import Owner
from overland.vault.retention import Retention, decode, encode, kept
from overland.vault.tables import points, retentions

__all__ = [
    "MIN_GRACE",
    "RULE",
    "PointReclaimed",
    "PointStays",
    "apply_rules",
    "due",
    "mark",
    "reclaim_due",
    "set_policy",
    "set_retention",
    "unmark",
]

MIN_GRACE: Final = timedelta(days=14)
"""How long a mark stands before anything is deleted; a setting can only make it longer."""

RULE: Final = "cloud:retention"
"""How the log calls a policy's rule."""


class PointStays(RefusedError):
    """A recovery point that has to stay was to be deleted."""

    code: ClassVar[str] = "point-stays"

    def __init__(self, point_id: PointId, *, reason: str) -> None:
        super().__init__(f"recovery point {point_id} stays: {reason}")
        self.point_id = point_id


class PointReclaimed(RefusedError):
    """The time of grace is over; the point's objects may be gone."""

    code: ClassVar[str] = "point-reclaimed"

    def __init__(self, point_id: PointId) -> None:
        super().__init__(f"recovery point {point_id} was reclaimed; it cannot be taken back")
        self.point_id = point_id


def mark(
    connection: Connection,
    point: CatalogPoint,
    *,
    owner: Owner,
    at: datetime,
    grace: timedelta,
    actor: str,
) -> None:
    """Mark a point that a person deletes; again changes nothing.

    A point that a rule has marked already keeps its instant, and is then held by no rule.

    Raises:
        PointStays: It is the newest available one of its policy.
        PointReclaimed: It is reclaimed already.
    """
    if point.reclaimed_at is not None:
        raise PointReclaimed(point.point_id)
    if point.mark_reason == "deleted":
        return
    if point.point_id in _newest(_listed(connection, owner)):
        raise PointStays(
            point.point_id, reason="it is the newest that can be restored; make a newer one first"
        )
    _mark(connection, owner, [point], reason="deleted", at=at, grace=grace, actor=actor)


def unmark(
    connection: Connection, point: CatalogPoint, *, owner: Owner, at: datetime, actor: str
) -> None:
    """Take a mark back, whoever or whatever set it; the rule leaves the point alone from then on.

    Raises:
        PointReclaimed: It is too late.
    """
    if point.reclaimed_at is not None:
        raise PointReclaimed(point.point_id)
    if point.marked_at is not None:
        _unmark(connection, owner, point, at=at, actor=actor, is_held=True)


def set_policy(connection: Connection, point: CatalogPoint, policy_id: str, owner: Owner) -> None:
    """Say whose rule a point obeys, and the seed below it; each keeps the first one that was named.

    No request names a seed's policy: its drives bring it, and the points that build on it tell.
    """
    listed = catalog.list_points(connection, source_computer_id=owner.source_computer_id)
    below = {each.point_id: each for each in listed}
    at: CatalogPoint | None = point
    while at is not None:
        if at.policy_id is None and (at is point or at.kind == "seed"):
            _update(connection, owner, at.point_id, policy_id=policy_id)
        at = None if at.base is None else below.pop(at.base, None)  # a circle ends, too


def set_retention(
    connection: Connection,
    owner: Owner,
    policy_id: str,
    retention: Retention,
    *,
    at: datetime,
    actor: str,
) -> None:
    """Give a policy its rule; it holds for old points too, from the next `apply_rules` on.

    Raises:
        RetentionInvalid: It keeps too little, or too much.
    """
    rule = encode(retention).decode()
    if _rules(connection, owner).get(policy_id) == retention:
        return
    columns = retentions.c
    key = (columns.source_computer_id == owner.source_computer_id, columns.policy_id == policy_id)
    values = {"rule": rule, "changed_at": at, "changed_by": actor}
    if connection.execute(update(retentions).where(*key).values(values)).rowcount == 0:
        values |= {"source_computer_id": owner.source_computer_id, "policy_id": policy_id}
        connection.execute(insert(retentions).values(values))
    detail = {"rule": rule}
    chains.note(
        connection,
        owner,
        "retention-changed",
        at=at,
        actor=actor,
        subject=policy_id,
        detail=detail,
    )


def apply_rules(
    connection: Connection, owner: Owner, *, at: datetime, grace: timedelta
) -> tuple[int, int]:
    """Mark what no rule keeps, and take back marks of what one keeps; return both counts.

    Points without a policy, or of a policy without a rule, are left alone.
    """
    listed = _listed(connection, owner)
    stay = _newest(listed)
    marked = unmarked = 0
    for policy_id, retention in _rules(connection, owner).items():
        own = [each for each in listed if each.policy_id == policy_id]
        keep = _chosen(retention, own) | stay
        late = [each for each in own if _may_mark(each) and each.point_id not in keep]
        _mark(connection, owner, late, reason="retention", at=at, grace=grace, actor=RULE)
        marked += len(late)
        for each in own:
            is_pruned = each.state == "available" and each.point_id not in keep
            if each.mark_reason == "retention" and not is_pruned:
                _unmark(connection, owner, each, at=at, actor=RULE, is_held=False)
                unmarked += 1
    return marked, unmarked


def due(listed: Iterable[CatalogPoint], *, at: datetime) -> list[CatalogPoint]:
    """Return the points whose time of grace is over and that nothing keeps."""
    present = [each for each in listed if each.reclaimed_at is None]
    stay = _newest(present)
    return [each for each in present if each.point_id not in stay and _is_due(each, at)]


def reclaim_due(connection: Connection, owner: Owner, *, at: datetime) -> list[PointId]:
    """Reclaim what is due: from now on it is not restored and keeps no object of its own."""
    gone = due(_listed(connection, owner), at=at)
    for each in gone:
        _update(connection, owner, each.point_id, reclaimed_at=at)
        detail = {"reason": each.mark_reason, "marked_by": each.marked_by}
        chains.note(
            connection,
            owner,
            "point-reclaimed",
            at=at,
            actor="cloud:reclaim",
            subject=each.point_id,
            detail=detail,
        )
    return [each.point_id for each in gone]


def _is_due(point: CatalogPoint, at: datetime) -> bool:
    if point.reclaim_after is None or at < point.reclaim_after:
        return False
    # What waits, or lacks something, goes only when a person says so.
    return point.state == "available" or point.mark_reason == "deleted"


def _chosen(retention: Retention, own: list[CatalogPoint]) -> set[PointId]:
    """Return what the rule keeps of the points that can be restored and that nobody deleted."""
    present = [p for p in own if p.state == "available" and p.mark_reason != "deleted"]
    return kept(retention, [(each.point_id, each.created_at) for each in present])


def _may_mark(point: CatalogPoint) -> bool:
    return point.state == "available" and point.marked_at is None and not point.is_held


def _newest(listed: Iterable[CatalogPoint]) -> set[PointId]:
    """Return the points of each policy that can be restored and are newest.

    By the source computer's clock, and by ours: a seed is recorded when its drives have arrived,
    and says nothing about when it was made.
    """
    dated: dict[str | None, PointId] = {}
    recorded: dict[str | None, tuple[datetime, PointId]] = {}
    for each in listed:  # oldest first
        if each.state != "available":
            continue
        dated[each.policy_id] = each.point_id
        if each.kind != "seed" and each.published_at is not None:
            last = (each.published_at, each.point_id)
            if each.policy_id not in recorded or last[0] >= recorded[each.policy_id][0]:
                recorded[each.policy_id] = last
    return {*dated.values(), *(point_id for _, point_id in recorded.values())}


def _listed(connection: Connection, owner: Owner) -> list[CatalogPoint]:
    computer = owner.source_computer_id
    listed = catalog.list_points(connection, source_computer_id=computer)
    return [each for each in listed if each.reclaimed_at is None]


def _rules(connection: Connection, owner: Owner) -> dict[str, Retention]:
    columns = retentions.c
    wanted = select(columns.policy_id, columns.rule).where(
        columns.source_computer_id == owner.source_computer_id
    )
    return {row.policy_id: decode(row.rule.encode()) for row in connection.execute(wanted)}


def _mark(
    connection: Connection,
    owner: Owner,
    marked: Iterable[CatalogPoint],
    *,
    reason: str,
    at: datetime,
    grace: timedelta,
    actor: str,
) -> None:
    assert grace >= MIN_GRACE, "the time of grace can only be made longer"
    for each in marked:
        _update(
            connection,
            owner,
            each.point_id,
            marked_at=each.marked_at or at,
            reclaim_after=each.reclaim_after or at + grace,
            mark_reason=reason,
            marked_by=actor,
            is_held=False,
        )
        detail = {"reason": reason}
        chains.note(
            connection,
            owner,
            "point-marked",
            at=at,
            actor=actor,
            subject=each.point_id,
            detail=detail,
        )


def _unmark(
    connection: Connection,
    owner: Owner,
    point: CatalogPoint,
    *,
    at: datetime,
    actor: str,
    is_held: bool,
) -> None:
    no_mark = dict.fromkeys(("marked_at", "reclaim_after", "mark_reason", "marked_by"))
    _update(connection, owner, point.point_id, **no_mark, is_held=is_held)
    chains.note(connection, owner, "point-unmarked", at=at, actor=actor, subject=point.point_id)


def _update(connection: Connection, owner: Owner, point_id: PointId, **values: object) -> None:
    of_point = (
        points.c.source_computer_id == owner.source_computer_id,
        points.c.point_id == point_id,
    )
    connection.execute(update(points).where(*of_point).values(**values))
