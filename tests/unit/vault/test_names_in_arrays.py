"""What the cloud makes of names in arrays is what it made of them in sets and dictionaries."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.backups import REPOSITORY, make_repository, point_id
from tests.support.simdisk import SimDisk

from overland.adapters.folderobjects import FolderObjects
from overland.format import objectsizes
from overland.format.objectsizes import ObjectSizes
from overland.format.objecttable import ObjectRef, ObjectTable
from overland.format.point import PointPublic, PointRoot, Statistics
from overland.format.replacement import Replacement, ReplacementObject, needed_after
from overland.format.seed_manifest import SeedManifest
from overland.values import (
    ObjectInfo,
    PackId,
    PointId,
    ReplacementId,
    SeedId,
    index_name,
    keyring_name,
    named_digest,
    pack_name,
    point_name,
    replacement_name,
)
from overland.vault import catalog, presence
from overland.vault.chains import Fence
from overland.vault.manifestorder import Ordered
from overland.vault.needs import Document, needed_names
from overland.vault.owner import Owner
from overland.vault.replacing import _lacking

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIZE_BYTES = 512


def name(number: int) -> str:
    sha256 = hashlib.sha256(b"%d" % number).hexdigest()
    return index_name(sha256) if number % 3 == 0 else pack_name(PackId(sha256))


@pytest.fixture(autouse=True)
def _in_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectsizes, "_FEW", 0)


SOME = st.sets(st.integers(0, 9))


@st.composite
def documents(draw: st.DrawFn) -> dict[PointId, Document]:
    found: dict[PointId, Document] = {}
    for number in range(1, draw(st.integers(1, 4)) + 1):
        base = draw(st.none() | st.integers(1, number - 1)) if number > 1 else None
        found[point_id(number)] = Document(
            point_id=point_id(number),
            base=None if base is None else point_id(base),
            sizes=ObjectSizes(ObjectInfo(name=name(n), size_bytes=SIZE_BYTES) for n in draw(SOME)),
            is_present=True,
        )
    return found


@st.composite
def replacements(draw: st.DrawFn) -> list[Replacement]:
    return [
        Replacement(
            replacement_id=ReplacementId(str(UUID(int=number))),
            repository_id=REPOSITORY,
            created_at=NOW,
            reason="repair",
            keeps=[],
            lost=[point_id(n) for n in draw(st.sets(st.integers(1, 4), max_size=2))],
            replaced=sorted(map(name, draw(SOME))),
            objects=[
                ReplacementObject(name=name(n), size_bytes=SIZE_BYTES, sha256="0" * 64)
                for n in draw(SOME)
            ],
        )
        for number in range(1, draw(st.integers(0, 3)) + 1)
    ]


def in_full(
    found: dict[PointId, Document], points: list[PointId], given: list[Replacement]
) -> set[str]:
    """Everything that points need, from sets of all names."""
    lost = catalog.lost_points(given)
    whole = [each for each in points if each not in lost]
    names: set[str] = set()
    for group in [*([whole] if whole else []), *([each] for each in points if each in lost)]:
        below: set[PointId] = set()
        for point in group:
            each: PointId | None = point
            while each is not None and each not in below:
                below.add(each)
                each = found[each].base
        listed = {name for each in below for name in found[each].sizes}
        names |= needed_after(listed, given, point_id=group[0])
        names |= set(map(point_name, below))
        met, waiting = set(listed), list(given)
        while used := [each for each in waiting if not met.isdisjoint(each.replaced)]:
            names |= {replacement_name(each.replacement_id) for each in used}
            waiting = [each for each in waiting if each not in used]
            met |= {item.name for each in used for item in each.objects}
    return names


@settings(max_examples=300)
@given(found=documents(), given=replacements(), data=st.data())
def test_points_need_what_sets_of_names_tell(
    found: dict[PointId, Document], given: list[Replacement], data: st.DataObject
) -> None:
    points = sorted(data.draw(st.sets(st.sampled_from(sorted(found)))))
    assert set(needed_names(found, points, given)) == in_full(found, points, given)


@given(wanted=SOME, held=SOME, others=SOME)
def test_what_is_absent_is_what_is_not_there_with_its_size(
    wanted: set[int], held: set[int], others: set[int]
) -> None:
    disk = SimDisk()
    for number in held | others:
        disk.write(f"mine/{name(number)}", bytes(SIZE_BYTES + (number in others)))
    store = FolderObjects(disk)
    sizes = {name(n): SIZE_BYTES for n in wanted}
    expected = sorted(name(n) for n in wanted - (held - others))
    with pytest.MonkeyPatch.context() as patch:
        for listed_from in (0, 256):
            patch.setattr(presence, "_LISTED_FROM", listed_from)
            asked = ObjectSizes(ObjectInfo(name=n, size_bytes=size) for n, size in sizes.items())
            assert presence.absent(store, prefix="mine/", wanted=sizes) == expected
            assert presence.absent(store, prefix="mine/", wanted=asked) == expected


@given(numbers=SOME)
def test_objects_of_a_seed_come_kind_by_kind_and_without_the_point(numbers: set[int]) -> None:
    names = [*map(name, numbers), keyring_name(1), point_name(point_id(1))]
    refs = [
        ObjectRef(
            name=each, size_bytes=SIZE_BYTES, sha256=hashlib.sha256(each.encode()).hexdigest()
        )
        for each in sorted(names)
    ]
    manifest = SeedManifest(
        seed_id=SeedId(str(UUID(int=2))),
        repository_id=REPOSITORY,
        job_name="job",
        point_id=point_id(1),
        snapshot_at=NOW,
        created_at=NOW,
        objects=ObjectTable(refs),
    )
    ranks = {"packs": 0, "index": 1, "keys": 3}
    expected = sorted(
        (each for each in refs if not each.name.startswith("points/")),
        key=lambda each: ranks[each.name.partition("/")[0]],
    )
    ordered = Ordered(manifest)
    assert [*ordered] == expected
    assert len(ordered) == len(expected)
    assert ordered[1:3] == expected[1:3]
    folders = [each.name.partition("/")[0] for each in expected]
    assert ordered.counts == tuple(map(folders.count, ("packs", "index", "keychanges", "keys")))


def fence(owner: Owner, doomed: set[int], accepted: list[Replacement]) -> Fence:
    return Fence(
        owner=owner,
        version=0,
        replaced_at_version=0,
        epoch=0,
        recorded_at=None,
        granted_at=None,
        uploads=(),
        doomed=frozenset(map(name, doomed)),
        accepted=tuple(each.replacement_id for each in accepted),
    )


def owned() -> Owner:
    key = make_repository(SimDisk()).signing_public_key
    return Owner(source_computer_id="computer", repository_id=REPOSITORY, public_key=key)


@given(found=documents(), given=replacements(), held=SOME, others=SOME, doomed=SOME)
def test_what_a_replacement_would_leave_lacking_is_what_sets_of_names_tell(
    found: dict[PointId, Document],
    given: list[Replacement],
    held: set[int],
    others: set[int],
    doomed: set[int],
) -> None:
    disk = SimDisk()
    for number in held:
        disk.write(f"computer/{name(number)}", bytes(SIZE_BYTES + (number in others)))
    whole = {name(n) for n in held - others - doomed}
    lacking = _lacking(FolderObjects(disk), fence(owned(), doomed, []), found, given)
    kept = [catalog.losing_nothing(each) for each in given]
    for each, document in found.items():
        needed = needed_after(document.sizes, kept, point_id=each) | {point_name(each)}
        assert lacking[each] == sorted(needed - whole)


@given(given=replacements(), listed=st.sets(st.integers(0, 9), min_size=1), held=SOME)
def test_a_point_that_is_looked_at_needs_what_sets_of_names_tell(
    given: list[Replacement], listed: set[int], held: set[int]
) -> None:
    public = PointPublic(
        point_id=point_id(1),
        repository_id=REPOSITORY,
        created_at=NOW,
        kind="full",
        seed_id=None,
        base=None,
        salt="5a" * 32,
        objects=ObjectTable(
            ObjectRef(name=name(n), size_bytes=SIZE_BYTES, sha256=named_digest(name(n)) or "")
            for n in listed
        ),
    )
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
    disk = SimDisk()
    file = bytes(make_repository(SimDisk()).seal_point(public, root))
    disk.write(f"computer/{point_name(point_id(1))}", file)
    for number in held:
        disk.write(f"computer/{name(number)}", bytes(SIZE_BYTES))
    seen = fence(owned(), set(), given)
    finding = catalog.inspect(
        FolderObjects(disk), fence=seen, point_id=point_id(1), replacements=given
    )
    kept = [catalog.losing_nothing(each) for each in given]
    own = {name(n) for n in listed}
    needed = needed_after(own, kept, point_id=point_id(1))
    assert set(finding.needed) == needed
    assert [*finding.missing] == sorted(needed - {name(n) for n in held})
    assert finding.names_replaced == (not needed >= own)
