"""Makes the vault whole again, as far as any place still has what it lacks.

In this order: whole copies from staging, drives and other places; index files made anew from the
packs; chunks that can still be read in damaged packs, or in the source's own files, in new packs.
Repair deletes nothing, and may be killed and run again at any moment: what was put stays, and
recovery points change only when the cloud accepts the replacement, as one step.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from overland.agent.points.reading import open_point
from overland.agent.repack.holdings import Held, Holdings, look, pack_ids
from overland.agent.repack.run import Workshop
from overland.agent.repair.fetch import (
    Fetched,
    damaged_in,
    fetch,
    is_retired,
    is_superseded,
    take_key_changes,
)
from overland.agent.repair.salvage import LostFile, Salvage, salvage
from overland.agent.sources import LayeredObjects
from overland.events import Log
from overland.ports.objects import Objects
from overland.values import (
    PackId,
    PointId,
    ReplacementId,
    is_object_name,
    point_name,
    replacement_name,
)

__all__ = ["Harmless", "LostFile", "RepairReport", "repair"]

Harmless = Literal["retired", "superseded"]
"""A document of a former signing key that no key change lists; a keyring below a newer one."""

log = Log()


@dataclass(slots=True, kw_only=True)
class RepairReport:
    """What was wrong, what was done about it, and what is lost.

    `fetched` tells where each object came from; `unhealed` are damaged points, keyrings and
    replacements of which a whole copy exists elsewhere, and which a vault never replaces.
    `harmless` tells of objects that prove nothing why nothing that counts is lost with them.
    """

    objects: int = 0
    size_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    fetched: dict[str, str] = field(default_factory=dict)
    unhealed: list[str] = field(default_factory=list)
    harmless: dict[str, Harmless] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    waiting: list[PointId] = field(default_factory=list)
    unreadable: list[PointId] = field(default_factory=list)
    salvaged_chunks: int = 0
    reread_chunks: int = 0
    new_objects: int = 0
    lost: dict[PointId, list[LostFile]] = field(default_factory=dict)
    replacement_id: ReplacementId | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost, and nothing is left to be done."""
        return not (self.lost or self.unreadable or self.unhealed)


def repair(
    shop: Workshop,
    places: Mapping[str, Objects],
    *,
    read_all: bool = True,
    dry_run: bool = False,
) -> RepairReport:
    """Bring back what the vault lacks, and say what is lost.

    Args:
        shop: What to work with.
        places: Other places by label, best first: staging, drives, folders.
        read_all: Read every object of the vault; False takes what is there for whole.
        dry_run: Change nothing; say what is wrong, and what could be taken from where.

    Raises:
        ReplacementUnreadable: An accepted replacement is in no place.
        KeyChangeMissing: What a former signing key signed cannot be told from a forgery: the key
            change is in no place; nothing was changed.
        OutOfSpace: The vault is full; what was put stays, run again.
        ChainsMoved: Recovery points changed meanwhile; run again.
        TransientError: The vault, the cloud or a place did not answer; run again.
    """
    vault = LayeredObjects([("vault", shop.vault)])
    every = LayeredObjects([("vault", shop.vault), *places.items()])
    holdings = look(shop.keeper, vault, every, shop.keys)
    report = RepairReport(unreadable=list(holdings.unreadable))
    report.waiting = [held.point_id for held in holdings.points if held.travels]
    bad = _damaged(shop, report, read_all=read_all)
    keyrings = {info.name for info in every.names("keys/") if is_object_name(info.name)}
    wanted = _wanted(holdings) | keyrings | {*shop.keys.signatures.change_names}
    report.missing = sorted(wanted - holdings.sizes.keys())
    report.damaged = sorted(bad)
    shop.progress.start("fetching", None, len(bad) + len(report.missing))
    done: Fetched = fetch(
        shop.vault,
        places,
        {*bad, *report.missing},
        shop.keys,
        progress=shop.progress,
        dry_run=dry_run,
    )
    shop.progress.finish()
    take_key_changes(shop.vault, shop.keys, done, dry_run=dry_run)
    report.fetched, report.unhealed = done.fetched, done.unhealed
    _sort_out(report, done, holdings)
    _excuse(shop, report, done, holdings)
    if not dry_run:
        # A replacement may have let go what it should not; what it replaced is there for a while.
        broken = frozenset(report.broken) or _let_go(holdings)
        if broken:
            _rebuild(shop, places, holdings, report, broken)
    return report


def _damaged(shop: Workshop, report: RepairReport, *, read_all: bool) -> set[str]:
    infos = list(shop.vault.names())
    report.objects = len(infos)
    report.size_bytes = sum(info.size_bytes for info in infos)
    if not read_all:
        return set()
    shop.progress.start("examining", report.size_bytes, report.objects)
    damaged = damaged_in(shop.vault, infos, shop.keys, shop.progress)
    shop.progress.finish()
    return damaged


def _wanted(holdings: Holdings) -> set[str]:
    """Return what has to be in the vault; what travels by drive, not yet."""
    names: set[str] = {replacement_name(each.replacement_id) for each in holdings.accepted}
    for held in _arrived(holdings):
        names |= held.needed
        names.update(point_name(point_id) for point_id in held.line)
    return names


def _arrived(holdings: Holdings) -> Iterator[Held]:
    return (held for held in holdings.points if not held.travels)


def _sort_out(report: RepairReport, done: Fetched, holdings: Holdings) -> None:
    """What is in no place as a whole is broken if a point needs it, else of no interest."""
    needed = {name for held in _arrived(holdings) for name in held.needed}
    report.broken = sorted(needed.intersection(done.nowhere))
    documents = [name for name in done.nowhere if name.startswith(("points/", "replacements/"))]
    report.unhealed += [name for name in documents if name in report.damaged]


def _excuse(shop: Workshop, report: RepairReport, done: Fetched, holdings: Holdings) -> None:
    """Name what only looks like a loss as what it is.

    What has the name of anything that a living point or an accepted replacement relies on counts,
    whatever lies there: a thief's document in its place is damage to us.  Where a living point
    cannot be read, nobody knows on which others it is based, and no document is excused.
    """
    counted = {replacement_name(each.replacement_id) for each in holdings.accepted}
    counted |= {point_name(each) for held in holdings.points for each in held.line}
    gone = set(done.nowhere)
    for name in report.damaged:
        may_be_retired = name in gone and name not in counted and not holdings.unreadable
        if may_be_retired and is_retired(shop.vault, name, shop.keys):
            report.harmless[name] = "retired"
        elif is_superseded(shop.vault, name, shop.keys):
            report.harmless[name] = "superseded"
    report.unhealed = [name for name in report.unhealed if name not in report.harmless]
    report.damaged = [name for name in report.damaged if report.harmless.get(name) != "retired"]


def _let_go(holdings: Holdings) -> frozenset[str]:
    """Return replaced packs of living points that are still in the vault."""
    named = {name for held in _arrived(holdings) for name in held.named - held.needed}
    replaced = {name for each in holdings.accepted for name in each.replaced}
    return frozenset(n for n in named & replaced & holdings.sizes.keys() if n.startswith("packs/"))


def _rebuild(
    shop: Workshop,
    places: Mapping[str, Objects],
    holdings: Holdings,
    report: RepairReport,
    broken: frozenset[str],
) -> None:
    """Store anew what points need of broken packs and have nowhere else."""
    concerned = [held for held in _arrived(holdings) if not broken.isdisjoint(held.named)]
    points = holdings.connected(concerned)
    if any(held.travels for held in points):
        _forget(shop, concerned, pack_ids(broken))
        return
    made: Salvage = salvage(shop, places, holdings, points, broken)
    report.salvaged_chunks, report.reread_chunks = made.salvaged_chunks, made.reread_chunks
    report.new_objects, report.lost = made.new_objects, made.lost
    report.replacement_id = made.replacement_id


def _forget(shop: Workshop, points: list[Held], packs: frozenset[PackId]) -> None:
    """The next backup stores again what it needs, whatever becomes of the packs."""
    every = LayeredObjects([("vault", shop.vault)])
    for policy in {open_point(every, shop.keys, held.point_id).root.policy for held in points}:
        shop.repository.forget_packs(policy, packs)
