"""Tree nodes, and long lists of chunk ids: what a backup writes of its own."""

from collections.abc import Iterable
from typing import Final, final

from overland.agent.backup.folders import Folder, Kept
from overland.agent.backup.known import encoded_entries
from overland.agent.backup.sections import Sections
from overland.agent.backup.stores import ChunkStore
from overland.format.tree import KIND_FILE, KIND_FOLDER, Entry, encode_own_node
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
        names, prints, slots, kept = folder.names, folder.prints, folder.slots, folder.kept
        if folder.is_fresh and folder.old is not None:
            old = folder.old
            slots, prints = [*encoded_entries(old)], split_prints(old.fingerprints)
            kept = Kept(old.files, old.others, old.file_bytes, old.has_links)
            for slot, entry in folder.changed_children.items():
                slots[slot] = entry
        entries = [entry for entry in slots if entry is not None]
        if len(entries) < len(slots):
            names = [name for name, entry in zip(names, slots, strict=True) if entry is not None]
            prints = [mark for mark, entry in zip(prints, slots, strict=True) if entry is not None]
        new = [entry for entry in entries if isinstance(entry, Entry)]
        file_sizes = [entry.size_bytes for entry in new if entry.kind == KIND_FILE]
        folders = sum(1 for entry in new if entry.kind == KIND_FOLDER)
        node = encode_own_node(entries, names=names)
        content, levels = (b"", 0) if folder.whole else self.content(self._node(node))
        return FolderBlock(
            key=folder.block_key,
            device=folder.state.st_dev,
            has_links=kept.has_links or any(entry.link for entry in new),
            names=b"\0".join(names),
            fingerprints=b"".join(prints),
            node=node,
            content=content,
            levels=levels,
            files=kept.files + len(file_sizes),
            others=kept.others + len(new) - len(file_sizes) - folders,
            file_bytes=kept.file_bytes + sum(file_sizes),
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
