"""How often Python looks for cycles of objects while a backup runs."""

import contextlib
import gc
from collections.abc import Iterator
from typing import Final

__all__ = ["collecting_rarely"]

_COLLECT_EVERY: Final = 100_000
"""Objects made between two looks: a walk makes no cycles, and a look for every 700 costs 5 %."""


@contextlib.contextmanager
def collecting_rarely() -> Iterator[None]:
    """Look for cycles less often inside; as often as before behind it."""
    before = gc.get_threshold()
    gc.set_threshold(_COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
