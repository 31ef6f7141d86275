"""The import of one drive as durable work: plan, steps, finish.

| part | does | may run again, because |
|---|---|---|
| plan | checks the manifests, stores the list of objects, says `started` | lists once |
| step | imports a batch of objects, and keeps how each went | settled objects are left out |
| finish | leaves the logs, says how the drive ended | logs and event are the same again |

What is known of every object lies in the station's tables, so that a kill at any instant costs at
most the two objects that were on their way.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final

import msgspec

from overland.errors import ObjectAbsent, OverlandError, RefusedError, TransientError
from overland.events import Log
from overland.ports.clock import Clock
from overland.ports.engine import Engine
from overland.ports.files import Files
from overland.ports.volume import Volumes
from overland.station.connection import (
    Connection,
    DriveEventName,
    DriveReport,
    StationDrive,
    StationJob,
)
from overland.station.containers import Containers
from overland.station.items import DriveKey, Item, Verdict
from overland.station.logs import DriveLogs
from overland.station.manifestfile import DriveRejected, manifest_name
from overland.station.opening import check_drive, check_other_drive, open_at
from overland.station.placing import Placing
from overland.station.records import Counts, Failure, Import, Records
from overland.station.transfer import UPLOADS_PER_DRIVE, Transfer

__all__ = ["WORK", "DriveGone", "DriveImport", "Interrupted", "batches"]

WORK: Final = "ingest"

_BATCH_OBJECTS: Final = 500
_BATCH_BYTES: Final = 8 << 30  # minutes, at the speed of a drive
_REPORT_EVERY_S: Final = 5.0
_AHEAD: Final = UPLOADS_PER_DRIVE + 2  # so that none waits while the tables are synced

log = Log()


class DriveGone(TransientError):
    """A drive that was being read is not there any more; nothing is held against it."""

    code = "drive-gone"

    def __init__(self, serial: str, *, path: str) -> None:
        super().__init__(
            f"drive {serial} at {path} went away while it was read; attach it again and run "
            f"again, or give it up with `overland station give-up {serial}`"
        )
        self.serial, self.path = serial, path


class Interrupted(TransientError):
    """The operator stopped the import; what landed stays."""

    code = "interrupted"

    def __init__(self, serial: str) -> None:
        super().__init__(f"the import of drive {serial} was stopped; run again to go on")
        self.serial = serial


_Moving = deque[tuple[Item, Future[Verdict]]]


class _Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The argument of a step: objects `first` to `last` of a drive."""

    job_id: str
    serial: str
    first: int
    last: int


class DriveImport:
    """Imports drives for an engine, which may run several of them at a time.

    What `plan`, `step` and `finish` raise is kept with the drive, for the operator; the import
    stands still then, and they go on where it was when they are called again.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        volumes: Volumes,
        records: Records,
        transfer: Transfer,
        placing: Placing,
        containers: Containers,
        drafts: Files,
        clock: Clock,
    ) -> None:
        """Compose the work; logs lie in `drafts` until they are uploaded."""
        self._connection, self._volumes, self._records = connection, volumes, records
        self._transfer, self._placing, self._containers = transfer, placing, containers
        self._drafts, self._clock = drafts, clock
        self._told: dict[DriveKey, float] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def register(self, engine: Engine) -> None:
        """Define the work, before the engine is launched."""
        engine.register(WORK, plan=self.plan, step=self.step, finish=self.finish)

    def interrupt(self) -> None:
        """Let running steps end after the object that they are at."""
        self._stopping.set()

    def plan(self, argument: str) -> list[str]:
        """Check a drive and list its objects; return the batches, none if it is rejected."""
        key = msgspec.json.decode(argument, type=DriveKey)
        with self._noting_stop(key):
            known = self._known(key)
            job, drive = self._listed(key)
            files = open_at(self._volumes, known.path, serial=key.serial).files()
            try:
                if job.seed_id is None:
                    checked = check_other_drive(files, drive=drive)
                else:
                    checked = check_drive(files, job=job, drive=drive)
                stored = self._records.list_items(
                    key,
                    checked.items,
                    manifest_bytes=checked.manifest_bytes,
                    manifest_sha256=checked.manifest_sha256,
                )
            except DriveRejected as error:
                log.info("drive.rejected", job=key.job_id, drive=key.serial, why=error.why)
                self._records.fail(key, Failure(status=error.status, reason=error.why))
                return []
            self._connection.report(key.job_id, key.serial, "started", DriveReport())
            log.info("drive.opened", drive=key.serial, objects=stored.total_objects)
            sizes = [item.size_bytes for item in self._records.items(key)]
            return [_encode(key, first, last) for first, last in batches(sizes)]

    def step(self, argument: str) -> str:
        """Import the objects of a batch that are still open.

        Raises:
            Interrupted: After `interrupt`; what was being sent is settled, the rest stays open.
            DriveGone: The drive was pulled out.
            OverlandError: The container failed, the cloud did, or another drive is there.
        """
        batch = msgspec.json.decode(argument, type=_Batch)
        key = DriveKey(job_id=batch.job_id, serial=batch.serial)
        with self._noting_stop(key):
            known = self._known(key)
            items = self._records.open_items(key, first=batch.first, last=batch.last)
            if items and items[0].sha256:
                self._import(known, items)
            elif items:  # nobody signed what other tools put on a drive
                self._import_blobs(known, items)
        return "{}"

    def finish(self, argument: str) -> str:
        """Leave the drive's logs and tell the cloud how its import ended."""
        key = msgspec.json.decode(argument, type=DriveKey)
        with self._noting_stop(key):
            self._records.set_end(key, at=self._clock.now())
            known = self._known(key)
            job, _ = self._listed(key)
            report = self._report(job, known)
            counts = self._records.counts(key)
            event = _ending(known, counts)
            self._connection.report(key.job_id, key.serial, event, report)
            self._records.end(key)
            log.info("drive.ended", drive=key.serial, how=event, damaged=counts.damaged)
        return "{}"

    def _report(self, job: StationJob, known: Import) -> DriveReport:
        """Leave the logs; return what the cloud is to know."""
        container, base_uri = self._containers.logs(job)
        logs = DriveLogs(
            records=self._records, drafts=self._drafts, container=container, base_uri=base_uri
        )
        return logs.leave(job, known, medium=self._medium_or_none(known))

    def _import(self, known: Import, items: Sequence[Item]) -> None:
        key = known.key
        medium = open_at(self._volumes, known.path, serial=key.serial).files()
        container = self._containers.seed(key.job_id)
        turn, moving = threading.Lock(), _Moving()
        is_stopped = False
        with ThreadPoolExecutor(UPLOADS_PER_DRIVE, thread_name_prefix="upload") as uploads:
            try:
                for item in items:
                    if len(moving) == _AHEAD:
                        self._settle(known, moving)
                    if is_stopped := self._stopping.is_set():
                        break
                    move = partial(
                        self._transfer.move,
                        item,
                        medium=medium,
                        name=item.blob.file_name,
                        container=container,
                        turn=turn,
                    )
                    moving.append((item, uploads.submit(move)))
                if is_stopped:
                    _forget_waiting(moving)
                while moving:
                    self._settle(known, moving)
            finally:
                _forget_waiting(moving)  # when one failed, those behind it do not begin
        if is_stopped:
            raise Interrupted(key.serial)

    def _import_blobs(self, known: Import, items: Sequence[Item]) -> None:
        """Import blobs of another tool's drive, one after another: two may ask for one name."""
        key = known.key
        medium = open_at(self._volumes, known.path, serial=key.serial).files()
        for item in items:
            if self._stopping.is_set():
                raise Interrupted(key.serial)
            verdict = self._placing.place(key, item, medium=medium)
            if not verdict.landed:
                self._check_manifest(known)
                log.info("blob.damaged", blob=item.name, status=verdict.status.value)
            self._records.settle(key, item.number, verdict)
            self._tell(known)

    def _check_manifest(self, known: Import) -> None:
        """Tell a drive that was pulled out from one that has no such file."""
        _, drive = self._listed(known.key)
        manifest = manifest_name(drive)
        try:
            volume = open_at(self._volumes, known.path, serial=known.key.serial)
            volume.files().size_bytes(manifest)
        except (RefusedError, ObjectAbsent, OSError):
            raise DriveGone(known.key.serial, path=known.path) from None

    def _settle(self, known: Import, moving: "_Moving") -> None:
        """Keep how the oldest object went, once it is over, and those behind it that are too."""
        went = list[tuple[int, Verdict]]()
        try:
            while moving and (not went or moving[0][1].done()):
                item, moved = moving.popleft()
                verdict = moved.result()
                if not verdict.landed:
                    # A drive that was pulled out has no object, and that is not its fault.
                    self._check_presence(known)
                    log.info("object.damaged", object=item.name, status=verdict.status.value)
                went.append((item.number, verdict))
        finally:
            if went:
                self._records.settle_all(known.key, went)
        self._tell(known)

    def _check_presence(self, known: Import) -> None:
        try:
            volume = open_at(self._volumes, known.path, serial=known.key.serial)
            is_there = volume.content() == "overland"
        except (RefusedError, ObjectAbsent, OSError):
            is_there = False
        if not is_there:
            raise DriveGone(known.key.serial, path=known.path)

    def _tell(self, known: Import) -> None:
        """Tell the cloud how far the drive is, every few seconds; it may miss some of it."""
        key, now_s = known.key, self._clock.monotonic_s()
        with self._lock:
            told_s = self._told.get(key)
            if told_s is not None and now_s - told_s < _REPORT_EVERY_S:
                return
            self._told[key] = now_s
        landed_bytes = self._records.counts(key).landed_bytes
        percent = min(99, landed_bytes * 100 // max(1, known.total_bytes))
        report = DriveReport(
            percent=percent, bytes_succeeded=landed_bytes, copy_status="InProgress"
        )
        try:
            self._connection.report(key.job_id, key.serial, "progressed", report)
        except TransientError as error:
            log.info("progress.not_told", drive=key.serial, why=str(error))

    def _known(self, key: DriveKey) -> Import:
        found = self._records.find_import(key)
        assert found is not None, "an import is opened before its work is started"
        return found

    def _listed(self, key: DriveKey) -> tuple[StationJob, StationDrive]:
        job = self._connection.job(key.job_id)
        drive = job.drive(key.serial)
        assert drive is not None, "the drive was chosen from this job's list"
        return job, drive

    def _medium_or_none(self, known: Import) -> Files | None:
        try:
            return open_at(self._volumes, known.path, serial=known.key.serial).files()
        except (RefusedError, OSError):
            return None  # only the copy of its manifest is lost

    @contextmanager
    def _noting_stop(self, key: DriveKey) -> Iterator[None]:
        """Keep why the import stands still, for the operator, and pass the error on."""
        try:
            yield
        except (OverlandError, OSError) as error:
            log.info("drive.stopped", job=key.job_id, drive=key.serial, why=str(error))
            self._records.stop(key, error)
            raise


def batches(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last number of each batch: a few hundred objects, and not too many bytes."""
    first, batch_bytes = 0, 0
    for number, size_bytes in enumerate(sizes):
        is_full = number - first == _BATCH_OBJECTS or batch_bytes + size_bytes > _BATCH_BYTES
        if is_full and number > first:
            yield first, number - 1
            first, batch_bytes = number, 0
        batch_bytes += size_bytes
    if first < len(sizes):
        yield first, len(sizes) - 1


def _forget_waiting(moving: _Moving) -> None:
    """Leave out the objects that nobody has begun to send."""
    begun = [each for each in moving if not each[1].cancel()]
    moving.clear()
    moving.extend(begun)


def _ending(known: Import, counts: Counts) -> DriveEventName:
    if known.failure is not None:
        return "failed"
    return "completed_more_info" if counts.damaged or counts.noted else "completed"


def _encode(key: DriveKey, first: int, last: int) -> str:
    batch = _Batch(job_id=key.job_id, serial=key.serial, first=first, last=last)
    return msgspec.json.encode(batch).decode()
