"""A rotation of the signing key, as the command makes it: the key change, and the next keyring."""

import hashlib
import secrets
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from overland.crypto.keyring import Argon2Parameters, KeyringDocument, former_signers_of
from overland.crypto.keys import MasterKey, signing_key, with_signing_key
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key, public_key, sign
from overland.format.key_change import (
    KEY_CHANGE_NEW_PURPOSE,
    KEY_CHANGE_PURPOSE,
    KeyChange,
    Vouched,
    encode_key_change,
    name_of,
    sorted_vouched,
)
from overland.values import ObjectName

__all__ = ["VAULT_ID", "Rotation", "key_change", "rotate_signing", "vouch"]

VAULT_ID = str(UUID(int=0x7A))
_CHEAP = Argon2Parameters(memory_kib=32, iterations=1, lanes=1)
_KINDS = {"points": "point", "replacements": "replacement"}


class Rotation(NamedTuple):
    """What a rotation made: the keyring with its master key and kit, and the key change."""

    document: KeyringDocument
    master: MasterKey
    kit: str
    name: ObjectName
    data: bytes


def vouch(files: Iterable[tuple[str, bytes]]) -> list[Vouched]:
    """Return the list for these objects, by name and content; others than documents are left."""
    found = {
        name: Vouched(
            kind=_KINDS[name.partition("/")[0]],  # type: ignore[arg-type]  # one of three
            id=name.partition("/")[2].partition(".")[0],
            sha256=hashlib.sha256(data).hexdigest(),
        )
        for name, data in files
        if name.partition("/")[0] in _KINDS
    }
    return sorted_vouched(found.values())


def key_change(change: KeyChange, *, old: Secret, new: Secret) -> bytes:
    """Return the file of a key change."""
    return encode_key_change(
        change,
        sign_old=lambda text: sign(old, KEY_CHANGE_PURPOSE, text),
        sign_new=lambda text: sign(new, KEY_CHANGE_NEW_PURPOSE, text),
    )


def rotate_signing(
    document: KeyringDocument, master: MasterKey, vouched: list[Vouched], passphrase: str
) -> Rotation:
    """Return what the rotation of a keyring's signing key makes."""
    old, new = signing_key(document, master), generate_signing_key(secrets.token_bytes)
    number = len(former_signers_of(document)) + 1
    change = KeyChange(
        repository_id=document.repository_id,
        vault_id=VAULT_ID,
        number=number,
        old_public_key=document.signing_public_key,
        new_public_key=public_key(new).hex(),
        chain_version=7,
        token_sha256="ab" * 32,
        vouched=vouched,
    )
    data = key_change(change, old=old, new=new)
    digest = hashlib.sha256(data).hexdigest()
    made = with_signing_key(
        document,
        master,
        passphrase,
        private=new,
        change_sha256=digest,
        random=secrets.token_bytes,
        cost=_CHEAP,
    )
    return Rotation(*made, name_of(data, number), data)
