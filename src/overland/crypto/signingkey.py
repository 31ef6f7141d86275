"""The private signing key, sealed in the keyring (`keys-v1.md` §2.3)."""

from typing import Final

from overland.crypto.aead import SealBroken, open_once, seal_once
from overland.crypto.keyring import NO_MAC, KeyringCorrupt, KeyringDocument, Slot
from overland.crypto.masterkey import MasterKey, Purpose
from overland.crypto.secrets import Secret
from overland.crypto.sign import public_key
from overland.crypto.slots import Random, additional_data
from overland.values import RepositoryId

__all__ = ["sealed_keyring", "signing_key"]

_SALT_BYTES: Final = 32
_SIGNING_WRAP: Final = "signing-key"


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
            aad=additional_data(document.repository_id, _SIGNING_WRAP),
            name="the keyring",
        )
    except SealBroken:
        raise KeyringCorrupt("the keyring", check="the signing key does not open") from None
    private = Secret(seed)
    if public_key(private).hex() != document.signing_public_key:
        raise KeyringCorrupt("the keyring", check="the signing keys are not a pair")
    return private


def sealed_keyring(
    slots: list[Slot],
    private: Secret,
    master: MasterKey,
    repository_id: RepositoryId,
    random: Random,
) -> KeyringDocument:
    """Return a keyring with these slots and this signing key; its MACs are yet to be made."""
    salt = random(_SALT_BYTES)
    sealed = seal_once(
        master.subkey(Purpose.SIGNING_WRAP),
        _SIGNING_WRAP,
        salt=salt,
        plaintext=private.reveal(),
        aad=additional_data(repository_id, _SIGNING_WRAP),
    )
    return KeyringDocument(
        format=1,
        repository_id=repository_id,
        slots=slots,
        signing_public_key=public_key(private).hex(),
        signing_salt=salt.hex(),
        sealed_signing_key=sealed.hex(),
        mac=NO_MAC,
    )
