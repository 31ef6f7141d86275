"""The sample of a key change, and what must be refused in its place (`key-change-v1.md`)."""

import hashlib
from collections.abc import Callable, Iterator
from functools import cache

import msgspec
from tests.support import format_samples as sample

from overland.crypto.keyring import FormerSigner, KeyringDocument, former_signers_of
from overland.crypto.keyringproof import proven
from overland.crypto.keys import MasterKey, with_signing_key
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key, public_key, sign
from overland.format.key_change import (
    KEY_CHANGE_NEW_PURPOSE,
    KEY_CHANGE_PURPOSE,
    KeyChange,
    Vouched,
    encode_key_change,
    name_of,
)
from overland.format.signed import countersigned, encode_signed
from overland.values import ObjectName

__all__ = [
    "change",
    "change_file",
    "change_name",
    "damaged_changes",
    "damaged_keyrings",
    "new_signer",
    "next_keyring",
]

_Signer = Callable[[bytes], bytes]


@cache
def new_signer() -> Secret:
    """Return the signing key that comes."""
    return generate_signing_key(sample.counter("new signer"))


def change() -> KeyChange:
    """Return what the sample says: of each kind of file one is listed."""
    return KeyChange(
        repository_id=sample.REPOSITORY,
        vault_id="0a0b0c0d-0000-4000-8000-00000000f00d",
        number=1,
        old_public_key=public_key(sample.signer()).hex(),
        new_public_key=public_key(new_signer()).hex(),
        chain_version=42,
        token_sha256=hashlib.sha256(b"a token").hexdigest(),
        vouched=[
            Vouched(kind="point", id=sample.POINT, sha256=_digest(sample.sample_point())),
            Vouched(kind="replacement", id=sample.REPLACEMENT, sha256=_digest(b"a replacement")),
            Vouched(kind="seed-manifest", id=sample.SEED, sha256=_digest(b"a manifest")),
        ],
    )


@cache
def change_file() -> bytes:
    """Return the file of `change`."""
    return encode_key_change(
        change(),
        sign_old=_by(sample.signer(), KEY_CHANGE_PURPOSE),
        sign_new=_by(new_signer(), KEY_CHANGE_NEW_PURPOSE),
    )


def change_name() -> ObjectName:
    """Return the name of `change_file`."""
    return name_of(change_file(), 1)


def next_keyring() -> tuple[KeyringDocument, MasterKey, str]:
    """Return the keyring that comes after `format_samples.keys`, with the change in it."""
    document, master, _ = sample.keys()
    return with_signing_key(
        document,
        master,
        sample.NEW_PASSPHRASE,
        private=new_signer(),
        change_sha256=_digest(change_file()),
        random=sample.counter("after a key change"),
        cost=sample.CHEAP,
    )


def damaged_changes() -> Iterator[tuple[str, bytes]]:
    """Yield checks, and files that each must refuse; well signed wherever that is not the check."""
    body = msgspec.json.encode(change())
    listed = change().vouched
    first, second = (msgspec.json.encode(each) for each in listed[:2])
    old_key, new_key = (key.encode() for key in (change().old_public_key, change().new_public_key))
    swaps = {
        "not a key change of version 1": (b'"kind":"point"', b'"kind":"paint"'),
        "it is not in canonical form": (b'"vouched":[', b'"vouched":[ '),
        "its number is not that of its name": (b'"number":1', b'"number":2'),
        "its signatures name other keys": (new_key, b"0" * 64),
        "an id is not a canonical uuid": (b'"vault_id":"0', b'"vault_id":"{'),
        "its list is not sorted or not unique": (first + b"," + second, second + b"," + first),
    }
    for check, (before, after) in swaps.items():
        damaged = body.replace(before, after, 1)
        assert damaged != body, check
        yield check, _signed(damaged)
    same = body.replace(new_key, old_key, 1)
    yield "the new key is the old one", _signed(same, new=sample.signer())
    good = change_file()
    yield "it is not signed for", _signed(body, purpose="overland-seed-manifest-v1")
    yield "it has no signature line", good[: good.index(b"\n") + 1]
    at = good.index(b'"signature":"') + 13  # the old key's
    changed = b"1" if good[at : at + 1] == b"0" else b"0"
    yield "signature", good[:at] + changed + good[at + 1 :]


def damaged_keyrings() -> Iterator[tuple[str, KeyringDocument]]:
    """Yield checks, and keyrings whose former signing keys each must refuse; their MACs hold."""
    document, master, _ = next_keyring()
    [former] = former_signers_of(document)
    own = msgspec.structs.replace(former, public_key=document.signing_public_key)
    yield "a signing key is there twice", _proven(document, master, [own])
    more = msgspec.structs.replace(former, public_key="ab" * 32)
    check = "a signing key was changed and the master key was not"
    yield check, _proven(document, master, [former, more])


def _proven(
    document: KeyringDocument, master: MasterKey, signers: list[FormerSigner]
) -> KeyringDocument:
    return proven(msgspec.structs.replace(document, former_signers=signers), master)


def _signed(body: bytes, *, purpose: str = KEY_CHANGE_PURPOSE, new: Secret | None = None) -> bytes:
    old, new = sample.signer(), new or new_signer()
    made = encode_signed(purpose, body, public_key=public_key(old), sign=_by(old, purpose))
    return countersigned(
        made,
        KEY_CHANGE_NEW_PURPOSE,
        public_key=public_key(new),
        sign=_by(new, KEY_CHANGE_NEW_PURPOSE),
    )


def _by(key: Secret, purpose: str) -> _Signer:
    return lambda text: sign(key, purpose, text)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
