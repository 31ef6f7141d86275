"""The manifest on a drive, as far as every drive has one: name, hash, and the drive that it is of.

The first check that fails is the drive's documented status.
"""

import hashlib
from collections.abc import Iterator
from typing import Final, NoReturn

from overland.errors import IntegrityError, ObjectAbsent
from overland.format.copy_log import DriveStatus
from overland.format.drive_xml import Blob, ManifestXmlInvalid, file_path_problem, read_manifest
from overland.ports.files import Files, name_parts
from overland.station.connection import StationDrive

__all__ = ["DriveRejected", "check_hash", "manifest_name", "read_blobs", "reject"]

_MD5_DIGITS: Final = 32


class DriveRejected(IntegrityError):
    """A drive as a whole is not what its job says; nothing of it is imported."""

    code = "drive-rejected"

    def __init__(self, serial: str, *, status: DriveStatus, why: str) -> None:
        super().__init__(f"drive {serial}: {status}: {why}")
        self.serial, self.status, self.why = serial, status, why


def manifest_name(drive: StationDrive) -> str:
    r"""Return the name of the drive's XML manifest as a file, from `\DriveManifest.xml`.

    Raises:
        DriveRejected: The job has a name that cannot be one.
    """
    path = "\\" + drive.manifest_file.removeprefix("\\")
    problem = file_path_problem(path)
    why = f"the job names {drive.manifest_file!r}"
    if problem == "too-long":
        reject(drive, DriveStatus.MANIFEST_NAME_TOO_LONG, why)
    name = path[1:].replace("\\", "/")
    try:
        name_parts(name)
    except ValueError:
        problem = "invalid"
    if problem is not None:
        reject(drive, DriveStatus.MANIFEST_NAME_INVALID, why)
    return name


def check_hash(files: Files, name: str, drive: StationDrive) -> tuple[int, str]:
    """Return size and SHA-256 of the XML manifest, if it is the one that the job lists.

    Raises:
        DriveRejected: It is absent, cannot be read, or is another one.
    """
    md5, sha256, size_bytes = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    try:
        for block in files.blocks(name):
            md5.update(block)
            sha256.update(block)
            size_bytes += len(block)
    except ObjectAbsent:
        reject(drive, DriveStatus.MANIFEST_NOT_FOUND, f"there is no {name}")
    except PermissionError:
        reject(drive, DriveStatus.MANIFEST_ACCESS_DENIED, f"{name} may not be read")
    except OSError as error:
        reject(drive, DriveStatus.READ_MANIFEST_FAILED, f"{name} cannot be read: {error}")
    # The documented hash is an MD5; newer clients give a SHA-256, and the length tells which.
    is_md5 = len(drive.manifest_hash) == _MD5_DIGITS
    found = md5.hexdigest() if is_md5 else sha256.hexdigest()
    if found != drive.manifest_hash.lower():
        why = f"{name} was changed after the job was created"
        reject(drive, DriveStatus.MANIFEST_CORRUPTED, why)
    return size_bytes, sha256.hexdigest()


def read_blobs(
    files: Files, name: str, drive: StationDrive, *, check_names: bool = True
) -> Iterator[Blob]:
    """Yield the blobs of the XML manifest as it is read.

    Raises:
        DriveRejected: Now or later: it is of another drive, not valid, or cannot be read.
    """
    try:
        xml = read_manifest(files.blocks(name), name=name, check_names=check_names)
        if xml.drive_id.casefold() != drive.serial.casefold():
            why = f"{name} is of drive {xml.drive_id}"
            reject(drive, DriveStatus.MANIFEST_DRIVE_ID_MISMATCH, why)
        yield from xml.blobs
    except ManifestXmlInvalid as error:
        reject(drive, DriveStatus.MANIFEST_FORMAT_INVALID, str(error))
    except (ObjectAbsent, OSError) as error:
        reject(drive, DriveStatus.READ_MANIFEST_FAILED, f"{name} cannot be read: {error}")


def reject(drive: StationDrive, status: DriveStatus, why: str) -> NoReturn:
    """Raise `DriveRejected`: the drive as a whole is not imported."""
    raise DriveRejected(drive.serial, status=status, why=why)
