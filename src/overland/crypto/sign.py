"""Ed25519 signatures with a purpose, so that no document can pass for one of another kind.

Verifying needs no secret: this is the module of `crypto` that keyless machines use.
"""

from collections.abc import Callable
from typing import Final, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from overland.crypto.secrets import Secret
from overland.errors import SignatureInvalid

__all__ = [
    "PUBLIC_KEY_BYTES",
    "SIGNATURE_BYTES",
    "Message",
    "Signable",
    "generate_signing_key",
    "message_start",
    "public_key",
    "sign",
    "verify",
]

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_PRIVATE_KEY_BYTES: Final = 32
_SIGN_BIT: Final = 0x80

# Points of small order, by their y alone, as in every published list of them (with the two
# encodings that are not reduced).  Under such a key one signature fits every text, so it proves
# nothing; OpenSSL takes them, as RFC 8032 allows.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


@final
class Message:
    """What a signature is of, in one piece with its purpose, so that long data is not copied."""

    __slots__ = ("purpose", "whole")

    def __init__(self, purpose: str, whole: memoryview) -> None:
        """Take the data with `message_start(purpose)` before it."""
        start = message_start(purpose)
        assert whole[: len(start)] == start, "the purpose stands before the data"
        self.purpose, self.whole = purpose, whole


Signable = bytes | bytearray | memoryview | Message
"""Data to sign or to verify for a purpose; a `Message` has it in it."""


def generate_signing_key(random: Callable[[int], bytes]) -> Secret:
    """Return a new private key, made of 32 bytes of `random`."""
    seed = random(_PRIVATE_KEY_BYTES)
    assert len(seed) == _PRIVATE_KEY_BYTES, "random(n) returns n bytes"
    return Secret(seed)


def public_key(private: Secret) -> bytes:
    """Return the 32-byte public key of `private`."""
    return _private(private).public_key().public_bytes_raw()


def message_start(purpose: str) -> bytes:
    """Return what stands before the data in everything that is signed for a purpose."""
    assert purpose.isascii(), "purposes are ASCII"
    assert purpose.isprintable(), "purposes hold no zero byte, so the message has one reading"
    return purpose.encode("ascii") + b"\0"


def sign(private: Secret, purpose: str, data: Signable) -> bytes:
    """Return the 64-byte signature of `data` for `purpose` (`docs/format/keys-v1.md` §6).

    Signed are the purpose in ASCII, a zero byte, and the data.
    """
    return _private(private).sign(_message(purpose, data))


def verify(public: bytes, purpose: str, data: Signable, signature: bytes) -> None:
    """Return when `signature` is that of `data` for `purpose` by the owner of `public`.

    The caller decides whether it trusts `public`; a document that brings its own key proves
    nothing else.

    Raises:
        SignatureInvalid: It is not, the key or the signature has a wrong length, or the key is one
            under which anybody can sign.
    """
    try:
        if _y_of(public) in _SMALL_ORDER:
            raise SignatureInvalid(purpose)
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, _message(purpose, data))
    except (InvalidSignature, ValueError):
        raise SignatureInvalid(purpose) from None


def _y_of(public: bytes) -> bytes:
    """Return the encoded point without the sign of its x."""
    return public[:-1] + bytes(byte & ~_SIGN_BIT for byte in public[-1:])


def _private(private: Secret) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(private.reveal())


def _message(purpose: str, data: Signable) -> bytes | memoryview:
    if isinstance(data, Message):
        assert data.purpose == purpose, "a message is of one purpose"
        return data.whole
    return b"".join((message_start(purpose), data))
