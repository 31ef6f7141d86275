"""What a seed, and one drive of it, consist of (`seed-manifest-v1.md`, `drive-manifest-v1.md`).

Both are the bodies of signed documents (`format.signed`).  They hold no file name, no file size
and no plaintext hash of the source.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec.structs import replace

from overland.errors import IntegrityError
from overland.format.objecttable import (
    Buffer,
    ListingBroken,
    ObjectRef,
    joined,
    listing,
    split,
)
from overland.values import PointId, RepositoryId, SeedId, canonical_uuid, is_object_name

__all__ = [
    "DRIVE_MANIFEST_PURPOSE",
    "MAX_OBJECTS",
    "SEED_MANIFEST_PURPOSE",
    "DriveManifest",
    "ManifestInvalid",
    "ManifestObject",
    "SeedManifest",
    "decode_drive_manifest",
    "decode_seed_manifest",
    "encode_drive_manifest",
    "encode_seed_manifest",
    "seed_manifest_parts",
]

SEED_MANIFEST_PURPOSE: Final = "overland-seed-manifest-v1"
DRIVE_MANIFEST_PURPOSE: Final = "overland-drive-manifest-v1"
MAX_OBJECTS: Final = 2_000_000
_ALIGNMENT: Final = 512
_ALIGNED: Final = (".pack", ".index", ".point")

_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_JobName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Serial = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,64}\Z")]
_Manifest = TypeVar("_Manifest", "SeedManifest", "DriveManifest")


class ManifestInvalid(IntegrityError):
    """A seed's or drive's manifest breaks a rule of its format document."""

    code = "manifest-invalid"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(f"{name} is not a valid manifest: {check}; take another copy of it")
        self.name, self.check = name, check


ManifestObject = ObjectRef
"""One object of a seed; its digest is lower-case hexadecimal."""


class SeedManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole seed: every object that must arrive for its recovery point to be restorable.

    `objects` of a manifest that was read are an `ObjectTable`: 37 bytes each.
    """

    format_version: Literal[1] = 1
    seed_id: SeedId
    repository_id: RepositoryId
    job_name: _JobName
    point_id: PointId
    snapshot_at: _Instant
    created_at: _Instant
    objects: Sequence[ManifestObject]
    parity: Annotated[list[str], msgspec.Meta(max_length=0)] = msgspec.field(default_factory=list)


class DriveManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One drive: which objects of the seed are on it."""

    format_version: Literal[1] = 1
    seed_id: SeedId
    job_name: _JobName
    drive_serial: _Serial
    sequence: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    drive_count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None
    seed_manifest_sha256: _Sha256
    objects: Sequence[ManifestObject]
    prepared_at: _Instant


def encode_seed_manifest(manifest: SeedManifest) -> bytes:
    """Return the canonical body to sign for `SEED_MANIFEST_PURPOSE`.

    Raises:
        ManifestInvalid: A rule of `docs/format/seed-manifest-v1.md` §3 is broken.
    """
    return b"".join(seed_manifest_parts(manifest))


def seed_manifest_parts(manifest: SeedManifest) -> Iterator[bytes]:
    """Return the same in parts, for who has no room for a long one twice.

    Raises:
        ManifestInvalid: As `encode_seed_manifest`.
    """
    _check_seed(manifest, name="the new manifest")
    return _parts(manifest)


def decode_seed_manifest(body: Buffer, *, name: str) -> SeedManifest:
    """Return a seed's manifest from the body of its signed document.

    Raises:
        ManifestInvalid: A rule of `docs/format/seed-manifest-v1.md` §3 is broken.
    """
    manifest = _decode(body, SeedManifest, name=name)
    _check_seed(manifest, name=name)
    return manifest


def encode_drive_manifest(manifest: DriveManifest) -> bytes:
    """Return the canonical body to sign for `DRIVE_MANIFEST_PURPOSE`.

    Raises:
        ManifestInvalid: A rule of `docs/format/drive-manifest-v1.md` §2 is broken.
    """
    _check_drive(manifest, name="the new manifest")
    return b"".join(_parts(manifest))


def decode_drive_manifest(body: Buffer, *, name: str) -> DriveManifest:
    """Return a drive's manifest from the body of its signed document.

    Raises:
        ManifestInvalid: A rule of `docs/format/drive-manifest-v1.md` §2 is broken.
    """
    manifest = _decode(body, DriveManifest, name=name)
    _check_drive(manifest, name=name)
    return manifest


def _parts(manifest: SeedManifest | DriveManifest) -> Iterator[bytes]:
    # Types and bounds hold in what is written, as they must in what is read.
    return joined(msgspec.json.encode(replace(manifest, objects=())), manifest.objects)


def _decode(body: Buffer, form: type[_Manifest], *, name: str) -> _Manifest:
    try:
        shell, elements = split(body)
        manifest = msgspec.json.decode(shell, type=form)
        if msgspec.json.encode(manifest) != shell:
            raise ManifestInvalid(name, check="it is not in canonical form")
        objects = listing(elements, check=lambda _: None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ListingBroken) as error:
        raise ManifestInvalid(name, check=f"not a manifest of version 1: {error}") from None
    return replace(manifest, objects=objects)


def _check_seed(manifest: SeedManifest, *, name: str) -> None:
    _check_ids((manifest.seed_id, manifest.repository_id, manifest.point_id), name=name)
    _check_instants((manifest.snapshot_at, manifest.created_at), name=name)
    if not manifest.objects:
        raise ManifestInvalid(name, check="not a manifest of version 1: it lists no object")
    _check_objects(manifest.objects, name=name)
    points = [o.name for o in manifest.objects if o.name.endswith(".point")]
    if points != [f"points/{manifest.point_id}.point"]:
        raise ManifestInvalid(name, check="it does not hold its own recovery point, and only that")
    if not any(o.name.endswith(".keyring") for o in manifest.objects):
        raise ManifestInvalid(name, check="it holds no keyring")


def _check_drive(manifest: DriveManifest, *, name: str) -> None:
    _check_ids((manifest.seed_id,), name=name)
    _check_instants((manifest.prepared_at,), name=name)
    _check_objects(manifest.objects, name=name)
    if manifest.drive_count is not None and manifest.sequence > manifest.drive_count:
        raise ManifestInvalid(name, check="its sequence is above the drive count")


def _check_ids(ids: Iterable[str], *, name: str) -> None:
    for text in ids:
        try:
            canonical = canonical_uuid(text)
        except ValueError:
            canonical = None
        if canonical != text:
            raise ManifestInvalid(name, check="an id is not a canonical UUID")


def _check_instants(instants: Iterable[datetime], *, name: str) -> None:
    for instant in instants:
        if instant.utcoffset() != timedelta(0):
            raise ManifestInvalid(name, check="an instant is not in UTC")


def _check_objects(objects: Sequence[ManifestObject], *, name: str) -> None:
    if len(objects) > MAX_OBJECTS:
        raise ManifestInvalid(name, check=f"it lists more than {MAX_OBJECTS} objects")
    before = ""
    for found in objects:
        # A seed is a chain's first point: nothing of it can have been replaced yet.
        if not is_object_name(found.name) or found.name.startswith("replacements/"):
            raise ManifestInvalid(name, check="an object's name is not allowed")
        if found.name <= before:
            raise ManifestInvalid(name, check="objects are not sorted by name, or not unique")
        if found.name.endswith(_ALIGNED) and found.size_bytes % _ALIGNMENT:
            raise ManifestInvalid(name, check="an object's size is not a multiple of 512")
        named_by_digest = found.name.endswith((".pack", ".index", ".change"))
        if named_by_digest and found.sha256 not in found.name:
            raise ManifestInvalid(name, check="an object's name is not its SHA-256")
        before = found.name
