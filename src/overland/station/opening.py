"""Is this the drive that the job lists, as it was prepared?  Nothing is trusted before.

Checked are, in this order: the serial number, the hash of `DriveManifest.xml` that the job holds,
and for a seed the signatures of both manifests by the keys that the cloud knows, and that all three
lists name the same objects.  The first check that fails is the drive's documented status.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from overland.errors import IntegrityError, ObjectAbsent, RefusedError, SignatureInvalid
from overland.format.copy_log import DriveStatus
from overland.format.drive_xml import Blob
from overland.format.seed_manifest import DriveManifest, ManifestObject, SeedManifest
from overland.format.signed import MAX_DOCUMENT_BYTES
from overland.ports.files import Files
from overland.ports.volume import Volume, Volumes
from overland.seeding.drive import DRIVE_MANIFEST, object_path
from overland.seeding.manifest import read_drive_manifest, read_seed_manifest
from overland.seeding.staging import MANIFEST
from overland.station.connection import StationDrive, StationJob
from overland.station.items import Item
from overland.station.manifestfile import check_hash, manifest_name, read_blobs, reject

__all__ = [
    "CheckedDrive",
    "DriveNotOurs",
    "WrongDrive",
    "check_drive",
    "check_other_drive",
    "open_at",
]


class WrongDrive(RefusedError):
    """Another drive than the expected one is attached at a path."""

    code = "wrong-drive"

    def __init__(self, path: str, *, found: str, expected: str) -> None:
        super().__init__(
            f"the drive at {path} is {found}, not {expected}; attach the right one, or give its "
            "path with --drive"
        )
        self.path, self.found, self.expected = path, found, expected


class DriveNotOurs(RefusedError):
    """A job names a seed of Overland's, and not all that is needed to verify it."""

    code = "drive-not-ours"

    def __init__(self, serial: str, *, job: str) -> None:
        super().__init__(
            f"job {job} says that drive {serial} carries a seed, and not who sealed it; "
            "have its owner set the job's tag overland-drive-key, then run again, or end it with "
            "`overland station give-up`"
        )
        self.serial, self.job = serial, job


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedDrive:
    """A drive that is what its job says.

    `items` reads `DriveManifest.xml` as it is iterated; it raises `DriveRejected` where that list
    and the signed ones differ.
    """

    manifest_bytes: int
    manifest_sha256: str
    items: Iterator[Item]


def open_at(volumes: Volumes, path: str, *, serial: str) -> Volume:
    """Return the drive at `path`, which has to be the one with this serial number.

    Raises:
        WrongDrive: Another one is attached there.
        RefusedError: There is no drive that can be used.
    """
    volume = volumes.open(path)
    if volume.serial.casefold() != serial.casefold():
        raise WrongDrive(path, found=volume.serial, expected=serial)
    return volume


def check_drive(files: Files, *, job: StationJob, drive: StationDrive) -> CheckedDrive:
    """Check a drive's manifests; return it with its objects.

    Raises:
        DriveNotOurs: The job does not say whose signatures to expect.
        DriveRejected: A check fails; its `status` is the documented code.
    """
    if (
        job.seed_id is None
        or job.container is None
        or job.signing_public_key is None
        or job.drive_public_key is None
    ):
        raise DriveNotOurs(drive.serial, job=job.name)
    name = manifest_name(drive)
    size_bytes, sha256 = check_hash(files, name, drive)
    document = _document(files, object_path(job.seed_id, MANIFEST), drive)
    seed = _seed_manifest(document, job.seed_id, job.signing_public_key, drive)
    digest = hashlib.sha256(document).hexdigest()
    if job.manifest_sha256 not in {None, digest}:
        why = f"{MANIFEST} is signed with a key that was replaced, and is not the one that counts"
        reject(drive, DriveStatus.MANIFEST_CORRUPTED, why)
    listed = _drive_manifest(files, job.seed_id, job.drive_public_key, drive)
    if digest != listed.seed_manifest_sha256:
        why = f"{MANIFEST} is not the one that {DRIVE_MANIFEST} was made for"
        reject(drive, DriveStatus.MANIFEST_CORRUPTED, why)
    _check_lists(seed, listed, drive)
    items = _items(files, name, listed, drive=drive, container=job.container)
    return CheckedDrive(manifest_bytes=size_bytes, manifest_sha256=sha256, items=items)


def check_other_drive(files: Files, *, drive: StationDrive) -> CheckedDrive:
    """Check the manifest of a drive that another tool made; return the drive with its blobs.

    Nothing on it is signed: what is known of its bytes are the MD5s of their parts, so an item's
    SHA-256 is empty until the item is read.

    Raises:
        DriveRejected: A check fails; its `status` is the documented code.
    """
    name = manifest_name(drive)
    size_bytes, sha256 = check_hash(files, name, drive)
    blobs = read_blobs(files, name, drive, check_names=False)
    items = (
        Item(number=number, name=blob.blob_path, size_bytes=blob.length, sha256="", blob=blob)
        for number, blob in enumerate(blobs)
    )
    return CheckedDrive(manifest_bytes=size_bytes, manifest_sha256=sha256, items=items)


def _seed_manifest(
    document: bytes, seed_id: str, public_key: str, drive: StationDrive
) -> SeedManifest:
    name = object_path(seed_id, MANIFEST)
    try:
        manifest, signer = read_seed_manifest(document, name=name)
    except IntegrityError as error:
        reject(drive, _status_of(error), str(error))
    if signer.hex() != public_key.lower():
        why = f"{name} is not signed by the source computer that is registered for this seed"
        reject(drive, DriveStatus.MANIFEST_CORRUPTED, why)
    if manifest.seed_id != seed_id:
        reject(drive, DriveStatus.MANIFEST_CORRUPTED, f"{name} is of another seed")
    return manifest


def _drive_manifest(
    files: Files, seed_id: str, public_key: str, drive: StationDrive
) -> DriveManifest:
    name = object_path(seed_id, DRIVE_MANIFEST)
    document = _document(files, name, drive)
    try:
        manifest, signer = read_drive_manifest(document, name=name)
    except IntegrityError as error:
        reject(drive, _status_of(error), str(error))
    if signer.hex() != public_key.lower():
        why = f"{name} is not signed by the copy computer that the job names"
        reject(drive, DriveStatus.MANIFEST_CORRUPTED, why)
    if manifest.seed_id != seed_id:
        reject(drive, DriveStatus.MANIFEST_CORRUPTED, f"{name} is of another seed")
    if manifest.drive_serial.casefold() != drive.serial.casefold():
        why = f"{name} is of drive {manifest.drive_serial}"
        reject(drive, DriveStatus.MANIFEST_DRIVE_ID_MISMATCH, why)
    return manifest


def _check_lists(seed: SeedManifest, listed: DriveManifest, drive: StationDrive) -> None:
    """Return if every object of the drive is the seed's object of that name."""
    of_seed = {each.name: each for each in seed.objects}
    for each in listed.objects:
        if of_seed.get(each.name) != each:
            why = f"{DRIVE_MANIFEST} lists {each.name}, and the seed has no such object"
            reject(drive, DriveStatus.MANIFEST_CORRUPTED, why)


def _document(files: Files, name: str, drive: StationDrive) -> bytes:
    try:
        if files.size_bytes(name) > MAX_DOCUMENT_BYTES:
            reject(drive, DriveStatus.MANIFEST_FORMAT_INVALID, f"{name} is too long")
        return files.read(name)
    except ObjectAbsent:
        reject(drive, DriveStatus.MANIFEST_NOT_FOUND, f"there is no {name}")
    except OSError as error:
        reject(drive, DriveStatus.READ_MANIFEST_FAILED, f"{name} cannot be read: {error}")


def _items(
    files: Files, name: str, listed: DriveManifest, *, drive: StationDrive, container: str
) -> Iterator[Item]:
    """Yield the objects with their parts, while the XML manifest and the signed one agree."""
    blobs = read_blobs(files, name, drive)
    for number, wanted in enumerate(listed.objects):
        blob = next(blobs, None)
        if blob is None or not _is_same(blob, wanted, seed_id=listed.seed_id, container=container):
            why = f"{name} does not list {wanted.name} where {DRIVE_MANIFEST} does"
            reject(drive, DriveStatus.MANIFEST_FORMAT_INVALID, why)
        yield Item(
            number=number,
            name=wanted.name,
            size_bytes=wanted.size_bytes,
            sha256=wanted.sha256,
            blob=blob,
        )
    if next(blobs, None) is not None:
        why = f"{name} lists more than {DRIVE_MANIFEST}"
        reject(drive, DriveStatus.MANIFEST_FORMAT_INVALID, why)


def _is_same(blob: Blob, wanted: ManifestObject, *, seed_id: str, container: str) -> bool:
    path = object_path(seed_id, wanted.name)
    return (blob.blob_path, blob.file_name, blob.length) == (
        f"{container}/{path}",
        path,
        wanted.size_bytes,
    )


def _status_of(error: IntegrityError) -> DriveStatus:
    if isinstance(error, SignatureInvalid):
        return DriveStatus.MANIFEST_CORRUPTED
    return DriveStatus.MANIFEST_FORMAT_INVALID
