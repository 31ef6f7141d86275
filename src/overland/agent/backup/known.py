"""What the last run knew of a folder's entries, and which of them are as it left them."""

from collections.abc import Iterable
from typing import Final

import msgspec

from overland.agent.backup.folders import Folder, Kept
from overland.format.tree import (
    KIND_FILE,
    KIND_FOLDER,
    Entry,
    decode_entry,
    decode_own_node,
    split_own_node,
)
from overland.source.changes import FINGERPRINT_BYTES, FolderBlock, split_prints

__all__ = ["Old", "encoded_entries", "keep_same", "old_entries"]

Old = dict[bytes, tuple[bytes, Entry]]
"""What the last run knew of a folder's entries: name -> fingerprint and entry."""

_CACHE: Final = "the change cache"


def old_entries(block: FolderBlock) -> Old:
    """Return what the block knows of each entry of its folder.

    Raises:
        TreeCorrupt: As `keep_same`.
    """
    prints = block.fingerprints
    entries = decode_own_node(block.node, name=_CACHE)
    return {
        entry.name: (prints[at : at + FINGERPRINT_BYTES], entry)
        for entry, at in zip(entries, range(0, len(prints), FINGERPRINT_BYTES), strict=True)
    }


def encoded_entries(block: FolderBlock) -> list[msgspec.Raw]:
    """Return the entries of the block's folder as they are stored.

    Raises:
        TreeCorrupt: As `keep_same`.
    """
    return split_own_node(block.node, name=_CACHE)


def keep_same(folder: Folder, old: FolderBlock) -> list[int]:
    """Put what is as the last run left it into its place, and return the places of what is to read.

    Entries stay encoded: of most folders in which something changed, most did not.  Folders in
    the folder are not among what is to read: they take their places when they are complete.

    Args:
        folder: With names, states and fingerprints; no file in it has several names.
        old: Its block, without such files as well, all of whose content is stored.

    Raises:
        TreeCorrupt: The block's node is none, though its checksum is right.
    """
    names, prints = folder.names, folder.prints
    old_names = old.names.split(b"\0") if old.names else []
    marks = dict(zip(old_names, split_prints(old.fingerprints), strict=True))
    encoded = dict(zip(old_names, encoded_entries(old), strict=True))
    changed = [slot for slot, name in enumerate(names) if marks.get(name) != prints[slot]]
    slots: list[Entry | msgspec.Raw | None] = list(map(encoded.get, names))
    kept = set(names)
    for slot in changed:
        slots[slot] = None
        kept.discard(names[slot])
    folder.slots = slots
    folder.kept = _without(old, [entry for name, entry in encoded.items() if name not in kept])
    below = set(folder.children)
    return [slot for slot in changed if slot not in below]


def _without(old: FolderBlock, gone: Iterable[msgspec.Raw]) -> Kept:
    """Return what the block counts without some of its entries."""
    files, others, file_bytes = old.files, old.others, old.file_bytes
    for encoded in gone:
        entry = decode_entry(encoded, name=_CACHE)
        if entry.kind == KIND_FILE:
            files, file_bytes = files - 1, file_bytes - entry.size_bytes
        elif entry.kind != KIND_FOLDER:
            others -= 1
    return Kept(files, others, file_bytes)
