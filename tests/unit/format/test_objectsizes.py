"""Sizes by names are what a dictionary would have, in a fraction of the memory."""

import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overland.format import objectsizes
from overland.format.digests import SortedDigests
from overland.format.objectsizes import ObjectSizes
from overland.values import ObjectInfo, PackId, index_name, pack_name

MANY = 200_000
FEW = objectsizes._FEW

DIGESTS = (
    bytes(32),
    bytes(31) + b"\x01",
    b"\x01" + bytes(31),  # ends as texts of numpy cannot
    b"\xab" * 31 + b"\x00",
    b"\xab" * 32,
    b"\xff" * 32,
)


def pack(digest: bytes) -> str:
    return pack_name(PackId(digest.hex()))


def index(digest: bytes) -> str:
    return index_name(digest.hex())


def foreign(digest: bytes) -> Iterator[str]:
    """Names that are almost those of objects."""
    text = digest.hex()
    yield f"packs/{text[2:4]}x/{text}.pack"
    yield f"packs/{'00' if text[:2] != '00' else '11'}/{text}.pack"
    yield f"packs/{text[:2]}/{text}.pack.old"
    yield f"packs/{text[:2]}/{'AB' + text[2:]}.pack"
    yield f"packs/{text[:2]}/{text[:2]}  {text[4:]}.pack"
    yield f"packs/AB/AB{text[2:]}.pack"
    yield f"index/AB{text[2:]}.index"
    yield f"packs/{text[:2]}/{text[:-2]}.pack"
    yield f"index/{text}.pack"
    yield f"index/{text.replace('0', chr(0x660))}.index"
    yield text


NAMES = [name for d in DIGESTS for name in (pack(d), index(d), *foreign(d))]
NAMES += ["points/one.point", "keys/00000001.keyring", "packs/", "index/", "packs", "zebra"]

infos = st.lists(
    st.builds(
        ObjectInfo,
        name=st.sampled_from(NAMES),
        size_bytes=st.sampled_from([0, 1, 512, (1 << 32) + 1, (1 << 64) - 1]),
    ),
    max_size=40,
)


@pytest.fixture(params=[0, FEW], ids=["in arrays", "in a dictionary"])
def _few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectsizes, "_FEW", request.param)


in_both = pytest.mark.usefixtures("_few")


def plain(listed: Iterable[ObjectInfo]) -> dict[str, int]:
    return {info.name: info.size_bytes for info in listed}


@in_both
@given(listed=infos)
def test_it_is_the_dictionary_of_the_same(listed: list[ObjectInfo]) -> None:
    found, expected = ObjectSizes(listed), plain(listed)
    assert found == expected
    assert len(found) == len(expected)
    assert bool(found) == bool(expected)
    assert [*found] == sorted(expected)
    assert found.keys() == expected.keys()
    assert {name: found.get(name) for name in NAMES} == {n: expected.get(n) for n in NAMES}
    assert [name in found for name in NAMES] == [name in expected for name in NAMES]
    assert found.size_bytes == sum(expected.values())
    with pytest.raises(KeyError, match="nobody"):
        found["nobody"]
    assert object() not in found


@in_both
@given(
    listed=infos,
    prefix=st.sampled_from(["", "p", "packs/", "packs/ab/", pack(DIGESTS[3]), "index/", "i", "z"]),
    after=st.sampled_from(["", *NAMES]),
)
def test_a_part_is_that_part_of_the_sorted_dictionary(
    listed: list[ObjectInfo], prefix: str, after: str
) -> None:
    some = ObjectSizes(listed).infos(prefix, start_after=after)
    assert [(info.name, info.size_bytes) for info in some] == [
        (name, size)
        for name, size in sorted(plain(listed).items())
        if name > after and name.startswith(prefix)
    ]


@in_both
@given(listed=infos, held=infos)
def test_what_differs_is_what_is_not_held_with_its_size(
    listed: list[ObjectInfo], held: list[ObjectInfo]
) -> None:
    theirs = plain(held)
    differing = sorted(n for n, size in plain(listed).items() if theirs.get(n) != size)
    assert [*ObjectSizes(listed).differing(ObjectSizes(held))] == differing


@in_both
@given(listed=infos)
def test_packs_are_told_by_their_numbers(listed: list[ObjectInfo]) -> None:
    packs = ObjectSizes(listed).packs()
    names = sorted({info.name for info in listed} & set(map(pack, DIGESTS)))
    assert [info.name for info in packs] == names
    assert [packs[number].name for number in range(len(packs))] == names
    assert packs[1:] == [*packs][1:]
    assert [packs[-1]] == [*packs][-1:] if names else not packs
    assert all(info.size_bytes == plain(listed)[info.name] for info in packs)


@in_both
@given(listed=infos)
def test_what_names_begin_with_is_left_out(listed: list[ObjectInfo]) -> None:
    below = [ObjectInfo(name=f"computer/{i.name}", size_bytes=i.size_bytes) for i in listed]
    assert ObjectSizes(below, below="computer/") == plain(listed)


@given(digests=st.lists(st.sampled_from(DIGESTS), max_size=12))
def test_digests_are_found_where_they_were_given_last(digests: list[bytes]) -> None:
    found, each = SortedDigests(b"".join(digests)), sorted(set(digests))
    assert len(found) == len(each)
    assert found.joined() == b"".join(each)
    assert [found.find(digest) for digest in each] == [*range(len(each))]
    assert [found.find(d) for d in DIGESTS if d not in each] == [-1] * (len(DIGESTS) - len(each))
    last = {digest: number for number, digest in enumerate(digests)}
    rows = range(len(each)) if found.rows is None else found.rows.tolist()
    assert [digests[row] for row in rows] == each
    assert [*rows] == [last[digest] for digest in each]


def many(numbers: Iterable[int]) -> Iterator[ObjectInfo]:
    """Names by their places in the order of a listing; nobody keeps one."""
    step = (1 << 256) // MANY
    for number in numbers:
        name = pack((number * step).to_bytes(32, "big"))
        yield ObjectInfo(name=name, size_bytes=(1 << 20) + number)


@pytest.mark.parametrize(("is_sorted", "most_bytes"), [(True, 60), (False, 110)])
def test_a_name_takes_forty_bytes(*, is_sorted: bool, most_bytes: int) -> None:
    numbers = range(MANY) if is_sorted else range(MANY)[::-1]
    table, now, peak = traced(lambda: ObjectSizes(many(numbers)))
    assert len(table) == MANY
    assert now < 48 * MANY
    assert peak < most_bytes * MANY
    _, plain_now, _ = traced(lambda: plain(many(numbers)))
    assert plain_now > 4 * 48 * MANY


def traced(make: Callable[[], Mapping[str, int]]) -> tuple[Mapping[str, int], int, int]:
    tracemalloc.start()
    try:
        made = make()
        return made, *tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
