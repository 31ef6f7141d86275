"""Create the import job for finished drives, once, and say what goes into the parcel.

The job is found before it is made: a run that was killed after the service created it finds it by
its name and its seed, and only then counts it as its own.
"""

from datetime import datetime
from typing import Final

import msgspec

from overland.crypto import sign
from overland.diskprep.import_service import (
    ImportService,
    JobAnswer,
    LocationAnswer,
    StorageAccountAnswer,
)
from overland.diskprep.prepare import Workbench
from overland.diskprep.record import DriveRecord, JobRecord, Preparation, camel_fields
from overland.diskprep.refusals import JobDiffers, JobNotCreatedYet
from overland.errors import Unreachable
from overland.seeding.drive import MANIFEST_XML_PATH

__all__ = [
    "DIAGNOSTICS_PATH",
    "DRIVE_KEY_TAG",
    "NO_LOCK",
    "SEED_TAG",
    "find_job",
    "keep_job",
    "own_key",
    "packing_list",
    "submit",
]

SEED_TAG: Final = "overland-seed"
DRIVE_KEY_TAG: Final = "overland-drive-key"
DIAGNOSTICS_PATH: Final = "waimportexport"

NO_LOCK: Final = "none"
"""Sent as unlock key of a drive that has no lock of its own; its content is sealed all the same."""

_CREATING: Final = "Creating"


def submit(
    preparation: Preparation,
    bench: Workbench,
    service: ImportService,
    *,
    drive_key: bytes | None = None,
) -> Preparation:
    """Create the import job of a complete preparation, or find it; return the record with it.

    The job has the name that the policy gave it (R84).  Doing it again changes nothing.  On return
    the record and the packing list are durable.  `drive_key` is the public key that signed the
    drives, when that was another computer's (R91).

    Raises:
        JobNotCreatedYet: The service did not answer; the same command goes on later.
        JobDiffers: The name belongs to another job, or this one was shipped with other drives.
        StorageAccountAbsent: The subscription does not hold the seed's storage account.
        NoShippingLocation: No place takes parcels for the account's region.
        NotAuthorised: The publish settings do not allow it.
        RefusedByCloud: The service does not take the job; the message says why.
    """
    assert preparation.is_complete(), "a job is made for all of its drives at once"
    try:
        job = _job(preparation, bench, service, drive_key or own_key(bench))
    except Unreachable as error:
        raise JobNotCreatedYet(preparation.job_name, why=str(error)) from error
    return keep_job(preparation, job, bench)


def own_key(bench: Workbench) -> bytes:
    """Return the public key of this computer, which its drives are signed with."""
    return sign.public_key(bench.preparations.signing_key(bench.random))


def keep_job(preparation: Preparation, job: JobRecord, bench: Workbench) -> Preparation:
    """Store the import job in the record, and the packing list beside it, durably."""
    done = msgspec.structs.replace(preparation, job=job)
    bench.local(done).write("packing-list.txt", packing_list(done).encode())
    bench.preparations.save(done)
    return done


def find_job(preparation: Preparation, bench: Workbench, service: ImportService) -> Preparation:
    """Return the record with the import job that the service has for its seed, if it has one.

    For a computer that did not prepare the drives itself (R95).  Nothing is created, or stored.

    Raises:
        JobDiffers: The job of that name carries another seed.
        StorageAccountAbsent, NoShippingLocation, NotAuthorised: As `submit`.
        Unreachable: The service did not answer.
    """
    account = service.storage_account(preparation.subscription_id, preparation.storage_account)
    path = service.job_path(
        preparation.subscription_id, account.resource_group, preparation.job_name
    )
    found = service.job(path)
    if found is None or _is_leftover(found, preparation, service):
        return preparation
    _refuse_other_seed(found, preparation.seed_id)
    location = service.shipping_location(account.location)
    serials = tuple(drive.drive_id for drive in found.properties.drive_list)
    job = _record(found, preparation, location, serials=serials, now=bench.clock.now())
    return msgspec.structs.replace(preparation, job=job)


def packing_list(preparation: Preparation) -> str:
    """Return what belongs in the parcel and where it goes (R85, R90), as text."""
    job = preparation.job
    drives = preparation.sealed()
    lines = [
        f"Import job   {preparation.job_name}",
        f"Seed         {preparation.seed_id}",
        f"Drives       {len(drives)}, all in one parcel, and no other job's drives with them",
        f"Content      objects {preparation.object_count}, bytes {preparation.object_bytes}",
        "",
    ]
    for drive in drives:
        lines += [
            f"  {drive.sequence}. {drive.serial}",
            f"     objects {drive.object_count}, bytes {drive.object_bytes}",
            f"     manifest SHA-256 {drive.manifest_hash}",
        ]
    if job is not None:
        lines += ["", "Ship to"]
        lines += [f"  {line}" for line in job.ship_to.values() if line.strip()]
        if job.carriers:
            lines += ["", f"Carriers     {', '.join(job.carriers)}"]
    return "\n".join(lines) + "\n"


def _job(
    preparation: Preparation, bench: Workbench, service: ImportService, drive_key: bytes
) -> JobRecord:
    account = service.storage_account(preparation.subscription_id, preparation.storage_account)
    path = service.job_path(
        preparation.subscription_id, account.resource_group, preparation.job_name
    )
    location = service.shipping_location(account.location)
    found = service.job(path)
    is_new = found is None or _is_leftover(found, preparation, service)
    if found is None or is_new or not _is_same(found, preparation):
        body = _body(preparation, drive_key, account, location)
        found = service.put_job(path, body)
    serials = tuple(drive.serial for drive in preparation.sealed())
    return _record(found, preparation, location, serials=serials, now=bench.clock.now())


def _record(
    found: JobAnswer,
    preparation: Preparation,
    location: LocationAnswer,
    *,
    serials: tuple[str, ...],
    now: datetime,
) -> JobRecord:
    ship_to = {key: text for key, text in found.properties.shipping_information.items() if text}
    earlier = preparation.job
    return JobRecord(
        arm_id=found.id,
        name=found.name,
        location=location.short_name,
        ship_to=ship_to or _address(location),
        carriers=location.properties.supported_carriers,
        serials=serials,
        created_at=earlier.created_at if earlier else now,
        shipped_at=earlier.shipped_at if earlier else None,
    )


def _is_leftover(found: JobAnswer, preparation: Preparation, service: ImportService) -> bool:
    """Return whether the job never left, and is of a seed that was given up; it may be replaced."""
    carried = (found.tags or {}).get(SEED_TAG)
    if carried in (None, preparation.seed_id) or found.properties.state != _CREATING:
        return False
    seed = service.seed(carried)
    return seed is not None and seed.state == "Abandoned"


def _refuse_other_seed(found: JobAnswer, seed_id: str) -> None:
    carried = (found.tags or {}).get(SEED_TAG)
    if carried != seed_id:
        whose = f"carries seed {carried}" if carried else "carries no seed of Overland"
        raise JobDiffers(found.name, why=whose)


def _is_same(found: JobAnswer, preparation: Preparation) -> bool:
    """Return whether the job is this preparation's already; False if it may be replaced.

    Raises:
        JobDiffers: It is neither.
    """
    _refuse_other_seed(found, preparation.seed_id)
    listed = {(drive.drive_id, drive.manifest_hash) for drive in found.properties.drive_list}
    ours = {(drive.serial, drive.manifest_hash) for drive in preparation.sealed()}
    if listed == ours:
        return True
    if found.properties.state != _CREATING:
        others = ", ".join(sorted(serial for serial, _ in ours - listed)) or "fewer drives"
        raise JobDiffers(
            found.name,
            why=f"is {found.properties.state} without {others}: a drive cannot be added to it "
            "any more; what it does not bring travels with `overland disk prepare --missing`, or "
            "over the network with `overland backup now`",
        )
    return False


def _body(
    preparation: Preparation,
    drive_key: bytes,
    account: StorageAccountAnswer,
    location: LocationAnswer,
) -> dict[str, object]:
    properties: dict[str, object] = {
        "storageAccountId": account.id,
        "jobType": "Import",
        "diagnosticsPath": DIAGNOSTICS_PATH,
        "logLevel": "Verbose",
        "backupDriveManifest": True,
        "driveList": [_drive(drive) for drive in preparation.sealed()],
    }
    form = preparation.form()
    if form.return_address.recipient_name:
        properties["returnAddress"] = camel_fields(form.return_address)
    if form.return_shipping.carrier_name:
        properties["returnShipping"] = camel_fields(form.return_shipping)
    return {
        "location": location.short_name,
        "tags": {SEED_TAG: preparation.seed_id, DRIVE_KEY_TAG: drive_key.hex()},
        "properties": properties,
    }


def _drive(drive: DriveRecord) -> dict[str, str]:
    return {
        "driveId": drive.serial,
        "bitLockerKey": NO_LOCK,
        "manifestFile": MANIFEST_XML_PATH,
        "manifestHash": drive.manifest_hash,
        "driveHeaderHash": "",
    }


def _address(location: LocationAnswer) -> dict[str, str]:
    place = location.properties
    fields = {
        "recipientName": place.recipient_name,
        "streetAddress1": place.street_address1,
        "streetAddress2": place.street_address2,
        "postalCode": place.postal_code,
        "city": place.city,
        "stateOrProvince": place.state_or_province,
        "countryOrRegion": place.country_or_region,
        "phone": place.phone,
        "additionalInformation": place.additional_shipping_information,
    }
    return {key: text for key, text in fields.items() if text.strip()}
