"""A recovery point's file in memory, once: read in blocks, together with what its signature wants.

The point of a first copy of 100 TB has 280 MB, and Ed25519 wants what it signs in one piece.
"""

from typing import Final, Protocol, Self, final

from overland.crypto.sign import Message, message_start
from overland.format.objecttable import Buffer
from overland.format.point import (
    MAX_POINT_BYTES,
    SIGNATURE_BYTES,
    SIGNATURE_PURPOSE,
    ParsedPoint,
    PointCorrupt,
    parse,
)

__all__ = ["PointFile", "read_point_file"]

_BLOCK_BYTES: Final = 4 << 20  # almost every point is shorter, and read at once
_START: Final = message_start(SIGNATURE_PURPOSE)


class _RangeReader(Protocol):
    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end.

        Raises:
            ObjectAbsent: There is no such object.
        """
        ...


@final
class PointFile:
    """A point that was read; nothing is proven yet.

    Attributes:
        parsed: Its parts.  Its views keep the whole file in memory, its public part does not.
        message: What `parsed.signature` has to be of.
        data: The file.
    """

    __slots__ = ("data", "message", "parsed")

    def __init__(self, text: bytearray, *, name: str) -> None:
        """Take the file's bytes, behind `message_start` of a point's purpose.

        Raises:
            PointCorrupt: As `parse`.
        """
        view = memoryview(text)
        self.data = view[len(_START) :]
        self.parsed: ParsedPoint = parse(self.data, name=name)
        self.message = Message(SIGNATURE_PURPOSE, view[:-SIGNATURE_BYTES])

    @classmethod
    def of(cls, data: Buffer, *, name: str) -> Self:
        """Return a point whose bytes somebody has read already.

        Raises:
            PointCorrupt: As `parse`.
        """
        return cls(bytearray(_START) + data, name=name)


def read_point_file(place: _RangeReader, name: str) -> PointFile:
    """Read a point from one place, at most as much of it as a point may have.

    Raises:
        PointCorrupt: It is none, or too long.
        ObjectAbsent: The place has no such object.
    """
    text = bytearray(_START)
    while True:
        offset = len(text) - len(_START)
        block = place.read_range(name, offset=offset, length=_BLOCK_BYTES)
        text += block
        if len(block) < _BLOCK_BYTES:
            return PointFile(text, name=name)
        if len(text) - len(_START) > MAX_POINT_BYTES:
            raise PointCorrupt(name, check="the file's length is not allowed")
