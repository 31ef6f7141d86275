"""Clean-up of a staging location: what is left of a seed that nobody needs any more.

Only names that a seed's folder has from us are removed, so that a file which somebody else put
there stays.  `READY` goes first, so that no disk preparation begins with half a seed, and
`seed.json` last, so that an interrupted clean-up is recognised and can be run again.
"""

from dataclasses import dataclass

from overland.ports.files import Files
from overland.seeding.seedrecord import RECORD, seed_folder
from overland.seeding.staging import MANIFEST, READY
from overland.seeding.subfolder import Subfolder
from overland.values import SeedId, is_object_name

__all__ = ["Removed", "remove_seed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a clean-up removed, and how many files it left because they are not ours."""

    objects: int
    size_bytes: int
    foreign: int = 0


def remove_seed(files: Files, seed_id: SeedId) -> Removed:
    """Remove a seed's files from a staging location; what is gone already is no error.

    On return the removal survives a power cut; during it, running it again finishes it.  Files that
    are not ours stay, and so do empty folders.

    Args:
        files: The staging location.
        seed_id: Whose files.
    """
    seed = Subfolder(files, seed_folder(seed_id))
    found = list(seed.names())
    ours = [info for info in found if is_object_name(info.name)]
    for name in (READY, MANIFEST, *(info.name for info in ours), RECORD):
        seed.delete(name)
    return Removed(
        objects=len(ours),
        size_bytes=sum(info.size_bytes for info in ours),
        foreign=len({info.name for info in found} - {info.name for info in ours} - _HEAD),
    )


_HEAD = frozenset({READY, MANIFEST, RECORD})
