"""What a recovery point gives back, read without writing anything anywhere."""

from pathlib import Path

from tests.simulation.actions.source import Kept, Tree

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import ReadKeys, open_point
from overland.agent.points.tree import PointTree
from overland.agent.sources import LayeredObjects
from overland.values import PointId

__all__ = ["read_tree"]


def read_tree(objects: LayeredObjects, keys: ReadKeys, point_id: PointId, *, top: Path) -> Tree:
    """Return the files and links below `top` of a point; raises if any of it cannot be read."""
    store = ChunkStore(objects, keys)
    store.open_index()
    tree = PointTree(open_point(objects, keys, point_id), store)
    found: Tree = {}
    root = str(top).encode() + b"/"
    for step in tree.walk():
        entry = step.entry
        if step.action != "entry" or entry is None:
            continue
        content = entry.target
        if entry.kind == "file":
            ids = tree.content_ids(entry)
            content = b"".join(bytes(part) for some in ids for part in store.read(some))
        path = step.path.removeprefix(root).decode()
        found[path] = Kept(entry.kind, content, entry.mtime_ns)
    return found
