"""Which packs and index files others stand in for (`docs/format/replacement-v1.md`)."""

from collections.abc import Iterator
from functools import partial
from typing import Final, Protocol

import msgspec

from overland.agent.points.reading import ReadKeys
from overland.agent.points.signatures import KeyChangePlace, Signatures
from overland.agent.sources import LayeredObjects
from overland.crypto.sign import verify
from overland.crypto.signers import KeyChangeMissing
from overland.errors import IntegrityError, ObjectCorrupt, SignatureInvalid
from overland.format.replacement import REPLACEMENT_PURPOSE, Replacement, decode_replacement
from overland.format.signed import SignedDocument, decode_signed
from overland.values import ObjectInfo, PackId, is_object_name

__all__ = ["Replacements", "proven_replacement", "read_replacements", "replacements_of"]

_FOLDER: Final = "replacements/"


class _Store(Protocol):
    def names(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with `prefix`, sorted by name."""
        ...

    def read(self, name: str) -> bytes:
        """Return a whole object.

        Raises:
            ObjectAbsent: There is no such object.
        """
        ...


class Replacements(msgspec.Struct, frozen=True, kw_only=True):
    """All replacements that can be trusted, and the names of those that cannot.

    Of `unproven` nothing bad is known: the key change that could vouch for them is not here.
    """

    found: tuple[Replacement, ...]
    damaged: tuple[str, ...]
    unproven: tuple[KeyChangeMissing, ...]

    def replaced(self) -> frozenset[str]:
        """Return the names that any of them puts others in the place of."""
        return frozenset(name for each in self.found for name in each.replaced)

    def replaced_packs(self) -> frozenset[PackId]:
        """Return the ids of the packs among them."""
        return frozenset(PackId(n[9:-5]) for n in self.replaced() if n.startswith("packs/"))


def proven_replacement(
    data: bytes, *, name: str, place: KeyChangePlace, signatures: Signatures | None
) -> Replacement:
    """Return a replacement from its file, proven by its signature.

    Args:
        data: The file.
        name: The object's name.
        place: Where it is from.
        signatures: Whose it must be; None, where that is not known, checks the signature of the
            key that it names.

    Raises:
        IntegrityError: It is damaged, signed by somebody else, or another repository's.
        KeyChangeMissing: A former key signed it, and the key change is not here.
    """
    document = decode_signed(data, REPLACEMENT_PURPOSE, name=name)
    if signatures is None:
        _check_own_key(document, name=name)
    else:
        signatures.prove(
            place,
            document.purpose,
            document.body,
            document.signature,
            file=data,
            name=name,
            claimed=document.public_key,
        )
    replacement = decode_replacement(document.body, name=name)
    if signatures is not None and replacement.repository_id != signatures.repository_id:
        raise ObjectCorrupt(name, check="it belongs to another repository")
    return replacement


def _check_own_key(document: SignedDocument, *, name: str) -> None:
    try:
        verify(document.public_key, document.purpose, document.body, document.signature)
    except SignatureInvalid:
        raise SignatureInvalid(name) from None


def read_replacements(objects: _Store | LayeredObjects, *, signatures: Signatures) -> Replacements:
    """Return the replacements of a store, or of several in layers.

    Raises:
        TransientError: The store did not answer.
        ObjectAbsent: One of them went between the list and the look at it.
    """
    found: list[Replacement] = []
    damaged: list[str] = []
    unproven: list[KeyChangeMissing] = []

    def proven(store: _Store, name: str) -> Replacement:
        """Return what one store has under the name; raises as `proven_replacement`."""
        return proven_replacement(store.read(name), name=name, place=objects, signatures=signatures)

    for info in objects.names(_FOLDER):
        name = info.name
        if not is_object_name(name):
            continue
        try:
            if isinstance(objects, LayeredObjects):
                found.append(objects.first(name, partial(proven, name=name)))
            else:
                found.append(proven(objects, name))
        except IntegrityError:
            damaged.append(name)
        except KeyChangeMissing as missing:
            unproven.append(missing)
    return Replacements(found=tuple(found), damaged=tuple(damaged), unproven=tuple(unproven))


def replacements_of(objects: LayeredObjects, keys: ReadKeys) -> Replacements:
    """Return the replacements of several places, of each one copy that holds.

    Raises:
        TransientError, ObjectAbsent: As `read_replacements`.
    """
    return read_replacements(objects, signatures=keys.signatures)
