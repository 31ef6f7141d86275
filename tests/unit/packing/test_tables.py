"""Tables and scratch files: whatever their rows lie in, they are the rows that were appended."""

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overland.errors import OutOfSpace
from overland.packing import scratch, tables
from overland.packing.scratch import RESIDENT_BYTES, Mapping, ScratchFile, is_too_much_resident
from overland.packing.tables import Piece, Records, Table

ROW = np.dtype([("number", "<u4"), ("more", "u1", (7,))])
IN_MEMORY_ROWS = 40


@pytest.fixture
def few_in_memory() -> Iterator[None]:
    """Tables go to their scratch file from a few rows on, and grow from there often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_IN_MEMORY_BYTES", IN_MEMORY_ROWS * ROW.itemsize)
        patch.setattr(tables, "_FIRST_ROWS", 3)
        patch.setattr(tables, "_SLICE_BYTES", 16 << 10)
        yield


def rows_from(first: int, count: int) -> Records:
    rows = np.zeros(count, ROW)
    rows["number"] = np.arange(first, first + count)
    rows["more"] = (rows["number"] % 251).reshape(-1, 1)
    return rows


def piece_in_file(folder: Path, rows: Records) -> Piece:
    path = folder / "rows"
    path.write_bytes(rows.tobytes())
    with path.open("rb") as file:
        mapping = Mapping(file.fileno(), size_bytes=rows.nbytes)
    path.unlink()
    return Piece(np.frombuffer(mapping.data, ROW), digests=None, mapping=mapping)


@pytest.mark.usefixtures("few_in_memory")
@pytest.mark.parametrize("place", ["in memory", "in a scratch file"])
@given(
    old=st.integers(0, 50),
    steps=st.lists(
        st.one_of(st.integers(0, 70), st.sampled_from(["let go", "take", "view"])), max_size=30
    ),
    chance=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_a_table_is_the_rows_that_were_appended(
    tmp_path_factory: pytest.TempPathFactory,
    place: str,
    old: int,
    steps: list[int | str],
    chance: random.Random,
) -> None:
    folder = tmp_path_factory.mktemp("table")
    pieces = [piece_in_file(folder, rows_from(0, old))] if old else []
    table = Table(ROW, scratch=None if place == "in memory" else folder, old=pieces)
    kept: list[tuple[Records, int]] = []  # views from before the table grew
    count = old
    for step in steps:
        if isinstance(step, int):
            assert table.append(rows_from(count, step)) == count
            count += step
        elif step == "let go":
            table.let_go()
        elif step == "view":
            kept.append((table.new_rows(), count))
        elif count:
            numbers = np.array([chance.randrange(count) for _ in range(20)], np.int64)
            assert (table.take(numbers) == rows_from(0, count)[numbers]).all()
    assert len(table) == count
    for view, then in [*kept, (table.new_rows(), count)]:
        assert view.tobytes() == rows_from(old, then - old).tobytes()
    sliced = b"".join(rows.tobytes() for rows in table.new_piece().slices())
    assert sliced == rows_from(old, count - old).tobytes()
    assert table.are_sound(np.array([-1, count])).tolist() == [False, False]
    assert list(folder.iterdir()) == [], "the scratch file has no name"
    mapped = table.mapped_bytes // ROW.itemsize - old
    assert mapped in (0, count - old)
    assert place != "in memory" or not mapped
    assert mapped or place == "in memory" or count - old <= IN_MEMORY_ROWS


@pytest.mark.usefixtures("few_in_memory")
def test_a_table_survives_a_full_disk_and_short_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(ROW, scratch=tmp_path)
    table.append(rows_from(0, 100))
    write = os.pwrite

    def short(descriptor: int, data: memoryview, at: int) -> int:
        return write(descriptor, data[:13], at)

    monkeypatch.setattr(os, "pwrite", short)
    table.append(rows_from(100, 10))
    left = [5]

    def full(descriptor: int, data: memoryview, at: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "no room")
        return write(descriptor, b"\xff" * len(data[:13]), at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutOfSpace) as refused:
        table.append(rows_from(110, 500))
    assert refused.value.where == str(tmp_path)
    assert len(table) == 110
    monkeypatch.setattr(os, "pwrite", write)
    assert table.append(rows_from(110, 500)) == 110
    assert table.new_rows().tobytes() == rows_from(0, 610).tobytes()


def test_a_device_that_fails_is_not_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int, data: memoryview, at: int) -> int:  # noqa: ARG001 - as os.pwrite
        raise OSError(errno.EIO, "broken")

    file = ScratchFile(tmp_path)
    file.append(memoryview(b"before"))
    monkeypatch.setattr(os, "pwrite", failing)
    with pytest.raises(OSError, match="broken"):
        file.append(memoryview(b"after"))
    assert bytes(file.mapped(6).data) == b"before"


def test_a_mapping_shows_what_is_appended_later(tmp_path: Path) -> None:
    file = ScratchFile(tmp_path)
    file.append(memoryview(b"one "))
    small, large = file.mapped(8), file.mapped(100_000)
    file.append(memoryview(b"two "))
    assert bytes(small.data) == b"one two " == bytes(large.data[:8])
    large.let_go()
    file.append(memoryview(b"three"))
    assert bytes(large.data[:13]) == b"one two three"


def test_what_is_let_go_is_not_resident_any_more(tmp_path: Path) -> None:
    file = ScratchFile(tmp_path)
    room = RESIDENT_BYTES + (8 << 20)
    mapping = file.mapped(room)
    assert not is_too_much_resident()
    assert sum(mapping.data[::4096]) == 0  # holes take no room on the disk
    assert is_too_much_resident()
    mapping.let_go()
    assert not is_too_much_resident()
    assert mapping.data[room - 1] == 0


def test_a_system_that_does_not_tell_has_not_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_STATM", "/nowhere/statm")
    monkeypatch.setattr(scratch, "RESIDENT_BYTES", 0)
    assert not is_too_much_resident()
