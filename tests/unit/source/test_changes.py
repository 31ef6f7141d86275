import os

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
    writer = ChangeCacheWriter(disk)
    for each in blocks:
        writer.add(each)
    writer.publish("cache", epoch=EPOCH)


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
