"""Which keyrings the vault has beside this computer's newest, and who can have made them.

Whoever has the computer's token can put anything under a keyring's name, and a store can damage
what is there; neither can make a keyring whose MAC holds (`docs/format/keys-v1.md` §2.6, §2.7).
A keyring whose MAC does not hold, and that is this computer's own in all else, is damaged: nothing
in it is anybody else's.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from overland.agent.home import AgentHome
from overland.agent.setup import load_keys, newest_keyring
from overland.crypto.keyring import (
    MAX_KEYRING_BYTES,
    KeyringDocument,
    decode_keyring,
    generation_of,
    master_number,
    without_macs,
)
from overland.crypto.keyringproof import is_genuine
from overland.crypto.masterkey import MasterKey
from overland.errors import ObjectAbsent, ObjectCorrupt
from overland.ports.objects import Objects
from overland.values import is_object_name, keyring_name

__all__ = ["Found", "Maker", "VaultKeyrings", "look"]

_MAX_KEYRINGS: Final = 16  # read above ours: a stranger may have put more there

_TOPMOST: Final = 90_000_000
"""Above it a new keyring takes the next free number instead of going on top of all others.

So a stranger who takes the last numbers does not use them up: ten million are left for changes.
"""


class Maker(StrEnum):
    """Who can have made a keyring in the vault that is not the newest of this computer."""

    OWNER = "owner"  # the holder of the newest master key here
    FORMER = "former"  # the holder of a former one: a copy of the home folder, or who stole one
    STRANGER = "stranger"  # nobody with a key of this repository
    DAMAGED = "damaged"  # nobody knows: it is no keyring, or ours with other MACs


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A keyring in the vault; `master_number` is 0 for a damaged one."""

    number: int
    maker: Maker
    master_number: int


class VaultKeyrings(msgspec.Struct, frozen=True, kw_only=True):
    """The keyrings of the vault as this computer sees them.

    `here` is the number of its newest and `master_number` that of the master key in it; `has_ours`
    tells whether the vault has exactly that one, and `is_master_there` whether it has that or an
    older one with this master key.  `others` are those under this or a higher number
    that are something else, the highest first, 16 at most above this one.  `taken` are all numbers.
    """

    here: int
    master_number: int
    has_ours: bool
    is_master_there: bool
    others: tuple[Found, ...]
    taken: frozenset[int]

    @property
    def under_our_number(self) -> Maker | None:
        """Who made what has the number of our newest; None if that is ours, or nothing."""
        same = [each.maker for each in self.others if each.number == self.here]
        return same[0] if same else None

    @property
    def of_owner(self) -> tuple[Found, ...]:
        """Those that another copy of this home folder made, and that count before ours."""
        return tuple(each for each in self.others if each.maker is Maker.OWNER)

    @property
    def rivals(self) -> tuple[Found, ...]:
        """Those that may be of another copy of this home folder, made when it was older.

        There are none once the vault has a keyring of our newest master key: another copy then sees
        that one, and changes nothing.
        """
        if self.is_master_there:
            return ()
        return tuple(
            each
            for each in self.others
            if each.maker is Maker.FORMER
            and (each.number == self.here or each.master_number >= self.master_number)
        )

    @property
    def can_go_above(self) -> bool:
        """Whether another number would make our newest the first that a reader finds."""
        above = max((each.number for each in self.others), default=0)
        return bool(self.others) and (not self.has_ours or above < self.next_number())

    def next_number(self) -> int:
        """Return the number of the next keyring: above all others, or else a free one."""
        top = max(self.here, *self.taken, 1)
        if top < _TOPMOST:
            return top + 1
        number = self.here + 1
        while number in self.taken:
            number += 1
        return number


def look(home: AgentHome, vault: Objects) -> VaultKeyrings:
    """Return which keyrings the vault has, as far as they concern the newest of this computer.

    Raises:
        AgentNotInitialised: The computer has no keys yet.
        TransientError: The vault does not answer.
    """
    name, document = newest_keyring(home)
    names = sorted(info.name for info in vault.names("keys/") if is_object_name(info.name))
    others: list[Found] = []
    ours, has_ours = home.files.read(name), False
    if name in names:
        found = _read(vault, name)
        has_ours = found == ours
        if found is not None and not has_ours:
            others.append(_judged_as_ours(found, name, home, document))
    for newer in [each for each in names if each > name][-_MAX_KEYRINGS:]:
        data = _read(vault, newer)
        if data is not None:
            others.append(_judged(data, newer, home))
    older = [each for each in names if each < name][-_MAX_KEYRINGS:]
    return VaultKeyrings(
        here=generation_of(document),
        master_number=master_number(document),
        has_ours=has_ours,
        is_master_there=has_ours or any(_has_our_master(vault, each, home) for each in older),
        others=tuple(reversed(others)),
        taken=frozenset(_number_in(each) for each in names),
    )


def _read(vault: Objects, name: str) -> bytes | None:
    """Return what lies there, cut behind the longest keyring; None if it went meanwhile."""
    try:
        return vault.read_range(name, offset=0, length=MAX_KEYRING_BYTES + 1)
    except ObjectAbsent:
        return None
    except ObjectCorrupt:
        return b""


def _has_our_master(vault: Objects, name: str, home: AgentHome) -> bool:
    data = _read(vault, name)
    return data is not None and _judged(data, name, home).maker is Maker.OWNER


def _judged(data: bytes, name: str, home: AgentHome) -> Found:
    number = _number_in(name)
    try:
        document = decode_keyring(data, name=name)
    except ObjectCorrupt:
        return Found(number=number, maker=Maker.DAMAGED, master_number=0)
    maker = _maker(document, load_keys(home).master)
    return Found(number=number, maker=maker, master_number=master_number(document))


def _judged_as_ours(data: bytes, name: str, home: AgentHome, ours: KeyringDocument) -> Found:
    """Judge what has the name of our newest, but is not the same."""
    found = _judged(data, name, home)
    if found.maker is Maker.DAMAGED or not _is_but_for_macs(decode_keyring(data, name=name), ours):
        return found
    # Whichever of its MACs still holds: the others would, too, had anybody with a key made it.
    return Found(number=found.number, maker=Maker.DAMAGED, master_number=0)


def _is_but_for_macs(document: KeyringDocument, ours: KeyringDocument) -> bool:
    return without_macs(document) == without_macs(ours)


def _maker(document: KeyringDocument, master: MasterKey) -> Maker:
    if is_genuine(document, master):
        return Maker.OWNER
    known: Sequence[MasterKey] = [
        MasterKey(secret, master.former[:number]) for number, secret in enumerate(master.former)
    ]
    made = any(is_genuine(document, former) for former in known)
    return Maker.FORMER if made else Maker.STRANGER


def _number_in(name: str) -> int:
    number = int(name[len("keys/") : -len(".keyring")])
    assert keyring_name(number) == name, "object names have one form"
    return number
