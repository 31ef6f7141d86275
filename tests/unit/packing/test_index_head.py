"""What the head of a saved index tells without the index: the same as the index, or nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.simdisk import SimDisk
from tests.unit.packing.test_chunk_index import REPOSITORY, chunks, pack
from tests.unit.packing.test_hints import POINT, extended, hint_on, made, sizes

from overland.errors import ObjectAbsent
from overland.packing.head import (
    IndexHintDamaged,
    SavedPacks,
    decode_head,
    encode_head,
    read_head,
    read_packs,
    spans_of,
)
from overland.packing.index import ChunkIndex
from overland.ports.files import Files
from overland.values import PackId, pack_name

NAME = "chunks/hint"


def saved(disk: Files) -> ChunkIndex:
    """Save an index of two parts, of which one pack is lost; return it as it is loaded."""
    hint = hint_on(disk)
    hint.save(made(*(pack(number, chunks(40, number)) for number in range(30))))
    extended(hint, pack(99, chunks(3, 99)))
    index = hint.load(REPOSITORY)
    index.forget_packs([PackId(f"{7:064x}")])
    index.tip = POINT
    hint.save(index)
    return hint.load(REPOSITORY)


def told(disk: Files) -> SavedPacks:
    return read_packs(disk, NAME, read_head(disk, NAME, repository_id=REPOSITORY))


def test_the_head_and_the_packs_are_those_of_the_index() -> None:
    disk = SimDisk()
    index = saved(disk)
    head = read_head(disk, NAME, repository_id=REPOSITORY)
    assert (head.epoch, head.tip, len(head.parts)) == (index.epoch, POINT, 2)
    names = sorted(map(pack_name, index.pack_ids()))
    assert len(told(disk)) == told(disk).count_named(names) == 30
    assert told(disk).count_named(names[:7]) == 7


@given(
    st.sets(st.binary(min_size=32, max_size=32)),
    st.lists(st.binary(min_size=32, max_size=32)),
    st.lists(
        st.sampled_from(["", "packs", "packs/00", "packs/00/x.pack", "packs/zz/1", "points/"])
    ),
    st.randoms(use_true_random=False),
)
def test_packs_are_counted_as_a_set_counts_them(
    known: set[bytes], others: list[bytes], odd: list[str], choose: random.Random
) -> None:
    packs = SavedPacks()
    for pack_id in known:
        packs.add(pack_id)
    some = [pack_id for pack_id in sorted(known) if choose.random() < 0.5]
    names = [pack_name(PackId(each.hex())) for each in (*some, *some[:3], *others)]
    expected = {pack_name(PackId(each.hex())) for each in known} & set(names)
    assert packs.count_named(sorted([*names, *odd])) == len(expected)
    assert len(packs) == len(known)


def test_a_head_that_is_written_again_is_the_same() -> None:
    disk = SimDisk()
    saved(disk)
    data = disk.read(NAME)
    head = decode_head(data, repository_id=REPOSITORY)
    assert encode_head(head, repository_id=REPOSITORY) == data


def test_a_new_tip_changes_nothing_else() -> None:
    disk = SimDisk()
    index = saved(disk)
    head = read_head(disk, NAME, repository_id=REPOSITORY)
    disk.write(NAME, encode_head(head._replace(tip=None), repository_id=REPOSITORY))
    again = hint_on(disk).load(REPOSITORY)
    assert again.tip is None
    assert (again.epoch, len(again)) == (index.epoch, len(index))
    assert set(again.pack_ids()) == set(index.pack_ids())


def test_the_tables_of_a_part_fill_its_file() -> None:
    disk = SimDisk()
    saved(disk)
    for part in read_head(disk, NAME, repository_id=REPOSITORY).parts:
        spans = spans_of(part.counts)
        assert [span.start for span in spans[1:]] == [span.end for span in spans[:-1]]
        assert spans[-1].end == spans[0].digests_start
        assert spans[-1].digests_end == sizes(disk)[f"{NAME}.{part.name}"]


def test_whatever_is_damaged_is_refused_if_loading_would_refuse_it() -> None:
    """Also the other way round: what is left for the first look-up to find stays for it."""
    refused = 0
    for seed in range(200):
        choose = random.Random(seed)
        disk = SimDisk()
        saved(disk)
        name = choose.choice(sorted(sizes(disk)))
        disk.damage(name, offset=choose.randrange(sizes(disk)[name]))
        with_load = _is_refused(lambda disk=disk: hint_on(disk).load(REPOSITORY))
        assert _is_refused(lambda disk=disk: told(disk)) == with_load, seed
        refused += with_load
    assert 20 < refused < 200, "both happened"


def test_a_part_that_is_missing_or_cut_is_refused() -> None:
    disk = SimDisk()
    saved(disk)
    part = max(sizes(disk), key=sizes(disk).__getitem__)
    data = disk.read(part)
    disk.write(part, data[:-1])
    with pytest.raises(IndexHintDamaged, match="length"):
        told(disk)
    disk.delete(part)
    with pytest.raises(IndexHintDamaged, match="missing"):
        told(disk)
    with pytest.raises(ObjectAbsent):
        read_head(disk, "chunks/other", repository_id=REPOSITORY)


def _is_refused(read: object) -> bool:
    assert callable(read)
    try:
        read()
    except IndexHintDamaged:
        return True
    return False


def test_names_in_disorder_never_hide_a_pack_that_is_missing() -> None:
    packs = SavedPacks()
    first, missing, other = (bytes([0, number]) * 16 for number in (1, 2, 3))
    for pack_id in (first, missing):
        packs.add(pack_id)
    names = [pack_name(PackId(each.hex())) for each in (first, b"\xff" * 32, first, other)]
    assert packs.count_named(names) == 1
    assert packs.count_named(sorted(names)) == 1
