"""What a story promises: plain trees, plain objects, and what nobody let go.

It shares nothing with the program but the decoding of signed documents: what a point needs is
worked out anew here, in the slow and obvious way of `docs/format/replacement-v1.md` §4, and so is
what counts after a change of the signing key (`docs/format/keys-v1.md` §6.2).
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.simulation.actions.source import Tree

from overland.errors import IntegrityError
from overland.format import point as point_format
from overland.format.point import PointPublic
from overland.format.replacement import (
    REPLACEMENT_PURPOSE,
    Replacement,
    decode_replacement,
)
from overland.format.signed import decode_signed
from overland.values import PointId, named_digest, point_name, replacement_name
from overland.vault.marks import MIN_GRACE

__all__ = ["Model"]

_SIGNED: Final = {"points": point_format.SIGNATURE_PURPOSE, "replacements": REPLACEMENT_PURPOSE}


class Model:
    """The promises so far."""

    def __init__(self) -> None:
        self.attempts: dict[PointId, Tree] = {}  # also of runs that never came to their end
        self.promised: dict[PointId, Tree] = {}
        self.let_go_at: dict[PointId, datetime] = {}
        self.lost: dict[PointId, frozenset[str]] = {}
        self.accepted: list[Replacement] = []
        self.truth: dict[str, bytes] = {}
        self.torn: set[str] = set()
        self.keys: list[bytes] = []
        """The public signing keys, the first first; the last one counts."""
        self.changes: list[str] = []
        """The names of the key changes, each of which ended a key."""
        self.forged: set[PointId] = set()

    def take(self, held: dict[str, bytes]) -> None:
        """Keep the true bytes of objects that are new, before anybody harms them."""
        for name in held.keys() - self.truth.keys() - self.torn:
            if is_true(name, held[name]):
                self.truth[name] = held[name]
            else:
                self.torn.add(name)  # by a medium that lied
        for name in self.torn & held.keys():
            if is_true(name, held[name]):
                self.torn.discard(name)
                self.truth[name] = held[name]

    def damaged(self, held: dict[str, bytes]) -> set[str]:
        """Return the objects whose bytes are not what was written."""
        return {name for name, data in held.items() if self.truth.get(name) != data}

    def missing(self, held: Iterable[str]) -> set[str]:
        """Return what a promised point needs and the vault does not hold."""
        every = set[str]().union(*(self.needed(each) for each in self.promised))
        return every - set(held)

    def surely_missed(self, held: dict[str, bytes]) -> set[str]:
        """Return what of this can be known from the vault alone: where all documents are whole."""
        whole = held.keys() - self.damaged(held)
        if not {replacement_name(each.replacement_id) for each in self.accepted} <= whole:
            return set()
        names: set[str] = set()
        for point_id in self.promised:
            if {point_name(public.point_id) for public in self.line(point_id)} <= whole:
                names |= self.needed(point_id)
        return names - held.keys()

    def accept(self, replacement_id: str) -> None:
        name = replacement_name(replacement_id)  # type: ignore[arg-type]  # a text until here
        document = decode_signed(self.truth[name], REPLACEMENT_PURPOSE, name=name)
        self.accepted.append(decode_replacement(document.body, name=name))

    def may_go(self, point_id: PointId, at: datetime) -> bool:
        """Whether a point may be reclaimed at an instant."""
        let_go_at = self.let_go_at.get(point_id)
        return let_go_at is not None and at - let_go_at >= MIN_GRACE

    def line(self, point_id: PointId) -> list[PointPublic]:
        """Return a point and its bases."""
        found: list[PointPublic] = []
        at: PointId | None = point_id
        while at is not None:
            found.append(_public(point_name(at), self.truth[point_name(at)]))
            at = found[-1].base
        return found

    def needed(self, point_id: PointId) -> set[str]:
        """Return the packs, index files and points that a point needs, itself or as its bases."""
        line = self.line(point_id)
        names = {ref.name for public in line for ref in public.objects}
        for each in self.accepted:  # in the order of acceptance
            if not names.isdisjoint(each.replaced):
                names |= {item.name for item in each.objects}
        for each in self.accepted:
            if point_id not in each.lost:
                names -= set(each.replaced)
        return names | {point_name(public.point_id) for public in line}

    def reads(self, point_id: PointId) -> set[str]:
        """Return what has to be whole for a point to be restored whole, by whoever has the keys."""
        packs = {name for name in self.needed(point_id) if name.startswith("packs/")}
        return packs | self.proofs(point_id)

    def proofs(self, point_id: PointId) -> set[str]:
        """Return what has to be whole for a point to be believed."""
        number = self._signer(point_name(point_id))
        return {point_name(point_id), *self.changes[number : number + 1]}

    # -- keys -----------------------------------------------------------------------------------

    def changed_key(self, name: str, change: bytes, public_key: bytes) -> None:
        """Take note of a change of the signing key that was finished; its list has to be right.

        What the key that ended signed, and the vault needs, is on it, and nothing that a thief
        signed and that the operator left out.
        """
        number, body = len(self.changes), json.loads(change.split(b"\n")[0])
        listed = {each["sha256"] for each in body["vouched"]}
        self.changes.append(name)
        self.keys.append(public_key)
        self.truth[name] = change
        must = {point_name(each.point_id) for p in self.promised for each in self.line(p)}
        must |= {replacement_name(each.replacement_id) for each in self.accepted}
        mine = {each for each in self._documents(self.truth) if self._signer(each) == number}
        lacking = {each for each in must & mine if _sha256(self.truth[each]) not in listed}
        assert not lacking, f"the key change leaves out {sorted(lacking)}"
        may = {_sha256(self.truth[each]) for each in mine}
        may -= {_sha256(self.truth[point_name(each)]) for each in self.forged}
        assert listed <= may, f"the key change vouches for {len(listed - may)} strange files"

    def retired(self, held: dict[str, bytes]) -> set[str]:
        """Return the documents, whole as they are, that count for nobody any more."""
        lists = [
            {each["sha256"] for each in json.loads(self.truth[name].split(b"\n")[0])["vouched"]}
            for name in self.changes
        ]
        found = set()
        for name in self._documents(held):
            number = self._signer(name) if held[name] == self.truth.get(name) else len(lists)
            if number < len(lists) and _sha256(held[name]) not in lists[number]:
                found.add(name)
        return found

    @staticmethod
    def _documents(names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if name.partition("/")[0] in _SIGNED)

    def _signer(self, name: str) -> int:
        """Return the place in `keys` of the key that signed a document."""
        return _signer(name, self.truth[name], tuple(self.keys))


def is_true(name: str, data: bytes) -> bool:
    """Whether an object that was just written is what its writer meant; by its own checks."""
    promised = named_digest(name)
    if promised is not None:
        return hashlib.sha256(data).hexdigest() == promised
    try:
        if name.startswith("points/"):
            _public(name, data)
        elif name.startswith("replacements/"):
            decode_signed(data, REPLACEMENT_PURPOSE, name=name)
    except IntegrityError:
        return False
    return bool(data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def _signer(name: str, data: bytes, keys: tuple[bytes, ...]) -> int:
    purpose = _SIGNED[name.partition("/")[0]]
    if name.startswith("points/"):
        parsed = point_format.parse(data, name=name)
        signed, signature = bytes(parsed.signed_bytes), parsed.signature
    else:
        document = decode_signed(data, purpose, name=name)
        signed, signature = document.body, document.signature
    for number, key in enumerate(keys):
        try:
            public = Ed25519PublicKey.from_public_bytes(key)
            public.verify(signature, purpose.encode() + b"\0" + signed)
        except InvalidSignature:
            continue
        return number
    raise AssertionError(f"{name} was signed by nobody")


@cache
def _public(name: str, data: bytes) -> PointPublic:
    return point_format.parse(data, name=name).public
