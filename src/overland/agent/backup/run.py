"""Make a recovery point: scan, chunk, leave out what is stored, seal, pack, publish, sign.

The order of what becomes visible is what makes a kill harmless: packs first, then index files
that describe them, the recovery point last, and the local hints only when the point is safe.
"""

import contextlib
import queue
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, final

from overland.agent.backup.chain import chain_index, replaced_names
from overland.agent.backup.counts import Counts
from overland.agent.backup.hints import UnfinishedMark, next_hints
from overland.agent.backup.nodes import Nodes
from overland.agent.backup.plan import BackupPlan, BackupResult, RootUnreadable, SourceFailed
from overland.agent.backup.publisher import OnPublished, Published, Publisher
from overland.agent.backup.resume import adopt_local, adopt_stored
from overland.agent.backup.roots import checked_sources, read_sources
from overland.agent.backup.selection import Selection, identities
from overland.agent.backup.singles import Singles
from overland.agent.backup.stores import ChunkStore, load, new_lane, once
from overland.agent.backup.walk import BUFFERS, Walk
from overland.agent.backup.workers import Workers
from overland.agent.repository import ObjectReader, Repository, changes_name
from overland.events import Log
from overland.format.point import (
    LeftOut,
    PointPublic,
    PointRoot,
    Root,
    Skipped,
    Statistics,
)
from overland.packing.chainindex import ChainIndex
from overland.ports.clock import Clock
from overland.ports.files import Files
from overland.ports.progress import Progress
from overland.sealing.dedup import Dedup
from overland.source.changes import ChangeCache, ChangeCacheWriter
from overland.source.entries import Entries
from overland.source.pieces import new_buffers
from overland.source.rules import Rules
from overland.values import point_name

if TYPE_CHECKING:
    from overland.packing.writer import FinishedPack

__all__ = [
    "BackupPlan",
    "BackupResult",
    "Published",
    "RootUnreadable",
    "SourceFailed",
    "back_up",
]

_RACY: Final = timedelta(seconds=2)
"""The coarsest clock of a file system (FAT); a file younger than this is read again next time."""

log = Log()


def back_up(
    plan: BackupPlan,
    *,
    repository: Repository,
    out: Files,
    clock: Clock,
    progress: Progress,
    stored: Sequence[ObjectReader] = (),
    on_published: OnPublished = lambda _: None,
    acknowledge: Callable[[], None] = lambda: None,
) -> BackupResult:
    """Make a recovery point and return when it is safe.

    May be killed at any moment and run again: packs that were published are found and used.
    Files in `out` that are not ours, or damaged, are not touched and not relied upon.

    Args:
        plan: What to back up.
        repository: Keys and hints.
        out: The seed's folder in the staging location, or a spool folder, which may be scratch:
            what `acknowledge` does not wait for is then not safe.
        clock: Gives the instants in the point.
        progress: Is told bytes and files.
        stored: Where objects of the chain already lie; needed when hints were lost or a run was
            interrupted.
        on_published: Is told of every object, when it is published in `out`, from one thread at a
            time: packs, then index files that describe them, the point last.  It may carry the
            object away and remove it.
        acknowledge: Returns when everything that was published is safe where it was carried to;
            only then the hints get their names.

    Raises:
        RootUnreadable, PatternInvalid: Nothing was written.
        SourceFailed: Of a seed: a source that the plan names could not be read; packs stay.
        OutOfSpace: Packs that were finished stay, and the next run uses them.
        SnapshotLost: As above; a snapshot that was read did not last.
    """
    run = _Run(plan, repository=repository, out=out, clock=clock, progress=progress)
    repository.state.sweep()
    index = run.begin_index(stored)
    with run.started(index, on_published) as (publisher, walk, workers):
        run.take_over(stored, index, publisher)
        found = run.read(walk, workers)
        run.finish_packs(workers, publisher)
        plan.confirm()  # else what was read may be of no instant, and is no recovery point
        statistics = run.statistics(walk.counts, publisher)
        cache, tip = run.new_cache, plan.point_id
        with next_hints(repository, plan.policy, index, cache, tip=tip) as hints:
            run.publish_point(found, walk.counts, statistics, publisher)
            acknowledge()
            hints.show()
        run.mark.remove()
    log.info("point.made", point=plan.point_id, objects=len(publisher.published))
    return BackupResult(
        point_id=plan.point_id,
        created_at=run.started_at,
        objects=publisher.published,
        statistics=statistics,
        skipped=tuple(walk.counts.skipped),
        failed=tuple(run.failed),
        changed=tuple(walk.counts.changed),
    )


@final
class _Run:
    """One run: its parts, and the steps between them."""

    def __init__(
        self,
        plan: BackupPlan,
        *,
        repository: Repository,
        out: Files,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._sources = checked_sources(plan)
        self.started_at = clock.now()
        self._plan, self._repository, self._out = plan, repository, out
        self._clock, self._progress = clock, progress
        self.mark = UnfinishedMark(repository.state, plan.policy)
        self._was_interrupted = self.mark.is_there()
        self._begin = once(self.mark.make)
        self._stores: list[ChunkStore] = []
        self._rules = Rules(include=plan.include, exclude=plan.exclude)

    def begin_index(self, stored: Sequence[ObjectReader]) -> ChainIndex:
        """Return the index of the chain that the point will belong to."""
        plan = self._plan
        if plan.base is None:
            return ChainIndex.of(self._repository.new_index())
        index, is_new = chain_index(self._repository, plan.policy, tip=plan.base, stored=stored)
        # Hints of another point than the policy's last: nobody took note of the one made since.
        self._was_interrupted = self._was_interrupted or is_new
        return index

    @contextlib.contextmanager
    def started(
        self, index: ChainIndex, on_published: OnPublished
    ) -> Iterator[tuple[Publisher, Walk, Workers]]:
        """Start the threads; whatever happens, they have ended and nothing is open on return."""
        dedup = Dedup(index)
        cache = self._repository.changes(None if self._plan.reads_all else self._plan.policy)
        self.new_cache = ChangeCacheWriter(
            self._repository.state, old=changes_name(self._plan.policy)
        )
        publisher = Publisher(
            repository=self._repository,
            index=index,
            dedup=dedup,
            out=self._out,
            on_published=on_published,
        )
        buffers = new_buffers(
            BUFFERS, chunk_bytes=max(self._plan.sizes.max_bytes, self._plan.image_sizes.max_bytes)
        )
        entries = Entries()
        nodes = Nodes(self._new_store(publisher, dedup), self._repository.chunker(self._plan.sizes))
        is_sure = cache.epoch == index.epoch
        walk = self._new_walk(nodes, dedup, entries, buffers, cache, is_sure=is_sure)
        workers = Workers(
            self._plan.workers,
            prepare=partial(load, index),
            new_store=lambda: self._new_store(publisher, dedup),
            new_chunker=lambda: self._repository.chunker(self._plan.sizes),
            entries=entries,
            give_back=buffers.put,
            progress=self._progress,
        )
        self._singles = self._new_singles(
            workers, nodes, dedup, entries, buffers, cache, is_sure=is_sure
        )
        self._progress.start("backing up", self._plan.expected_bytes, None)
        try:
            yield publisher, walk, workers
        except BaseException as error:
            workers.stop()
            left = publisher.stop()
            walk.close()
            if isinstance(error, Exception):
                self._abandon(left)
            raise
        finally:
            self._progress.finish()

    def _abandon(self, packs: "list[FinishedPack]") -> None:
        """Forget what has no name yet."""
        for pack in packs:
            pack.abandon()
        for store in self._stores:
            store.abandon()
        self.new_cache.abandon()

    def take_over(
        self, stored: Sequence[ObjectReader], index: ChainIndex, publisher: Publisher
    ) -> None:
        """Use what an interrupted run of this policy left."""
        adopt_local(
            self._out,
            repository=self._repository,
            index=index,
            publisher=publisher,
        )
        if self._plan.kind != "seed" and self._was_interrupted:
            replaced = replaced_names(self._repository, stored)
            for objects in stored:
                adopt_stored(
                    objects,
                    repository=self._repository,
                    index=index,
                    publisher=publisher,
                    base=self._plan.base,
                    without=replaced,
                )

    def read(self, walk: Walk, workers: Workers) -> list[Root]:
        """Read the sources; return the roots of the point."""
        return read_sources(
            self._plan,
            self._sources,
            walk=walk,
            singles=self._singles,
            selection=self._selection,
            workers=workers,
        )

    @property
    def failed(self) -> list[Skipped]:
        """The streams, images and files that could not be read."""
        return self._singles.failed

    def finish_packs(self, workers: Workers, publisher: Publisher) -> None:
        """Close all lanes, and make all packs and their index files durable."""
        workers.finish()
        self._stores[0].close()
        publisher.finish()

    def statistics(self, counts: Counts, publisher: Publisher) -> Statistics:
        """Return what the run did."""
        return Statistics(
            files=counts.files,
            folders=counts.folders,
            others=counts.others,
            source_bytes=counts.source_bytes,
            new_bytes=sum(store.new_bytes for store in self._stores),
            stored_bytes=publisher.published.size_bytes,
            chunks=sum(store.chunks for store in self._stores),
            new_chunks=sum(store.new_chunks for store in self._stores),
            changed_while_read=counts.changed_while_read,
            skipped=counts.skipped_count,
        )

    def publish_point(
        self, roots: list[Root], counts: Counts, statistics: Statistics, publisher: Publisher
    ) -> None:
        """Publish the point: from here on, what was backed up can be restored."""
        plan = self._plan
        public = PointPublic(
            point_id=plan.point_id,
            repository_id=self._repository.repository_id,
            created_at=self.started_at,
            kind=plan.kind,
            seed_id=plan.seed_id,
            base=plan.base,
            salt=self._repository.random(32).hex(),
            objects=publisher.published,
        )
        root = PointRoot(
            roots=roots,
            statistics=statistics,
            skipped=counts.skipped,
            host=plan.host,
            policy=plan.policy,
            include=list(plan.include),
            exclude=list(plan.exclude),
            started_at=self.started_at,
            ended_at=self._clock.now(),
            left_out=LeftOut(
                plan.marks.caches, sorted(plan.marks.names), plan.marks.larger_than_bytes
            ),
        )
        data = self._repository.seal_point(public, root)
        publisher.write(lambda _: point_name(plan.point_id), data)

    def _new_store(self, publisher: Publisher, dedup: Dedup) -> ChunkStore:
        make_lane = partial(
            new_lane,
            self._plan,
            repository=self._repository,
            out=self._out,
            publisher=publisher,
            begin=self._begin,
        )
        store = ChunkStore(make_lane, dedup=dedup, chunk_id=self._repository.chunk_id)
        self._stores.append(store)
        return store

    def _new_walk(
        self,
        nodes: Nodes,
        dedup: Dedup,
        entries: Entries,
        buffers: "queue.SimpleQueue[memoryview]",
        cache: ChangeCache,
        *,
        is_sure: bool,
    ) -> Walk:
        plan = self._plan
        self._counts = Counts()
        self._selection = Selection(
            self._rules,
            marks=plan.marks,
            never_enter=identities(plan.never_enter),
            one_file_system=plan.one_file_system,
            counts=self._counts,
            sources=self._sources.every,
            image_chunker=(set(self._sources.images), self._repository.chunker(plan.image_sizes)),
            elsewhere=plan.elsewhere,
        )
        return Walk(
            selection=self._selection,
            counts=self._counts,
            cache=cache,
            new_cache=self.new_cache,
            is_cache_sure=is_sure,
            settled_before_ns=_nanoseconds(self.started_at - _RACY),
            nodes=nodes,
            dedup=dedup,
            chunker=self._repository.chunker(plan.sizes),
            entries=entries,
            buffers=buffers,
            progress=self._progress,
            scratch=self._repository.scratch,
        )

    def _new_singles(
        self,
        workers: Workers,
        nodes: Nodes,
        dedup: Dedup,
        entries: Entries,
        buffers: "queue.SimpleQueue[memoryview]",
        cache: ChangeCache,
        *,
        is_sure: bool,
    ) -> Singles:
        return Singles(
            workers=workers,
            nodes=nodes,
            entries=entries,
            counts=self._counts,
            cache=cache,
            new_cache=self.new_cache,
            is_cache_sure=is_sure,
            settled_before_ns=_nanoseconds(self.started_at - _RACY),
            started_ns=_nanoseconds(self.started_at),
            dedup=dedup,
            chunker=self._repository.chunker(self._plan.sizes),
            image_chunker=self._repository.chunker(self._plan.image_sizes),
            buffers=buffers,
            progress=self._progress,
            elsewhere=self._plan.elsewhere,
        )


def _nanoseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1_000_000) * 1000
