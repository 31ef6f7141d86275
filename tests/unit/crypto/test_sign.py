import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from overland.crypto.sign import generate_signing_key, public_key, sign, verify
from overland.errors import SignatureInvalid

PRIVATE = generate_signing_key(lambda n: bytes(range(n)))
PUBLIC = public_key(PRIVATE)


def test_a_signature_holds_for_its_purpose_data_and_key() -> None:
    verify(PUBLIC, "a", b"data", sign(PRIVATE, "a", b"data"))


@pytest.mark.parametrize(
    ("public", "purpose", "data", "cut"),
    [
        (PUBLIC, "b", b"data", 64),
        (PUBLIC, "a", b"date", 64),
        (PUBLIC, "a", b"data", 63),
        (PUBLIC, "a", b"data", 0),
        (bytes(32), "a", b"data", 64),
        (PUBLIC[:31], "a", b"data", 64),
        (b"", "a", b"data", 64),
    ],
)
def test_a_signature_holds_for_nothing_else(
    public: bytes, purpose: str, data: bytes, cut: int
) -> None:
    with pytest.raises(SignatureInvalid):
        verify(public, purpose, data, sign(PRIVATE, "a", b"data")[:cut])


@pytest.mark.parametrize("sign_of_x", [0, 0x80])
def test_a_key_under_which_one_signature_fits_every_text_proves_nothing(sign_of_x: int) -> None:
    """The neutral point: its signature of anything is itself and zero (RFC 8032 section 5.1.7)."""
    neutral = b"\1" + bytes(31)
    for data in (b"one text", b"another"):
        with pytest.raises(SignatureInvalid):
            verify(neutral[:31] + bytes([sign_of_x]), "a", data, neutral + bytes(32))


def test_a_purpose_cannot_swallow_the_data() -> None:
    with pytest.raises(AssertionError, match="zero byte"):
        sign(PRIVATE, "a\0b", b"data")


def test_the_signature_is_rfc_8032_over_purpose_zero_data() -> None:
    key = Ed25519PublicKey.from_public_bytes(PUBLIC)
    key.verify(sign(PRIVATE, "purpose", b"data"), b"purpose\0data")
