"""Chunks by their ids, in the order of the packs, from whichever copy of a pack holds.

One decoded segment proves itself twice: by its seal, and every chunk in it by its id.  A copy of a
pack that fails one of these is left for the next layer's copy; where every copy is damaged, what
still holds in any of them is read segment by segment.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from overland.agent.points.indexes import IndexFiles, read_index_tables
from overland.agent.points.reading import ReadKeys
from overland.agent.points.replacements import replacements_of
from overland.agent.sources import LayeredObjects
from overland.crypto.ids import chunk_id, chunk_ids
from overland.crypto.secrets import Secret
from overland.errors import IntegrityError, ObjectAbsent, ObjectCorrupt
from overland.format import pack as pack_format
from overland.format.index import PackDirectory
from overland.packing.index import PLACE_DTYPE, ChunkIndex, Ids
from overland.packing.reader import ChunkAbsent, OpenedPack, OpenPack, read_directory
from overland.packing.tables import Records
from overland.ports.objects import Objects
from overland.sealing.seal import open_pack
from overland.values import PackId, is_object_name, pack_name

__all__ = ["ChunkStore", "Decoded", "Job", "Segment", "Wanted", "pack_of"]

_READ_BYTES: Final = 8 << 20
"""Neighbouring segments are read together up to this: few requests, and bounded memory."""

_RAW_BYTES: Final = 32 << 20
"""Neighbouring segments are decoded together up to this: zeros grow ten-thousandfold."""

_GAP_BYTES: Final = 256 << 10
"""So much that nobody asked for is read rather than asking twice."""

_KEPT_BYTES: Final = 48 << 20
"""Decoded segments kept for the next small read: folder nodes lie close together."""

_WHOLE_BYTES: Final = 1 << 20
"""Index files that are together not longer than this are read whole."""

_FROM_FILES: Final = 1 << 31
"""Pack rows from here on are those of `IndexFiles`, those below of `ChunkIndex`."""


class Segment(NamedTuple):
    """One segment, and which rows of the request lie in it."""

    number: int
    offset: int
    sealed_bytes: int
    raw_bytes: int
    codec: int
    start: int
    end: int


class Job(NamedTuple):
    """Near segments of one pack, fetched with one read."""

    pack_id: PackId
    segments: tuple[Segment, ...]


class Decoded(NamedTuple):
    """A segment's raw bytes, each wanted chunk in it checked; or why there are none."""

    segment: Segment
    raw: memoryview | None
    error: Exception | None


class Wanted:
    """Chunks that were asked for, sorted by where they lie."""

    def __init__(self, ids: Ids, places: Records) -> None:
        self.order: NDArray[np.int64] = np.lexsort(
            (places["offset"], places["segment"], places["pack"])
        )
        self.places = places[self.order]
        self.ids = ids[self.order]

    def check(self, raw: memoryview, segment: Segment, key: Secret) -> bool:
        """Return whether every wanted chunk of the segment is what its id says."""
        rows = slice(segment.start, segment.end)
        places, ids = self.places[rows], self.ids[rows]
        is_first = np.diff(places["offset"].astype(np.int64), prepend=-1) != 0
        if not is_first.all():  # chunks that are wanted more than once
            places, ids = places[is_first], ids[is_first]
        offsets, lengths = places["offset"].tolist(), places["length"].tolist()
        return chunk_ids(key, raw, zip(offsets, lengths, strict=True)) == ids.tobytes()


class ChunkStore:
    """Reads the chunks of a repository, whichever layer holds them.

    `decode` and `chunk_id` are for any thread, all else for one.
    """

    def __init__(
        self, objects: LayeredObjects, keys: ReadKeys, *, scratch: Path | None = None
    ) -> None:
        """Prepare; `open_index` or `load_index` comes next.

        Args:
            objects: Hold the packs and index files.
            keys: Open them.
            scratch: A folder for an index larger than memory; None keeps it in memory.
        """
        self.objects, self.keys = objects, keys
        self.index = ChunkIndex(keys.repository_id, scratch=scratch)
        self.damaged: list[str] = []
        self._scratch = scratch
        self.open_pack: OpenPack = open_pack(keys.segment, repository_id=keys.repository_id)
        self._files: IndexFiles | None = None
        self._is_loaded = self._is_complete = False
        self._without: frozenset[PackId] = frozenset()
        self._other: ChunkStore | None = None
        self._kept: OrderedDict[tuple[int, int], memoryview] = OrderedDict()
        self._kept_bytes = 0

    def open_index(self) -> None:
        """Prepare to look up few chunks, reading only the parts of index files that say where.

        When more and more are looked up, or one is not found, everything is loaded after all.
        """
        files = IndexFiles(self.objects, self.keys, without=self._without | self._replaced)
        if files.size_bytes > _WHOLE_BYTES:
            self._files = files
        else:
            self.load_index()

    def load_index(self) -> None:
        """Make the packs of all index files known; damaged ones are noted in `damaged`."""
        self._is_loaded = True
        unwanted = self._without | self._replaced
        self._load_tables(lambda pack_id: pack_id not in unwanted)

    def _load_tables(self, wanted: Callable[[PackId], bool]) -> None:
        for info in self.objects.names("index/"):
            if not is_object_name(info.name) or info.name in self.damaged:
                continue
            try:
                tables = read_index_tables(self.objects, self.keys, info.name)
            except (IntegrityError, ObjectAbsent):
                self.damaged.append(info.name)
                continue
            self.index.add_tables(tables, wanted=wanted)

    @cached_property
    def _replaced(self) -> frozenset[PackId]:
        """Packs that others stand in for: read last, and only where they still are."""
        found = replacements_of(self.objects, self.keys)
        self.damaged += [*found.damaged, *(each.what for each in found.unproven)]
        return found.replaced_packs()

    def without(self, packs: Iterable[str]) -> "ChunkStore":
        """Return a store that takes the named packs for lost: chunks may lie elsewhere too."""
        excluded = self._without | {PackId(name[9:-5]) for name in packs}
        if self._other is None or not excluded <= self._other.excluded:
            other = ChunkStore(self.objects, self.keys, scratch=self._scratch)
            other._without = excluded | (self._other.excluded if self._other else frozenset())
            other.load_index()
            self._other = other
        return self._other

    @property
    def excluded(self) -> frozenset[PackId]:
        """The packs that this store takes for lost."""
        return self._without

    def find(self, ids: Ids) -> tuple[Records, NDArray[np.bool_]]:
        """Return where each chunk lies, and which of them anything that can be read holds.

        The places of the others have no meaning.  When an id is in no index, the directories of
        all packs without one are read first.

        Raises:
            TransientError, NotAuthorised, OSError: A layer failed, no other has an index file.
        """
        if self._files is not None and not self._is_loaded:
            cost_bytes = self._files.read_bytes + self._files.cost_bytes(len(ids))
            if cost_bytes <= self._files.size_bytes // 2:
                places, is_known = self._files.find(ids)
                if is_known.all():
                    places["pack"] += _FROM_FILES
                    return places, is_known
            self.load_index()
        rows = self.index.lookup(ids)
        if (rows < 0).any() and not self._is_complete:
            self._load_directories()
            rows = self.index.lookup(ids)
        is_known = rows >= 0
        places = np.zeros(len(ids), PLACE_DTYPE)
        places[is_known] = self.index.places(rows[is_known])
        return places, is_known

    def pack_id(self, row: int) -> PackId:
        """Return the id of the pack in a place's `pack` field."""
        if row < _FROM_FILES:
            return self.index.pack_id(row)
        assert self._files is not None, "such rows come from there"
        return self._files.pack_id(row - _FROM_FILES)

    def _load_directories(self) -> None:
        self._is_complete = True
        if replaced := self._replaced - self._without:  # whose own directories may be damaged
            self._load_tables(lambda pack_id: pack_id in replaced)
        for info in self.objects.names("packs/"):
            pack_id = PackId(info.name[-69:-5])
            known = pack_id in self._without or self.index.has_pack(pack_id)
            if known or not is_object_name(info.name):
                continue
            try:
                self.index.add(self._directory(pack_id))
            except (IntegrityError, ObjectAbsent):
                self.damaged.append(info.name)

    def _directory(self, pack_id: PackId) -> PackDirectory:
        name = pack_name(pack_id)

        def use(layer: Objects) -> PackDirectory:
            """Read the directory of one layer's copy; an `IntegrityError` condemns it."""
            size_bytes = layer.head(name).size_bytes
            return read_directory(layer, pack_id, size_bytes=size_bytes, open_pack=self.open_pack)

        return self.objects.first(name, use)

    def jobs(self, wanted: Wanted) -> Iterator[Job]:
        """Yield what to read for `wanted`, in the order of the packs."""
        places = wanted.places
        changes = np.ones(len(places), bool)
        changes[1:] = (np.diff(places["pack"].astype(np.int64)) != 0) | (
            np.diff(places["segment"].astype(np.int64)) != 0
        )
        starts = np.flatnonzero(changes)
        ends = np.append(starts[1:], len(places)).tolist()
        first = places[starts]
        columns = [
            first[field].tolist()
            for field in ("segment", "segment_offset", "sealed_bytes", "raw_bytes", "codec")
        ]
        segments = map(Segment, *columns, starts.tolist(), ends)
        pack, group = -1, list[Segment]()
        for row, segment in zip(first["pack"].tolist(), segments, strict=True):
            if group and not (row == pack and _is_near(group, segment)):
                yield Job(self.pack_id(pack), tuple(group))
                group = []
            pack = row
            group.append(segment)
        if group:
            yield Job(self.pack_id(pack), tuple(group))

    def decode(self, job: Job, wanted: Wanted) -> list[Decoded]:
        """Return the segments of a job, in order; damaged or absent ones with their error.

        Raises:
            TransientError, NotAuthorised, OSError: A layer failed, and no other has the pack.
        """
        name = pack_name(job.pack_id)
        try:
            return self.objects.first(name, lambda layer: self._decode(layer, job, wanted))
        except ObjectAbsent as error:
            return [Decoded(segment, None, error) for segment in job.segments]
        except IntegrityError:
            return [self._rescue(job.pack_id, segment, wanted) for segment in job.segments]

    def _rescue(self, pack_id: PackId, segment: Segment, wanted: Wanted) -> Decoded:
        """Read one segment from any copy in which at least this one holds."""
        one = Job(pack_id, (segment,))
        try:
            [decoded] = self.objects.first(
                pack_name(pack_id),
                lambda layer: self._decode(layer, one, wanted),
                even_damaged=True,
            )
        except (IntegrityError, ObjectAbsent) as error:
            return Decoded(segment, None, error)
        return decoded

    def _decode(self, layer: Objects, job: Job, wanted: Wanted) -> list[Decoded]:
        name = pack_name(job.pack_id)
        header = layer.read_range(name, offset=0, length=pack_format.HEADER_BYTES)
        opened = self.open_pack(header, name)
        first, last = job.segments[0], job.segments[-1]
        length = last.offset + last.sealed_bytes - first.offset
        sealed = memoryview(layer.read_range(name, offset=first.offset, length=length))
        if len(sealed) != length:
            raise ObjectCorrupt(name, check="it is cut off")
        return [
            self._open(opened, name, segment, sealed[segment.offset - first.offset :], wanted)
            for segment in job.segments
        ]

    def _open(
        self, opened: OpenedPack, name: str, segment: Segment, sealed: memoryview, wanted: Wanted
    ) -> Decoded:
        raw = memoryview(
            opened.open_segment(
                segment.number,
                sealed[: segment.sealed_bytes],
                codec=segment.codec,
                raw_bytes=segment.raw_bytes,
            )
        )
        if not wanted.check(raw, segment, self.keys.chunk_id):
            raise ObjectCorrupt(name, check="a chunk is not what its id says")
        return Decoded(segment, raw, None)

    def chunk_id(self, data: bytes | memoryview) -> bytes:
        """Return the id of a chunk's content."""
        return chunk_id(self.keys.chunk_id, data)

    def read(self, ids: Ids) -> list[bytes]:
        """Return whole chunks in the order of `ids`; for few and small ones, such as nodes.

        Raises:
            ChunkAbsent: No index knows one of them.
            ObjectAbsent: No layer has its pack.
            IntegrityError: Every copy is damaged there.
        """
        try:
            return self._read(ids)
        except (ObjectAbsent, IntegrityError) as error:
            pack = pack_of(error)
            if pack is None:
                raise
            with contextlib.suppress(ChunkAbsent):
                return self.without([pack]).read(ids)
            raise

    def _read(self, ids: Ids) -> list[bytes]:
        places, is_known = self.find(ids)
        absent = np.flatnonzero(~is_known)
        if len(absent):
            raise ChunkAbsent(ids[absent[0]].tobytes(), count=len(absent))
        wanted = Wanted(ids, places)
        found: list[bytes] = [b""] * len(ids)
        order, places = wanted.order.tolist(), wanted.places
        offsets, lengths = places["offset"].tolist(), places["length"].tolist()
        for job in self.jobs(wanted):
            for segment, raw in self._kept_or_decoded(job, wanted):
                for row in range(segment.start, segment.end):
                    found[order[row]] = bytes(raw[offsets[row] : offsets[row] + lengths[row]])
        return found

    def _kept_or_decoded(self, job: Job, wanted: Wanted) -> Iterator[tuple[Segment, memoryview]]:
        pack = int(wanted.places["pack"][job.segments[0].start])
        lacking: list[Segment] = []
        for segment in job.segments:
            raw = self._kept.get((pack, segment.number))
            if raw is None:
                lacking.append(segment)
                continue
            self._kept.move_to_end((pack, segment.number))
            if not wanted.check(raw, segment, self.keys.chunk_id):
                raise ObjectCorrupt(pack_name(job.pack_id), check="a chunk is not what its id says")
            yield segment, raw
        if not lacking:
            return
        for segment, decoded, error in self.decode(Job(job.pack_id, tuple(lacking)), wanted):
            if decoded is None:
                assert error is not None, "a segment without bytes says why"
                raise error
            self._keep((pack, segment.number), decoded)
            yield segment, decoded

    def _keep(self, key: tuple[int, int], raw: memoryview) -> None:
        self._kept[key] = raw
        self._kept_bytes += len(raw)
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)


def pack_of(error: Exception) -> str | None:
    """Return the name of the pack that an error is about."""
    name = getattr(error, "name", None)
    return name if isinstance(name, str) and name.startswith("packs/") else None


def _is_near(group: list[Segment], segment: Segment) -> bool:
    end = group[-1].offset + group[-1].sealed_bytes
    size_bytes = segment.offset + segment.sealed_bytes - group[0].offset
    raw_bytes = segment.raw_bytes + sum(before.raw_bytes for before in group)
    return (
        segment.offset - end <= _GAP_BYTES and size_bytes <= _READ_BYTES and raw_bytes <= _RAW_BYTES
    )
