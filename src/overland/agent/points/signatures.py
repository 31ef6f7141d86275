"""Whose signature proves a recovery point or a replacement, with the lists of key changes.

The keyring names the signing keys; what a former one signed counts where its key change says so
(`docs/format/keys-v1.md` §6.2).  A key change is believed by its SHA-256, which the keyring has, so
that any copy serves, and one that was read once is kept.
"""

from collections.abc import Sequence
from typing import Protocol, Self, final

from overland.crypto.keyring import KeyringDocument
from overland.crypto.sign import Signable
from overland.crypto.signers import Signers
from overland.errors import IntegrityError, NotAuthorised, ObjectAbsent, TransientError
from overland.values import ObjectName, RepositoryId

__all__ = ["KeyChangePlace", "Signatures", "Signers"]


class KeyChangePlace(Protocol):
    """What may have a key change; `Files`, `Objects` and `LayeredObjects` are some."""

    def read(self, name: str) -> bytes:
        """Return a whole object.

        Raises:
            ObjectAbsent: There is no such object.
        """
        ...


@final
class Signatures:
    """Proves documents of one repository.  Safe to use from several threads."""

    def __init__(
        self,
        repository_id: RepositoryId,
        signers: Signers,
        *,
        at_hand: Sequence[KeyChangePlace] = (),
    ) -> None:
        """Take whose signatures count, from a keyring that is believed.

        Args:
            repository_id: Whose documents they are.
            signers: The keys.
            at_hand: Where key changes are looked for, beside the place that a document is from.
        """
        self.repository_id, self.signers = repository_id, signers
        self._at_hand = tuple(at_hand)
        self._known: dict[int, frozenset[bytes]] = {}

    @classmethod
    def of(cls, document: KeyringDocument, *, at_hand: Sequence[KeyChangePlace] = ()) -> Self:
        """Return those of a keyring that is believed."""
        return cls(document.repository_id, Signers.of(document), at_hand=at_hand)

    def beside(self, *places: KeyChangePlace) -> "Signatures":
        """Return the same, which looks in these places too."""
        return Signatures(self.repository_id, self.signers, at_hand=(*self._at_hand, *places))

    @property
    def change_names(self) -> tuple[ObjectName, ...]:
        """The key changes that every place with the keyring has beside it."""
        count = len(self.signers.former)
        return tuple(self.signers.change_name(number) for number in range(1, count + 1))

    def prove(
        self,
        place: KeyChangePlace,
        purpose: str,
        signed: Signable,
        signature: bytes,
        *,
        file: bytes | memoryview,
        name: str,
        claimed: bytes | None = None,
    ) -> None:
        """Return when a document counts.

        Args:
            place: Where the document is from; asked for a key change first.
            purpose: Of the signature.
            signed: What is signed.
            signature: 64 bytes.
            file: The whole file.
            name: Used in errors.
            claimed: The public key that the document names, where it names one.

        Raises:
            SigningKeyRetired: A former key signed it, and the key change does not list it.
            KeyChangeMissing: A former key signed it, and no place has the key change whole.
            SignatureInvalid: No key of the repository signed it.
            TransientError, NotAuthorised, OSError: A place that may have the key change failed,
                and no other has it whole.
        """
        self.signers.prove(
            purpose,
            signed,
            signature,
            file=file,
            name=name,
            vouched=lambda number: self._vouched(number, place),
            claimed=claimed,
        )

    def whole_copy(self, name: str) -> bytes | None:
        """Return one of `change_names` from what is at hand, or None.

        Raises:
            TransientError, NotAuthorised, OSError: As `prove`.
        """
        found = self._find(self.change_names.index(ObjectName(name)) + 1, self._at_hand)
        return None if found is None else found[0]

    def _vouched(self, number: int, place: KeyChangePlace) -> frozenset[bytes] | None:
        known = self._known.get(number)
        if known is None:
            found = self._find(number, (place, *self._at_hand))
            if found is None:
                return None
            known = self._known[number] = found[1]
        return known

    def _find(
        self, number: int, places: Sequence[KeyChangePlace]
    ) -> tuple[bytes, frozenset[bytes]] | None:
        failure: Exception | None = None
        for each in places:
            try:
                return self._load(number, each)
            except (ObjectAbsent, IntegrityError):
                continue
            except (TransientError, NotAuthorised, OSError) as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return None

    def _load(self, number: int, place: KeyChangePlace) -> tuple[bytes, frozenset[bytes]]:
        # Most repositories have none, and do without what reads them.
        from overland.format.key_change import vouched_digests  # noqa: PLC0415 - so

        name = self.signers.change_name(number)
        data = place.read(name)
        return data, vouched_digests(
            data,
            name=name,
            repository_id=self.repository_id,
            old_public_key=bytes.fromhex(self.signers.former[number - 1].public_key),
            new_public_key=self.signers.successor(number),
        )
