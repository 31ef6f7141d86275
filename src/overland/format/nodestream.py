"""A folder's node read as a stream: for folders of which nobody wants to hold all entries.

The same entries, and the same refusals, as `overland.format.tree.decode_node` has for the whole
node; a refusal may come after entries that were in order.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from overland.format.tree import MAX_NODE_BYTES, Entry, TreeCorrupt, decode_node, node_head

__all__ = ["MOST_ENTRIES", "entry_batches"]

MOST_ENTRIES: Final = 1024
"""Entries of one batch."""

_BATCH_BYTES: Final = 1 << 20  # of entries with long attributes there are fewer in a batch
_LONGEST_HEAD: Final = 7

_FIXED: Final = {0xC0: 1, 0xC2: 1, 0xC3: 1} | {
    first: 1 + size
    for size, firsts in {1: (0xCC, 0xD0), 2: (0xCD, 0xD1), 4: (0xCE, 0xD2), 8: (0xCF, 0xD3)}.items()
    for first in firsts
}
_SIZES: Final = [
    1 if first < 0x80 or first >= 0xE0 else 1 + (first & 31) if 0xA0 <= first < 0xC0 else 0
    for first in range(256)
]
"""How long a value is that says so with its first byte; 0 for all others."""
for _first, _size in _FIXED.items():
    _SIZES[_first] = _size

_COUNTED: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Bytes of the length of binary and text."""

_ARRAYS: Final = {0xDC: 2, 0xDD: 4}
"""Bytes of the count of arrays."""


def entry_batches(blocks: Iterable[bytes], *, name: str) -> Iterator[list[Entry]]:
    """Yield the entries of a folder's node, in order, some at a time; each batch has some.

    Holds a block and a batch, and not the node.

    Args:
        blocks: The node, cut anywhere.
        name: Used in errors only; see `decode_node`.

    Raises:
        TreeCorrupt: A rule of `docs/format/tree-v1.md` §4 is broken.
    """
    stream = _Stream(blocks, name)
    left = stream.count()
    before: bytes | None = None
    while left:
        batch = stream.batch(min(left, MOST_ENTRIES))
        if before is not None and batch[0].name <= before:
            raise TreeCorrupt(name, check="names are not sorted, or not unique")
        before = batch[-1].name
        left -= len(batch)
        yield batch
    stream.end()


class _Stream:
    """What was read and not yet given away."""

    def __init__(self, blocks: Iterable[bytes], name: str) -> None:
        self._blocks, self._name = iter(blocks), name
        self._data, self._read_bytes = b"", 0

    def count(self) -> int:
        """Return how many entries follow."""
        while len(self._data) < _LONGEST_HEAD and self._grow():
            pass
        for length in (3, 5, 7):
            head = self._data[:length]
            count = head[2] & 15 if length == 3 and len(head) == 3 else int.from_bytes(head[3:])
            if len(head) == length and node_head(count) == head:
                self._data = self._data[length:]
                return count
        raise TreeCorrupt(self._name, check="not a node of version 1")

    def batch(self, most: int) -> list[Entry]:
        """Return the next entries: at least one, at most so many."""
        at, count = 0, 0
        while count < most and (at < _BATCH_BYTES or not count):
            end = self._end_of_value(at)
            if end is not None:
                at, count = end, count + 1
            else:
                self._grow_by(len(self._data) - at)
        body, self._data = self._data[:at], self._data[at:]
        return decode_node(node_head(count) + body, name=self._name)

    def end(self) -> None:
        """Check that nothing follows."""
        if self._data or self._grow():
            raise TreeCorrupt(self._name, check="something follows the node")

    def _grow_by(self, size_bytes: int) -> None:
        """Read on by about as much as there was of one entry, which is looked at once more."""
        wanted = len(self._data) + size_bytes
        if not self._grow():
            raise TreeCorrupt(self._name, check="the node is cut")
        while len(self._data) < wanted and self._grow():
            pass

    def _grow(self) -> bool:
        block = next((block for block in self._blocks if block), b"")
        self._data += block
        self._read_bytes += len(block)
        if self._read_bytes > MAX_NODE_BYTES:
            raise TreeCorrupt(self._name, check="the node is too long")
        return bool(block)

    def _end_of_value(self, at: int) -> int | None:
        """Return where the value ends that begins at `at`; None if it is not all there."""
        data, left = self._data, 1
        stop = len(data)
        while left:
            if at >= stop:
                return None
            first = data[at]
            size = _SIZES[first]
            left -= 1
            if size:
                at += size
            elif 0x90 <= first < 0xA0:
                at, left = at + 1, left + (first & 15)
            elif first in _COUNTED:
                begin = at + 1 + _COUNTED[first]
                at = begin + int.from_bytes(data[at + 1 : begin])
            elif first in _ARRAYS:
                begin = at + 1 + _ARRAYS[first]
                left += int.from_bytes(data[at + 1 : begin])
                at = begin
            else:
                raise TreeCorrupt(self._name, check="a value that no node has")
        return at if at <= stop else None
