"""The chunk index on disk: parts that are never changed, and a head that says which of them count.

A run writes what it added as a new part.  Parts are merged when one is not much smaller than the
one before it, so that there are few, and what a run writes is in proportion to what is new.  The
head is replaced after its parts, and parts that no head names are removed afterwards: a kill at
any moment leaves the old index or the new one.  So does a power cut where each name was durable
before the next one (`save`); where nobody waited for them (`prepare`) it may leave a head without
its part too, and that is no index at all.

Nothing is read to open an index but the head, the packs and the digests of blocks.  What is
damaged is found when it is used (`tables`), and costs time and bytes: a chunk whose row is not as
it was written counts as not stored, and an index with such a row is not saved again, but rebuilt.

A part is its tables (`ROW_DTYPES`), the digests of their blocks, in the same order.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, final

import numpy as np
from blake3 import blake3

from overland.errors import ObjectAbsent
from overland.packing.head import (
    DIGEST_BYTES,
    Head,
    IndexHintDamaged,
    StatedPart,
    encode_head,
    part_name,
    read_head,
    rows_per_block,
    spans_of,
)
from overland.packing.index import ChunkIndex
from overland.packing.parts import ROW_DTYPES, IndexPart
from overland.packing.prepared import Prepared
from overland.packing.runs import Run, merged_slices
from overland.packing.scratch import Mapping
from overland.packing.tables import Piece, Records
from overland.ports.files import Files, NewFile
from overland.values import RepositoryId

__all__ = ["IndexHint"]

_SHARE: Final = 4  # a part is merged into the one before it unless it is so many times smaller
_WRITE_BYTES: Final = 4 << 20


@final
class IndexHint:
    """The saved chunk index of one name."""

    def __init__(self, files: Files, name: str, *, folder: Path | None) -> None:
        """Prepare to save and load.

        Args:
            files: Where it lies.
            name: Of the head; those of the parts begin with it.
            folder: The path of `files`, for what is larger than memory; None reads all of it.
        """
        self._files, self._name, self._folder = files, name, folder

    def load(self, repository_id: RepositoryId) -> ChunkIndex:
        """Return the index that was saved; its files stay in use, whatever becomes of their names.

        Raises:
            ObjectAbsent: None was saved.
            IndexHintDamaged: It is damaged, or of another repository or version.
        """
        head = read_head(self._files, self._name, repository_id=repository_id)
        parts = [self._open(part) for part in head.parts]
        lost = np.array(head.lost, np.uint32)
        index = ChunkIndex.of_parts(repository_id, parts, lost=lost, scratch=self._folder)
        index.epoch, index.tip = head.epoch, head.tip
        return index

    def save(self, index: ChunkIndex) -> None:
        """Save the index, durably; whoever wants to add more to it loads it again.

        Raises:
            IndexHintDamaged: Rows of it are not as they were written; what was saved before stays.
            OutOfSpace: What was saved before stays.
        """
        prepared = self.prepare(index)
        try:
            prepared.publish()
        finally:
            prepared.abandon()

    def prepare(self, index: ChunkIndex) -> Prepared:
        """Write what saves the index when it gets its names; nothing is added to it any more.

        The order of the names is that of the parts and the head after them.  A head whose part is
        missing or torn is not believed, so a power cut may leave some of the names only.

        Raises:
            As `save`.
        """
        assert not index.is_saved, "its parts may be gone since"
        if index.is_damaged:
            raise IndexHintDamaged(check="rows that were looked up")
        new = index.new_part()
        parts = [*index.parts, new] if len(new.packs) else list(index.parts)
        prepared = Prepared(self._files)
        try:
            stated = [self._stated(group, prepared) for group in _groups(parts)]
            head = Head(index.epoch, index.tip, stated, index.lost_rows().tolist())
            data = encode_head(head, repository_id=index.repository_id)
            prepared.create(self._name).write(data)
        except BaseException:
            prepared.abandon()
            raise
        kept = frozenset(self._part_name(part.name) for part in stated)
        prepared.keep_only(f"{self._name}.", kept)
        index.is_changed, index.is_saved = False, True
        return prepared

    def drop(self) -> None:
        """Forget, durably, what was saved."""
        self._files.delete(self._name)
        for info in list(self._files.names(f"{self._name}.")):
            self._files.delete(info.name)

    def _open(self, stated: StatedPart) -> IndexPart:
        try:
            data, mapping = self._data(stated.name)
        except ObjectAbsent:
            raise IndexHintDamaged(check="a part is missing") from None
        spans = spans_of(stated.counts)
        if len(data) != spans[-1].digests_end:
            raise IndexHintDamaged(check="wrong length")
        if mapping is not None:
            mapping.will_need(spans[0].digests_start, len(data))
        if blake3(data[spans[0].digests_start :]).digest() != stated.digest:
            raise IndexHintDamaged(check="checksum")
        pieces: list[Piece] = []
        for count, dtype, span in zip(stated.counts, ROW_DTYPES, spans, strict=True):
            rows = np.frombuffer(data, dtype, count, span.start)
            digests = data[span.digests_start : span.digests_end]
            pieces.append(Piece(rows, digests=digests, mapping=mapping))
        keys, rows_, packs, segments, chunks = pieces
        if not packs.is_sound():
            raise IndexHintDamaged(check="packs")
        return IndexPart(
            name=stated.name,
            digest=stated.digest,
            keys=keys,
            rows=rows_,
            packs=packs,
            segments=segments,
            chunks=chunks,
        )

    def _data(self, name: str) -> tuple[memoryview, Mapping | None]:
        full = self._part_name(name)
        if self._folder is None or not self._files.size_bytes(full):
            return memoryview(self._files.read(full)), None
        with (self._folder / full).open("rb") as file:
            mapping = Mapping(file.fileno(), size_bytes=0)
        return mapping.data, mapping

    def _stated(self, group: Sequence[IndexPart], prepared: Prepared) -> StatedPart:
        """Return what the head says of these parts as one, which is written if it is new."""
        if len(group) == 1 and group[0].name:
            return StatedPart(group[0].name, _counts(group), group[0].digest)
        if not all(table.is_sound() for part in group for table in part.tables()):
            raise IndexHintDamaged(check="rows that were to be merged")
        name = uuid.uuid4().hex
        file = prepared.create(self._part_name(name))
        digests = b"".join(_write_table(file, rows) for rows in _joined(group))
        file.write(digests)
        return StatedPart(name, _counts(group), blake3(digests).digest())

    def _part_name(self, name: str) -> str:
        return part_name(self._name, name)


def _groups(parts: Sequence[IndexPart]) -> list[list[IndexPart]]:
    """Return the parts, those together that become one."""
    found: list[list[IndexPart]] = []
    for part in parts:
        found.append([part])
        while len(found) > 1 and _SHARE * _length(found[-1]) > _length(found[-2]):
            last = found.pop()
            found[-1] += last
    return found


def _length(group: Iterable[IndexPart]) -> int:
    return sum(len(part.chunks) + len(part.packs) for part in group)


def _joined(group: Sequence[IndexPart]) -> Iterator[Iterable[Records]]:
    """Yield the rows of each table of what the parts become together, in slices."""
    runs = [Run(part.keys, part.rows) for part in group]
    yield (keys for keys, _ in merged_slices(runs))
    yield (rows for _, rows in merged_slices(runs))
    yield _slices(part.packs for part in group)
    yield _slices(part.segments for part in group)
    yield _slices(part.chunks for part in group)


def _slices(pieces: Iterable[Piece]) -> Iterator[Records]:
    return chain.from_iterable(piece.slices() for piece in pieces)


def _write_table(file: NewFile, slices: Iterable[Records]) -> bytes:
    """Write the rows; return the digests of their blocks."""
    digests: list[bytes] = []
    block, missing, block_bytes = blake3(), 0, 0
    for rows in slices:
        if not block_bytes:
            block_bytes = missing = rows_per_block(rows.dtype.itemsize) * rows.dtype.itemsize
        data = np.ascontiguousarray(rows).view(np.uint8).data if len(rows) else memoryview(b"")
        for at in range(0, len(data), _WRITE_BYTES):
            file.write(data[at : at + _WRITE_BYTES])
        at = 0
        while at < len(data):
            taken = min(missing, len(data) - at)
            block.update(data[at : at + taken])
            at, missing = at + taken, missing - taken
            if not missing:
                digests.append(block.digest(DIGEST_BYTES))
                block, missing = blake3(), block_bytes
    if missing < block_bytes:
        digests.append(block.digest(DIGEST_BYTES))
    return b"".join(digests)


def _counts(group: Iterable[IndexPart]) -> tuple[int, ...]:
    tables = zip(*(part.tables() for part in group), strict=True)
    return tuple(sum(map(len, each)) for each in tables)
