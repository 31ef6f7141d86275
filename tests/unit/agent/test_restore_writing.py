"""Restored bytes reach their files whole, long ones past the page cache; memory is used again."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from overland.agent.restore import writing
from overland.agent.restore.writing import Edges, FileWriter, cut, reserve
from overland.buffers import set_direct

MIB = 1 << 20

_FAULTS = """
import ctypes, resource, sys
if not hasattr(ctypes.CDLL(None), "mallopt"):
    sys.exit(77)
from overland.agent.points.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def used():
    return [b"x" * (12 << 20) for _ in range(4)]
used()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    used()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture(params=["disk", "memory"])
def fd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """An open file: on a disk, which takes O_DIRECT, or in memory, which may refuse it."""
    folder = tmp_path
    if request.param == "memory":
        shared = Path("/dev/shm")
        if not shared.is_dir():
            pytest.skip("there is no file system in memory here")
        folder = Path(tempfile.mkdtemp(dir=shared))
    opened = os.open(folder / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)
    shutil.rmtree(folder, ignore_errors=True)


class Call(NamedTuple):
    """What the system was given in one write."""

    is_direct: bool
    address: int
    offset: int
    length: int


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    made: list[Call] = []
    pwrite = os.pwrite

    def write(fd: int, data: memoryview, offset: int) -> int:
        is_direct = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)
        address = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
        made.append(Call(is_direct, address, offset, len(data)))
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", write)
    return made


@pytest.mark.parametrize("seed", range(6))
def test_pieces_of_any_length_in_any_order_become_the_file(fd: int, seed: int) -> None:
    random = Random(seed)
    cuts = sorted(random.sample(range(24 * MIB), 40))
    pieces = list(pairwise([0, *cuts, 24 * MIB]))
    random.shuffle(pieces)
    data, writer = memoryview(random.randbytes(24 * MIB)), FileWriter()
    if random.random() < 0.5:
        os.ftruncate(fd, 24 * MIB)

    for start, end in pieces:
        writer.write(fd, [data[start:end]], start)

    assert os.pread(fd, 25 * MIB, 0) == data


def test_threads_with_descriptors_of_their_own_write_one_file(tmp_path: Path) -> None:
    data = memoryview(Random(5).randbytes(32 * MIB))
    places = [(at, min(at + 777_777, len(data))) for at in range(0, len(data), 777_777)]
    path = tmp_path / "file"
    path.touch()

    def write(part: list[tuple[int, int]]) -> None:
        fd, writer = os.open(path, os.O_RDWR), FileWriter()
        for start, end in part:
            writer.write(fd, [data[start:end]], start)
        os.close(fd)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, (places[number::3] for number in range(3))))

    assert path.read_bytes() == data


@pytest.mark.parametrize("kept", [0, 3, 4096])
@pytest.mark.parametrize("seed", range(3))
def test_threads_that_share_the_edges_of_a_file_write_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, kept: int
) -> None:
    monkeypatch.setattr(writing, "_KEPT_BLOCKS", kept)
    random = Random(seed)
    size = 16 * MIB + random.randrange(1, 4096)
    cuts = sorted(random.sample(range(size), 300))
    cuts += [cuts[0] + 1, cuts[0] + 2, 8 * MIB, 8 * MIB + 4096]  # blocks of many, and whole ones
    places = list(pairwise([0, *sorted(set(cuts)), size]))
    random.shuffle(places)
    data, edges = memoryview(random.randbytes(size)), Edges()
    path = tmp_path / "file"
    path.write_bytes(b"")

    def write(part: list[tuple[int, int]]) -> None:
        fd, writer = os.open(path, os.O_RDWR), FileWriter()
        for start, end in part:
            middle = (start + end) // 2
            writer.write(fd, [data[start:middle], data[middle:end]], start, edges)
        os.close(fd)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, (places[number::3] for number in range(3))))
    fd = os.open(path, os.O_RDWR)
    FileWriter().finish(fd, edges)
    os.close(fd)

    assert path.read_bytes() == data


def test_the_border_of_two_long_stretches_goes_past_the_page_cache_with_one_of_them(
    fd: int, calls: list[Call]
) -> None:
    data, writer, edges = memoryview(os.urandom(4 * MIB)), FileWriter(), Edges()

    writer.write(fd, [data[: 2 * MIB + 700]], 0, edges)
    writer.write(fd, [data[2 * MIB + 700 :]], 2 * MIB + 700, edges)

    assert os.pread(fd, 5 * MIB, 0) == data, "nothing is left to `finish`"
    if calls[0].is_direct:  # the file system takes it
        assert [call.length for call in calls] == [2 * MIB, 2 * MIB]


def test_pieces_are_cut_anywhere() -> None:
    data = bytes(range(60))
    pieces = [memoryview(data)[start:end] for start, end in ((0, 7), (7, 7), (7, 40), (40, 60))]

    for start in range(61):
        for end in range(start, 61):
            assert b"".join(cut(pieces, start, end)) == data[start:end]


def test_reserved_room_reads_as_zeros_and_too_much_of_it_is_no_error(fd: int) -> None:
    reserve(fd, 0, 3 * MIB)

    size = os.fstat(fd).st_size
    assert size in {0, 3 * MIB}, "the file system may not know how"
    assert os.pread(fd, 4 * MIB, 0) == bytes(size)

    reserve(fd, 0, 1 << 52)
    FileWriter().write(fd, [memoryview(b"it fits")], 0)
    assert os.pread(fd, 7, 0) == b"it fits"
    os.ftruncate(fd, 0)


def test_only_whole_blocks_of_long_stretches_go_past_the_page_cache(
    fd: int, calls: list[Call]
) -> None:
    writer = FileWriter()
    writer.write(fd, [memoryview(bytes(200_000))], 0)
    assert [call.is_direct for call in calls] == [False], "a short one"
    calls.clear()

    writer.write(fd, [memoryview(bytes(9 * MIB + 1000))], 300_001)

    direct = [call for call in calls if call.is_direct]
    if direct:  # the file system takes it
        assert all(call.address % 4096 == call.length % 4096 == 0 for call in direct)
        assert all(call.offset % 4096 == 0 for call in direct)
        assert sum(call.length for call in direct) > 9 * MIB + 1000 - 2 * 4096
    assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT, "others may write as they like"


def test_a_disk_is_written_past_the_page_cache(tmp_path: Path, calls: list[Call]) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        if not set_direct(fd, on=True):
            pytest.skip("the file system of the tests' folder refuses O_DIRECT")
        set_direct(fd, on=False)
        FileWriter().write(fd, [memoryview(bytes(MIB))], 0)
    finally:
        os.close(fd)

    assert [call.is_direct for call in calls] == [True]


def test_writes_that_the_system_cuts_short_are_finished(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[:60_000], offset))
    data = os.urandom(MIB + 567)

    FileWriter().write(fd, [memoryview(data)], 89)

    assert os.pread(fd, 2 * MIB, 0) == bytes(89) + data


def test_a_file_system_that_refuses_when_it_writes_gets_it_the_usual_way(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, refused = os.pwrite, 0

    def write(fd: int, data: memoryview, offset: int) -> int:
        nonlocal refused
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            refused += 1
            raise OSError(errno.EINVAL, "not like this")
        return whole(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", write)
    data, writer = os.urandom(2 * MIB), FileWriter()

    for at in range(0, 2 * MIB, MIB):
        writer.write(fd, [memoryview(data)[at : at + MIB]], at)

    assert os.pread(fd, 3 * MIB, 0) == data
    assert refused <= 1, "it is not asked again"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_what_the_device_says_reaches_the_caller(
    fd: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_fd: int, _data: memoryview, _offset: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", fail)

    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        FileWriter().write(fd, [memoryview(bytes(MIB))], 0)

    assert raised.value.errno == number
    assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT


def test_freed_buffers_are_used_again_instead_of_cleared_again() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", _FAULTS, how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 77:
            pytest.skip("this C library has no mallopt")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert faults("keep") * 4 < faults("as ever")
