"""The service's log of one drive, in the documented form 2014-11-01 (`drive-manifest-v1.md` §4).

A verbose log names every blob and part; an error log names only what failed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from overland.format.drive_xml import VERSION, Blob, Block, PageRange, SideFile, Sink

__all__ = [
    "NOTED",
    "BlobResult",
    "BlobStatus",
    "DispositionStatus",
    "DriveLog",
    "DriveStatus",
    "PartStatus",
    "SideStatus",
    "drive_status",
]


class DriveStatus(StrEnum):
    """How the drive as a whole went."""

    COMPLETED = "Completed"
    COMPLETED_WITH_WARNINGS = "CompletedWithWarnings"
    COMPLETED_WITH_ERRORS = "CompletedWithErrors"
    DISK_NOT_FOUND = "DiskNotFound"
    VOLUME_NOT_NTFS = "VolumeNotNtfs"
    DISK_OPERATION_FAILED = "DiskOperationFailed"
    BITLOCKER_VOLUME_NOT_FOUND = "BitLockerVolumeNotFound"
    BITLOCKER_NOT_ACTIVATED = "BitLockerNotActivated"
    BITLOCKER_PROTECTOR_NOT_FOUND = "BitLockerProtectorNotFound"
    BITLOCKER_KEY_INVALID = "BitLockerKeyInvalid"
    BITLOCKER_UNLOCK_VOLUME_FAILED = "BitLockerUnlockVolumeFailed"
    BITLOCKER_FAILED = "BitLockerFailed"
    MANIFEST_NAME_INVALID = "ManifestNameInvalid"
    MANIFEST_NAME_TOO_LONG = "ManifestNameTooLong"
    MANIFEST_NOT_FOUND = "ManifestNotFound"
    MANIFEST_ACCESS_DENIED = "ManifestAccessDenied"
    MANIFEST_CORRUPTED = "ManifestCorrupted"
    MANIFEST_FORMAT_INVALID = "ManifestFormatInvalid"
    MANIFEST_DRIVE_ID_MISMATCH = "ManifestDriveIdMismatch"
    READ_MANIFEST_FAILED = "ReadManifestFailed"
    BLOB_LIST_FORMAT_INVALID = "BlobListFormatInvalid"
    BLOB_REQUEST_FORBIDDEN = "BlobRequestForbidden"
    INTERNAL_ERROR = "InternalError"


class BlobStatus(StrEnum):
    """How one blob went."""

    COMPLETED = "Completed"
    COMPLETED_WITH_ERRORS = "CompletedWithErrors"
    FILE_NAME_INVALID = "FileNameInvalid"
    FILE_NAME_TOO_LONG = "FileNameTooLong"
    FILE_NOT_FOUND = "FileNotFound"
    FILE_ACCESS_DENIED = "FileAccessDenied"
    BLOB_REQUEST_FAILED = "BlobRequestFailed"
    BLOB_REQUEST_FORBIDDEN = "BlobRequestForbidden"
    RENAME_FAILED = "RenameFailed"
    BLOB_UNEXPECTED_CHANGE = "BlobUnexpectedChange"
    LEASE_PRESENT = "LeasePresent"
    IO_FAILED = "IOFailed"
    FAILED = "Failed"


class DispositionStatus(StrEnum):
    """What the import disposition led to."""

    CREATED = "Created"
    RENAMED = "Renamed"
    SKIPPED = "Skipped"
    OVERWRITTEN = "Overwritten"
    CANCELLED = "Cancelled"


class PartStatus(StrEnum):
    """How one page range or block went."""

    COMPLETED = "Completed"
    COMMITTED = "Committed"
    UNCOMMITTED = "Uncommitted"
    CORRUPTED = "Corrupted"
    FILE_UNEXPECTED_END = "FileUnexpectedEnd"
    BLOB_UNEXPECTED_END = "BlobUnexpectedEnd"
    BLOB_REQUEST_FAILED = "BlobRequestFailed"
    IO_FAILED = "IOFailed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class SideStatus(StrEnum):
    """How a metadata or properties file went."""

    COMPLETED = "Completed"
    FILE_NAME_INVALID = "FileNameInvalid"
    FILE_NAME_TOO_LONG = "FileNameTooLong"
    FILE_NOT_FOUND = "FileNotFound"
    FILE_ACCESS_DENIED = "FileAccessDenied"
    CORRUPTED = "Corrupted"
    XML_READ_FAILED = "XmlReadFailed"
    XML_WRITE_FAILED = "XmlWriteFailed"
    BLOB_REQUEST_FAILED = "BlobRequestFailed"
    IO_FAILED = "IOFailed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobResult:
    """How one blob of a manifest went.

    Attributes:
        blob: The blob; after a rename its `blob_path` is the new one.
        status: The blob's status.
        disposition: What the import disposition led to.
        parts: One status for each range or block, or a single one that holds for all.
        metadata: How the metadata file went, or None where there is none.
        properties: How the properties file went, or None where there is none.
    """

    blob: Blob
    status: BlobStatus
    disposition: DispositionStatus
    parts: Sequence[PartStatus] | PartStatus
    metadata: SideStatus | None = None
    properties: SideStatus | None = None

    def failed(self) -> bool:
        """Return whether the error log names this blob."""
        return self.status is not BlobStatus.COMPLETED


NOTED: Final = frozenset(
    {DispositionStatus.RENAMED, DispositionStatus.SKIPPED, DispositionStatus.OVERWRITTEN}
)
"""What a disposition can lead to that makes a drive's end worth a warning."""


def drive_status(results: Iterable[BlobResult]) -> DriveStatus:
    """Return what the blobs' results make of the drive: errors above warnings above none."""
    status = DriveStatus.COMPLETED
    for result in results:
        if result.failed():
            return DriveStatus.COMPLETED_WITH_ERRORS
        if result.disposition in NOTED:
            status = DriveStatus.COMPLETED_WITH_WARNINGS
    return status


class DriveLog:
    """Writes one log blob by blob; memory does not grow with their number."""

    __slots__ = ("_is_export", "_out", "_verbose")

    def __init__(self, out: Sink, serial: str, *, verbose: bool, is_export: bool = False) -> None:
        """Write the head; the log of an export says no dispositions."""
        self._out = out
        self._is_export = is_export
        self._verbose = verbose
        head = '<?xml version="1.0" encoding="UTF-8"?>\n'
        head += f'<DriveLog Version="{VERSION}">\n  <DriveId>{_text(serial)}</DriveId>\n'
        out.write(head.encode())

    def add(self, result: BlobResult) -> None:
        """Write one blob; the error log leaves out blobs and parts that went well."""
        if self._verbose or result.failed():
            lines = _blob_lines(result, verbose=self._verbose, is_export=self._is_export)
            self._out.write("".join(f"  {line}\n" for line in lines).encode())

    def finish(self, status: DriveStatus) -> None:
        """Write the end; nothing may be added after."""
        self._out.write(f"  <Status>{status}</Status>\n</DriveLog>\n".encode())


def _blob_lines(result: BlobResult, *, verbose: bool, is_export: bool) -> list[str]:
    blob = result.blob
    lines = [
        f'<Blob Status="{result.status}">',
        f"  <BlobPath>{_text(blob.blob_path)}</BlobPath>",
        f"  <FilePath>{_text(blob.file_path)}</FilePath>",
        f"  <Length>{blob.length}</Length>",
    ]
    if not is_export:
        lines.append(f"  {_disposition(result)}")
    kind = "BlockList" if blob.page_ranges is None else "PageRangeList"
    parts = [
        f"    {_part(part)} Status={quoteattr(status)}/>"
        for part, status in zip(blob.parts, _statuses(result), strict=True)
        if verbose or status is not PartStatus.COMPLETED
    ]
    lines += [f"  <{kind}>", *parts, f"  </{kind}>"]
    shared = blob.blob_list
    lines += _side("Metadata", result.metadata, shared.metadata, blob.metadata)
    lines += _side("Properties", result.properties, shared.properties, blob.properties)
    return [*lines, "</Blob>"]


def _disposition(result: BlobResult) -> str:
    asked, came = result.blob.disposition, result.disposition
    return f'<ImportDisposition Status="{came}">{asked}</ImportDisposition>'


def _statuses(result: BlobResult) -> Sequence[PartStatus]:
    if isinstance(result.parts, PartStatus):
        return [result.parts] * len(result.blob.parts)
    return result.parts


def _part(part: PageRange | Block) -> str:
    where = f'Offset="{part.offset}" Length="{part.length}"'
    if isinstance(part, PageRange):
        return f'<PageRange {where} Hash="{part.md5}"'
    named = "" if part.id is None else f" Id={quoteattr(part.id)}"
    return f'<Block {where}{named} Hash="{part.md5}"'


def _side(
    element: str, status: SideStatus | None, shared: SideFile | None, own: SideFile | None
) -> list[str]:
    if status is None:
        return []
    paths = _side_path("GlobalPath", shared) + _side_path("Path", own)
    return [f'  <{element} Status="{status}">{paths}</{element}>']


def _side_path(element: str, side: SideFile | None) -> str:
    if side is None:
        return ""
    hashed = "" if side.md5 is None else f' Hash="{side.md5}"'
    return f"<{element}{hashed}>{_text(side.path)}</{element}>"


_UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"


def _text(text: str) -> str:
    # A log must come into being whatever the manifest held, so what XML cannot say is replaced.
    return escape("".join(c if c.isprintable() else _UNPRINTABLE for c in text))
