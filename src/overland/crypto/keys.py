"""From a passphrase or a recovery kit to the master key and its subkeys (`keys-v1.md`)."""

import hmac
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from overland.crypto.aead import SealBroken, derive, open_once, seal_once
from overland.crypto.keyring import (
    KIND_PASSPHRASE,
    KIND_RECOVERY_KIT,
    Argon2Parameters,
    KeyringCorrupt,
    KeyringDocument,
    Slot,
)
from overland.crypto.recovery_kit import KIT_KEY_BYTES, format_kit, parse_kit
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key, public_key
from overland.errors import RefusedError
from overland.values import RepositoryId

__all__ = [
    "MIN_PASSPHRASE_CHARACTERS",
    "MasterKey",
    "PassphraseTooShort",
    "PassphraseWrong",
    "Purpose",
    "RecoveryKitWrong",
    "new_keyring",
    "open_with_passphrase",
    "open_with_recovery_kit",
    "signing_key",
    "with_passphrase",
]

MIN_PASSPHRASE_CHARACTERS: Final = 16
_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 32
_SIGNING_WRAP: Final = "signing-key"
_NO_MAC: Final = "0" * 64
_NONCE: Final = bytes(12)  # §2.3: every wrapping key wraps one key only

Random = Callable[[int], bytes]


class Purpose(StrEnum):
    """What a subkey is for; the values are the labels of `docs/format/keys-v1.md` §3."""

    CHUNK_ID = "chunk-id"
    SEGMENT = "segment"
    INDEX = "index"
    POINT = "point"
    CHUNKER = "chunker"
    KEYRING_MAC = "keyring-mac"
    SIGNING_WRAP = "signing-wrap"


class PassphraseTooShort(RefusedError):
    """A passphrase has fewer than 16 characters."""

    code = "passphrase-too-short"

    def __init__(self, *, characters: int) -> None:
        super().__init__(
            f"the passphrase has {characters} characters; "
            f"choose one with at least {MIN_PASSPHRASE_CHARACTERS}"
        )
        self.characters = characters


class PassphraseWrong(RefusedError):
    """No slot of the keyring opens with this passphrase."""

    code = "passphrase-wrong"

    def __init__(self, repository_id: RepositoryId) -> None:
        super().__init__(
            f"this is not the passphrase of repository {repository_id}; "
            "type it again, or open it with the recovery kit"
        )
        self.repository_id = repository_id


class RecoveryKitWrong(RefusedError):
    """The kit is well typed, and belongs to another repository or to a withdrawn slot."""

    code = "recovery-kit-wrong"

    def __init__(self, repository_id: RepositoryId, *, kit_of: RepositoryId) -> None:
        super().__init__(
            f"the recovery kit is for repository {kit_of} and does not open {repository_id}; "
            "take the kit that names this repository"
        )
        self.repository_id, self.kit_of = repository_id, kit_of


@dataclass(frozen=True, slots=True, eq=False)
class MasterKey:
    """The 32 random bytes that every other key of a repository comes from."""

    secret: Secret

    def subkey(self, purpose: Purpose) -> Secret:
        """Return the 32-byte key for one purpose; different purposes tell nothing of each other."""
        return derive(self.secret, purpose, salt=b"")


def new_keyring(
    passphrase: str,
    *,
    repository_id: RepositoryId,
    random: Random,
    cost: Argon2Parameters | None = None,
) -> tuple[KeyringDocument, MasterKey, str]:
    """Make a master key, a signing key, and slots for the passphrase and a recovery kit.

    Returns the keyring, the master key, and the recovery kit, which is shown once, to be
    printed, and kept nowhere.

    Args:
        passphrase: At least 16 characters; compared after Unicode normalisation NFKC.
        repository_id: The repository that the keys belong to.
        random: Returns so many cryptographically random bytes.
        cost: Argon2id's cost; None for 64 MiB, 3 passes, 4 lanes.

    Raises:
        PassphraseTooShort: Nothing was made.
    """
    _check_length(passphrase)
    master = MasterKey(Secret(random(_KEY_BYTES)))
    kit_key = Secret(random(KIT_KEY_BYTES))
    private = generate_signing_key(random)
    slots = [
        _passphrase_slot(passphrase, master, repository_id, random, cost or Argon2Parameters()),
        _kit_slot(kit_key, master, repository_id, random),
    ]
    document = _sealed(slots, private, master, repository_id, random)
    return document, master, format_kit(repository_id, kit_key)


def with_passphrase(
    document: KeyringDocument,
    master: MasterKey,
    passphrase: str,
    *,
    random: Random,
    cost: Argon2Parameters | None = None,
) -> KeyringDocument:
    """Return the next generation of a keyring, that opens with `passphrase` instead of the old.

    The recovery kit keeps working.  The master key stays: whoever kept the old keyring and knows
    the old passphrase still has it.

    Raises:
        PassphraseTooShort: Nothing was made.
    """
    _check_length(passphrase)
    repository_id = document.repository_id
    slot = _passphrase_slot(passphrase, master, repository_id, random, cost or Argon2Parameters())
    kept = [slot for slot in document.slots if slot.kind != KIND_PASSPHRASE]
    return _with_mac(msgspec.structs.replace(document, slots=[slot, *kept]), master)


def open_with_passphrase(document: KeyringDocument, passphrase: str) -> MasterKey:
    """Return the master key.

    Raises:
        PassphraseWrong: No slot opens with it.
        KeyringCorrupt: A slot opened, and the keyring's check does not hold: it was changed.
    """
    for slot in document.slots:
        if slot.argon2id is not None:
            wrapping = _stretch(passphrase, bytes.fromhex(slot.salt), slot.argon2id)
            master = _unwrap(wrapping, slot, document.repository_id)
            if master is not None:
                return _checked(document, master)
    raise PassphraseWrong(document.repository_id)


def open_with_recovery_kit(document: KeyringDocument, kit: str) -> MasterKey:
    """Return the master key.

    Raises:
        RecoveryKitMistyped: The kit's own checksum does not hold.
        RecoveryKitWrong: The kit is another repository's, or its slot is gone.
        KeyringCorrupt: A slot opened, and the keyring's check does not hold: it was changed.
    """
    kit_of, key = parse_kit(kit)
    for slot in document.slots:
        if slot.kind == KIND_RECOVERY_KIT and kit_of == document.repository_id:
            wrapping = derive(key, KIND_RECOVERY_KIT, salt=bytes.fromhex(slot.salt))
            master = _unwrap(wrapping, slot, document.repository_id)
            if master is not None:
                return _checked(document, master)
    raise RecoveryKitWrong(document.repository_id, kit_of=kit_of)


def signing_key(document: KeyringDocument, master: MasterKey) -> Secret:
    """Return the private signing key that the keyring holds sealed.

    Raises:
        KeyringCorrupt: It does not open, or is not the one of the public key beside it.
    """
    try:
        seed = open_once(
            master.subkey(Purpose.SIGNING_WRAP),
            _SIGNING_WRAP,
            salt=bytes.fromhex(document.signing_salt),
            sealed=bytes.fromhex(document.sealed_signing_key),
            aad=_aad(document.repository_id, _SIGNING_WRAP),
            name="the keyring",
        )
    except SealBroken:
        raise KeyringCorrupt("the keyring", check="the signing key does not open") from None
    private = Secret(seed)
    if public_key(private).hex() != document.signing_public_key:
        raise KeyringCorrupt("the keyring", check="the signing keys are not a pair")
    return private


def _check_length(passphrase: str) -> None:
    if len(passphrase) < MIN_PASSPHRASE_CHARACTERS:
        raise PassphraseTooShort(characters=len(passphrase))


def _passphrase_slot(
    passphrase: str,
    master: MasterKey,
    repository_id: RepositoryId,
    random: Random,
    cost: Argon2Parameters,
) -> Slot:
    salt = random(_SALT_BYTES)
    wrapping = _stretch(passphrase, salt, cost)
    return Slot(
        kind="passphrase",
        salt=salt.hex(),
        argon2id=cost,
        wrapped_master_key=_wrap(wrapping, master, _aad(repository_id, KIND_PASSPHRASE)),
    )


def _kit_slot(
    kit_key: Secret, master: MasterKey, repository_id: RepositoryId, random: Random
) -> Slot:
    salt = random(_SALT_BYTES)
    wrapping = derive(kit_key, KIND_RECOVERY_KIT, salt=salt)
    return Slot(
        kind="recovery-kit",
        salt=salt.hex(),
        argon2id=None,
        wrapped_master_key=_wrap(wrapping, master, _aad(repository_id, KIND_RECOVERY_KIT)),
    )


def _wrap(wrapping: Secret, master: MasterKey, aad: bytes) -> str:
    return AESGCM(wrapping.reveal()).encrypt(_NONCE, master.secret.reveal(), aad).hex()


def _unwrap(wrapping: Secret, slot: Slot, repository_id: RepositoryId) -> MasterKey | None:
    try:
        secret = AESGCM(wrapping.reveal()).decrypt(
            _NONCE, bytes.fromhex(slot.wrapped_master_key), _aad(repository_id, slot.kind)
        )
    except InvalidTag:
        return None
    return MasterKey(Secret(secret))


def _stretch(passphrase: str, salt: bytes, cost: Argon2Parameters) -> Secret:
    kdf = Argon2id(
        salt=salt,
        length=_KEY_BYTES,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
    return Secret(kdf.derive(unicodedata.normalize("NFKC", passphrase).encode()))


def _sealed(
    slots: list[Slot],
    private: Secret,
    master: MasterKey,
    repository_id: RepositoryId,
    random: Random,
) -> KeyringDocument:
    salt = random(_SALT_BYTES)
    sealed = seal_once(
        master.subkey(Purpose.SIGNING_WRAP),
        _SIGNING_WRAP,
        salt=salt,
        plaintext=private.reveal(),
        aad=_aad(repository_id, _SIGNING_WRAP),
    )
    document = KeyringDocument(
        format=1,
        repository_id=repository_id,
        slots=slots,
        signing_public_key=public_key(private).hex(),
        signing_salt=salt.hex(),
        sealed_signing_key=sealed.hex(),
        mac=_NO_MAC,
    )
    return _with_mac(document, master)


def _with_mac(document: KeyringDocument, master: MasterKey) -> KeyringDocument:
    return msgspec.structs.replace(document, mac=_mac(document, master))


def _checked(document: KeyringDocument, master: MasterKey) -> MasterKey:
    if not hmac.compare_digest(_mac(document, master), document.mac):
        raise KeyringCorrupt("the keyring", check="its MAC does not hold")
    return master


def _mac(document: KeyringDocument, master: MasterKey) -> str:
    """Authenticate the canonical JSON in which the MAC itself is 64 zeros (§2.5)."""
    plain = msgspec.json.encode(msgspec.structs.replace(document, mac=_NO_MAC))
    return hmac.digest(master.subkey(Purpose.KEYRING_MAC).reveal(), plain, "sha256").hex()


def _aad(repository_id: RepositoryId, kind: str) -> bytes:
    return f"overland-keyring-v1\0{repository_id}\0{kind}".encode()
