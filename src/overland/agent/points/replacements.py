"""Which packs and index files others stand in for (`docs/format/replacement-v1.md`)."""

from collections.abc import Iterator
from functools import partial
from typing import Final, Protocol

import msgspec

from overland.agent.points.reading import ReadKeys
from overland.agent.sources import LayeredObjects
from overland.crypto.sign import verify
from overland.errors import IntegrityError, ObjectCorrupt, SignatureInvalid
from overland.format.replacement import REPLACEMENT_PURPOSE, Replacement, decode_replacement
from overland.format.signed import decode_signed
from overland.values import ObjectInfo, PackId, RepositoryId, is_object_name

__all__ = ["Replacements", "proven_replacement", "read_replacements", "replacements_of"]

_FOLDER: Final = "replacements/"


class _Store(Protocol):
    def names(self, prefix: str = "") -> Iterator[ObjectInfo]: ...

    def read(self, name: str) -> bytes: ...


class Replacements(msgspec.Struct, frozen=True, kw_only=True):
    """All replacements that can be trusted, and the names of those that cannot."""

    found: tuple[Replacement, ...]
    damaged: tuple[str, ...]

    def replaced(self) -> frozenset[str]:
        """Return the names that any of them puts others in the place of."""
        return frozenset(name for each in self.found for name in each.replaced)

    def replaced_packs(self) -> frozenset[PackId]:
        """Return the ids of the packs among them."""
        return frozenset(PackId(n[9:-5]) for n in self.replaced() if n.startswith("packs/"))


def proven_replacement(
    data: bytes, *, name: str, repository_id: RepositoryId | None, public_key: bytes | None
) -> Replacement:
    """Return a replacement from its file, proven by its signature.

    Args:
        data: The file.
        name: The object's name.
        repository_id: Whose it must be; None where that is not known.
        public_key: Whose signature it must have; None checks that of the key that it names.

    Raises:
        IntegrityError: It is damaged, signed by somebody else, or another repository's.
    """
    document = decode_signed(data, REPLACEMENT_PURPOSE, name=name)
    if public_key not in {None, document.public_key}:
        raise SignatureInvalid(name)
    try:
        verify(document.public_key, document.purpose, document.body, document.signature)
    except SignatureInvalid:
        raise SignatureInvalid(name) from None
    replacement = decode_replacement(document.body, name=name)
    if repository_id not in {None, replacement.repository_id}:
        raise ObjectCorrupt(name, check="it belongs to another repository")
    return replacement


def read_replacements(
    objects: _Store | LayeredObjects, *, repository_id: RepositoryId, public_key: bytes
) -> Replacements:
    """Return the replacements of a store, or of several in layers.

    Raises:
        TransientError: The store did not answer.
    """
    found: list[Replacement] = []
    damaged: list[str] = []

    def proven(store: _Store, name: str) -> Replacement:
        return proven_replacement(
            store.read(name), name=name, repository_id=repository_id, public_key=public_key
        )

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
    return Replacements(found=tuple(found), damaged=tuple(damaged))


def replacements_of(objects: LayeredObjects, keys: ReadKeys) -> Replacements:
    """Return the replacements of several places, of each one copy that holds."""
    return read_replacements(
        objects, repository_id=keys.repository_id, public_key=keys.signing_public_key
    )
