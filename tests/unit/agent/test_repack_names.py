"""The names that points list together are a set of names that is never made."""

import hashlib
import tracemalloc
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.backups import REPOSITORY, point_id

from overland.agent.connection import VaultPoint
from overland.agent.repack.holdings import _held
from overland.agent.repack.listednames import ListedNames
from overland.format import objectsizes
from overland.format.objectsizes import ObjectSizes
from overland.format.point import PointPublic
from overland.format.replacement import Replacement, ReplacementObject, needed_after
from overland.values import ObjectInfo, PackId, ReplacementId, pack_name

MANY = 20_000


def name(number: int) -> str:
    return pack_name(PackId(hashlib.sha256(b"%d" % number).hexdigest()))


def document(numbers: set[int]) -> ObjectSizes:
    return ObjectSizes(ObjectInfo(name=name(n), size_bytes=512) for n in sorted(numbers))


@pytest.fixture(autouse=True)
def _in_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectsizes, "_FEW", 0)


numbers = st.sets(st.integers(0, 9))
given_sets = st.tuples(st.lists(numbers, max_size=3), numbers, numbers)
Given = tuple[list[set[int]], set[int], set[int]]


def both(drawn: Given) -> tuple[ListedNames, set[str]]:
    lists, without, more = drawn
    listed = ListedNames(
        map(document, lists),
        without=frozenset(map(name, without)),
        more=frozenset(map(name, more)),
    )
    return listed, {name(n) for n in set[int]().union(*lists) - without | more}


@given(first=given_sets, second=given_sets)
def test_it_is_the_set_of_the_same_names(first: Given, second: Given) -> None:
    (listed, names), (others, their_names) = both(first), both(second)
    assert set(listed) == names
    assert [*listed] == sorted(names)
    assert len(listed) == len(names)
    assert [name(n) in listed for n in range(11)] == [name(n) in names for n in range(11)]
    assert listed - others == names - their_names
    assert listed & others == names & their_names
    assert listed | others == names | their_names
    assert set[str]() | listed == names
    assert listed.isdisjoint(others) == names.isdisjoint(their_names)
    assert listed.isdisjoint(their_names) == names.isdisjoint(their_names)


@given(lists=st.lists(numbers, min_size=1, max_size=4), more=numbers, without=numbers)
def test_sets_with_one_document_are_not_disjoint_by_what_one_of_them_leaves_out(
    lists: list[set[int]], more: set[int], without: set[int]
) -> None:
    shared = document(lists[0])
    listed = ListedNames([shared, *map(document, lists[1:])], more=frozenset(map(name, more)))
    other = ListedNames([shared], without=frozenset(map(name, without)))
    assert listed.isdisjoint(other) == set(listed).isdisjoint(set(other))
    whole = ListedNames([shared])
    assert listed.isdisjoint(whole) == (not shared)
    assert {*ListedNames.together([listed, whole])} == {*listed, *whole}


@st.composite
def replacements(draw: st.DrawFn) -> list[Replacement]:
    return [
        Replacement(
            replacement_id=ReplacementId(str(UUID(int=number))),
            repository_id=REPOSITORY,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            reason="repair",
            keeps=[],
            lost=[point_id(1)] if draw(st.booleans()) else [],
            replaced=sorted(map(name, draw(numbers))),
            objects=[
                ReplacementObject(name=name(n), size_bytes=512, sha256="0" * 64)
                for n in draw(numbers)
            ],
        )
        for number in range(1, draw(st.integers(0, 3)) + 1)
    ]


@given(lists=st.lists(numbers, min_size=1, max_size=3), accepted=replacements())
def test_a_point_names_and_needs_what_sets_of_names_tell(
    lists: list[set[int]], accepted: list[Replacement]
) -> None:
    public = PointPublic(
        point_id=point_id(1),
        repository_id=REPOSITORY,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        kind="full",
        seed_id=None,
        base=None,
        salt="5a" * 32,
        objects=(),
    )
    point = VaultPoint(point_id=point_id(1), created_at="", kind="full", state="available")
    held = _held(point, [public], [*map(document, lists)], accepted)
    listed = {name(n) for n in set[int]().union(*lists)}
    assert set(held.needed) == needed_after(listed, accepted, point_id=point_id(1))
    named, waiting = set(listed), list(accepted)
    while met := [each for each in waiting if not named.isdisjoint(each.replaced)]:
        waiting = [each for each in waiting if each not in met]
        named |= {item.name for each in met for item in each.objects}
    assert set(held.named) == named


def test_a_hundred_points_on_one_seed_cost_one_list() -> None:
    tracemalloc.start()
    try:
        seed = document(set(range(MANY)))
        points = [ListedNames([seed, document({MANY + n})]) for n in range(100)]
        assert ListedNames.together(points).isdisjoint({name(-1)})
        assert not points[0].isdisjoint(points[99])
        peak = tracemalloc.get_traced_memory()[1]
        sets = [set(each) for each in points[:3]]
        assert tracemalloc.get_traced_memory()[1] > 2 * peak, f"of {len(sets)} points"
    finally:
        tracemalloc.stop()
