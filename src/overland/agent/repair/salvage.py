"""Chunks of packs that are nowhere whole: read where they still can be, and stored anew."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point, open_point
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.agent.repack.holdings import Held, Holdings, pack_ids
from overland.agent.repack.live import Liveness, Unread, id_lists
from overland.agent.repack.rewrite import Rewriter
from overland.agent.repack.run import Workshop, replace
from overland.agent.repack.shelf import Shelf
from overland.agent.repair.cutting import Cutting
from overland.agent.repair.idsets import NO_IDS, among, sorted_ids
from overland.agent.repair.reread import lacking_parts, reread
from overland.agent.sources import LayeredObjects
from overland.events import Log
from overland.format.replacement import ReplacementObject
from overland.format.tree import KIND_FILE, Entry
from overland.packing.index import ChunkIndex, Ids, as_ids
from overland.ports.objects import Objects
from overland.values import PackId, PointId, ReplacementId

__all__ = ["LostFile", "Salvage", "salvage"]

log = Log()


class LostFile(NamedTuple):
    """A file or folder of a point that cannot be restored whole.

    `parts` are offsets and lengths in the file's data, in bytes; empty where all of it is lost, or
    nobody can tell.
    """

    path: bytes
    parts: tuple[tuple[int, int], ...]


@dataclass(slots=True, kw_only=True)
class Salvage:
    """What was made of what was left."""

    salvaged_chunks: int = 0
    reread_chunks: int = 0
    new_objects: int = 0
    lost: dict[PointId, list[LostFile]] = field(default_factory=dict)
    replacement_id: ReplacementId | None = None


def salvage(
    shop: Workshop,
    places: Mapping[str, Objects],
    holdings: Holdings,
    points: Sequence[Held],
    broken: frozenset[str],
) -> Salvage:
    """Store anew what points need of broken packs, describe what no index file does, and replace.

    Args:
        shop: What to work with.
        places: Where to look besides the vault.
        holdings: What the vault holds.
        points: All points that share anything with one that is concerned.
        broken: Packs and index files that are nowhere whole.

    Raises:
        ChainsMoved, OutOfSpace, TransientError: As `repair`.
    """
    work = _Work(shop, places, holdings, points, broken)
    return work.run()


@final
class _Work:
    def __init__(
        self,
        shop: Workshop,
        places: Mapping[str, Objects],
        holdings: Holdings,
        points: Sequence[Held],
        broken: frozenset[str],
    ) -> None:
        self._shop, self._holdings, self._broken = shop, holdings, broken
        self._layers = [("vault", shop.vault), *places.items()]
        self._every = LayeredObjects(self._layers)
        self._held = points
        self._points = [open_point(self._every, shop.keys, held.point_id) for held in points]
        self._needed = frozenset(name for held in points for name in held.needed)
        self._shelf = Shelf(
            self._every,
            shop.keys,
            open_pack=shop.repository.open_pack,
            index_files=[n for n in self._needed - broken if n.startswith("index/")],
        )
        self._bad_packs = pack_ids(broken)
        self._store = self._new_store()
        self._index = self._known_chunks()
        self._hints = [
            hint
            for policy in sorted({point.root.policy for point in self._points})
            if (hint := shop.repository.saved_index(policy)) is not None
        ]
        self._result = Salvage()
        self._unread: list[Unread] = []

    def run(self) -> Salvage:
        rewriter = Rewriter(
            repository=self._shop.repository,
            vault=self._shop.vault,
            spool=self._shop.spool,
            clock=self._shop.clock,
            pack_bytes=self._shop.pack_bytes,
        )
        named = frozenset(name for held in self._holdings.points for name in held.named)
        with rewriter:
            rewriter.resume(self._shelf, taken=named | self._holdings.replaced)
            stored, left = self._save(rewriter)
            objects = rewriter.finish(self._shelf.directories(self._undescribed()), needed=[stored])
        self._shop.progress.finish()
        self._find_lost(left)
        if len(stored) or not self._is_known():
            self._replace(objects)
        return self._result

    def _save(self, rewriter: Rewriter) -> tuple[Ids, Ids]:
        """Store what can be had of what points need; return it, and what is lost.

        A place may flicker.  What could not be read for planning is tried again when the rest is
        saved, as long as that shows anything; what is unread then is lost with all below it.
        """
        liveness = self._liveness()
        self._shop.progress.start("reading recovery points", None, len(self._points))
        for held, point in zip(self._held, self._points, strict=True):
            liveness.add_point(point, self._whole_packs(held))
            self._shop.progress.advance(count=1)
        self._shop.progress.finish()
        wanted = left = NO_IDS
        before: set[tuple[PointId, bytes]] | None = None
        while True:
            found = self._not_saved_before(sorted_ids([need.ids for need in liveness.missing]))
            new = found[~among(found, wanted)]
            if before is None:
                self._shop.progress.start("salvaging", None, len(new))
            wanted = sorted_ids([wanted, new])
            left = sorted_ids([left, self._salvage(rewriter, new)])
            self._unread = liveness.unreadable
            unread = {(each.point.public.point_id, each.path) for each in self._unread}
            if not unread or (unread == before and not len(new)):
                break
            before, liveness = unread, self._read_again()
        left = self._reread(rewriter, left)
        return wanted[~among(wanted, left)], left

    def _read_again(self) -> Liveness:
        """Return what is needed by what was not readable so far; nothing is known of before."""
        packs = {held.point_id: self._whole_packs(held) for held in self._held}
        liveness = self._liveness()
        for each in self._unread:
            liveness.add_again(each, packs[each.point.public.point_id])
        return liveness

    def _is_known(self) -> bool:
        """Return whether an earlier repair has replaced all that is broken, as far as it could."""
        return self._broken <= {name for each in self._holdings.accepted for name in each.replaced}

    # -- what is needed of broken packs ---------------------------------------------------------

    def _new_store(self) -> ChunkStore:
        store = ChunkStore(
            LayeredObjects(self._layers), self._shop.keys, scratch=self._shop.scratch
        )
        store.load_index()
        return store

    def _known_chunks(self) -> ChunkIndex:
        """Return an index of everything that index files and packs tell, broken packs too."""
        index = ChunkIndex(self._shop.repository.repository_id, scratch=self._shop.scratch)
        for directory in self._shelf.directories(pack_ids(self._needed)):
            index.add(directory)
        return index

    def _liveness(self) -> Liveness:
        return Liveness(
            self._shop.repository.repository_id,
            self._new_store(),
            self._shelf,
            scratch=self._shop.scratch,
        )

    def _whole_packs(self, held: Held) -> frozenset[PackId]:
        """Return the packs of a point that stay; what only others have is missing."""
        return pack_ids(held.needed) - self._bad_packs

    def _not_saved_before(self, ids: Ids) -> Ids:
        """Return these without what an earlier repair saved.

        Points that lost something go on needing the broken packs, and have what replaced them.
        """
        if not self._is_known():
            return ids
        saved = ChunkIndex(self._shop.repository.repository_id, scratch=self._shop.scratch)
        come = {item.name for each in self._holdings.accepted for item in each.objects}
        for directory in self._shelf.directories(pack_ids(come & self._needed) - self._bad_packs):
            saved.add(directory)
        return ids[saved.lookup(ids) < 0]

    def _salvage(self, rewriter: Rewriter, ids: Ids) -> Ids:
        """Store what can be read of these chunks; return the others."""
        places, _ = self._store.find(ids)
        lost = []
        for row in np.lexsort((places["offset"], places["segment"], places["pack"])).tolist():
            one = ids[row : row + 1]
            self._shop.progress.advance(count=1)
            if not len(rewriter.lacks(one)):
                continue
            try:
                [data] = self._store.read(one)
            except UNREADABLE:
                lost.append(row)
                continue
            rewriter.add(one, [memoryview(data)])
            self._result.salvaged_chunks += 1
        return ids[lost]

    def _reread(self, rewriter: Rewriter, lacking: Ids) -> Ids:
        """Store what files of the source still hold; return the others."""
        cutting = Cutting(
            self._shop.chunk_sizes,
            chunker=self._shop.repository.chunker,
            chunk_id=self._store.chunk_id,
        )
        learned = -1
        # Sizes that one file told help with another that was looked at before it.
        while len(lacking) and learned < cutting.learned:
            learned = cutting.learned
            for point in self._newest():
                lacking = self._reread_point(rewriter, point, lacking, cutting)
        return lacking

    def _reread_point(
        self, rewriter: Rewriter, point: Point, lacking: Ids, cutting: Cutting
    ) -> Ids:
        if not len(lacking):
            return lacking
        tree, found = PointTree(point, self._store), list[Ids]()
        for chunk_id, data in reread(tree, self._store, self._lengths, lacking, cutting=cutting):
            found.append(as_ids(chunk_id))
            rewriter.add(found[-1], [memoryview(data)])
        self._result.reread_chunks += len(found)
        return lacking[~among(lacking, sorted_ids(found))]

    def _newest(self) -> Iterator[Point]:
        """Yield the points, newest first: files change, and what is old is found least."""
        return iter(sorted(self._points, key=lambda point: point.public.created_at, reverse=True))

    def _lengths(self, ids: Ids) -> NDArray[np.int64]:
        lengths = np.full(len(ids), -1, np.int64)
        for index in (self._index, *self._hints):
            open_ = np.flatnonzero(lengths < 0)
            rows = index.lookup(ids[open_])
            lengths[open_[rows >= 0]] = index.places(rows[rows >= 0])["length"]
        return lengths

    # -- what stays and what goes ---------------------------------------------------------------

    def _gone_index_files(self) -> list[str]:
        """Return index files that go: broken ones, and those that name a broken pack."""
        touching = self._shelf.touching(self._bad_packs)
        broken = [name for name in self._broken if name.startswith("index/")]
        return sorted({*broken, *touching})

    def _undescribed(self) -> frozenset[PackId]:
        """Return whole packs that no index file will describe."""
        gone = set(self._gone_index_files())
        described = {
            pack_id
            for name, packs in self._shelf.described.items()
            if name not in gone
            for pack_id in packs
        }
        return pack_ids(self._needed) - self._bad_packs - described

    def _replace(self, objects: Sequence[ReplacementObject]) -> None:
        packs = [name for name in self._broken if name.startswith("packs/")]
        self._result.new_objects = len(objects)
        self._result.replacement_id = replace(
            self._shop,
            self._holdings,
            reason="repair",
            replaced=sorted({*packs, *self._gone_index_files()}),
            objects=objects,
            lost=sorted(self._result.lost),
            policies=frozenset(point.root.policy for point in self._points),
        )

    def _find_lost(self, left: Ids) -> None:
        """Follow every point to what it has lost; nothing is followed where nothing is."""
        if not len(left) and not self._unread:
            return
        store = self._new_store()
        contents = {each.entry.content for each in self._unread}
        for point in self._points:
            tree = PointTree(point, store)
            lost = {each.path: each for each in self._lost_of(tree, store, left, contents)}
            if lost:
                self._result.lost[point.public.point_id] = list(lost.values())

    def _lost_of(
        self, tree: PointTree, store: ChunkStore, left: Ids, unread: AbstractSet[bytes]
    ) -> Iterator[LostFile]:
        """Yield what a point lost: what lacks a chunk, or what nobody could plan for.

        What can be read by now, and could not be read when it was to be saved, is lost all the
        same: its packs go.
        """
        folders: list[bytes] = []
        for step in tree.walk(unreadable=lambda path, _error: folders.append(path)):
            if step.entry is None or step.action == "leave":
                continue
            if step.entry.content in unread or _lacks_its_list(store, step.entry, left):
                yield LostFile(step.path, ())
                continue
            if step.entry.kind != KIND_FILE:
                continue
            try:
                parts = lacking_parts(tree, step.entry, self._lengths, left)
            except UNREADABLE:
                yield LostFile(step.path, ())
                continue
            if parts:
                known = all(part.length for part in parts)
                spans = tuple((part.offset, part.length) for part in parts)
                yield LostFile(step.path, spans if known else ())
        yield from (LostFile(path, ()) for path in folders)


def _lacks_its_list(store: ChunkStore, entry: Entry, left: Ids) -> bool:
    """Return whether what says what is in a folder, or which chunks a file has, is not whole.

    That of a file in few chunks is its entry.
    """
    if entry.kind == KIND_FILE and not entry.levels:
        return False
    try:
        return any(among(ids, left).any() for ids in id_lists(store, entry))
    except UNREADABLE:
        return True
