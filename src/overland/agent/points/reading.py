"""Recovery points, read only: which there are, and what is in one.

All that is needed is some place with the repository's objects, and the passphrase or the recovery
kit.  Nothing of the source computer is needed, because that may be what was lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from overland.agent.sources import LayeredObjects
from overland.crypto.aead import POINT_ROOT, open_once
from overland.crypto.keyring import KeyringCorrupt, KeyringDocument, decode_keyring
from overland.crypto.keys import (
    MasterKey,
    Purpose,
    mac_holds,
    open_newest,
    open_with_passphrase,
    open_with_recovery_kit,
)
from overland.crypto.secrets import Secret
from overland.crypto.sign import verify
from overland.errors import IntegrityError, ObjectAbsent, RefusedError, SignatureInvalid
from overland.format.point import (
    SIGNATURE_PURPOSE,
    ParsedPoint,
    PointCorrupt,
    PointPublic,
    PointRoot,
    decode_root,
    parse,
)
from overland.values import PointId, RepositoryId, is_object_name, point_name

__all__ = [
    "NoKeyring",
    "Point",
    "PointAbsent",
    "PointListing",
    "ReadKeys",
    "list_points",
    "newest_public_key",
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


class PointAbsent(RefusedError):
    """Somebody asked for a recovery point that is nowhere."""

    code = "point-absent"

    def __init__(self, point_id: str) -> None:
        super().__init__(f"there is no recovery point {point_id}; list them to see which there are")
        self.point_id = point_id


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadKeys:
    """What opens a repository, and the key that its recovery points must be signed with."""

    repository_id: RepositoryId
    signing_public_key: bytes
    chunk_id: Secret
    segment: Secret
    index: Secret
    point: Secret
    keyring_mac: Secret

    @classmethod
    def of(cls, document: KeyringDocument, master: MasterKey) -> Self:
        """Return the keys of an opened keyring."""
        return cls(
            repository_id=document.repository_id,
            signing_public_key=bytes.fromhex(document.signing_public_key),
            chunk_id=master.subkey(Purpose.CHUNK_ID),
            segment=master.subkey(Purpose.SEGMENT),
            index=master.subkey(Purpose.INDEX),
            point=master.subkey(Purpose.POINT),
            keyring_mac=master.subkey(Purpose.KEYRING_MAC),
        )


def open_keys(
    objects: LayeredObjects, *, passphrase: str | None = None, recovery_kit: str | None = None
) -> ReadKeys:
    """Return the keys from the newest genuine keyring, opened with one of the two secrets.

    Raises:
        SecretReplaced: It opens an older keyring, and no longer the newest.
        PassphraseWrong: The passphrase opens none.
        RecoveryKitWrong: The kit is another repository's, or was withdrawn.
        NoKeyring: There is no keyring, or none that is whole.
    """

    def unlock(document: KeyringDocument) -> MasterKey:
        if recovery_kit is not None:
            return open_with_recovery_kit(document, recovery_kit)
        assert passphrase is not None, "the caller gives the passphrase or the recovery kit"
        return open_with_passphrase(document, passphrase)

    return ReadKeys.of(*open_newest(_keyrings(objects), unlock))


def proven_keyring(data: bytes, keys: ReadKeys, *, name: str) -> KeyringDocument:
    """Return a keyring from its file, proven to be the owner's.

    Raises:
        KeyringCorrupt: It is damaged, or another repository's.
    """
    document = decode_keyring(data, name=name)
    if not mac_holds(document, keys.keyring_mac):
        raise KeyringCorrupt(name, check="its MAC does not hold")
    return document


def newest_public_key(objects: LayeredObjects) -> bytes:
    """Return the public key in the newest keyring; nothing proves it until the keyring is opened.

    Raises:
        NoKeyring: There is no keyring, or none that is whole.
    """
    return bytes.fromhex(_keyrings(objects)[0].signing_public_key)


def _keyrings(objects: LayeredObjects) -> list[KeyringDocument]:
    """Return the newest keyrings that are whole, newest first."""
    found, damaged = list[KeyringDocument](), 0
    for info in sorted(objects.names("keys/"), key=lambda info: info.name, reverse=True):
        if not is_object_name(info.name) or len(found) == _MAX_KEYRINGS:
            continue
        try:
            found.append(_keyring(objects, info.name))
        except KeyringCorrupt:
            damaged += 1
    if not found:
        raise NoKeyring(damaged=damaged)
    return found


def _keyring(objects: LayeredObjects, name: str) -> KeyringDocument:
    return objects.first(name, lambda layer: decode_keyring(layer.read(name), name=name))


@dataclass(frozen=True, slots=True, kw_only=True)
class PointListing:
    """All recovery points that can be trusted, oldest first, and the names of those that cannot."""

    points: tuple[PointPublic, ...]
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """An opened recovery point."""

    public: PointPublic
    root: PointRoot


def list_points(objects: LayeredObjects, keys: ReadKeys) -> PointListing:
    """Return the public part of every recovery point, each proven by its signature."""
    points: list[PointPublic] = []
    damaged: list[str] = []
    for point_id in _point_ids(objects):
        try:
            points.append(read_public(objects, keys, point_id))
        except IntegrityError:
            damaged.append(point_name(point_id))
    points.sort(key=lambda public: (public.created_at, public.point_id))
    return PointListing(points=tuple(points), damaged=tuple(damaged))


def read_public(objects: LayeredObjects, keys: ReadKeys, point_id: PointId) -> PointPublic:
    """Return the public part of one recovery point, proven by its signature.

    Raises:
        PointAbsent: There is no such point.
        IntegrityError: Every copy is damaged, or signed by somebody else.
    """
    return _read(objects, keys, point_id).public


def open_point(objects: LayeredObjects, keys: ReadKeys, point_id: PointId) -> Point:
    """Return one recovery point with its sealed part: roots, statistics, what was left out.

    Raises:
        PointAbsent: There is no such point.
        IntegrityError: Every copy is damaged, or signed by somebody else.
    """
    parsed = _read(objects, keys, point_id)
    name = point_name(point_id)
    plain = open_once(
        keys.point,
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
        return objects.first(name, lambda layer: _proven(layer.read(name), keys, point_id))
    except ObjectAbsent:
        raise PointAbsent(point_id) from None


def _proven(data: bytes, keys: ReadKeys, point_id: PointId) -> ParsedPoint:
    name = point_name(point_id)
    parsed = parse(data, name=name)
    try:
        verify(keys.signing_public_key, SIGNATURE_PURPOSE, parsed.signed_bytes, parsed.signature)
    except SignatureInvalid:
        raise SignatureInvalid(name) from None
    if parsed.public.point_id != point_id:
        raise PointCorrupt(name, check="it has the name of another recovery point")
    if parsed.public.repository_id != keys.repository_id:
        raise PointCorrupt(name, check="it belongs to another repository")
    return parsed


def _point_ids(objects: LayeredObjects) -> Iterator[PointId]:
    for info in objects.names("points/"):
        if is_object_name(info.name):
            yield PointId(info.name.removeprefix("points/").removesuffix(_SUFFIX))
