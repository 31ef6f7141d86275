"""What recovery points list, as far as it has to be looked at one object at a time.

A point of 100 TB lists one and a half million objects, and every point on it needs them too.
Almost all are there as they are listed, and no replacement names them: those are passed over once
for all points, and kept by nobody.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, final

from overland.agent.check.findings import FindingKind
from overland.format.point import ObjectRef, PointPublic
from overland.format.replacement import Replacement, ReplacementObject, needed_after
from overland.values import PointId, named_digest

__all__ = ["Lacking", "Line", "ListedObjects", "Ref", "flaw"]

Ref = ObjectRef | ReplacementObject


def flaw(ref: Ref, held: Mapping[str, int]) -> tuple[FindingKind, str] | None:
    """Return how what is held under a name differs from what a document lists, and in words.

    None if it does not, by name and size; what the bytes are is another question.
    """
    size_bytes = held.get(ref.name)
    if size_bytes is None:
        return "missing", "a recovery point needs it"
    if size_bytes != ref.size_bytes or named_digest(ref.name) not in {None, ref.sha256}:
        return "corrupt", "it is not the object that a recovery point names"
    return None


class Lacking(NamedTuple):
    """A point that is not here, and the one above, which builds on it."""

    base: PointId
    above: PointId


class Line(NamedTuple):
    """A point and those that it builds on, newest first, as far as they are here."""

    points: list[PointId]
    lacking: Lacking | None


@final
class ListedObjects:
    """The objects of all points of one store that may be missing, damaged or replaced.

    Memory: some 400 bytes for each of these, and none for the others.
    """

    def __init__(
        self,
        points: Mapping[PointId, PointPublic],
        replacements: Sequence[Replacement],
        *,
        is_whole: Callable[[Ref], bool],
    ) -> None:
        """Look at everything that is listed, once or twice.

        Args:
            points: All points of the store.
            replacements: All of the store, in the order in which they count.
            is_whole: Whether an object is there and is what a document says of it.
        """
        self._points, self._replacements = points, replacements
        self._coming: dict[str, Ref] = {
            item.name: item for each in replacements for item in each.objects
        }
        doubtful = {name for each in replacements for name in each.replaced} | self._coming.keys()
        # Every document's word on a name counts somewhere, also where another one's holds.
        doubtful |= {
            ref.name for each in points.values() for ref in each.objects if not is_whole(ref)
        }
        self._own: dict[PointId, dict[str, Ref]] = {}
        for point_id, public in points.items() if doubtful else ():
            self._own[point_id] = {r.name: r for r in public.objects if r.name in doubtful}

    def line(self, point_id: PointId) -> Line:
        """Return a point with its bases; a circle ends where it closes."""
        found: dict[PointId, None] = {}
        at = point_id
        while at not in found:
            found[at] = None
            base = self._points[at].base
            if base is None:
                break
            if base not in self._points:
                return Line([*found], Lacking(base=base, above=at))
            at = base
        return Line([*found], None)

    def needed(self, line: Line) -> list[Ref]:
        """Return what the first point of a line needs, without what is whole for certain, by name.

        Where several documents list an object, the word of the oldest counts.
        """
        refs: dict[str, Ref] = dict(self._coming)
        named: set[str] = set()
        for point_id in line.points:
            own = self._own.get(point_id, {})
            refs |= own
            named |= own.keys()
        needed = needed_after(named, self._replacements, point_id=line.points[0])
        return [refs[name] for name in sorted(needed)]
