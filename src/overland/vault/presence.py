"""What of a list of objects a store holds; names and sizes only, no content."""

from collections.abc import Mapping
from typing import Final

from overland.errors import ObjectAbsent
from overland.format.objectsizes import ObjectSizes
from overland.ports.objects import Objects

__all__ = ["absent", "size_bytes"]

_LISTED_FROM: Final = 256
"""From so many objects on, one listing is cheaper than as many questions."""


def absent(store: Objects, *, prefix: str, wanted: Mapping[str, int]) -> list[str]:
    """Return the names of `wanted` that are not below `prefix` with the wanted size, sorted."""
    if len(wanted) < _LISTED_FROM:
        return sorted(n for n, size in wanted.items() if size_bytes(store, prefix + n) != size)
    held = ObjectSizes(store.names(prefix), below=prefix)
    if isinstance(wanted, ObjectSizes):
        return [*wanted.differing(held)]
    return sorted(name for name, size in wanted.items() if held.get(name) != size)


def size_bytes(store: Objects, name: str) -> int | None:
    """Return an object's size, or None when the store does not hold it."""
    try:
        return store.head(name).size_bytes
    except ObjectAbsent:
        return None
