"""A top-up: drives with only what the ones before did not bring, as an import job of its own.

Once a job is shipped no drive can be added to it.  A top-up is the same seed's next job, named
after the first one, with its own drives, parcel and tracking number; the record and the custody
log of the jobs before stay as they are.  While drives are still on their way, the cloud cannot
know what will be missing; a drive that the carrier has lost is then given up by its serial number.

What a top-up brings is decided once, and is in the local record before a drive is touched.  Until
it is shipped, every further run goes on with it.
"""

from typing import Final

import msgspec

from overland.diskprep.import_service import ImportService, JobAnswer, SeedAnswer
from overland.diskprep.prepare import Workbench, record_for
from overland.diskprep.record import Preparation, ShippingEntry, runs_of
from overland.diskprep.refusals import (
    DriveArrived,
    DriveNotFound,
    DrivesUnderWay,
    NothingMissing,
    NothingShipped,
    SeedGivenUp,
    SeedReplaced,
)
from overland.errors import Unreachable
from overland.seeding.staging import StagedSeed
from overland.values import top_up_name

__all__ = ["begin_top_up", "follow_link", "is_shipped"]

_ABANDONED: Final = "Abandoned"
_CREATING: Final = "Creating"
_ON_THEIR_WAY: Final = frozenset({"Shipping", "Received", "Transferring"})
_EXPECTED: Final = frozenset({"Specified", "Received", "Transferring"})
_LOSABLE: Final = frozenset({"Specified", "NeverReceived"})


def follow_link(record: Preparation, bench: Workbench, service: ImportService) -> Preparation:
    """Return the record with the job name that the seed has in the cloud now, unless a job has it.

    `overland seed relink` may have changed it since the seed was staged (R132).

    Raises:
        SeedGivenUp: The seed was abandoned.
    """
    seed = _seed(record, service)
    if seed is None or seed.job_name == record.job_name:
        return record
    if record.job is not None or record.top_up:
        return record
    renamed = msgspec.structs.replace(record, job_name=seed.job_name)
    bench.preparations.save(renamed)
    return renamed


def _seed(record: Preparation, service: ImportService) -> SeedAnswer | None:
    seed = service.seed(record.seed_id)
    if seed is not None and seed.state == _ABANDONED:
        raise SeedGivenUp(record.seed_id)
    return seed


def is_shipped(record: Preparation, service: ImportService) -> bool:
    """Return whether no drive can be added to the record's job any more."""
    if record.job is None:
        return False
    if record.job.shipped_at is not None:
        return True
    try:
        found = service.job(record.job.arm_id)
    except Unreachable:
        return False  # as far as is known here
    return found is not None and found.properties.state != _CREATING


def begin_top_up(
    seed: StagedSeed,
    bench: Workbench,
    service: ImportService,
    *,
    staging: str,
    lost: str | None = None,
) -> Preparation:
    """Return the record of the seed's top-up that is not shipped yet; begun now if there is none.

    Args:
        seed: The staged seed.
        bench: What disk preparation works with.
        service: The cloud, which knows what has arrived.
        staging: The staging location, for the record.
        lost: The serial number of a drive on its way that will not arrive.

    Raises:
        NothingShipped: The seed's job takes drives still; no top-up is needed.
        DrivesUnderWay: Drives may still arrive, and none was named as lost.
        DriveArrived: The drive that was named as lost is at the datacenter.
        DriveNotFound: No drive of this serial number was shipped from here.
        NothingMissing: Every object of the seed has arrived.
        SeedGivenUp: The seed was abandoned.
        SeedReplaced: The cloud knows another manifest of the seed than the staging location.
    """
    current = record_for(seed, bench, staging=staging)
    jobs = _Jobs(current, service)
    found, number = jobs.newest()
    if current.top_up and number == current.top_up and not _is_gone(current, found):
        return _grow(current, bench, service, seed=seed, lost=lost)
    if found is None and (current.job is None or current.job.shipped_at is None):
        raise NothingShipped(current.job_name, state="")
    if found is not None and found.properties.state == _CREATING:
        raise NothingShipped(found.name, state=_CREATING)
    replaces: tuple[str, ...] = ()
    if found is not None and lost is not None and found.properties.state in _ON_THEIR_WAY:
        wanted = _carried(current, found, lost)
        replaces = (lost,)
    elif found is not None and (expected := _expected(found)):
        raise DrivesUnderWay(found.name, state=found.properties.state, serials=expected)
    else:
        wanted = _missing(seed, service)
    begun = msgspec.structs.replace(
        current,
        job_name=jobs.name(number + 1),
        replaces=(),
        started_at=bench.clock.now(),
        drives=(),
        job=None,
        shipping=_form_again(current, bench),
        top_up=number + 1,
    )
    return _bring(begun, bench, seed=seed, wanted=wanted, replaces=replaces)


class _Jobs:
    """The jobs of a seed as the service has them; others may have been made elsewhere."""

    def __init__(self, current: Preparation, service: ImportService) -> None:
        self._current, self._service = current, service
        seed = _seed(current, service)
        self._first = seed.job_name if seed is not None else current.job_name
        account = service.storage_account(current.subscription_id, current.storage_account)
        self._group = account.resource_group

    def name(self, number: int) -> str:
        """Return what the seed's job `number` is called: 0 is the first one, others are top-ups."""
        return top_up_name(self._first, number) if number else self._first

    def newest(self) -> tuple[JobAnswer | None, int]:
        """Return the last job, or None if it is gone or was never made, and its number."""
        number = self._current.top_up
        job = self._current.job
        found = self._service.job(job.arm_id) if job is not None else self._find(number)
        while (later := self._find(number + 1)) is not None:
            found, number = later, number + 1
        return found, number

    def _find(self, number: int) -> JobAnswer | None:
        path = self._service.job_path(self._current.subscription_id, self._group, self.name(number))
        return self._service.job(path)


def _is_gone(current: Preparation, found: JobAnswer | None) -> bool:
    """Return whether a top-up has left, so that it cannot be gone on with."""
    if found is None:
        return current.job is not None and current.job.shipped_at is not None
    return found.properties.state != _CREATING


def _expected(job: JobAnswer) -> list[str]:
    """Return the drives of a job that may still arrive or be imported."""
    if job.properties.state not in _ON_THEIR_WAY:
        return []
    return [each.drive_id for each in job.properties.drive_list if each.state in _EXPECTED]


def _carried(record: Preparation, job: JobAnswer, lost: str) -> list[int]:
    """Return what a lost drive of a job on its way has, as places in the seed's manifest."""
    states = {each.drive_id: each.state for each in job.properties.drive_list}
    drive = record.drive(lost)
    if drive is None or lost not in states:
        raise DriveNotFound(lost, known=[each.serial for each in record.sealed()])
    if states[lost] not in _LOSABLE:
        raise DriveArrived(lost, job_name=job.name, state=states[lost])
    return list(drive.numbers())


def _missing(seed: StagedSeed, service: ImportService) -> list[int]:
    answer = service.missing(seed.manifest.seed_id)
    if answer.manifest_sha256 != seed.sha256:
        raise SeedReplaced(seed.manifest.seed_id, record=seed.manifest.seed_id)
    numbers = [each for first, count in answer.runs for each in range(first, first + count)]
    if not numbers:
        raise NothingMissing(seed.manifest.seed_id)
    return numbers


def _grow(
    current: Preparation,
    bench: Workbench,
    service: ImportService,
    *,
    seed: StagedSeed,
    lost: str | None,
) -> Preparation:
    """Return a top-up that is not shipped yet, with what one more lost drive carried."""
    before = bench.preparations.before(current)
    if lost is None or lost in current.replaces or before is None or before.job is None:
        return current
    job = service.job(before.job.arm_id)
    if job is None or job.properties.state not in _ON_THEIR_WAY:
        return current  # the job before is over, and what it did not bring was known
    wanted = sorted({*current.wanted(), *_carried(before, job, lost)})
    return _bring(current, bench, seed=seed, wanted=wanted, replaces=(*current.replaces, lost))


def _bring(
    record: Preparation,
    bench: Workbench,
    *,
    seed: StagedSeed,
    wanted: list[int],
    replaces: tuple[str, ...],
) -> Preparation:
    """Store what a top-up brings; the drives that it makes up for are given up before."""
    before = bench.preparations.before(record)
    for serial in set(replaces) - set(record.replaces):
        if before is not None:
            bench.ledger(before).append("given up", drive=serial, by=bench.operator, details={})
    stored = msgspec.structs.replace(
        record,
        object_count=len(wanted),
        object_bytes=sum(seed.manifest.objects[number].size_bytes for number in wanted),
        runs=runs_of(wanted),
        replaces=replaces,
    )
    bench.preparations.save(stored)
    return stored


def _form_again(record: Preparation, bench: Workbench) -> tuple[ShippingEntry, ...]:
    """Return what was typed for the parcel before, without its number, to begin with."""
    if not record.shipping:
        return ()
    form = msgspec.structs.replace(record.form(), tracking_number="")
    return (ShippingEntry(at=bench.clock.now(), committed=False, form=form),)
