"""Restored bytes reach their files whole, and the device early; memory is used again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from overland.agent.restore import writing
from overland.agent.restore.writing import FileWriter

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


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What the device was asked to begin with: start and end."""
    ranges: list[tuple[int, int]] = []

    def begin(_fd: int, start: int, length: int, _flags: int) -> int:
        ranges.append((start, start + length))
        return 0

    monkeypatch.setattr(writing, "_sync_file_range", begin)
    return ranges


def test_writes_that_the_system_cuts_short_are_finished(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[:1000], offset))
    data = os.urandom(4567)

    FileWriter().write(fd, memoryview(data), 89)

    assert os.pread(fd, 10_000, 0) == bytes(89) + data


def test_no_byte_of_a_long_file_is_left_to_the_last_sync_or_handed_over_twice(
    fd: int, handed: list[tuple[int, int]]
) -> None:
    writer, end = FileWriter(), 100
    for length in (3 * MIB + 5, 6 * MIB, MIB, 17 * MIB + 1, 5 * MIB + 3):
        writer.write(fd, memoryview(bytes(length)), end)
        end += length
    writer.hand_over()

    assert handed[0][0] == 100
    assert handed[-1][1] == end
    for (_, before), (after, _) in pairwise(handed):
        assert before == after
        assert before % 4096 == 0, "a page in two parts would be written twice"


def test_another_place_or_another_file_begins_a_range_of_its_own(
    fd: int, handed: list[tuple[int, int]], tmp_path: Path
) -> None:
    writer = FileWriter()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    try:
        writer.write(fd, memoryview(bytes(4 * MIB)), 0)
        writer.write(fd, memoryview(bytes(5 * MIB)), 6 * MIB)
        writer.write(other, memoryview(bytes(6 * MIB)), 11 * MIB)
        writer.hand_over()
    finally:
        os.close(other)

    assert handed == [(0, 4 * MIB), (6 * MIB, 11 * MIB), (11 * MIB, 17 * MIB)]


def test_small_files_are_left_to_the_last_sync(fd: int, handed: list[tuple[int, int]]) -> None:
    writer = FileWriter()
    for number in range(20):
        writer.write(fd, memoryview(bytes(MIB)), 2 * number * MIB)
        writer.hand_over()

    assert handed == []


def test_a_file_that_was_closed_meanwhile_does_no_harm(tmp_path: Path) -> None:
    writer, closed = FileWriter(), os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    writer.write(closed, memoryview(bytes(5 * MIB)), 0)
    os.close(closed)

    writer.hand_over()

    assert (tmp_path / "file").read_bytes() == bytes(5 * MIB)


def test_freed_buffers_are_used_again_instead_of_cleared_again() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", _FAULTS, how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 77:
            pytest.skip("this C library has no mallopt")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert faults("keep") * 4 < faults("as ever")
