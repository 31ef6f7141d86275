"""A vault of each of two owners, with every kind of object in it."""

import hashlib
import json
import re
from pathlib import Path
from typing import Final
from unittest.mock import patch

from tests.support.backed_up import PASSPHRASE
from tests.support.format_samples import CHEAP
from tests.support.landed import put
from tests.support.signing_rotation import VAULT_ID, key_change, vouch
from tests.support.vaulted import Vaulted

from overland.crypto.keyring import KeyringDocument, encode_keyring
from overland.crypto.keys import MasterKey, new_keyring, signing_key, with_signing_key
from overland.crypto.sign import generate_signing_key, public_key
from overland.format.key_change import KeyChange, name_of
from overland.values import RepositoryId, keyring_name, point_name, replacement_name

__all__ = ["NEW_PASSPHRASE", "Fields", "Owned", "back_to_back", "damaged", "members"]

NEW_PASSPHRASE: Final = "a newer and longer passphrase"

_HEX: Final = b"0123456789abcdef"

Fields = dict[str, tuple[int, int]]
"""Offset and length of each field in a file."""


class Owned:
    """A vault with two chains, a replacement, two keyrings and the key change between them.

    `names` has one object of each kind; the point, the pack and the index file are those of a
    chain of its own, so that the other chain needs none of them.  `older` has what was written
    before them.
    """

    def __init__(self, folder: Path, number: int) -> None:
        folder.mkdir()
        self._seed = number
        with patch("tests.support.vaulted.sample_keyring", self._new_keyring):
            self.vaulted = Vaulted(folder, pack_bytes=1 << 16)
        vaulted, source = self.vaulted, self.vaulted.source
        for name in ("a", "b", "c"):
            (source / name).write_bytes(self._content(name))
        first = vaulted.back_up()
        old_pack, old_index = self._biggest(set()), self._only("index/", set())
        (source / "a").unlink()
        second = vaulted.back_up()
        vaulted.keeper.deleted.add(first)
        replacement_id = vaulted.repack(min_live=1).replacement_id
        assert replacement_id is not None
        packs, index_files = vaulted.packs(), self._names("index/")
        (source / "later").write_bytes(self._content("later"))
        last = vaulted.back_up("other")
        self.last = last
        change = self._put_newer_keyring()
        self.names = {
            "pack": self._biggest(packs),
            "index file": self._only("index/", index_files),
            "index file, read in parts": self._only("index/", index_files),
            "recovery point": point_name(last),
            "keyring": keyring_name(2),
            "replacement": replacement_name(replacement_id),
            "key change": change,
        }
        self.older = {
            "pack": old_pack,
            "index file": old_index,
            "index file, read in parts": old_index,
            "recovery point": point_name(second),
            "keyring": keyring_name(1),
        }

    def read(self, name: str) -> bytes:
        return self.vaulted.disk.read(name)

    def _content(self, name: str) -> bytes:
        return hashlib.shake_256(f"{self._seed} {name}".encode()).digest(30_000)

    def _new_keyring(self) -> tuple[KeyringDocument, MasterKey, str]:
        counter = iter(range(1 << 30))

        def random(size: int) -> bytes:
            return hashlib.shake_256(f"{self._seed} {next(counter)}".encode()).digest(size)

        repository_id = RepositoryId(f"11111111-2222-3333-4444-55555555555{self._seed}")
        made = new_keyring(PASSPHRASE, repository_id=repository_id, random=random, cost=CHEAP)
        self._document, self._master, _ = made
        return made

    def _put_newer_keyring(self) -> str:
        """Replace the signing and the master key; return the name of the key change."""
        vault = self.vaulted.vault
        new = generate_signing_key(lambda size: bytes([self._seed]) * size)
        listed = vouch((each.name, vault.read(each.name)) for each in list(vault.names()))
        change = KeyChange(
            repository_id=self._document.repository_id,
            vault_id=VAULT_ID,
            number=1,
            old_public_key=self._document.signing_public_key,
            new_public_key=public_key(new).hex(),
            chain_version=4,
            token_sha256="ab" * 32,
            vouched=listed,
        )
        data = key_change(change, old=signing_key(self._document, self._master), new=new)
        name = name_of(data, 1)
        put(vault, name, data)
        newer, _, _ = with_signing_key(
            self._document,
            self._master,
            NEW_PASSPHRASE,
            private=new,
            change_sha256=hashlib.sha256(data).hexdigest(),
            random=lambda size: b"n" * size,
            cost=CHEAP,
        )
        put(vault, keyring_name(2), encode_keyring(newer))
        return name

    def _names(self, prefix: str) -> set[str]:
        return {info.name for info in self.vaulted.vault.names(prefix)}

    def _biggest(self, before: set[str]) -> str:
        return max(self.vaulted.packs() - before, key=self.vaulted.disk.size_bytes)

    def _only(self, prefix: str, before: set[str]) -> str:
        [name] = self._names(prefix) - before
        return name


def back_to_back(data: bytes, **sizes: int) -> Fields:
    """Return fields that lie one after the other from the start and fill the file.

    Args:
        data: The file.
        sizes: Of each field; one may be -1, and takes what the others leave.
    """
    rest = len(data) - sum(size for size in sizes.values() if size >= 0)
    found: Fields = {}
    at = 0
    for name, size in sizes.items():
        found[name.replace("_", " ")] = (at, rest if size < 0 else size)
        at += rest if size < 0 else size
    assert at == len(data), "the fields fill the file"
    return found


def members(data: bytes) -> Fields:
    """Return the value of every member of the JSON in a document; the first of each name."""
    text = data.decode()
    assert len(text) == len(data), "samples are ASCII, so that places are bytes"
    found: Fields = {}
    for match in re.finditer(r'"(\w+)":\s?', text):
        _, length = json.JSONDecoder().raw_decode(text[match.end() :])
        found.setdefault(match[1], (match.end(), length))
    return found


def damaged(data: bytes, how: str, place: tuple[int, int]) -> bytes:
    """Return a file with one bit changed in the middle of a field, or cut off where it begins.

    A hexadecimal digit becomes another one, so that it is not the form alone that breaks.
    """
    offset, length = place
    if how == "cut":
        return data[:offset]
    changed = bytearray(data)
    at = offset + length // 2
    masks = (1, 2) if changed[at] in _HEX else (1,)
    changed[at] = next(
        (changed[at] ^ mask for mask in masks if changed[at] ^ mask in _HEX), changed[at] ^ 1
    )
    return bytes(changed)
