"""A check tells of names what sets of names would tell, whichever are missing, strange or twice."""

import hashlib
import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NoReturn
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.backups import REPOSITORY, make_repository, point_id
from tests.support.simdisk import SimDisk
from typing_extensions import override

from overland.agent.check.listed import ListedObjects, Ref, flaw
from overland.agent.check.places import _best, _Chosen, _Layer, check_places
from overland.agent.check.run import check
from overland.agent.repository import Repository
from overland.errors import ObjectAbsent
from overland.format import objectsizes
from overland.format.objectsizes import ObjectSizes
from overland.format.objecttable import ObjectRef, ObjectTable
from overland.format.pack import HEADER_BYTES, TRAILER_BYTES, Trailer, encode_trailer
from overland.format.point import PointPublic, PointRoot, Statistics
from overland.format.replacement import Replacement, ReplacementObject, needed_after
from overland.ports.progress import NullProgress
from overland.values import (
    ObjectInfo,
    PackId,
    PointId,
    ReplacementId,
    index_name,
    named_digest,
    pack_name,
    point_name,
    replacement_name,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PACK_BYTES = 512
TRAILER = encode_trailer(
    Trailer(
        directory_offset=HEADER_BYTES,
        directory_sealed_bytes=PACK_BYTES - HEADER_BYTES - TRAILER_BYTES,
        segment_count=1,
        chunk_count=1,
    )
)


def content(number: int) -> bytes:
    """What stands for a pack in a check without keys: a number, and a trailer."""
    return number.to_bytes(PACK_BYTES - TRAILER_BYTES, "little") + TRAILER


def ref(number: int, *, size_bytes: int = PACK_BYTES) -> ObjectRef:
    sha256 = hashlib.sha256(content(number)).hexdigest()
    return ObjectRef(name=pack_name(PackId(sha256)), size_bytes=size_bytes, sha256=sha256)


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


@pytest.fixture(autouse=True)
def _in_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectsizes, "_FEW", 0)


# -- what points list, beside sets of all names --------------------------------------------------

REFS = [ref(number, size_bytes=size) for number in range(8) for size in (512, 1024)]
SOME = st.lists(st.sampled_from(REFS), max_size=10, unique_by=lambda each: each.name)


@st.composite
def chains(draw: st.DrawFn) -> list[PointPublic]:
    """Up to four points, each on any point, that may lack, or on itself."""
    bases = st.none() | st.integers(1, 5)
    count = draw(st.integers(1, 4))
    return [public(n, draw(SOME), base=draw(bases)) for n in range(1, count + 1)]


@st.composite
def replacements(draw: st.DrawFn) -> list[Replacement]:
    points = st.lists(st.integers(1, 4), max_size=2, unique=True)
    return [
        Replacement(
            replacement_id=ReplacementId(str(UUID(int=number))),
            repository_id=REPOSITORY,
            created_at=NOW,
            reason="repair",
            keeps=[],
            lost=[point_id(each) for each in draw(points)],
            replaced=[each.name for each in draw(SOME)],
            objects=[
                ReplacementObject(name=e.name, size_bytes=e.size_bytes, sha256=e.sha256)
                for e in draw(SOME)
            ],
        )
        for number in range(1, draw(st.integers(0, 3)) + 1)
    ]


def in_full(
    points: dict[PointId, PointPublic], given: list[Replacement], start: PointId
) -> tuple[PointId | None, list[Ref]]:
    """What a point needs, from sets of all names: the missing base, and the objects by name."""
    listed: dict[str, Ref] = {each.name: each for one in given for each in one.objects}
    named: set[str] = set()
    seen: set[PointId] = set()
    at: PointId | None = start
    while at is not None and at not in seen and at in points:
        seen.add(at)
        listed |= {each.name: each for each in points[at].objects}
        named |= {each.name for each in points[at].objects}
        at = points[at].base
    lacking = at if at is not None and at not in points else None
    needed = needed_after(named, given, point_id=start)
    return lacking, [listed[name] for name in sorted(needed)]


@settings(max_examples=300)
@given(chain=chains(), given=replacements(), held=SOME, bad=st.sets(st.sampled_from(REFS[::2])))
def test_what_is_looked_at_is_all_that_is_wrong(
    chain: list[PointPublic], given: list[Replacement], held: list[ObjectRef], bad: set[ObjectRef]
) -> None:
    points = {each.point_id: each for each in chain}
    sizes, damaged = ObjectSizes(held), {each.name for each in bad}
    sizes_of = {each.name: each.size_bytes for each in held}

    def is_whole(each: Ref) -> bool:
        return flaw(each, sizes) is None and each.name not in damaged

    listed = ListedObjects(points, given, is_whole=is_whole)
    for start in points:
        lacking, needed = in_full(points, given, start)
        line = listed.line(start)
        assert (line.lacking and line.lacking.base) == lacking
        found = listed.needed(line)
        wrong = [e for e in needed if sizes_of.get(e.name) != e.size_bytes or e.name in damaged]
        assert [e for e in found if not is_whole(e)] == wrong
        replaced = {name for each in given for name in each.replaced}
        # What is replaced and needed all the same is not excused.
        assert {e.name for e in found} & replaced == {e.name for e in needed} & replaced


# -- whole checks, of made-up places -------------------------------------------------------------


class Place:
    """A place that holds files; each pack's bytes are made when they are read."""

    def __init__(self, packs: dict[str, int], files: dict[str, bytes], sizes: dict[str, int]):
        self._packs, self._files, self._sizes = packs, files, sizes

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        every = sorted([*self._packs, *self._files])
        for name in every:
            if name.startswith(prefix) and name > start_after:
                size_bytes = self._sizes.get(name, len(self._files.get(name, bytes(PACK_BYTES))))
                yield ObjectInfo(name=name, size_bytes=size_bytes)

    def read(self, name: str) -> bytes:
        if name in self._packs:
            return content(self._packs[name])
        if name not in self._files:
            raise ObjectAbsent(name)
        return self._files[name]

    def blocks(self, name: str) -> Iterator[memoryview]:
        yield memoryview(self.read(name))

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        return self.read(name)[offset : offset + length]

    def head(self, name: str) -> ObjectInfo:
        return ObjectInfo(name=name, size_bytes=len(self.read(name)))

    def put(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError("a check only reads")

    def delete(self, name: str) -> NoReturn:
        raise AssertionError(name)


def point_file(repository: Repository, refs: Sequence[ObjectRef]) -> dict[str, bytes]:
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
    made = bytes(repository.seal_point(public(1, refs), root))
    return {str(point_name(point_id(1))): made}


REPOSITORY_HERE = make_repository(SimDisk())
POINT_FILE = point_file(REPOSITORY_HERE, [ref(number) for number in range(6)])
FOREIGN = ("packs/strange", "packs/00/strange.pack", "index/A.index", "other", "zebra/1")


@st.composite
def places(draw: st.DrawFn) -> Place:
    """Some of the packs, some damaged, some with a wrong size, some that no point names."""
    numbers = draw(st.sets(st.integers(0, 8)))
    damaged = draw(st.sets(st.integers(0, 8), max_size=2))
    longer = draw(st.sets(st.integers(0, 8), max_size=2))
    foreign = draw(st.sets(st.sampled_from(FOREIGN)))
    return Place(
        {ref(n).name: n + 100 * (n in damaged) for n in numbers},
        dict.fromkeys(foreign, b"?") | (POINT_FILE if draw(st.booleans()) else {}),
        {ref(n).name: PACK_BYTES + 512 for n in longer & numbers},
    )


def is_right(place: Place, name: str, size_bytes: int) -> bool:
    """Whether a pack's bytes are its name's, and its trailer is that of a pack of its size."""
    return hashlib.sha256(place.read(name)).hexdigest() == named_digest(name) and (
        size_bytes == PACK_BYTES
    )


@settings(max_examples=200)
@given(given=st.lists(places(), min_size=1, max_size=3))
def test_a_check_of_places_finds_what_sets_of_names_find(given: list[Place]) -> None:
    layers = [(f"place {number}", place) for number, place in enumerate(given)]
    report = check_places(layers, progress=NullProgress(), keys=None, signatures=None)
    found = {(p.finding.kind, p.finding.name, p.place, p.whole_in) for p in report.found}
    assert found == set(expected(layers))
    assert len(found) == len(report.found), "each once"
    names = {info.name for _, place in layers for info in place.names()}
    assert report.checked.objects == len(names - set(FOREIGN))


def expected(
    layers: list[tuple[str, Place]],
) -> Iterator[tuple[str, str, str | None, str | None]]:
    """Findings as (kind, name, place, place of a whole copy), from dictionaries of all names."""
    held = [
        (label, place, {i.name: i.size_bytes for i in place.names()}) for label, place in layers
    ]
    copies: dict[str, list[tuple[str, bool]]] = {}
    for label, place, sizes in held:
        for name, size_bytes in sizes.items():
            is_pack = name.startswith("packs/") and name not in FOREIGN
            is_good = not is_pack or is_right(place, name, size_bytes)
            copies.setdefault(name, []).append((label, is_good))
    for name, each in copies.items():
        whole = next((label for label, is_good in each if is_good), None)
        if name in FOREIGN:
            yield "foreign", name, each[0][0], None
            continue
        for label, is_good in each:
            if not is_good:
                yield "corrupt", name, label, whole
    if any(name in copies for name in POINT_FILE):
        for number in range(6):
            if ref(number).name not in copies:
                yield "missing", ref(number).name, None, None


def test_names_that_are_there_twice_count_once() -> None:
    class Twice(Place):
        @override
        def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
            for info in super().names(prefix, start_after=start_after):
                yield from (info, info)

    place = Twice({ref(n).name: n for n in range(6)}, dict(POINT_FILE), {})
    report = check(place, progress=NullProgress())
    assert report.is_whole
    assert report.objects == 7


@given(given=st.lists(places(), min_size=1, max_size=3))
def test_the_best_copies_of_several_places_are_one_store(given: list[Place]) -> None:
    layers = [
        _Layer(f"place {number}", place, ObjectSizes(place.names()))
        for number, place in enumerate(given)
    ]
    bad = {("place 0", ref(number).name) for number in range(4)}
    chosen = _Chosen(layers, partial(_best, layers, bad))
    names = sorted({name for layer in layers for name in layer.sizes})
    assert [info.name for info in chosen.names()] == names
    for info in chosen.names():
        copies = [each for each in layers if info.name in each.sizes]
        good = [each for each in copies if (each.label, info.name) not in bad]
        [best, *_] = good or copies
        assert chosen.place_of(info.name) == best.label
        assert info.size_bytes == best.sizes[info.name]
    assert chosen.place_of("nobody") is None
    with pytest.raises(ObjectAbsent):
        chosen.read("nobody")


@pytest.mark.parametrize("kind", ["replaced", "corrupt"])
def test_damage_in_what_was_replaced_is_excused_unless_a_point_needs_it(kind: str) -> None:
    lost = [point_id(1)] if kind == "corrupt" else []
    replacement = Replacement(
        replacement_id=ReplacementId(str(UUID(int=1))),
        repository_id=REPOSITORY,
        created_at=NOW,
        reason="repair",
        keeps=[] if lost else [point_id(1)],
        lost=lost,
        replaced=[ref(0).name],
        objects=[],
    )
    name = replacement_name(replacement.replacement_id)
    files = POINT_FILE | {str(name): REPOSITORY_HERE.seal_replacement(replacement)}
    place = Place({ref(n).name: n + 100 * (n == 0) for n in range(6)}, files, {})
    report = check(place, progress=NullProgress())
    assert [(each.kind, each.name) for each in report.findings] == [(kind, ref(0).name)]
    assert report.restorable == {point_id(1): kind == "replaced"}


def test_an_object_of_another_size_than_a_point_names_is_not_that_object() -> None:
    longer = [ref(0, size_bytes=PACK_BYTES + 512), ref(1)]
    place = Place({ref(n).name: n for n in range(2)}, point_file(REPOSITORY_HERE, longer), {})
    report = check(place, progress=NullProgress())
    [finding] = report.findings
    assert (finding.kind, finding.name) == ("corrupt", ref(0).name)
    assert finding.reason == "it is not the object that a recovery point names"
    assert report.restorable == {point_id(1): False}


# -- memory --------------------------------------------------------------------------------------

MANY = 60_000
BOUND_BYTES = 110
"""For each name: two tables, the room that they grew into, and what is loaded."""


def test_names_of_a_place_take_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only names are looked at here: reading so many packs takes minutes."""
    step = (1 << 256) // MANY

    class Many(Place):
        @override
        def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
            assert not prefix
            assert not start_after
            for number in range(MANY):
                sha256 = f"{number * step:064x}"
                yield ObjectInfo(name=pack_name(PackId(sha256)), size_bytes=512 + number)

    monkeypatch.setattr("overland.agent.check.run._Check.read_all", lambda *_, **__: None)
    place = Many({}, {}, {})
    tracemalloc.start()
    try:
        check_places([("here", place)], progress=NullProgress(), keys=None, signatures=None)
        peak = tracemalloc.get_traced_memory()[1]
        listed = {info.name: info for info in place.names()}
        assert tracemalloc.get_traced_memory()[0] > 2 * BOUND_BYTES * len(listed)
    finally:
        tracemalloc.stop()
    assert peak < BOUND_BYTES * MANY


def test_what_points_list_takes_no_memory_where_nothing_is_wrong() -> None:
    refs = [_made_up(number) for number in range(20_000)]
    points = {each.point_id: each for each in (public(1, refs), public(2, refs[:10], base=1))}
    held = ObjectSizes(refs)
    tracemalloc.start()
    try:
        listed = ListedObjects(points, [], is_whole=lambda each: flaw(each, held) is None)
        assert listed.needed(listed.line(point_id(2))) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
        assert len(in_full(points, [], point_id(2))[1]) == 20_000
        assert tracemalloc.get_traced_memory()[1] > 2_000_000
    finally:
        tracemalloc.stop()


def _made_up(number: int) -> ObjectRef:
    sha256 = hashlib.sha256(b"%d" % number).hexdigest()
    return ObjectRef(name=index_name(sha256), size_bytes=512, sha256=sha256)
