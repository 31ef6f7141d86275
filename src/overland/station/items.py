"""One object on a drive as the station stores it, and how its import went."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from overland.format.copy_log import (
    NOTED,
    BlobResult,
    BlobStatus,
    DispositionStatus,
    PartStatus,
    SideStatus,
)
from overland.format.drive_xml import Blob, BlobList, Block, Disposition, PageRange, SideFile

__all__ = ["LANDED", "DriveKey", "Item", "Place", "Verdict", "pack_blob", "unpack_blob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveKey:
    """One drive of one job."""

    job_id: str
    serial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a blob of another tool's drive goes, decided before it is sent.

    Kept durably: an import that was killed puts the blob into the same place again.
    """

    name: str
    disposition: DispositionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the import of an object went: its status, and one for each part, or for all.

    The others say how a blob of another tool's drive went; a seed's objects have none.
    """

    status: BlobStatus
    parts: tuple[PartStatus, ...] | PartStatus
    place: Place | None = None
    metadata: SideStatus | None = None
    properties: SideStatus | None = None

    @property
    def landed(self) -> bool:
        """Whether the container has the object, whole and verified."""
        return self.status is BlobStatus.COMPLETED

    @property
    def noted(self) -> bool:
        """Whether its disposition led to something that the customer should know."""
        return self.place is not None and self.place.disposition in NOTED


LANDED: Final = Verdict(status=BlobStatus.COMPLETED, parts=PartStatus.COMPLETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An object that a drive's checked manifests list, in their order.

    Attributes:
        number: Its place in the drive's manifest, from 0.
        name: The object's name in the repository.
        size_bytes: Its size, from the signed manifest.
        sha256: Its SHA-256, from the signed manifest; empty on a drive of another tool.
        blob: Its entry in `DriveManifest.xml`, with the MD5 of each part.
        verdict: How its import went, or None while that is open.
        place: Where it goes, once that is decided; a seed's objects go where their name says.
    """

    number: int
    name: str
    size_bytes: int
    sha256: str
    blob: Blob
    verdict: Verdict | None = None
    place: Place | None = None

    def result(self) -> BlobResult:
        """Return the object's entry in the copy log.

        An object that was in the container already counts as created: after a kill nobody can
        tell whether this drive or another brought it.
        """
        assert self.verdict is not None, "a log is written when all objects are settled"
        landed = self.verdict.landed
        blob, came = self.blob, DispositionStatus.CREATED if landed else DispositionStatus.CANCELLED
        if self.verdict.place is not None:
            # A renamed blob is logged by its new name.
            came, container = self.verdict.place.disposition, blob.blob_path.partition("/")[0]
            blob = replace(blob, blob_path=f"{container}/{self.verdict.place.name}")
        return BlobResult(
            blob=blob,
            status=self.verdict.status,
            disposition=came,
            parts=self.verdict.parts,
            metadata=self.verdict.metadata,
            properties=self.verdict.properties,
        )

    def damaged_parts(self) -> list[tuple[int, int, str]]:
        """Return offset, length and status of each part that did not land."""
        if self.verdict is None or self.verdict.landed:
            return []
        parts, statuses = self.blob.parts, self.verdict.parts
        each = [statuses] * len(parts) if isinstance(statuses, PartStatus) else statuses
        return [
            (part.offset, part.length, status.value)
            for part, status in zip(parts, each, strict=True)
            if status is not PartStatus.COMPLETED
        ]


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """A blob's entry in a few hundred bytes: a large drive has millions of ranges."""

    blob_path: str
    file_path: str
    disposition: Disposition
    is_paged: bool
    offsets: list[int]
    lengths: list[int]
    md5s: bytes
    ids: list[str | None] | None
    sides: list[tuple[str, str | None] | None] = []  # rows of seeds, and older ones, have none


_MD5_BYTES: Final = 16


def pack_blob(blob: Blob) -> bytes:
    """Return a blob's entry for the station's tables."""
    ids = None if blob.blocks is None else [block.id for block in blob.blocks]
    packed = _Packed(
        blob.blob_path,
        blob.file_path,
        blob.disposition,
        blob.page_ranges is not None,
        [part.offset for part in blob.parts],
        [part.length for part in blob.parts],
        b"".join(bytes.fromhex(part.md5) for part in blob.parts),
        ids,
        _pack_sides(blob),
    )
    return msgspec.msgpack.encode(packed)


def unpack_blob(data: bytes, *, size_bytes: int) -> Blob:
    """Return the blob that `pack_blob` packed."""
    packed = msgspec.msgpack.decode(data, type=_Packed)
    md5s = _md5_texts(packed.md5s)
    assert len(md5s) == len(packed.offsets), "each part has an MD5"
    parts = list(zip(packed.offsets, packed.lengths, md5s, strict=True))
    ids = packed.ids or [None] * len(parts)
    blocks = tuple(Block(*part, name) for part, name in zip(parts, ids, strict=True))
    sides = [None if side is None else SideFile(path=side[0], md5=side[1]) for side in packed.sides]
    metadata, properties, *shared = sides or [None] * _SIDES
    return Blob(
        blob_path=packed.blob_path,
        file_path=packed.file_path,
        length=size_bytes,
        disposition=packed.disposition,
        page_ranges=tuple(PageRange(*part) for part in parts) if packed.is_paged else None,
        blocks=None if packed.is_paged else blocks,
        metadata=metadata,
        properties=properties,
        blob_list=BlobList(metadata=shared[0], properties=shared[1]),
    )


_SIDES: Final = 4  # the blob's own files of metadata and properties, and those of its list


def _pack_sides(blob: Blob) -> list[tuple[str, str | None] | None]:
    shared = blob.blob_list
    sides = (blob.metadata, blob.properties, shared.metadata, shared.properties)
    if not any(sides):
        return []
    return [None if side is None else (side.path, side.md5) for side in sides]


def _md5_texts(packed: bytes) -> Sequence[str]:
    starts = range(0, len(packed), _MD5_BYTES)
    return [packed[start : start + _MD5_BYTES].hex().upper() for start in starts]
