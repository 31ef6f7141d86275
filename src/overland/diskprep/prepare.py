"""Disk preparation: from a staged seed to finished drives.

Every decision is in the local record before it is acted on, so that the same command, run again
after a kill at any point, goes on where it was: finished drives stay as they are, a begun one is
continued, and nothing is asked twice that was answered durably.

Drives that were named beforehand are checked and begun one after the other, because each takes what
the ones before have no room for, and are then filled side by side (`overland.diskprep.lanes`).
Every object is read from staging once.
"""

import array
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from heapq import merge

import msgspec

from overland.diskprep.filling import DriveFilling, StagedObjectDamaged
from overland.diskprep.lanes import Lanes
from overland.diskprep.questions import DrivePlan, Questions, Remaining
from overland.diskprep.record import (
    DriveRecord,
    DriveState,
    Preparation,
    Preparations,
    runs_of,
)
from overland.diskprep.refusals import (
    DriveChanged,
    DriveNotFound,
    DrivesMissing,
    DriveUnfinished,
    EraseDeclined,
    NoSeedToPrepare,
    SeedReplaced,
)
from overland.diskprep.safety import (
    DEFAULT_DRIVE_LIMIT_BYTES,
    Host,
    custody_notes,
    refuse_unsafe,
)
from overland.errors import RefusedError
from overland.ports.clock import Clock
from overland.ports.files import Files
from overland.ports.progress import ProgressLines
from overland.ports.volume import Volume, Volumes
from overland.seeding.copying import ObjectCopier
from overland.seeding.drive import manifest_hash
from overland.seeding.ledger import CustodyEventName, Ledger
from overland.seeding.placement import SmallestDoesNotFit, cost_bytes, fill, fixed_bytes
from overland.seeding.staging import StagedProblem, StagedSeed, StagingLocation
from overland.seeding.subfolder import Subfolder

__all__ = [
    "Workbench",
    "check_staged",
    "choose_seed",
    "prepare_drives",
    "record_for",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """What disk preparation works with: the drives, the local record, the operator, the clock."""

    volumes: Volumes
    preparations: Preparations
    questions: Questions
    clock: Clock
    progress: ProgressLines
    random: Callable[[int], bytes]
    operator: str
    drive_limit_bytes: int = DEFAULT_DRIVE_LIMIT_BYTES
    host: Host = field(default_factory=Host)

    def local(self, record: Preparation) -> Files:
        """Return the folder of a record."""
        return Subfolder(self.preparations.files, record.folder)

    def ledger(self, record: Preparation) -> Ledger:
        """Return the custody ledger of a job's drives."""
        return Ledger(self.local(record), "custody.jsonl", clock=self.clock)


def choose_seed(
    staging: StagingLocation,
    questions: Questions,
    *,
    job_name: str | None = None,
    seed_id: str | None = None,
) -> StagedSeed:
    """Return the seed that the drives are for: the only complete one, or the operator's choice.

    Raises:
        NoSeedToPrepare: There is none; incomplete ones are named with the reason.
        SeedIncomplete: The one that was asked for is not finished.
        SeedFormatUnknown: A newer program wrote it.
        IntegrityError: Its manifest is damaged.
    """
    found = [
        seed
        for seed in staging.seeds()
        if seed_id in {None, seed.seed_id}
        and (job_name is None or (seed.record and seed.record.job_name == job_name))
    ]
    ready = [seed for seed in found if seed.why_not is None]
    match ready, found:
        case [], []:
            raise NoSeedToPrepare(staging.path, found="no seed")
        case [], [only]:
            return staging.open(only.seed_id)  # raises what is wrong with it
        case [], _:
            reasons = "; ".join(f"seed {seed.seed_id}: {seed.why_not}" for seed in found)
            raise NoSeedToPrepare(staging.path, found=f"no complete seed ({reasons})")
        case [only], _:
            return staging.open(only.seed_id)
        case _:
            return staging.open(questions.choose_seed(ready))


def check_staged(seed: StagedSeed, bench: Workbench) -> list[StagedProblem]:
    """Return every object of the seed that is unreadable or not what the manifest says.

    Reads all of it.
    """
    size_bytes = sum(item.size_bytes for item in seed.manifest.objects)
    progress = bench.progress.line()
    progress.start("checking", size_bytes, len(seed.manifest.objects))
    with ObjectCopier(progress) as copier:
        problems = seed.check_content(copier)
    progress.finish()
    return problems


def prepare_drives(
    seed: StagedSeed, bench: Workbench, *, staging: str, replace: str | None = None
) -> Preparation:
    """Fill, verify and seal drives until all that the last job brings is on them.

    Returns its record.  `replace` is the serial of a finished drive that was lost or damaged: its
    objects, and only they, go on another drive (R133).  Takes up to 16 MiB of memory for each
    drive at work.

    Raises:
        StagedObjectDamaged: Staging does not hold what its manifest says; the object is named.
        SourceUnreadable: The staging location failed.
        SeedReplaced: As `record_for`.
        DriveNotFound: The job has no drive of the serial `replace`.
        DrivesMissing: The operator has no further drive; what is finished stays finished.
        RefusedError: A drive cannot be used, or the operator said no; it was not changed.
        DriveNotAsWritten: A drive is broken; the others that were begun are finished.
        DriveFailed: A drive's device failed; the same.
    """
    for problem in seed.check_sizes():
        raise StagedObjectDamaged(problem.name, check=problem.check)
    with Lanes(bench.questions.tell) as lanes:
        work = _Work(seed, bench, record_for(seed, bench, staging=staging), lanes)
        if replace is not None:
            work.give_up(replace)
        while True:
            while work.has_unattended() and (path := bench.questions.named_drive()) is not None:
                _attend(work, path, bench.questions)
            work.run()
            remaining = work.remaining()
            if remaining is None:
                return work.record
            path = bench.questions.next_drive(remaining)
            if path is None:
                raise DrivesMissing(
                    object_count=remaining.object_count,
                    object_bytes=remaining.object_bytes,
                    finished=remaining.finished_drives,
                )
            _attend(work, path, bench.questions)


def _attend(work: "_Work", path: str, questions: Questions) -> None:
    try:
        work.attend(path)
    except RefusedError as refusal:
        if not questions.try_another(refusal):
            raise


def record_for(seed: StagedSeed, bench: Workbench, *, staging: str) -> Preparation:
    """Return the local record of the seed's last job, begun now, durably, if there is none.

    Raises:
        SeedReplaced: The record is of another manifest.
        PreparationDamaged: It cannot be read.
    """
    stored = bench.preparations.newest(seed.manifest.seed_id)
    if stored is not None:
        if stored.seed_manifest_sha256 != seed.sha256:
            raise SeedReplaced(stored.seed_id, record=stored.seed_id)
        return msgspec.structs.replace(stored, staging=staging)
    begun = Preparation(
        seed_id=seed.manifest.seed_id,
        job_name=seed.record.job_name,
        staging=staging,
        subscription_id=seed.record.subscription_id,
        storage_account=seed.record.storage_account,
        container=seed.record.container,
        seed_manifest_sha256=seed.sha256,
        object_count=len(seed.manifest.objects),
        object_bytes=sum(item.size_bytes for item in seed.manifest.objects),
        started_at=bench.clock.now(),
    )
    bench.preparations.save(begun)
    return begun


class _Work:
    """The record while drives are filled; `record` is what is stored."""

    def __init__(
        self, seed: StagedSeed, bench: Workbench, record: Preparation, lanes: Lanes
    ) -> None:
        self._seed, self._bench, self.record, self._lanes = seed, bench, record, lanes
        self._ledger = bench.ledger(record)
        self._attended: dict[str, DriveFilling] = {}
        self._lock = threading.Lock()  # record and ledger are written by all lanes

    def has_unattended(self) -> bool:
        """Return whether there are objects on no finished drive and on none that is attended."""
        cared = [d for d in self._in_use() if d.state is DriveState.SEALED]
        cared += [filling.drive for filling in self._attended.values()]
        return sum(drive.object_count for drive in cared) < self.record.object_count

    def run(self) -> None:
        """Fill the attended drives, side by side; return when all of them are finished."""
        for serial, filling in self._attended.items():
            self._lanes.start(serial, partial(self._finish, filling))
        self._attended = {}
        self._lanes.wait()

    def remaining(self) -> Remaining | None:
        """Return what is not on a finished drive, or None when everything is."""
        objects = self._seed.manifest.objects
        waiting = self.record.not_on(self.record.sealed())
        if not waiting:
            return None
        return Remaining(
            object_count=len(waiting),
            object_bytes=sum(objects[number].size_bytes for number in waiting),
            finished_drives=len(self.record.sealed()),
        )

    def give_up(self, serial: str) -> None:
        """Count a finished drive as lost; its objects wait for another one."""
        drive = self.record.drive(serial)
        if drive is None:
            if any(each.serial == serial for each in self.record.drives):
                self._bench.questions.tell(f"drive {serial} was given up before")
                return  # the same command, run again
            known = [each.serial for each in self.record.sealed()]
            raise DriveNotFound(serial, known=known)
        self._note("given up", serial, {})
        self._save(msgspec.structs.replace(drive, state=DriveState.GIVEN_UP))

    def attend(self, path: str) -> None:
        """Take the drive at `path` from whatever it is to one that is begun."""
        volume = self._bench.volumes.open(path)
        if volume.serial in self._attended:
            self._bench.questions.tell(f"drive {volume.serial} was named twice")
            return
        known = self.record.drive(volume.serial)
        if known is not None and known.state is DriveState.SEALED:
            self._recognise(volume, known)
            return
        limit_bytes = self._bench.drive_limit_bytes
        refuse_unsafe(volume, self.record, self._bench.host, drive_limit_bytes=limit_bytes)
        if known is None or not self._filling(known, volume).was_begun():
            known = self._begin(volume, known)
        else:
            self._bench.questions.tell(f"drive {known.serial} was begun before; going on with it")
        self._attended[volume.serial] = self._filling(known, volume)

    def _recognise(self, volume: Volume, known: DriveRecord) -> None:
        if manifest_hash(volume.files()) != known.manifest_hash:
            raise DriveChanged(known.serial)
        self._bench.questions.tell(
            f"drive {known.serial} is finished already and is kept; attach another one"
        )

    def _begin(self, volume: Volume, known: DriveRecord | None) -> DriveRecord:
        """Make the drive blank, decide what goes on it, and mark it, in this order."""
        expected = self._place(volume, volume.capacity_bytes, known)
        plan = DrivePlan(
            serial=volume.serial,
            path=volume.path,
            capacity_bytes=volume.capacity_bytes,
            content=volume.content(),
            object_count=expected.object_count,
            object_bytes=expected.object_bytes,
        )
        if not self._bench.questions.may_erase(plan):
            raise EraseDeclined(volume.serial)
        if plan.content != "blank":
            volume.erase()
        # What the file system leaves free is known only now.
        room_bytes = min(volume.capacity_bytes, volume.files().free_bytes())
        drive = self._place(volume, room_bytes, known)
        self._note("prepared", drive.serial, custody_notes(volume, self._bench.host))
        self._save(drive)
        self._filling(drive, volume).begin()
        return drive

    def _place(self, volume: Volume, room_bytes: int, known: DriveRecord | None) -> DriveRecord:
        """Return the drive with the objects that fit on it; they may be fewer than wait."""
        objects = self._seed.manifest.objects
        own = known.numbers() if known else ()
        waiting = array.array("I", merge(self.record.waiting(), own))
        if not waiting:
            begun = [each.serial for each in self._in_use() if each.state is not DriveState.SEALED]
            raise DriveUnfinished(begun)
        room_bytes -= fixed_bytes(self._seed.document_bytes)
        numbers = fill(objects, waiting, room_bytes=room_bytes)
        if not numbers:
            raise SmallestDoesNotFit(
                volume.serial,
                room_bytes=max(room_bytes, 0),
                smallest_bytes=min(cost_bytes(objects[n].size_bytes) for n in waiting),
            )
        sequences = [drive.sequence for drive in self.record.drives]
        return DriveRecord(
            serial=volume.serial,
            path=volume.path,
            sequence=known.sequence if known else max(sequences, default=0) + 1,
            state=DriveState.COPYING,
            capacity_bytes=volume.capacity_bytes,
            runs=runs_of(numbers),
            object_bytes=sum(objects[number].size_bytes for number in numbers),
        )

    def _finish(self, filling: DriveFilling) -> None:
        if filling.drive.state is DriveState.COPYING:
            with self._lanes.writing():
                filling.copy()
            self._save(msgspec.structs.replace(filling.drive, state=DriveState.READING))
        filling.read_back()
        sealed = filling.seal()
        self._note("sealed", sealed.serial, {"manifest_hash": sealed.manifest_hash})
        self._save(sealed)
        filling.forget_read_back()
        self._bench.questions.tell(
            f"drive {sealed.serial} is finished: objects {sealed.object_count}, "
            f"{sealed.object_bytes} bytes, verified"
        )

    def _filling(self, drive: DriveRecord, volume: Volume) -> DriveFilling:
        return DriveFilling(
            seed=self._seed,
            drive=drive,
            medium=volume.files(),
            local=self._bench.local(self.record),
            key=self._bench.preparations.signing_key(self._bench.random),
            clock=self._bench.clock,
            progress=self._bench.progress.line(),
            stopping=self._lanes.stopping,
        )

    def _in_use(self) -> Iterator[DriveRecord]:
        return (d for d in self.record.drives if d.state is not DriveState.GIVEN_UP)

    def _save(self, drive: DriveRecord) -> None:
        with self._lock:
            self.record = self.record.with_drive(drive)
            self._bench.preparations.save(self.record)

    def _note(self, event: CustodyEventName, serial: str, details: dict[str, str]) -> None:
        with self._lock:
            self._ledger.append(event, drive=serial, by=self._bench.operator, details=details)
