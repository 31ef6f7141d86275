"""The way of one object from the container into the vault, and what is asked for on it."""

import hashlib

import msgspec

from overland.errors import ObjectAbsent, ObjectCorrupt, ObjectExists
from overland.format.objectsizes import ObjectSizes
from overland.format.seed_manifest import ManifestObject, SeedManifest
from overland.ports.objects import Objects, Spaces
from overland.values import RepositoryId, SeedId, point_name
from overland.vault import presence
from overland.vault.attempts import Outcome, Reason
from overland.vault.owner import Foreign, Owner, open_point

__all__ = ["AdoptionRequest", "Move"]


class AdoptionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to adopt, for whom, from where, to where; the whole attempt holds to it.

    The signed manifest lies in the vault's space as `manifest_name`, where agents cannot write.
    """

    seed_id: SeedId
    manifest_name: str
    manifest_sha256: str
    source_computer_id: str
    repository_id: RepositoryId
    public_key: str
    container_space: str
    vault_space: str

    @property
    def container_prefix(self) -> str:
        """Where the station put the seed's objects in the container."""
        return f"seed-{self.seed_id}/"

    @property
    def owner(self) -> Owner:
        """The registered source computer, with the signing key that it had then."""
        return Owner(
            source_computer_id=self.source_computer_id,
            repository_id=self.repository_id,
            public_key=bytes.fromhex(self.public_key),
        )


class Move:
    """The way of one object from the container into the vault."""

    def __init__(self, request: AdoptionRequest, spaces: Spaces, *, owner: Owner) -> None:
        """Prepare; `owner` is whose signatures count now."""
        self._request, self._owner = request, owner
        self._container: Objects = spaces.open(request.container_space)
        self._vault: Objects = spaces.open(request.vault_space)

    def adopt(self, wanted: ManifestObject, *, is_verified: bool) -> Outcome:
        """Bring an object into the vault, or say why that cannot be.

        On "copied" and "skipped" it is durable there, with its signed digest.

        Raises:
            OutOfSpace: The vault is full.
            TransientError, OSError: A store failed; doing it again goes on.
        """
        name = self._request.owner.prefix + wanted.name
        present_bytes = presence.size_bytes(self._vault, name)
        if present_bytes == wanted.size_bytes and is_verified:
            return "skipped"
        # Something that is there was put by the source computer, or by a step that was killed.
        # Putting it onto itself has the store check it, and make it durable.
        content = (
            self._container.blocks(self._request.container_prefix + wanted.name)
            if present_bytes is None
            else self._vault.blocks(name)
        )
        try:
            self._vault.put(name, content, size_bytes=wanted.size_bytes, sha256=wanted.sha256)
        except ObjectAbsent:
            return "absent"
        except ObjectCorrupt:
            return "corrupt" if present_bytes is None else "conflict"
        except ObjectExists:
            return "conflict"
        return "copied" if present_bytes is None else "skipped"

    def check_point(self, wanted: ManifestObject, manifest: SeedManifest) -> Reason | None:
        """Return what is wrong with the point's bytes, or None when it may be published.

        Raises:
            Foreign: The bytes are those of the manifest, and are another seed's point.
            IntegrityError, KeyChangeMissing: The same, and they are no point that the owner signed.
        """
        name, store = self._request.owner.prefix + wanted.name, self._vault
        bad: Reason = "conflict"
        size_bytes = presence.size_bytes(store, name)
        if size_bytes is None:
            name, store = self._request.container_prefix + wanted.name, self._container
            bad, size_bytes = "corrupt", presence.size_bytes(store, name)
        if size_bytes is None:
            return "absent"
        if size_bytes != wanted.size_bytes:
            return bad
        data = store.read(name)
        if hashlib.sha256(data).hexdigest() != wanted.sha256:
            return bad
        _check_seed_point(data, manifest, owner=self._owner, store=self._vault)
        return None


def _check_seed_point(data: bytes, manifest: SeedManifest, *, owner: Owner, store: Objects) -> None:
    """Check that a point and the manifest that names it speak of the same seed."""
    public = open_point(data, owner=owner, point_id=manifest.point_id, store=store)
    what = point_name(manifest.point_id)
    signed = ObjectSizes(manifest.objects)
    stray = next((each.name for each in public.objects if each.name not in signed), "none")
    facts = (
        ("seed id", str(public.seed_id), manifest.seed_id),
        ("snapshot", public.created_at.isoformat(), manifest.snapshot_at.isoformat()),
        ("unlisted object", stray, "none"),
    )
    for field, found, expected in facts:
        if found != expected:
            raise Foreign(what, field=field, found=found, expected=expected)
