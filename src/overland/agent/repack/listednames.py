"""Which names several documents list together, without a set of all of them."""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import cached_property
from heapq import merge
from typing import TypeVar, final

from typing_extensions import override

from overland.format.objectsizes import ObjectSizes

__all__ = ["ListedNames"]

_T = TypeVar("_T")


@final
class ListedNames(AbstractSet[str]):
    """The names that documents list, without some and with others, sorted.

    Nothing is copied: of a hundred points on one seed each has the seed's million names.  What set
    operations return is an ordinary set.

    Attributes:
        documents: By their identities.
        without: Names that do not count, although a document lists them.
        more: Names that count, whoever lists them.
    """

    def __init__(
        self,
        documents: Iterable[ObjectSizes],
        *,
        without: frozenset[str] = frozenset(),
        more: frozenset[str] = frozenset(),
    ) -> None:
        """Take documents, of which one may come several times; what is in both counts."""
        self.documents = {id(each): each for each in documents}
        self.without, self.more = without - more, more

    @classmethod
    @override
    def _from_iterable(cls, it: Iterable[_T]) -> set[_T]:
        return set(it)

    @staticmethod
    def together(sets: Iterable["ListedNames"]) -> "ListedNames":
        """Return the names that are in any of some sets, of which none is `without` names."""
        every = [*sets]
        assert not any(each.without for each in every), "one's lack may be another's name"
        return ListedNames(
            (document for each in every for document in each.documents.values()),
            more=frozenset[str]().union(*(each.more for each in every)),
        )

    @override
    def isdisjoint(self, other: Iterable[object]) -> bool:
        """Return whether no name is in both; at once where both have a document whole."""
        if isinstance(other, ListedNames) and not (self.without or other.without):
            shared = self.documents.keys() & other.documents.keys()
            if any(self.documents[each] for each in shared):
                return False
        return super().isdisjoint(other)

    @override
    def __contains__(self, name: object) -> bool:
        if name in self.more:
            return True
        listed = any(name in each for each in self.documents.values())
        return listed and name not in self.without

    @override
    def __iter__(self) -> Iterator[str]:
        last = ""
        for name in merge(sorted(self.more), *self.documents.values()):
            if name != last and name not in self.without:
                yield name
            last = name

    @override
    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self)
