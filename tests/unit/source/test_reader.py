import os
from collections.abc import Callable
from pathlib import Path

import pytest

from overland.source import reader
from overland.source.chunker import Chunker, Sizes
from overland.source.pieces import pieces
from overland.source.reader import WholeFile, cut_short, data_extents, read_whole

SIZES = Sizes(min_bytes=64, mean_bytes=256, max_bytes=1024)


@pytest.fixture
def folder(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)


def read(folder: int, name: bytes, *, room: int = 1 << 20) -> tuple[WholeFile | None, bytes]:
    buffer = memoryview(bytearray(room))
    state = os.stat(name, dir_fd=folder)
    whole = read_whole(name, parent_fd=folder, expected=state, buffer=buffer)
    return whole, bytes(buffer[: whole.length]) if whole else b""


def test_a_file_that_stands_still_is_read_once(tmp_path: Path, folder: int) -> None:
    (tmp_path / "f").write_bytes(b"content")
    whole, data = read(folder, b"f")
    assert whole is not None
    assert (data, whole.changed, whole.extents, whole.size_bytes) == (b"content", False, None, 7)


def test_a_state_that_still_holds_is_the_one_that_was_expected(tmp_path: Path, folder: int) -> None:
    (tmp_path / "f").write_bytes(b"content")
    state = os.stat("f", dir_fd=folder)
    buffer = memoryview(bytearray(10))
    whole = read_whole(b"f", parent_fd=folder, expected=state, buffer=buffer)
    assert whole is not None
    assert whole.state is state
    (tmp_path / "f").chmod(0o600)
    again = read_whole(b"f", parent_fd=folder, expected=state, buffer=buffer)
    assert again is not None
    assert again.state.st_mode & 0o777 == 0o600, "what changed since is seen"


def test_a_file_larger_than_the_buffer_is_left_to_the_caller(tmp_path: Path, folder: int) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100)
    assert read(folder, b"f", room=99)[0] is None


def test_a_file_that_changes_once_is_read_again(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    _change_after_reading(monkeypatch, lambda n: path.write_bytes(b"newer") if n == 1 else None)
    whole, data = read(folder, b"f")
    assert whole is not None
    assert (data, whole.changed) == (b"newer", False)


def test_a_change_whose_traces_but_one_were_put_back_is_seen(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    before = path.stat()

    def change(_reading: int) -> None:
        while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of files has coarse ticks
            path.write_bytes(b"new")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    _change_after_reading(monkeypatch, change)
    whole, data = read(folder, b"f")
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert whole is not None
    assert (data, whole.changed) == (b"new", False)


def test_a_file_that_never_stands_still_is_kept_as_changed(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0")
    readings: list[int] = []

    def change(reading: int) -> None:
        readings.append(reading)
        path.write_bytes(b"%d" % reading * (reading + 1))

    _change_after_reading(monkeypatch, change)
    whole, data = read(folder, b"f")
    assert whole is not None
    assert readings == [1, 2, 3]
    assert whole.changed
    assert (data, whole.size_bytes) == (b"222", 3), "what the last reading saw, and its size"


def test_a_file_cut_while_it_is_read_has_the_length_that_was_there(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 5000)
    real = os.preadv

    def cut(fd: int, views: list[memoryview], at: int) -> int:
        os.truncate(path, os.fstat(fd).st_size - 7)
        return real(fd, views, at)

    monkeypatch.setattr("overland.source.reader.os.preadv", cut)
    whole, data = read(folder, b"f")
    assert whole is not None
    assert whole.size_bytes == whole.length == len(data)


def test_what_is_gone_or_a_link_now_is_an_error(tmp_path: Path, folder: int) -> None:
    (tmp_path / "f").write_bytes(b"x")
    state = (tmp_path / "f").stat()
    (tmp_path / "f").unlink()
    with pytest.raises(FileNotFoundError):
        read_whole(b"f", parent_fd=folder, expected=state, buffer=memoryview(bytearray(10)))
    (tmp_path / "f").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        read_whole(b"f", parent_fd=folder, expected=state, buffer=memoryview(bytearray(10)))


def test_a_pipe_in_place_of_a_file_does_not_block(tmp_path: Path, folder: int) -> None:
    (tmp_path / "f").write_bytes(b"")
    state = (tmp_path / "f").stat()
    (tmp_path / "f").unlink()
    os.mkfifo(tmp_path / "f")
    with pytest.raises(OSError, match="replaced"):
        read_whole(b"f", parent_fd=folder, expected=state, buffer=memoryview(bytearray(10)))


def test_holes_are_found_and_not_read(tmp_path: Path, folder: int) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(256 << 10)
        file.write(b"d" * 8192)
    whole, data = read(folder, b"f")
    assert whole is not None
    assert whole.size_bytes == 1 << 20
    if whole.extents is None:
        pytest.skip("the file system of the tests has no holes")
    assert len(data) == sum(length for _, length in whole.extents) < 1 << 20
    assert data.strip(b"\0") == b"d" * 8192


@pytest.mark.parametrize("end", [40 << 12, (40 << 12) + 1, (48 << 12) - 1])
def test_data_and_holes_together_are_the_file(tmp_path: Path, folder: int, end: int) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        for at, data in ((0, b"a" * 4096), (8 << 12, b"b" * 12288), (39 << 12, b"c" * 4096)):
            file.seek(at)
            file.write(data)
        file.truncate(end)
    whole, data = read(folder, b"f")
    assert whole is not None
    if whole.extents is None:
        pytest.skip("the file system of the tests has no holes")
    again, taken = bytearray(whole.size_bytes), 0
    for offset, length in whole.extents:
        again[offset : offset + length] = data[taken : taken + length]
        taken += length
    assert (taken, bytes(again)) == (len(data), path.read_bytes())


def test_a_file_that_is_one_hole_has_no_data(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(1 << 20)
        assert data_extents(file.fileno(), os.fstat(file.fileno())) in ((), None)


def test_extents_end_where_the_data_ended() -> None:
    assert cut_short(((0, 10), (20, 10)), 15) == (((0, 10), (20, 5)), 25)
    assert cut_short(((5, 10),), 0) == ((), 0)
    assert cut_short(None, 7) == (None, 7)


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 4096, 4097, 50_000])
@pytest.mark.parametrize("extents", [None, "holes"])
def test_pieces_cut_as_the_whole_file_would_be(
    tmp_path: Path, size: int, extents: str | None
) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    spans = (
        None if extents is None else tuple((at, min(700, size - at)) for at in range(0, size, 999))
    )
    wanted = data if spans is None else b"".join(data[at : at + length] for at, length in spans)
    chunker = Chunker(SIZES, secret=bytes(8))
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    found: list[bytes] = []
    for piece in pieces(
        fd,
        spans,
        size,
        chunker=chunker,
        take=lambda: memoryview(bytearray(4096)),
        give_back=lambda _: None,
    ):
        found += [
            bytes(piece.buffer[start:end])
            for start, end in zip([0, *piece.cuts], piece.cuts, strict=False)
        ]
    cuts = chunker.cuts(memoryview(wanted), is_end=True)
    assert found == [wanted[a:b] for a, b in zip([0, *cuts], cuts, strict=False)]


def _change_after_reading(monkeypatch: pytest.MonkeyPatch, change: Callable[[int], object]) -> None:
    """Call `change` with the number of the reading, after the data was read."""
    readings = 0

    def spy(_fd: int) -> tuple[()]:
        nonlocal readings
        readings += 1
        change(readings)
        return ()

    monkeypatch.setattr(reader, "read_xattrs", spy)
