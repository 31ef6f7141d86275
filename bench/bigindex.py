"""A saved chunk index of many terabytes, of generated entries: look-ups alone, and backups beside.

The index is a saved one in all that a run reads of it: sorted keys with their rows, packs of 64
MiB, segments of 1 MiB and the digests of all blocks.  Rows of chunks that are not asked for, and
segments, are zeros that take no room on the disk, so that 100 TB are 5 GB there.
"""

import heapq
import mmap
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from bench.backedup import POLICY, REPOSITORY, Figures, measured
from blake3 import blake3
from numpy.typing import NDArray

from overland.adapters.posix import PosixFiles
from overland.agent.repository import index_hint_name
from overland.packing.head import (
    DIGEST_BYTES,
    Head,
    Span,
    StatedPart,
    encode_head,
    part_name,
    read_head,
    rows_per_block,
    spans_of,
)
from overland.packing.hints import IndexHint
from overland.packing.index import ChunkIndex
from overland.packing.parts import CHUNK_ROW, PACK_ROW, ROW_DTYPES
from overland.values import ObjectInfo, PackId, PointId, RepositoryId, pack_name

__all__ = ["ListedPacks", "index_file", "looked_up", "write_index"]

_MEAN_CHUNK_BYTES: Final = 256 << 10
_SEGMENT_BYTES: Final = 1 << 20
_PACK_BYTES: Final = 64 << 20
_BLOCK: Final = 1 << 22  # keys generated at a time
_PART: Final = uuid.UUID(int=7).hex
_KEYS, _ROWS, _PACKS, _SEGMENTS, _CHUNKS = range(len(ROW_DTYPES))
_LISTED: Final = 4096  # packs
_SAMPLE: Final = 1 << 18  # chunks looked up, present and absent
_BATCH: Final = 256  # ids in a look-up, as of a batch of small files


class _Part(NamedTuple):
    """The file of the part, as memory that is written to, and where its tables lie."""

    data: mmap.mmap
    spans: list[Span]

    def rows(self, table: int, first: int, count: int) -> NDArray[Any]:
        """Return rows of a table, which may be written to."""
        dtype = ROW_DTYPES[table]
        start = self.spans[table].start + first * dtype.itemsize
        return np.frombuffer(self.data, dtype, count, start)


def index_file(state: Path, policy: str) -> Path:
    """Return where the part of an index lies that `write_index` wrote."""
    return state / part_name(index_hint_name(policy), _PART)


def write_index(
    state: Path,
    policy: str,
    *,
    repository_id: RepositoryId,
    tip: PointId | None,
    terabytes: float,
    known: NDArray[np.uint8],
) -> None:
    """Save an index of so many terabytes for a policy, in place of the one it has.

    Args:
        state: The folder of the repository's hints.
        policy: Whose index.
        repository_id: Of the repository.
        tip: The point that the index is to be of.
        terabytes: Of unique data, in chunks of 256 KiB.
        known: Ids, one in a row, that are to be in the index besides.
    """
    generated = int(terabytes * 1e12 / _MEAN_CHUNK_BYTES)
    count = generated + len(known)
    segments, packs = (int(terabytes * 1e12 / size) for size in (_SEGMENT_BYTES, _PACK_BYTES))
    counts = (count, count, packs, max(1, segments), count)
    spans = spans_of(counts)
    path = index_file(state, policy)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w+b") as file:
        file.truncate(spans[-1].digests_end)
        part = _Part(mmap.mmap(file.fileno(), 0), spans)
        touched = _fill(part, generated, known)
        _fill_packs(part.rows(_PACKS, 0, packs))
        digest = _write_digests(part, counts, touched)
        os.fsync(file.fileno())
    stated = StatedPart(_PART, counts, digest)
    head = Head(b"a generated head", tip, [stated], ())
    files = PosixFiles(state)
    files.write(index_hint_name(policy), encode_head(head, repository_id=repository_id))


def _fill(part: _Part, generated: int, known: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Write sorted keys with their rows, and the chunks that are known; return their rows.

    Generated keys are as far apart as those of random ids; rows lie scattered, as in the order of
    arrival.
    """
    random, total = np.random.default_rng(1), generated + len(known)
    order = np.argsort(known[:, :8].copy().view(">u8")[:, 0])
    known = known[order]
    known_keys = known[:, :8].copy().view(">u8")[:, 0].astype(np.uint64)
    known_rows = np.sort(random.choice(total, len(known), replace=False))
    random.shuffle(known_rows)
    step, at, low = 2_654_435_761, 0, 0  # a prime
    starts = range(0, generated, _BLOCK)
    counts = [min(_BLOCK, generated - first) for first in starts]
    shares = np.cumsum([0.0, *random.gamma(counts)])
    shares /= shares[-1]
    for number, (first, count) in enumerate(zip(starts, counts, strict=True)):
        numbers = np.arange(first, first + count, dtype=np.uint64)
        begin, end = shares[number], shares[number + 1]
        keys = _sorted_keys(random, count, begin=begin, end=end)
        rows = (numbers * np.uint64(step) % np.uint64(total)).astype(np.uint32)
        is_last = number == len(starts) - 1
        high = len(known) if is_last else int(np.searchsorted(known_keys, _key(end)))
        some, low = slice(low, high), high
        places = np.searchsorted(keys, known_keys[some])
        keys = np.insert(keys, places, known_keys[some])
        rows = np.insert(rows, places, known_rows[some])
        part.rows(_KEYS, at, len(keys))[:] = keys
        part.rows(_ROWS, at, len(keys))[:] = rows
        at += len(keys)
    assert at == total, "every chunk has a key"
    part.rows(_CHUNKS, 0, total)["id"][known_rows] = known
    return np.sort(known_rows)


def _sorted_keys(
    random: np.random.Generator, count: int, *, begin: float, end: float
) -> NDArray[np.uint64]:
    """Return so many sorted keys between these shares of all."""
    gaps = random.exponential(size=count + 1).cumsum()
    places = (begin + gaps[:-1] / gaps[-1] * (end - begin)) * 2.0**64
    keys: NDArray[np.uint64] = np.minimum(places, 2.0**64 - 4096).astype(np.uint64)
    return keys


def _key(share: float) -> np.uint64:
    return np.uint64(min(share * 2.0**64, 2.0**64 - 4096))


def _fill_packs(packs: NDArray[Any]) -> None:
    """Ids of packs, sorted as a store lists them."""
    count = len(packs)
    firsts = np.arange(count, dtype=np.uint64) * np.uint64((1 << 64) // max(1, count))
    packs["id"] = np.random.default_rng(3).integers(0, 256, (count, 32), np.uint8)
    packs["id"][:, :8] = firsts.astype(">u8").view(np.uint8).reshape(-1, 8)
    packs["size_bytes"] = _PACK_BYTES


def _write_digests(part: _Part, counts: tuple[int, ...], touched: NDArray[np.int64]) -> bytes:
    """Write the digests of all blocks; return what the head has of them."""
    for table, (count, dtype) in enumerate(zip(counts, ROW_DTYPES, strict=True)):
        span, per_block = part.spans[table], rows_per_block(dtype.itemsize)
        blocks = -(-count // per_block)
        zeros = blake3(bytes(per_block * dtype.itemsize)).digest(DIGEST_BYTES)
        digests = np.frombuffer(part.data, np.uint8, blocks * DIGEST_BYTES, span.digests_start)
        digests[:] = np.frombuffer(zeros * blocks, np.uint8)
        written: Iterable[int] = range(blocks)
        if table in (_SEGMENTS, _CHUNKS):  # all others are as they were made: zeros
            found = touched // per_block if table == _CHUNKS else np.empty(0, np.int64)
            written = sorted({*found.tolist(), blocks - 1})
        view = memoryview(part.data)
        for block in written:
            start = span.start + block * per_block * dtype.itemsize
            data = view[start : min(start + per_block * dtype.itemsize, span.end)]
            at = block * DIGEST_BYTES
            digests[at : at + DIGEST_BYTES] = np.frombuffer(
                blake3(data).digest(DIGEST_BYTES), np.uint8
            )
    return blake3(memoryview(part.data)[part.spans[0].digests_start :]).digest()


class ListedPacks:
    """A folder of objects, and beside them all packs of a generated index.

    Those are only listed, as a vault would list them; nothing reads them.
    """

    def __init__(
        self, files: PosixFiles, *, state: Path, policy: str, repository_id: RepositoryId
    ) -> None:
        """List the objects of `files`, and the packs of the index that is saved in `state`."""
        self._files, self.read, self.read_range = files, files.read, files.read_range
        head = read_head(PosixFiles(state), index_hint_name(policy), repository_id=repository_id)
        [counts] = [part.counts for part in head.parts if part.name == _PART]
        self._span = spans_of(counts)[_PACKS]
        self._descriptor = os.open(index_file(state, policy), os.O_RDONLY)

    def names(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with `prefix`, sorted by name."""
        others = self._listed() if prefix == "packs/" else iter(())
        return heapq.merge(self._files.names(prefix), others, key=lambda info: info.name)

    def _listed(self) -> Iterator[ObjectInfo]:
        step = _LISTED * PACK_ROW.itemsize
        for at in range(self._span.start, self._span.end, step):
            data = os.pread(self._descriptor, min(step, self._span.end - at), at)
            for start in range(0, len(data), PACK_ROW.itemsize):
                pack_id = PackId(data[start : start + 32].hex())
                yield ObjectInfo(name=pack_name(pack_id), size_bytes=_PACK_BYTES)


def looked_up(work: str, terabytes: str) -> Figures:
    """Measure look-ups in a generated index, saved and loaded as a run does."""
    random = np.random.default_rng(2)
    known, absent = (random.integers(0, 256, (_SAMPLE, 32), np.uint8) for _ in range(2))
    state = Path(work, "looked-up")
    write_index(
        state,
        POLICY,
        repository_id=REPOSITORY,
        tip=None,
        terabytes=float(terabytes),
        known=known,
    )
    hint = IndexHint(PosixFiles(state), index_hint_name(POLICY), folder=state)
    index = hint.load(REPOSITORY)
    hits, misses = _look_up(index, known, is_known=True), _look_up(index, absent, is_known=False)
    index_file(state, POLICY).unlink()
    searched = 8 + 4  # of a key and its row
    return {
        "terabytes": float(terabytes),
        "chunks": len(index),
        "known_us_per_chunk": round(hits, 2),
        "new_us_per_chunk": round(misses, 2),
        "searched_bytes_per_chunk": searched,
        "saved_bytes_per_chunk": searched + CHUNK_ROW.itemsize,
        "searched_gib": round(len(index) * searched / (1 << 30), 2),
    }


def _look_up(index: ChunkIndex, ids: NDArray[np.uint8], *, is_known: bool) -> float:
    """Return microseconds for each chunk; the second of two rounds, when what is hot is in."""
    found: list[NDArray[np.int64]] = []

    def work() -> None:
        found[:] = [index.lookup(ids[at : at + _BATCH]) for at in range(0, len(ids), _BATCH)]

    seconds = [measured(work).cpu_s for _ in range(2)][-1]
    assert all(((rows >= 0) == is_known).all() for rows in found), "the index answers right"
    return seconds / len(ids) * 1e6
