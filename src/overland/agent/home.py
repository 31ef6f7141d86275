"""The agent's home folder: who this source computer is, and its keys.

The folder holds the master key and the signing key of this computer, so that scheduled runs need
nobody to type the passphrase; the composition makes the folder readable by its owner only.
Restoring elsewhere needs the passphrase or the recovery kit, never this folder.
"""

from typing import Final, Literal

import msgspec
from typing_extensions import override

from overland.errors import ObjectAbsent, RefusedError
from overland.format.stored import decode_stored
from overland.ports.files import Files

__all__ = [
    "SIGNING_CHANGE",
    "AgentHome",
    "AgentNotInitialised",
    "AgentNotRegistered",
    "Identity",
    "Registration",
    "VaultCredentials",
]

SIGNING_CHANGE: Final = "signing-change"
"""A change of the signing key that was begun and is not finished (`agent.signingchange`)."""

_IDENTITY: Final = "agent.json"
_REGISTRATION: Final = "registration.json"


class AgentNotInitialised(RefusedError):
    """The agent has no keys yet."""

    code = "agent-not-initialised"

    def __init__(self) -> None:
        super().__init__("this computer has no keys yet; run `overland agent init` first")


class AgentNotRegistered(RefusedError):
    """The agent belongs to no vault yet."""

    code = "agent-not-registered"

    def __init__(self) -> None:
        super().__init__(
            "this computer is not registered; download vault credentials and run "
            "`overland agent register --vault-credentials FILE`"
        )


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this source computer is.  Holds no secret."""

    format: Literal[1] = 1
    computer_name: str
    repository_id: str
    signing_public_key: str


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The vault this computer belongs to, and its token there (a secret)."""

    format: Literal[1] = 1
    url: str
    object_url: str
    ca_pem: str
    vault_id: str
    vault_name: str
    source_computer_id: str
    token: str

    @override
    def __repr__(self) -> str:
        """Name the vault, and keep the token out of logs and tracebacks."""
        return f"Registration(vault={self.vault_name!r}, token=…)"


class VaultCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """The vault credentials file, as the cloud wrote it; newer clouds may add fields."""

    format: Literal[1]
    url: str
    object_url: str
    ca_pem: str
    vault_id: str
    vault_name: str
    registration_token: str
    expires_at: str

    @override
    def __repr__(self) -> str:
        """Name the vault, and keep the token out of logs and tracebacks."""
        return f"VaultCredentials(vault={self.vault_name!r}, token=…)"


class AgentHome:
    """The stored identity, registration and keys of one source computer."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def is_initialised(self) -> bool:
        """Return whether `init` was completed."""
        return self._has(_IDENTITY)

    def is_registered(self) -> bool:
        """Return whether the computer belongs to a vault."""
        return self._has(_REGISTRATION)

    def is_signing_key_changing(self) -> bool:
        """Return whether a change of the signing key was begun and is not finished."""
        return self._has(SIGNING_CHANGE)

    def identity(self) -> Identity:
        """Return who this computer is.

        Raises:
            AgentNotInitialised: `overland agent init` was not run yet.
            RecordDamaged: The file is not what `init` wrote.
        """
        try:
            return decode_stored(self.files.read(_IDENTITY), Identity, name=_IDENTITY)
        except ObjectAbsent:
            raise AgentNotInitialised from None

    def save_identity(self, identity: Identity) -> None:
        """Store the identity; the last step of `init`, after the keys are durable."""
        self.files.write(_IDENTITY, msgspec.json.format(msgspec.json.encode(identity)) + b"\n")

    def registration(self) -> Registration:
        """Return the vault that this computer belongs to.

        Raises:
            AgentNotRegistered: `overland agent register` was not run yet.
            RecordDamaged: The file is not what `register` wrote.
        """
        try:
            return decode_stored(self.files.read(_REGISTRATION), Registration, name=_REGISTRATION)
        except ObjectAbsent:
            raise AgentNotRegistered from None

    def save_registration(self, registration: Registration) -> None:
        """Store the registration durably, replacing an earlier one."""
        self.files.write(
            _REGISTRATION, msgspec.json.format(msgspec.json.encode(registration)) + b"\n"
        )

    def _has(self, name: str) -> bool:
        try:
            self.files.size_bytes(name)
        except ObjectAbsent:
            return False
        return True
