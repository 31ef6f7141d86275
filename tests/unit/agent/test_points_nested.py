"""A source inside another source: what is lost of the outer one does not take the inner along."""

from collections.abc import Iterator

import msgspec
import pytest
from tests.support.backed_up import BackedUp
from tests.support.torture import fast_folder

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.tree import PointTree
from overland.format.point import Root
from overland.packing.index import Ids
from overland.packing.reader import ChunkAbsent


@pytest.fixture
def backed() -> Iterator[BackedUp]:
    with fast_folder() as folder:
        world = BackedUp(folder)
        (world.source / "inner").mkdir(parents=True)
        (world.source / "inner" / "file").write_bytes(b"inner")
        (world.source / "outer").write_bytes(b"outer")
        world.back_up()
        yield world


def nested(backed: BackedUp) -> tuple[PointTree, ChunkStore, bytes]:
    """Return a point's tree with a second root inside the first; and the outer folder's chunk."""
    point, store = backed.open()
    path = str(backed.source / "inner").encode()
    entry = PointTree(point, store).entry(path)
    assert entry is not None
    [outer] = point.root.roots
    root = msgspec.structs.replace(point.root, roots=[outer, Root(path, entry)])
    return PointTree(msgspec.structs.replace(point, root=root), store), store, outer.entry.content


def test_a_root_inside_another_is_shown_once(backed: BackedUp) -> None:
    tree, _, _ = nested(backed)
    paths = [step.path for step in tree.walk() if step.action != "leave"]
    assert sorted(set(paths)) == sorted(paths)


def test_an_outer_folder_that_is_lost_leaves_the_inner_root(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, store, lost = nested(backed)
    read = store.read

    def without(ids: Ids) -> list[bytes]:
        if ids.tobytes() == lost:
            raise ChunkAbsent(lost, count=1)
        return read(ids)

    monkeypatch.setattr(store, "read", without)
    unreadable: list[bytes] = []
    found = {s.path for s in tree.walk(unreadable=lambda path, _error: unreadable.append(path))}
    assert unreadable == [str(backed.source).encode()]
    assert str(backed.source / "inner" / "file").encode() in found
    with pytest.raises(ChunkAbsent):
        list(tree.walk())
