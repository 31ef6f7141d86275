"""A keyring's slots: the master key, wrapped by what opens it (`keys-v1.md` §2.2)."""

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from overland.crypto.aead import derive
from overland.crypto.keyring import (
    KIND_PASSPHRASE,
    KIND_RECOVERY_KIT,
    Argon2Parameters,
    KeyringDocument,
    Slot,
    master_number,
)
from overland.crypto.masterkey import MasterKey
from overland.crypto.secrets import Secret
from overland.errors import RefusedError
from overland.values import RepositoryId

__all__ = [
    "MIN_PASSPHRASE_CHARACTERS",
    "PassphraseTooShort",
    "Random",
    "additional_data",
    "check_length",
    "kit_slot",
    "passphrase_slot",
    "stretch",
    "unwrap",
]

MIN_PASSPHRASE_CHARACTERS: Final = 16
_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 32
_NONCE: Final = bytes(12)  # §2.2: every wrapping key wraps one key only

Random = Callable[[int], bytes]


class PassphraseTooShort(RefusedError):
    """A passphrase has fewer than 16 characters."""

    code = "passphrase-too-short"

    def __init__(self, *, characters: int) -> None:
        super().__init__(
            f"the passphrase has {characters} characters; "
            f"choose one with at least {MIN_PASSPHRASE_CHARACTERS}"
        )
        self.characters = characters


def check_length(passphrase: str) -> None:
    """Return if the passphrase is long enough to be set.

    Raises:
        PassphraseTooShort: It is not.
    """
    if len(passphrase) < MIN_PASSPHRASE_CHARACTERS:
        raise PassphraseTooShort(characters=len(passphrase))


def passphrase_slot(
    passphrase: str,
    master: MasterKey,
    repository_id: RepositoryId,
    random: Random,
    cost: Argon2Parameters,
) -> Slot:
    """Return a slot that opens with a passphrase, with a fresh salt."""
    salt = random(_SALT_BYTES)
    wrapping = stretch(passphrase, salt, cost)
    return Slot(
        kind="passphrase",
        salt=salt.hex(),
        argon2id=cost,
        wrapped_master_key=_wrap(wrapping, master, repository_id, KIND_PASSPHRASE),
    )


def kit_slot(
    kit_key: Secret, master: MasterKey, repository_id: RepositoryId, random: Random
) -> Slot:
    """Return a slot that opens with a recovery kit's key, with a fresh salt."""
    salt = random(_SALT_BYTES)
    wrapping = derive(kit_key, KIND_RECOVERY_KIT, salt=salt)
    return Slot(
        kind="recovery-kit",
        salt=salt.hex(),
        argon2id=None,
        wrapped_master_key=_wrap(wrapping, master, repository_id, KIND_RECOVERY_KIT),
    )


def _wrap(wrapping: Secret, master: MasterKey, repository_id: RepositoryId, kind: str) -> str:
    aad = _slot_data(repository_id, kind, master.number)
    return AESGCM(wrapping.reveal()).encrypt(_NONCE, master.secret.reveal(), aad).hex()


def unwrap(wrapping: Secret, slot: Slot, document: KeyringDocument) -> Secret | None:
    """Return the master key in a slot of a keyring, or None where this is not what opens it."""
    try:
        secret = AESGCM(wrapping.reveal()).decrypt(
            _NONCE,
            bytes.fromhex(slot.wrapped_master_key),
            _slot_data(document.repository_id, slot.kind, master_number(document)),
        )
    except InvalidTag:
        return None
    return Secret(secret)


def stretch(passphrase: str, salt: bytes, cost: Argon2Parameters) -> Secret:
    """Return the wrapping key of a passphrase: Argon2id 1.3 over its NFKC form (§2.2)."""
    # Backups have no passphrase, and do without what stretches one.
    import unicodedata  # noqa: PLC0415 - as said above

    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id  # noqa: PLC0415 - as said above

    kdf = Argon2id(
        salt=salt,
        length=_KEY_BYTES,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
    return Secret(kdf.derive(unicodedata.normalize("NFKC", passphrase).encode()))


def additional_data(repository_id: RepositoryId, kind: str) -> bytes:
    """Return what is authenticated with a wrapped key: whose it is, and of which kind (§2.2)."""
    return f"overland-keyring-v1\0{repository_id}\0{kind}".encode()


def _slot_data(repository_id: RepositoryId, kind: str, number: int) -> bytes:
    """§2.2: a slot of one master key opens in no keyring of a later one."""
    return additional_data(repository_id, f"{kind}/{number}" if number else kind)
