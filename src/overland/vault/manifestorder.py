"""In which order the objects of a seed come into the vault."""

import array
from collections.abc import Iterator
from typing import Final, final

from overland.format.seed_manifest import ManifestObject, SeedManifest

__all__ = ["Ordered"]

_RANKS: Final = {"packs": 0, "index": 1, "keychanges": 2, "keys": 3}  # what is needed comes first


@final
class Ordered:
    """All objects of a manifest but the point: packs, then index files, then keyrings.

    8 bytes for each; the objects are made when they are asked for.

    Attributes:
        counts: How many there are of each kind, in this order.
    """

    def __init__(self, manifest: SeedManifest) -> None:
        kinds = tuple(array.array("Q") for _ in _RANKS)
        for place, each in enumerate(manifest.objects):
            if not each.name.startswith("points/"):
                kinds[_rank(each)].append(place)
        self._objects, self.counts = manifest.objects, tuple(map(len, kinds))
        self._places = array.array("Q")
        for places in kinds:
            self._places += places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[ManifestObject]:
        return map(self._objects.__getitem__, self._places)

    def __getitem__(self, part: slice) -> list[ManifestObject]:
        return [self._objects[place] for place in self._places[part]]


def _rank(each: ManifestObject) -> int:
    return _RANKS[each.name.partition("/")[0]]
