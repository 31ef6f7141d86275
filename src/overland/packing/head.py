"""The head of a saved chunk index, and what can be told of the index without its chunks.

No arrays here: a run that finds nothing changed needs no more, and is done before they are loaded.
`hints` has the order of what is written, and what is in a part.
"""

import struct
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from typing import Final, NamedTuple, final

from blake3 import blake3

from overland.errors import IntegrityError, ObjectAbsent
from overland.ports.files import Files
from overland.values import PackId, PointId, RepositoryId, pack_name

__all__ = [
    "DIGEST_BYTES",
    "ROW_BYTES",
    "Head",
    "IndexHintDamaged",
    "SavedPacks",
    "Span",
    "StatedPart",
    "blocks_of",
    "decode_head",
    "encode_head",
    "part_name",
    "read_head",
    "read_packs",
    "rows_per_block",
    "spans_of",
]

DIGEST_BYTES: Final = 16
"""Of a block; what must not be forged here is a file of our own, against a disk that errs."""

ROW_BYTES: Final = (8, 4, 48, 28, 44)
"""Of the tables of a part: keys, rows, packs, segments, chunks."""

_ID_BYTES: Final = 32
_PACKS: Final = 2  # which of the tables
_PACK: Final = struct.Struct("<32sQQ")  # id, length, lost
_BLOCK_BYTES: Final = 16 << 10  # 4 microseconds to verify
# Magic, version, repository, epoch, tip, and how many parts and lost packs follow.
_HEAD: Final = struct.Struct("<8sI16s16s16sII")
_PART: Final = struct.Struct("<16sQQQ32s")  # name, packs, segments, chunks, digest of the digests
_MAGIC: Final = b"OVLCHIDX"
_VERSION: Final = 3
_HEAD_DIGEST_BYTES: Final = 32
assert _PACK.size == ROW_BYTES[_PACKS]


class IndexHintDamaged(IntegrityError):
    """The saved index cannot be used; it is rebuilt from the repository."""

    code = "index-hint-damaged"

    def __init__(self, *, check: str) -> None:
        super().__init__(f"the saved chunk index is damaged: {check}; it will be rebuilt")
        self.check = check


class StatedPart(NamedTuple):
    """What the head says of a part: its file, the rows of its tables, the digest of digests."""

    name: str
    counts: tuple[int, ...]
    digest: bytes


class Head(NamedTuple):
    """What the head says; `lost` are the rows of lost packs, counted through all parts."""

    epoch: bytes
    tip: PointId | None
    parts: Sequence[StatedPart]
    lost: Sequence[int]


class Span(NamedTuple):
    """Where in its part's file a table lies, and where the digests of its blocks do."""

    start: int
    end: int
    digests_start: int
    digests_end: int


def rows_per_block(row_bytes: int) -> int:
    """Return how many rows a block has; the last block of a piece may have fewer."""
    return _BLOCK_BYTES // row_bytes


def blocks_of(count: int, row_bytes: int) -> int:
    """Return how many blocks so many rows make."""
    return -(-count // rows_per_block(row_bytes))


def spans_of(counts: Sequence[int]) -> list[Span]:
    """Return where the tables of a part lie that have so many rows; the last ends the file."""
    pairs = list(zip(counts, ROW_BYTES, strict=True))
    rows = list(accumulate((count * row_bytes for count, row_bytes in pairs), initial=0))
    blocks = (DIGEST_BYTES * blocks_of(count, row_bytes) for count, row_bytes in pairs)
    digests = list(accumulate(blocks, initial=rows[-1]))
    return [
        Span(*span) for span in zip(rows[:-1], rows[1:], digests[:-1], digests[1:], strict=True)
    ]


def part_name(name: str, part: str) -> str:
    """Return the name of the file of a part, of the index whose head is `name`."""
    return f"{name}.{part}"


def encode_head(head: Head, *, repository_id: RepositoryId) -> bytes:
    """Return the head's file."""
    repository = uuid.UUID(repository_id).bytes
    tip = uuid.UUID(head.tip).bytes if head.tip else bytes(16)
    counts = (len(head.parts), len(head.lost))
    data = _HEAD.pack(_MAGIC, _VERSION, repository, head.epoch, tip, *counts)
    for part in head.parts:
        data += _PART.pack(bytes.fromhex(part.name), *part.counts[2:], part.digest)
    data += struct.pack(f"<{len(head.lost)}I", *head.lost)
    return data + blake3(data).digest()


def decode_head(data: bytes, *, repository_id: RepositoryId) -> Head:
    """Return what a head says.

    Raises:
        IndexHintDamaged: It is damaged, or of another repository or version.
    """
    if len(data) < _HEAD.size + _HEAD_DIGEST_BYTES:
        raise IndexHintDamaged(check="too short")
    magic, version, repository, epoch, tip, parts, lost = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        raise IndexHintDamaged(check="unknown format")
    if repository != uuid.UUID(repository_id).bytes:
        raise IndexHintDamaged(check="another repository")
    lost_at = _HEAD.size + parts * _PART.size
    if len(data) != lost_at + 4 * lost + _HEAD_DIGEST_BYTES:
        raise IndexHintDamaged(check="wrong length")
    if blake3(data[:-_HEAD_DIGEST_BYTES]).digest() != data[-_HEAD_DIGEST_BYTES:]:
        raise IndexHintDamaged(check="checksum")
    stated = [
        StatedPart(name.hex(), (chunks, chunks, packs, segments, chunks), digest)
        for name, packs, segments, chunks, digest in _PART.iter_unpack(data[_HEAD.size : lost_at])
    ]
    rows = struct.unpack_from(f"<{lost}I", data, lost_at)
    if rows and max(rows) >= sum(part.counts[_PACKS] for part in stated):
        raise IndexHintDamaged(check="a lost pack that is not there")
    point = PointId(str(uuid.UUID(bytes=tip))) if any(tip) else None
    return Head(epoch, point, stated, rows)


def read_head(files: Files, name: str, *, repository_id: RepositoryId) -> Head:
    """Return the head of a saved index.

    Raises:
        ObjectAbsent: None was saved.
        IndexHintDamaged: It is damaged, or of another repository or version.
    """
    return decode_head(files.read(name), repository_id=repository_id)


@final
class SavedPacks:
    """The packs that a saved index knows and that are not lost, in 40 bytes each.

    Two million of them, of 100 TB, would be 300 MB as texts in a set.
    """

    def __init__(self) -> None:
        """Begin without a pack."""
        # By the folder that their objects lie in, of which there are 256.
        self._ids: dict[str, bytearray] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, pack_id: bytes) -> None:
        """Add a pack, once."""
        assert len(pack_id) == _ID_BYTES, "a SHA-256"
        self._ids.setdefault(_folder_of(pack_id), bytearray()).extend(pack_id)
        self._count += 1

    def count_named(self, names: Iterable[str]) -> int:
        """Return how many of the packs have one of these names of objects, which come sorted.

        Where they do not, too few are counted, and never one twice: a pack that is missing shows.
        """
        found, counted = 0, set[str]()
        for folder, group in groupby(names, key=_folder):
            ids = b"" if folder in counted else self._ids.get(folder, b"")
            counted.add(folder)
            there = set(group) if ids else frozenset[str]()
            found += sum(name in there for name in _names(ids))
        return found


def read_packs(files: Files, name: str, head: Head) -> SavedPacks:
    """Return the packs that the index knows and that are not lost; nothing else of it is read.

    Raises:
        IndexHintDamaged: A part is missing or has another length, or the packs or the digests of
            all blocks are not as they were written.
    """
    lost, row, found = frozenset(head.lost), 0, SavedPacks()
    for part in head.parts:
        for pack_id in _pack_ids(files, part_name(name, part.name), part):
            if row not in lost:
                found.add(pack_id)
            row += 1
    return found


def _pack_ids(files: Files, file: str, part: StatedPart) -> Iterator[bytes]:
    """Yield the packs' ids, each block when it was found to be as it was written."""
    spans = spans_of(part.counts)
    packs, digests_at, end = spans[_PACKS], spans[0].digests_start, spans[-1].digests_end
    try:
        if files.size_bytes(file) != end:
            raise IndexHintDamaged(check="wrong length")
        digests = files.read_range(file, offset=digests_at, length=end - digests_at)
        if blake3(digests).digest() != part.digest:
            raise IndexHintDamaged(check="checksum")
        digests = digests[packs.digests_start - digests_at : packs.digests_end - digests_at]
        block_bytes = rows_per_block(_PACK.size) * _PACK.size
        for number, start in enumerate(range(packs.start, packs.end, block_bytes)):
            length = min(block_bytes, packs.end - start)
            rows = files.read_range(file, offset=start, length=length)
            at = number * DIGEST_BYTES
            if blake3(rows).digest(DIGEST_BYTES) != digests[at : at + DIGEST_BYTES]:
                raise IndexHintDamaged(check="packs")
            yield from (pack_id for pack_id, _, _ in _PACK.iter_unpack(rows))
    except ObjectAbsent:
        raise IndexHintDamaged(check="a part is missing") from None


def _folder(name: str) -> str:
    return name[: len("packs/00/")]


def _folder_of(pack_id: bytes) -> str:
    return _folder(pack_name(PackId(pack_id.hex())))


def _names(ids: bytes | bytearray) -> Iterator[str]:
    joined = ids.hex()
    step = 2 * _ID_BYTES
    return (pack_name(PackId(joined[at : at + step])) for at in range(0, len(joined), step))
