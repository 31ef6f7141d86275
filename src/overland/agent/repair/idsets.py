"""Sets of chunk ids as sorted arrays: 32 bytes for each, and looked up by the thousand."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from overland.packing.index import Ids, as_ids

__all__ = ["NO_IDS", "among", "sorted_ids"]

NO_IDS: Final[Ids] = as_ids(b"")


def sorted_ids(lists: Sequence[Ids]) -> Ids:
    """Return the ids of all lists, sorted, each once."""
    joined = _whole(np.concatenate([NO_IDS, *lists]))
    return np.unique(joined).view(np.uint8).reshape(-1, 32)


def among(ids: Ids, found: Ids) -> NDArray[np.bool_]:
    """Return for each id whether it is in `found`, which `sorted_ids` made."""
    if not len(found):
        return np.zeros(len(ids), np.bool_)
    wanted, known = _whole(ids), _whole(found)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.asarray(known[at] == wanted, np.bool_)


def _whole(ids: Ids) -> NDArray[np.bytes_]:
    return np.ascontiguousarray(ids).view("S32").reshape(-1)
