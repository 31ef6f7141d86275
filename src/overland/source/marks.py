"""What is left out for what it is, rather than for its name: marked folders, and large files.

Of a folder that holds a mark, the folder and the mark are kept, and nothing else, so that a
restore leaves a folder that is marked as it was.  `CACHEDIR.TAG` counts only with the signature
that its convention prescribes (https://bford.info/cachedir/).
"""

import contextlib
import os
from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = ["NO_MARKS", "Marks"]

_CACHE_TAG: Final = b"CACHEDIR.TAG"
_SIGNATURE: Final = b"Signature: 8a477f597d28d172789f06886806bc55"


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """Which marks leave a folder's content out, and how large a file may be.

    Attributes:
        caches: Whether a valid `CACHEDIR.TAG` is a mark.
        names: Of entries that are marks, whatever they hold.
        larger_than_bytes: Files that are longer are left out; None keeps all.
    """

    caches: bool = False
    names: frozenset[bytes] = frozenset()
    larger_than_bytes: int | None = None

    @property
    def keeps_everything(self) -> bool:
        """Whether nothing can be left out."""
        return not self.caches and not self.names and self.larger_than_bytes is None

    def found(self, names: Sequence[bytes], *, fd: int) -> frozenset[bytes]:
        """Return the marks in a folder; with any, everything else in it is left out.

        Args:
            names: Of its entries.
            fd: The open folder.
        """
        found = self.names.intersection(names) if self.names else frozenset[bytes]()
        if self.caches and _CACHE_TAG in names and _is_cache_tag(fd):
            found |= {_CACHE_TAG}
        return found

    def is_too_large(self, size_bytes: int) -> bool:
        """Return whether a file of this length is left out."""
        return self.larger_than_bytes is not None and size_bytes > self.larger_than_bytes


NO_MARKS: Final = Marks()
"""The marks of a policy without any."""


def _is_cache_tag(folder_fd: int) -> bool:
    # Without O_NONBLOCK a pipe of that name would block us for ever.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with contextlib.suppress(OSError):
        fd = os.open(_CACHE_TAG, flags, dir_fd=folder_fd)
        try:
            return os.read(fd, len(_SIGNATURE)) == _SIGNATURE
        finally:
            os.close(fd)
    return False
