"""One zstd frame at a time, decompressed at once into memory that is there already.

The standard library's interface only streams: what it decompresses goes through a buffer of its
own, and pieces are joined at the end, so that every byte is copied twice more.  The zstd library
that its module carries is asked directly here (`ZSTD_decompress`, whose promise never changes); a
module that does not show it is used as it is meant to be, with the same results.
"""

import ctypes
import sys
from importlib import import_module
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd

    _MODULE: Final = "_zstd"
else:
    from backports import zstd

    _MODULE: Final = "backports.zstd._zstd"

__all__ = ["Room", "decompress_frame", "stream_frame"]


class Room:
    """Memory for a segment, which a C library may write to."""

    def __init__(self, size_bytes: int) -> None:
        memory = bytearray(size_bytes)
        self.view: Final = memoryview(memory)
        self.address: Final = (ctypes.c_char * size_bytes).from_buffer(memory)

    def __len__(self) -> int:
        return len(self.view)


def decompress_frame(packed: Room, length: int, raw: Room, raw_bytes: int) -> bool:
    """Write to `raw` what the first `length` bytes of `packed` decompress to.

    Returns:
        Whether they are one whole frame, and nothing else, of `raw_bytes`; what `raw` holds has
        no meaning if not.
    """
    assert length <= len(packed), "the frame is in its room"
    assert raw_bytes <= len(raw), "there is room for what comes"
    if _LIBRARY is None:
        return stream_frame(packed, length, raw, raw_bytes)
    # Errors are numbers too, larger than any length.
    if _LIBRARY.ZSTD_findFrameCompressedSize(packed.address, length) != length:
        return False
    found: int = _LIBRARY.ZSTD_decompress(raw.address, raw_bytes, packed.address, length)
    return found == raw_bytes


def stream_frame(packed: Room, length: int, raw: Room, raw_bytes: int) -> bool:
    """Do the same as `decompress_frame` by the standard interface."""
    decompressor = zstd.ZstdDecompressor()
    try:
        found = decompressor.decompress(packed.view[:length], raw_bytes + 1)
    except zstd.ZstdError:
        return False
    if len(found) != raw_bytes or not decompressor.eof or decompressor.unused_data:
        return False
    raw.view[:raw_bytes] = found
    return True


def _library() -> ctypes.CDLL | None:
    """Return the zstd library inside the module that Python uses; None if it does not show."""
    path = getattr(import_module(_MODULE), "__file__", None)
    if path is None:  # built into the interpreter
        return None
    try:
        library = ctypes.CDLL(path)
        functions = library.ZSTD_findFrameCompressedSize, library.ZSTD_decompress
    except (OSError, AttributeError):
        return None
    for function, buffers in zip(functions, (1, 2), strict=True):
        function.restype = ctypes.c_size_t
        function.argtypes = (ctypes.c_void_p, ctypes.c_size_t) * buffers
    return library


_LIBRARY: Final = _library()
