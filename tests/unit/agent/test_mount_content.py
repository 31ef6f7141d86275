"""A file that is opened in a mount: right bytes, or an error, also after an error."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Lock
from typing import final

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.backed_up import PASSPHRASE, BackedUp
from typing_extensions import override

from overland.agent.mount.content import ChunkCache, FileContent
from overland.agent.points import tree
from overland.agent.points.chunks import ChunkStore, Decoded, Job, Wanted
from overland.agent.points.reading import open_keys, open_point
from overland.agent.points.tree import PointTree
from overland.errors import Unreachable
from overland.packing.index import Ids
from overland.packing.tables import Records

IDS_AT_ONCE = 4


@final
class FailingStore(ChunkStore):
    """Does not know one chunk, and does not answer once; says when it begins to decode."""

    lost = b""
    answers = True
    decoding: Barrier | None = None
    open_again: Callable[[], FileContent]

    @override
    def find(self, ids: Ids) -> tuple[Records, NDArray[np.bool_]]:
        if not self.answers:
            self.answers = True
            raise Unreachable("the vault does not answer")
        places, is_known = super().find(ids)
        return places, is_known & np.array([row.tobytes() != self.lost for row in ids])

    @override
    def decode(self, job: Job, wanted: Wanted) -> list[Decoded]:
        if self.decoding is not None:
            self.decoding.wait()
        return super().decode(job, wanted)


@pytest.fixture
def opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[FileContent, FailingStore, bytes, list[bytes]]:
    """A file of some pieces of ids, the store it is read from, its bytes, and its ids."""
    world = BackedUp(tmp_path)
    world.source.mkdir()
    data = os.urandom(200_000)
    (world.source / "file").write_bytes(data)
    world.back_up(world.source / "file")
    monkeypatch.setattr(tree, "_PIECE_IDS", IDS_AT_ONCE)
    objects = world.objects()
    store = FailingStore(objects, open_keys(objects, passphrase=PASSPHRASE))
    store.load_index()
    point = open_point(objects, store.keys, world.results[0].point_id)
    entry, points_tree = point.root.roots[0].entry, PointTree(point, store)
    ids = [row.tobytes() for piece in points_tree.content_ids(entry) for row in piece]
    assert len(ids) > 3 * IDS_AT_ONCE
    lock = Lock()
    store.open_again = lambda: FileContent(
        entry, tree=points_tree, store=store, cache=ChunkCache(), lock=lock
    )
    return store.open_again(), store, data, ids


def test_behind_a_lost_chunk_nothing_is_read_from_a_wrong_place(
    opened: tuple[FileContent, FailingStore, bytes, list[bytes]],
) -> None:
    """How long a lost chunk was nobody knows, and so where what follows it belongs."""
    content, store, _, ids = opened
    store.lost = ids[1]
    for _ in range(len(ids)):
        with pytest.raises(OSError, match="Input/output") as failed:
            content.read(1000, 0)
        assert failed.value.errno == errno.EIO


def test_a_read_that_failed_can_be_repeated(
    opened: tuple[FileContent, FailingStore, bytes, list[bytes]],
) -> None:
    content, store, data, _ = opened
    for offset in (0, 100_000, 199_000):
        store.answers = False
        with pytest.raises(OSError, match="Input/output"):
            content.read(1000, offset)
        assert content.read(1000, offset) == data[offset : offset + 1000]


def test_two_files_are_decoded_at_the_same_time(
    opened: tuple[FileContent, FailingStore, bytes, list[bytes]],
) -> None:
    """Each decode waits until the other has begun: one after the other, neither would end."""
    content, store, data, _ = opened
    store.decoding = Barrier(2, timeout=120)
    with ThreadPoolExecutor(2) as pool:
        files = (content, store.open_again())
        found = list(pool.map(lambda file: file.read(1000, 100_000), files))
    assert found == [data[100_000:101_000]] * 2
