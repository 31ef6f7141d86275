"""A change of the signing key that is under way, as it is kept in the home folder.

The file comes into being before anything leaves this computer, and is removed when the new keyring
is in the vault.  Whatever is made again meanwhile, the new key in it stays the same one, so that a
request that was lost on the way and arrives late cannot make a key count that nobody has.
"""

import hashlib
from typing import Literal

import msgspec

from overland.agent.home import SIGNING_CHANGE, AgentHome
from overland.agent.setup import master_key_name
from overland.crypto.keyring import KeyringDocument, former_signers_of, master_number
from overland.crypto.keyringproof import opened, revouched
from overland.crypto.masterkey import MasterKey
from overland.crypto.secrets import Secret
from overland.crypto.signingkey import signing_key
from overland.errors import ObjectAbsent
from overland.format.stored import decode_stored
from overland.values import ObjectName, key_change_name

__all__ = ["SigningChange", "discard", "find", "save"]


class SigningChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keyring that will count, but for its number, and the key change that leads to it.

    `change` is empty until the first list is made.  What is secret in the keyring is sealed.
    """

    format: Literal[1] = 1
    keyring: KeyringDocument
    change: bytes = b""

    @property
    def number(self) -> int:
        """Which key change it is, counted from 1."""
        return len(former_signers_of(self.keyring))

    @property
    def old_public_key(self) -> str:
        """The key that ends."""
        return former_signers_of(self.keyring)[-1].public_key

    @property
    def new_public_key(self) -> str:
        """The key that comes."""
        return self.keyring.signing_public_key

    @property
    def sha256(self) -> str:
        """The digest of the key change that the keyring names."""
        return former_signers_of(self.keyring)[-1].change_sha256

    @property
    def name(self) -> ObjectName:
        """The key change's object."""
        return key_change_name(self.number, self.sha256)

    def master(self, home: AgentHome) -> MasterKey:
        """Return the new master key, which lies in the home folder beside it."""
        secret = home.files.read(master_key_name(master_number(self.keyring)))
        return opened(self.keyring, Secret(secret))

    def private_key(self, home: AgentHome) -> Secret:
        """Return the new private key."""
        return signing_key(self.keyring, self.master(home))

    def with_change(self, data: bytes, home: AgentHome) -> "SigningChange":
        """Return the same change of keys, with its list made again."""
        digest = hashlib.sha256(data).hexdigest()
        keyring = revouched(self.keyring, self.master(home), change_sha256=digest)
        return SigningChange(keyring=keyring, change=data)


def find(home: AgentHome) -> SigningChange | None:
    """Return the change that is under way, or None.

    Raises:
        RecordDamaged: The file is not what was written.
    """
    try:
        data = home.files.read(SIGNING_CHANGE)
    except ObjectAbsent:
        return None
    return decode_stored(data, SigningChange, name=SIGNING_CHANGE)


def save(home: AgentHome, change: SigningChange) -> None:
    """Keep it, durably, in place of an earlier form of it."""
    home.files.write(SIGNING_CHANGE, msgspec.json.encode(change) + b"\n")


def discard(home: AgentHome) -> None:
    """Remove it; again does nothing."""
    home.files.delete(SIGNING_CHANGE)
