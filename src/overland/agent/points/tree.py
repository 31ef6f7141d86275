"""What lies in a recovery point: folders and entries, reading only the nodes that are needed."""

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Final, Literal, NamedTuple

import msgspec

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point
from overland.errors import IntegrityError, ObjectAbsent, RefusedError
from overland.format.nodestream import entry_batches
from overland.format.point import Root
from overland.format.tree import CHUNK_ID_BYTES, KIND_FOLDER, Entry, TreeCorrupt, decode_nodes
from overland.packing.index import Ids, as_ids
from overland.packing.reader import ChunkAbsent
from overland.values import path_text

__all__ = ["UNREADABLE", "PathAbsent", "PointTree", "Step", "split_path"]

_AHEAD: Final = 32
"""Nodes of so many sibling folders are read together: one look-up instead of many."""

_DECODED_BYTES: Final = 1 << 20
"""Of nodes, decoded at a time: entries take some times as much."""

_PIECE_IDS: Final = 16_384
"""Ids of one file handed out at a time, 512 KiB: a file of any size needs no more memory."""

_LIST_IDS: Final = 64
"""Chunks of an id list read at a time; each holds thousands of ids."""

UNREADABLE: Final = (IntegrityError, ObjectAbsent, ChunkAbsent)
"""How it shows that stored bytes are not there, or not what was written."""

_NO_NAMES: Final = frozenset({b".", b".."})

_SHORT_IDS: Final = 4
"""A folder of more chunks may be read in pieces, so many chunks at a time."""

Selection = dict[bytes, "Selection"] | None
"""Chosen paths as nested names; None is everything from there on."""


class PathAbsent(RefusedError):
    """Somebody named a path that is not in the recovery point."""

    code = "path-absent"

    def __init__(self, path: bytes) -> None:
        super().__init__(
            f"'{path_text(path)}' is not in this recovery point; `overland points ls` with the "
            "point's id and a folder shows what is, under full paths"
        )
        self.path = path


class Step(NamedTuple):
    """One step of a walk: into a folder, past an entry, or out of a folder again.

    `path` is the full path on the source computer; `entry` is None for a folder above the roots,
    of which nothing but the name is known.
    """

    action: Literal["enter", "entry", "leave"]
    path: bytes
    entry: Entry | None


class PointTree:
    """The tree of one recovery point.  For one thread; what reads it may raise `UNREADABLE`."""

    def __init__(self, point: Point, store: ChunkStore) -> None:
        self.point, self._store = point, store
        self._roots = sorted(point.root.roots, key=lambda root: root.path)
        for root in self._roots:
            if not _NO_NAMES.isdisjoint(split_path(root.path)):
                raise TreeCorrupt("the recovery point", check="a root's path leads out of a folder")

    def walk(
        self,
        paths: Sequence[bytes] = (),
        *,
        unreadable: Callable[[bytes, Exception], None] | None = None,
        enters: Callable[[bytes], bool] | None = None,
        in_pieces: bool = False,
    ) -> Iterator[Step]:
        """Yield the chosen paths and all below them, depth first, names sorted as bytes.

        Args:
            paths: Full paths; none is the whole point.
            unreadable: Told of folders whose list cannot be read; None raises the error.
            enters: Asked for each folder; where it says no, the folder is shown as an entry, and
                nothing of it is read.
            in_pieces: Hold of folders with very many entries some at a time.  Such a folder's
                damage then shows after entries of it, and `unreadable` is not for it.

        Raises:
            PathAbsent: A chosen path is not in the point; raised before the first step.
        """
        for path in paths:
            self.entry(path)
        selection = _selection(paths)
        for root in self._outer_roots():
            names = split_path(root.path)
            chosen, inner = _chosen_below(selection, names)
            if not chosen:
                continue
            above = [b"/" + b"/".join(names[:depth]) for depth in range(len(names))]
            yield from (Step("enter", path, None) for path in above)
            walk = _Walk(self, unreadable=unreadable, enters=enters, in_pieces=in_pieces)
            entry = root.entry
            if names and entry.name != names[-1]:  # it has no meaning, the path counts
                entry = msgspec.structs.replace(entry, name=names[-1])
            yield from walk.steps(b"/" + b"/".join(names), entry, inner)
            yield from (Step("leave", path, None) for path in reversed(above))

    def entry(self, path: bytes) -> Entry | None:
        """Return the entry at a full path, None for a folder above the roots.

        Raises:
            PathAbsent: There is nothing.
        """
        parts = split_path(path)
        above = False
        for root in self._roots:
            base = split_path(root.path)
            if parts[: len(base)] == base:
                found = self._descend(root.entry, parts[len(base) :])
                if found is not None:
                    return found
            above = above or base[: len(parts)] == parts
        if not above:
            raise PathAbsent(path)
        return None

    def list_folder(self, path: bytes, *, recursive: bool = False) -> Iterator[tuple[bytes, Entry]]:
        """Yield paths and entries in a folder, or below it; of another entry, itself.

        Above the roots, the roots are what a folder holds.

        Raises:
            PathAbsent: There is nothing at `path`.
        """
        depth = len(split_path(path))

        def enters(below: bytes) -> bool:
            """Return whether what a folder holds is listed, beside the folder itself."""
            return recursive or len(split_path(below)) <= depth

        for step in self.walk([path], enters=enters, in_pieces=True):
            if step.entry is None or step.action == "leave":
                continue
            if step.action == "entry" or len(split_path(step.path)) > depth:
                yield step.path, step.entry

    def find(self, pattern: bytes) -> Iterator[tuple[bytes, Entry]]:
        """Yield what matches a shell pattern: in its name, or in its path if it has a `/`."""
        for step in self.walk():
            if step.entry is None or step.action == "leave":
                continue
            subject = step.path if b"/" in pattern else step.path.rpartition(b"/")[2]
            if fnmatch.fnmatchcase(subject, pattern):
                yield step.path, step.entry

    def content_ids(self, entry: Entry) -> Iterator[Ids]:
        """Yield the ids of an entry's chunks, in order, in pieces of bounded size.

        Raises:
            ChunkAbsent, ObjectAbsent, IntegrityError: A list of ids cannot be read.
        """
        stream: Iterable[bytes] = (entry.content,)
        for _ in range(entry.levels):
            stream = self._contents(_aligned(stream, _LIST_IDS))
        for piece in _aligned(stream, _PIECE_IDS):
            yield as_ids(piece)

    def node(self, entry: Entry) -> list[Entry]:
        """Return the entries of a folder."""
        data = b"".join(self._contents(bytes(ids) for ids in self.content_ids(entry)))
        return decode_nodes([data], name="a folder's node")[0]

    def batches(self, entry: Entry) -> Iterable[list[Entry]]:
        """Return the entries of a folder, in order; of a long one some at a time."""
        if _is_short(entry):
            return [self.node(entry)]
        ids = (few for piece in self.content_ids(entry) for few in _by_few(piece))
        return entry_batches(self._contents(ids), name="a folder's node")

    def nodes(self, folders: Sequence[Entry]) -> list[list[Entry] | None]:
        """Return the entries of several folders, as `node_groups` yields them."""
        return [node for group in self.node_groups(folders) for node in group]

    def node_groups(self, folders: Sequence[Entry]) -> Iterator[list[list[Entry] | None]]:
        """Yield the entries of several folders in order, those of some folders at a time.

        They are read together; None for all that are with one that is not whole.
        """
        contents = [folder.content for folder in folders]
        try:
            encoded = self._store.read(as_ids(b"".join(contents)))
        except UNREADABLE:  # which of them it is shows when they are read one by one
            yield [None] * len(folders)
            return
        if any(len(ids) != CHUNK_ID_BYTES for ids in contents):
            ends = accumulate(len(ids) // CHUNK_ID_BYTES for ids in contents)
            encoded = [b"".join(encoded[at:end]) for at, end in pairwise((0, *ends))]
        start = size_bytes = 0
        for end, data in enumerate(encoded, 1):
            size_bytes += len(data)
            if size_bytes >= _DECODED_BYTES or end == len(encoded):
                yield _decoded(encoded[start:end])
                start, size_bytes = end, 0

    def _contents(self, id_lists: Iterable[bytes]) -> Iterator[bytes]:
        for ids in id_lists:
            yield from self._store.read(as_ids(ids))

    def _descend(self, entry: Entry, parts: list[bytes]) -> Entry | None:
        found: Entry | None = entry
        for part in parts:
            if found is None or found.kind != KIND_FOLDER:
                return None
            entries = chain.from_iterable(self.batches(found))
            found = next((below for below in entries if below.name == part), None)
        return found

    def _is_in(self, outer: Entry, parts: list[bytes]) -> bool:
        try:
            return self._descend(outer, parts) is not None
        except UNREADABLE:  # what is not to be reached that way is there as a root of its own
            return False

    def _outer_roots(self) -> Iterator[Root]:
        """Yield the roots, without those that are found inside another one."""
        for number, root in enumerate(self._roots):
            parts = split_path(root.path)
            inside = False
            for outer in self._roots[:number]:
                base = split_path(outer.path)
                if parts[: len(base)] == base:
                    inside = inside or self._is_in(outer.entry, parts[len(base) :])
            if not inside:
                yield root


class _Folder:
    """A folder on the walk's way: its entries still to come, and nodes read ahead."""

    def __init__(
        self,
        tree: PointTree,
        path: bytes,
        entry: Entry,
        batches: Iterable[list[Entry]],
        selection: Selection,
    ) -> None:
        self.path, self.entry, self.selection = path, entry, selection
        self.rest = self._chosen(batches)
        self._tree = tree
        self._folders: list[Entry] = []
        self._asked = 0
        self._ahead: dict[bytes, list[Entry] | None] = {}

    def _chosen(self, batches: Iterable[list[Entry]]) -> Iterator[Entry]:
        for batch in batches:
            chosen = batch
            if self.selection is not None:
                chosen = [below for below in batch if below.name in self.selection]
            self._folders = [below for below in chosen if _is_plain_folder(below)]
            self._asked = 0
            yield from chosen

    def node_of(self, below: Entry) -> list[Entry]:
        """Return the node of a folder in this one, reading those of the next siblings with it."""
        while below.name not in self._ahead and self._asked < len(self._folders):
            window = self._folders[self._asked : self._asked + _AHEAD]
            self._asked += len(window)
            names = [folder.name for folder in window]
            self._ahead = dict(zip(names, self._tree.nodes(window), strict=True))
        node = self._ahead.pop(below.name, None)
        return self._tree.node(below) if node is None else node


class _Walk:
    """A walk from one root, with a stack of its own, so that depth has no limit."""

    def __init__(
        self,
        tree: PointTree,
        *,
        unreadable: Callable[[bytes, Exception], None] | None,
        enters: Callable[[bytes], bool] | None,
        in_pieces: bool,
    ) -> None:
        self._tree, self._unreadable, self._enters = tree, unreadable, enters
        self._in_pieces = in_pieces
        self._way: list[_Folder] = []

    def steps(self, path: bytes, entry: Entry, selection: Selection) -> Iterator[Step]:
        """Yield the steps from an entry on; a folder that is entered is left after all below it."""
        yield from self._visit(path, entry, selection)
        while self._way:
            folder = self._way[-1]
            below = next(folder.rest, None)
            if below is None:
                self._way.pop()
                yield Step("leave", folder.path, folder.entry)
                continue
            inner = folder.selection and folder.selection[below.name]
            prefix = folder.path if folder.path == b"/" else folder.path + b"/"
            yield from self._visit(prefix + below.name, below, inner)

    def _visit(self, path: bytes, entry: Entry, selection: Selection) -> Iterator[Step]:
        is_entered = entry.kind == KIND_FOLDER and (self._enters is None or self._enters(path))
        yield Step("enter" if is_entered else "entry", path, entry)
        if is_entered:
            batches = self._batches(path, entry)
            self._way.append(_Folder(self._tree, path, entry, batches, selection))

    def _batches(self, path: bytes, entry: Entry) -> Iterable[list[Entry]]:
        if self._in_pieces and not _is_short(entry):
            return self._tree.batches(entry)
        return [self._node(path, entry)]

    def _node(self, path: bytes, entry: Entry) -> list[Entry]:
        try:
            return self._way[-1].node_of(entry) if self._way else self._tree.node(entry)
        except UNREADABLE as error:
            if self._unreadable is None:
                raise
            self._unreadable(path, error)
            return []


def _decoded(encoded: Sequence[bytes]) -> list[list[Entry] | None]:
    try:
        return [*decode_nodes(encoded, name="a folder's node")]
    except TreeCorrupt:
        return [None] * len(encoded)


def _is_plain_folder(entry: Entry) -> bool:
    return entry.kind == KIND_FOLDER and entry.levels == 0


def _is_short(folder: Entry) -> bool:
    return folder.levels == 0 and len(folder.content) <= _SHORT_IDS * CHUNK_ID_BYTES


def _by_few(ids: Ids) -> Iterator[bytes]:
    return (bytes(ids[at : at + _SHORT_IDS]) for at in range(0, len(ids), _SHORT_IDS))


def split_path(path: bytes) -> list[bytes]:
    """Return the names that a full path is made of; `/` has none."""
    return [part for part in path.split(b"/") if part]


def _selection(paths: Sequence[bytes]) -> Selection:
    """Nest the paths; one that is below another adds nothing to it."""
    top: dict[bytes, Selection] = {}
    for path in sorted(paths, key=lambda path: len(split_path(path))):
        *above, last = split_path(path) or [b""]
        if not last:
            return None
        here: Selection = top
        for name in above:
            here = None if here is None else here.setdefault(name, {})
        if here is not None:
            here[last] = None
    return top if paths else None


def _chosen_below(selection: Selection, names: list[bytes]) -> tuple[bool, Selection]:
    """Return whether anything at or below a path is chosen, and what of it."""
    for name in names:
        if selection is None:
            break
        if name not in selection:
            return False, None
        selection = selection[name]
    return True, selection


def _aligned(stream: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield whole ids, up to `limit` at a time, from blocks that may be cut anywhere."""
    size = limit * CHUNK_ID_BYTES
    rest = b""
    for block in stream:
        rest = rest + block if rest else block
        whole = len(rest) // CHUNK_ID_BYTES * CHUNK_ID_BYTES
        for at in range(0, whole, size):
            yield rest[at : min(at + size, whole)]
        rest = rest[whole:]
    assert not rest, "the format refuses lists that are cut"
