"""Which objects a recovery point lists and no place has, for the report of a restore."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from overland.format.objectsizes import ObjectSizes
from overland.format.point import PointPublic
from overland.values import ObjectInfo

__all__ = ["not_there"]


class _Place(Protocol):
    def names(self, prefix: str = "") -> Iterator[ObjectInfo]: ...


def not_there(publics: Iterable[PointPublic], place: _Place) -> list[str]:
    """Return the objects of these points that a place does not list, sorted, each once.

    Takes 40 bytes for each object that the place lists, and what is lost as it is.

    Raises:
        Whatever listing the place raises.
    """
    there = ObjectSizes(place.names())
    return sorted({ref.name for each in publics for ref in each.objects if ref.name not in there})
