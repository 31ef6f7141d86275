"""An index file: the directories of many packs, sealed together (`index-v1.md`)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from overland.errors import ObjectCorrupt
from overland.format.header import HEADER_BYTES, Header, pack_header, unpack_header
from overland.format.pack import (
    ALIGNMENT,
    CHUNK_DTYPE,
    SEGMENT_DTYPE,
    TAG_BYTES,
    Directory,
    check_tables,
)
from overland.values import PackId

__all__ = [
    "HEADER_BYTES",
    "MAX_PLAIN_BYTES",
    "PACK_DTYPE",
    "Header",
    "IndexCorrupt",
    "PackDirectory",
    "decode_header",
    "decode_index",
    "encode_header",
    "encode_index",
    "plain_bytes",
]

MAX_PLAIN_BYTES: Final = 64 << 20
PACK_DTYPE: Final = np.dtype(
    [("id", "u1", (32,)), ("pack_bytes", "<u8"), ("segments", "<u4"), ("chunks", "<u4")]
)
assert PACK_DTYPE.itemsize == 48
_MAGIC: Final = b"OVLINDX1"
_COUNT: Final = struct.Struct("<I4x")  # §3: pack count


class IndexCorrupt(ObjectCorrupt):
    """An index file breaks a rule of `docs/format/index-v1.md`."""

    code = "index-corrupt"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackDirectory:
    """One pack's directory, and the pack's name and size."""

    pack_id: PackId
    pack_bytes: int
    directory: Directory


def encode_header(header: Header) -> bytes:
    """Return the first 64 bytes of an index file; the additional data of its seal."""
    return pack_header(header, magic=_MAGIC)


def decode_header(data: bytes | memoryview, *, name: str) -> Header:
    """Return the header of an index file from its first 64 bytes.

    Raises:
        IndexCorrupt: It is cut, or not an index of version 1.
    """
    return unpack_header(data, magic=_MAGIC, name=name, corrupt=IndexCorrupt)


def plain_bytes(*, packs: int, segments: int, chunks: int) -> int:
    """Return how long the plaintext of so many rows is, with padding; for deciding when to cut."""
    length = (
        _COUNT.size
        + packs * PACK_DTYPE.itemsize
        + segments * SEGMENT_DTYPE.itemsize
        + chunks * CHUNK_DTYPE.itemsize
    )
    return length + -(HEADER_BYTES + length + TAG_BYTES) % ALIGNMENT


def encode_index(packs: Sequence[PackDirectory]) -> bytes:
    """Return the plaintext of an index file, padded so that the file's size is aligned.

    At least one pack, and not more than `plain_bytes` allows within `MAX_PLAIN_BYTES`.
    """
    assert packs, "an index file names at least one pack"
    table = np.zeros(len(packs), PACK_DTYPE)
    table["id"] = np.frombuffer(bytes.fromhex("".join(p.pack_id for p in packs)), "u1").reshape(
        len(packs), 32
    )
    table["pack_bytes"] = [p.pack_bytes for p in packs]
    table["segments"] = [len(p.directory.segments) for p in packs]
    table["chunks"] = [len(p.directory.chunks) for p in packs]
    parts = [_COUNT.pack(len(packs)), table.tobytes()]
    parts += [p.directory.segments.tobytes() for p in packs]
    parts += [p.directory.chunks.tobytes() for p in packs]
    length = sum(map(len, parts))
    plain = b"".join((*parts, bytes(-(HEADER_BYTES + length + TAG_BYTES) % ALIGNMENT)))
    assert len(plain) <= MAX_PLAIN_BYTES, "the writer cuts indexes at MAX_PLAIN_BYTES"
    return plain


def decode_index(plain: bytes, *, name: str) -> list[PackDirectory]:
    """Return the directories of an index file; their tables are views of `plain`.

    Raises:
        IndexCorrupt: A rule of `docs/format/index-v1.md` §3 is broken; `check` says which.
    """
    if not _COUNT.size <= len(plain) <= MAX_PLAIN_BYTES:
        raise IndexCorrupt(name, check="the index's length is not allowed")
    (count,) = _COUNT.unpack_from(plain)
    segments_at = _COUNT.size + count * PACK_DTYPE.itemsize
    if any(plain[4:8]) or count < 1 or segments_at > len(plain):
        raise IndexCorrupt(name, check="the pack table is cut or empty")
    table = np.frombuffer(plain, PACK_DTYPE, count, _COUNT.size)
    segment_counts, chunk_counts = (table[f].astype(np.int64) for f in ("segments", "chunks"))
    segment_count, chunk_count = int(segment_counts.sum()), int(chunk_counts.sum())
    chunks_at = segments_at + segment_count * SEGMENT_DTYPE.itemsize
    end = chunks_at + chunk_count * CHUNK_DTYPE.itemsize
    if len(plain) != plain_bytes(packs=count, segments=segment_count, chunks=chunk_count):
        raise IndexCorrupt(name, check="the index's length does not match its counts")
    if any(plain[end:]):
        raise IndexCorrupt(name, check="the index's padding is not zero")
    segments = np.frombuffer(plain, SEGMENT_DTYPE, segment_count, segments_at)
    chunks = np.frombuffer(plain, CHUNK_DTYPE, chunk_count, chunks_at)
    sizes = check_tables(
        segments,
        chunks,
        segment_counts=segment_counts,
        chunk_counts=chunk_counts,
        corrupt=IndexCorrupt,
        name=name,
    )
    if (sizes != table["pack_bytes"].astype(np.int64)).any():
        raise IndexCorrupt(name, check="a pack's size does not match its directory")
    segment_ends, chunk_ends = np.cumsum(segment_counts), np.cumsum(chunk_counts)
    ids = table["id"].tobytes().hex()
    return [
        PackDirectory(
            pack_id=PackId(ids[64 * i : 64 * i + 64]),
            pack_bytes=int(sizes[i]),
            directory=Directory(
                segments=segments[segment_ends[i] - segment_counts[i] : segment_ends[i]],
                chunks=chunks[chunk_ends[i] - chunk_counts[i] : chunk_ends[i]],
            ),
        )
        for i in range(count)
    ]
