import os
import sys

import pytest

from overland.crypto.aead import TAG_BYTES, SealBroken
from overland.crypto.masterkey import Subkeys
from overland.crypto.secrets import Secret
from overland.errors import ObjectCorrupt
from overland.format.pack import CODEC_RAW, CODEC_ZSTD
from overland.sealing.seal import PackSeal, SegmentSealer, open_pack
from overland.values import RepositoryId

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KEY = Subkeys([Secret(b"k" * 32)])
REPOSITORY = RepositoryId("6f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11")
OTHER = RepositoryId("7f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11")


def new_pack(salt: bytes = b"s" * 32) -> PackSeal:
    return PackSeal(KEY, repository_id=REPOSITORY, salt=salt)


def test_a_segment_comes_back_as_it_was() -> None:
    pack, sealer = new_pack(), SegmentSealer(level=1)
    raws = [b"text " * 1000, os.urandom(5000), b"x", os.urandom(2 << 20)]
    sealed = []
    for raw in raws:
        one = sealer.seal(memoryview(raw), pack)
        sealed.append((bytes(one.data), one.codec))
    opener = open_pack(KEY, repository_id=REPOSITORY)(pack.header, "pack")
    for number, (raw, (data, codec)) in enumerate(zip(raws, sealed, strict=True)):
        assert opener.open_segment(number, data, codec=codec, raw_bytes=len(raw)) == raw


def test_what_does_not_shrink_is_stored_as_it_is() -> None:
    pack, sealer = new_pack(), SegmentSealer(level=1)
    text, noise = b"text " * 1000, os.urandom(5000)
    small = sealer.seal(memoryview(text), pack)
    assert (small.codec, len(small.data) < 500) == (CODEC_ZSTD, True)
    large = sealer.seal(memoryview(noise), pack)
    assert (large.codec, len(large.data)) == (CODEC_RAW, len(noise) + TAG_BYTES)


def test_neither_plaintext_nor_repetition_shows() -> None:
    pack, sealer = new_pack(), SegmentSealer(level=1)
    raw = b"SECRET CONTENT " * 3
    first = bytes(sealer.seal(memoryview(raw), pack).data)
    second = bytes(sealer.seal(memoryview(raw), pack).data)
    assert b"SECRET" not in first
    assert first != second, "every segment of a pack has its own nonce"
    other = new_pack(b"t" * 32)
    assert bytes(sealer.seal(memoryview(raw), other).data) != first


def test_a_segment_in_another_place_is_refused() -> None:
    pack, sealer = new_pack(), SegmentSealer(level=1)
    raw = b"content"
    sealed = bytes(sealer.seal(memoryview(raw), pack).data)
    opener = open_pack(KEY, repository_id=REPOSITORY)(pack.header, "pack")
    with pytest.raises(SealBroken):
        opener.open_segment(1, sealed, codec=CODEC_RAW, raw_bytes=len(raw))


def test_a_wrong_length_or_codec_is_refused() -> None:
    pack, sealer = new_pack(), SegmentSealer(level=1)
    raw = b"text " * 1000
    sealed = bytes(sealer.seal(memoryview(raw), pack).data)
    opener = open_pack(KEY, repository_id=REPOSITORY)(pack.header, "pack")
    for codec, raw_bytes in ((CODEC_ZSTD, 4999), (CODEC_ZSTD, 5001), (CODEC_RAW, 5000)):
        with pytest.raises(ObjectCorrupt):
            opener.open_segment(0, sealed, codec=codec, raw_bytes=raw_bytes)
    noise = bytes(sealer.seal(memoryview(os.urandom(100)), pack).data)
    with pytest.raises(ObjectCorrupt):
        opener.open_segment(1, noise, codec=CODEC_ZSTD, raw_bytes=100)


def test_a_segment_that_is_not_exactly_one_frame_is_refused() -> None:
    """`docs/format/pack-v1.md` §6: cut off after its last byte of content, or followed by more."""
    raw = b"text " * 1000
    flag: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
    frame = zstd.compress(raw, options=flag)
    pack, out = new_pack(), memoryview(bytearray(1 << 16))
    opener = open_pack(KEY, repository_id=REPOSITORY)(pack.header, "pack")
    for number, packed in enumerate((frame, frame[:-4], frame + b"x", frame + zstd.compress(b""))):
        sealed = bytes(out[: pack.seal_into(packed, out)])
        if number == 0:
            opened = opener.open_segment(number, sealed, codec=CODEC_ZSTD, raw_bytes=len(raw))
            assert opened == raw
            continue
        with pytest.raises(ObjectCorrupt, match="one whole frame"):
            opener.open_segment(number, sealed, codec=CODEC_ZSTD, raw_bytes=len(raw))


def test_a_directory_comes_back_and_only_from_its_own_pack() -> None:
    pack = new_pack()
    sealed = pack.seal_directory(b"directory")
    opened = open_pack(KEY, repository_id=REPOSITORY)
    assert opened(pack.header, "pack").open_directory(sealed) == b"directory"
    with pytest.raises(SealBroken):
        opened(new_pack(b"t" * 32).header, "pack").open_directory(sealed)


def test_no_number_of_a_pack_is_used_twice() -> None:
    pack, out = new_pack(), memoryview(bytearray(100))
    first = bytes(out[: pack.seal_into(b"same", out)])
    assert bytes(out[: pack.seal_into(b"same", out)]) != first
    pack.seal_directory(b"directory")
    with pytest.raises(AssertionError, match="number of the first"):
        pack.seal_directory(b"directory")
    with pytest.raises(AssertionError, match="lists every segment"):
        pack.seal_into(b"late", out)


def test_a_pack_of_another_repository_is_refused() -> None:
    foreign = PackSeal(KEY, repository_id=OTHER, salt=b"s" * 32)
    with pytest.raises(ObjectCorrupt) as refused:
        open_pack(KEY, repository_id=REPOSITORY)(foreign.header, "pack")
    assert refused.value.check == "another repository's"
