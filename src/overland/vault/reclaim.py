"""Reclaim: what no recovery point has needed for two weeks is deleted, and nothing else.

One run looks after one source computer (`docs/explanation/reclaim.md` has the invariants):

1. The rules of policies set their marks; points whose time of grace is over are reclaimed.
2. What the living points need is read from their signed documents.  A damaged one is put back
   from its copy.  If one can be read nowhere, nothing more is doomed, and if what stands in for
   replaced objects is not whole, the run ends here and deletes nothing.
3. What is unneeded is marked with the time.  What has been so for the whole time of grace becomes
   *doomed*, in one transaction that fails if anything was recorded since the documents were read.
4. Doomed objects are deleted, then their rows.

A doomed object counts as missing for whoever records a point, so nobody comes to rely on it.  The
work may be killed anywhere: doomed rows outlive the kill, and deleting again changes nothing.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Final

import msgspec
from sqlalchemy import Connection, Engine, delete, update

from overland.errors import IntegrityError, KeyChangeMissing, OverlandError, TransientError
from overland.events import Log
from overland.ports import engine as works
from overland.ports.clock import Clock
from overland.ports.objects import Objects, Spaces
from overland.values import PointId, ReplacementId
from overland.vault import (
    catalog,
    chains,
    clockwatch,
    copies,
    garbage,
    marks,
    replacing,
    runs,
    survey,
)
from overland.vault.needs import ChainUnreadable, ManifestOf
from overland.vault.owner import Owner
from overland.vault.runs import ReclaimReport, ReclaimRequest, ReclaimRun, RunState
from overland.vault.survey import Survey
from overland.vault.tables import points, replacements

__all__ = ["BATCH_OBJECTS", "EVERY", "WORK", "Reclaim"]

WORK: Final = "reclaim"
"""The engine's name for this work."""

EVERY: Final = timedelta(days=1)
"""How long after one run's start the next is due."""

BATCH_OBJECTS: Final = 200
"""Objects per step, so that a kill repeats little."""

_LOOKS: Final = 5
"""So often the vault is surveyed anew because something was recorded meanwhile."""

_RANKS: Final = {"points": 0, "replacements": 1, "index": 2, "packs": 3}
"""What names others goes before them: a point that is there has its objects beside it."""

log = Log()


class _Undone(Exception):
    """Nothing of this transaction is kept."""


class _Batch(msgspec.Struct, frozen=True):
    """The argument of one step: doomed objects of one kind, by their first and last name."""

    run: str
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Whose objects, and where."""

    owner: Owner
    vault: str
    store: Objects


class Reclaim:
    """The work of reclaim, on an engine, over the vaults of one cloud."""

    def __init__(
        self,
        *,
        database: Engine,
        engine: works.Engine,
        spaces: Spaces,
        clock: Clock,
        manifest_of: Callable[[Connection, str], str | None],
        grace: timedelta = marks.MIN_GRACE,
    ) -> None:
        """Prepare the work; `register` and `launch` of the engine come next.

        Args:
            database: Where catalog, marks and runs are kept.
            engine: Runs the work.
            spaces: The vaults.
            clock: The only source of time.
            manifest_of: Returns the name, in the vault's space, of a seed's signed manifest.
            grace: How long marks stand before anything goes; never less than two weeks.
        """
        assert grace >= marks.MIN_GRACE, "the time of grace can only be made longer"
        self.grace = grace
        self._database, self._engine = database, engine
        self._spaces, self._clock, self._manifest_of = spaces, clock, manifest_of

    def register(self) -> None:
        """Make the work known to the engine, before its `launch`."""
        self._engine.register(WORK, plan=self._plan, step=self._step, finish=self._finish)

    def begin(self, connection: Connection, request: ReclaimRequest) -> str:
        """Enter a run and return its key, or that of the present one; `launch` it after commit."""
        last = runs.last_run(connection, request.source_computer_id)
        if last is not None and last.state == "running":
            found = self._engine.find(last.run)
            if found is None or found.state != "failed":
                return last.run
            problem = found.error or "it failed"
            report = msgspec.structs.replace(last.report, problem=problem)
            runs.end_run(connection, last.run, report, state="failed", at=self._clock.now())
        return runs.new_run(connection, request, at=self._clock.now())

    def launch(self, run: str) -> None:
        """Start the work of a run that was entered; do nothing if it was started."""
        self._engine.start(WORK, key=run, argument=run)

    def resume(self) -> None:
        """Start what was entered and, after a kill, never started; call it once at start."""
        with self._database.begin() as connection:
            running = runs.list_running(connection)
        for each in running:
            self.launch(each)

    def status(self, connection: Connection, source_computer_id: str) -> ReclaimRun | None:
        """Return how the last run of a source computer stands, or None before the first."""
        last = runs.last_run(connection, source_computer_id)
        if last is None or last.state != "running":
            return last
        found = self._engine.find(last.run)
        if found is None or found.state != "failed":
            return last
        problem = found.error or "it failed"
        return runs.failed(last, problem)

    def look_at_clock(self) -> None:
        """Note what the clock says; call it at start and every few minutes."""
        with self._database.begin() as connection:
            clockwatch.look(connection, at=self._clock.now(), grace=self.grace)

    def preview(self, request: ReclaimRequest) -> ReclaimReport:
        """Return what a run would do now, or as `problem` why it would be refused.

        Changes nothing.

        Raises:
            TransientError: The vault does not answer.
        """
        place, at = self._place(request), self._clock.now()
        report = ReclaimReport()
        looked: list[Survey] = []
        marked: dict[str, garbage.Unneeded] = {}
        # As in a run, with every row put back at the end.
        with contextlib.suppress(_Undone), self._database.begin() as connection:
            report = self._mark_points(connection, place.owner)
            fence = chains.read_fence(connection, place.owner)
            listed = self._listed(connection, place.owner)
            try:
                looked = [
                    survey.survey(
                        place.store,
                        fence=fence,
                        listed=listed,
                        manifest_of=self._manifests(connection),
                    )
                ]
            except (IntegrityError, KeyChangeMissing) as error:
                damaged = sorted(error.point_ids) if isinstance(error, ChainUnreadable) else []
                report = msgspec.structs.replace(report, problem=str(error), points_damaged=damaged)
                raise _Undone from None
            marked = garbage.sync(connection, place.owner, looked[0].unneeded, at=at)
            raise _Undone
        if not looked:
            return report
        going = survey.ripe(looked[0], marked, at=at, grace=self.grace)
        return msgspec.structs.replace(
            report,
            points_damaged=looked[0].damaged,
            objects_deleted=len(going),
            bytes_deleted=sum(marked[name].size_bytes for name in going),
            objects_waiting=len(marked) - len(going),
            bytes_waiting=sum(e.size_bytes for n, e in marked.items() if n not in going),
        )

    # -- the work -------------------------------------------------------------------------------

    def _plan(self, run: str) -> list[str]:
        """Doom what is unneeded for good; return batches of what is doomed, now or before."""
        place = self._place(self._request(run))
        try:
            replacing.restore_rows(self._database, place.store, place.owner, at=self._clock.now())
            self._doom(run, place)
        except TransientError:
            raise  # the engine tries again
        except ChainUnreadable as error:
            # What is doomed was so while every point could be read, or counts as missing since.
            self._refuse(run, error)
            with self._database.begin() as connection:
                catalog.note_unreadable(connection, place.owner, error.point_ids)
                runs.note_damaged(connection, run, sorted(error.point_ids), back=[])
        except OverlandError as error:
            self._refuse(run, error)
            return []
        with self._database.begin() as connection:
            doomed = garbage.list_doomed(connection, place.owner)
        log.info("reclaim.planned", run=run, objects=len(doomed))
        return [msgspec.json.encode(each).decode() for each in _batches(run, list(doomed))]

    def _refuse(self, run: str, error: OverlandError) -> None:
        log.warning("reclaim.refused", run=run, code=error.code)
        with self._database.begin() as connection:
            runs.note_problem(connection, run, str(error))

    def _doom(self, run: str, place: _Place) -> None:
        with self._database.begin() as connection:
            report = self._mark_points(connection, place.owner)
            runs.write_report(connection, run, report)
        for _ in range(_LOOKS):
            with self._database.begin() as connection:
                fence = chains.read_fence(connection, place.owner)
                listed = self._listed(connection, place.owner)
            found = survey.survey(
                place.store, fence=fence, listed=listed, manifest_of=self._find_manifest
            )
            back = survey.mend(self._database, place.store, found, at=self._clock.now())
            with self._database.begin() as connection:
                runs.note_damaged(connection, run, found.damaged, back=back)
            if self._settle(run, place, found):
                return
        log.info("reclaim.gave_way", run=run)  # to those who record; the next run goes on

    def _settle(self, run: str, place: _Place, found: Survey) -> bool:
        """Mark, and doom what is ripe; return False when the survey no longer counts."""
        at = self._clock.now()
        with self._database.begin() as connection:
            clockwatch.begin_anew_after_jump(connection, at=at, grace=self.grace)
            if not self._still_holds(connection, found):
                return False
            marked = garbage.sync(connection, place.owner, found.unneeded, at=at)
            going = survey.ripe(found, marked, at=at, grace=self.grace)
            if survey.record_unlisted(connection, place.store, found, going, at=at):
                return False  # and what these points need is needed
        going -= survey.prove_replacements(
            self._database, place.store, found, going=going, vault=place.vault, at=at
        )
        with self._database.begin() as connection:
            if not self._still_holds(connection, found):
                return False
            if going:
                chains.count_epoch(connection, place.owner)
                garbage.doom(connection, place.owner, going)
                _let_go(connection, place.owner, found.dead)
            waiting = [size for name, size in found.unneeded.items() if name not in going]
            runs.note_waiting(connection, run, objects=len(waiting), size_bytes=sum(waiting))
        return True

    def _still_holds(self, connection: Connection, found: Survey) -> bool:
        """Whether nothing was recorded or replaced since the survey's fence was read."""
        now = chains.read_fence(connection, found.fence.owner)
        return (now.version, now.epoch, now.accepted) == (
            found.fence.version,
            found.fence.epoch,
            found.fence.accepted,
        )

    def _step(self, argument: str) -> str:
        """Delete one batch of doomed objects, then forget them."""
        batch = msgspec.json.decode(argument, type=_Batch)
        place = self._place(self._request(batch.run))
        with self._database.begin() as connection:
            doomed = garbage.list_doomed(connection, place.owner)
        names = [name for name in doomed if batch.first <= name <= batch.last]
        for name in names:
            assert name in doomed, "nothing else is ever deleted"
            place.store.delete(place.owner.prefix + name)
        for point_id in _ids(names, "points/", ".point"):
            copies.forget(place.store, place.owner, PointId(point_id))
        with self._database.begin() as connection:
            # Who saw these objects before they went has to look again.
            chains.count_epoch(connection, place.owner)
            garbage.forget_doomed(connection, place.owner, names, vault=place.vault)
            _forget_documents(connection, place.owner, names)
            runs.note_deleted(
                connection,
                batch.run,
                objects=len(names),
                size_bytes=sum(doomed[name] for name in names),
            )
        for replacement_id in _ids(names, "replacements/", ".replacement"):
            kept = replacing.kept_name(place.owner, ReplacementId(replacement_id))
            place.store.delete(kept)
        return "{}"

    def _finish(self, run: str) -> str:
        """Say how the run ended."""
        with self._database.begin() as connection:
            found = runs.find_run(connection, run)
            state: RunState = "done" if found.report.problem is None else "refused"
            runs.end_run(connection, run, found.report, state=state, at=self._clock.now())
        log.info("reclaim.ended", run=run, state=state, objects=found.report.objects_deleted)
        return msgspec.json.encode(found.report).decode()

    # -- helpers --------------------------------------------------------------------------------

    def _mark_points(self, connection: Connection, owner: Owner) -> ReclaimReport:
        at = self._clock.now()
        clockwatch.begin_anew_after_jump(connection, at=at, grace=self.grace)
        marked, unmarked = marks.apply_rules(connection, owner, at=at, grace=self.grace)
        gone = marks.reclaim_due(connection, owner, at=at)
        return ReclaimReport(
            points_marked=marked, points_unmarked=unmarked, points_reclaimed=len(gone)
        )

    def _listed(self, connection: Connection, owner: Owner) -> list[catalog.CatalogPoint]:
        return catalog.list_points(connection, source_computer_id=owner.source_computer_id)

    def _manifests(self, connection: Connection) -> ManifestOf:
        return lambda seed_id: self._manifest_of(connection, seed_id)

    def _find_manifest(self, seed_id: str) -> str | None:
        with self._database.begin() as connection:
            return self._manifest_of(connection, seed_id)

    def _request(self, run: str) -> ReclaimRequest:
        with self._database.begin() as connection:
            return runs.find_run(connection, run).request

    def _place(self, request: ReclaimRequest) -> _Place:
        store = self._spaces.open(request.vault_space)
        return _Place(owner=request.owner, vault=request.vault_space, store=store)


def _let_go(connection: Connection, owner: Owner, dead: list[PointId]) -> None:
    """Have nothing based on points whose objects are about to vanish."""
    for each in dead:
        of_point = (
            points.c.source_computer_id == owner.source_computer_id,
            points.c.point_id == each,
        )
        connection.execute(update(points).where(*of_point).values(is_complete=False))


def _forget_documents(connection: Connection, owner: Owner, names: list[str]) -> None:
    """Remove the rows of points and replacements whose files are gone."""
    computer = owner.source_computer_id
    for each in _ids(names, "points/", ".point"):
        of_point = (points.c.source_computer_id == computer, points.c.point_id == each)
        connection.execute(delete(points).where(*of_point, points.c.reclaimed_at.is_not(None)))
    columns = replacements.c
    for each in _ids(names, "replacements/", ".replacement"):
        of_one = (columns.source_computer_id == computer, columns.replacement_id == each)
        connection.execute(delete(replacements).where(*of_one))


def _ids(names: list[str], prefix: str, suffix: str) -> Iterator[str]:
    for name in names:
        if name.startswith(prefix):
            yield name.removeprefix(prefix).removesuffix(suffix)


def _batches(run: str, names: list[str]) -> Iterator[_Batch]:
    """Cut the doomed objects, kind by kind."""
    ordered = sorted(names, key=lambda name: (_rank(name), name))
    for _, same in groupby(ordered, key=_rank):
        kind = list(same)
        for first in range(0, len(kind), BATCH_OBJECTS):
            some = kind[first : first + BATCH_OBJECTS]
            yield _Batch(run, some[0], some[-1])


def _rank(name: str) -> int:
    return _RANKS[name.partition("/")[0]]
