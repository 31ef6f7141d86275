"""What the disk commands do, step by step; `overland disk` and the original's program share it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from overland.adapters.posix import PosixFiles
from overland.cli.copycomputer import CopyComputer, PublishSettingsMissing
from overland.cli.diskform import asked
from overland.cli.disklabels import write_labels
from overland.cli.diskquestions import TerminalQuestions
from overland.cli.outcome import ask, confirm, is_interactive, note
from overland.diskprep import airgap
from overland.diskprep import ship as shipping
from overland.diskprep import submit as submission
from overland.diskprep.import_service import ImportService
from overland.diskprep.prepare import Workbench, choose_seed, prepare_drives, record_for
from overland.diskprep.publish_settings import PublishSettingsInvalid, SubscriptionNotInFile
from overland.diskprep.record import Preparation, ShippingForm
from overland.diskprep.refusals import NoPreparation, SeveralPreparations, ShippingDeclined
from overland.diskprep.topup import begin_top_up, follow_link, is_shipped
from overland.errors import Unreachable

__all__ = [
    "PrepareRequest",
    "connected",
    "one_of",
    "prepare_seed",
    "records_at",
    "remember",
    "ship_parcel",
    "write_file",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """What was asked of disk preparation; `offline_request` names a file, or is empty.

    `missing` asks for a top-up: drives with only what the ones before did not bring.
    """

    staging: str
    publish_settings: str = ""
    job_name: str | None = None
    seed_id: str | None = None
    replace: str | None = None
    missing: bool = False
    offline_request: str = ""
    allow_virtual_source: bool = False
    usb_adapter: bool = False


def prepare_seed(
    computer: CopyComputer, bench: Workbench, questions: TerminalQuestions, request: PrepareRequest
) -> Preparation:
    """Put a staged seed on drives, then create its import job, or write the request for it."""
    location = computer.staging(request.staging)
    seed = choose_seed(location, questions, job_name=request.job_name, seed_id=request.seed_id)
    host = computer.host(
        seed.record.repository_id,
        allow_virtual_source=request.allow_virtual_source,
        usb_adapter=request.usb_adapter,
    )
    bench = replace(bench, host=host)
    questions.never_offer(location.path, *host.sources)
    record = record_for(seed, bench, staging=location.path)
    service, lost = None, request.replace
    if not request.offline_request:
        record, service = connected(record, bench, computer, request.publish_settings)
        if request.missing or (lost is not None and _is_elsewhere(record, lost, service)):
            record = begin_top_up(seed, bench, service, staging=location.path, lost=lost)
            note(
                f"import job {record.job_name} brings what is missing: objects "
                f"{record.object_count}, bytes {record.object_bytes}"
            )
            lost = None
        try:
            record = follow_link(record, bench, service)
            submission.find_job(record, bench, service)  # a name that is taken is told first
        except Unreachable as error:
            note(f"the import job is created when the network is back: {error}")
    done = prepare_drives(seed, bench, staging=location.path, replace=lost)
    for unused in questions.unused_drives():
        note(f"the drive at {unused} was not needed and not touched; do not ship it")
    if service is None:
        write_file(request.offline_request, airgap.request_for(done, bench))
        return done
    done = submission.submit(done, bench, service)
    write_labels(computer, done)
    return done


def _is_elsewhere(record: Preparation, lost: str, service: ImportService) -> bool:
    """Return whether a lost drive belongs to a job that takes no other drives any more."""
    if is_shipped(record, service):
        return True
    listed = {drive.serial for drive in record.drives}
    return bool(record.top_up) and lost not in listed


def connected(
    record: Preparation, bench: Workbench, computer: CopyComputer, settings: str
) -> tuple[Preparation, ImportService]:
    """Return the import service of a record, and the record with the settings remembered.

    On the source computer the policy names the publish settings.  What is missing or unusable is
    asked for, where somebody can answer.

    Raises:
        PublishSettingsMissing: Nobody is there to name a file.
        PublishSettingsInvalid: The file that was named beforehand cannot be used.
        SubscriptionNotInFile: It is another subscription's.
    """
    path = settings or record.publish_settings or computer.source.publish_settings(record.job_name)
    while True:
        if not path:
            if not is_interactive():
                raise PublishSettingsMissing
            path = ask("Path of the publish settings file", option="--publish-settings FILE")
        try:
            service = computer.service(path, subscription_id=record.subscription_id)
        except (PublishSettingsInvalid, SubscriptionNotInFile) as refusal:
            if settings or not is_interactive():
                raise
            note(f"refused: {refusal} [{refusal.code}]")
            path = ""
        else:
            return remember(record, bench, path), service


def remember(record: Preparation, bench: Workbench, settings: str) -> Preparation:
    """Keep where the publish settings are, so that later commands find them."""
    if not settings or record.publish_settings == str(Path(settings).absolute()):
        return record
    known = msgspec.structs.replace(record, publish_settings=str(Path(settings).absolute()))
    bench.preparations.save(known)
    return known


def records_at(
    computer: CopyComputer, bench: Workbench, staging: Sequence[str]
) -> list[Preparation]:
    """Return the records of all complete seeds of staging locations (R95)."""
    return [
        record_for(location.open(seed.seed_id), bench, staging=location.path)
        for location in map(computer.staging, staging)
        for seed in location.seeds()
        if seed.why_not is None
    ]


def one_of(records: list[Preparation]) -> Preparation:
    """Return the record that is meant: the only one, the only unshipped one, or by question.

    Raises:
        NoPreparation: There is none.
        SeveralPreparations: Nobody is there to choose.
    """
    if len(records) > 1:
        records = [each for each in records if not (each.job and each.job.shipped_at)] or records
    match records:
        case []:
            raise NoPreparation
        case [only]:
            return only
        case _ if not is_interactive():
            raise SeveralPreparations([record.job_name for record in records])
    for number, record in enumerate(records, start=1):
        note(f"  {number}. import job {record.job_name}, seed {record.seed_id}")
    while True:
        answer = ask("Which import job", option="--job")
        if answer.isdecimal() and 1 <= int(answer) <= len(records):
            return records[int(answer) - 1]
        note(f"answer with a number from 1 to {len(records)}")


def ship_parcel(
    computer: CopyComputer,
    bench: Workbench,
    record: Preparation,
    form: ShippingForm,
    *,
    settings: str,
    consent: bool,
    again: bool = False,
) -> Preparation:
    """Complete the form, or go through it `again`; show it, and send it after a yes.

    Every entry is kept as it is typed, whatever happens next (R86, R98).

    Raises:
        ShippingIncomplete: Entries are missing, and nobody is there to type them.
        PublishSettingsMissing, PublishSettingsInvalid, SubscriptionNotInFile: As `connected`.
        ShippingDeclined: The operator did not type yes; nothing was sent.
    """
    kept = record

    def keep(typed: ShippingForm) -> None:
        """Store what was typed so far, durably, without sending it."""
        nonlocal kept
        kept = shipping.keep(kept, typed, bench)

    form = asked(form, keep, again=again)
    keep(form)
    if missing := shipping.missing_fields(form):
        raise shipping.ShippingIncomplete(missing)
    kept, service = connected(kept, bench, computer, settings)
    if kept.job is None:
        kept = submission.find_job(kept, bench, service)
    note(shipping.review(kept, form))
    if not (consent or confirm("Is this right, and may it be sent?")):
        raise ShippingDeclined(kept.job_name)
    done = shipping.commit(kept, form, bench, service)
    write_labels(computer, done)
    return done


def write_file(path: str, document: bytes) -> None:
    """Write a file for the operator to carry, durably, in place of an earlier one."""
    target = Path(path).absolute()
    PosixFiles(target.parent).write(target.name, document)
