"""The bodies of requests: every text and list bounded, unknown fields of ours refused.

Bodies of the resource manager ignore fields they do not know, as its clients expect; bodies of
`/v1` refuse them, so that a typing error is not silence.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool
from pydantic.alias_generators import to_camel

from overland.cloud.jobrequests import DriveRequest, JobPatch, JobRequest
from overland.jobs.importjob import Document

__all__ = [
    "AccountBody",
    "DriveEventBody",
    "GrantBody",
    "JobBody",
    "JobPatchBody",
    "NameBody",
    "ParcelBody",
    "PointBody",
    "PublishSettingsBody",
    "ReclaimBody",
    "RegistrationBody",
    "ReplacementBody",
    "ResourceBody",
    "RetentionBody",
    "ReturnBody",
    "SeedBody",
    "SeedPatchBody",
    "TokenBody",
]

Short = Annotated[str, Field(max_length=128)]
Line = Annotated[str, Field(max_length=256)]
Version = Annotated[int, Field(ge=0, le=2**31 - 1)]
Rows = Annotated[int, Field(ge=0, le=9999)]
Path = Annotated[str, Field(max_length=1024)]
BlobPath = Annotated[str, Field(max_length=63 + 1 + 1024)]
Tags = Annotated[
    dict[Annotated[str, Field(max_length=512)], Annotated[str, Field(max_length=256)]],
    Field(max_length=50),
]


class _ArmBody(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")

    def document(self) -> Document:
        """Return the object as it is kept and shown; optional parts that were left out are not."""
        return self.model_dump(by_alias=True, exclude_none=True)


class _OwnBody(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReturnAddressBody(_ArmBody):
    """Where drives go back to."""

    recipient_name: Short
    street_address1: Short
    street_address2: Short = ""
    city: Short
    state_or_province: Short = ""
    postal_code: Short
    country_or_region: Short
    phone: Short
    email: Line


class ReturnShippingBody(_ArmBody):
    """Who carries them back."""

    carrier_name: Short
    carrier_account_number: Short


class DeliveryPackageBody(_ArmBody):
    """The parcel that brings the drives."""

    carrier_name: Annotated[str, Field(min_length=1, max_length=64)]
    tracking_number: Line
    drive_count: Annotated[int, Field(ge=0, le=1000)] | None = None
    ship_date: Short | None = None


class DriveBody(_ArmBody):
    """One drive of the list."""

    drive_id: Line
    bit_locker_key: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        default=None, repr=False
    )
    manifest_file: Annotated[str, Field(min_length=1, max_length=1024)]
    manifest_hash: Line
    drive_header_hash: Annotated[str, Field(max_length=64)] | None = None

    def request(self) -> DriveRequest:
        """Return the drive as the core takes it."""
        return DriveRequest(
            serial=self.drive_id,
            unlock_key=self.bit_locker_key,
            manifest_file=self.manifest_file,
            manifest_hash=self.manifest_hash,
            header_hash=self.drive_header_hash,
        )


DriveList = Annotated[list[DriveBody], Field(max_length=100)]


class BlobListBody(_ArmBody):
    """Which blobs an export is for: paths, and prefixes of paths."""

    blob_path: list[BlobPath] | None = None
    blob_path_prefix: list[BlobPath] | None = None


class ExportBody(_ArmBody):
    """What an export takes: a list, or the path of a block blob that holds one."""

    blob_list: BlobListBody | None = None
    blob_list_path: BlobPath | None = Field(default=None, alias="blobListblobPath")


class EncryptionKeyBody(_ArmBody):
    """What protects the drives' unlock keys at the service."""

    kek_type: Short = "MicrosoftManaged"


class JobProperties(_ArmBody):
    """What PUT takes of an import job; the service decides everything else."""

    storage_account_id: Path
    job_type: Short
    return_address: ReturnAddressBody | None = None
    return_shipping: ReturnShippingBody | None = None
    delivery_package: DeliveryPackageBody | None = None
    export: ExportBody | None = None
    encryption_key: EncryptionKeyBody | None = None
    diagnostics_path: Annotated[str, Field(min_length=1, max_length=256)] = "waimportexport"
    log_level: Short = "Error"
    backup_drive_manifest: StrictBool = False
    drive_list: DriveList | None = None


class JobBody(_ArmBody):
    """PUT of an import job."""

    location: Short
    tags: Tags | None = None
    properties: JobProperties

    def request(self) -> JobRequest:
        """Return the job as the core takes it."""
        given = self.properties
        return JobRequest(
            location=self.location,
            tags=self.tags,
            storage_account_id=given.storage_account_id,
            job_type=given.job_type,
            drives=[drive.request() for drive in given.drive_list or ()],
            export=_document(given.export),
            key_kind=None if given.encryption_key is None else given.encryption_key.kek_type,
            log_level=given.log_level,
            backup_drive_manifest=given.backup_drive_manifest,
            diagnostics_path=given.diagnostics_path,
            return_address=_document(given.return_address),
            return_shipping=_document(given.return_shipping),
            delivery_package=_document(given.delivery_package),
        )


class JobPatchProperties(_ArmBody):
    """What PATCH takes of an import job."""

    state: Short | None = None
    cancel_requested: StrictBool | None = None
    return_address: ReturnAddressBody | None = None
    return_shipping: ReturnShippingBody | None = None
    delivery_package: DeliveryPackageBody | None = None
    log_level: Short | None = None
    backup_drive_manifest: StrictBool | None = None
    drive_list: DriveList | None = None


class JobPatchBody(_ArmBody):
    """PATCH of an import job."""

    tags: Tags | None = None
    properties: JobPatchProperties = JobPatchProperties()

    def patch(self) -> JobPatch:
        """Return the changes as the core takes them."""
        given = self.properties
        drives = given.drive_list
        return JobPatch(
            state=given.state,
            cancel_requested=given.cancel_requested,
            tags=self.tags,
            log_level=given.log_level,
            backup_drive_manifest=given.backup_drive_manifest,
            return_address=_document(given.return_address),
            return_shipping=_document(given.return_shipping),
            delivery_package=_document(given.delivery_package),
            drives=None if drives is None else [drive.request() for drive in drives],
        )


class ResourceBody(_ArmBody):
    """PUT of a resource group, a vault or a container."""

    location: Annotated[str, Field(max_length=64)] = "westeurope"
    properties: dict[str, Any] | None = None  # Any: accepted for other clients, not used


class AccountBody(ResourceBody):
    """PUT of a storage account."""

    kind: Short = "StorageV2"


class NameBody(_OwnBody):
    """A thing's name."""

    name: Short


class TokenBody(_OwnBody):
    """What a new token shall allow."""

    role: Short
    expires_in_days: int = 90
    tenant_id: Short | None = None
    subscription_id: Short | None = None
    job_name: Short | None = None


class PublishSettingsBody(_OwnBody):
    """Which import job the file is for."""

    job_name: Short | None = None


class RegistrationBody(_OwnBody):
    """A source computer that enters a vault."""

    name: Line
    repository_id: Short
    signing_public_key: Short
    proof: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-f]{128}$",
            description="Signature by the signing key: docs/format/keys-v1.md, 6.1.",
        ),
    ]


class KeyChangeBody(_OwnBody):
    """A change of the signing key that is in the vault."""

    number: Annotated[int, Field(ge=1, le=99)]
    sha256: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-f]{64}$",
            description="Of the change's file: docs/format/key-change-v1.md.",
        ),
    ]


class SeedBody(_OwnBody):
    """A seed that is announced."""

    seed_id: Short
    job_name: Short
    policy: Line
    subscription_id: Short
    storage_account: Short
    container: Short


class SeedPatchBody(_OwnBody):
    """A seed that is relinked or abandoned."""

    job_name: Short | None = None
    state: Short | None = None


class GrantBody(_OwnBody):
    """Which grant is asked for."""

    kind: Short
    seed_id: Short | None = None
    job_id: Short | None = None
    policy_id: Short | None = None
    container: Short | None = None
    replace: bool = False


class PointBody(_OwnBody):
    """A recovery point that is in the vault."""

    point_id: Short
    chain_version: Version | None = None
    policy_id: Short | None = None


class ReplacementBody(_OwnBody):
    """A replacement that is in the vault."""

    chain_version: Version


class RetentionBody(_OwnBody):
    """How many recovery points stay; 0 leaves a row out."""

    daily: Rows = 0
    weekly: Rows = 0
    monthly: Rows = 0
    yearly: Rows = 0


class ReclaimBody(_OwnBody):
    """A reclaim that is asked for."""

    dry_run: bool = False
    source_computer_id: Short | None = None


class ParcelBody(_OwnBody):
    """A parcel at the dock."""

    tracking_number: Line
    carrier: Short
    serials: Annotated[list[Short], Field(min_length=1, max_length=100)]
    received_at: Short | None = None


class DriveEventBody(_OwnBody):
    """What the station did with a drive."""

    event: Short
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    bytes_succeeded: Annotated[int, Field(ge=0, le=1 << 62)] | None = None
    copy_status: Annotated[str, Field(max_length=64)] | None = None
    error_log: Annotated[str, Field(max_length=2048)] | None = None
    verbose_log: Annotated[str, Field(max_length=2048)] | None = None
    manifest: Annotated[str, Field(max_length=2048)] | None = None
    manifest_file: Annotated[str, Field(max_length=1024)] | None = None
    manifest_hash: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{32}([0-9A-Fa-f]{32})?$")] | None = (
        None
    )
    unlock_key: Annotated[str, Field(max_length=256)] | None = None
    incomplete_blob_list: Annotated[str, Field(max_length=2048)] | None = None


class ReturnBody(_OwnBody):
    """Drives that go back."""

    carrier: Short
    tracking_number: Line
    serials: Annotated[list[Short], Field(max_length=100)] = []


def _document(body: _ArmBody | None) -> Document | None:
    return None if body is None else body.document()
