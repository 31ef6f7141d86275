"""Whose objects a vault holds, and the proof that a signed document is theirs."""

from dataclasses import dataclass
from typing import ClassVar

from overland.crypto import sign
from overland.errors import IntegrityError, SignatureInvalid
from overland.format import point as point_format
from overland.format import seed_manifest as manifest_format
from overland.format.point import PointPublic
from overland.format.seed_manifest import SEED_MANIFEST_PURPOSE, SeedManifest
from overland.format.signed import decode_signed
from overland.values import PointId, RepositoryId, SeedId, point_name

__all__ = ["Foreign", "Owner", "open_manifest", "open_point"]


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
    """A registered source computer: the only one whose signature counts for its objects."""

    source_computer_id: str
    repository_id: RepositoryId
    public_key: bytes

    @property
    def prefix(self) -> str:
        """Where its objects are in the vault's space."""
        return f"{self.source_computer_id}/"


def open_manifest(document: bytes, *, owner: Owner, seed_id: SeedId) -> SeedManifest:
    """Return the manifest of a seed, proven to be the owner's and of this seed.

    Raises:
        SignatureInvalid: Somebody else signed it, or it was changed.
        Foreign: It is the owner's, but of another repository or seed.
        IntegrityError: It is not a seed manifest.
    """
    name = f"the manifest of seed {seed_id}"
    signed = decode_signed(document, SEED_MANIFEST_PURPOSE, name=name)
    if signed.public_key != owner.public_key:
        raise SignatureInvalid(name)
    sign.verify(owner.public_key, SEED_MANIFEST_PURPOSE, signed.body, signed.signature)
    manifest = manifest_format.decode_seed_manifest(signed.body, name=name)
    _match(name, "repository id", manifest.repository_id, owner.repository_id)
    _match(name, "seed id", manifest.seed_id, seed_id)
    return manifest


def open_point(data: bytes, *, owner: Owner, point_id: PointId) -> PointPublic:
    """Return the public part of a recovery point, proven to be the owner's and of this id.

    Raises:
        SignatureInvalid: Somebody else signed it, or it was changed.
        Foreign: It is the owner's, but of another repository or another point.
        PointCorrupt: It is not a recovery point.
    """
    name = point_name(point_id)
    parsed = point_format.parse(data, name=name)
    purpose = point_format.SIGNATURE_PURPOSE
    sign.verify(owner.public_key, purpose, parsed.signed_bytes, parsed.signature)
    _match(name, "repository id", parsed.public.repository_id, owner.repository_id)
    _match(name, "point id", parsed.public.point_id, point_id)
    return parsed.public


def _match(what: str, field: str, found: str, expected: str) -> None:
    if found != expected:
        raise Foreign(what, field=field, found=found, expected=expected)
