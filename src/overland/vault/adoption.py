"""Adoption: what came by drive moves from the container into the vault, verified, and is a point.

The signed seed manifest decides; the container is believed nothing.  An object enters the vault
only with the size and SHA-256 that the source computer signed, and the recovery point enters last,
when all the others are there: nobody ever sees a point that cannot be restored.

The work may be killed anywhere and goes on from its last finished step.  An attempt that ends
incomplete says what is missing; the next attempt looks at everything anew, and copies only that.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine

from overland.errors import IntegrityError
from overland.events import Log
from overland.format.objectsizes import ObjectSizes
from overland.format.seed_manifest import ManifestObject, SeedManifest
from overland.ports import engine as works
from overland.ports.clock import Clock
from overland.ports.objects import Spaces
from overland.values import PointId, SeedId, point_name
from overland.vault import attempts, catalog, presence, replacing, signers
from overland.vault.attempts import Attempt, AttemptState, Missing, Reason, StepTally
from overland.vault.catalog import Finding
from overland.vault.chains import read_fence
from overland.vault.manifestorder import Ordered
from overland.vault.move import AdoptionRequest, Move
from overland.vault.owner import Owner, open_manifest

__all__ = [
    "BATCH_OBJECTS",
    "COPIES",
    "WORK",
    "Adoption",
    "AdoptionRequest",
    "AdoptionStatus",
    "ManifestChanged",
]

WORK: Final = "adoption"
"""The engine's name for this work."""

BATCH_OBJECTS: Final = 200
"""Objects per step: 12 GiB of packs, so that a kill repeats little and a step is not a burden."""

COPIES: Final = 4
"""Objects on their way at a time: while one is synced, others are read and hashed."""

_LOOKED_UP: Final = 1000  # objects whose rows are looked for at a time


log = Log()


class ManifestChanged(IntegrityError):
    """The stored seed manifest is not the one that the attempt was begun for."""

    code: ClassVar[str] = "manifest-changed"

    def __init__(self, seed_id: str) -> None:
        super().__init__(
            f"the manifest of seed {seed_id} has changed since adoption began; "
            "let the source computer send it again, then start adoption again"
        )
        self.seed_id = seed_id


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionStatus:
    """How far an attempt is; totals are None until its manifest was read.

    `done_objects` have been looked at and are in the vault; `copied` of them came from the
    container in this attempt, the others were there.  `missing` is complete once it has ended.
    """

    seed_id: SeedId
    number: int
    state: AttemptState
    done_objects: int
    total_objects: int | None
    done_bytes: int
    total_bytes: int | None
    copied: int
    skipped: int
    missing: tuple[Missing, ...]
    error: str | None
    started_at: datetime
    ended_at: datetime | None

    @property
    def percent(self) -> int:
        """How much of the bytes is done; 100 only when all of it is."""
        if self.state == "done":
            return 100
        return min(99, 100 * self.done_bytes // self.total_bytes) if self.total_bytes else 0


class _Batch(msgspec.Struct, frozen=True):
    """The argument of one step: which part of the attempt's ordered objects."""

    attempt: str
    first: int
    stop: int


class Adoption:
    """The work of adoption, on an engine, over the spaces of one cloud."""

    def __init__(
        self,
        *,
        database: Engine,
        engine: works.Engine,
        spaces: Spaces,
        clock: Clock,
        on_ended: Callable[[Connection, SeedId, AttemptState], None],
    ) -> None:
        """Prepare the work; `register` and `launch` of the engine come next.

        Args:
            database: Where attempts and catalog are kept.
            engine: Runs the work.
            spaces: Containers and vaults.
            clock: The only source of time.
            on_ended: Called in the transaction that ends an attempt; may be called twice.
        """
        self._database, self._engine = database, engine
        self._spaces, self._clock = spaces, clock
        self._on_ended = on_ended
        self._manifest: _Opened | None = None
        self._lock = threading.Lock()

    def register(self) -> None:
        """Make the work known to the engine, before its `launch`."""
        self._engine.register(WORK, plan=self._plan, step=self._step, finish=self._finish)

    def begin(self, connection: Connection, request: AdoptionRequest) -> str:
        """Enter an attempt and return its key; `launch` it when the transaction is committed.

        Returns the present attempt while it runs, and after it has adopted everything.
        """
        last = attempts.last_attempt(connection, request.seed_id)
        state = None if last is None else self._state(last)
        if last is not None and state in ("running", "done"):
            return last.attempt
        if last is not None and last.state != state:
            attempts.end_attempt(
                connection, last.attempt, state="failed", at=self._clock.now(), error=last.error
            )
        text = msgspec.json.encode(request).decode()
        at = self._clock.now()
        return attempts.new_attempt(connection, request.seed_id, request=text, at=at).attempt

    def launch(self, attempt: str) -> None:
        """Start the work of an attempt that was entered; do nothing if it was started."""
        self._engine.start(WORK, key=attempt, argument=attempt)

    def resume(self) -> None:
        """Start what was entered and, after a kill, never started; call it once at start."""
        with self._database.connect() as connection:
            running = attempts.list_running(connection)
        for each in running:
            self.launch(each.attempt)

    def status(self, connection: Connection, seed_id: SeedId) -> AdoptionStatus | None:
        """Return how the last attempt of a seed stands, or None before the first."""
        last = attempts.last_attempt(connection, seed_id)
        if last is None:
            return None
        done = attempts.tally(connection, last.attempt)
        run = self._engine.find(last.attempt)
        return AdoptionStatus(
            seed_id=seed_id,
            number=last.number,
            state=self._state(last),
            done_objects=done.copied + done.skipped,
            total_objects=last.total_objects,
            done_bytes=done.done_bytes,
            total_bytes=last.total_bytes,
            copied=done.copied,
            skipped=done.skipped,
            missing=last.missing,
            error=last.error or (None if run is None else run.error),
            started_at=last.started_at,
            ended_at=last.ended_at,
        )

    def _state(self, attempt: Attempt) -> AttemptState:
        """Return an attempt's state; the engine alone knows of work that raised."""
        if attempt.state != "running":
            return attempt.state
        run = self._engine.find(attempt.attempt)
        return "failed" if run is not None and run.state == "failed" else "running"

    def _plan(self, attempt: str) -> list[str]:
        """Read the manifest and cut its objects, without the point, into batches."""
        manifest, objects = self._open(self._request(attempt))[1:]
        with self._database.begin() as connection:
            attempts.set_totals(
                connection,
                attempt,
                objects=len(manifest.objects),
                size_bytes=sum(each.size_bytes for each in manifest.objects),
            )
        log.info("adoption.planned", attempt=attempt, objects=len(objects))
        return [msgspec.json.encode(each).decode() for each in _batches(attempt, objects)]

    def _step(self, argument: str) -> str:
        """Bring one batch into the vault; note each object when it is durable there."""
        batch = msgspec.json.decode(argument, type=_Batch)
        request = self._request(batch.attempt)
        objects = self._open(request).objects[batch.first : batch.stop]
        self._adopt(request, objects, batch=batch)
        return "{}"

    def _adopt(
        self, request: AdoptionRequest, objects: list[ManifestObject], *, batch: _Batch
    ) -> StepTally:
        prefix, vault = request.owner.prefix, request.vault_space
        move = self._move(request)
        step = StepTally(first=batch.first, stop=batch.stop)
        with self._database.begin() as connection:
            verified = attempts.verified(connection, vault, objects, prefix=prefix)
            attempts.write_step(connection, batch.attempt, step)
        with ThreadPoolExecutor(COPIES, thread_name_prefix="adoption") as pool:
            outcomes = pool.map(lambda e: move.adopt(e, is_verified=e.name in verified), objects)
            for each, outcome in zip(objects, outcomes, strict=True):
                step.count(each, outcome)
                with self._database.begin() as connection:
                    if outcome in ("copied", "skipped") and each.name not in verified:
                        at = self._clock.now()
                        attempts.mark_verified(connection, vault, each, prefix=prefix, at=at)
                    attempts.write_step(connection, batch.attempt, step)
        return step

    def _finish(self, attempt: str) -> str:
        """Publish the point if nothing is missing, else say what is."""
        request = self._request(attempt)
        opened = self._open(request)
        manifest = opened.manifest
        missing = self._missing(request, opened, attempt)
        finding = None
        if not missing:
            batch = _Batch(attempt, len(manifest.objects) - 1, len(manifest.objects))
            missing = self._adopt(request, [_point_of(manifest)], batch=batch).missing
        if not missing:
            finding = self._inspect(request, manifest)
        state: AttemptState = "incomplete" if finding is None else "done"
        with self._database.begin() as connection:
            at = self._clock.now()
            if finding is not None:
                catalog.record(connection, finding, at=at)
            attempts.end_attempt(connection, attempt, state=state, at=at, missing=missing)
            self._on_ended(connection, request.seed_id, state)
        log.info("adoption.ended", attempt=attempt, state=state, missing=len(missing))
        return msgspec.json.encode({"state": state, "missing": len(missing)}).decode()

    def _inspect(self, request: AdoptionRequest, manifest: SeedManifest) -> Finding:
        vault = self._spaces.open(request.vault_space)
        with self._database.begin() as connection:
            fence = read_fence(connection, request.owner)
        finding = catalog.inspect(
            vault,
            fence=fence,
            point_id=manifest.point_id,
            replacements=replacing.load_accepted(vault, fence),
        )
        assert finding.is_complete, "the point names objects of the manifest only"
        return finding

    def _missing(self, request: AdoptionRequest, opened: "_Opened", attempt: str) -> list[Missing]:
        """Return all that the vault lacks: what the steps found, and what one more look finds."""
        manifest, objects = opened.manifest, opened.objects
        point = _point_of(manifest)
        with self._database.connect() as connection:
            noted = attempts.read_missing(connection, attempt)
        missing = [each for each in noted if each.name != point.name]  # it is looked at below
        missing += self._unproven(request, objects, missing, attempt=attempt)
        named = {each.name for each in missing}
        wanted = ObjectSizes(each for each in objects if each.name not in named)
        vault = self._spaces.open(request.vault_space)
        lost = presence.absent(vault, prefix=request.owner.prefix, wanted=wanted)
        missing += [Missing(name=n, size_bytes=wanted[n], reason="absent") for n in lost]
        reason = self._move(request).check_point(point, manifest)
        return missing if reason is None else [*missing, _missing(point, reason)]

    def _unproven(
        self,
        request: AdoptionRequest,
        objects: Ordered,
        missing: list[Missing],
        *,
        attempt: str,
    ) -> list[Missing]:
        """Adopt again what no row speaks of; return what of it is missing.

        A power cut may take the last rows from this database and not from the engine's, which
        then says of a step that it is done.
        """
        prefix, vault = request.owner.prefix, request.vault_space
        named, rest = {each.name for each in missing}, list[ManifestObject]()
        for start in range(0, len(objects), _LOOKED_UP):
            some = objects[start : start + _LOOKED_UP]
            with self._database.connect() as connection:
                proven = attempts.verified(connection, vault, some, prefix=prefix)
            rest += [each for each in some if each.name not in proven and each.name not in named]
        if not rest:
            return []
        first = len(objects) + 1  # after the last batch, and after the point
        batch = _Batch(attempt, first, first + len(rest))
        return self._adopt(request, rest, batch=batch).missing

    def _request(self, attempt: str) -> AdoptionRequest:
        with self._database.connect() as connection:
            found = attempts.find_attempt(connection, attempt)
        assert found is not None, "an attempt is entered before it is launched"
        return msgspec.json.decode(found.request, type=AdoptionRequest)

    def _move(self, request: AdoptionRequest) -> Move:
        return Move(request, self._spaces, owner=self._owner(request))

    def _owner(self, request: AdoptionRequest) -> Owner:
        """Return whose signatures count now: the key may have been replaced under way."""
        with self._database.connect() as connection:
            return signers.present(connection, request.owner)

    def _open(self, request: AdoptionRequest) -> "_Opened":
        """Return the proven manifest; the last one is kept, since every step wants it."""
        with self._lock:
            if self._manifest is None or self._manifest.sha256 != request.manifest_sha256:
                store = self._spaces.open(request.vault_space)
                document = store.read(request.manifest_name)
                if hashlib.sha256(document).hexdigest() != request.manifest_sha256:
                    raise ManifestChanged(request.seed_id)
                manifest = open_manifest(
                    document, owner=self._owner(request), seed_id=request.seed_id, store=store
                )
                self._manifest = _Opened(request.manifest_sha256, manifest, Ordered(manifest))
            return self._manifest


class _Opened(NamedTuple):
    """A proven manifest, by the SHA-256 of its document, and its objects in their order."""

    sha256: str
    manifest: SeedManifest
    objects: Ordered


def _batches(attempt: str, objects: Ordered) -> Iterator[_Batch]:
    """Cut the ordered objects; no batch mixes kinds, so that one kind ends before the next."""
    start = 0
    for count in objects.counts:
        stop = start + count
        for first in range(start, stop, BATCH_OBJECTS):
            yield _Batch(attempt, first, min(first + BATCH_OBJECTS, stop))
        start = stop


def _point_of(manifest: SeedManifest) -> ManifestObject:
    name = point_name(PointId(manifest.point_id))
    return next(each for each in manifest.objects if each.name == name)


def _missing(each: ManifestObject, reason: Reason) -> Missing:
    return Missing(name=each.name, size_bytes=each.size_bytes, reason=reason)
