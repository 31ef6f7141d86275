"""What a source computer signs to enter a vault: that the key it names is its own.

Verifying needs no secret, so the cloud does it; see `docs/format/keys-v1.md` §6.1.
"""

from typing import Final

import msgspec

from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.errors import SignatureInvalid

__all__ = ["PURPOSE", "Claim", "prove", "verify"]

PURPOSE: Final = "overland-registration-v1"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed: who enters which vault, and by which token.

    The token's digest binds the signature to one registration: heard or kept, it opens no other.
    """

    vault_id: str
    name: str
    repository_id: str
    signing_public_key: str
    token_sha256: str


def prove(claim: Claim, key: Secret) -> str:
    """Return the proof of a claim in hexadecimal digits, by the owner of the private key."""
    return sign.sign(key, PURPOSE, _encode(claim)).hex()


def verify(claim: Claim, proof: str) -> None:
    """Return when `proof` was made of `claim` by the owner of the key that the claim names.

    Raises:
        SignatureInvalid: It was not, or it is no hexadecimal text.
    """
    try:
        signature, public = bytes.fromhex(proof), bytes.fromhex(claim.signing_public_key)
    except ValueError:
        raise SignatureInvalid(PURPOSE) from None
    if signature.hex() != proof:  # blanks and capitals: a proof has one text
        raise SignatureInvalid(PURPOSE)
    sign.verify(public, PURPOSE, _encode(claim), signature)


def _encode(claim: Claim) -> bytes:
    return msgspec.json.encode(claim, order="sorted")
