"""Signed manifests as documents: made with somebody's `sign`, read with the signature verified.

Verifying needs no secret.  A manifest brings its own key, so that a valid signature alone proves
only that it is whole; the readers return the key, and who knows the source computer compares it.
"""

from collections.abc import Callable
from typing import Final

from overland.crypto.sign import verify
from overland.format.seed_manifest import (
    DRIVE_MANIFEST_PURPOSE,
    SEED_MANIFEST_PURPOSE,
    DriveManifest,
    SeedManifest,
    decode_drive_manifest,
    decode_seed_manifest,
    encode_drive_manifest,
    encode_seed_manifest,
)
from overland.format.signed import SignedDocument, decode_signed, encode_signed

__all__ = [
    "Signer",
    "read_drive_manifest",
    "read_seed_manifest",
    "signed_drive_manifest",
    "signed_seed_manifest",
]

Signer = Callable[[str, bytes], bytes]
"""Takes a purpose and a body, and returns the Ed25519 signature."""

_ERRORS_NAME: Final = "the manifest"


def signed_seed_manifest(manifest: SeedManifest, *, public_key: bytes, sign: Signer) -> bytes:
    """Return the document of a seed's manifest.

    Raises:
        ManifestInvalid: A rule of `docs/format/seed-manifest-v1.md` is broken.
    """
    return _signed(
        SEED_MANIFEST_PURPOSE, encode_seed_manifest(manifest), public_key=public_key, sign=sign
    )


def signed_drive_manifest(manifest: DriveManifest, *, public_key: bytes, sign: Signer) -> bytes:
    """Return the document of a drive's manifest.

    Raises:
        ManifestInvalid: A rule of `docs/format/drive-manifest-v1.md` is broken.
    """
    return _signed(
        DRIVE_MANIFEST_PURPOSE, encode_drive_manifest(manifest), public_key=public_key, sign=sign
    )


def read_seed_manifest(document: bytes, *, name: str = _ERRORS_NAME) -> tuple[SeedManifest, bytes]:
    """Return a seed's manifest and the public key that signed it.

    Raises:
        IntegrityError: The document is damaged or its signature does not hold.
    """
    signed = _verified(document, SEED_MANIFEST_PURPOSE, name=name)
    return decode_seed_manifest(signed.body, name=name), signed.public_key


def read_drive_manifest(
    document: bytes, *, name: str = _ERRORS_NAME
) -> tuple[DriveManifest, bytes]:
    """Return a drive's manifest and the public key that signed it.

    Raises:
        IntegrityError: The document is damaged or its signature does not hold.
    """
    signed = _verified(document, DRIVE_MANIFEST_PURPOSE, name=name)
    return decode_drive_manifest(signed.body, name=name), signed.public_key


def _signed(purpose: str, body: bytes, *, public_key: bytes, sign: Signer) -> bytes:
    return encode_signed(
        purpose, body, public_key=public_key, sign=lambda text: sign(purpose, text)
    )


def _verified(document: bytes, purpose: str, *, name: str) -> SignedDocument:
    signed = decode_signed(document, purpose, name=name)
    verify(signed.public_key, purpose, signed.body, signed.signature)
    return signed
