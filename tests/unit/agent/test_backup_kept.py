"""What is kept encoded from the last run makes the node that reading everything would make."""

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.backups import Tree, make_plan, make_repository, point_id, run
from tests.support.random_trees import Node, build_tree, mutate, trees
from tests.support.simdisk import SimDisk
from tests.support.torture import build_torture, fast_folder

from overland.agent.backup import folders, known, looks, nodes, scout, walk, workers
from overland.agent.backup.plan import BackupResult
from overland.format import tree
from overland.format.tree import Entry, decode_node
from overland.source import entries, reader
from overland.source.changes import FolderBlock, fingerprint, folder_key
from overland.source.scan import Stat, State, state_of


class Both:
    """A source backed up with what the last run knew, and beside it with all read again."""

    def __init__(self, source: Path, patch: pytest.MonkeyPatch) -> None:
        self.source = source
        self._disks = {True: (SimDisk(), SimDisk()), False: (SimDisk(), SimDisk())}
        self._number = 0
        self.kept = self.read = 0
        keep, join = known.keep_same, tree.encode_own_node

        def kept(*arguments: object) -> list[int]:
            to_read = keep(*arguments)  # type: ignore[arg-type]  # passed on as they are
            self.read += len(to_read)
            return to_read

        def joined(found: list[Entry | msgspec.Raw], *, names: list[bytes]) -> bytes:
            self.kept += sum(isinstance(entry, msgspec.Raw) for entry in found)
            return join(found, names=names)

        patch.setattr(walk, "keep_same", kept)
        patch.setattr(nodes, "encode_own_node", joined)

    def back_up(self, **changes: object) -> BackupResult:
        """Make a point with each, and compare all that is in them, and what the next run knows."""
        self._number += 1
        results = {}
        for reads_all, (out, state) in self._disks.items():
            plan = make_plan(self.source, number=self._number, reads_all=reads_all, **changes)
            results[reads_all] = run(plan, repository=make_repository(state), out=out, stored=[out])
        one, other = results[False].statistics, results[True].statistics
        assert (one.files, one.folders, one.others) == (other.files, other.folders, other.others)
        assert one.source_bytes == other.source_bytes
        assert results[False].skipped == results[True].skipped
        found, all_read = (self._tree(reads_all=how) for how in (False, True))
        assert found.entries == all_read.entries
        assert found.contents == all_read.contents
        blocks = self._known(reads_all=False)
        assert blocks == self._known(reads_all=True)
        for block in blocks.values():
            if block is not None and block.node:
                _holds_together(block)
        return results[False]

    def _tree(self, *, reads_all: bool) -> Tree:
        out = self._disks[reads_all][0]
        return Tree(out, make_repository(SimDisk()), point_id(self._number))

    def _known(self, *, reads_all: bool) -> dict[bytes, FolderBlock | None]:
        cache = make_repository(self._disks[reads_all][1]).changes("test")
        keys = {os.fsencode(self.source): folder_key(b"", os.fsencode(self.source))}
        for folder, below, _ in os.walk(os.fsencode(self.source)):
            for name in below:
                keys[folder + b"/" + name] = folder_key(keys[folder], name)
        return {folder: cache.find(key) for folder, key in keys.items()}


def _holds_together(block: FolderBlock) -> None:
    found = decode_node(block.node, name="n")
    files = [entry for entry in found if entry.kind == "file"]
    assert block.names == b"\0".join(entry.name for entry in found)
    assert len(block.fingerprints) == 36 * len(found)
    assert block.has_links == any(entry.link for entry in found)
    assert block.files == len(files)
    assert block.others == sum(entry.kind in {"symlink", "fifo"} for entry in found)
    assert block.file_bytes == sum(entry.size_bytes for entry in files)


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    (tmp_path / "source").mkdir()
    return Both(tmp_path / "source", monkeypatch)


def _write(both: Both, path: str, content: bytes = b"content") -> Path:
    file = both.source / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(made=trees(), seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=3))
def test_any_tree_after_any_change_is_as_if_all_were_read(
    monkeypatch: pytest.MonkeyPatch, made: dict[bytes, Node], seeds: list[int]
) -> None:
    with fast_folder() as folder, monkeypatch.context() as patch:
        build_tree(folder / "source", made)
        both = Both(folder / "source", patch)
        both.back_up()
        for seed in seeds:
            mutate(both.source, seed)
            both.back_up()
        both.back_up()


def test_the_torture_tree_is_as_if_all_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with fast_folder() as folder:
        build_torture(folder / "source")
        both = Both(folder / "source", monkeypatch)
        both.back_up()
        for seed in range(4):
            mutate(both.source, seed)
            both.back_up()
        assert both.kept > 20


def test_of_a_folder_only_what_changed_is_read(both: Both) -> None:
    for name in "abcdefgh":
        _write(both, f"f/{name}", name.encode())
    both.back_up()
    _write(both, "f/c", b"longer than it was")
    _write(both, "f/new")
    (both.source / "f/a").unlink()
    (both.source / "f/h").rename(both.source / "f/hh")
    both.read = 0
    result = both.back_up()
    assert (both.read, both.kept) == (3, 5), "c, new and hh; all else but a is as it was"
    assert result.statistics.files == 8


def test_what_replaces_a_thing_of_another_kind_is_counted_as_what_it_is(both: Both) -> None:
    for name in ("file", "link", "pipe", "folder/f", "kept"):
        _write(both, f"f/{name}")
    for name in ("link", "pipe"):
        (both.source / "f" / name).unlink()
    (both.source / "f/link").symlink_to("kept")
    os.mkfifo(both.source / "f/pipe")
    both.back_up()
    (both.source / "f/file").unlink()
    (both.source / "f/file").mkdir()
    (both.source / "f/link").unlink()
    _write(both, "f/link")
    shutil.rmtree(both.source / "f/folder")
    (both.source / "f/folder").symlink_to("kept")
    result = both.back_up()
    assert (result.statistics.files, result.statistics.others) == (2, 2)


def test_a_file_that_went_while_it_was_to_be_read_leaves_the_rest(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        _write(both, f"f/{name}")
    both.back_up()
    _write(both, "f/b", b"longer than it was")
    read = reader.read_whole

    def goes(name: bytes, **rest: Any) -> object:
        if name == b"b":
            raise FileNotFoundError
        return read(name, **rest)

    monkeypatch.setattr(workers, "read_whole", goes)
    result = both.back_up()
    assert result.statistics.files == 2
    assert both.kept == 2


def test_a_folder_in_which_only_a_folder_changed_keeps_its_files_and_links(both: Both) -> None:
    (both.source / "two").hardlink_to(_write(both, "one"))
    _write(both, "below/a")
    (both.source / "below/b").symlink_to("a")
    both.back_up()
    _write(both, "below/a", b"longer than it was")
    both.kept = 0
    both.back_up()
    assert both.kept == 3, "one and two in the source, b below it"


def test_sections_keep_what_is_as_it_was(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "MANY_ENTRIES", 20)
    for number in range(60):
        _write(both, f"many/{number:02}", b"%d" % number)
    both.back_up()
    _write(both, "many/30", b"longer than it was")
    (both.source / "many/45").unlink()
    both.read = 0
    both.back_up()
    assert both.read == 1


def test_links_on_a_device_with_another_number_are_made_anew(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    (both.source / "f").mkdir()
    (both.source / "f/two").hardlink_to(_write(both, "f/one"))
    both.back_up()
    _write(both, "f/new")
    for module in (walk, entries):
        monkeypatch.setattr(module, "link_of", _other_link)
    both.back_up()


def _other_link(state: os.stat_result) -> bytes:
    return b"%16d" % state.st_ino if stat.S_ISREG(state.st_mode) and state.st_nlink > 1 else b""


def test_a_link_is_seen_though_the_file_system_keeps_no_time_of_it(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (looks, scout, folders):
        monkeypatch.setattr(module, "fingerprint", lambda state: fingerprint(_without_ctime(state)))
    one = _write(both, "f/one")
    both.back_up()
    (both.source / "f/two").hardlink_to(one)
    both.back_up()
    (both.source / "f/two").unlink()
    both.back_up()


def _without_ctime(state: Stat) -> State:
    if isinstance(state, os.stat_result):
        state = state_of(state)
    return msgspec.structs.replace(state, st_ctime_ns=0)
