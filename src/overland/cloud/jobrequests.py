"""What a customer asks for with an import job, and the rules that need no other job to check."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from overland.cloud import names
from overland.cloud.grants import is_safe_name
from overland.cloud.locations import Location, find_location
from overland.cloud.refusals import Invalid, ResourceAbsent
from overland.jobs.importjob import EXPORT, IMPORT, MAX_DRIVES, Document, Drive

__all__ = [
    "DriveRequest",
    "JobPatch",
    "JobRequest",
    "check_diagnostics_path",
    "check_export",
    "check_job_type",
    "check_key_kind",
    "check_log_level",
    "drives_from",
    "location_from",
    "tags_from",
]

_HASH: Final = re.compile(r"(?:[0-9A-Fa-f]{32}){1,2}")
_MAX_TAGS: Final = 50
_MAX_INLINE_LIST: Final = 32768  # characters; longer lists go into a blob
_BLOB_PATH: Final = re.compile(r"(?:\$root|[a-z0-9](?:-?[a-z0-9]){2,62})/\S[^\x00-\x1f]{0,1023}")
_BLOB_PREFIX: Final = re.compile(r"/[^\x00-\x1f]{0,1088}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveRequest:
    """One drive as the customer lists it; None keeps the key that is known."""

    serial: str
    unlock_key: str | None = field(repr=False)
    manifest_file: str
    manifest_hash: str
    header_hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What a customer asks for with PUT."""

    location: str
    storage_account_id: str
    job_type: str
    drives: Sequence[DriveRequest] = ()
    export: Document | None = None
    key_kind: str | None = None
    tags: Mapping[str, str] | None = None
    log_level: str = "Error"
    backup_drive_manifest: bool = False
    diagnostics_path: str = "waimportexport"
    return_address: Document | None = None
    return_shipping: Document | None = None
    delivery_package: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPatch:
    """What a customer changes with PATCH; None leaves a value as it is."""

    state: str | None = None
    cancel_requested: bool | None = None
    tags: Mapping[str, str] | None = None
    log_level: str | None = None
    backup_drive_manifest: bool | None = None
    return_address: Document | None = None
    return_shipping: Document | None = None
    delivery_package: Document | None = None
    drives: Sequence[DriveRequest] | None = None


def drives_from(requested: Sequence[DriveRequest], *, known: Sequence[Drive]) -> tuple[Drive, ...]:
    """Return the listed drives, with the keys of `known` ones where the list gives none.

    Raises:
        Invalid: A rule about the list or one drive does not hold.
    """
    if not 1 <= len(requested) <= MAX_DRIVES:
        raise Invalid("driveList", f"list 1 to {MAX_DRIVES} drives; make another job for more")
    serials = [each.serial.casefold() for each in requested]
    if len(set(serials)) != len(serials):
        raise Invalid("driveList", "each drive is listed once")
    keys = {drive.serial.casefold(): drive.unlock_key for drive in known}
    return tuple(_drive(each, known_key=keys.get(each.serial.casefold())) for each in requested)


def check_job_type(text: str, *, drives: Sequence[object], export: Document | None) -> str:
    """Return the kind of job; an import has drives and no `export`, an export the opposite.

    Raises:
        Invalid: It is neither, or has what belongs to the other.
    """
    kind = {IMPORT.casefold(): IMPORT, EXPORT.casefold(): EXPORT}.get(text.casefold())
    if kind is None:
        raise Invalid("jobType", "use Import or Export")
    if kind == IMPORT and export is not None:
        raise Invalid("export", "an import job has none; list its drives in driveList")
    if kind == EXPORT and export is None:
        raise Invalid("export", "say which blobs: blobList or blobListblobPath")
    if kind == EXPORT and drives:
        raise Invalid("driveList", "send empty drives; an export job lists none")
    return kind


def check_export(export: Document) -> Document:
    """Return what an export takes: either a list of blobs and prefixes, or the path of one.

    Raises:
        Invalid: It is both or neither, a path is malformed, or the list is too long to be inline.
    """
    blob_list, list_path = export.get("blobList"), export.get("blobListblobPath")
    if (blob_list is None) == (list_path is None):
        raise Invalid("export", "give either blobList or blobListblobPath")
    if list_path is not None:
        _check_all(_BLOB_PATH, [str(list_path)], "export.blobListblobPath", "CONTAINER/BLOB")
        return export
    assert isinstance(blob_list, Mapping), "the body was checked when it came in"
    paths, prefixes = (blob_list.get(name) or [] for name in ("blobPath", "blobPathPrefix"))
    _check_all(_BLOB_PATH, paths, "export.blobList.blobPath", "CONTAINER/BLOB")
    _check_all(_BLOB_PREFIX, prefixes, "export.blobList.blobPathPrefix", "/CONTAINER/START")
    size = sum(len(each) for each in (*paths, *prefixes))
    if not 0 < size <= _MAX_INLINE_LIST:
        rule = f"name blobs with at most {_MAX_INLINE_LIST} characters in all"
        raise Invalid("export.blobList", f"{rule}; a longer list goes into a block blob")
    return export


def check_key_kind(text: str | None) -> None:
    """Return if the cloud can protect unlock keys in this way.

    Raises:
        Invalid: The key would be in a key vault of the customer's.
    """
    if text not in (None, "MicrosoftManaged"):
        raise Invalid(
            "encryptionKey.kekType",
            "use MicrosoftManaged: this cloud keeps unlock keys itself, in no key vault",
        )


def location_from(name: str) -> Location:
    """Return the region that a job names.

    Raises:
        Invalid: There is no such region.
    """
    try:
        return find_location(name)
    except ResourceAbsent as absent:
        raise Invalid("location", f"{absent}; GET the locations") from None


def check_log_level(text: str) -> str:
    """Return the log level.

    Raises:
        Invalid: It is not one of the two.
    """
    if text not in ("Error", "Verbose"):
        raise Invalid("logLevel", "use Error or Verbose")
    return text


def check_diagnostics_path(path: str) -> str:
    """Return the folder for logs; it stays in its container, and apart from seeds.

    Raises:
        Invalid: It is no folder's name, or could be a seed's.
    """
    if not is_safe_name(path) or path.startswith("seed-"):
        raise Invalid("diagnosticsPath", "give a folder's name such as waimportexport")
    return path


def tags_from(tags: Mapping[str, str] | None) -> Document | None:
    """Return the tags as they are stored.

    Raises:
        Invalid: There are too many.
    """
    if tags is not None and len(tags) > _MAX_TAGS:
        raise Invalid("tags", f"use at most {_MAX_TAGS}")
    return None if tags is None else dict(tags)


def _check_all(rule: re.Pattern[str], texts: Sequence[str], target: str, form: str) -> None:
    if not all(rule.fullmatch(text) for text in texts):
        raise Invalid(target, f"write {form}; the root container is $root")


def _drive(requested: DriveRequest, *, known_key: str | None) -> Drive:
    key = requested.unlock_key or known_key
    if key is None:
        raise Invalid("bitLockerKey", f"give the unlock key of drive {requested.serial}")
    if _HASH.fullmatch(requested.manifest_hash) is None:
        raise Invalid("manifestHash", "give 32 (MD5) or 64 (SHA-256) hexadecimal digits")
    return Drive(
        serial=names.check_drive_serial(requested.serial),
        unlock_key=key,
        manifest_file=requested.manifest_file,
        manifest_hash=requested.manifest_hash,
        header_hash=requested.header_hash,
    )
