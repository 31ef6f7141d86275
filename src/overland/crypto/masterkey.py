"""The master keys of a repository, and the subkeys that everything is sealed under.

A repository has one master key, and after rotations several: the *former* ones open what was
sealed before, the newest seals.  Each has a number, 0 for the first, and what is sealed names the
number in the clear (`keys-v1.md` §2.7).
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, final

from overland.crypto.aead import derive
from overland.crypto.keyring import MAX_FORMER
from overland.crypto.secrets import Secret
from overland.errors import IntegrityError

__all__ = ["MasterKey", "MasterKeyUnknown", "Purpose", "Subkeys"]


class Purpose(StrEnum):
    """What a subkey is for; the values are the labels of `docs/format/keys-v1.md` §3."""

    CHUNK_ID = "chunk-id"
    SEGMENT = "segment"
    INDEX = "index"
    POINT = "point"
    CHUNKER = "chunker"
    KEYRING_MAC = "keyring-mac"
    SIGNING_WRAP = "signing-wrap"
    FORMER_WRAP = "former-wrap"
    KEYRING_SUCCESSOR = "keyring-successor"


_OF_THE_FIRST: Final = frozenset({Purpose.CHUNK_ID, Purpose.CHUNKER})


class MasterKeyUnknown(IntegrityError):
    """Something names a master key that the opened keyring does not hold."""

    code = "master-key-unknown"

    def __init__(self, name: str, *, number: int, newest: int) -> None:
        super().__init__(
            f"{name} is sealed under master key {number}, and the keyring that was opened holds "
            f"those up to {newest}: the file is damaged, or the newest keyring is not here; add a "
            "place that has it, and use the newest passphrase or recovery kit"
        )
        self.name, self.number, self.newest = name, number, newest


@final
class Subkeys:
    """The subkeys for one purpose, of every master key of a repository."""

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Sequence[Secret]) -> None:
        """Take them in the order of the master keys, the first first; at least one."""
        assert 1 <= len(secrets) <= MAX_FORMER + 1, "there is a newest"
        self._secrets = tuple(secrets)

    @property
    def number(self) -> int:
        """The number of the newest master key, which all that is new is sealed under."""
        return len(self._secrets) - 1

    @property
    def newest(self) -> Secret:
        """The subkey that all that is new is sealed under."""
        return self._secrets[-1]

    def of(self, number: int, *, name: str) -> Secret:
        """Return the subkey of the master key with a number.

        Raises:
            MasterKeyUnknown: `name`, which is about to be opened, names a later master key.
        """
        if not 0 <= number < len(self._secrets):
            raise MasterKeyUnknown(name, number=number, newest=self.number)
        return self._secrets[number]


@final
class MasterKey:
    """The 32 random bytes that the other keys of a repository come from, and those before them.

    Attributes:
        secret: The newest.
        former: The others, the first first; they only open.
    """

    __slots__ = ("former", "secret")

    def __init__(self, secret: Secret, former: Sequence[Secret] = ()) -> None:
        self.secret, self.former = secret, tuple(former)

    @property
    def number(self) -> int:
        """Which master key of its repository this is, counted from 0."""
        return len(self.former)

    def subkey(self, purpose: Purpose) -> Secret:
        """Return the 32-byte key for one purpose; different purposes tell nothing of each other.

        Chunk ids and cuts stay those of the first master key, so that what is stored is found
        again; everything else is of the newest.
        """
        first = self.former[0] if self.former else self.secret
        return derive(first if purpose in _OF_THE_FIRST else self.secret, purpose, salt=b"")

    def subkeys(self, purpose: Purpose) -> Subkeys:
        """Return the keys for one purpose of sealing, of every master key."""
        assert purpose not in _OF_THE_FIRST, "there is only one of these"
        return Subkeys([derive(key, purpose, salt=b"") for key in (*self.former, self.secret)])
