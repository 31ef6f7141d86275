"""Index files, sealed and opened: whole, or part by part (`docs/format/index-v1.md`)."""

from typing import Final, final

from overland.crypto.aead import IndexCipher, index_cipher
from overland.crypto.secrets import Secret
from overland.errors import ObjectCorrupt
from overland.format import index as index_format
from overland.format.index import HEAD_PART, HEADER_BYTES, Header, PackDirectory, Part, Shape
from overland.values import RepositoryId

__all__ = ["PREFIX_BYTES", "IndexOpener", "open_index", "seal_index"]

PREFIX_BYTES: Final = HEAD_PART.end
"""So much of a file's beginning tells where everything in it lies."""


def seal_index(
    subkey: Secret, packs: list[PackDirectory], *, repository_id: RepositoryId, salt: bytes
) -> bytes:
    """Return an index file that describes these packs.

    Args:
        subkey: `Purpose.INDEX` of the repository.
        packs: At least one, and not more than the format allows.
        repository_id: Stands in the header.
        salt: 32 fresh random bytes; the file's key is made of them.
    """
    header = index_format.encode_header(Header(repository_id=repository_id, salt=salt))
    cipher = index_cipher(subkey, salt=salt, header=header)
    plain = index_format.encode_index(packs)
    return b"".join((header, *(cipher.seal(number, part) for number, part in enumerate(plain))))


def open_index(
    subkey: Secret, data: bytes, *, repository_id: RepositoryId, name: str
) -> list[PackDirectory]:
    """Return the packs that a whole index file describes.

    Raises:
        IntegrityError: It is damaged, or another repository's.
    """
    opener = IndexOpener(subkey, data, size_bytes=len(data), repository_id=repository_id, name=name)
    view = memoryview(data)
    parts = [opener.open(part, view[part.offset : part.end]) for part in opener.shape.parts()]
    return index_format.decode_index(opener.shape, parts, name=name)


@final
class IndexOpener:
    """Opens the parts of one index file; may be used by many threads.

    Attributes:
        shape: Says where they lie.
    """

    def __init__(
        self,
        subkey: Secret,
        prefix: bytes,
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
            subkey, salt=found.salt, header=bytes(prefix[:HEADER_BYTES]), name=name
        )
        head = self.open(HEAD_PART, memoryview(prefix)[HEADER_BYTES:PREFIX_BYTES])
        self.shape: Shape = index_format.decode_head(head, size_bytes=size_bytes, name=name)

    def open(self, part: Part, sealed: bytes | memoryview) -> bytes:
        """Return the plaintext of a part.

        Raises:
            SealBroken: It is not what was sealed there.
        """
        return self._cipher.open(part.number, sealed)
