"""The keyring: how a repository's master key lies wrapped in an object (`keys-v1.md` §2).

Holds no secret in clear.  What is wrapped, and the check over the whole, is `crypto.keys`' work;
this module is the file's layout and its bounds.
"""

from typing import Annotated, Final, Literal

import msgspec

from overland.errors import ObjectCorrupt
from overland.values import RepositoryId, canonical_uuid

__all__ = [
    "KIND_PASSPHRASE",
    "KIND_RECOVERY_KIT",
    "MAX_KEYRING_BYTES",
    "Argon2Parameters",
    "KeyringCorrupt",
    "KeyringDocument",
    "Slot",
    "decode_keyring",
    "encode_keyring",
]

MAX_KEYRING_BYTES: Final = 64 << 10
KIND_PASSPHRASE: Final = "passphrase"  # noqa: S105 - a kind of slot, no secret
KIND_RECOVERY_KIT: Final = "recovery-kit"

_Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Hex48 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{96}\Z")]


class KeyringCorrupt(ObjectCorrupt):
    """A keyring breaks a rule of `docs/format/keys-v1.md` §2."""

    code = "keyring-corrupt"


class Argon2Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cost of trying one passphrase.  Bounded: a hostile keyring must not eat the machine."""

    memory_kib: Annotated[int, msgspec.Meta(ge=32, le=1 << 20)] = 64 << 10
    iterations: Annotated[int, msgspec.Meta(ge=1, le=16)] = 3
    lanes: Annotated[int, msgspec.Meta(ge=1, le=4)] = 4


class Slot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to the master key: a salt, and the master key sealed under what it opens with."""

    kind: Literal["passphrase", "recovery-kit"]
    salt: _Hex32
    argon2id: Argon2Parameters | None
    wrapped_master_key: _Hex48


class KeyringDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A keyring's content; every hexadecimal text is lower case."""

    format: Literal[1]
    repository_id: RepositoryId
    slots: Annotated[list[Slot], msgspec.Meta(min_length=1, max_length=16)]
    signing_public_key: _Hex32
    signing_salt: _Hex32
    sealed_signing_key: _Hex48
    mac: _Hex32


def encode_keyring(document: KeyringDocument) -> bytes:
    """Return the file: canonical JSON in one line, and a line feed."""
    return msgspec.json.encode(document) + b"\n"


def decode_keyring(data: bytes, *, name: str) -> KeyringDocument:
    """Return the content of a keyring file.  Its MAC is checked when it is opened.

    Raises:
        KeyringCorrupt: It breaks a rule of `docs/format/keys-v1.md` §2.
    """
    if len(data) > MAX_KEYRING_BYTES:
        raise KeyringCorrupt(name, check="the keyring is too long")
    try:
        document = msgspec.json.decode(data, type=KeyringDocument)
    except (msgspec.DecodeError, RecursionError) as error:
        raise KeyringCorrupt(name, check=f"not a keyring of format 1: {error}") from None
    if encode_keyring(document) != data:
        raise KeyringCorrupt(name, check="the keyring is not in canonical form")
    _check(document, name=name)
    return document


def _check(document: KeyringDocument, *, name: str) -> None:
    if not _is_canonical(document.repository_id):
        raise KeyringCorrupt(name, check="the repository id is not a canonical UUID")
    for slot in document.slots:
        if (slot.kind == KIND_PASSPHRASE) != (slot.argon2id is not None):
            raise KeyringCorrupt(name, check="Argon2id belongs to passphrase slots, and only there")


def _is_canonical(text: str) -> bool:
    try:
        return canonical_uuid(text) == text
    except ValueError:
        return False
