import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from overland import buffers
from overland.adapters import medium, posix
from overland.adapters.posix import LeavesFolder, PosixFiles
from overland.errors import ObjectAbsent, OutOfSpace


class FaultyOs:
    """The module `os` with some calls replaced."""

    def __init__(self, **calls: Any) -> None:
        self.__dict__ |= calls

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("not ours")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def test_a_linked_folder_is_not_followed(root: Path, outside: Path) -> None:
    (root / "packs").symlink_to(outside)
    files = PosixFiles(root)
    with pytest.raises(LeavesFolder):
        files.read("packs/secret")
    with pytest.raises(LeavesFolder):
        files.write("packs/new", b"")
    with pytest.raises(LeavesFolder):
        files.delete("packs/secret")
    assert list(files.names()) == []
    assert [entry.name for entry in outside.iterdir()] == ["secret"]


def test_a_linked_file_is_not_read_and_is_replaced_rather_than_followed(
    root: Path, outside: Path
) -> None:
    (root / "manifest.json").symlink_to(outside / "secret")
    files = PosixFiles(root)
    with pytest.raises(LeavesFolder):
        files.read("manifest.json")
    with pytest.raises(LeavesFolder):
        files.size_bytes("manifest.json")
    files.write("manifest.json", b"ours")
    assert files.read("manifest.json") == b"ours"
    assert (outside / "secret").read_text() == "not ours"


def test_the_root_itself_may_be_reached_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    PosixFiles(tmp_path / "link").write("a", b"content")
    assert PosixFiles(root).read("a") == b"content"


def test_what_is_no_file_is_absent_and_does_not_hold_anybody_up(root: Path) -> None:
    os.mkfifo(root / "fifo")
    files = PosixFiles(root)
    with pytest.raises(ObjectAbsent):
        files.read("fifo")
    assert list(files.names()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "mkdir", "rename"])
def test_a_full_medium_is_refused_and_nothing_is_published(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    faulty = FaultyOs(**{call: full})
    monkeypatch.setattr(posix, "os", faulty)
    monkeypatch.setattr(medium, "os", faulty)
    files = PosixFiles(root)
    with pytest.raises(OutOfSpace) as refused:
        files.write("packs/a", b"content")
    assert refused.value.where == str(root)
    assert list(files.names()) == []
    assert not [entry for entry in root.iterdir() if entry.is_file()], "nothing is left behind"


def test_a_failing_device_is_no_full_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "bad sector")

    monkeypatch.setattr(posix, "os", FaultyOs(fsync=fail))
    with pytest.raises(OSError, match="bad sector"):
        PosixFiles(root).write("a", b"content")
    assert list(root.iterdir()) == []


def test_the_reserve_stays_free(root: Path) -> None:
    free_bytes = PosixFiles(root).free_bytes()
    files = PosixFiles(root, reserve_bytes=2 * free_bytes)
    assert files.free_bytes() == 0
    with pytest.raises(OutOfSpace):
        files.write("a", b"content")
    assert list(root.iterdir()) == []


def test_short_writes_go_on_where_they_ended(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_some(fd: int, data: memoryview) -> int:
        return os.write(fd, data[: max(1, len(data) * 2 // 3)])

    monkeypatch.setattr(medium, "os", FaultyOs(write=write_some))
    content = os.urandom(9_000_001)
    PosixFiles(root).write("a", content)
    assert (root / "a").read_bytes() == content


def test_short_reads_are_asked_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_some(fd: int, length: int, offset: int) -> bytes:
        return os.pread(fd, max(1, length // 2), offset)

    (root / "a").write_bytes(b"0123456789")
    monkeypatch.setattr(medium, "os", FaultyOs(pread=read_some))
    assert PosixFiles(root).read("a") == b"0123456789"
    assert PosixFiles(root).read_range("a", offset=3, length=99) == b"3456789"


class NoDirect:
    """The module `fcntl` of a file system that knows no O_DIRECT."""

    def __getattr__(self, name: str) -> Any:
        return getattr(fcntl, name)

    def fcntl(self, fd: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return fcntl.fcntl(fd, command, flags)


def test_file_systems_without_direct_access_are_written_and_read_the_usual_way(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "fcntl", NoDirect())
    content = os.urandom(9_000_001)
    files = PosixFiles(root)
    files.write("a", content)
    assert b"".join(bytes(block) for block in files.blocks("a")) == content


def test_direct_access_that_is_refused_at_the_first_use_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_direct(fd: int) -> bool:
        return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)

    def write(fd: int, data: memoryview) -> int:
        if is_direct(fd):
            raise OSError(errno.EINVAL, "Invalid argument")
        return os.write(fd, data)

    def readv(fd: int, buffers: list[memoryview]) -> int:
        if is_direct(fd):
            raise OSError(errno.EINVAL, "Invalid argument")
        return os.readv(fd, buffers)

    monkeypatch.setattr(medium, "os", FaultyOs(write=write, readv=readv))
    content = os.urandom(9_000_001)
    files = PosixFiles(root)
    files.write("a", content)
    assert b"".join(bytes(block) for block in files.blocks("a")) == content


def test_whole_aligned_buffers_are_written_without_a_copy(root: Path) -> None:
    buffer = medium.BufferPool().take()
    buffer[:] = os.urandom(len(buffer))
    new = PosixFiles(root).create()
    new.write(memoryview(buffer))
    new.write(memoryview(buffer)[:100])
    new.publish("a")
    assert (root / "a").read_bytes() == bytes(buffer) + bytes(buffer[:100])


def test_a_sweep_removes_what_dead_writers_left_and_counts_it(root: Path) -> None:
    (root / ".overland-tmp-0123456789abcdef").write_bytes(b"half a pack")
    (root / "READY").write_bytes(b"")
    assert list(PosixFiles(root).names(".")) == []
    assert PosixFiles(root).sweep() == 1
    assert [entry.name for entry in root.iterdir()] == ["READY"]


def test_a_sweep_by_somebody_else_leaves_a_living_writer_alone(root: Path) -> None:
    new = PosixFiles(root).create()
    new.write(b"content")
    assert PosixFiles(root).sweep() == 0
    new.publish("a")
    assert PosixFiles(root).read("a") == b"content"


def test_new_files_belong_to_their_owner_alone(root: Path) -> None:
    PosixFiles(root).write("a", b"")
    assert (root / "a").stat().st_mode & 0o777 == 0o600


def test_scratch_files_wait_for_no_medium(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(fd: int) -> None:
        raise AssertionError(f"descriptor {fd} was synced")

    monkeypatch.setattr(posix, "os", FaultyOs(fsync=never))
    files = PosixFiles(root, is_scratch=True)
    files.write("packs/3f/one.pack", b"content")
    files.settle("packs/3f/one.pack")
    assert files.read("packs/3f/one.pack") == b"content"
    files.delete("packs/3f/one.pack")
    files.remove_empty_folders("packs")
    assert list(root.iterdir()) == []
