"""A pack: chunks in sealed segments, and the directory that says where (`pack-v1.md`).

Bytes and numpy tables only; sealing and hashing are the caller's.  Nothing here makes an object
for a chunk: directories of millions of chunks are checked by whole-table arithmetic.
"""

import hashlib
import struct
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from overland.errors import ObjectCorrupt
from overland.format.header import HEADER_BYTES, Header, pack_header, unpack_header

__all__ = [
    "ALIGNMENT",
    "CHUNK_DTYPE",
    "CODEC_RAW",
    "CODEC_ZSTD",
    "HEADER_BYTES",
    "MAX_CHUNKS",
    "MAX_PACK_BYTES",
    "MAX_SEGMENT_BYTES",
    "SEGMENT_DTYPE",
    "TAG_BYTES",
    "TRAILER_BYTES",
    "Directory",
    "Header",
    "PackCorrupt",
    "Table",
    "Trailer",
    "check_tables",
    "decode_directory",
    "decode_header",
    "decode_trailer",
    "encode_directory",
    "encode_header",
    "encode_trailer",
]

TRAILER_BYTES: Final = 64
TAG_BYTES: Final = 16
ALIGNMENT: Final = 512  # every object may become a page blob, whose size is so aligned
MAX_PACK_BYTES: Final = 1 << 30
MAX_SEGMENT_BYTES: Final = 16 << 20
MAX_CHUNKS: Final = 16 << 20
CODEC_RAW: Final = 0
CODEC_ZSTD: Final = 1

Table = npt.NDArray[np.void]
_Fields = npt.NDArray[Any]  # columns of several integer types

SEGMENT_DTYPE: Final = np.dtype(
    [
        ("offset", "<u8"),
        ("sealed_bytes", "<u4"),
        ("raw_bytes", "<u4"),
        ("codec", "u1"),
        ("reserved", "u1", (7,)),
    ]
)
CHUNK_DTYPE: Final = np.dtype(
    [("id", "u1", (32,)), ("segment", "<u4"), ("offset", "<u4"), ("length", "<u4")]
)
assert SEGMENT_DTYPE.itemsize == 24
assert CHUNK_DTYPE.itemsize == 44

_MAGIC: Final = b"OVLPACK1"
_COUNTS: Final = struct.Struct("<II")  # §4: segment count, chunk count
_TRAILER: Final = struct.Struct("<8sQIII4x")  # §5, followed by its SHA-256
_TRAILER_MAGIC: Final = b"OVLTAIL1"
assert _TRAILER.size + hashlib.sha256().digest_size == TRAILER_BYTES


class PackCorrupt(ObjectCorrupt):
    """A pack breaks a rule of `docs/format/pack-v1.md`."""

    code = "pack-corrupt"


class Directory(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a pack holds: rows of `SEGMENT_DTYPE` and of `CHUNK_DTYPE`, in file order.

    A segment's row number is its number, the nonce it was sealed with.
    """

    segments: Table
    chunks: Table


class Trailer(msgspec.Struct, frozen=True, kw_only=True):
    """Where the sealed directory lies.  The counts are for readers without a key."""

    directory_offset: int
    directory_sealed_bytes: int
    segment_count: int
    chunk_count: int


def encode_header(header: Header) -> bytes:
    """Return the first 64 bytes of a pack."""
    return pack_header(header, magic=_MAGIC)


def decode_header(data: bytes | memoryview, *, name: str) -> Header:
    """Return the header of a pack from its first 64 bytes.

    Raises:
        PackCorrupt: It is cut, or not a pack of version 1.
    """
    return unpack_header(data, magic=_MAGIC, name=name, corrupt=PackCorrupt)


def encode_directory(directory: Directory) -> bytes:
    """Return the plaintext of the directory, padded so that the pack's size is aligned.

    The sealed directory follows the last segment; with it and the trailer the pack's length is a
    multiple of `ALIGNMENT`.
    """
    check_tables(
        directory.segments,
        directory.chunks,
        segment_counts=np.array([len(directory.segments)]),
        chunk_counts=np.array([len(directory.chunks)]),
        corrupt=PackCorrupt,
        name="the new pack",
    )
    body = b"".join(
        (
            _COUNTS.pack(len(directory.segments), len(directory.chunks)),
            directory.segments.tobytes(),
            directory.chunks.tobytes(),
        )
    )
    offset = int(directory.segments["offset"][-1]) + int(directory.segments["sealed_bytes"][-1])
    return body + bytes(-(offset + len(body) + TAG_BYTES + TRAILER_BYTES) % ALIGNMENT)


def decode_directory(
    plain: bytes, *, name: str, pack_bytes: int, trailer: Trailer | None = None
) -> Directory:
    """Return the directory of a pack; its tables are views of `plain`.

    Args:
        plain: The opened directory, with its padding.
        name: Used in errors only.
        pack_bytes: The length of the whole pack.
        trailer: The pack's trailer where the caller has it: its counts are then checked too.

    Raises:
        PackCorrupt: A rule of `docs/format/pack-v1.md` §4 is broken; `check` says which.
    """
    if len(plain) < _COUNTS.size:
        raise PackCorrupt(name, check="the directory is cut")
    segment_count, chunk_count = _COUNTS.unpack_from(plain)
    tables_end = _COUNTS.size + segment_count * 24 + chunk_count * 44
    if not tables_end <= len(plain) < tables_end + ALIGNMENT:
        raise PackCorrupt(name, check="the directory's length does not match its counts")
    if any(plain[tables_end:]):
        raise PackCorrupt(name, check="the directory's padding is not zero")
    if trailer is not None and (trailer.segment_count, trailer.chunk_count) != (
        segment_count,
        chunk_count,
    ):
        raise PackCorrupt(name, check="the trailer's counts are not the directory's")
    segments = np.frombuffer(plain, SEGMENT_DTYPE, segment_count, _COUNTS.size)
    chunks = np.frombuffer(plain, CHUNK_DTYPE, chunk_count, tables_end - chunk_count * 44)
    expected = check_tables(
        segments,
        chunks,
        segment_counts=np.array([segment_count]),
        chunk_counts=np.array([chunk_count]),
        corrupt=PackCorrupt,
        name=name,
    )
    last = segments[-1]
    end = int(last["offset"]) + int(last["sealed_bytes"])
    filled = end + len(plain) + TAG_BYTES + TRAILER_BYTES  # longer padding would hide a gap
    if not int(expected[0]) == filled == pack_bytes:
        raise PackCorrupt(name, check="segments and directory do not fill the pack")
    return Directory(segments=segments, chunks=chunks)


def encode_trailer(trailer: Trailer) -> bytes:
    """Return the last 64 bytes of a pack."""
    body = _TRAILER.pack(
        _TRAILER_MAGIC,
        trailer.directory_offset,
        trailer.directory_sealed_bytes,
        trailer.segment_count,
        trailer.chunk_count,
    )
    return body + hashlib.sha256(body).digest()


def decode_trailer(data: bytes | memoryview, *, name: str, pack_bytes: int) -> Trailer:
    """Return the trailer of a pack of `pack_bytes` from its last 64 bytes.

    Raises:
        PackCorrupt: A rule of `docs/format/pack-v1.md` §5 is broken.
    """
    if len(data) != TRAILER_BYTES:
        raise PackCorrupt(name, check="the trailer is cut")
    if hashlib.sha256(data[: _TRAILER.size]).digest() != data[_TRAILER.size :]:
        raise PackCorrupt(name, check="the trailer's checksum is wrong")
    magic, offset, sealed_bytes, segment_count, chunk_count = _TRAILER.unpack_from(data)
    if magic != _TRAILER_MAGIC:
        raise PackCorrupt(name, check="the trailer's magic is wrong")
    if any(data[_TRAILER.size - 4 : _TRAILER.size]):
        raise PackCorrupt(name, check="a reserved byte of the trailer is not zero")
    if pack_bytes > MAX_PACK_BYTES or pack_bytes % ALIGNMENT:
        raise PackCorrupt(name, check="the pack's size is not allowed")
    if offset < HEADER_BYTES or offset + sealed_bytes + TRAILER_BYTES != pack_bytes:
        raise PackCorrupt(name, check="the directory is not before the trailer")
    if sealed_bytes < TAG_BYTES:
        raise PackCorrupt(name, check="the sealed directory is cut")
    return Trailer(
        directory_offset=offset,
        directory_sealed_bytes=sealed_bytes,
        segment_count=segment_count,
        chunk_count=chunk_count,
    )


def check_tables(
    segments: Table,
    chunks: Table,
    *,
    segment_counts: npt.NDArray[np.int64],
    chunk_counts: npt.NDArray[np.int64],
    corrupt: type[ObjectCorrupt],
    name: str,
) -> npt.NDArray[np.int64]:
    """Check the tables of one or many packs, laid end to end, by §4; return the packs' sizes.

    Args:
        segments: The segment rows of all packs.
        chunks: The chunk rows of all packs.
        segment_counts: How many segment rows each pack has; they add up.
        chunk_counts: How many chunk rows each pack has; they add up.
        corrupt: What to raise.
        name: Used in errors only.
    """
    if (segment_counts < 1).any() or (chunk_counts > MAX_CHUNKS).any():
        raise corrupt(name, check="a pack has no segment, or too many chunks")
    ends = np.cumsum(segment_counts)
    failed = _failed_segment_rule(segments, ends) or _failed_chunk_rule(
        segments, chunks, segment_counts=segment_counts, chunk_counts=chunk_counts
    )
    if failed:
        raise corrupt(name, check=failed)
    last = segments[ends - 1]
    sizes: npt.NDArray[np.int64] = (
        last["offset"].astype(np.int64)
        + last["sealed_bytes"]
        + (_COUNTS.size + TAG_BYTES + TRAILER_BYTES)
        + segment_counts * SEGMENT_DTYPE.itemsize
        + chunk_counts * CHUNK_DTYPE.itemsize
    )
    sizes += -sizes % ALIGNMENT
    if (sizes > MAX_PACK_BYTES).any():
        raise corrupt(name, check="a pack is too large")
    return sizes


def _failed_segment_rule(segments: Table, ends: npt.NDArray[np.int64]) -> str | None:
    sealed, raw = segments["sealed_bytes"].astype(np.int64), segments["raw_bytes"].astype(np.int64)
    packed = sealed - TAG_BYTES
    codec: _Fields = segments["codec"]
    if ((codec != CODEC_RAW) & (codec != CODEC_ZSTD)).any():
        return "a segment's codec is unknown"
    if segments["reserved"].any():
        return "a reserved byte is not zero"
    if (raw < 1).any() or (raw > MAX_SEGMENT_BYTES).any():
        return "a segment's length is not allowed"
    if ((packed < 1) | (packed > raw) | ((codec == CODEC_RAW) & (packed != raw))).any():
        return "a segment's sealed length does not match its codec"
    # Segments lie back to back from the header to the directory.  A gap would be room for bytes
    # that no seal covers, so it is as corrupt as an overlap.
    expected = np.empty(len(segments), np.uint64)
    expected[0] = HEADER_BYTES
    expected[1:] = segments["offset"][:-1] + segments["sealed_bytes"][:-1]
    expected[ends[:-1]] = HEADER_BYTES
    if (segments["offset"] != expected).any():
        return "segments are not back to back"
    return None


def _failed_chunk_rule(
    segments: Table,
    chunks: Table,
    *,
    segment_counts: npt.NDArray[np.int64],
    chunk_counts: npt.NDArray[np.int64],
) -> str | None:
    number = chunks["segment"].astype(np.int64)
    if (number >= np.repeat(segment_counts, chunk_counts)).any():
        return "a chunk lies in no segment"
    number += np.repeat(np.cumsum(segment_counts) - segment_counts, chunk_counts)
    starts = np.flatnonzero(np.diff(number, prepend=-1))  # first chunk of each segment
    if len(starts) != len(segments) or (number[starts] != np.arange(len(segments))).any():
        return "chunks are not in the order of their segments"
    length = chunks["length"].astype(np.int64)
    if (length < 1).any() or (length > MAX_SEGMENT_BYTES).any():
        return "a chunk's length is not allowed"
    expected = np.empty(len(chunks), np.int64)
    expected[1:] = chunks["offset"][:-1].astype(np.int64) + length[:-1]
    expected[starts] = 0
    if (chunks["offset"] != expected).any():
        return "chunks are not back to back"
    stops = np.append(starts[1:], len(chunks)) - 1
    if (chunks["offset"][stops] + length[stops] != segments["raw_bytes"]).any():
        return "chunks do not fill their segment"
    return None
