"""Whose objects a vault holds, and the proof that a signed document is theirs.

What a former signing key signed counts where the key change that ended it lists the file
(`docs/format/key-change-v1.md`).  Of the key changes that were entered, copies lie where source
computers cannot write; either place serves, because a change's digest is in its row.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import ClassVar

from overland.crypto.keyring import FormerSigner
from overland.crypto.signers import Signers, Vouched
from overland.errors import IntegrityError, ObjectAbsent
from overland.format import point as point_format
from overland.format import seed_manifest as manifest_format
from overland.format.key_change import vouched_digests
from overland.format.point import PointPublic
from overland.format.seed_manifest import SEED_MANIFEST_PURPOSE, SeedManifest
from overland.format.signed import decode_signed
from overland.ports.objects import Objects
from overland.values import ObjectName, PointId, RepositoryId, SeedId, point_name

__all__ = ["Foreign", "Owner", "kept_change_name", "open_manifest", "open_point"]


class Foreign(IntegrityError):
    """A document is genuine, but belongs to another repository, seed or recovery point."""

    code: ClassVar[str] = "foreign"

    def __init__(self, what: str, *, field: str, found: str, expected: str) -> None:
        super().__init__(
            f"{what} has {field} {found} and not {expected}: "
            "it belongs elsewhere; check which drives and which job it came with"
        )
        self.what, self.field, self.found, self.expected = what, field, found, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A registered source computer: the only one whose signature counts for its objects.

    `former` are its signing keys before `public_key`, the first first.
    """

    source_computer_id: str
    repository_id: RepositoryId
    public_key: bytes
    former: tuple[FormerSigner, ...] = ()
    _lists: dict[int, frozenset[bytes]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    @property
    def prefix(self) -> str:
        """Where its objects are in the vault's space."""
        return f"{self.source_computer_id}/"

    @property
    def signers(self) -> Signers:
        """The keys, as those who verify want them."""
        return Signers(self.public_key, self.former)

    def vouched(self, store: Objects) -> Vouched:
        """Return what tells which files of a former key count; each list is read once."""

        def listed(number: int) -> Collection[bytes] | None:
            """Return what a key change lists; None if it is nowhere, and then not kept."""
            if number not in self._lists:
                found = self._read_list(store, number)
                if found is None:
                    return None
                self._lists[number] = found
            return self._lists[number]

        return listed

    def _read_list(self, store: Objects, number: int) -> frozenset[bytes] | None:
        """Return the list, or None when it can be read nowhere."""
        signers = self.signers
        name = signers.change_name(number)
        for place in (kept_change_name(self, name), self.prefix + name):
            try:
                return vouched_digests(
                    store.read(place),
                    name=name,
                    repository_id=self.repository_id,
                    old_public_key=bytes.fromhex(self.former[number - 1].public_key),
                    new_public_key=signers.successor(number),
                )
            except (ObjectAbsent, IntegrityError):
                continue  # the other place
        return None


def kept_change_name(owner: Owner, name: ObjectName) -> str:
    """Return where the copy of an entered key change lies in the vault's space."""
    return f"control/{name.replace('/', f'/{owner.source_computer_id}/', 1)}"


def open_manifest(
    document: bytes, *, owner: Owner, seed_id: SeedId, store: Objects
) -> SeedManifest:
    """Return the manifest of a seed, proven to be the owner's and of this seed.

    Args:
        document: The signed document.
        owner: Whose it has to be.
        seed_id: Of which seed.
        store: The vault's space; read only for what a former key signed.

    Raises:
        SigningKeyRetired: A former key of the owner signed it, and it was not there when the key
            was replaced.
        SignatureInvalid: Somebody else signed it, or it was changed.
        KeyChangeMissing: A former key signed it, and nobody can tell whether it counts.
        Foreign: It is the owner's, but of another repository or seed.
        IntegrityError: It is not a seed manifest.
    """
    name = f"the manifest of seed {seed_id}"
    signed = decode_signed(document, SEED_MANIFEST_PURPOSE, name=name)
    owner.signers.prove(
        SEED_MANIFEST_PURPOSE,
        signed.body,
        signed.signature,
        file=document,
        name=name,
        vouched=owner.vouched(store),
        claimed=signed.public_key,
    )
    manifest = manifest_format.decode_seed_manifest(signed.body, name=name)
    _match(name, "repository id", manifest.repository_id, owner.repository_id)
    _match(name, "seed id", manifest.seed_id, seed_id)
    return manifest


def open_point(data: bytes, *, owner: Owner, point_id: PointId, store: Objects) -> PointPublic:
    """Return the public part of a recovery point, proven to be the owner's and of this id.

    Args:
        data: The point's file.
        owner: Whose it has to be.
        point_id: Which point.
        store: The vault's space; read only for what a former key signed.

    Raises:
        SigningKeyRetired: A former key of the owner signed it, and it was not there when the key
            was replaced.
        SignatureInvalid: Somebody else signed it, or it was changed.
        KeyChangeMissing: A former key signed it, and nobody can tell whether it counts.
        Foreign: It is the owner's, but of another repository or another point.
        PointCorrupt: It is not a recovery point.
    """
    name = point_name(point_id)
    parsed = point_format.parse(data, name=name)
    owner.signers.prove(
        point_format.SIGNATURE_PURPOSE,
        parsed.signed_bytes,
        parsed.signature,
        file=data,
        name=name,
        vouched=owner.vouched(store),
    )
    _match(name, "repository id", parsed.public.repository_id, owner.repository_id)
    _match(name, "point id", parsed.public.point_id, point_id)
    return parsed.public


def _match(what: str, field: str, found: str, expected: str) -> None:
    if found != expected:
        raise Foreign(what, field=field, found=found, expected=expected)
