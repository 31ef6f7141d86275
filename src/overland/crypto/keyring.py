"""The keyring: how a repository's master key lies wrapped in an object (`keys-v1.md` §2).

Holds no secret in clear.  What is wrapped, and the check over the whole, is `crypto.keys`' work;
this module is the file's layout and its bounds.
"""

import hashlib
import re
from typing import Annotated, Final, Literal

import msgspec

from overland.errors import ObjectCorrupt
from overland.values import RepositoryId, canonical_uuid

__all__ = [
    "KIND_PASSPHRASE",
    "KIND_RECOVERY_KIT",
    "MAX_FORMER",
    "MAX_KEYRING_BYTES",
    "NO_MAC",
    "Argon2Parameters",
    "Former",
    "FormerSigner",
    "KeyringCorrupt",
    "KeyringDocument",
    "Slot",
    "decode_keyring",
    "encode_keyring",
    "former_of",
    "former_signers_of",
    "generation_of",
    "master_number",
    "with_checksum",
    "without_macs",
]

MAX_KEYRING_BYTES: Final = 64 << 10
_NAME: Final = re.compile(r"keys/([0-9]{8})\.keyring")
MAX_FORMER: Final = 99  # §2.1
NO_MAC: Final = "0" * 64
KIND_PASSPHRASE: Final = "passphrase"  # noqa: S105 - a kind of slot, no secret
KIND_RECOVERY_KIT: Final = "recovery-kit"

_Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Generation = Annotated[int, msgspec.Meta(ge=2, le=99_999_999)]
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


class Former(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A former master key, sealed under the newest; and its MAC, by which it names the keyring."""

    salt: _Hex32
    sealed_master_key: _Hex48
    mac: _Hex32


class FormerSigner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A former signing key, and the SHA-256 of the key change that ended it."""

    public_key: _Hex32
    change_sha256: _Hex32


class KeyringDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A keyring's content; every hexadecimal text is lower case.

    `generation` is absent in the first one.  It is under the MAC, so that an older keyring cannot
    take the name of a newer one.  `former` has the master keys before the newest, the first first,
    and is absent where there are none; `former_signers` is the same of signing keys.  `sha256`
    tells damage from a wrong passphrase; the oldest keyrings are without it.
    """

    format: Literal[1]
    generation: _Generation | msgspec.UnsetType = msgspec.UNSET
    repository_id: RepositoryId
    slots: Annotated[list[Slot], msgspec.Meta(min_length=1, max_length=16)]
    signing_public_key: _Hex32
    signing_salt: _Hex32
    sealed_signing_key: _Hex48
    former: Annotated[list[Former], msgspec.Meta(min_length=1, max_length=MAX_FORMER)] | (
        msgspec.UnsetType
    ) = msgspec.UNSET
    former_signers: (
        Annotated[list[FormerSigner], msgspec.Meta(min_length=1, max_length=MAX_FORMER)]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    sha256: _Hex32 | msgspec.UnsetType = msgspec.UNSET
    mac: _Hex32


def encode_keyring(document: KeyringDocument) -> bytes:
    """Return the file: canonical JSON in one line, and a line feed."""
    return msgspec.json.encode(document) + b"\n"


def decode_keyring(data: bytes, *, name: str) -> KeyringDocument:
    """Return the content of a keyring file.  Its MAC is checked when it is opened.

    Args:
        data: The file.
        name: Used in errors; where it is an object's name, its generation must be the file's.

    Raises:
        KeyringCorrupt: It breaks a rule of `docs/format/keys-v1.md` §2.
    """
    if len(data) > MAX_KEYRING_BYTES:
        raise KeyringCorrupt(name, check="the keyring is too long")
    try:
        document = msgspec.json.decode(data, type=KeyringDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeyringCorrupt(name, check=f"not a keyring of format 1: {error}") from None
    if encode_keyring(document) != data:
        raise KeyringCorrupt(name, check="the keyring is not in canonical form")
    _check(document, name=name)
    return document


def generation_of(document: KeyringDocument) -> int:
    """Return which keyring of its repository this is, counted from 1."""
    return 1 if document.generation is msgspec.UNSET else document.generation


def former_of(document: KeyringDocument) -> list[Former]:
    """Return the former master keys of a keyring, the first first."""
    return [] if document.former is msgspec.UNSET else document.former


def former_signers_of(document: KeyringDocument) -> list[FormerSigner]:
    """Return the former signing keys of a keyring, the first first."""
    return [] if document.former_signers is msgspec.UNSET else document.former_signers


def master_number(document: KeyringDocument) -> int:
    """Return the number of a keyring's newest master key, counted from 0."""
    return len(former_of(document))


def without_macs(document: KeyringDocument) -> KeyringDocument:
    """Return a keyring in which every MAC is zeros."""
    bare = msgspec.structs.replace(document, mac=NO_MAC)
    if bare.former is msgspec.UNSET:
        return bare
    former = [msgspec.structs.replace(each, mac=NO_MAC) for each in bare.former]
    return msgspec.structs.replace(bare, former=former)


def with_checksum(document: KeyringDocument) -> KeyringDocument:
    """Return a keyring whose checksum is that of all else but its MACs (§2.8)."""
    bare = msgspec.structs.replace(without_macs(document), sha256=NO_MAC)
    digest = hashlib.sha256(msgspec.json.encode(bare)).hexdigest()
    return msgspec.structs.replace(document, sha256=digest)


def _check(document: KeyringDocument, *, name: str) -> None:
    named = _NAME.fullmatch(name)
    if named is not None and int(named[1]) != generation_of(document):
        raise KeyringCorrupt(name, check="it has the name of another generation")
    if document.sha256 not in {msgspec.UNSET, with_checksum(document).sha256}:
        raise KeyringCorrupt(name, check="its checksum does not hold")
    if not _is_canonical(document.repository_id):
        raise KeyringCorrupt(name, check="the repository id is not a canonical UUID")
    for slot in document.slots:
        if (slot.kind == KIND_PASSPHRASE) != (slot.argon2id is not None):
            raise KeyringCorrupt(name, check="Argon2id belongs to passphrase slots, and only there")

    signers = [each.public_key for each in former_signers_of(document)]
    if len(signers) > master_number(document):
        raise KeyringCorrupt(name, check="a signing key was changed and the master key was not")
    if len({*signers, document.signing_public_key}) <= len(signers):
        raise KeyringCorrupt(name, check="a signing key is there twice")


def _is_canonical(text: str) -> bool:
    try:
        return canonical_uuid(text) == text
    except ValueError:
        return False
