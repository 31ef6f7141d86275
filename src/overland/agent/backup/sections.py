"""A folder with very many entries, walked a section at a time, so that few are in memory.

A section is a run of names in their order.  Where one ends depends on its last name alone, so that
a name that comes or goes moves few borders, and what the last run knew of a section is found by the
name in front of it.  When a section is complete its node goes to a scratch file without a name; the
node of the whole folder is made of these, and is the same as if there were no sections.
"""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple, final

from overland.format.tree import joined_node
from overland.source.changes import FolderBlock, folder_key

__all__ = ["MANY_ENTRIES", "Sections"]

MANY_ENTRIES: Final = 8192
"""A folder with more entries is walked in sections: one takes 2 kB while its file is read."""

_MEAN_ENTRIES: Final = 2048
_MAX_ENTRIES: Final = 8192


class _Part(NamedTuple):
    """Where the node of a complete section lies in the scratch file."""

    offset: int
    length: int
    entries: int


@final
class Sections:
    """What is still to be walked of a folder, and what became of its sections."""

    def __init__(
        self, names: list[bytes], *, key: bytes, former_key: bytes, scratch: Path | None
    ) -> None:
        """Begin with all names of a folder, sorted; the list is used up.

        Args:
            names: Of the entries.
            key: Of the folder.
            former_key: That the last run had for it: another one where it was renamed.
            scratch: Where to put a file without a name; None keeps all in memory.
        """
        names.reverse()
        self._rest, self._key, self._former_key = names, key, former_key
        self.former_key = b""
        """Of the section that was taken last: by which the last run has its block."""
        self._before = b""
        self._taken: list[bytes] = []
        self._parts: dict[bytes, _Part] = {}
        self._end = 0
        self._file: IO[bytes] = io.BytesIO()
        if scratch is not None:
            import tempfile  # noqa: PLC0415 - few folders are so large that a run needs it

            self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - `close` closes it
        self.are_known = True  # what is complete is as the last run left it

    @property
    def have_more(self) -> bool:
        """Whether `take` has another section."""
        return bool(self._rest)

    def take(self) -> tuple[bytes, list[bytes]]:
        """Return the key of the next section's block, and the names in it."""
        # No name holds a `/`: it is no folder's key.
        place = b"/" + self._before
        key, self.former_key = folder_key(self._key, place), folder_key(self._former_key, place)
        names: list[bytes] = []
        while self._rest and len(names) < _MAX_ENTRIES:
            names.append(self._rest.pop())
            if zlib.crc32(names[-1]) % _MEAN_ENTRIES == 0:
                break
        self._before = names[-1]
        self._taken.append(key)
        return key, names

    def take_no_more(self) -> None:
        """Leave out the section that was taken last, and what would come behind it."""
        self._taken.pop()
        self._rest.clear()

    def add(self, block: FolderBlock, *, is_known: bool) -> None:
        """Keep a section that is complete; `is_known` if its block is the last run's."""
        self.are_known = self.are_known and is_known
        entries = block.names.count(b"\0") + 1 if block.names else 0
        self._parts[block.key] = _Part(self._end, len(block.node), entries)
        self._file.seek(self._end)
        self._file.write(block.node)
        self._end += len(block.node)

    def block_keys(self) -> bytes:
        """Return the keys of the sections' blocks, laid end to end."""
        return b"".join(self._taken)

    def node(self) -> Iterator[bytes]:
        """Yield the node of the whole folder, in parts; when all sections were added."""
        parts = [self._parts[key] for key in self._taken]
        return joined_node(map(self._read, parts), counts=[part.entries for part in parts])

    def close(self) -> None:
        """Forget what was added."""
        self._file.close()

    def _read(self, part: _Part) -> bytes:
        self._file.seek(part.offset)
        return self._file.read(part.length)
