"""Secrets in the cloud's tables, sealed by a key that lies beside them and not in them.

Whoever gets a copy of the tables alone, such as a backup of `cloud.db`, reads no signing key and
no second factor.  AES-256-GCM (NIST SP 800-38D) with a random nonce for each seal: a few seals a
day stay far below the 2^32 that random nonces allow.  What a secret is for, and whose, goes in as
associated data, so that none is taken for another.
"""

import base64
import binascii
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from overland.cloud.people import Random
from overland.crypto.secrets import Secret

__all__ = ["KEY_BYTES", "SealBroken", "opened", "sealed"]

KEY_BYTES: Final = 32

_NONCE_BYTES: Final = 12


class SealBroken(Exception):
    """A secret was sealed by another key, for another purpose, or was changed."""


def sealed(secret: bytes, *, key: Secret, purpose: str, random: Random) -> str:
    """Return a secret as the tables hold it: base64 of nonce, ciphertext and tag."""
    nonce = random(_NONCE_BYTES)
    content = AESGCM(key.reveal()).encrypt(nonce, secret, purpose.encode())
    return base64.b64encode(nonce + content).decode()


def opened(text: str, *, key: Secret, purpose: str) -> Secret:
    """Return what was sealed for this purpose.

    Raises:
        SealBroken: It does not open by this key, for this purpose.
    """
    try:
        content = base64.b64decode(text, validate=True)
        nonce, rest = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
        return Secret(AESGCM(key.reveal()).decrypt(nonce, rest, purpose.encode()))
    except (binascii.Error, ValueError, InvalidTag):
        raise SealBroken from None
