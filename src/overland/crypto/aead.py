"""AES-256-GCM over segments, directories, indexes and roots (`docs/format/keys-v1.md` §4).

Every key here is derived for one object from a random salt, so that a counter is a safe nonce and
the birthday bound of random nonces never comes near.
"""

import struct
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from overland.crypto.secrets import Secret
from overland.errors import IntegrityError

__all__ = [
    "DIRECTORY_NUMBER",
    "INDEX_FILE",
    "PACK",
    "POINT_ROOT",
    "TAG_BYTES",
    "IndexCipher",
    "PackCipher",
    "SealBroken",
    "derive",
    "index_cipher",
    "open_once",
    "pack_cipher",
    "seal_once",
]

Buffer = bytes | bytearray | memoryview

TAG_BYTES: Final = 16
DIRECTORY_NUMBER: Final = 2**64 - 1
PACK: Final = "pack"
INDEX_FILE: Final = "index-file"
POINT_ROOT: Final = "point-root"
_KEY_BYTES: Final = 32
_NONCE: Final = struct.Struct("<4xQ")  # §4: four zero bytes, then the segment's number


class SealBroken(IntegrityError):
    """Sealed bytes were changed, cut, moved to another place, or sealed with another key."""

    code = "seal-broken"

    def __init__(self, name: str, *, part: str) -> None:
        super().__init__(f"the seal of {part} in {name} is broken; take it from another copy")
        self.name, self.part = name, part


@final
class PackCipher:
    """Seals and opens the segments and the directory of one pack.

    A number may be sealed once only: two plaintexts under one number would give both away.  The
    writer counts from 0 and never seals into an abandoned pack again.
    """

    __slots__ = ("_aead", "_header", "_name")

    def __init__(self, key: Secret, *, header: bytes, name: str) -> None:
        self._aead = AESGCM(key.reveal())
        self._header = header
        self._name = name

    def seal_segment(self, number: int, plaintext: Buffer, out: memoryview) -> int:
        """Seal `plaintext` into the start of `out` and return how many bytes that took.

        Takes `len(plaintext) + TAG_BYTES`; `out` must have room and not overlap `plaintext`.
        """
        assert 0 <= number < DIRECTORY_NUMBER, "the last number is the directory's"
        length = len(plaintext) + TAG_BYTES
        assert len(out) >= length, "the caller's buffer has room for the tag"
        return self._aead.encrypt_into(_NONCE.pack(number), plaintext, self._header, out[:length])

    def open_segment(self, number: int, sealed: Buffer) -> bytes:
        """Return the plaintext of segment `number`.

        Raises:
            SealBroken: It is not what was sealed under this number in this pack.
        """
        return self._open(number, sealed, part=f"segment {number}")

    def open_segment_into(self, number: int, sealed: Buffer, out: memoryview) -> None:
        """Write the plaintext of segment `number` into `out`: `TAG_BYTES` shorter than `sealed`.

        Raises:
            SealBroken: It is not what was sealed under this number in this pack; what `out` then
                holds has no meaning.
        """
        try:
            self._aead.decrypt_into(_NONCE.pack(number), sealed, self._header, out)
        except InvalidTag:
            raise SealBroken(self._name, part=f"segment {number}") from None

    def seal_directory(self, plaintext: Buffer) -> bytes:
        """Return the sealed directory, `TAG_BYTES` longer than `plaintext`."""
        return self._aead.encrypt(_NONCE.pack(DIRECTORY_NUMBER), plaintext, self._header)

    def open_directory(self, sealed: Buffer) -> bytes:
        """Return the plaintext of the directory.

        Raises:
            SealBroken: It is not what was sealed in this pack.
        """
        return self._open(DIRECTORY_NUMBER, sealed, part="the directory")

    def _open(self, number: int, sealed: Buffer, *, part: str) -> bytes:
        try:
            return self._aead.decrypt(_NONCE.pack(number), sealed, self._header)
        except InvalidTag:
            raise SealBroken(self._name, part=part) from None


def pack_cipher(
    subkey: Secret, *, salt: bytes, header: bytes, name: str = "the new pack"
) -> PackCipher:
    """Return the cipher of one pack.

    Args:
        subkey: The subkey `Purpose.SEGMENT` of the repository.
        salt: The 32 random bytes in the pack's header.
        header: The pack's whole header; authenticated with every segment.
        name: Used in errors only.
    """
    return PackCipher(derive(subkey, PACK, salt=salt), header=header, name=name)


@final
class IndexCipher:
    """Seals and opens the parts of one index file; may be used by many threads.

    A part's number is its nonce: each may be sealed once only.  A part opens under its own number
    in its own file, and nowhere else.
    """

    __slots__ = ("_aead", "_header", "_name")

    def __init__(self, key: Secret, *, header: bytes, name: str) -> None:
        self._aead = AESGCM(key.reveal())
        self._header = header
        self._name = name

    def seal_into(self, number: int, plaintext: Buffer, out: memoryview) -> None:
        """Seal a part into `out`, which is `TAG_BYTES` longer than `plaintext`."""
        self._aead.encrypt_into(_NONCE.pack(number), plaintext, self._header, out)

    def open(self, number: int, sealed: Buffer) -> bytes:
        """Return the plaintext of a part.

        Raises:
            SealBroken: It is not what was sealed under this number in this file.
        """
        try:
            return self._aead.decrypt(_NONCE.pack(number), sealed, self._header)
        except InvalidTag:
            raise SealBroken(self._name, part=f"part {number}") from None

    def open_into(self, number: int, sealed: Buffer, out: memoryview) -> None:
        """Write the plaintext of a part into `out`, which is `TAG_BYTES` shorter than `sealed`.

        Raises:
            SealBroken: It is not what was sealed under this number in this file.
        """
        try:
            self._aead.decrypt_into(_NONCE.pack(number), sealed, self._header, out)
        except InvalidTag:
            raise SealBroken(self._name, part=f"part {number}") from None


def index_cipher(
    subkey: Secret, *, salt: bytes, header: bytes, name: str = "the new index file"
) -> IndexCipher:
    """Return the cipher of one index file.

    Args:
        subkey: The subkey `Purpose.INDEX` of the repository.
        salt: The 32 random bytes in the file's header, of this file alone.
        header: The file's whole header; authenticated with every part.
        name: Used in errors only.
    """
    return IndexCipher(derive(subkey, INDEX_FILE, salt=salt), header=header, name=name)


def seal_once(
    subkey: Secret, purpose: str, *, salt: bytes, plaintext: Buffer, aad: Buffer
) -> bytes:
    """Return `plaintext` sealed under a key for this one object, `TAG_BYTES` longer.

    `salt` is 32 fresh random bytes, stored in clear in the object: the derived key seals one
    message only, ever.  `aad` is authenticated with it.
    """
    key = derive(subkey, purpose, salt=salt)
    return AESGCM(key.reveal()).encrypt(_NONCE.pack(0), plaintext, aad)


def open_once(
    subkey: Secret, purpose: str, *, salt: bytes, sealed: Buffer, aad: Buffer, name: str
) -> bytes:
    """Return what `seal_once` was given.

    Raises:
        SealBroken: Salt, sealed bytes or `aad` are not those of the sealing, or the key is
            another.
    """
    key = derive(subkey, purpose, salt=salt)
    try:
        return AESGCM(key.reveal()).decrypt(_NONCE.pack(0), sealed, aad)
    except InvalidTag:
        raise SealBroken(name, part=f"the {purpose}") from None


def derive(key: Secret, label: str, *, salt: bytes) -> Secret:
    """Return the 32-byte key for `label` and `salt`: HKDF-SHA256 (RFC 5869, keys-v1 §3)."""
    info = b"overland-v1/" + label.encode("ascii")
    kdf = HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=salt, info=info)
    return Secret(kdf.derive(key.reveal()))
