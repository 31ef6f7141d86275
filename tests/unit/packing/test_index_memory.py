"""A chunk index keeps within its memory, and its answers, however many chunks there are.

    python -m tests.unit.packing.test_index_memory FOLDER

grows one in a process of its own, looks up, saves, loads, and adds as much again, and prints by how
many MiB the process grew at most.
"""

import random
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overland.adapters.posix import PosixFiles
from overland.format.index import PackDirectory
from overland.format.pack import CHUNK_DTYPE, SEGMENT_DTYPE, Directory
from overland.packing import index as packing_index
from overland.packing import runs, scratch, tables
from overland.packing.hints import IndexHint
from overland.packing.index import ChunkIndex, as_ids
from overland.values import PackId, RepositoryId

REPOSITORY = RepositoryId(str(uuid.UUID(int=1)))
PRIVATE_MIB = 100  # as the docstring of `index` says
RESIDENT_MIB = 64  # instead of what a large machine has
PACK_CHUNKS = 1 << 16
PACKS = 32  # 2 million chunks: 28 MiB of keys and rows, and 88 MiB of chunks


def pack(number: int, ids: "np.typing.NDArray[np.uint8]") -> PackDirectory:
    segments = np.zeros(4, SEGMENT_DTYPE)
    segments["raw_bytes"] = len(ids)
    rows = np.zeros(len(ids), CHUNK_DTYPE)
    rows["id"], rows["length"] = ids, 1
    rows["offset"] = np.arange(len(ids))
    rows["segment"] = np.arange(len(ids)) % 4
    return PackDirectory(
        pack_id=PackId(f"{number:064x}"),
        pack_bytes=1,
        directory=Directory(segments=segments, chunks=rows),
    )


def ids_of(number: int) -> "np.typing.NDArray[np.uint8]":
    return np.random.default_rng(number).integers(0, 256, (PACK_CHUNKS, 32), np.uint8)


def test_memory_is_bounded_whatever_is_added_looked_up_and_saved(tmp_path: Path) -> None:
    command = [sys.executable, "-m", __name__, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    # Two times 2 million chunks, 235 MiB as they are saved: all resident, it would be above.
    assert int(done.stdout) < PRIVATE_MIB + RESIDENT_MIB


@given(
    steps=st.lists(
        st.sampled_from(["add", "add", "add", "look", "forget", "save"]), min_size=3, max_size=25
    ),
    seed=st.integers(0, 1 << 30),
)
@settings(max_examples=40, deadline=None)
def test_an_index_that_spills_and_lets_go_is_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], seed: int
) -> None:
    source = random.Random(seed)
    folder = tmp_path_factory.mktemp("index")
    names = [source.randbytes(32) for _ in range(600)]
    names += [b"prefix88" + source.randbytes(24) for _ in range(30)]
    stored: dict[PackId, list[bytes]] = {}
    with pytest.MonkeyPatch.context() as patch:
        _small(patch)
        hint = IndexHint(PosixFiles(folder), "hint", folder=folder)
        index = ChunkIndex(REPOSITORY, scratch=folder)
        for number, step in enumerate(steps):
            if step == "add":
                chunks = source.sample(names, source.randint(1, 120))
                added = pack(number, as_ids(b"".join(chunks)))
                index.add(added)
                stored[added.pack_id] = chunks
            elif step == "forget" and stored:
                index.forget_packs([lost := source.choice(list(stored))])
                del stored[lost]
            elif step == "save":
                hint.save(index)
                index = hint.load(REPOSITORY)
            else:
                _compare(index, names, stored)
        _compare(index, names, stored)


def _small(patch: pytest.MonkeyPatch) -> None:
    """Let everything happen that only happens with many chunks."""
    patch.setattr(tables, "_IN_MEMORY_BYTES", 5000)
    patch.setattr(tables, "_FIRST_ROWS", 8)
    patch.setattr(runs, "_IN_MEMORY", 100)
    patch.setattr(runs, "_LONG", 128)
    patch.setattr(runs, "_FILTERED", 150)
    patch.setattr(runs, "_MERGED_AT_ONCE", 64)
    patch.setattr(packing_index, "_LOOKED_UP", 50)
    patch.setattr(packing_index, "_APPENDED", 7)
    for module in (packing_index, scratch):
        patch.setattr(module, "RESIDENT_BYTES", 0)
    patch.setattr(scratch, "LARGE_BYTES", 0)


def _compare(index: ChunkIndex, names: list[bytes], stored: dict[PackId, list[bytes]]) -> None:
    known = {chunk for chunks in stored.values() for chunk in chunks}
    rows = index.lookup(as_ids(b"".join(names)))
    assert [row >= 0 for row in rows.tolist()] == [name in known for name in names]
    found = np.flatnonzero(rows >= 0)
    for at, place in zip(found.tolist(), index.places(rows[found]), strict=True):
        chunks = stored[index.pack_id(int(place["pack"]))]
        assert chunks[int(place["offset"])] == names[at]
        assert place["segment"] == place["offset"] % 4
    assert set(index.pack_ids()) == set(stored)


def _grown(folder: Path) -> int:
    """Return by how many MiB the process grew at most."""
    for module in (packing_index, scratch):
        vars(module)["RESIDENT_BYTES"] = RESIDENT_MIB << 20  # less than this machine may use
    before = _peak_mib()
    hint = IndexHint(PosixFiles(folder), "hint", folder=folder)
    index = ChunkIndex(REPOSITORY, scratch=folder)
    for half in range(2):
        for number in range(half * PACKS, (half + 1) * PACKS):
            index.add(pack(number, ids_of(number)))
            known = ids_of(number // 2)[:4096]
            rows = index.lookup(known)
            assert (rows >= 0).all()
            index.places(rows)
            assert (index.lookup(known ^ np.uint8(1)) < 0).all()
        hint.save(index)
        index = hint.load(REPOSITORY)
        every = np.concatenate([ids_of(number)[::8] for number in range(0, half * PACKS + 1, 4)])
        assert (index.lookup(every) >= 0).all()
    assert len(index) == 2 * PACKS * PACK_CHUNKS
    return _peak_mib() - before


def _peak_mib() -> int:
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    sys.stdout.write(f"{_grown(Path(sys.argv[1]))}\n")
