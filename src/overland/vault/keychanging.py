"""Accepting changes of the signing key (`docs/format/key-change-v1.md`).

Whoever has the old key can sign a change, so the signatures alone accept nothing: the vault's owner
asks for it, with vault credentials that the change names by their digest.  What the old key signed
and the change does not list is refused from then on, and the catalog's points among it are given
up.  A copy of every accepted change is kept where source computers cannot write.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from sqlalchemy import Connection, update

from overland.crypto import sign
from overland.errors import IntegrityError, ObjectAbsent, RefusedError
from overland.format.key_change import (
    MAX_KEY_CHANGE_BYTES,
    KeyChange,
    KeyChangeInvalid,
    decode_key_change,
    verify_key_change,
)
from overland.ports.objects import Objects
from overland.values import ObjectName, PointId, key_change_name
from overland.vault import catalog, chains, presence, signers
from overland.vault.catalog import CatalogPoint
from overland.vault.owner import Foreign, Owner, kept_change_name
from overland.vault.replacing import ChainChanged
from overland.vault.tables import points

__all__ = ["KeyChangeBehind", "KeyChangeRefused", "Listed", "accept", "open_change"]

Listed = Collection[tuple[str, str]]
"""Kind and id of what key changes list."""


class KeyChangeBehind(RefusedError):
    """A key change is not the next one: another copy of the home folder was faster."""

    code: ClassVar[str] = "key-change-behind"

    def __init__(self, number: int, *, known: int) -> None:
        super().__init__(
            f"key change {number} does not follow: the cloud has {known}, and another signing key "
            "than it would replace; another copy of the home folder replaced the key, or this one "
            "is from an older backup"
        )
        self.number, self.known = number, known


class KeyChangeRefused(RefusedError):
    """A key change would leave the vault with documents that nobody believes."""

    code: ClassVar[str] = "key-change-refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the key change is refused: {reason}; nothing was changed")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A key change whose signatures hold, and all that it and those before it list."""

    change: KeyChange
    sha256: str
    listed: Listed


def open_change(
    store: Objects,
    *,
    owner: Owner,
    vault_id: str,
    number: int,
    sha256: str,
    token_sha256: str,
) -> Opened:
    """Return a key change that is in the vault, and keep a copy; the slow half, without rows.

    Args:
        store: The vault's space.
        owner: Whose key it changes, with the keys that count now.
        vault_id: The vault.
        number: Of the change.
        sha256: Of its file.
        token_sha256: Of the vault credentials that ask for it.

    Raises:
        KeyChangeBehind: It is not the next one.
        ObjectAbsent: The vault has no such object.
        KeyChangeRefused: It was made for other vault credentials, or its new key is a former one.
        Foreign: It is of another repository or vault.
        SignatureInvalid: The old or the new key did not sign it.
        IntegrityError: It is no key change, or an earlier one can be read nowhere.
        OutOfSpace: There is no room for the copy.
    """
    name = key_change_name(number, sha256)
    place = owner.prefix + name
    if store.head(place).size_bytes > MAX_KEY_CHANGE_BYTES:
        raise KeyChangeInvalid(name, check="it is too long")
    data = store.read(place)
    change = verify_key_change(data, name=name, verify=sign.verify)
    for field, found, expected in (
        ("repository id", change.repository_id, owner.repository_id),
        ("vault id", change.vault_id, vault_id),
    ):
        if found != expected:
            raise Foreign(name, field=field, found=found, expected=expected)
    if change.token_sha256 != token_sha256:
        raise KeyChangeRefused("it was made for other vault credentials")
    _require_next(owner, change)
    if change.new_public_key in {each.public_key for each in owner.former}:
        raise KeyChangeRefused("its new key was one before")
    listed = {(each.kind, each.id) for each in change.vouched} | _listed_before(store, owner)
    kept = kept_change_name(owner, name)
    if presence.size_bytes(store, kept) is None:
        store.put(kept, [data], size_bytes=len(data), sha256=sha256)
    return Opened(change=change, sha256=sha256, listed=listed)


def accept(
    connection: Connection,
    owner: Owner,
    opened: Opened,
    *,
    at: datetime,
    actor: str,
) -> int:
    """Let the new key count from now on; return the version afterwards.

    Points of the catalog that are not listed are given up: they count as reclaimed, and their
    files go with the next reclaims.

    Raises:
        KeyChangeBehind: Another change was faster.
        ChainChanged: Something was recorded since its list was made.
        KeyChangeRefused: A point that stays needs one that is not listed, or a replacement or the
            manifest of a seed that travels is not.
    """
    fence = chains.read_fence(connection, owner)
    change = opened.change
    _require_next(fence.owner, change)
    if change.chain_version != fence.version:
        raise ChainChanged(expected=change.chain_version, found=fence.version)
    rows = catalog.list_points(connection, source_computer_id=owner.source_computer_id)
    left_out = _left_out(rows, fence.accepted, opened.listed)
    signers.enter(connection, fence.owner, change, sha256=opened.sha256, at=at)
    for each in left_out:
        of_point = (
            points.c.source_computer_id == owner.source_computer_id,
            points.c.point_id == each,
        )
        values = {"reclaimed_at": at, "is_complete": False}
        connection.execute(update(points).where(*of_point).values(**values))
        chains.note(connection, owner, "point-left-out", at=at, actor=actor, subject=each)
    catalog.settle(connection, owner)
    detail = {"number": change.number, "change": opened.sha256, "left_out": len(left_out)}
    chains.note(connection, owner, "signing-key-changed", at=at, actor=actor, detail=detail)
    return chains.count_version(connection, owner)


def _require_next(owner: Owner, change: KeyChange) -> None:
    known = len(owner.former)
    is_next = change.number == known + 1
    if not is_next or bytes.fromhex(change.old_public_key) != owner.public_key:
        raise KeyChangeBehind(change.number, known=known)


def _listed_before(store: Objects, owner: Owner) -> set[tuple[str, str]]:
    """Return what the earlier changes list: the new one says nothing of it."""
    found: set[tuple[str, str]] = set()
    for number in range(1, len(owner.former) + 1):
        name = owner.signers.change_name(number)
        data = _read(store, owner, name)
        found.update((each.kind, each.id) for each in decode_key_change(data, name=name).vouched)
    return found


def _read(store: Objects, owner: Owner, name: ObjectName) -> bytes:
    digest = name.removesuffix(".change")[-64:]
    for place in (kept_change_name(owner, name), owner.prefix + name):
        try:
            data = store.read(place)
        except (ObjectAbsent, IntegrityError):
            continue
        if hashlib.sha256(data).hexdigest() == digest:
            return data
    raise IntegrityError(f"the accepted {name} can be read nowhere; run `overland repair`")


def _left_out(
    rows: Sequence[CatalogPoint], accepted: Sequence[str], listed: Listed
) -> list[PointId]:
    """Return the points that are given up.

    Raises:
        KeyChangeRefused: Something that stays relies on what is not listed.
    """
    by_id = {each.point_id: each for each in rows}
    for each in accepted:
        if ("replacement", each) not in listed:
            raise KeyChangeRefused(f"the accepted replacement {each} is not listed")
    for row in rows:
        if ("point", row.point_id) not in listed or row.reclaimed_at is not None:
            continue
        travels = row.published_at is None and row.seed_id is not None
        if travels and ("seed-manifest", row.seed_id) not in listed:
            raise KeyChangeRefused(f"the manifest of seed {row.seed_id} is not listed")
        met = {row.point_id}
        base = row.base
        while base is not None and base in by_id and base not in met:
            if ("point", base) not in listed:
                raise KeyChangeRefused(
                    f"recovery point {row.point_id} is listed, and {base}, which it is based on, "
                    "is not"
                )
            met.add(base)
            base = by_id[base].base
    return [
        row.point_id
        for row in rows
        if row.reclaimed_at is None and ("point", row.point_id) not in listed
    ]
