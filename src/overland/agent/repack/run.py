"""Give back the room of chunks that no recovery point needs any more.

Only whole packs can be deleted.  Where little of a pack lives, its living chunks are copied into
new packs, and a replacement lets the old one go.  Nothing is deleted here: the cloud does that,
when the replacement was accepted and the time of grace is over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point, ReadKeys, open_point
from overland.agent.repack.holdings import Held, Holdings, Keeper, look, pack_ids
from overland.agent.repack.listednames import ListedNames
from overland.agent.repack.live import Liveness
from overland.agent.repack.rewrite import Rewriter, forget_journal, put_replacement
from overland.agent.repack.shelf import Shelf
from overland.agent.repository import Repository
from overland.agent.sources import LayeredObjects
from overland.errors import RefusedError
from overland.events import Log
from overland.format.index import PackDirectory
from overland.format.replacement import MAX_NEW_OBJECTS, Replacement, ReplacementObject
from overland.packing.index import Ids
from overland.ports.clock import Clock
from overland.ports.files import Files
from overland.ports.objects import Objects
from overland.ports.progress import Progress
from overland.source.chunker import DEFAULT_SIZES, IMAGE_SIZES, Sizes
from overland.values import PackId, PointId, ReplacementId, pack_name

__all__ = ["ChainsMoved", "NotRepackable", "RepackReport", "Workshop", "repack", "replace"]

_MAX_PACKS: Final = MAX_NEW_OBJECTS // 2
"""So many packs are replaced at most by one replacement; the next run goes on."""

log = Log()


class NotRepackable(RefusedError):
    """A chain is not whole in the vault, so that nothing of it may be replaced."""

    code = "not-repackable"

    def __init__(self, problem: str) -> None:
        super().__init__(f"nothing was repacked: {problem}")
        self.problem = problem


class ChainsMoved(RefusedError):
    """A recovery point was made, or went, while packs were copied."""

    code = "chains-moved"

    def __init__(self) -> None:
        super().__init__(
            "the recovery points changed meanwhile, so that nothing was replaced; "
            "run it again: what was copied is used"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What repack and repair work with: keys, places, and this computer's own folders.

    `chunk_sizes` are those by which this computer's backups cut files, the likeliest first.
    """

    repository: Repository
    keys: ReadKeys
    vault: Objects
    keeper: Keeper
    spool: Files
    scratch: Path | None
    clock: Clock
    progress: Progress
    pack_bytes: int = 64 << 20
    chunk_sizes: Sequence[Sizes] = (DEFAULT_SIZES, IMAGE_SIZES)


@dataclass(slots=True, kw_only=True)
class RepackReport:
    """What was, or would be, replaced; sizes in bytes.  `freed_bytes` go after the grace."""

    packs: int = 0
    living_bytes: int = 0
    packs_replaced: int = 0
    replaced_bytes: int = 0
    copied_bytes: int = 0
    new_packs: int = 0
    points: list[PointId] = field(default_factory=list)
    replacement_id: ReplacementId | None = None

    @property
    def freed_bytes(self) -> int:
        """How much less the vault will hold."""
        return self.replaced_bytes - self.copied_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    points: Sequence[Held]
    policies: frozenset[str]
    packs: dict[PackId, int]  # the ones that go, and their sizes
    index_files: Sequence[str]
    survivors: frozenset[PackId]
    live: dict[PackId, NDArray[np.bool_]]

    @property
    def replaced(self) -> list[str]:
        return sorted([*map(pack_name, self.packs), *self.index_files])


def repack(
    shop: Workshop, *, policy: str | None, min_live: float, dry_run: bool = False
) -> RepackReport:
    """Replace the packs of which less than `min_live` is needed.

    Killed at any moment, run again: packs that reached the vault are used.  Changes nothing for
    any recovery point until the cloud accepts the replacement, which it does as one step.

    Args:
        shop: What to work with.
        policy: Whose chains; None is all of them.
        min_live: Of a pack's content, from 0 to 1.
        dry_run: Only say what would be done.

    Raises:
        NotRepackable: A chain is not whole in the vault, or its seed is still on its way.
        ChainsMoved: Points changed meanwhile; run again.
        OutOfSpace: The vault or this computer is full; nothing was replaced.
        IntegrityError: A pack that is needed is damaged; `overland repair` comes first.
    """
    assert 0 <= min_live <= 1, "a share"
    vault = LayeredObjects([("vault", shop.vault)])
    holdings = look(shop.keeper, vault, vault, shop.keys)
    points, policies = _chosen(holdings, vault, shop.keys, policy)
    shelf = Shelf(
        vault,
        shop.keys,
        open_pack=shop.repository.open_pack,
        index_files={n for held in points for n in held.needed if n.startswith("index/")},
    )
    live = _living(shop, vault, shelf, points)
    plan, report = _plan(holdings, shelf, points, policies, live, min_live=min_live)
    if dry_run or not plan.packs:
        return report
    objects = _copy(shop, vault, shelf, holdings, plan)
    report.copied_bytes = sum(each.size_bytes for each in objects)
    report.new_packs = sum(each.name.startswith("packs/") for each in objects)
    report.replacement_id = replace(
        shop,
        holdings,
        reason="repack",
        replaced=plan.replaced,
        objects=objects,
        lost=(),
        policies=plan.policies,
    )
    return report


def replace(
    shop: Workshop,
    holdings: Holdings,
    *,
    reason: Literal["repack", "repair"],
    replaced: Sequence[str],
    objects: Sequence[ReplacementObject],
    lost: Sequence[PointId],
    policies: frozenset[str],
) -> ReplacementId:
    """Put a replacement, and have it accepted.

    The hints of the policies go first: a backup that is killed away from us, or begun by others,
    never finds a hint that names what was replaced.

    Raises:
        ChainsMoved: The chains are not those of `holdings`; nothing was replaced.
        RefusedError: The cloud did not accept it.
        TransientError: It did not answer; whether it has accepted shows when it is asked again.
    """
    gone = set(replaced)
    concerned = [held.point_id for held in holdings.points if not held.named.isdisjoint(gone)]
    replacement = Replacement(
        replacement_id=ReplacementId(str(uuid4())),
        repository_id=shop.repository.repository_id,
        created_at=_whole(shop.clock.now()),
        reason=reason,
        keeps=sorted(set(concerned) - set(lost)),
        lost=sorted(set(concerned) & set(lost)),
        replaced=list(replaced),
        objects=list(objects),
    )
    for policy in sorted(policies):
        shop.repository.drop_hints(policy)
    if shop.keeper.chains().chain_version != holdings.chain_version:
        raise ChainsMoved
    put_replacement(shop.repository, shop.vault, replacement)
    shop.keeper.accept_replacement(replacement.replacement_id, chain_version=holdings.chain_version)
    forget_journal(shop.repository)
    log.info(
        "replacement.accepted",
        replacement=replacement.replacement_id,
        replaced=len(replaced),
        objects=len(objects),
    )
    return replacement.replacement_id


def _whole(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)


def _chosen(
    holdings: Holdings, vault: LayeredObjects, keys: ReadKeys, policy: str | None
) -> tuple[list[Held], frozenset[str]]:
    """Return the points that repacking touches, each proven whole, and their policies."""
    for point_id in holdings.unreadable:
        if point_id not in holdings.travelling:
            raise NotRepackable(
                f"recovery point {point_id} cannot be read; run `overland repair` first"
            )
    for point_id in holdings.unreadable:
        raise _on_its_way(point_id)
    names = {held.point_id: _policy(vault, keys, held) for held in holdings.points}
    chosen = [held for held in holdings.points if policy in {None, names[held.point_id]}]
    points = holdings.connected(chosen)
    for held in points:
        if held.travels:
            raise _on_its_way(held.point_id)
        absent = sorted(held.needed - holdings.sizes.keys())
        if absent or not held.is_whole:
            raise NotRepackable(
                f"recovery point {held.point_id} is not whole in the vault"
                f"{f' ({absent[0]})' if absent else ''}; run `overland repair` first"
            )
    return points, frozenset(names[held.point_id] for held in points)


def _on_its_way(point_id: PointId) -> NotRepackable:
    return NotRepackable(
        f"the seed of recovery point {point_id} has not fully arrived; "
        "run it again when the vault has adopted it"
    )


def _policy(vault: LayeredObjects, keys: ReadKeys, held: Held) -> str:
    return open_point(vault, keys, held.point_id).root.policy


def _living(
    shop: Workshop, vault: LayeredObjects, shelf: Shelf, points: Sequence[Held]
) -> dict[PackId, NDArray[np.bool_]]:
    if shelf.damaged:
        raise NotRepackable(f"{shelf.damaged[0]} cannot be read; run `overland repair` first")
    store = ChunkStore(vault, shop.keys, scratch=shop.scratch)
    store.load_index()
    liveness = Liveness(shop.repository.repository_id, store, shelf, scratch=shop.scratch)
    shop.progress.start("reading recovery points", None, len(points))
    for held in points:
        point: Point = open_point(vault, shop.keys, held.point_id)
        liveness.add_point(point, pack_ids(held.needed))
        shop.progress.advance(count=1)
    liveness.finish()
    shop.progress.finish()
    if liveness.missing or liveness.unreadable:
        raise NotRepackable("chunks of a recovery point are missing; run `overland repair` first")
    return liveness.live


def _plan(
    holdings: Holdings,
    shelf: Shelf,
    points: Sequence[Held],
    policies: frozenset[str],
    live: dict[PackId, NDArray[np.bool_]],
    *,
    min_live: float,
) -> tuple[_Plan, RepackReport]:
    report = RepackReport(points=[held.point_id for held in points])
    going: dict[PackId, int] = {}
    for directory in shelf.directories(live):
        lengths = directory.directory.chunks["length"].astype(np.int64)
        living_bytes = int(lengths[live[directory.pack_id]].sum())
        report.packs += 1
        report.living_bytes += living_bytes
        if living_bytes < min_live * int(lengths.sum()) and len(going) < _MAX_PACKS:
            going[directory.pack_id] = directory.pack_bytes
    packs = frozenset(going)
    index_files = shelf.touching(packs)
    described = {pack_id for name in index_files for pack_id in shelf.described[name]}
    report.packs_replaced = len(going)
    report.replaced_bytes = sum(going.values())
    report.replaced_bytes += sum(holdings.sizes[name] for name in index_files)
    plan = _Plan(
        points=points,
        policies=policies,
        packs=going,
        index_files=index_files,
        survivors=frozenset(described & live.keys()) - packs,
        live=live,
    )
    return plan, report


def _copy(
    shop: Workshop, vault: LayeredObjects, shelf: Shelf, holdings: Holdings, plan: _Plan
) -> list[ReplacementObject]:
    """Copy what lives of the packs that go, pack by pack, and describe what stays."""
    named = ListedNames.together(held.named for held in holdings.points)
    rewriter = Rewriter(
        repository=shop.repository,
        vault=shop.vault,
        spool=shop.spool,
        clock=shop.clock,
        pack_bytes=shop.pack_bytes,
    )
    shop.progress.start("repacking", sum(plan.packs.values()), len(plan.packs))
    with rewriter:
        rewriter.resume(
            shelf, taken=ListedNames.together([named, ListedNames((), more=holdings.replaced)])
        )
        for directory in shelf.directories(plan.packs):
            _copy_pack(shop, vault, rewriter, directory, plan.live[directory.pack_id])
            shop.progress.advance(directory.pack_bytes, 1)
        objects = rewriter.finish(shelf.directories(plan.survivors), needed=_needed(shelf, plan))
    shop.progress.finish()
    return objects


def _needed(shelf: Shelf, plan: _Plan) -> Iterator[Ids]:
    for directory in shelf.directories(plan.packs):
        yield _ids(directory, plan.live[directory.pack_id])


def _copy_pack(
    shop: Workshop,
    vault: LayeredObjects,
    rewriter: Rewriter,
    directory: PackDirectory,
    live: NDArray[np.bool_],
) -> None:
    ids = rewriter.lacks(_ids(directory, live))
    if not len(ids):
        return
    index = shop.repository.new_index()
    index.add(directory)
    with shop.repository.reader(vault, index) as reader:
        for position, data in reader.read_chunks(ids):
            rewriter.add(ids[position : position + 1], [data])


def _ids(directory: PackDirectory, live: NDArray[np.bool_]) -> Ids:
    return (
        np.ascontiguousarray(directory.directory.chunks["id"][live]).view(np.uint8).reshape(-1, 32)
    )
