"""Which objects go on which drive: pure.

Drives come one at a time, in any size and any order.  Each takes, in the order of the seed
manifest, every object that still fits; what does not fit waits for the next drive.  The order keeps
neighbours together, and the small objects (index files, recovery point, keyring) close the last
gaps; they are not doubled, because every drive carries the whole seed manifest and so says what is
missing when a drive is lost.  An object is never split.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from overland.errors import RefusedError
from overland.seeding.copying import RANGE_BYTES

__all__ = ["Sized", "SmallestDoesNotFit", "cost_bytes", "fill", "fixed_bytes"]

_BLOCK_BYTES: Final = 4096  # file systems give space in blocks of this size
_ENTRY_BYTES: Final = 1024  # an object in drive.json and in DriveManifest.xml, without its ranges
_RANGE_ENTRY_BYTES: Final = 128  # a range in DriveManifest.xml
_FRAME_BYTES: Final = 64 << 10  # the rest of both manifests, and folders


class Sized(Protocol):
    """Anything with a size."""

    @property
    def size_bytes(self) -> int:
        """The size in bytes."""
        ...


class SmallestDoesNotFit(RefusedError):
    """A drive has no room for even one of the objects that are left."""

    code = "drive-too-small"

    def __init__(self, serial: str, *, room_bytes: int, smallest_bytes: int) -> None:
        super().__init__(
            f"drive {serial} has room for {room_bytes} bytes, and the smallest object that is left "
            f"needs {smallest_bytes}; use a larger drive"
        )
        self.serial, self.room_bytes, self.smallest_bytes = serial, room_bytes, smallest_bytes


def cost_bytes(size_bytes: int) -> int:
    """Return how much room an object of this size takes, with its lines in the manifests."""
    ranges = -(-size_bytes // RANGE_BYTES)
    blocks = -(-size_bytes // _BLOCK_BYTES)
    return blocks * _BLOCK_BYTES + _ENTRY_BYTES + ranges * _RANGE_ENTRY_BYTES


def fixed_bytes(seed_manifest_bytes: int) -> int:
    """Return how much room a drive needs beside its objects."""
    return seed_manifest_bytes + _FRAME_BYTES


def fill(objects: Sequence[Sized], waiting: Iterable[int], *, room_bytes: int) -> list[int]:
    """Return which of the `waiting` objects go on a drive, as indices, in their order.

    `room_bytes` is what is left after `fixed_bytes`.  The costs of all that is returned never
    exceed it, and what is not returned does not fit any more.
    """
    taken: list[int] = []
    for number in waiting:
        cost = cost_bytes(objects[number].size_bytes)
        if cost <= room_bytes:
            taken.append(number)
            room_bytes -= cost
    return taken
