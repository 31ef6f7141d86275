"""A folder with durable files, as a port.

Names are relative, `/`-separated, without `.`, `..`, empty parts or a leading `/`; an
implementation refuses all others with `ValueError` before it touches the world.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Final, Protocol, runtime_checkable

from overland.values import ObjectInfo

__all__ = ["TEMPORARY_PREFIX", "Files", "NewFile", "OpensFiles", "name_parts"]

TEMPORARY_PREFIX: Final = ".overland-tmp-"
"""How the name of an unpublished file begins, where such a file has a name at all."""


def name_parts(name: str) -> tuple[str, ...]:
    """Return the parts of a name that is safe to use below any root.

    Raises:
        ValueError: The name is empty or absolute, has a part that is empty, `.` or `..`, holds a
            NUL, or is reserved for unpublished files.
    """
    parts = tuple(name.split("/"))
    for part in parts:
        if part in {"", ".", ".."} or "\0" in part or part.startswith(TEMPORARY_PREFIX):
            raise ValueError(f"{name!r} is not a relative name of plain parts")
    return parts


class NewFile(Protocol):
    """A file being written, that nobody can see under its final name yet."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`.  The buffer may be reused on return.

        Raises:
            OutOfSpace: The medium is full; nothing was published.
            OSError: The device failed; nothing was published.
        """
        ...

    def publish(self, name: str) -> None:
        """Give the file its final name, durably: content first, then the name, then the folder.

        Replaces a file of that name.  On return content and name survive a power cut.  After a
        power cut during the call, the name shows either what it showed before or the whole new
        content.
        """
        ...

    def settle(self) -> None:
        """Make durable what was written, which has no name yet; nothing is written after it.

        For what is named later: whoever settles it early, or beside something else, does not wait
        for it then.

        Raises:
            OutOfSpace: The medium is full; nothing was published.
            OSError: The device failed; nothing was published.
        """
        ...

    def show(self, name: str) -> None:
        """Give the file its final name, and wait for nothing: only for what may be lost.

        Replaces a file of that name.  A killed program leaves what the name showed before, or the
        whole new content.  After a power cut the name shows what it showed at some moment since it
        was last durable, whatever other names show; and content that was not settled before may be
        anything.
        """
        ...

    def abandon(self) -> None:
        """Forget the file.  Does nothing after `publish` or `show`."""
        ...


class Files(Protocol):
    """A folder of files, read and written whole or by range."""

    def create(self) -> NewFile:
        """Begin a new file; abandoned ones (a power cut) are removed by `sweep`."""
        ...

    def write(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Create and publish a file in one step; the promise of `NewFile.publish`."""
        ...

    def read(self, name: str) -> bytes:
        """Return the whole content.

        Raises:
            ObjectAbsent: There is no such file.
        """
        ...

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end of the file.

        Raises:
            ObjectAbsent: There is no such file.
        """
        ...

    def blocks(self, name: str, *, block_bytes: int = 4 << 20) -> Iterator[memoryview]:
        """Yield the content in order; each view is valid until the next is asked for.

        Reads from the medium where the system allows it, not from a cache of what was written.

        Raises:
            ObjectAbsent: There is no such file.
        """
        ...

    def size_bytes(self, name: str) -> int:
        """Return the file's length.

        Raises:
            ObjectAbsent: There is no such file.
        """
        ...

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield published files whose name starts with `prefix`, sorted by name.

        Only those after `start_after`, a name that need not exist; folders before it are not read.
        """
        ...

    def settle(self, name: str) -> None:
        """Make a visible file durable: who published it may have been killed before the last sync.

        Raises:
            ObjectAbsent: There is no such file.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove the file, durably; do nothing if it is absent."""
        ...

    def forget(self, name: str) -> None:
        """Remove the file, and wait for nothing: after a power cut it may be back.

        Does nothing if it is absent.
        """
        ...

    def free_bytes(self) -> int:
        """Return how much can still be written."""
        ...

    def sweep(self) -> int:
        """Remove what interrupted writers left behind; return how many files that were."""
        ...


@runtime_checkable
class OpensFiles(Protocol):
    """What `Files` of this computer's own system can do besides."""

    def opened(self, name: str) -> AbstractContextManager[int]:
        """Open a file for reading, from its first byte, as a descriptor until the block ends.

        Raises:
            ObjectAbsent: There is no such file.
            OSError: The device failed.
        """
        ...
