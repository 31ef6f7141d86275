"""The signing keys of a repository, and whose signature still counts (`keys-v1.md` §6.2).

A repository has one signing key, and after rotations former ones.  What the newest signed counts.
What a former one signed counts when the key change that ended it lists the file's SHA-256: a date
or an id proves nothing, because whoever stole a former key signs any.

Holds no secret: every reader uses it, the keyless ones too.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Final, Self, final

from overland.crypto.keyring import FormerSigner, KeyringDocument, former_signers_of
from overland.crypto.sign import Signable, verify
from overland.errors import KeyChangeMissing, SignatureInvalid, SigningKeyRetired
from overland.values import ObjectName, key_change_name

__all__ = ["KeyChangeMissing", "Signers", "SigningKeyRetired", "Vouched"]

Vouched = Callable[[int], Collection[bytes] | None]
"""Gives the SHA-256 of all files that the key change with a number lists; None: it is not here."""

_NEWEST: Final = 0


@final
class Signers:
    """Whose signatures count for one repository.

    Attributes:
        newest: The public key that signs now, 32 bytes.
        former: Those before, the first first; the first was ended by key change 1.
    """

    __slots__ = ("former", "newest")

    def __init__(self, newest: bytes, former: Sequence[FormerSigner] = ()) -> None:
        self.newest, self.former = newest, tuple(former)

    @classmethod
    def of(cls, document: KeyringDocument) -> Self:
        """Return those that a keyring names; its MAC is the caller's to have checked."""
        return cls(bytes.fromhex(document.signing_public_key), former_signers_of(document))

    def change_name(self, number: int) -> ObjectName:
        """Return the object that tells what of former key `number`, counted from 1, counts."""
        return key_change_name(number, self.former[number - 1].change_sha256)

    def successor(self, number: int) -> bytes:
        """Return the public key that came after former key `number`."""
        if number == len(self.former):
            return self.newest
        return bytes.fromhex(self.former[number].public_key)

    def prove(
        self,
        purpose: str,
        signed: Signable,
        signature: bytes,
        *,
        file: bytes | memoryview,
        name: str,
        vouched: Vouched,
        claimed: bytes | None = None,
    ) -> None:
        """Return when a document counts: see the module.

        Args:
            purpose: Of the signature.
            signed: What is signed.
            signature: 64 bytes.
            file: The whole file, whose SHA-256 a key change may list.
            name: Used in errors.
            vouched: Asked only for the one former key that signed it.
            claimed: The public key that the document names, where it names one.

        Raises:
            SigningKeyRetired: A former key signed it, and its key change does not list the file.
            KeyChangeMissing: A former key signed it, and `vouched` has no such key change.
            SignatureInvalid: No key of the repository signed it.
        """
        number = self._signer(purpose, signed, signature, claimed)
        if number is None:
            raise SignatureInvalid(name)
        if number == _NEWEST:
            return
        digests = vouched(number)
        if digests is None:
            raise KeyChangeMissing(name, change=self.change_name(number))
        if hashlib.sha256(file).digest() not in digests:
            raise SigningKeyRetired(name, change=number)

    def _signer(
        self, purpose: str, signed: Signable, signature: bytes, claimed: bytes | None
    ) -> int | None:
        former = enumerate((bytes.fromhex(each.public_key) for each in self.former), start=1)
        for number, public in [(_NEWEST, self.newest), *reversed([*former])]:
            if claimed not in {None, public}:
                continue
            try:
                verify(public, purpose, signed, signature)
            except SignatureInvalid:
                continue
            return number
        return None
