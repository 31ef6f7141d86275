"""Values of the core as JSON; unlock keys and token secrets have no place here."""

from datetime import datetime
from typing import Final

import msgspec

from overland.cloud.computers import SourceComputer
from overland.cloud.custodyview import CustodyLog
from overland.cloud.identity import TokenRecord
from overland.cloud.locations import Dock, Location, find_location
from overland.cloud.nextsteps import NextStep
from overland.cloud.resources import ResourceGroup, StorageAccount, Subscription, Vault
from overland.jobs.importjob import Drive, ImportJob
from overland.vault.catalog import CatalogPoint
from overland.vault.chains import Event
from overland.vault.runs import ReclaimReport, ReclaimRun

__all__ = [
    "Json",
    "account_view",
    "arm_job",
    "container_view",
    "custody_view",
    "event_view",
    "group_view",
    "instant",
    "job_view",
    "location_view",
    "next_step_view",
    "point_view",
    "reclaim_view",
    "subscription_view",
    "token_view",
    "vault_view",
]

Json = dict[str, object]

_FIRST_VERSION: Final = "2016-11-01"


def instant(at: datetime | None) -> str | None:
    """Return an instant as ISO 8601 in UTC, or None."""
    return None if at is None else at.isoformat()


def arm_job(
    job: ImportJob,
    *,
    version: str,
    location: str | None = None,
    with_drives: bool = True,
) -> Json:
    """Return an import job as the documented service shows it.

    Args:
        job: The job.
        version: The api-version of the request; the first one knows no `systemData`.
        location: The caller's spelling, which the answer to PUT repeats; else the display name.
        with_drives: Lists of one resource group leave the drives out.
    """
    properties: Json = {
        "storageAccountId": job.storage_account_id,
        "jobType": job.job_type,
        "returnAddress": job.return_address,
        "returnShipping": job.return_shipping,
        "shippingInformation": job.shipping_information,
        "deliveryPackage": job.delivery_package,
        "returnPackage": job.return_package,
        "diagnosticsPath": job.diagnostics_path,
        "logLevel": job.log_level,
        "backupDriveManifest": job.backup_drive_manifest,
        "cancelRequested": job.cancel_requested,
        "state": job.state,
        "percentComplete": job.percent_complete,
        "incompleteBlobListUri": job.incomplete_blob_list,
        "export": job.export,
        "driveList": [_arm_drive(drive) for drive in job.drives] if with_drives else None,
        "provisioningState": "Succeeded",
        "encryptionKey": {"kekType": "MicrosoftManaged"},
    }
    return _present(
        {
            "properties": _present(properties),
            "identity": {"type": "None"},
            "id": job.arm_id,
            "name": job.name,
            "type": "Microsoft.ImportExport/jobs",
            "location": location or find_location(job.location).name,
            "tags": job.tags,
            "systemData": None if version == _FIRST_VERSION else _system_data(job),
        }
    )


def _system_data(job: ImportJob) -> Json:
    """Return when the job was made and changed; who did is in its custody log."""
    return {
        "createdAt": instant(job.created_at),
        "lastModifiedAt": instant(job.changed_at),
    }


def _arm_drive(drive: Drive) -> Json:
    return _present(
        {
            "driveId": drive.serial,
            "manifestFile": drive.manifest_file or None,
            "manifestHash": drive.manifest_hash or None,
            "driveHeaderHash": drive.header_hash,
            "state": drive.state,
            "copyStatus": drive.report.copy_status,
            "percentComplete": drive.report.percent_complete,
            "verboseLogUri": drive.report.verbose_log,
            "errorLogUri": drive.report.error_log,
            "manifestUri": drive.report.manifest,
            "bytesSucceeded": drive.report.bytes_succeeded,
        }
    )


def job_view(job: ImportJob) -> Json:
    """Return an import job as `/v1` shows it."""
    return {
        "id": job.arm_id,
        "job_id": job.job_id,
        "name": job.name,
        "state": job.state,
        "percent_complete": job.percent_complete,
        "cancel_requested": job.cancel_requested,
        "created_at": instant(job.created_at),
        "shipped_at": instant(job.shipped_at),
        "location": find_location(job.location).name,
        "shipping_information": job.shipping_information,
        "carrier": job.carrier,
        "tracking_number": job.tracking_number,
        "drives": [drive_view(drive) for drive in job.drives],
    }


def drive_view(drive: Drive) -> Json:
    """Return a drive as `/v1` shows it."""
    return {
        "serial": drive.serial,
        "state": drive.state,
        "percent_complete": drive.report.percent_complete,
        "bytes_succeeded": drive.report.bytes_succeeded,
        "copy_status": drive.report.copy_status,
        "error_log": drive.report.error_log,
        "verbose_log": drive.report.verbose_log,
        "manifest": drive.report.manifest,
    }


def next_step_view(step: NextStep) -> Json:
    """Return who has to do what by when."""
    return {"who": step.who, "what": step.what, "by": instant(step.by)}


def subscription_view(subscription: Subscription) -> Json:
    """Return a subscription as `/v1` shows it."""
    return {
        "subscription_id": subscription.subscription_id,
        "name": subscription.name,
        "created_at": instant(subscription.created_at),
    }


def group_view(group: ResourceGroup) -> Json:
    """Return a resource group."""
    return {
        "id": f"/subscriptions/{group.subscription_id}/resourceGroups/{group.name}",
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "properties": {"provisioningState": "Succeeded"},
    }


def account_view(account: StorageAccount) -> Json:
    """Return a storage account."""
    return {
        "id": _id(account.subscription_id, account.resource_group, _ACCOUNT, account.name),
        "name": account.name,
        "type": _ACCOUNT,
        "location": account.location,
        "kind": account.kind,
        "properties": {"provisioningState": "Succeeded"},
    }


def container_view(account: StorageAccount, name: str) -> Json:
    """Return a container."""
    return {
        "id": f"{account_view(account)['id']}/blobServices/default/containers/{name}",
        "name": name,
        "type": "Microsoft.Storage/storageAccounts/blobServices/containers",
        "properties": {},
    }


def vault_view(vault: Vault) -> Json:
    """Return a vault; `vaultId` is its id in `/v1`."""
    return {
        "id": _id(vault.subscription_id, vault.resource_group, _VAULT, vault.name),
        "name": vault.name,
        "type": _VAULT,
        "location": vault.location,
        "properties": {"provisioningState": "Succeeded", "vaultId": vault.vault_id},
    }


def location_view(location: Location, dock: Dock) -> Json:
    """Return a region with the address that parcels for it go to."""
    prefix = "/providers/Microsoft.ImportExport/locations/"
    return {
        "id": f"{prefix}{location.id}",
        "name": location.name,
        "type": "Microsoft.ImportExport/locations",
        "properties": _present(
            {
                "recipientName": dock.recipient,
                "streetAddress1": dock.street,
                "streetAddress2": "",
                "city": dock.city,
                "stateOrProvince": dock.state,
                "postalCode": dock.postal_code,
                "countryOrRegion": dock.country,
                "phone": dock.phone or None,
                "supportedCarriers": list(location.carriers),
                "alternateLocations": [f"{prefix}{each}" for each in location.alternates],
            }
        ),
    }


def token_view(record: TokenRecord) -> Json:
    """Return what is known of a token; the secret is not."""
    return {
        "token_id": record.token_id,
        "role": record.role,
        "subscription_id": record.scope.subscription_id,
        "job_name": record.scope.job_name,
        "vault_id": record.scope.vault_id,
        "source_computer_id": record.scope.source_computer_id,
        "created_at": instant(record.created_at),
        "expires_at": instant(record.expires_at),
        "revoked_at": instant(record.revoked_at),
        "issued_by": record.issued_by,
    }


def point_view(point: CatalogPoint) -> Json:
    """Return a recovery point; `deletion` is its mark, if it has one."""
    is_marked = point.marked_at is not None
    return {
        "point_id": point.point_id,
        "source_computer_id": point.source_computer_id,
        "created_at": instant(point.created_at),
        "published_at": instant(point.published_at),
        "kind": point.kind,
        "seed_id": point.seed_id,
        "base": point.base,
        "state": point.state if point.reclaimed_at is None else "reclaimed",
        "policy_id": point.policy_id,
        "deletion": {
            "marked_at": instant(point.marked_at),
            "reclaim_after": instant(point.reclaim_after),
            "reason": point.mark_reason,
            "marked_by": point.marked_by,
        }
        if is_marked
        else None,
        "missing": list(point.missing),
        "object_count": point.object_count,
        "size_bytes": point.size_bytes,
    }


def event_view(event: Event) -> Json:
    """Return one entry of the log of a computer's points."""
    return {
        "number": event.number,
        "at": instant(event.at),
        "actor": event.actor,
        "event": event.event,
        "subject": event.subject,
        "detail": event.detail,
    }


def reclaim_view(
    computer: SourceComputer, report: ReclaimReport, *, run: ReclaimRun | None = None
) -> Json:
    """Return what a run of reclaim did for a computer, or would do."""
    return {
        "source_computer_id": computer.source_computer_id,
        "name": computer.name,
        "state": "preview" if run is None else run.state,
        "started_at": None if run is None else instant(run.started_at),
        "ended_at": None if run is None else instant(run.ended_at),
        **msgspec.structs.asdict(report),
    }


def custody_view(log: CustodyLog) -> Json:
    """Return a custody log; `detail` is null once a job and its personal data are deleted."""
    return {
        "job_id": log.job_id,
        "tenant_id": log.entries[0].tenant_id,
        "intact": log.is_intact,
        "events": [
            {
                "number": entry.number,
                "at": entry.at.isoformat(timespec="microseconds"),  # as the digest covers it
                "actor": entry.actor,
                "event": entry.event,
                "drive": entry.drive,
                "detail": entry.detail,
                "detail_digest": entry.detail_digest,
                "digest": entry.digest,
            }
            for entry in log.entries
        ],
        "public_key": log.public_key.hex(),
        "signature": log.signature.hex(),
    }


_ACCOUNT = "Microsoft.Storage/storageAccounts"
_VAULT = "Microsoft.RecoveryServices/vaults"


def _id(subscription_id: str, resource_group: str, kind: str, name: str) -> str:
    return (
        f"/subscriptions/{subscription_id}/resourceGroups/{resource_group}/providers/{kind}/{name}"
    )


def _present(values: Json) -> Json:
    return {name: value for name, value in values.items() if value is not None}
