"""A part of a folder as a folder of its own: a seed in its staging location, or on its drive."""

from collections.abc import Iterator

from overland.ports.files import Files, NewFile, name_parts
from overland.values import ObjectInfo

__all__ = ["Subfolder"]


class Subfolder:
    """The files of `files` whose name starts with `folder/`, without that part of the name.

    Keeps every promise of `Files`, because each call is one call of `files`.
    """

    def __init__(self, files: Files, folder: str) -> None:
        name_parts(folder)
        self._files, self._prefix = files, f"{folder}/"

    def create(self) -> NewFile:
        """Begin a new file; see the port."""
        return _Renamed(self._files.create(), self._prefix)

    def write(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Create and publish a file in one step; see the port."""
        self._files.write(self._full(name), data)

    def read(self, name: str) -> bytes:
        """Return the whole content; see the port."""
        return self._files.read(self._full(name))

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; see the port."""
        return self._files.read_range(self._full(name), offset=offset, length=length)

    def blocks(self, name: str, *, block_bytes: int = 4 << 20) -> Iterator[memoryview]:
        """Yield the content in order; see the port."""
        return self._files.blocks(self._full(name), block_bytes=block_bytes)

    def size_bytes(self, name: str) -> int:
        """Return the file's length; see the port."""
        return self._files.size_bytes(self._full(name))

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield published files, sorted by name; see the port."""
        after = self._prefix + start_after if start_after else ""
        for info in self._files.names(self._prefix + prefix, start_after=after):
            name = info.name.removeprefix(self._prefix)
            yield ObjectInfo(name=name, size_bytes=info.size_bytes)

    def settle(self, name: str) -> None:
        """Make a visible file durable; see the port."""
        self._files.settle(self._full(name))

    def delete(self, name: str) -> None:
        """Remove the file, durably; see the port."""
        self._files.delete(self._full(name))

    def forget(self, name: str) -> None:
        """Remove the file, and wait for nothing; see the port."""
        self._files.forget(self._full(name))

    def free_bytes(self) -> int:
        """Return how much can still be written; see the port."""
        return self._files.free_bytes()

    def sweep(self) -> int:
        """Remove what interrupted writers left anywhere in the folder that this is a part of."""
        return self._files.sweep()

    def _full(self, name: str) -> str:
        name_parts(name)  # before the prefix could lend meaning to a bad name
        return self._prefix + name


class _Renamed:
    """A new file that is published below the prefix."""

    def __init__(self, new: NewFile, prefix: str) -> None:
        self._new, self._prefix = new, prefix

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`; see the port."""
        self._new.write(data)

    def publish(self, name: str) -> None:
        """Give the file its name below the prefix, durably; see the port.

        Raises:
            ValueError: It is no relative name of plain parts; nothing was published.
        """
        name_parts(name)
        self._new.publish(self._prefix + name)

    def settle(self) -> None:
        """Make durable what was written; see the port."""
        self._new.settle()

    def show(self, name: str) -> None:
        """Give the file its name below the prefix, and wait for nothing; see the port.

        Raises:
            ValueError: As `publish`.
        """
        name_parts(name)
        self._new.show(self._prefix + name)

    def abandon(self) -> None:
        """Forget the file; see the port."""
        self._new.abandon()
