"""Metadata and properties of a blob, from the files that its manifest names for them."""

import errno
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from overland.errors import ObjectAbsent
from overland.format.copy_log import SideStatus
from overland.format.drive_xml import Blob, SideFile, file_path_problem
from overland.format.side_xml import (
    MAX_SIDE_BYTES,
    SideXmlInvalid,
    read_metadata,
    read_properties,
)
from overland.ports.files import Files

__all__ = ["Sides", "read_sides"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What the files said; a status is None where the manifest names no file."""

    metadata: dict[str, str]
    metadata_status: SideStatus | None
    properties: dict[str, str]
    properties_status: SideStatus | None

    @property
    def are_whole(self) -> bool:
        """Whether everything that the manifest names could be read."""
        return {self.metadata_status, self.properties_status} <= {None, SideStatus.COMPLETED}


def read_sides(medium: Files, blob: Blob) -> Sides:
    """Read what belongs to a blob: its own files, or those of its list; nothing is raised."""
    metadata = blob.metadata or blob.blob_list.metadata
    properties = blob.properties or blob.blob_list.properties
    metadata_status, found_metadata = _read(medium, metadata, read_metadata)
    properties_status, found_properties = _read(medium, properties, read_properties)
    return Sides(
        metadata=found_metadata,
        metadata_status=metadata_status,
        properties=found_properties,
        properties_status=properties_status,
    )


_NAMES: Final = {
    "invalid": SideStatus.FILE_NAME_INVALID,
    "too-long": SideStatus.FILE_NAME_TOO_LONG,
}


def _read(
    medium: Files, side: SideFile | None, parse: Callable[[bytes], dict[str, str]]
) -> tuple[SideStatus | None, dict[str, str]]:
    if side is None:
        return None, {}
    problem = file_path_problem(side.path)
    if problem is not None:
        return _NAMES[problem], {}
    try:
        # One byte more than is taken, so that a longer file shows.
        data = medium.read_range(
            side.path[1:].replace("\\", "/"), offset=0, length=MAX_SIDE_BYTES + 1
        )
        if side.md5 is not None and _md5(data) != side.md5 and len(data) <= MAX_SIDE_BYTES:
            return SideStatus.CORRUPTED, {}
        return SideStatus.COMPLETED, parse(data)
    except (SideXmlInvalid, ObjectAbsent, ValueError, OSError) as error:
        return _status(error), {}


def _status(error: Exception) -> SideStatus:
    match error:
        case SideXmlInvalid():
            return SideStatus.XML_READ_FAILED
        case ObjectAbsent():
            return SideStatus.FILE_NOT_FOUND
        case PermissionError():
            return SideStatus.FILE_ACCESS_DENIED
        case ValueError():  # a name that the drive's folder keeps for itself
            return SideStatus.FILE_NAME_INVALID
        case OSError(errno=errno.ENAMETOOLONG):
            return SideStatus.FILE_NAME_TOO_LONG
        case _:
            return SideStatus.IO_FAILED


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().upper()
