"""A store of immutable objects (vault, container), as a port."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from overland.values import ObjectInfo

__all__ = ["FileContent", "Objects", "Spaces"]


class Objects(Protocol):
    """Objects below one prefix.  Names follow the rules of `overland.ports.files`.

    A store that is elsewhere may fail in any call: `NotAuthorised`, the grant does not allow it;
    `Unreachable`, it did not answer, try again.  One on this computer raises `OSError`.
    """

    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        """Store an object durably, if its bytes have exactly this size and SHA-256.

        Putting the same object again succeeds and changes nothing.  On return the object
        survives a power cut; until then nobody sees it.

        Objects are never replaced, with one exception that a store may make: where a pack's or
        index file's stored bytes are not those that its name promises, the right ones take the
        place of the damaged ones.

        Raises:
            ObjectCorrupt: The content has another size or digest; nothing was stored.
            ObjectExists: The name is taken by other content; nothing was changed.
            OutOfSpace: The store is full.
            NotAuthorised: The grant does not allow it.
            Unreachable: The store did not answer; try again.
        """
        ...

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end.

        Raises:
            ObjectAbsent: There is no such object.
        """
        ...

    def read(self, name: str) -> bytes:
        """Return a whole object; for small ones.

        Raises:
            ObjectAbsent: There is no such object.
        """
        ...

    def blocks(self, name: str) -> Iterator[memoryview]:
        """Yield the content in order, in bounded blocks; each view lives until the next.

        Raises:
            ObjectAbsent: There is no such object.
        """
        ...

    def head(self, name: str) -> ObjectInfo:
        """Return the object's size.

        Raises:
            ObjectAbsent: There is no such object.
        """
        ...

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with `prefix`, sorted by name.

        Args:
            prefix: What the names start with.
            start_after: Only names that come after this one, which need not exist; whoever lists
                page by page so goes on where the page before ended, at the cost of a page.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove an object; do nothing if it is absent."""
        ...


@runtime_checkable
class FileContent(Protocol):
    """Content for `put` that is a file of this computer, from its first byte on.

    A store on the same computer may read it itself; another one iterates it, as any content.
    Whatever happens, each attempt begins with `opened` or with an iteration.
    """

    def opened(self) -> AbstractContextManager[int]:
        """Open the file for reading, as a descriptor until the block ends."""
        ...

    def was_read(self, blocks: int) -> None:
        """Note that so many more blocks of 4 MiB, or shorter last ones, were read."""
        ...

    def reading_ended(self) -> None:
        """Note that the file is not read any more; what was read is being made durable."""
        ...

    def __iter__(self) -> Iterator[memoryview]:
        """Yield the content; each view lives until the next."""
        ...


class Spaces(Protocol):
    """All stores of one installation; a space is a path such as `accounts/harbour/seeds`."""

    def open(self, space: str) -> Objects:
        """Return the store `space`; it comes into being with its first object."""
        ...
