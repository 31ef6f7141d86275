"""A frame is decompressed at once as the streaming interface would, and nothing else passes."""

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overland.sealing import frames
from overland.sealing.frames import Room, decompress_frame, stream_frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Decompress = Callable[[Room, int, Room, int], bool]
WAYS = pytest.mark.parametrize("decompress", [decompress_frame, stream_frame])
RAW = b"frames of a segment " * 300 + bytes(range(256))


def filled(data: bytes) -> Room:
    room = Room(max(len(data), 1))
    room.view[: len(data)] = data
    return room


def outcome(decompress: Decompress, packed: bytes, raw_bytes: int) -> bytes | None:
    raw = Room(raw_bytes + 10)
    raw.view[raw_bytes:] = b"untouched!"
    is_frame = decompress(filled(packed), len(packed), raw, raw_bytes)
    assert bytes(raw.view[raw_bytes:]) == b"untouched!", "nothing is written behind the length"
    return bytes(raw.view[:raw_bytes]) if is_frame else None


def test_the_library_shows_here() -> None:
    assert frames._LIBRARY is not None, "or the direct way would not be tested below"


@WAYS
@given(raw=st.binary(min_size=1, max_size=5000), level=st.integers(-3, 6))
def test_a_frame_comes_back(decompress: Decompress, raw: bytes, level: int) -> None:
    assert outcome(decompress, zstd.compress(raw, level=level), len(raw)) == raw


@WAYS
def test_what_is_not_one_frame_of_its_length_is_refused(decompress: Decompress) -> None:
    packed = zstd.compress(RAW)
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    for other in (packed[:-1], packed + b"\0", packed + packed, packed + skippable, skippable):
        assert outcome(decompress, other, len(RAW)) is None
    assert (
        outcome(decompress, zstd.compress(RAW[:100]) + zstd.compress(RAW[100:]), len(RAW)) is None
    )
    assert outcome(decompress, b"", len(RAW)) is None
    assert outcome(decompress, packed, len(RAW) - 1) is None
    assert outcome(decompress, packed, len(RAW) + 1) is None


def test_each_flipped_bit_has_the_same_outcome_both_ways() -> None:
    packed = bytearray(zstd.compress(RAW))
    for bit in range(8 * len(packed)):
        packed[bit // 8] ^= 1 << bit % 8
        data = bytes(packed)
        assert outcome(decompress_frame, data, len(RAW)) == outcome(stream_frame, data, len(RAW))
        packed[bit // 8] ^= 1 << bit % 8


def test_without_the_library_the_standard_interface_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_LIBRARY", None)
    assert outcome(decompress_frame, zstd.compress(RAW), len(RAW)) == RAW
    assert outcome(decompress_frame, zstd.compress(RAW)[:-1], len(RAW)) is None
