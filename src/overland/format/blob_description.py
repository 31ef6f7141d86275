"""What a container keeps of a blob besides its bytes (`blob-description-v1.md`).

Objects have bytes only.  A blob that came by a drive of another tool has a type, and may have
properties and metadata: they lie in an object of their own, in a folder that no blob can be in.
"""

import hashlib
import re
import unicodedata
from typing import Annotated, Final, Literal

import msgspec

from overland.format.stored import decode_stored

__all__ = [
    "DESCRIPTIONS",
    "BlobDescription",
    "BlobType",
    "decode_description",
    "description_name",
    "encode_description",
    "is_reserved",
]

DESCRIPTIONS: Final = ".overland-blobs"
"""The folder of descriptions in a container."""

BlobType = Literal["BlockBlob", "PageBlob"]

_Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
_SEED: Final = re.compile(r"seed-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class BlobDescription(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One blob.

    Attributes:
        name: The blob's name in its container.
        blob_type: How it was imported.
        sha256: Of its bytes: a description of other bytes than those that are there says nothing.
        properties: Such as `Content-Type`.
        metadata: What the customer gave it.
    """

    format_version: Literal[1] = 1
    name: str
    blob_type: BlobType
    sha256: _Hex
    properties: dict[str, str]
    metadata: dict[str, str]


def description_name(blob_name: str) -> str:
    """Return the object that describes a blob, whatever the length of the blob's name."""
    return f"{DESCRIPTIONS}/{hashlib.sha256(blob_name.encode()).hexdigest()}.json"


def encode_description(description: BlobDescription) -> bytes:
    """Return the object's bytes; the same values give the same bytes."""
    return msgspec.json.encode(description, order="sorted") + b"\n"


def decode_description(data: bytes, *, name: str) -> BlobDescription:
    """Return the description in an object.

    Raises:
        RecordDamaged: It is not what `encode_description` writes.
    """
    return decode_stored(data, BlobDescription, name=name)


def is_reserved(name: str) -> bool:
    """Return whether a name in a container is ours: a seed's folder, or the descriptions'.

    Nothing that a stranger's drive brings may be created, replaced or deleted there.  Other
    spellings that some file system takes for the same name are reserved as well.
    """
    first = unicodedata.normalize("NFKC", name.partition("/")[0]).casefold().rstrip(". ")
    return first == DESCRIPTIONS or _SEED.fullmatch(first) is not None
