"""Tree nodes, and long lists of chunk ids: what a backup writes of its own."""

from collections.abc import Iterable
from typing import Final, final

from overland.agent.backup.folders import Folder
from overland.agent.backup.sections import Sections
from overland.agent.backup.stores import ChunkStore
from overland.format.tree import decode_own_node, encode_node
from overland.source.changes import FolderBlock, split_prints
from overland.source.chunker import Chunker

__all__ = ["Nodes"]

_STREAM_BYTES: Final = 4 << 20  # of a very large node that are in memory at a time
_LIST_IDS: Final = 1024  # longer lists of chunk ids become chunks themselves


@final
class Nodes:
    """Writes nodes and lists through a lane of their own.  For one thread."""

    def __init__(self, store: ChunkStore, chunker: Chunker) -> None:
        self._store, self._chunker = store, chunker

    def block(self, folder: Folder) -> FolderBlock:
        """Write the folder's node; return what the next run wants to know.

        A section's node is not stored: it becomes a part of the whole folder's.
        """
        prints, entries = folder.prints, folder.slots
        if folder.is_fresh and folder.old is not None:
            entries = list(decode_own_node(folder.old.node, name="the change cache"))
            prints = split_prints(folder.old.fingerprints)
            for slot, entry in folder.changed_children.items():
                entries[slot] = entry
        kept = [entry for entry in entries if entry is not None]
        node = encode_node(kept)
        content, levels = (b"", 0) if folder.whole else self.content(self._node(node))
        file_sizes = [entry.size_bytes for entry in kept if entry.kind == "file"]
        folders = sum(1 for entry in kept if entry.kind == "folder")
        return FolderBlock(
            key=folder.block_key,
            device=folder.state.st_dev,
            has_links=any(entry.link for entry in kept),
            names=b"\0".join([entry.name for entry in kept]),
            fingerprints=b"".join(
                [mark for mark, entry in zip(prints, entries, strict=True) if entry is not None]
            ),
            node=node,
            content=content,
            levels=levels,
            files=len(file_sizes),
            others=len(kept) - len(file_sizes) - folders,
            file_bytes=sum(file_sizes),
        )

    def whole(self, folder: Folder, sections: Sections) -> FolderBlock:
        """Write the node of a folder of sections; return its block, which holds no entries."""
        old, fingerprints = folder.old, sections.block_keys()
        if old is not None and sections.are_known and old.fingerprints == fingerprints:
            return old
        content, levels = self.content(self._stream_of(sections.node()))
        return FolderBlock(
            key=folder.block_key,
            device=folder.state.st_dev,
            has_links=False,
            names=b"",
            fingerprints=fingerprints,
            node=b"",
            content=content,
            levels=levels,
            files=0,
            others=0,
            file_bytes=0,
        )

    def flush(self) -> None:
        """Store what is left; when all folders are complete."""
        self._store.flush()

    def _node(self, data: bytes) -> bytes:
        if 0 < len(data) <= self._chunker.sizes.mean_bytes:
            return self._store.store_later(data)
        return self._stream(data)

    def _stream(self, data: bytes) -> bytes:
        """Store bytes of our own, and return their chunk ids, laid end to end."""
        view = memoryview(data)
        if len(data) <= self._chunker.sizes.mean_bytes:
            return self._store.store(view, [len(data)])[0] if data else b""
        return b"".join(self._store.store(view, self._chunker.cuts(view, is_end=True)))

    def _stream_of(self, parts: Iterable[bytes]) -> bytes:
        """As `_stream`, of bytes that come in parts."""
        found: list[bytes] = []
        rest = b""
        for part in parts:
            rest += part
            if len(rest) >= _STREAM_BYTES:
                cuts = self._chunker.cuts(memoryview(rest), is_end=False)
                found += self._store.store(memoryview(rest), cuts)
                rest = rest[cuts[-1] :] if cuts else rest
        return b"".join(found) + self._stream(rest)

    def content(self, ids: bytes) -> tuple[bytes, int]:
        """Return a list of chunk ids that is short enough for an entry, and its levels.

        A longer list is stored in chunks itself (`docs/format/tree-v1.md` §3.1).
        """
        levels = 0
        while len(ids) > 32 * _LIST_IDS:
            ids, levels = self._stream(ids), levels + 1
        return ids, levels
