"""Index files: read whole, or only the blocks that know the wanted chunks.

For a few chunks of a large repository, a file costs its head and fan-out once, and then one block
of chunks, one of segments and its list of packs where it has what is wanted.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from overland.agent.points.reading import ReadKeys
from overland.agent.sources import LayeredObjects
from overland.errors import IntegrityError, ObjectAbsent, ObjectCorrupt
from overland.format import index as index_format
from overland.format.index import (
    BLOCK_ROWS,
    FIRST_BLOCK,
    IndexTables,
    Keys,
    PackDirectory,
    Part,
    check_places,
    chunk_keys,
    decode_part,
    id_keys,
)
from overland.format.pack import ALIGNMENT, CHUNK_DTYPE, SEGMENT_DTYPE, TAG_BYTES
from overland.packing.index import PLACE_DTYPE, Ids
from overland.packing.tables import Records
from overland.ports.objects import Objects
from overland.sealing.indexfile import PREFIX_BYTES, IndexOpener, open_index, open_tables
from overland.values import ObjectInfo, PackId, is_object_name

__all__ = ["IndexFiles", "read_index_file", "read_index_tables"]

_BLOCK_BYTES: Final = BLOCK_ROWS * CHUNK_DTYPE.itemsize + TAG_BYTES

_SMALL_BYTES: Final = 16 << 10
"""Index files up to this, as of small incrementals, are read whole and kept."""

_KEPT_BLOCKS: Final = 1024
"""Opened blocks kept for the next look-up: at most 11 MiB."""

_TOGETHER: Final = 16
"""So many index files are opened at the same time: each costs a round trip."""


def read_index_file(objects: LayeredObjects, keys: ReadKeys, name: str) -> list[PackDirectory]:
    """Return the pack directories of an index file.

    Raises:
        ObjectAbsent: There is no such object.
        IntegrityError: Every copy is damaged, or is another repository's.
    """
    return read_index_tables(objects, keys, name).directories()


def read_index_tables(objects: LayeredObjects, keys: ReadKeys, name: str) -> IndexTables:
    """Return what an index file says, for `ChunkIndex.add_tables`.

    Raises:
        ObjectAbsent: There is no such object.
        IntegrityError: Every copy is damaged, or is another repository's.
    """
    data = objects.read(name)
    return open_tables(keys.index, data, repository_id=keys.repository_id, name=name)


class IndexFiles:
    """Finds chunks in the index files of a place, reading few blocks of them.  For one thread.

    Attributes:
        size_bytes: How long all index files are together.
        read_bytes: How much of them was read so far.
        damaged: Those that could not be used; what they name was not found.
    """

    def __init__(
        self, objects: LayeredObjects, keys: ReadKeys, *, without: frozenset[PackId] = frozenset()
    ) -> None:
        """List the index files; none is read yet.

        Args:
            objects: Hold them.
            keys: Open them.
            without: Packs that are taken for lost.
        """
        infos = [info for info in objects.names("index/") if is_object_name(info.name)]
        self._files = [_IndexFile(objects, keys, info, self) for info in infos]
        self._without = without
        self._sizes = np.array([info.size_bytes for info in infos], np.int64)
        self.size_bytes = int(self._sizes.sum())
        self.read_bytes = 0
        self.damaged: list[str] = []
        self._packs: list[PackId] = []
        self._pack_rows: dict[PackId, int] = {}
        self.blocks: OrderedDict[tuple[str, int], Records] = OrderedDict()

    def cost_bytes(self, count: int) -> int:
        """Return how much a look-up of so many ids may have to read, at most."""
        return int(np.minimum(self._sizes, count * _BLOCK_BYTES).sum())

    def pack_id(self, row: int) -> PackId:
        """Return the id of the pack in a place's `pack` field."""
        return self._packs[row]

    def find(self, ids: Ids) -> tuple[Records, NDArray[np.bool_]]:
        """Return `PLACE_DTYPE` records, and for each id whether an index file knows it.

        Raises:
            TransientError: A layer did not answer, and no other has the file.
            NotAuthorised: As above.
            OSError: As above.
        """
        places = np.zeros(len(ids), PLACE_DTYPE)
        is_known = np.zeros(len(ids), bool)
        for file in self._opened():
            lacking = np.flatnonzero(~is_known)
            if not len(lacking):
                break
            try:
                at, found = file.find(ids[lacking])
            except (IntegrityError, ObjectAbsent):
                self._leave_aside(file)
                continue
            places[lacking[at]] = found
            is_known[lacking[at]] = True
            if len(at):  # what is near in the tree often is in the same file
                self._files.remove(file)
                self._files.insert(0, file)
        return places, is_known

    def _opened(self) -> Iterator["_IndexFile"]:
        files = tuple(self._files)
        for start in range(0, len(files), _TOGETHER):
            group = files[start : start + _TOGETHER]
            new = [file for file in group if not file.is_open]
            if new:
                with ThreadPoolExecutor(len(new), thread_name_prefix="open-index") as pool:
                    usable = dict(zip(new, pool.map(_IndexFile.open, new), strict=True))
                for file in new:
                    self.read_bytes += file.start_bytes
                    if not usable[file]:
                        self._leave_aside(file)
            yield from (file for file in group if file.is_open)

    def _leave_aside(self, file: "_IndexFile") -> None:
        self._files.remove(file)
        self.damaged.append(file.name)

    def pack_rows(self, pack_ids: Sequence[PackId]) -> NDArray[np.int64]:
        """Return a row for each pack, -1 for one that is taken for lost."""
        rows = [-1 if pack_id in self._without else self._row(pack_id) for pack_id in pack_ids]
        return np.array(rows, np.int64)

    def _row(self, pack_id: PackId) -> int:
        row = self._pack_rows.get(pack_id)
        if row is None:
            row = self._pack_rows[pack_id] = len(self._packs)
            self._packs.append(pack_id)
        return row

    def kept(self, key: tuple[str, int]) -> Records | None:
        """Return a block that was opened before."""
        block = self.blocks.get(key)
        if block is not None:
            self.blocks.move_to_end(key)
        return block

    def keep(self, key: tuple[str, int], block: Records) -> None:
        """Keep an opened block while it is among the last used."""
        self.blocks[key] = block
        if len(self.blocks) > _KEPT_BLOCKS:
            self.blocks.popitem(last=False)


class _Contents(NamedTuple):
    """What is known of a file after its beginning was read."""

    opener: IndexOpener
    fan_out: Keys
    whole: bytes  # of a small file, proven; of others nothing


class _Packs(NamedTuple):
    """A file's packs, by the numbers of their first segments."""

    ids: list[PackId]
    firsts: NDArray[np.int64]
    size_bytes: NDArray[np.uint64]


class _IndexFile:
    """One index file, of which only what is asked for is read."""

    def __init__(
        self, objects: LayeredObjects, keys: ReadKeys, info: ObjectInfo, files: IndexFiles
    ) -> None:
        self.name = info.name
        self._objects, self._keys, self._size_bytes = objects, keys, info.size_bytes
        self._files = files
        self._is_small = info.size_bytes <= _SMALL_BYTES
        # So long the fan-out is at most: every block but the last has all its rows.
        fan_out_bytes = 8 * (info.size_bytes // _BLOCK_BYTES + 1) + ALIGNMENT + TAG_BYTES
        self.start_bytes = info.size_bytes if self._is_small else PREFIX_BYTES + fan_out_bytes
        self._contents: _Contents | None = None
        self._packs: _Packs | None = None

    @property
    def is_open(self) -> bool:
        """Whether the file can be searched."""
        return self._contents is not None

    def open(self) -> bool:
        """Read head and fan-out; return whether the file can be used.  For any thread.

        Raises:
            TransientError: A layer did not answer, and no other has the file.
            NotAuthorised: As above.
            OSError: As above.
        """
        try:
            self._contents = self._objects.first(self.name, self._open)
        except (IntegrityError, ObjectAbsent):
            return False
        return True

    def _open(self, layer: Objects) -> _Contents:
        start = layer.read_range(self.name, offset=0, length=self.start_bytes)
        repository_id = self._keys.repository_id
        opener = IndexOpener(
            self._keys.index,
            start,
            size_bytes=self._size_bytes,
            repository_id=repository_id,
            name=self.name,
        )
        if self._is_small:
            open_index(self._keys.index, start, repository_id=repository_id, name=self.name)
        part = opener.shape.fan_out()
        plain = opener.open(part, start[part.offset : part.end])
        fan_out = index_format.decode_fan_out(plain, opener.shape, name=self.name)
        return _Contents(opener, fan_out, start if self._is_small else b"")

    @property
    def _known(self) -> _Contents:
        assert self._contents is not None, "opened first"
        return self._contents

    def find(self, ids: Ids) -> tuple[NDArray[np.int64], Records]:
        """Return which of the ids the file knows, and their places.

        Raises:
            IntegrityError: Every copy is damaged there.
            ObjectAbsent: The file is gone.
        """
        positions, chunks = self._chunks(ids)
        if not len(chunks):
            return positions, np.empty(0, PLACE_DTYPE)
        numbers = chunks["segment"].astype(np.int64)
        segments, packs = self._segments(numbers), self._pack_table()
        of = np.searchsorted(packs.firsts, numbers, side="right") - 1
        check_places(segments, chunks, pack_bytes=packs.size_bytes[of], name=self.name)
        pack_rows = self._files.pack_rows([packs.ids[pack] for pack in of.tolist()])
        usable = np.flatnonzero(pack_rows >= 0)
        places = np.empty(len(chunks), PLACE_DTYPE)
        places["pack"] = np.maximum(pack_rows, 0)
        places["segment"] = numbers - packs.firsts[of]
        places["segment_offset"] = segments["offset"]
        for field in ("sealed_bytes", "raw_bytes", "codec"):
            places[field] = segments[field]
        for field in ("offset", "length"):
            places[field] = chunks[field]
        first: dict[int, int] = {}  # of several copies of a chunk
        for row, position in zip(usable.tolist(), positions[usable].tolist(), strict=True):
            first.setdefault(position, row)
        return np.array(list(first), np.int64), places[list(first.values())]

    def _chunks(self, ids: Ids) -> tuple[NDArray[np.int64], Records]:
        """Return the rows with these ids, and before them the position in `ids` of each."""
        fan_out, keys = self._known.fan_out, id_keys(ids)
        last = np.searchsorted(fan_out, keys, side="right") - 1
        first = np.maximum(np.searchsorted(fan_out, keys, side="left") - 1, 0)
        asked: dict[int, list[int]] = {}
        for position, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            for block in range(low, high + 1):
                asked.setdefault(block, []).append(position)
        before = FIRST_BLOCK + self._known.opener.shape.segment_blocks
        where, found = [np.empty(0, np.int64)], [np.empty(0, CHUNK_DTYPE)]
        for number, rows in self._blocks([before + block for block in sorted(asked)]):
            mine = np.array(asked[number - before], np.int64)
            start, end = (
                np.searchsorted(chunk_keys(rows), keys[mine], side=side)
                for side in ("left", "right")
            )
            wanted = np.repeat(mine, end - start)
            near = np.concatenate([np.arange(*span) for span in zip(start, end, strict=True)])
            same = (rows["id"][near] == ids[wanted]).all(axis=1)
            where.append(wanted[same])
            found.append(rows[near[same]])
        return np.concatenate(where), np.concatenate(found)

    def _segments(self, numbers: NDArray[np.int64]) -> Records:
        segments = np.zeros(len(numbers), SEGMENT_DTYPE)
        parts = FIRST_BLOCK + numbers // BLOCK_ROWS
        for number, rows in self._blocks(sorted(set(parts.tolist()))):
            mine = parts == number
            segments[mine] = rows[numbers[mine] % BLOCK_ROWS]
        return segments

    def _pack_table(self) -> _Packs:
        if self._packs is None:
            [table] = self._read([self._known.opener.shape.pack_table()])
            counts = table["segments"].astype(np.int64)
            ids = [PackId(row.tobytes().hex()) for row in table["id"]]
            self._packs = _Packs(ids, np.cumsum(counts) - counts, table["pack_bytes"])
        return self._packs

    def _blocks(self, numbers: Sequence[int]) -> Iterator[tuple[int, Records]]:
        """Yield blocks by the numbers of their parts; neighbours cost one read together."""
        group: list[Part] = []
        for number in numbers:
            kept = self._files.kept((self.name, number))
            if kept is not None:
                yield number, kept
                continue
            if group and group[-1].number + 1 != number:
                yield from self._read_blocks(group)
                group = []
            group.append(self._known.opener.shape.block(number))
        if group:
            yield from self._read_blocks(group)

    def _read_blocks(self, parts: list[Part]) -> Iterator[tuple[int, Records]]:
        for part, rows in zip(parts, self._read(parts), strict=True):
            self._files.keep((self.name, part.number), rows)
            yield part.number, rows

    def _read(self, parts: list[Part]) -> list[Records]:
        """Return the tables in neighbouring parts, of the first copy in which all of them hold."""
        opener, fan_out, whole = self._known
        start, end = parts[0].offset, parts[-1].end

        def use(layer: Objects) -> list[Records]:
            """Read and open the parts of one layer's copy; an `IntegrityError` condemns it."""
            data = whole[start:end]
            if not whole:
                data = layer.read_range(self.name, offset=start, length=end - start)
                self._files.read_bytes += len(data)
            if len(data) != end - start:
                raise ObjectCorrupt(self.name, check="it is cut off")
            return [
                decode_part(
                    opener.open(part, data[part.offset - start : part.end - start]),
                    opener.shape,
                    fan_out,
                    part=part,
                    name=self.name,
                )
                for part in parts
            ]

        return self._objects.first(self.name, use)
