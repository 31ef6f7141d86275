"""An index file: the directories of many packs, sealed in parts (`index-v1.md`).

Bytes and numpy tables only; sealing is the caller's.  A file is read as a whole, by
`decode_index`, or part by part: the head tells where each part lies, the fan-out which block of
chunks may know an id.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
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
    "IndexTables",
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
_SEGMENT_ROW: Final = np.dtype("V24")
_KEYED: Final = np.dtype({"names": ["key"], "formats": [">u8"], "offsets": [0], "itemsize": 44})
assert CHUNK_DTYPE.itemsize == _ROW.itemsize == _KEYED.itemsize
_PLACE: Final = np.dtype([("segment", "<u4"), ("offset", "<u4"), ("length", "<u4")])
_PLACED: Final = np.dtype({"names": ["place"], "formats": ["V12"], "offsets": [32], "itemsize": 44})
assert _HEAD.size == HEAD_PART.plain_bytes

Keys = npt.NDArray[np.uint64]
"""The first 8 bytes of ids, as numbers that sort as the ids do."""


class IndexCorrupt(ObjectCorrupt):
    """An index file breaks a rule of `docs/format/index-v1.md`."""

    code = "index-corrupt"


class PackDirectory(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One pack's directory, and the pack's name and size."""

    pack_id: PackId
    pack_bytes: int
    directory: Directory


class IndexTables(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a whole index file says, checked by every rule, as it stands there.

    Attributes:
        packs: Rows of `PACK_DTYPE`.
        segments: Rows of `SEGMENT_DTYPE`, those of each pack together.
        chunks: Rows of `CHUNK_DTYPE`, sorted by id; their segments are rows of `segments`.
        file_order: The rows of `chunks` in the order of their segments and offsets.
    """

    packs: Table
    segments: Table
    chunks: Table
    file_order: npt.NDArray[np.intp]

    def pack_ids(self) -> list[PackId]:
        """Return the ids of the packs, in their order."""
        ids = self.packs["id"].tobytes().hex()
        return [PackId(ids[at : at + 64]) for at in range(0, len(ids), 64)]

    def directories(self) -> list[PackDirectory]:
        """Return the directory of each pack."""
        chunks = _taken(self.chunks, self.file_order)
        chunks["segment"] -= np.repeat(_firsts(self.packs["segments"]), self.packs["chunks"])
        columns = (self.packs[field].astype(np.int64) for field in ("segments", "chunks"))
        segment_ends, chunk_ends = (np.cumsum(column).tolist() for column in columns)
        found, first_segment, first_chunk = [], 0, 0
        for pack_id, pack_bytes, segments_end, chunks_end in zip(
            self.pack_ids(),
            self.packs["pack_bytes"].tolist(),
            segment_ends,
            chunk_ends,
            strict=True,
        ):
            directory = Directory(
                segments=self.segments[first_segment:segments_end],
                chunks=chunks[first_chunk:chunks_end],
            )
            found.append(PackDirectory(pack_id=pack_id, pack_bytes=pack_bytes, directory=directory))
            first_segment, first_chunk = segments_end, chunks_end
        return found


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


def encode_index(packs: Sequence[PackDirectory]) -> tuple[Shape, memoryview]:
    """Return the plaintexts of an index file's parts, back to back, and where they lie.

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
    segments, chunks = (int(table[field].sum(dtype=np.int64)) for field in ("segments", "chunks"))
    shape = Shape(packs=len(packs), segments=segments, chunks=chunks)
    assert shape.rows_bytes <= MAX_PLAIN_BYTES - ALIGNMENT, "the writer cuts at MAX_PLAIN_BYTES"
    plain = np.empty(shape.rows_bytes + shape.padding_bytes, np.uint8).data
    _HEAD.pack_into(plain, 0, shape.packs, shape.segments, shape.chunks)
    fan_out_end = _HEAD.size + shape.fan_out().plain_bytes
    plain[fan_out_end - shape.padding_bytes : fan_out_end] = bytes(shape.padding_bytes)
    tables = _tables(plain[_HEAD.size :], shape)
    tables.packs[:] = table
    by_rows = [p.directory.segments.view(_SEGMENT_ROW) for p in packs]
    np.concatenate(by_rows, out=tables.segments.view(_SEGMENT_ROW))
    rows: Table = np.concatenate([p.directory.chunks.view(_ROW) for p in packs]).view(CHUNK_DTYPE)
    rows["segment"] += np.repeat(_firsts(table["segments"]), table["chunks"])
    _sort(rows, tables.chunks)
    tables.fan_out[:] = chunk_keys(tables.chunks)[::BLOCK_ROWS]
    return shape, plain


class _Tables(NamedTuple):
    fan_out: npt.NDArray[np.uint64]
    packs: Table
    segments: Table
    chunks: Table


def _tables(plain: memoryview, shape: Shape) -> _Tables:
    """Return views of the parts behind the head; padding follows the fan-out."""
    packs_at = shape.fan_out().plain_bytes
    segments_at = packs_at + shape.packs * PACK_DTYPE.itemsize
    chunks_at = segments_at + shape.segments * SEGMENT_DTYPE.itemsize
    return _Tables(
        np.frombuffer(plain, ">u8", shape.chunk_blocks),
        np.frombuffer(plain, PACK_DTYPE, shape.packs, packs_at),
        np.frombuffer(plain, SEGMENT_DTYPE, shape.segments, segments_at),
        np.frombuffer(plain, CHUNK_DTYPE, shape.chunks, chunks_at),
    )


def _firsts(counts: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return the row number of each pack's first row."""
    wide = counts.astype(np.int64)
    return (np.cumsum(wide) - wide).astype(np.uint32)


def _sort(chunks: Table, out: Table) -> None:
    """Write rows in file order, which equal ids keep, in the order of §3.5 into `out`."""
    low_bits = len(chunks).bit_length()
    order = _order(chunk_keys(chunks) >> np.uint64(low_bits), bits=64 - low_bits)
    chunks.view(_ROW).take(order, out=out.view(_ROW), mode="clip")  # in place; all are in range
    if not _is_sorted(out):
        # Two ids begin with the same bits: rare, and only then all of their bits are looked at.
        words = np.ascontiguousarray(chunks["id"]).view(">u8")
        out[:] = _taken(chunks, np.lexsort([words[:, place] for place in (3, 2, 1, 0)]))


def _order(values: Keys, *, bits: int) -> npt.NDArray[np.intp]:
    """Return the stable order of values less than 2 ** `bits`."""
    row_bits = len(values).bit_length()
    if bits + row_bits > 64:
        return np.argsort(values, kind="stable")
    # To sort numbers takes half as long as to sort their places; so each carries its own.
    both = (values << np.uint64(row_bits)) | np.arange(len(values), dtype=np.uint64)
    both.sort()
    return (both & np.uint64((1 << row_bits) - 1)).astype(np.intp)


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
    return all(_sort_key(chunks[row]) < _sort_key(chunks[row + 1]) for row in ties)


def _sort_key(chunk: np.void) -> tuple[bytes, int, int]:
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
        return _checked_packs(np.frombuffer(plain, PACK_DTYPE), shape, name)
    block = part.number - FIRST_BLOCK - shape.segment_blocks
    if block < 0:
        return np.frombuffer(plain, SEGMENT_DTYPE)
    chunks = np.frombuffer(plain, CHUNK_DTYPE)
    _check_chunks(chunks, shape, fan_out[block : block + 1], name)
    return chunks


def _checked_packs(table: Table, shape: Shape, name: str) -> Table:
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


def decode_index(shape: Shape, plain: memoryview, *, name: str) -> IndexTables:
    """Return what an index file says, from all its parts behind the head, back to back.

    The tables are views of `plain`.

    Raises:
        IndexCorrupt: A rule of `docs/format/index-v1.md` §3 is broken; `check` says which.
    """
    if len(plain) != shape.rows_bytes - _HEAD.size + shape.padding_bytes:
        raise IndexCorrupt(name, check="a part has another length")
    fan_out = decode_fan_out(bytes(plain[: shape.fan_out().plain_bytes]), shape, name=name)
    _, packs, segments, chunks = _tables(plain, shape)
    _checked_packs(packs, shape, name)
    _check_chunks(chunks, shape, fan_out, name)
    if (chunks["offset"] >= MAX_SEGMENT_BYTES).any():
        raise IndexCorrupt(name, check="a chunk does not lie in its segment")
    places = chunks["segment"] * np.uint64(MAX_SEGMENT_BYTES) + chunks["offset"]
    order = _order(places, bits=int(places.max()).bit_length())
    in_order = chunks.view(_PLACED)["place"].take(order).view(_PLACE)
    segment_counts, chunk_counts = (packs[f].astype(np.int64) for f in ("segments", "chunks"))
    # A chunk of another pack's segment gets a number that no pack has, and so is refused below.
    in_order["segment"] -= np.repeat(_firsts(packs["segments"]), chunk_counts)
    sizes = check_tables(
        segments,
        in_order,
        segment_counts=segment_counts,
        chunk_counts=chunk_counts,
        corrupt=IndexCorrupt,
        name=name,
    )
    if (sizes != packs["pack_bytes"].astype(np.int64)).any():
        raise IndexCorrupt(name, check="a pack's size does not match its directory")
    return IndexTables(packs=packs, segments=segments, chunks=chunks, file_order=order)
