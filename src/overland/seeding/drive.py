"""What lies where on a drive, and how a drive is sealed.

    /seed-<uuid>/manifest.json    the whole signed seed manifest, written first
    /seed-<uuid>/<object>         this drive's objects, under their names
    /seed-<uuid>/drive.json       the signed list of this drive's objects
    /DriveManifest.xml            the same list for the documented import service, written last

A drive without `DriveManifest.xml` is unfinished.  The digest of that file goes to the service with
the import job, so that a drive can be neither exchanged nor changed on the way.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from overland.errors import IntegrityError, ObjectAbsent
from overland.format.drive_xml import Blob, Block, PageRange, block_id, write_manifest
from overland.format.seed_manifest import DriveManifest, ManifestObject
from overland.ports.files import Files, NewFile
from overland.seeding.copying import RANGE_BYTES, Digests
from overland.seeding.manifest import Signer, signed_drive_manifest
from overland.seeding.seedrecord import seed_folder

__all__ = [
    "DRIVE_MANIFEST",
    "MANIFEST_XML",
    "MANIFEST_XML_PATH",
    "SEED_MANIFEST",
    "DriveNotAsWritten",
    "begin_drive",
    "blob_for",
    "is_drive_of",
    "manifest_hash",
    "object_path",
    "seal_drive",
]

MANIFEST_XML: Final = "DriveManifest.xml"
MANIFEST_XML_PATH: Final = "\\DriveManifest.xml"  # as the import service writes paths
SEED_MANIFEST: Final = "manifest.json"
DRIVE_MANIFEST: Final = "drive.json"

_PAGED: Final = (".pack", ".index", ".point")  # their length is a multiple of 512


class DriveNotAsWritten(IntegrityError):
    """A drive returns other bytes than were written to it; do not ship it."""

    code = "drive-not-as-written"

    def __init__(self, serial: str, *, name: str, check: str) -> None:
        super().__init__(
            f"drive {serial} does not give back what was written: {name}: {check}; "
            "do not ship it, and run again with another drive"
        )
        self.serial, self.name, self.check = serial, name, check


def object_path(seed_id: str, name: str) -> str:
    """Return where an object of a seed lies on a drive."""
    return f"{seed_folder(seed_id)}/{name}"


def begin_drive(files: Files, *, seed_id: str, seed_manifest: bytes) -> None:
    """Mark a blank drive as one of this seed, durably, before its first object."""
    files.write(object_path(seed_id, SEED_MANIFEST), seed_manifest)


def is_drive_of(files: Files, *, seed_id: str, seed_manifest_sha256: str) -> bool:
    """Return whether `begin_drive` was completed on this drive for the same seed manifest."""
    try:
        document = files.read(object_path(seed_id, SEED_MANIFEST))
    except ObjectAbsent:
        return False
    return hashlib.sha256(document).hexdigest() == seed_manifest_sha256


def seal_drive(
    files: Files,
    manifest: DriveManifest,
    digests: Callable[[], Iterable[Digests]],
    *,
    container: str,
    public_key: bytes,
    sign: Signer,
) -> str:
    """Write the drive's manifests and read them back.

    Returns the SHA-256 of `DriveManifest.xml`, in upper case.

    All three are read from the medium, the seed's that `begin_drive` wrote among them.

    `digests` returns, for the objects of `manifest` in their order, what reading them back told.
    On return the drive is finished and survives a power cut.  After a power cut during the call
    it is finished or unfinished, never finished with half a manifest.

    Raises:
        DriveNotAsWritten: A manifest reads back differently.
        OutOfSpace: The drive has no room for its manifests.
        OSError: The drive failed.
    """
    seed_id, serial = manifest.seed_id, manifest.drive_serial
    # What a run that was killed here wrote goes first: a full drive has no room for both.
    files.delete(MANIFEST_XML)
    files.delete(object_path(seed_id, DRIVE_MANIFEST))
    document = signed_drive_manifest(manifest, public_key=public_key, sign=sign)
    signed_name = object_path(seed_id, DRIVE_MANIFEST)
    files.write(signed_name, document)
    for name, sha256 in (
        (object_path(seed_id, SEED_MANIFEST), manifest.seed_manifest_sha256),
        (signed_name, hashlib.sha256(document).hexdigest()),
    ):
        if _sha256(files, name) != sha256:
            raise DriveNotAsWritten(serial, name=name, check="its bytes differ")
    pairs = zip(manifest.objects, digests(), strict=True)
    blobs = (blob_for(item, read, seed_id=seed_id, container=container) for item, read in pairs)
    written = _write_xml(files, serial, blobs)
    if manifest_hash(files) != written:
        raise DriveNotAsWritten(serial, name=MANIFEST_XML, check="its bytes differ")
    return written


def manifest_hash(files: Files) -> str | None:
    """Return the SHA-256 of a drive's `DriveManifest.xml`, in upper case, or None without one."""
    found = _sha256(files, MANIFEST_XML)
    return None if found is None else found.upper()


def blob_for(item: ManifestObject, read: Digests, *, seed_id: str, container: str) -> Blob:
    """Return how an object appears in `DriveManifest.xml`.

    Packs, index files and recovery points become page blobs (R82), a keyring a block blob.
    """
    assert read.sha256 == item.sha256, "only what was read back correctly is listed"
    path = object_path(seed_id, item.name)
    parts = list(_parts(item.size_bytes, read.range_md5))
    is_paged = item.name.endswith(_PAGED)
    return Blob(
        blob_path=f"{container}/{path}",
        file_path="\\" + path.replace("/", "\\"),
        length=item.size_bytes,
        disposition="no-overwrite",
        page_ranges=tuple(PageRange(*part) for part in parts) if is_paged else None,
        blocks=None
        if is_paged
        else tuple(Block(*part, block_id(number)) for number, part in enumerate(parts)),
    )


def _parts(size_bytes: int, range_md5: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    for number, md5 in enumerate(range_md5):
        offset = number * RANGE_BYTES
        yield offset, min(RANGE_BYTES, size_bytes - offset), md5


def _sha256(files: Files, name: str) -> str | None:
    """Return the digest of a file, read from the medium; None if it is not there."""
    digest = hashlib.sha256()
    try:
        for block in files.blocks(name):  # `read` may be answered by the page cache
            digest.update(block)
    except ObjectAbsent:
        return None
    return digest.hexdigest()


def _write_xml(files: Files, serial: str, blobs: Iterable[Blob]) -> str:
    new = files.create()
    try:
        tee = _HashingSink(new)
        write_manifest(tee, serial, blobs)
        new.publish(MANIFEST_XML)
    finally:
        new.abandon()
    return tee.digest.hexdigest().upper()


class _HashingSink:
    """Hashes what is written to a new file."""

    def __init__(self, new: NewFile) -> None:
        self._new, self.digest = new, hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        """Append `data`, and take it into `digest`.

        Raises:
            OutOfSpace, OSError: As `NewFile.write`.
        """
        self.digest.update(data)
        self._new.write(data)
