"""A key change: which files of a former signing key still count (`key-change-v1.md`).

It is signed twice: by the key that ends, and by the one that comes, over the body and the first
signature.  It holds ids and digests of files that lie beside it, so that keyless machines can tell
what counts.  A reader that has the keyring believes it by its SHA-256 alone, which stands there.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec

from overland.errors import IntegrityError
from overland.format.signed import countersigned, decode_countersigned, encode_signed
from overland.values import ObjectName, RepositoryId, canonical_uuid, key_change_name

__all__ = [
    "KEY_CHANGE_NEW_PURPOSE",
    "KEY_CHANGE_PURPOSE",
    "MAX_KEY_CHANGE_BYTES",
    "MAX_VOUCHED",
    "KeyChange",
    "KeyChangeInvalid",
    "Vouched",
    "decode_key_change",
    "encode_key_change",
    "name_of",
    "sorted_vouched",
    "verify_key_change",
    "vouched_digests",
]

KEY_CHANGE_PURPOSE: Final = "overland-key-change-v1"
KEY_CHANGE_NEW_PURPOSE: Final = "overland-key-change-new-v1"
MAX_VOUCHED: Final = 200_000
MAX_KEY_CHANGE_BYTES: Final = 32 << 20  # 200,000 entries of at most 147 bytes, and the rest
_NAME: Final = re.compile(r"keychanges/([0-9]{8})-([0-9a-f]{64})\.change")

_Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]

Verify = Callable[[bytes, str, bytes, bytes], None]
"""Takes public key, purpose, signed bytes and signature; raises where they do not fit."""


class KeyChangeInvalid(IntegrityError):
    """A key change breaks a rule of `docs/format/key-change-v1.md`."""

    code = "key-change-invalid"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(f"{name} is not a valid key change: {check}; take another copy of it")
        self.name, self.check = name, check


class Vouched(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file that the old key signed and that counts: what it is, its id, its SHA-256."""

    kind: Literal["point", "replacement", "seed-manifest"]
    id: str
    sha256: _Hex32


class KeyChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The old key ends, the new one comes; of the old one's files `vouched` are all that count."""

    format: Literal[1] = 1
    repository_id: RepositoryId
    vault_id: str
    number: Annotated[int, msgspec.Meta(ge=1, le=99)]
    old_public_key: _Hex32
    new_public_key: _Hex32
    chain_version: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
    token_sha256: _Hex32
    vouched: Annotated[list[Vouched], msgspec.Meta(max_length=MAX_VOUCHED)]


def encode_key_change(
    change: KeyChange,
    *,
    sign_old: Callable[[bytes], bytes],
    sign_new: Callable[[bytes], bytes],
) -> bytes:
    """Return the file.

    Args:
        change: What it says; `sorted_vouched` puts the list in its order.
        sign_old: Returns the old key's signature of its argument for `KEY_CHANGE_PURPOSE`.
        sign_new: Returns the new key's signature of its argument for `KEY_CHANGE_NEW_PURPOSE`.

    Raises:
        KeyChangeInvalid: A rule of `docs/format/key-change-v1.md` §3 is broken.
    """
    body = msgspec.json.encode(change)
    first = encode_signed(
        KEY_CHANGE_PURPOSE, body, public_key=bytes.fromhex(change.old_public_key), sign=sign_old
    )
    new_key = bytes.fromhex(change.new_public_key)
    data = countersigned(first, KEY_CHANGE_NEW_PURPOSE, public_key=new_key, sign=sign_new)
    decode_key_change(data, name=name_of(data, change.number))
    return data


def sorted_vouched(vouched: Iterable[Vouched]) -> list[Vouched]:
    """Return the list in the order of the format."""
    return sorted(vouched, key=_order)


def name_of(data: bytes, number: int) -> ObjectName:
    """Return the object name of a key change's file."""
    return key_change_name(number, hashlib.sha256(data).hexdigest())


def decode_key_change(data: bytes, *, name: str) -> KeyChange:
    """Return what a key change says.  Checks no signature.

    Args:
        data: The file.
        name: The object's name, whose number and SHA-256 must be the file's.

    Raises:
        IntegrityError: A rule of `docs/format/key-change-v1.md` is broken.
    """
    if len(data) > MAX_KEY_CHANGE_BYTES:
        raise KeyChangeInvalid(name, check="it is too long")
    named = _NAME.fullmatch(name)
    if named is None or named[2] != hashlib.sha256(data).hexdigest():
        raise KeyChangeInvalid(name, check="its SHA-256 is not that of its name")
    old, new = decode_countersigned(data, KEY_CHANGE_PURPOSE, KEY_CHANGE_NEW_PURPOSE, name=name)
    try:
        found = msgspec.json.decode(old.body, type=KeyChange)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeyChangeInvalid(name, check=f"not a key change of version 1: {error}") from None
    if msgspec.json.encode(found) != old.body:
        raise KeyChangeInvalid(name, check="it is not in canonical form")
    if found.number != int(named[1]):
        raise KeyChangeInvalid(name, check="its number is not that of its name")
    if (old.public_key.hex(), new.public_key.hex()) != (found.old_public_key, found.new_public_key):
        raise KeyChangeInvalid(name, check="its signatures name other keys")
    _check(found, name=name)
    return found


def verify_key_change(data: bytes, *, name: str, verify: Verify) -> KeyChange:
    """Return what a key change says, both of whose signatures hold.

    Who has both keys made it: that may be whoever stole the old one.  The caller knows by other
    means that the vault's owner asks for it, and that the old key is the present one.

    Raises:
        SignatureInvalid: One does not hold.
        IntegrityError: A rule of `docs/format/key-change-v1.md` is broken.
    """
    found = decode_key_change(data, name=name)
    signatures = decode_countersigned(data, KEY_CHANGE_PURPOSE, KEY_CHANGE_NEW_PURPOSE, name=name)
    for each in signatures:
        verify(each.public_key, each.purpose, each.body, each.signature)
    return found


def vouched_digests(
    data: bytes,
    *,
    name: str,
    repository_id: RepositoryId,
    old_public_key: bytes,
    new_public_key: bytes,
) -> frozenset[bytes]:
    """Return the SHA-256 of every file that a key change lists, 32 bytes each.

    Args:
        data: The file.
        name: The name that the keyring gives it, by number and digest: it proves the file.
        repository_id: Whose it must be.
        old_public_key: The key that it must end.
        new_public_key: The one that must come after.

    Raises:
        IntegrityError: It is damaged, or another change.
    """
    found = decode_key_change(data, name=name)
    if found.repository_id != repository_id:
        raise KeyChangeInvalid(name, check="it belongs to another repository")
    keys = bytes.fromhex(found.old_public_key), bytes.fromhex(found.new_public_key)
    if keys != (old_public_key, new_public_key):
        raise KeyChangeInvalid(name, check="it changes other keys")
    return frozenset(bytes.fromhex(each.sha256) for each in found.vouched)


def _check(found: KeyChange, *, name: str) -> None:
    ids = (found.repository_id, found.vault_id, *(each.id for each in found.vouched))
    if not all(map(_is_canonical, ids)):
        raise KeyChangeInvalid(name, check="an id is not a canonical UUID")
    if found.old_public_key == found.new_public_key:
        raise KeyChangeInvalid(name, check="the new key is the old one")
    order = [_order(each) for each in found.vouched]
    if not all(before < after for before, after in pairwise(order)):
        raise KeyChangeInvalid(name, check="its list is not sorted, or not unique")


def _order(vouched: Vouched) -> tuple[str, str]:
    return vouched.kind, vouched.id


def _is_canonical(text: str) -> bool:
    try:
        return canonical_uuid(text) == text
    except ValueError:
        return False
