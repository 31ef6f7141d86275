"""Chunk ids: keyed, so that nobody without the key can tell whether a known text is inside."""

from collections.abc import Iterable
from typing import Final

from blake3 import blake3

from overland.crypto.secrets import Secret

__all__ = ["CHUNK_ID_BYTES", "chunk_id", "chunk_ids"]

CHUNK_ID_BYTES: Final = 32


def chunk_id(key: Secret, data: bytes | bytearray | memoryview) -> bytes:
    """Return the id of a chunk: keyed BLAKE3, 32 bytes (`docs/format/keys-v1.md` §5).

    Args:
        key: The 32-byte subkey `Purpose.CHUNK_ID`.
        data: The chunk's content.  Large buffers are hashed without the interpreter lock.
    """
    return blake3(data, key=key.reveal()).digest()


def chunk_ids(key: Secret, data: memoryview, places: Iterable[tuple[int, int]]) -> bytes:
    """Return the ids, laid end to end, of the chunks of `data` at offsets with their lengths."""
    hasher = blake3(key=key.reveal())  # used again: a new one takes as long as 500 bytes
    ids: list[bytes] = []
    for at, length in places:
        hasher.reset()
        ids.append(hasher.update(data[at : at + length]).digest())
    return b"".join(ids)
