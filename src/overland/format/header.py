"""The 64 bytes that packs and index files begin with (`docs/format/repository-v1.md` §4).

The header is authenticated with everything sealed in its file, so a reader that opened one
sealed part knows that the header is the one written.
"""

import struct
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from overland.errors import ObjectCorrupt
from overland.values import RepositoryId

__all__ = ["HEADER_BYTES", "SALT_BYTES", "Header", "pack_header", "unpack_header"]

_HEADER: Final = struct.Struct("<8sII16s32s")  # §4: magic, version, cipher, repository, salt
HEADER_BYTES: Final = 64
SALT_BYTES: Final = 32
_VERSION: Final = 1
_AES_256_GCM: Final = 1
assert _HEADER.size == HEADER_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Which repository a file belongs to, and the salt of the key that seals it."""

    repository_id: RepositoryId
    salt: bytes


def pack_header(header: Header, *, magic: bytes) -> bytes:
    """Return the 64 bytes of `header` with the magic of its kind of file."""
    assert len(header.salt) == SALT_BYTES, "salts are 32 random bytes"
    repository = UUID(header.repository_id).bytes
    return _HEADER.pack(magic, _VERSION, _AES_256_GCM, repository, header.salt)


def unpack_header(
    data: bytes | memoryview, *, magic: bytes, name: str, corrupt: type[ObjectCorrupt]
) -> Header:
    """Return the header at the start of `data`; raise `corrupt` where a rule of §4 is broken."""
    if len(data) < HEADER_BYTES:
        raise corrupt(name, check="the header is cut")
    found, version, cipher, repository, salt = _HEADER.unpack_from(data)
    if found != magic:
        raise corrupt(name, check="the magic is wrong")
    if version != _VERSION:
        raise corrupt(name, check="the version is unknown")
    if cipher != _AES_256_GCM:
        raise corrupt(name, check="the cipher is unknown")
    return Header(repository_id=RepositoryId(str(UUID(bytes=repository))), salt=salt)
