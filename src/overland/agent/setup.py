"""Making this computer a source computer: its keys, and its place in a vault."""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from overland.agent.connection import Connection
from overland.agent.home import AgentHome, Identity, Registration, VaultCredentials
from overland.agent.refusals import (
    ComputerHasKeys,
    ComputerNameInvalid,
    MasterKeyDamaged,
    OtherVault,
    VaultCredentialsExpired,
    VaultCredentialsInvalid,
)
from overland.crypto import registration
from overland.crypto.keyring import (
    Argon2Parameters,
    KeyringDocument,
    decode_keyring,
    encode_keyring,
    master_number,
)
from overland.crypto.keyringproof import opened
from overland.crypto.keys import MasterKey, new_keyring, signing_key
from overland.crypto.secrets import Secret
from overland.crypto.sign import public_key
from overland.errors import ObjectAbsent
from overland.format.stored import UNREADABLE
from overland.ports.http import Http
from overland.values import ObjectName, RepositoryId, keyring_name

__all__ = [
    "Keys",
    "initialise",
    "load_keys",
    "master_key_name",
    "newest_keyring",
    "parse_vault_credentials",
    "register",
]

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_KEY_BYTES: Final = 32


class Keys:
    """The keys of this source computer, opened; lives in memory only."""

    def __init__(self, master: MasterKey, signing: Secret, document: KeyringDocument) -> None:
        self.master, self.signing, self.document = master, signing, document


def initialise(
    home: AgentHome,
    *,
    computer_name: str,
    passphrase: str,
    random: Callable[[int], bytes],
    cost: Argon2Parameters | None = None,
) -> tuple[Identity, str]:
    """Make this computer's keys; return its identity and the recovery kit to print.

    The kit is returned once and stored nowhere.  The identity is written last: after a power cut
    the computer either has all its keys or `init` can be run again.

    Raises:
        RefusedError: The computer has keys already, or its name or the passphrase breaks a rule.
    """
    if home.is_initialised():
        known = home.identity()
        raise ComputerHasKeys(known.repository_id)
    if not _NAME.fullmatch(computer_name):
        raise ComputerNameInvalid(computer_name)
    repository_id = RepositoryId(str(UUID(bytes=random(16), version=4)))
    document, master, recovery_kit = new_keyring(
        passphrase, repository_id=repository_id, random=random, cost=cost
    )
    home.files.write(keyring_name(1), encode_keyring(document))
    home.files.write(master_key_name(0), master.secret.reveal())
    identity = Identity(
        computer_name=computer_name,
        repository_id=repository_id,
        signing_public_key=document.signing_public_key,
    )
    home.save_identity(identity)
    return identity, recovery_kit


def load_keys(home: AgentHome) -> Keys:
    """Return the keys that `initialise` stored, or the newest that came after them.

    The newest keyring says which master key counts, so that both change in one step.

    Raises:
        AgentNotInitialised: There are none.
        ObjectAbsent: The home folder has lost its keyrings or the master key.
        MasterKeyDamaged: The master key has a wrong length.
        KeyringCorrupt: They do not fit one another.
    """
    home.identity()
    _, document = newest_keyring(home)
    name = master_key_name(master_number(document))
    stored = home.files.read(name)
    if len(stored) != _KEY_BYTES:
        raise MasterKeyDamaged(name)
    master = opened(document, Secret(stored))
    return Keys(master, signing_key(document, master), document)


def master_key_name(number: int) -> str:
    """Return the name of the file that holds a master key in the home folder."""
    return f"master-{number:02d}.key" if number else "master.key"


def newest_keyring(home: AgentHome) -> tuple[ObjectName, KeyringDocument]:
    """Return the keyring's newest generation and its object name.

    Raises:
        ObjectAbsent: The home folder has none.
        KeyringCorrupt: It is damaged; an older one does not take its place.
    """
    names = [info.name for info in home.files.names("keys/")]
    if not names:
        raise ObjectAbsent("keys")
    return ObjectName(names[-1]), decode_keyring(home.files.read(names[-1]), name=names[-1])


def parse_vault_credentials(data: bytes, *, now: datetime) -> VaultCredentials:
    """Return what a vault credentials file says.

    Raises:
        RefusedError: It is no such file.
        NotAuthorised: It has expired; the message says where to get another.
    """
    try:
        credentials = msgspec.json.decode(data, type=VaultCredentials)
        expires_at = datetime.fromisoformat(credentials.expires_at)
        if expires_at.tzinfo is None:
            raise VaultCredentialsInvalid
    except (*UNREADABLE, ValueError):
        raise VaultCredentialsInvalid from None
    if expires_at <= now:
        raise VaultCredentialsExpired(credentials.expires_at)
    return credentials


def register(
    home: AgentHome, credentials: VaultCredentials, *, http: Http, signing: Secret | None = None
) -> Registration:
    """Register this computer with the vault that `credentials` name.

    `http` carries the credentials' token; the signing key proves whose request it is: `signing`, or
    the one that counts here.  Doing it again replaces the agent's token.

    Raises:
        RefusedError: The computer belongs to another vault, or the vault refuses it.
        ObjectAbsent, MasterKeyDamaged, KeyringCorrupt: As `load_keys`.
        Unreachable: The cloud does not answer; if it did its part, doing it again makes it good.
    """
    identity = home.identity()
    if home.is_registered() and home.registration().vault_id != credentials.vault_id:
        raise OtherVault(home.registration().vault_name)
    key = signing or load_keys(home).signing
    claim = registration.Claim(
        vault_id=credentials.vault_id,
        name=identity.computer_name,
        repository_id=identity.repository_id,
        signing_public_key=public_key(key).hex(),
        token_sha256=hashlib.sha256(credentials.registration_token.encode()).hexdigest(),
    )
    answer = Connection(http).register(
        name=claim.name,
        repository_id=claim.repository_id,
        signing_public_key=claim.signing_public_key,
        proof=registration.prove(claim, key),
    )
    made = Registration(
        url=credentials.url,
        object_url=credentials.object_url,
        ca_pem=credentials.ca_pem,
        vault_id=credentials.vault_id,
        vault_name=credentials.vault_name,
        source_computer_id=answer.source_computer_id,
        token=answer.token,
    )
    home.save_registration(made)
    return made
