"""A folder that was renamed is not read again; and nothing else passes for one."""

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.backups import Tree, make_plan, make_repository, point_id, run
from tests.support.simdisk import SimDisk

from overland.agent.backup import looks, workers
from overland.agent.backup.plan import BackupResult
from overland.source import changes, reader, scan
from overland.source.changes import FolderBlock, as_mounted, fingerprint, folders_by_inode


class Source:
    """A source, and the runs that back it up."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._read = folder, 0
        folder.mkdir()
        read_whole = reader.read_whole

        def counted(name: bytes, **rest: Any) -> reader.WholeFile | None:
            self._read += 1
            return read_whole(name, **rest)

        patch.setattr(workers, "read_whole", counted)
        self._out, self._state = SimDisk(), SimDisk()
        self._number = 0

    def write(self, path: str, content: bytes = b"content") -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def rename(self, old: str, new: str) -> None:
        (self.folder / old).rename(self.folder / new)

    def back_up(self, **changes: object) -> BackupResult:
        """Make a point, whose files have the contents that are in the source."""
        self._number += 1
        plan = make_plan(self.folder, number=self._number, **changes)
        repository = make_repository(self._state)
        result = run(plan, repository=repository, out=self._out, stored=[self._out])
        found = Tree(self._out, make_repository(SimDisk()), point_id(self._number)).contents
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        assert found == {os.fsencode(path): path.read_bytes() for path in paths}
        return result

    def read_files(self, **changes: object) -> int:
        """Return how many files a run has read."""
        self._read = 0
        self.back_up(**changes)
        return self._read


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(tmp_path / "source", monkeypatch)


def _fill(source: Source) -> None:
    for name in ("a/1", "a/2", "a/below/3", "a/below/deep/4", "b/5", "b/below/6"):
        source.write(name, name.encode() * 100)
    (source.folder / "a/empty").mkdir()
    assert source.read_files() == 6


def test_a_renamed_folder_is_not_read(source: Source) -> None:
    _fill(source)
    source.rename("a", "new")
    assert source.read_files() == 0
    source.rename("new/below", "new/other")
    source.rename("new", "a third")
    assert source.read_files() == 0
    assert source.read_files() == 0


def test_of_a_renamed_folder_what_changed_is_read(source: Source) -> None:
    _fill(source)
    source.rename("a", "new")
    source.write("new/2", b"other content")
    source.write("new/below/deep/7")
    (source.folder / "new/below/3").unlink()
    assert source.read_files() == 2


def test_folders_that_change_their_names_with_each_other_are_not_read(source: Source) -> None:
    _fill(source)
    source.rename("a", "c")
    source.rename("b", "a")
    source.rename("c", "b")
    assert source.read_files() == 0


def test_a_folder_that_takes_the_name_of_one_that_was_removed_is_not_read(source: Source) -> None:
    _fill(source)
    shutil.rmtree(source.folder / "b")
    source.rename("a", "b")
    assert source.read_files() == 0


def test_a_new_folder_with_the_name_of_a_renamed_one_is_read(source: Source) -> None:
    _fill(source)
    source.rename("a", "new")
    source.write("a/1", b"a/1" * 100)
    assert source.read_files() == 1


def test_a_renamed_folder_with_several_names_for_a_file_is_not_read(source: Source) -> None:
    _fill(source)
    (source.folder / "a/one more").hardlink_to(source.folder / "a/1")
    source.back_up()
    source.rename("a", "new")
    assert source.read_files() == 0


def test_sections_of_a_renamed_folder_are_not_read(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "MANY_ENTRIES", 20)
    for number in range(50):
        source.write(f"a/{number:03d}")
    source.write("a/folder/1")
    assert source.read_files() == 51
    source.rename("a", "new")
    assert source.read_files() == 0
    assert source.read_files() == 0
    source.write("new/033", b"other content")
    source.rename("new", "a third")
    assert source.read_files() == 1


def test_a_run_that_is_to_read_all_reads_a_renamed_folder(source: Source) -> None:
    _fill(source)
    source.rename("a", "new")
    assert source.read_files(reads_all=True) == 6


def _state(inode: int, mode: int = stat.S_IFDIR | 0o755) -> scan.State:
    return scan.State(mode, inode, 7, 2, 0, 0, 4096, 10, 20, 8)


def _block(marks: dict[bytes, bytes]) -> FolderBlock:
    return FolderBlock(
        key=b"k" * 16,
        device=7,
        has_links=False,
        names=b"\0".join(marks),
        fingerprints=b"".join(marks.values()),
        node=b"n",
        content=b"",
        levels=0,
        files=0,
        others=0,
        file_bytes=0,
    )


def test_only_trusted_folders_of_the_same_file_system_are_known_by_their_inode() -> None:
    block = _block(
        {
            b"file": fingerprint(_state(1, stat.S_IFREG | 0o644)),
            b"folder": fingerprint(_state(2)),
            b"mounted": as_mounted(fingerprint(_state(3))),
            b"new": changes.UNTRUSTED,
        }
    )
    assert folders_by_inode(block) == {2: b"folder"}
    assert folders_by_inode(_block({})) == {}


def test_where_something_is_mounted_shows_in_the_fingerprint() -> None:
    plain = fingerprint(_state(2))
    assert as_mounted(plain) != plain
    assert as_mounted(plain) != as_mounted(fingerprint(_state(3)))
    assert len(as_mounted(plain)) == len(plain)


def test_where_something_is_mounted_now_no_folder_was_renamed_to(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(source)
    source.rename("a", "new")
    look_at = scan.look_at

    def mounted(names: list[bytes], *, fd: int) -> scan.Listing:
        listing = look_at(names, fd=fd)
        found = [scan.state_of(state) for state in listing.stats]
        there = [
            msgspec.structs.replace(state, st_dev=state.st_dev + 1) if name == b"new" else state
            for name, state in zip(listing.names, found, strict=True)
        ]
        return scan.Listing(listing.names, there, listing.failed)  # type: ignore[arg-type]  # as good

    monkeypatch.setattr(looks, "look_at", mounted)
    assert source.read_files() == 4, "a file system that has the same inodes is not trusted"
