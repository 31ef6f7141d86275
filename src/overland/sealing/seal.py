"""Segments and directories of packs, compressed and sealed, and back (`docs/format/pack-v1.md`)."""

import sys
from collections.abc import Callable
from typing import Final, NamedTuple, final

from overland.crypto.aead import TAG_BYTES, PackCipher, pack_cipher
from overland.crypto.masterkey import Subkeys
from overland.errors import ObjectCorrupt
from overland.format.pack import (
    CODEC_RAW,
    CODEC_ZSTD,
    MAX_SEGMENT_BYTES,
    Header,
    decode_header,
    encode_header,
)
from overland.sealing.frames import Room, decompress_frame
from overland.values import RepositoryId

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["PackOpener", "PackSeal", "Sealed", "SegmentOpener", "SegmentSealer", "open_pack"]

_GAIN: Final = 0.97  # a segment that shrinks by less than 3 % is stored as it is
_SALT_BYTES: Final = 32
_BUFFER_BYTES: Final = 1 << 20  # as long as a usual segment is before it is compressed


class Sealed(NamedTuple):
    """A sealed segment; `data` is valid until the sealer's next call."""

    data: memoryview
    raw_bytes: int
    codec: int


@final
class PackSeal:
    """The cipher of one new pack.  Uses no number twice: segments are counted, then closed.

    The directory is sealed once, and nothing after it: two plaintexts under one number and key
    would give both away.
    """

    def __init__(self, subkeys: Subkeys, *, repository_id: RepositoryId, salt: bytes) -> None:
        """Begin a pack.

        Args:
            subkeys: `Purpose.SEGMENT` of the repository; the newest seals.
            repository_id: Stands in the header.
            salt: 32 fresh random bytes; the pack's key is made of them.
        """
        assert len(salt) == _SALT_BYTES, "salts are 32 random bytes"
        header = Header(repository_id=repository_id, master_number=subkeys.number, salt=salt)
        self.header = encode_header(header)
        self._cipher = pack_cipher(subkeys.newest, salt=salt, header=self.header)
        self._next = 0
        self._is_complete = False

    def seal_into(self, plaintext: bytes | memoryview, out: memoryview) -> int:
        """Seal the next segment into the start of `out`; return how long it is."""
        assert not self._is_complete, "the directory lists every segment of its pack"
        length = self._cipher.seal_segment(self._next, plaintext, out)
        self._next += 1
        return length

    def seal_directory(self, plaintext: bytes) -> bytes:
        """Return the sealed directory; the pack is complete with it, and nothing follows."""
        assert not self._is_complete, "a second directory would use the number of the first"
        self._is_complete = True
        return self._cipher.seal_directory(plaintext)


@final
class SegmentSealer:
    """Compresses and seals segments.  For one thread: it has a compressor and a buffer."""

    def __init__(self, *, level: int) -> None:
        self._compressor = zstd.ZstdCompressor(level=level)
        self._out = memoryview(bytearray(_BUFFER_BYTES + TAG_BYTES))

    def seal(self, raw: memoryview, pack: PackSeal) -> Sealed:
        """Return `raw` as the next segment of `pack`; compressed if that saves at least 3 %."""
        assert 0 < len(raw) <= MAX_SEGMENT_BYTES, "the format's limit"
        packed: bytes | memoryview = self._compressor.compress(raw, zstd.ZstdCompressor.FLUSH_FRAME)
        codec = CODEC_ZSTD
        if len(packed) > _GAIN * len(raw):
            packed, codec = raw, CODEC_RAW
        if len(packed) + TAG_BYTES > len(self._out):
            self._out = memoryview(bytearray(len(packed) + TAG_BYTES))
        length = pack.seal_into(packed, self._out)
        return Sealed(self._out[:length], len(raw), codec)


@final
class PackOpener:
    """Opens the sealed parts of one pack; may be used by many threads."""

    def __init__(self, cipher: PackCipher, *, name: str) -> None:
        self._cipher, self._name = cipher, name

    def open_segment(
        self, number: int, sealed: bytes | memoryview, *, codec: int, raw_bytes: int
    ) -> bytes:
        """Return the raw segment.

        Raises:
            SealBroken: It was changed or moved, or is another repository's.
            ObjectCorrupt: It does not decompress to `raw_bytes`.
        """
        plain = self._cipher.open_segment(number, sealed)
        if codec == CODEC_ZSTD:
            plain = _decompressed(plain, raw_bytes, name=self._name)
        if len(plain) != raw_bytes:
            raise ObjectCorrupt(self._name, check="a segment has another length")
        return plain

    def segments(self) -> "SegmentOpener":
        """Return what opens segments of this pack one after the other, for one thread."""
        return SegmentOpener(self._cipher, name=self._name)

    def open_directory(self, sealed: bytes | memoryview) -> bytes:
        """Return the encoded directory.

        Raises:
            SealBroken: It was changed, or is another repository's.
        """
        return self._cipher.open_directory(sealed)


@final
class SegmentOpener:
    """Opens segments of one pack.  For one thread: what it has opened lies in its buffer."""

    def __init__(self, cipher: PackCipher, *, name: str) -> None:
        self._cipher, self._name = cipher, name
        self._plain = self._raw = Room(_BUFFER_BYTES)

    def open(self, number: int, sealed: memoryview, *, codec: int, raw_bytes: int) -> memoryview:
        """Return the raw segment, which is valid until the next call.

        Raises:
            SealBroken: It was changed or moved, or is another repository's.
            ObjectCorrupt: It does not decompress to `raw_bytes`.
        """
        length = len(sealed) - TAG_BYTES
        if length < 0:
            raise ObjectCorrupt(self._name, check="a segment has another length")
        if length > len(self._plain):
            self._plain = Room(length)
        self._cipher.open_segment_into(number, sealed, self._plain.view[:length])
        if codec != CODEC_ZSTD:
            if length != raw_bytes:
                raise ObjectCorrupt(self._name, check="a segment has another length")
            return self._plain.view[:length]
        if self._raw is self._plain or raw_bytes > len(self._raw):
            self._raw = Room(max(raw_bytes, _BUFFER_BYTES))
        if not decompress_frame(self._plain, length, self._raw, raw_bytes):
            raise ObjectCorrupt(self._name, check="a segment is not one frame of its length")
        return self._raw.view[:raw_bytes]


def open_pack(
    subkeys: Subkeys, *, repository_id: RepositoryId
) -> Callable[[bytes, str], PackOpener]:
    """Return what `PackReader` opens packs with: a function of a pack's header and name.

    It raises `ObjectCorrupt` where the header is damaged or names another repository, and
    `MasterKeyUnknown` where it names a master key that `subkeys` end before.
    """

    def opened(header: bytes, name: str) -> PackOpener:
        """Return what opens the parts of the pack `name` that begins with `header`.

        Raises:
            ObjectCorrupt: The header is damaged, or names another repository.
            MasterKeyUnknown: It names a master key that `subkeys` end before.
        """
        found = decode_header(header, name=name)
        if found.repository_id != repository_id:
            raise ObjectCorrupt(name, check="another repository's")
        subkey = subkeys.of(found.master_number, name=name)
        return PackOpener(pack_cipher(subkey, salt=found.salt, header=header, name=name), name=name)

    return opened


def _decompressed(packed: bytes, raw_bytes: int, *, name: str) -> bytes:
    # What was sealed was written by us; the limit is for a writer's mistake, not for an enemy.
    decompressor = zstd.ZstdDecompressor()
    try:
        raw = decompressor.decompress(packed, raw_bytes + 1)
    except zstd.ZstdError:
        raise ObjectCorrupt(name, check="a segment does not decompress") from None
    if not decompressor.eof or decompressor.unused_data:
        raise ObjectCorrupt(name, check="a segment is not one whole frame")
    return raw
