"""Chunk ids: keyed, so that nobody without the key can tell whether a known text is inside."""

from typing import Final

from blake3 import blake3

from overland.crypto.secrets import Secret

__all__ = ["CHUNK_ID_BYTES", "chunk_id"]

CHUNK_ID_BYTES: Final = 32


def chunk_id(key: Secret, data: bytes | bytearray | memoryview) -> bytes:
    """Return the id of a chunk: keyed BLAKE3, 32 bytes (`docs/format/keys-v1.md` §5).

    Args:
        key: The 32-byte subkey `Purpose.CHUNK_ID`.
        data: The chunk's content.  Large buffers are hashed without the interpreter lock.
    """
    return blake3(data, key=key.reveal()).digest()
