"""What of a seed has not arrived: neither in its container, nor in the vault.

Places in the seed's manifest tell it, as runs, because whoever makes drives has the same manifest,
and hundreds of thousands of names would be a long answer.  Names and sizes are compared, no bytes:
a station shows nothing in a container that is not what was signed.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from overland.cloud import adoptions, seedwork
from overland.cloud.computers import load as load_computer
from overland.cloud.computers import owner_of
from overland.cloud.identity import Permission, Principal
from overland.cloud.refusals import Conflict
from overland.cloud.services import Services
from overland.format.objectsizes import ObjectSizes
from overland.jobs.states import SeedState
from overland.values import ObjectInfo
from overland.vault import presence
from overland.vault.adoption import ManifestChanged
from overland.vault.owner import open_manifest

__all__ = ["MissingPart", "find_missing"]

_TRAVELS: Final = frozenset({SeedState.AWAITING_IMPORT, SeedState.ADOPTING, SeedState.ONLINE})


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingPart:
    """The missing objects, as runs of (first place in the manifest, how many)."""

    seed_id: str
    manifest_sha256: str
    objects: int
    size_bytes: int
    runs: tuple[tuple[int, int], ...]


def find_missing(services: Services, principal: Principal, seed_id: str) -> MissingPart:
    """Return what of a seed is neither in its container nor in the vault, whatever travels now.

    Raises:
        ResourceAbsent: The caller has no such seed.
        Conflict: It has no manifest yet, or was given up.
        ManifestChanged: The stored manifest is not the one that the seed was announced with.
        IntegrityError, KeyChangeMissing: As `open_manifest`.
    """
    principal.require(Permission.READ_SEEDS)
    with services.call(principal) as call:
        seed = adoptions.settled(call, seedwork.get_seed(call, seed_id))
        if seed.state not in _TRAVELS or seed.manifest_sha256 is None:
            raise Conflict("state", f"the seed is {seed.state}; nothing of it is on its way")
        owner = owner_of(call, load_computer(call, seed.source_computer_id))
    vault = services.spaces.open(f"vaults/{seed.vault_id}")
    document = vault.read(seedwork.manifest_name(seed, seed.manifest_sha256))
    if hashlib.sha256(document).hexdigest() != seed.manifest_sha256:
        raise ManifestChanged(seed.seed_id)
    manifest = open_manifest(document, owner=owner, seed_id=seed.seed_id, store=vault)
    sizes = ObjectSizes(manifest.objects)
    container = services.spaces.open(seed.space)
    absent = presence.absent(container, prefix=seed.prefix, wanted=sizes)
    sizes = ObjectSizes(ObjectInfo(name=name, size_bytes=sizes[name]) for name in absent)
    absent = presence.absent(vault, prefix=owner.prefix, wanted=sizes)
    missing = set(absent)
    places = (place for place, each in enumerate(manifest.objects) if each.name in missing)
    return MissingPart(
        seed_id=seed.seed_id,
        manifest_sha256=seed.manifest_sha256,
        objects=len(absent),
        size_bytes=sum(sizes[name] for name in absent),
        runs=tuple(_runs(places)),
    )


def _runs(places: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and place == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((place, 1))
    return runs
