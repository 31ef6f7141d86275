"""One object on a drive as the station stores it, and how its import went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from overland.format.copy_log import BlobResult, BlobStatus, DispositionStatus, PartStatus
from overland.format.drive_xml import Blob, Block, Disposition, PageRange

__all__ = ["LANDED", "DriveKey", "Item", "Verdict", "pack_blob", "unpack_blob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveKey:
    """One drive of one job."""

    job_id: str
    serial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the import of an object went: its status, and one for each part, or for all."""

    status: BlobStatus
    parts: tuple[PartStatus, ...] | PartStatus

    @property
    def landed(self) -> bool:
        """Whether the container has the object, whole and verified."""
        return self.status is BlobStatus.COMPLETED


LANDED: Final = Verdict(status=BlobStatus.COMPLETED, parts=PartStatus.COMPLETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An object that a drive's signed and checked manifests list, in their order.

    Attributes:
        number: Its place in the drive's manifest, from 0.
        name: The object's name in the repository.
        size_bytes: Its size, from the signed manifest.
        sha256: Its SHA-256, from the signed manifest.
        blob: Its entry in `DriveManifest.xml`, with the MD5 of each part.
        verdict: How its import went, or None while that is open.
    """

    number: int
    name: str
    size_bytes: int
    sha256: str
    blob: Blob
    verdict: Verdict | None = None

    def result(self) -> BlobResult:
        """Return the object's entry in the copy log.

        An object that was in the container already counts as created: after a kill nobody can
        tell whether this drive or another brought it.
        """
        assert self.verdict is not None, "a log is written when all objects are settled"
        missing = self.verdict.parts is PartStatus.CANCELLED
        return BlobResult(
            blob=self.blob,
            status=self.verdict.status,
            disposition=DispositionStatus.CANCELLED if missing else DispositionStatus.CREATED,
            parts=self.verdict.parts,
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
    return Blob(
        blob_path=packed.blob_path,
        file_path=packed.file_path,
        length=size_bytes,
        disposition=packed.disposition,
        page_ranges=tuple(PageRange(*part) for part in parts) if packed.is_paged else None,
        blocks=None if packed.is_paged else blocks,
    )


def _md5_texts(packed: bytes) -> Sequence[str]:
    starts = range(0, len(packed), _MD5_BYTES)
    return [packed[start : start + _MD5_BYTES].hex().upper() for start in starts]
