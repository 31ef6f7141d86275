"""An index file: the directories of many packs, sealed in parts (`index-v1.md`).

Bytes and numpy tables only; sealing is the caller's.  A file is read as a whole, by
`decode_index`, or part by part: the head tells where each part lies, the fan-out which block of
chunks may know an id.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from overland.errors import ObjectCorrupt
from overland.format.header import HEADER_BYTES, Header, pack_header, unpack_header
from overland.format.index_parts import (
    BLOCK_ROWS,
    FIRST_BLOCK,
    HEAD_PART,
    KEY_BYTES,
    PACK_DTYPE,
    Part,
    Shape,
)
from overland.format.pack import (
    ALIGNMENT,
    CHUNK_DTYPE,
    CODEC_RAW,
    CODEC_ZSTD,
    MAX_SEGMENT_BYTES,
    SEGMENT_DTYPE,
    TAG_BYTES,
    Directory,
    Table,
    check_tables,
)
from overland.values import PackId

__all__ = [
    "BLOCK_ROWS",
    "FIRST_BLOCK",
    "HEADER_BYTES",
    "HEAD_PART",
    "MAX_PLAIN_BYTES",
    "PACK_DTYPE",
    "Header",
    "IndexCorrupt",
    "Keys",
    "PackDirectory",
    "Part",
    "Shape",
    "check_places",
    "chunk_keys",
    "decode_fan_out",
    "decode_head",
    "decode_header",
    "decode_index",
    "decode_part",
    "encode_header",
    "encode_index",
    "id_keys",
    "plain_bytes",
]

MAX_PLAIN_BYTES: Final = 64 << 20
_MAGIC: Final = b"OVLINDX1"
_HEAD: Final = struct.Struct("<III36x")  # §3.1: packs, segments, chunks
_ROW: Final = np.dtype("V44")  # a chunk's row moved as a whole: far faster than by its fields
_KEYED: Final = np.dtype({"names": ["key"], "formats": [">u8"], "offsets": [0], "itemsize": 44})
assert CHUNK_DTYPE.itemsize == _ROW.itemsize == _KEYED.itemsize
assert _HEAD.size == HEAD_PART.plain_bytes

Keys = npt.NDArray[np.uint64]
"""The first 8 bytes of ids, as numbers that sort as the ids do."""


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
    """Return the first 64 bytes of an index file; the additional data of its seals."""
    return pack_header(header, magic=_MAGIC)


def decode_header(data: bytes | memoryview, *, name: str) -> Header:
    """Return the header of an index file from its first 64 bytes.

    Raises:
        IndexCorrupt: It is cut, or not an index of version 1.
    """
    return unpack_header(data, magic=_MAGIC, name=name, corrupt=IndexCorrupt)


def plain_bytes(*, packs: int, segments: int, chunks: int) -> int:
    """Return how long the plaintexts of so many rows are, with padding; for when to cut."""
    shape = Shape(packs=packs, segments=segments, chunks=chunks)
    return shape.rows_bytes + shape.padding_bytes


def encode_index(packs: Sequence[PackDirectory]) -> list[bytes]:
    """Return the plaintexts of an index file's parts, in the order of their numbers.

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
    segments = np.concatenate([p.directory.segments for p in packs])
    chunks = _sorted(np.concatenate([p.directory.chunks for p in packs]), table)
    shape = Shape(packs=len(packs), segments=len(segments), chunks=len(chunks))
    assert shape.rows_bytes <= MAX_PLAIN_BYTES - ALIGNMENT, "the writer cuts at MAX_PLAIN_BYTES"
    fan_out = chunk_keys(chunks)[::BLOCK_ROWS].astype(">u8").tobytes()
    parts = [
        _HEAD.pack(shape.packs, shape.segments, shape.chunks),
        fan_out + bytes(shape.padding_bytes),
        table.tobytes(),
    ]
    for rows in (segments, chunks):
        joined = memoryview(rows.tobytes())
        size = BLOCK_ROWS * rows.dtype.itemsize
        parts += [bytes(joined[at : at + size]) for at in range(0, len(joined), size)]
    return parts


def _sorted(chunks: Table, table: Table) -> Table:
    """Return the rows in the order of §3.5; their segments count through the whole file."""
    counts = table["segments"].astype(np.int64)
    firsts = (np.cumsum(counts) - counts).astype(np.uint32)
    chunks["segment"] += np.repeat(firsts, table["chunks"])
    order = np.argsort(chunk_keys(chunks), kind="stable")
    found = _taken(chunks, order)
    if _is_sorted(found):
        return found
    words = np.ascontiguousarray(chunks["id"]).view(">u8")
    return _taken(chunks, np.lexsort([words[:, place] for place in (3, 2, 1, 0)]))


def id_keys(ids: npt.NDArray[np.uint8]) -> Keys:
    """Return the keys of ids, an array of 32 bytes for each."""
    start = np.ascontiguousarray(ids[:, :KEY_BYTES])
    keys: Keys = start.view(">u8").reshape(-1).astype(np.uint64)
    return keys


def chunk_keys(chunks: Table) -> Keys:
    """Return the keys of chunk rows."""
    keys: Keys = chunks.view(_KEYED)["key"].astype(np.uint64)
    return keys


def _taken(chunks: Table, order: npt.NDArray[np.intp]) -> Table:
    taken: Table = chunks.view(_ROW).take(order).view(CHUNK_DTYPE)
    return taken


def _is_sorted(chunks: Table) -> bool:
    keys = chunk_keys(chunks)
    if (keys[1:] < keys[:-1]).any():
        return False
    ties = np.flatnonzero(keys[1:] == keys[:-1]).tolist()
    return all(_order(chunks[row]) < _order(chunks[row + 1]) for row in ties)


def _order(chunk: np.void) -> tuple[bytes, int, int]:
    return chunk["id"].tobytes(), int(chunk["segment"]), int(chunk["offset"])


def decode_head(plain: bytes, *, size_bytes: int, name: str) -> Shape:
    """Return the shape of a file that is `size_bytes` long.

    Raises:
        IndexCorrupt: A rule of §3.1 is broken, or the file's size is another.
    """
    if len(plain) != _HEAD.size or any(plain[12:]):
        raise IndexCorrupt(name, check="a reserved byte of the head is not zero")
    packs, segments, chunks = _HEAD.unpack(plain)
    if not 1 <= packs <= segments <= chunks:
        raise IndexCorrupt(name, check="the counts are not allowed")
    shape = Shape(packs=packs, segments=segments, chunks=chunks)
    if shape.rows_bytes > MAX_PLAIN_BYTES:
        raise IndexCorrupt(name, check="the index's length is not allowed")
    if shape.file_bytes != size_bytes:
        raise IndexCorrupt(name, check="the index's length does not match its counts")
    return shape


def decode_fan_out(plain: bytes, shape: Shape, *, name: str) -> Keys:
    """Return the key of the first id in each chunk block.

    Raises:
        IndexCorrupt: A rule of §3.2 is broken.
    """
    _check_length(plain, shape.fan_out(), name)
    if any(plain[shape.chunk_blocks * KEY_BYTES :]):
        raise IndexCorrupt(name, check="the index's padding is not zero")
    fan_out: Keys = np.frombuffer(plain, ">u8", shape.chunk_blocks).astype(np.uint64)
    if (fan_out[1:] < fan_out[:-1]).any():
        raise IndexCorrupt(name, check="the fan-out is not sorted")
    return fan_out


def decode_part(plain: bytes, shape: Shape, fan_out: Keys, *, part: Part, name: str) -> Table:
    """Return the rows of one part: packs, segments, or chunks whose segments are row numbers.

    `check_places` checks the segments that are used.

    Raises:
        IndexCorrupt: The packs' counts do not add up to the head's, or a block of chunks does not
            begin as the fan-out says, is not sorted, or names a segment that is none.
    """
    _check_length(plain, part, name)
    if part.number < FIRST_BLOCK:
        return _packs(plain, shape, name)
    block = part.number - FIRST_BLOCK - shape.segment_blocks
    if block < 0:
        return np.frombuffer(plain, SEGMENT_DTYPE)
    chunks = np.frombuffer(plain, CHUNK_DTYPE)
    _check_chunks(chunks, shape, fan_out[block : block + 1], name)
    return chunks


def _packs(plain: bytes, shape: Shape, name: str) -> Table:
    table = np.frombuffer(plain, PACK_DTYPE)
    sums = [int(table[field].sum(dtype=np.int64)) for field in ("segments", "chunks")]
    if sums != [shape.segments, shape.chunks] or not table["segments"].all():
        raise IndexCorrupt(name, check="the packs' counts do not add up")
    return table


def _check_chunks(chunks: Table, shape: Shape, fan_out: Keys, name: str) -> None:
    if (chunk_keys(chunks)[::BLOCK_ROWS] != fan_out).any():
        raise IndexCorrupt(name, check="a block does not begin as the fan-out says")
    if not _is_sorted(chunks):
        raise IndexCorrupt(name, check="chunks are not sorted by id")
    if (chunks["segment"] >= shape.segments).any():
        raise IndexCorrupt(name, check="a chunk lies in no segment")


def check_places(
    segments: Table, chunks: Table, *, pack_bytes: npt.NDArray[np.uint64], name: str
) -> None:
    """Check that chunks lie inside their segments, and these inside their packs, row by row.

    Raises:
        IndexCorrupt: One does not.
    """
    sealed, raw = (segments[field].astype(np.int64) for field in ("sealed_bytes", "raw_bytes"))
    codec = segments["codec"]
    if (
        ((codec != CODEC_RAW) & (codec != CODEC_ZSTD)).any()
        or (raw > MAX_SEGMENT_BYTES).any()
        or (sealed <= TAG_BYTES).any()
        or (segments["offset"] > pack_bytes).any()
        or (segments["offset"] + segments["sealed_bytes"] > pack_bytes).any()
    ):
        raise IndexCorrupt(name, check="a segment does not lie in its pack")
    if (chunks["offset"].astype(np.int64) + chunks["length"] > raw).any():
        raise IndexCorrupt(name, check="a chunk does not lie in its segment")


def _check_length(plain: bytes, part: Part, name: str) -> None:
    if len(plain) != part.plain_bytes:
        raise IndexCorrupt(name, check="a part has another length")


def decode_index(shape: Shape, parts: Sequence[bytes], *, name: str) -> list[PackDirectory]:
    """Return the directories of an index file, from all its parts behind the head.

    Raises:
        IndexCorrupt: A rule of `docs/format/index-v1.md` §3 is broken; `check` says which.
    """
    for plain, part in zip(parts, shape.parts(), strict=True):
        _check_length(plain, part, name)
    fan_out = decode_fan_out(parts[0], shape, name=name)
    table = _packs(parts[1], shape, name)
    border = 2 + shape.segment_blocks
    segments = np.frombuffer(b"".join(parts[2:border]), SEGMENT_DTYPE)
    chunks = np.frombuffer(b"".join(parts[border:]), CHUNK_DTYPE)
    _check_chunks(chunks, shape, fan_out, name)
    segment_counts, chunk_counts = (table[f].astype(np.int64) for f in ("segments", "chunks"))
    segment_ends, chunk_ends = np.cumsum(segment_counts), np.cumsum(chunk_counts)
    places = (chunks["segment"].astype(np.uint64) << np.uint64(32)) | chunks["offset"]
    chunks = _taken(chunks, np.argsort(places))
    # A chunk of another pack's segment gets a number that no pack has, and so is refused below.
    firsts = (segment_ends - segment_counts).astype(np.uint32)
    chunks["segment"] -= np.repeat(firsts, chunk_counts)
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
        for i in range(shape.packs)
    ]
