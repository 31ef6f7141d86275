"""Signed manifests as documents: made with somebody's `sign`, read with the signature verified.

Verifying needs no secret.  A manifest brings its own key, so that a valid signature alone proves
only that it is whole; the readers return the key, and who knows the source computer compares it.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from overland.crypto.sign import Message, Signable, message_start, verify
from overland.format.objecttable import Buffer
from overland.format.seed_manifest import (
    DRIVE_MANIFEST_PURPOSE,
    SEED_MANIFEST_PURPOSE,
    DriveManifest,
    SeedManifest,
    decode_drive_manifest,
    decode_seed_manifest,
    encode_drive_manifest,
    seed_manifest_parts,
)
from overland.format.signed import (
    MAX_DOCUMENT_BYTES,
    SignedDocumentInvalid,
    decode_signature,
    decode_signed,
    encode_signed,
    sign_in_place,
)

__all__ = [
    "LoadedManifest",
    "Signer",
    "load_seed_manifest",
    "read_drive_manifest",
    "read_seed_manifest",
    "signed_drive_manifest",
    "signed_seed_manifest",
]

Signer = Callable[[str, Signable], bytes]
"""Takes a purpose and a body, and returns the Ed25519 signature."""


class LoadedManifest(NamedTuple):
    """A seed's manifest, the public key that signed it, and length and SHA-256 of its document."""

    manifest: SeedManifest
    public_key: bytes
    document_bytes: int
    sha256: str


_ERRORS_NAME: Final = "the manifest"


def signed_seed_manifest(manifest: SeedManifest, *, public_key: bytes, sign: Signer) -> bytearray:
    """Return the document of a seed's manifest.

    Raises:
        ManifestInvalid: A rule of `docs/format/seed-manifest-v1.md` is broken.
    """
    purpose = SEED_MANIFEST_PURPOSE
    start = message_start(purpose)
    text = bytearray(start)  # of 100 TB it has 280 MB, which are made where they are signed
    for part in seed_manifest_parts(manifest):
        text += part
    sign_in_place(
        text,
        purpose,
        public_key=public_key,
        sign=lambda whole: sign(purpose, Message(purpose, whole)),
        before=len(start),
    )
    return text


def signed_drive_manifest(manifest: DriveManifest, *, public_key: bytes, sign: Signer) -> bytes:
    """Return the document of a drive's manifest.

    Raises:
        ManifestInvalid: A rule of `docs/format/drive-manifest-v1.md` is broken.
    """
    purpose = DRIVE_MANIFEST_PURPOSE
    return encode_signed(
        purpose,
        encode_drive_manifest(manifest),
        public_key=public_key,
        sign=lambda text: sign(purpose, text),
    )


def load_seed_manifest(
    blocks: Iterable[Buffer], *, name: str, check: Callable[[str], None] = lambda _: None
) -> LoadedManifest:
    """Return a seed's manifest from the blocks of its file, which is in memory once.

    Args:
        blocks: Each is taken before the next is asked for.
        name: Used in errors.
        check: Is given the file's SHA-256 before anything is read of it.

    Raises:
        IntegrityError: The document is too long or damaged, or its signature does not hold.
        Whatever `check` raises.
    """
    text = bytearray(message_start(SEED_MANIFEST_PURPOSE))
    start = len(text)
    for block in blocks:
        text += block
        if len(text) - start > MAX_DOCUMENT_BYTES:
            raise SignedDocumentInvalid(name, check="it is too long")
    with memoryview(text) as whole, whole[start:] as document:
        sha256 = hashlib.sha256(document).hexdigest()
        check(sha256)
        manifest, public_key = _seed_manifest(whole, document, name=name)
        return LoadedManifest(manifest, public_key, len(document), sha256)


def read_seed_manifest(document: bytes, *, name: str = _ERRORS_NAME) -> tuple[SeedManifest, bytes]:
    """Return a seed's manifest and the public key that signed it.

    Raises:
        IntegrityError: The document is damaged or its signature does not hold.
    """
    loaded = load_seed_manifest([document], name=name)
    return loaded.manifest, loaded.public_key


def read_drive_manifest(
    document: bytes, *, name: str = _ERRORS_NAME
) -> tuple[DriveManifest, bytes]:
    """Return a drive's manifest and the public key that signed it.

    Raises:
        IntegrityError: The document is damaged or its signature does not hold.
    """
    signed = decode_signed(document, DRIVE_MANIFEST_PURPOSE, name=name)
    verify(signed.public_key, DRIVE_MANIFEST_PURPOSE, signed.body, signed.signature)
    return decode_drive_manifest(signed.body, name=name), signed.public_key


def _seed_manifest(
    whole: memoryview, document: memoryview, *, name: str
) -> tuple[SeedManifest, bytes]:
    """Read a document; `whole` is it with what a signature wants before it."""
    signed = decode_signature(document, SEED_MANIFEST_PURPOSE, name=name)
    before = len(whole) - len(document)
    with whole[: before + signed.body_bytes] as text, document[: signed.body_bytes] as body:
        message = Message(SEED_MANIFEST_PURPOSE, text)
        verify(signed.public_key, SEED_MANIFEST_PURPOSE, message, signed.signature)
        return decode_seed_manifest(body, name=name), signed.public_key
