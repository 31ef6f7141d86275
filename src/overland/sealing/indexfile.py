"""Index files, sealed and opened: whole, or part by part (`docs/format/index-v1.md`)."""

from typing import Final, final

import numpy as np

from overland.crypto.aead import IndexCipher, index_cipher
from overland.crypto.masterkey import Subkeys
from overland.errors import ObjectCorrupt
from overland.format import index as index_format
from overland.format.index import (
    HEAD_PART,
    HEADER_BYTES,
    Header,
    IndexTables,
    PackDirectory,
    Part,
    Shape,
)
from overland.values import RepositoryId

__all__ = ["PREFIX_BYTES", "IndexOpener", "open_index", "open_tables", "seal_index"]

Buffer = bytes | memoryview

PREFIX_BYTES: Final = HEAD_PART.end
"""So much of a file's beginning tells where everything in it lies."""


def seal_index(
    subkeys: Subkeys, packs: list[PackDirectory], *, repository_id: RepositoryId, salt: bytes
) -> bytes:
    """Return an index file that describes these packs.

    Args:
        subkeys: `Purpose.INDEX` of the repository; the newest seals.
        packs: At least one, and not more than the format allows.
        repository_id: Stands in the header.
        salt: 32 fresh random bytes; the file's key is made of them.
    """
    header = index_format.encode_header(
        Header(repository_id=repository_id, master_number=subkeys.number, salt=salt)
    )
    cipher = index_cipher(subkeys.newest, salt=salt, header=header)
    shape, plain = index_format.encode_index(packs)
    file = np.empty(shape.file_bytes, np.uint8).data
    file[:HEADER_BYTES] = header
    at = 0
    for part in (HEAD_PART, *shape.parts()):
        end = at + part.plain_bytes
        cipher.seal_into(part.number, plain[at:end], file[part.offset : part.end])
        at = end
    return bytes(file)


def open_index(
    subkeys: Subkeys, data: Buffer, *, repository_id: RepositoryId, name: str
) -> list[PackDirectory]:
    """Return the packs that a whole index file describes.

    Raises:
        IntegrityError: It is damaged, or another repository's.
    """
    return open_tables(subkeys, data, repository_id=repository_id, name=name).directories()


def open_tables(
    subkeys: Subkeys, data: Buffer, *, repository_id: RepositoryId, name: str
) -> IndexTables:
    """Return what a whole index file says, in the order in which it says it.

    Raises:
        IntegrityError: It is damaged, or another repository's.
    """
    opener = IndexOpener(
        subkeys, data, size_bytes=len(data), repository_id=repository_id, name=name
    )
    return index_format.decode_index(opener.shape, opener.open_all(data), name=name)


@final
class IndexOpener:
    """Opens the parts of one index file; may be used by many threads.

    Attributes:
        shape: Says where they lie.
    """

    def __init__(
        self,
        subkeys: Subkeys,
        prefix: Buffer,
        *,
        size_bytes: int,
        repository_id: RepositoryId,
        name: str,
    ) -> None:
        """Begin with the first `PREFIX_BYTES`, or more, of a file that is `size_bytes` long.

        Raises:
            IntegrityError: They are damaged, or another repository's.
        """
        found = index_format.decode_header(prefix, name=name)
        if found.repository_id != repository_id:
            raise ObjectCorrupt(name, check="another repository's")
        self._cipher: IndexCipher = index_cipher(
            subkeys.of(found.master_number, name=name),
            salt=found.salt,
            header=bytes(prefix[:HEADER_BYTES]),
            name=name,
        )
        head = self.open(HEAD_PART, memoryview(prefix)[HEADER_BYTES:PREFIX_BYTES])
        self.shape: Shape = index_format.decode_head(head, size_bytes=size_bytes, name=name)

    def open(self, part: Part, sealed: bytes | memoryview) -> bytes:
        """Return the plaintext of a part.

        Raises:
            SealBroken: It is not what was sealed there.
        """
        return self._cipher.open(part.number, sealed)

    def open_all(self, data: Buffer) -> memoryview:
        """Return the plaintexts of all parts behind the head, back to back, of the whole file.

        Raises:
            SealBroken: One of them is not what was sealed there.
        """
        shape, sealed, at = self.shape, memoryview(data), 0
        length = shape.rows_bytes + shape.padding_bytes - HEAD_PART.plain_bytes
        plain = np.empty(length, np.uint8).data  # not filled with zeros first
        for part in shape.parts():
            end = at + part.plain_bytes
            self._cipher.open_into(part.number, sealed[part.offset : part.end], plain[at:end])
            at = end
        return plain
