"""Reading ahead gives the same bytes, and nobody's view changes under their hands."""

import errno
import fcntl
import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from overland.adapters import medium
from overland.adapters.medium import BUFFER_BYTES, BufferPool, Writer, read_blocks


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, BUFFER_BYTES, BUFFER_BYTES + 1, 9_000_001])
@pytest.mark.parametrize("block_bytes", [4096, 100_000, BUFFER_BYTES])
def test_blocks_are_the_file_whatever_their_size(
    tmp_path: Path, size_bytes: int, block_bytes: int
) -> None:
    content = os.urandom(size_bytes)
    (tmp_path / "a").write_bytes(content)
    fd = os.open(tmp_path / "a", os.O_RDONLY)

    found = b"".join(bytes(b) for b in read_blocks(fd, block_bytes=block_bytes, pool=BufferPool()))

    os.close(fd)
    assert found == content


def test_who_leaves_early_keeps_an_unchanged_view(tmp_path: Path) -> None:
    pool = BufferPool()
    for name, byte in (("a", b"a"), ("b", b"b")):
        (tmp_path / name).write_bytes(byte * (3 * BUFFER_BYTES))
    first = os.open(tmp_path / "a", os.O_RDONLY)
    blocks = read_blocks(first, block_bytes=BUFFER_BYTES, pool=pool)
    kept = next(blocks)
    blocks.close()
    os.close(first)
    gc.collect()

    second = os.open(tmp_path / "b", os.O_RDONLY)
    for _ in read_blocks(second, block_bytes=BUFFER_BYTES, pool=pool):
        pass
    os.close(second)

    assert kept == b"a" * BUFFER_BYTES


def test_the_next_block_is_read_while_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(bytes(3 * BUFFER_BYTES))
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    begun, fill, fills = threading.Event(), medium._fill, list[int]()

    def noted(fd: int, view: memoryview) -> int:
        fills.append(len(view))
        if len(fills) == 2:
            begun.set()
        return fill(fd, view)

    monkeypatch.setattr(medium, "_fill", noted)
    blocks = read_blocks(fd, block_bytes=BUFFER_BYTES, pool=BufferPool())

    next(blocks)

    assert begun.wait(120), "nobody asked for the second block yet"
    assert sum(len(block) for block in blocks) == 2 * BUFFER_BYTES
    os.close(fd)


def test_an_error_of_the_device_comes_where_its_block_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(bytes(3 * BUFFER_BYTES))
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    fill, fills = medium._fill, list[int]()

    def failing(fd: int, view: memoryview) -> int:
        fills.append(1)
        if len(fills) == 2:
            raise OSError(5, "Input/output error")
        return fill(fd, view)

    monkeypatch.setattr(medium, "_fill", failing)
    blocks = read_blocks(fd, block_bytes=BUFFER_BYTES, pool=BufferPool())

    assert len(next(blocks)) == BUFFER_BYTES
    with pytest.raises(OSError, match="Input/output"):
        next(blocks)
    os.close(fd)


def test_what_is_not_read_past_the_cache_is_dropped_from_it_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems take O_DIRECT and refuse the reading: memory must not answer for them."""
    content = os.urandom(3 * BUFFER_BYTES)
    (tmp_path / "a").write_bytes(content)
    readv, dropped = os.readv, list[int]()

    def refusing(fd: int, views: list[memoryview]) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        assert dropped == [fd], "read before the cache was dropped"
        return readv(fd, views)

    def drop(fd: int, offset: int, length: int, advice: int) -> None:
        assert (offset, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        dropped.append(fd)

    monkeypatch.setattr(os, "readv", refusing)
    monkeypatch.setattr(os, "posix_fadvise", drop)
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    blocks = read_blocks(fd, block_bytes=BUFFER_BYTES, pool=BufferPool())
    assert b"".join(bytes(block) for block in blocks) == content
    os.close(fd)


@pytest.fixture
def new(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "new", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, BUFFER_BYTES, BUFFER_BYTES + 1, 21_000_001])
@pytest.mark.parametrize("piece_bytes", [100_003, BUFFER_BYTES, 9_000_001])
def test_what_is_written_behind_is_in_order(
    new: int, tmp_path: Path, size_bytes: int, piece_bytes: int
) -> None:
    content, pool = os.urandom(size_bytes), BufferPool()
    writer = Writer(new, pool)

    for at in range(0, size_bytes, piece_bytes):
        piece = bytearray(content[at : at + piece_bytes])
        writer.append(memoryview(piece))
        piece[:] = bytes(len(piece))  # it may be reused
    writer.flush()
    writer.close()

    assert (tmp_path / "new").read_bytes() == content


@pytest.mark.parametrize("head_bytes", [BUFFER_BYTES, BUFFER_BYTES + 7])
def test_of_a_long_file_only_an_odd_end_goes_through_memory(
    new: int, monkeypatch: pytest.MonkeyPatch, head_bytes: int
) -> None:
    write, direct, written = os.write, False, dict[bool, int]()

    def set_direct(fd: int, *, on: bool) -> bool:
        nonlocal direct
        assert fd == new
        direct = on
        return True

    def noted(fd: int, data: memoryview) -> int:
        count = write(fd, data)
        written[direct] = written.get(direct, 0) + count
        return count

    monkeypatch.setattr(medium, "set_direct", set_direct)
    monkeypatch.setattr(os, "write", noted)
    content = os.urandom(head_bytes + 1_000_000)
    writer = Writer(new, BufferPool())
    writer.append(memoryview(content)[:head_bytes])
    writer.append(memoryview(content)[head_bytes:])
    writer.flush()
    writer.close()

    assert written == {True: len(content) // 4096 * 4096, False: len(content) % 4096}
    assert os.pread(new, len(content) + 1, 0) == content


def test_one_buffer_is_filled_while_the_other_is_written(
    new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, may_go_on = os.write, threading.Event()

    def slow(fd: int, data: memoryview) -> int:
        assert may_go_on.wait(20), "who fills the second buffer waits for the first"
        return write(fd, data)

    monkeypatch.setattr(os, "write", slow)
    writer = Writer(new, BufferPool())
    writer.append(memoryview(b"a" * (BUFFER_BYTES + 1000)))
    may_go_on.set()
    writer.append(memoryview(b"b" * BUFFER_BYTES))
    writer.flush()
    writer.close()

    assert os.fstat(new).st_size == 2 * BUFFER_BYTES + 1000


def test_an_error_behind_comes_at_the_next_buffer_and_at_every_call_after_it(
    new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_failed = threading.Event()

    def failing(*_: object) -> int:
        has_failed.set()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", failing)
    writer = Writer(new, BufferPool())
    writer.append(memoryview(bytes(BUFFER_BYTES + 1)))  # nobody has asked how that went
    assert has_failed.wait(20)
    monkeypatch.undo()

    with pytest.raises(OSError, match="No space left"):
        writer.append(memoryview(bytes(BUFFER_BYTES)))
    with pytest.raises(OSError, match="No space left"):
        writer.append(memoryview(b"more"))
    with pytest.raises(OSError, match="No space left"):
        writer.flush()
    writer.close()


def test_who_gives_up_waits_until_nobody_writes_from_the_buffers(
    new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, begun, written = os.write, threading.Event(), list[int]()

    def slow(fd: int, data: memoryview) -> int:
        begun.set()
        count = write(fd, data)
        written.append(count)
        return count

    monkeypatch.setattr(os, "write", slow)
    pool = BufferPool()
    writer = Writer(new, pool)
    writer.append(memoryview(bytes(BUFFER_BYTES)))
    assert begun.wait(20)

    writer.close()

    assert sum(written) == BUFFER_BYTES
    assert not [one for one in threading.enumerate() if one.name == "write-behind"]
