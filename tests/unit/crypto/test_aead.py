import pytest
from hypothesis import given
from hypothesis import strategies as st

from overland.crypto.aead import (
    DIRECTORY_NUMBER,
    TAG_BYTES,
    PackCipher,
    SealBroken,
    index_cipher,
    open_once,
    pack_cipher,
    seal_once,
)
from overland.crypto.secrets import Secret

SUBKEY = Secret(bytes(range(32)))
SALT = bytes(32)
HEADER = b"h" * 64


def cipher(*, salt: bytes = SALT, header: bytes = HEADER, subkey: Secret = SUBKEY) -> PackCipher:
    return pack_cipher(subkey, salt=salt, header=header, name="p")


def sealed(number: int, plaintext: bytes) -> bytes:
    out = bytearray(len(plaintext) + TAG_BYTES + 5)
    length = cipher().seal_segment(number, plaintext, memoryview(out))
    assert length == len(plaintext) + TAG_BYTES
    assert out[length:] == bytes(5), "nothing is written beyond the sealed segment"
    return bytes(out[:length])


@given(plaintext=st.binary(min_size=1, max_size=300), number=st.integers(0, 2**64 - 2))
def test_what_was_sealed_is_what_opens(plaintext: bytes, number: int) -> None:
    data = sealed(number, plaintext)
    assert cipher().open_segment(number, data) == plaintext


@given(plaintext=st.binary(min_size=1, max_size=64), data=st.data())
def test_a_flipped_bit_is_found_wherever_it_is(plaintext: bytes, data: st.DataObject) -> None:
    bits = bytearray(sealed(1, plaintext))
    place = data.draw(st.integers(0, len(bits) * 8 - 1))
    bits[place // 8] ^= 1 << place % 8
    with pytest.raises(SealBroken):
        cipher().open_segment(1, bits)


@pytest.mark.parametrize(
    "moved",
    [
        cipher(salt=b"s" * 32),
        cipher(header=b"g" * 64),
        cipher(subkey=Secret(bytes(32))),
    ],
)
def test_a_segment_opens_in_its_own_pack_only(moved: PackCipher) -> None:
    with pytest.raises(SealBroken):
        moved.open_segment(0, sealed(0, b"data"))


def test_a_segment_opens_in_its_own_place_only() -> None:
    with pytest.raises(SealBroken) as refused:
        cipher().open_segment(1, sealed(0, b"data"))
    assert (refused.value.name, refused.value.part) == ("p", "segment 1")


@pytest.mark.parametrize("length", [0, 1, 15])
def test_less_than_a_tag_is_broken_not_an_error_of_ours(length: int) -> None:
    with pytest.raises(SealBroken):
        cipher().open_segment(0, bytes(length))
    with pytest.raises(SealBroken):
        cipher().open_directory(bytes(length))


def test_the_directory_has_a_number_that_no_segment_has() -> None:
    directory = cipher().seal_directory(b"rows")
    assert cipher().open_directory(directory) == b"rows"
    with pytest.raises(AssertionError, match="directory"):
        cipher().seal_segment(DIRECTORY_NUMBER, b"rows", memoryview(bytearray(64)))


def test_sealing_once_binds_purpose_salt_and_data() -> None:
    data = seal_once(SUBKEY, "point-root", salt=SALT, plaintext=b"p", aad=b"a")
    assert open_once(SUBKEY, "point-root", salt=SALT, sealed=data, aad=b"a", name="n") == b"p"
    for purpose, salt, aad in (
        ("signing-key", SALT, b"a"),
        ("point-root", b"s" * 32, b"a"),
        ("point-root", SALT, b"b"),
    ):
        with pytest.raises(SealBroken):
            open_once(SUBKEY, purpose, salt=salt, sealed=data, aad=aad, name="n")


def test_a_part_of_an_index_opens_in_its_own_file_and_place_only() -> None:
    header, salts = b"h" * 64, (b"1" * 32, b"2" * 32)
    mine = index_cipher(SUBKEY, salt=salts[0], header=header)
    sealed, plain = bytearray(4 + TAG_BYTES), bytearray(4)
    mine.seal_into(5, b"rows", memoryview(sealed))
    assert mine.open(5, sealed) == b"rows"
    mine.open_into(5, sealed, memoryview(plain))
    assert plain == b"rows"
    others = [
        (mine, 6),
        (index_cipher(SUBKEY, salt=salts[1], header=header), 5),
        (index_cipher(SUBKEY, salt=salts[0], header=b"x" * 64), 5),
    ]
    for cipher, number in others:
        with pytest.raises(SealBroken):
            cipher.open(number, sealed)
        with pytest.raises(SealBroken):
            cipher.open_into(number, sealed, memoryview(plain))
    as_pack = pack_cipher(SUBKEY, salt=salts[0], header=header)
    with pytest.raises(SealBroken):
        as_pack.open_segment(5, sealed)
