"""The 64 bytes that packs and index files begin with (`docs/format/repository-v1.md` §4).

The header is authenticated with everything sealed in its file, so a reader that opened one
sealed part knows that the header is the one written.
"""

import struct
from typing import Final
from uuid import UUID

import msgspec

from overland.errors import ObjectCorrupt
from overland.values import RepositoryId

__all__ = ["HEADER_BYTES", "SALT_BYTES", "Header", "pack_header", "unpack_header"]

_HEADER: Final = struct.Struct("<8sIHH16s32s")  # §4
HEADER_BYTES: Final = 64
SALT_BYTES: Final = 32
_VERSION: Final = 1
_AES_256_GCM: Final = 1
assert _HEADER.size == HEADER_BYTES


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Which repository a file belongs to, and which key seals it.

    Attributes:
        repository_id: Of the repository.
        master_number: Of the master key that the file's key comes from; the first has 0.
        salt: Of the file's key.
    """

    repository_id: RepositoryId
    master_number: int
    salt: bytes


def pack_header(header: Header, *, magic: bytes) -> bytes:
    """Return the 64 bytes of `header` with the magic of its kind of file."""
    assert len(header.salt) == SALT_BYTES, "salts are 32 random bytes"
    repository = UUID(header.repository_id).bytes
    number = header.master_number
    return _HEADER.pack(magic, _VERSION, _AES_256_GCM, number, repository, header.salt)


def unpack_header(
    data: bytes | memoryview, *, magic: bytes, name: str, corrupt: type[ObjectCorrupt]
) -> Header:
    """Return the header at the start of `data`; raise `corrupt` where a rule of §4 is broken."""
    if len(data) < HEADER_BYTES:
        raise corrupt(name, check="the header is cut")
    found, version, cipher, number, repository, salt = _HEADER.unpack_from(data)
    if found != magic:
        raise corrupt(name, check="the magic is wrong")
    if version != _VERSION:
        raise corrupt(name, check="the version is unknown")
    if cipher != _AES_256_GCM:
        raise corrupt(name, check="the cipher is unknown")
    repository_id = RepositoryId(str(UUID(bytes=repository)))
    return Header(repository_id=repository_id, master_number=number, salt=salt)
