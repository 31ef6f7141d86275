"""Which objects points name is what sets of names tell, also in arrays and in few bytes."""

import hashlib
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.backups import REPOSITORY, make_repository, point_id
from tests.support.simdisk import SimDisk

from overland.agent.backup.chain import named_by_points
from overland.agent.restore.lost import not_there
from overland.format import objectsizes
from overland.format.objecttable import ObjectRef, ObjectTable
from overland.format.point import PointPublic, PointRoot, Statistics
from overland.values import PackId, index_name, pack_name, point_name

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 30_000


def ref(number: int) -> ObjectRef:
    sha256 = hashlib.sha256(b"%d" % number).hexdigest()
    name = index_name(sha256) if number % 3 == 0 else pack_name(PackId(sha256))
    return ObjectRef(name=name, size_bytes=512, sha256=sha256)


def public(number: int, refs: Sequence[ObjectRef], *, base: int | None = None) -> PointPublic:
    return PointPublic(
        point_id=point_id(number),
        repository_id=REPOSITORY,
        created_at=NOW,
        kind="full" if base is None else "incremental",
        seed_id=None,
        base=None if base is None else point_id(base),
        salt="5a" * 32,
        objects=ObjectTable(refs),
    )


def store(*points: PointPublic) -> SimDisk:
    disk, repository = SimDisk(), make_repository(SimDisk())
    root = PointRoot(
        roots=[],
        statistics=Statistics(),
        skipped=[],
        host="host",
        policy="policy",
        include=[],
        exclude=[],
        started_at=NOW,
        ended_at=NOW,
    )
    for each in points:
        disk.write(point_name(each.point_id), repository.seal_point(each, root))
    return disk


@pytest.fixture(autouse=True)
def _in_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectsizes, "_FEW", 0)


own = st.sets(st.integers(0, 12), min_size=1)


@given(first=own, second=own, third=own, is_damaged=st.booleans())
def test_points_name_what_any_of_them_lists(
    first: set[int], second: set[int], third: set[int], *, is_damaged: bool
) -> None:
    points = [
        public(number, [ref(each) for each in sorted(listed)], base=base)
        for number, listed, base in ((1, first, None), (2, second, 1), (3, third, 2))
    ]
    disk, repository = store(*points), make_repository(SimDisk())
    if is_damaged:
        name = point_name(point_id(3))
        disk.write(name, disk.read(name)[:-1])
    for beside in (None, 1, 2):
        named = named_by_points(
            repository, disk, beside=None if beside is None else point_id(beside)
        )
        expected = {
            each.name
            for point in points
            for each in point.objects
            if (beside is None or point.base != point_id(beside))
            and not (is_damaged and point is points[2])
        }
        assert set(named) == expected
        assert [ref(n).name in named for n in range(14)] == [
            ref(n).name in expected for n in range(14)
        ]


@given(first=own, second=own, there=st.sets(st.integers(0, 15)))
def test_a_restore_names_what_is_nowhere(
    first: set[int], second: set[int], there: set[int]
) -> None:
    disk = SimDisk()
    for number in there:
        disk.write(ref(number).name, b"x")
    points = [public(1, [ref(n) for n in first]), public(2, [ref(n) for n in second])]
    assert not_there(points, disk) == sorted(ref(n).name for n in (first | second) - there)


def test_what_points_name_is_kept_in_few_bytes() -> None:
    disk = store(public(1, [ref(number) for number in range(MANY)]))
    repository = make_repository(SimDisk())
    tracemalloc.start()
    try:
        named = named_by_points(repository, disk, beside=None)
        assert tracemalloc.get_traced_memory()[0] < 70 * MANY
        names = set(named)
        assert tracemalloc.get_traced_memory()[0] > (70 + 140) * len(names)
    finally:
        tracemalloc.stop()
