import os
from collections.abc import Callable
from random import Random

import pytest
from tests.support.simdisk import SimDisk

from overland.source.changes import (
    UNTRUSTED,
    ChangeCache,
    ChangeCacheWriter,
    FolderBlock,
    fingerprint,
    folder_key,
    is_settled,
)

EPOCH = b"e" * 16


def block(name: bytes, *, node: bytes = b"node") -> FolderBlock:
    return FolderBlock(
        key=folder_key(b"", name),
        device=1,
        has_links=False,
        names=b"a\0b",
        fingerprints=b"12",
        node=node,
        content=b"c" * 32,
        levels=0,
        files=2,
        others=0,
        file_bytes=10,
    )


def write(disk: SimDisk, blocks: list[FolderBlock]) -> None:
    writer = ChangeCacheWriter(disk, old=None)
    for each in blocks:
        writer.add(each)
    epoch, new = writer.end(epoch=b"b" * 16, new_epoch=EPOCH)
    assert epoch == EPOCH
    assert new is not None
    new.publish("cache")


def state(
    *, mtime_ns: int = 5, ctime_ns: int = 5, size: int = 1, mode: int = 0o100644
) -> os.stat_result:
    fields = (mode, 7, 1, 1, 0, 0, size, 0, 0, 0)
    extra = {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns}
    return os.stat_result(fields, extra)


def test_every_folder_is_found_again() -> None:
    disk = SimDisk()
    blocks = [block(b"%d" % number, node=os.urandom(3000)) for number in range(2000)]
    write(disk, blocks)
    cache = ChangeCache(disk, "cache")
    assert cache.epoch == EPOCH
    assert [cache.find(each.key) for each in blocks] == blocks
    assert [cache.find(each.key) for each in reversed(blocks)] == blocks[::-1]
    assert cache.find(folder_key(b"", b"another")) is None


def test_without_a_cache_nothing_is_known() -> None:
    cache = ChangeCache(SimDisk(), "cache")
    assert cache.find(folder_key(b"", b"0")) is None
    assert cache.epoch == b""


def test_an_empty_run_is_a_whole_cache() -> None:
    disk = SimDisk()
    write(disk, [])
    assert ChangeCache(disk, "cache").epoch == EPOCH


def test_damage_anywhere_costs_knowledge_and_never_truth() -> None:
    disk = SimDisk()
    blocks = [block(b"%d" % number) for number in range(5)]
    write(disk, blocks)
    for offset in range(disk.size_bytes("cache")):
        disk.damage("cache", offset=offset)
        cache = ChangeCache(disk, "cache")
        for each in blocks:
            assert cache.find(each.key) in (None, each)
        disk.damage("cache", offset=offset)


@pytest.mark.parametrize("length", [0, 5, 100, 400])
def test_a_cache_that_was_cut_off_is_no_cache(length: int) -> None:
    disk = SimDisk()
    write(disk, [block(b"%d" % number) for number in range(5)])
    disk.truncate("cache", length=length)
    assert ChangeCache(disk, "cache").epoch == b""


def test_folders_of_one_name_in_different_places_have_different_keys() -> None:
    above = folder_key(b"", b"/data")
    assert folder_key(above, b"x") != folder_key(folder_key(b"", b"/other"), b"x")


def test_the_fingerprint_tells_states_apart() -> None:
    marks = {
        fingerprint(state()),
        fingerprint(state(mtime_ns=6)),
        fingerprint(state(ctime_ns=6)),
        fingerprint(state(size=2)),
        fingerprint(state(mode=0o120777)),
        UNTRUSTED,
    }
    assert len(marks) == 6
    assert {len(mark) for mark in marks} == {len(UNTRUSTED)}


def test_times_beyond_what_64_bits_hold_have_fingerprints_too() -> None:
    times = [-(2**63), -1, 0, 2**63 - 1, 2**63 + 1]
    marks = {fingerprint(state(mtime_ns=each)) for each in times}
    marks |= {fingerprint(state(ctime_ns=each)) for each in times if each}
    assert {len(mark) for mark in marks} == {len(UNTRUSTED)}
    near = fingerprint(state(mtime_ns=-1))
    assert near[8:16] == b"\xff" * 8, "as two's complement, whichever way it was packed"
    assert len(marks) == 9, "each time has its own"


def test_only_what_is_older_than_the_scan_is_settled() -> None:
    assert is_settled(state(), before_ns=6)
    assert not is_settled(state(mtime_ns=6), before_ns=6)
    assert not is_settled(state(ctime_ns=9), before_ns=6)


def rewritten(disk: SimDisk, blocks: list[FolderBlock], *, epoch: bytes = EPOCH) -> bool:
    """Write the cache of another run; return whether it replaces the one of the last."""
    writer = ChangeCacheWriter(disk, old="cache")
    for each in blocks:
        writer.add(each)
    now, new = writer.end(epoch=epoch, new_epoch=b"n" * 16)
    assert now == (epoch if new is None else b"n" * 16)
    if new is not None:
        new.publish("cache")
    writer.abandon()
    assert disk.restart()._orphans == 0, "nothing is left without a name"
    return new is not None


def large(count: int) -> list[FolderBlock]:
    random = Random(1)
    return [block(b"%d" % number, node=random.randbytes(3000)) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 400])
def test_a_run_that_saw_the_same_leaves_the_cache_as_it_is(count: int) -> None:
    disk = SimDisk()
    write(disk, large(count))
    before = len(disk.trail)
    assert not rewritten(disk, large(count))
    assert disk.trail[before:] == []


@pytest.mark.parametrize(
    "changed",
    [
        lambda blocks: blocks[:-1],
        lambda blocks: [*blocks, block(b"more")],
        lambda blocks: [block(b"0"), *blocks[1:]],
        lambda blocks: [*blocks[:300], block(b"300"), *blocks[301:]],
        lambda blocks: [*blocks[:-1], block(b"399")],
        lambda _: [],
    ],
    ids=["fewer", "more", "the first", "one in between", "the last", "none"],
)
def test_a_run_that_saw_something_else_writes_what_it_saw(
    changed: Callable[[list[FolderBlock]], list[FolderBlock]],
) -> None:
    disk = SimDisk()
    write(disk, large(400))
    blocks = changed(large(400))
    assert rewritten(disk, blocks)
    cache = ChangeCache(disk, "cache")
    assert cache.epoch == b"n" * 16
    assert [cache.find(each.key) for each in blocks] == blocks
    fresh = SimDisk()
    fresh.write("cache", b"none")
    assert rewritten(fresh, blocks)
    assert disk.read("cache") == fresh.read("cache"), "as if there had been none"


def test_a_cache_of_another_index_is_replaced_by_the_same_with_a_new_epoch() -> None:
    disk = SimDisk()
    write(disk, large(400))
    assert rewritten(disk, large(400), epoch=b"o" * 16)
    assert ChangeCache(disk, "cache").epoch == b"n" * 16
    assert not rewritten(disk, large(400), epoch=b"n" * 16)


@pytest.mark.parametrize("damage", ["flipped", "cut off", "gone"])
def test_a_damaged_cache_is_replaced(damage: str) -> None:
    disk, blocks = SimDisk(), large(400)
    write(disk, blocks)
    if damage == "flipped":
        disk.damage("cache", offset=700_000)
    elif damage == "cut off":
        disk.truncate("cache", length=700_000)
    else:
        disk.delete("cache")
    assert rewritten(disk, blocks)
    cache = ChangeCache(disk, "cache")
    assert [cache.find(each.key) for each in blocks] == blocks
