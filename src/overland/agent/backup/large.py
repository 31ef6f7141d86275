"""A large file: read in pieces by the walk, hashed and stored by the workers."""

import os
import stat
from collections.abc import Callable
from typing import final

from overland.agent.backup.folders import Folder
from overland.agent.backup.workers import PieceJob
from overland.format.tree import Entry
from overland.source.chunker import Chunker
from overland.source.entries import Entries, Xattrs, read_xattrs
from overland.source.pieces import pieces
from overland.source.reader import (
    ATTEMPTS,
    Extents,
    cut_short,
    data_extents,
    is_same,
    open_file,
    total_bytes,
)
from overland.source.scan import NotAFile

__all__ = ["LargeFile", "read_large"]


@final
class LargeFile:
    """One reading of a large file, and the chunk ids of its pieces as they come in."""

    def __init__(self, name: bytes, *, folder: Folder, slot: int, fd: int) -> None:
        """Begin to read the open file `fd`."""
        self.name, self.folder, self.slot = name, folder, slot
        self.state = os.fstat(fd)
        if not stat.S_ISREG(self.state.st_mode):
            raise NotAFile
        self.size_bytes = self.state.st_size
        self.extents: Extents | None = data_extents(fd, self.state)
        self.xattrs: Xattrs = ()
        self.changed = False
        self.is_finished = False
        self._fd = fd
        self._pieces: int | None = None
        self._contents: dict[int, bytes] = {}

    @property
    def is_complete(self) -> bool:
        """Whether the file was read, all its pieces are stored, and nobody took note of it yet."""
        return not self.is_finished and len(self._contents) == self._pieces

    def add(self, number: int, content: bytes) -> None:
        """Keep the chunk ids of a piece."""
        self._contents[number] = content

    def content(self) -> bytes:
        """Return the ids of all chunks, laid end to end."""
        joined = b"".join([self._contents[number] for number in range(len(self._contents))])
        self._contents.clear()
        return joined

    def finish(self, entries: Entries, content: bytes, levels: int) -> Entry:
        """Return the entry of the complete file, whose content list is this; once."""
        self.is_finished = True
        return entries.make(
            self.name,
            self.state,
            content=content,
            levels=levels,
            extents=self.extents,
            size_bytes=self.size_bytes,
            xattrs=self.xattrs,
            changed=self.changed,
        )

    def read(
        self,
        *,
        chunker: Chunker,
        take: Callable[[], memoryview],
        give_back: Callable[[memoryview], None],
        submit: Callable[[PieceJob], None],
    ) -> int:
        """Read the file once and submit its pieces; return how many there are."""
        count = length = 0
        for piece in pieces(
            self._fd, self.extents, self.size_bytes, chunker=chunker, take=take, give_back=give_back
        ):
            submit(PieceJob(self, count, piece))
            count += 1
            length += piece.cuts[-1] if piece.cuts else 0
        before, self.state = self.state, os.fstat(self._fd)
        self.xattrs = read_xattrs(self._fd)
        expected = self.size_bytes if self.extents is None else total_bytes(self.extents)
        self.changed = length != expected or not is_same(before, self.state)
        if length != expected:
            self.extents, self.size_bytes = cut_short(self.extents, length)
        return count

    def accept(self, count: int) -> None:
        """Take note that this reading counts, and that it has `count` pieces."""
        self._pieces = count


def read_large(
    name: bytes,
    *,
    folder: Folder,
    slot: int,
    parent_fd: int,
    chunker: Chunker,
    take: Callable[[], memoryview],
    give_back: Callable[[memoryview], None],
    submit: Callable[[PieceJob], None],
) -> LargeFile:
    """Read a file and submit its pieces; read it again if it changed meanwhile, up to three times.

    Raises:
        OSError: It cannot be opened or read.
    """
    fd = open_file(name, parent_fd=parent_fd)
    try:
        large = LargeFile(name, folder=folder, slot=slot, fd=fd)
        count = large.read(chunker=chunker, take=take, give_back=give_back, submit=submit)
        for _ in range(ATTEMPTS - 1):
            if not large.changed:
                break
            # The pieces of the first reading are stored, and belong to nothing.
            large = LargeFile(name, folder=folder, slot=slot, fd=fd)
            count = large.read(chunker=chunker, take=take, give_back=give_back, submit=submit)
        large.accept(count)
        return large
    finally:
        os.close(fd)
