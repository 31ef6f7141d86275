"""The rows of a chunk index, and the parts that it is saved in."""

from typing import Any, Final

import msgspec
import numpy as np

from overland.format.pack import CHUNK_DTYPE
from overland.packing.head import ROW_BYTES
from overland.packing.tables import Piece

__all__ = ["CHUNK_ROW", "PACK_ROW", "ROW_DTYPES", "SEGMENT_ROW", "IndexPart"]

CHUNK_ROW: Final = CHUNK_DTYPE  # but for the segment, which is a row of the index
SEGMENT_ROW: Final = np.dtype(
    [
        ("pack", "<u4"),
        ("number", "<u4"),
        ("offset", "<u8"),
        ("sealed_bytes", "<u4"),
        ("raw_bytes", "<u4"),
        ("codec", "<u4"),
    ]
)
PACK_ROW: Final = np.dtype([("id", "u1", (32,)), ("size_bytes", "<u8"), ("lost", "<u8")])
ROW_DTYPES: Final[tuple[np.dtype[Any], ...]] = (
    np.dtype("<u8"),
    np.dtype("<u4"),
    PACK_ROW,
    SEGMENT_ROW,
    CHUNK_ROW,
)
"""Of the tables of an `IndexPart`, in their order."""
assert tuple(dtype.itemsize for dtype in ROW_DTYPES) == ROW_BYTES, "as they are measured in a file"


class IndexPart(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What was added to an index in one run or several, and lies in one file once it is saved.

    Rows count through all parts of an index.

    Attributes:
        name: Of the file; empty for what is not saved.
        digest: Of the digests of all blocks; empty for what is not saved.
        keys: The beginnings of the chunks' ids, sorted.
        rows: Of the chunks, in the order of the keys.
    """

    name: str
    digest: bytes
    keys: Piece
    rows: Piece
    packs: Piece
    segments: Piece
    chunks: Piece

    def tables(self) -> tuple[Piece, ...]:
        """Return the tables in the order of `ROW_DTYPES`."""
        return self.keys, self.rows, self.packs, self.segments, self.chunks
