"""Streams come as they are, in pieces; devices without their zeros."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overland.source import streams
from overland.source.chunker import Chunker, Sizes, chunks
from overland.source.streams import DeviceReader, PipeReader, StreamReader, pieces_of

SIZES = Sizes(min_bytes=1 << 10, mean_bytes=4 << 10, max_bytes=16 << 10)
BLOCK = 64 << 10


def chunker() -> Chunker:
    return Chunker(SIZES, secret=b"12345678")


def read(reader: StreamReader, *, buffer_bytes: int = 3 * BLOCK) -> list[bytes]:
    """Return the chunks that the pieces hold; all buffers but theirs come back."""
    out: list[memoryview] = []

    def take() -> memoryview:
        out.append(memoryview(bytearray(buffer_bytes)))
        return out[-1]

    found = []
    for piece in pieces_of(reader, chunker=chunker(), take=take, give_back=out.remove):
        for start, end in zip([0, *piece.cuts], piece.cuts, strict=False):
            found.append(bytes(piece.buffer[start:end]))
        out.remove(piece.buffer)
    assert not out, "a buffer was kept"
    return found


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.mark.parametrize("length", [0, 1, 1000, 3 * BLOCK, 1 << 20])
def test_a_pipe_is_cut_as_its_content_is(pipe: tuple[int, int], length: int) -> None:
    data = os.urandom(length)
    out, into = pipe

    def write() -> None:
        with os.fdopen(os.dup(into), "wb") as file:
            file.write(data)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, into)  # the last writer is gone
        os.close(null)

    writer = threading.Thread(target=write)
    writer.start()
    found = read(PipeReader(out, timeout_s=120))
    writer.join()
    assert found == list(chunks([data], chunker()))


def test_a_pipe_that_falls_silent_is_given_up(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"some")
    with pytest.raises(TimeoutError, match=r"gave nothing for 0\.05 s"):
        read(PipeReader(pipe[0], timeout_s=0.05))


@settings(deadline=None)  # it writes files
@given(pattern=st.lists(st.booleans(), max_size=20), rest=st.sampled_from([0, 512, BLOCK - 512]))
def test_a_device_gives_its_data_and_where_it_lay(
    tmp_path_factory: pytest.TempPathFactory, pattern: list[bool], rest: int
) -> None:
    content = b"".join(
        bytes([1 + at]) * BLOCK if full else bytes(BLOCK) for at, full in enumerate(pattern)
    )
    content += b"\x01" * rest
    device = tmp_path_factory.mktemp("device") / "image"
    device.write_bytes(content)
    fd = os.open(device, os.O_RDONLY)
    reader = DeviceReader(fd, size_bytes=len(content))
    data = b"".join(read(reader))
    os.close(fd)
    extents = reader.extents if reader.extents is not None else ((0, len(content)),)
    again, at = bytearray(len(content)), 0
    for offset, length in extents:
        again[offset : offset + length] = data[at : at + length]
        at += length
    assert (bytes(again), at) == (content, len(data))
    assert len(data) == sum(pattern) * BLOCK + rest, "zeros were read as data"


def test_a_device_in_too_many_parts_is_kept_with_its_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_EXTENTS", 2)
    content = (b"x" * BLOCK + bytes(BLOCK)) * 4
    (tmp_path / "image").write_bytes(content)
    fd = os.open(tmp_path / "image", os.O_RDONLY)
    reader = DeviceReader(fd, size_bytes=len(content))
    data = b"".join(read(reader))
    os.close(fd)
    assert reader.extents == ((0, BLOCK), (2 * BLOCK, 6 * BLOCK))
    assert data == content[:BLOCK] + content[2 * BLOCK :]


def test_a_device_that_ends_before_its_length_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x" * 1000)
    fd = os.open(tmp_path / "image", os.O_RDONLY)
    with pytest.raises(OSError, match="ended before"):
        read(DeviceReader(fd, size_bytes=2000))
    os.close(fd)
