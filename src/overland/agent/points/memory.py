"""Memory of decoded segments, used again and not given back between two of them."""

import ctypes
from typing import Final

__all__ = ["keep_freed_memory"]

# glibc's malloc.h: which setting is meant.
_TRIM_THRESHOLD: Final = -1
_TOP_PAD: Final = -2
_MMAP_THRESHOLD: Final = -3

_REUSED_BYTES: Final = 32 << 20
"""Buffers up to this are taken from freed memory; glibc takes no more than half of a heap."""

_KEPT_BYTES: Final = 64 << 20
_STEP_BYTES: Final = 8 << 20


def keep_freed_memory() -> None:
    """Let this process use its large buffers again; other C libraries than glibc go on as ever.

    glibc gives large buffers back to the kernel when they are freed, and for each page of the next
    one the kernel is interrupted and clears it: for buffers of some megabytes that is a fifth of
    the time of a restore.  What is kept is what was needed at once, and a little more.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _REUSED_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_TOP_PAD, _STEP_BYTES)
