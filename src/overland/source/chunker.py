"""Where a file is cut into chunks: by its content alone, so that an insertion moves few cuts.

FastCDC 2020 (Xia et al., IEEE TPDS 31(9)) with normalisation level 2, which keeps chunks near the
mean.  The gear table is mixed with a secret of the repository, so that the places of the cuts of a
known text are not known to who has no key; the lengths of single chunks do not show anyway,
because segments are sealed as a whole.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Self, final

import msgspec

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

__all__ = ["DEFAULT_SIZES", "IMAGE_SIZES", "Chunker", "Sizes", "chunks"]

_NORMALISATION: Final = 2
_SPREAD: Final = 4
_SEED_BITS: Final = 63  # the library doubles the seed, and the result has to fit 64 bits


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and mean of a chunk's length, in bytes."""

    min_bytes: int
    mean_bytes: int
    max_bytes: int

    def __post_init__(self) -> None:
        assert 64 <= self.min_bytes <= self.mean_bytes <= self.max_bytes <= 16 << 20, (
            "a chunk fits into a segment, and the bounds are in order"
        )
        assert self.min_bytes <= 1 << 20, "the largest minimum that the library takes"
        assert 256 <= self.mean_bytes <= 4 << 20, "the range of the algorithm's masks"
        assert self.max_bytes >= 1024, "the smallest bound that the library takes"

    @classmethod
    def around(cls, mean_bytes: int) -> Self:
        """Return the sizes that policies use: from a quarter of the mean to four times it."""
        return cls(
            min_bytes=mean_bytes // _SPREAD, mean_bytes=mean_bytes, max_bytes=mean_bytes * _SPREAD
        )


DEFAULT_SIZES: Final = Sizes.around(256 << 10)
"""Few index entries, and small incrementals, for files of all kinds."""

IMAGE_SIZES: Final = Sizes.around(64 << 10)
"""For images of disks and for databases, which change in small scattered places."""


@final
class Chunker:
    """Finds cuts.  For one thread at a time."""

    def __init__(self, sizes: Sizes, *, secret: bytes) -> None:
        """Prepare to cut.

        Args:
            sizes: Bounds; repositories keep them, because other bounds make other chunks.
            secret: At least 8 bytes; the same secret gives the same cuts.
        """
        assert len(secret) >= 8, "the seed takes 63 bits of it"
        self.sizes = sizes
        self._secret = secret
        self._made: FastCDC | None = None

    def cuts(self, data: memoryview, *, is_end: bool) -> list[int]:
        """Return where chunks of `data` end, ascending.

        The first chunk begins at 0.  What lies behind the last cut is the beginning of a chunk
        whose end is not in sight: call again with it in front of what follows.  With `is_end`
        there is nothing behind: the last cut is the length of the data.
        """
        # A cut depends on up to `max_bytes` behind its chunk's start, so that only a chunk which
        # starts further from the end of the data is certain.
        certain = len(data) if is_end else len(data) - self.sizes.max_bytes
        found: list[int] = []
        start = 0
        if certain <= 0:
            return found
        for chunk in self._cdc().cut_buf(data):
            if start > certain or (start == certain and is_end):
                break
            start += chunk.length
            found.append(start)
        return found

    def _cdc(self) -> "FastCDC":
        """Return the library's cutter, made when the first file is cut: most runs cut none."""
        if self._made is None:
            from pyfastcdc import FastCDC  # noqa: PLC0415 - as said above

            self._made = FastCDC(
                self.sizes.mean_bytes,
                min_size=self.sizes.min_bytes,
                max_size=self.sizes.max_bytes,
                normalized_chunking=_NORMALISATION,
                seed=int.from_bytes(self._secret[:8], "little") & ((1 << _SEED_BITS) - 1),
            )
        return self._made


def chunks(blocks: Iterable[bytes], chunker: Chunker) -> Iterator[bytes]:
    """Yield the chunks of a stream that comes in blocks of any size.

    The obvious version, with copies; the pipeline does the same in its buffers.
    """
    rest = b""
    for block in blocks:
        rest += block
        cuts = chunker.cuts(memoryview(rest), is_end=False)
        for start, end in zip([0, *cuts], cuts, strict=False):
            yield rest[start:end]
        rest = rest[cuts[-1] :] if cuts else rest
    cuts = chunker.cuts(memoryview(rest), is_end=True)
    for start, end in zip([0, *cuts], cuts, strict=False):
        yield rest[start:end]
