"""A point's file is read in blocks, once, and not further than a point may be long."""

import pytest
from tests.support.landed import Computer, pack

from overland.agent.points.pointfile import PointFile, read_point_file
from overland.crypto.sign import Message, message_start, public_key, sign, verify
from overland.errors import SignatureInvalid
from overland.format.point import SIGNATURE_PURPOSE, PointCorrupt, parse
from overland.values import point_name

MODULE = "overland.agent.points.pointfile"


class Place:
    """Holds one object, and notes how far it was read."""

    def __init__(self, data: bytes) -> None:
        self._data, self.end = data, 0

    def read_range(self, _: str, *, offset: int, length: int) -> bytes:
        self.end = max(self.end, offset + length)
        return self._data[offset : offset + length]


@pytest.mark.parametrize("block_bytes", [1, 512, 700, 1536, 4096])
def test_a_point_is_the_same_in_blocks_of_any_length(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}._BLOCK_BYTES", block_bytes)
    computer = Computer()
    point_id, data = computer.point(1, [pack("one"), pack("two")])
    assert len(data) in {1024, 1536}, "a multiple of some of the blocks"
    file = read_point_file(Place(data), point_name(point_id))
    assert file.data == data
    assert file.parsed.public == parse(data, name="p").public
    key = public_key(computer.key)
    verify(key, SIGNATURE_PURPOSE, file.message, file.parsed.signature)
    verify(key, SIGNATURE_PURPOSE, data[:-64], file.parsed.signature)


def test_a_changed_byte_breaks_the_signature_of_a_file_in_one_piece() -> None:
    computer = Computer()
    point_id, data = computer.point(1, [pack("one")])
    changed = bytearray(data)
    changed[changed.index(b"5a" * 32)] ^= 1  # of the salt, which may be anything
    file = PointFile.of(changed, name=point_name(point_id))
    with pytest.raises(SignatureInvalid):
        verify(public_key(computer.key), SIGNATURE_PURPOSE, file.message, file.parsed.signature)


def test_what_is_longer_than_a_point_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{MODULE}._BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(f"{MODULE}.MAX_POINT_BYTES", 4 << 10)
    place = Place(bytes(1 << 20))
    with pytest.raises(PointCorrupt, match="length is not allowed"):
        read_point_file(place, "points/long.point")
    assert place.end == 5 << 10


def test_a_message_is_of_one_purpose() -> None:
    key = Computer().key
    whole = memoryview(message_start("one") + b"data")
    assert sign(key, "one", Message("one", whole)) == sign(key, "one", b"data")
    with pytest.raises(AssertionError, match="before the data"):
        Message("another", whole)
    with pytest.raises(AssertionError, match="one purpose"):
        sign(key, "another", Message("one", whole))
