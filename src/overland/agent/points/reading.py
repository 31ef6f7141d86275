"""Recovery points, read only: which there are, and what is in one.

All that is needed is some place with the repository's objects, and the passphrase or the recovery
kit.  Nothing of the source computer is needed, because that may be what was lost.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Self

import msgspec

from overland.agent.points.pointfile import PointFile, read_point_file
from overland.agent.points.signatures import KeyChangePlace, Signatures
from overland.agent.sources import LayeredObjects
from overland.crypto.aead import POINT_ROOT, open_once
from overland.crypto.keyring import (
    KeyringCorrupt,
    KeyringDocument,
    decode_keyring,
    generation_of,
)
from overland.crypto.keyringproof import holds
from overland.crypto.keys import (
    MasterKey,
    PassphraseWrong,
    Purpose,
    RecoveryKitWrong,
    open_newest,
    open_with_passphrase,
    open_with_recovery_kit,
)
from overland.crypto.masterkey import Subkeys
from overland.crypto.secrets import Secret
from overland.crypto.signers import KeyChangeMissing
from overland.errors import IntegrityError, ObjectAbsent, RefusedError
from overland.format.point import (
    SIGNATURE_PURPOSE,
    ParsedPoint,
    PointCorrupt,
    PointPublic,
    PointRoot,
    decode_root,
)
from overland.values import PointId, RepositoryId, is_object_name, keyring_name, point_name

__all__ = [
    "KeyringDamaged",
    "NoKeyring",
    "Point",
    "PointAbsent",
    "PointListing",
    "ReadKeys",
    "list_points",
    "newest_signatures",
    "open_keys",
    "open_point",
    "proven_keyring",
    "read_public",
]

_SUFFIX: Final = ".point"
_MAX_KEYRINGS: Final = 16  # opened with one secret: each costs what trying a passphrase costs


class NoKeyring(RefusedError):
    """A place holds no keyring that can be read, so nothing in it can be opened."""

    code = "no-keyring"

    def __init__(self, *, damaged: int) -> None:
        what = f"{damaged} damaged keyrings" if damaged else "no keyring"
        super().__init__(
            f"there is {what} here; name a place that holds the repository's keys/ folder: "
            "the vault, the staging location or a drive of the seed"
        )
        self.damaged = damaged


class KeyringDamaged(IntegrityError):
    """What was typed opens no keyring that is whole, and a newer one is damaged."""

    code = "keyring-damaged"

    def __init__(self, names: Sequence[str], *, newest_whole: str) -> None:
        super().__init__(
            f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} damaged, and the older "
            f"{newest_whole} opens only with the passphrase or kit of its time, which this is not; "
            "if yours is newer, it may be right: name a place with a whole copy, such as the "
            "vault, the staging location or another drive; the source computer itself reads its "
            "backups without it, and puts it into the vault again: overland keys reissue"
        )
        self.names, self.newest_whole = tuple(names), newest_whole


class PointAbsent(RefusedError):
    """Somebody asked for a recovery point that is nowhere."""

    code = "point-absent"

    def __init__(self, point_id: str) -> None:
        super().__init__(f"there is no recovery point {point_id}; list them to see which there are")
        self.point_id = point_id


class ReadKeys(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What opens a repository, and what proves whose its recovery points are."""

    repository_id: RepositoryId
    signatures: Signatures
    chunk_id: Secret
    segment: Subkeys
    index: Subkeys
    point: Subkeys
    keyring_mac: Subkeys
    keyring_successor: Secret

    @classmethod
    def of(
        cls,
        document: KeyringDocument,
        master: MasterKey,
        *,
        at_hand: Sequence[KeyChangePlace] = (),
    ) -> Self:
        """Return the keys of an opened keyring; `at_hand` are places that may have key changes."""
        return cls(
            repository_id=document.repository_id,
            signatures=Signatures.of(document, at_hand=at_hand),
            chunk_id=master.subkey(Purpose.CHUNK_ID),
            segment=master.subkeys(Purpose.SEGMENT),
            index=master.subkeys(Purpose.INDEX),
            point=master.subkeys(Purpose.POINT),
            keyring_mac=master.subkeys(Purpose.KEYRING_MAC),
            keyring_successor=master.subkey(Purpose.KEYRING_SUCCESSOR),
        )


def open_keys(
    objects: LayeredObjects, *, passphrase: str | None = None, recovery_kit: str | None = None
) -> ReadKeys:
    """Return the keys from the newest genuine keyring, opened with one of the two secrets.

    Raises:
        SecretReplaced: It opens an older keyring, and no longer the newest.
        PassphraseWrong: The passphrase opens none.
        RecoveryKitWrong: The kit is another repository's, or was withdrawn.
        RecoveryKitMistyped: The kit's own checksum does not hold.
        NoKeyring: There is no keyring, or none that is whole.
        KeyringDamaged: It opens none, and one that is newer than all that are whole is damaged.
        KeyringCorrupt: It opens one that was changed, and nothing older.
    """

    def unlock(document: KeyringDocument) -> MasterKey:
        """Return the master key of a keyring; raises where what was typed does not open it."""
        if recovery_kit is not None:
            return open_with_recovery_kit(document, recovery_kit)
        assert passphrase is not None, "the caller gives the passphrase or the recovery kit"
        return open_with_passphrase(document, passphrase)

    documents, damaged = _keyrings(objects)
    try:
        return ReadKeys.of(*open_newest(documents, unlock), at_hand=[objects])
    except (PassphraseWrong, RecoveryKitWrong):
        newest_whole = keyring_name(generation_of(documents[0]))
        newer = [name for name in damaged if name > newest_whole]
        if newer:
            raise KeyringDamaged(newer, newest_whole=newest_whole) from None
        raise


def proven_keyring(data: bytes, keys: ReadKeys, *, name: str) -> KeyringDocument:
    """Return a keyring from its file, proven to be the owner's.

    Raises:
        KeyringCorrupt: It is damaged, or another repository's.
    """
    document = decode_keyring(data, name=name)
    if not holds(document, macs=keys.keyring_mac, successor=keys.keyring_successor):
        raise KeyringCorrupt(name, check="its MAC does not hold")
    return document


def newest_signatures(objects: LayeredObjects) -> Signatures:
    """Return the signers of the newest keyring; nothing proves it until the keyring is opened.

    Raises:
        NoKeyring: There is no keyring, or none that is whole.
    """
    return Signatures.of(_keyrings(objects)[0][0], at_hand=[objects])


def _keyrings(objects: LayeredObjects) -> tuple[list[KeyringDocument], list[str]]:
    """Return the newest keyrings that are whole, and the names of those that are not."""
    found, damaged = list[KeyringDocument](), list[str]()
    for info in sorted(objects.names("keys/"), key=lambda info: info.name, reverse=True):
        if not is_object_name(info.name) or len(found) == _MAX_KEYRINGS:
            continue
        try:
            found.append(_keyring(objects, info.name))
        except KeyringCorrupt:
            damaged.append(info.name)
    if not found:
        raise NoKeyring(damaged=len(damaged))
    return found, damaged


def _keyring(objects: LayeredObjects, name: str) -> KeyringDocument:
    return objects.first(name, lambda layer: decode_keyring(layer.read(name), name=name))


class PointListing(msgspec.Struct, frozen=True, kw_only=True):
    """All recovery points that can be trusted, oldest first, and the names of those that cannot.

    Of `unproven` nothing bad is known: the key change that could vouch for them is not here.
    """

    points: tuple[PointPublic, ...]
    damaged: tuple[str, ...]
    unproven: tuple[str, ...]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """An opened recovery point."""

    public: PointPublic
    root: PointRoot


def list_points(objects: LayeredObjects, keys: ReadKeys) -> PointListing:
    """Return the public part of every recovery point, each proven by its signature.

    One that goes between the list and the look at it is left out.

    Raises:
        TransientError, NotAuthorised, OSError: A place failed, and no other has the point.
    """
    points: list[PointPublic] = []
    damaged: list[str] = []
    unproven: list[str] = []
    for point_id in _point_ids(objects):
        try:
            points.append(read_public(objects, keys, point_id))
        except IntegrityError:
            damaged.append(point_name(point_id))
        except KeyChangeMissing:
            unproven.append(point_name(point_id))
        except PointAbsent:  # it went since the names were read
            continue
    points.sort(key=lambda public: (public.created_at, public.point_id))
    return PointListing(points=tuple(points), damaged=tuple(damaged), unproven=tuple(unproven))


def read_public(objects: LayeredObjects, keys: ReadKeys, point_id: PointId) -> PointPublic:
    """Return the public part of one recovery point, proven by its signature.

    Raises:
        PointAbsent: There is no such point.
        IntegrityError: Every copy is damaged, or signed by somebody else.
        KeyChangeMissing: A former signing key signed it, and the list of what of that counts is
            in no place.
    """
    return _read(objects, keys, point_id).public


def open_point(objects: LayeredObjects, keys: ReadKeys, point_id: PointId) -> Point:
    """Return one recovery point with its sealed part: roots, statistics, what was left out.

    Raises:
        PointAbsent, IntegrityError, KeyChangeMissing: As `read_public`.
    """
    parsed = _read(objects, keys, point_id)
    name = point_name(point_id)
    plain = open_once(
        keys.point.of(parsed.master_number, name=name),
        POINT_ROOT,
        salt=parsed.salt,
        sealed=parsed.sealed_root,
        aad=parsed.public_bytes,
        name=name,
    )
    return Point(public=parsed.public, root=decode_root(plain, name=name))


def _read(objects: LayeredObjects, keys: ReadKeys, point_id: PointId) -> ParsedPoint:
    name = point_name(point_id)
    try:
        return objects.first(
            name, lambda layer: _proven(read_point_file(layer, name), keys, point_id, objects)
        )
    except ObjectAbsent:
        raise PointAbsent(point_id) from None


def _proven(
    file: PointFile, keys: ReadKeys, point_id: PointId, places: LayeredObjects
) -> ParsedPoint:
    name, parsed = point_name(point_id), file.parsed
    keys.signatures.prove(
        places, SIGNATURE_PURPOSE, file.message, parsed.signature, file=file.data, name=name
    )
    if parsed.public.point_id != point_id:
        raise PointCorrupt(name, check="it has the name of another recovery point")
    if parsed.public.repository_id != keys.repository_id:
        raise PointCorrupt(name, check="it belongs to another repository")
    return parsed


def _point_ids(objects: LayeredObjects) -> Iterator[PointId]:
    for info in objects.names("points/"):
        if is_object_name(info.name):
            yield PointId(info.name.removeprefix("points/").removesuffix(_SUFFIX))
