"""The packs of a chunk index: the row of each, and which of them are lost."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from overland.format.index import id_keys
from overland.format.index_parts import KEY_BYTES
from overland.packing.parts import PACK_ROW
from overland.packing.tables import Piece, Records, Table
from overland.values import PackId

__all__ = ["Packs"]

_FLAG: Final = np.dtype(np.bool_)
_AT_ONCE: Final = 4096
_RECENT: Final = 8192  # appended packs that are found by a dictionary of 300 bytes for each


@final
class Packs:
    """Rows of packs, the saved ones first.

    13 bytes of memory for each that was saved, which stays where it lies, and 61 for each that is
    appended.
    """

    def __init__(self, saved: Sequence[Piece], *, lost: NDArray[np.uint32]) -> None:
        """Begin with rows that were saved, of which some are `lost`."""
        self._table = Table(PACK_ROW, scratch=None, old=saved)
        self._flags = Table(_FLAG, scratch=None)
        self._flags.append(np.zeros(len(self._table), _FLAG))
        self._flags.new_rows()[lost] = True
        self.any_lost = bool(len(lost))
        keys = [np.empty(0, np.uint64), *(id_keys(piece.rows["id"]) for piece in saved)]
        order = np.argsort(np.concatenate(keys), kind="stable")
        self._keys, self._rows = np.concatenate(keys)[order], order.astype(np.uint32)
        self._recent: dict[PackId, int] = {}
        for piece in saved:
            piece.let_go()

    def __len__(self) -> int:
        return len(self._table)

    def append(self, entries: Records) -> int:
        """Add packs that have no row, or a lost one; return the row of the first."""
        first = self._table.append(entries)
        self._flags.append(np.zeros(len(entries), _FLAG))
        for row, pack_id in enumerate(_pack_ids(entries), first):
            self._recent[pack_id] = row
        if len(self._recent) > _RECENT:
            self._sort_in()
        return first

    def row_of(self, pack_id: PackId) -> int | None:
        """Return the row of a pack that is not lost; None where there is none."""
        row = self._recent.get(pack_id)
        if row is None:
            row = self._sorted_row_of(bytes.fromhex(pack_id))
        return None if row is None or self._flags.new_rows()[row] else row

    def pack_id(self, row: int) -> PackId:
        """Return the id of the pack in a row."""
        found = self._table.take(np.array([row], np.int64))
        return PackId(found["id"][0].tobytes().hex())

    def pack_ids(self) -> Iterator[PackId]:
        """Yield the packs that are not lost."""
        kept = np.flatnonzero(~self._flags.new_rows())
        for at in range(0, len(kept), _AT_ONCE):
            yield from _pack_ids(self._table.take(kept[at : at + _AT_ONCE]))

    def lose(self, row: int) -> None:
        """Take the pack in a row for lost."""
        self._flags.new_rows()[row] = True
        self.any_lost = True

    def are_kept(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each row whether its pack is not lost."""
        kept: NDArray[np.bool_] = ~self._flags.take(rows)
        return kept

    def lost_rows(self) -> NDArray[np.uint32]:
        """Return the rows of the packs that are lost."""
        return np.flatnonzero(self._flags.new_rows()).astype(np.uint32)

    def new_piece(self) -> Piece:
        """Return the rows that were appended."""
        return self._table.new_piece()

    def _sort_in(self) -> None:
        """Move the recent rows to the sorted ones, behind those of the same key."""
        rows = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        rows.sort()
        keys = id_keys(self._table.take(rows)["id"])
        order = np.argsort(keys, kind="stable")
        keys, rows = keys[order], rows[order]
        at = np.searchsorted(self._keys, keys, side="right")
        self._keys = np.insert(self._keys, at, keys)
        self._rows = np.insert(self._rows, at, rows.astype(np.uint32))
        self._recent = {}

    def _sorted_row_of(self, pack_id: bytes) -> int | None:
        key: Any = np.uint64(int.from_bytes(pack_id[:KEY_BYTES], "big"))
        at = int(np.searchsorted(self._keys, key, side="right"))
        # From the last on: a pack that was lost and stored again has two rows.
        while at and self._keys[at - 1] == key:
            at -= 1
            row = int(self._rows[at])
            if self._table.take(np.array([row], np.int64))["id"].tobytes() == pack_id:
                return row
        return None


def _pack_ids(packs: Records) -> Iterator[PackId]:
    joined = packs["id"].tobytes().hex()
    return (PackId(joined[at : at + 64]) for at in range(0, len(joined), 64))
