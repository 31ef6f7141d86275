"""Snapshots of a ZFS dataset are taken, read, proven to be there still, and never left behind.

These tests run a program that acts like `zfs`, so that they run anywhere.  The real one runs in a
virtual machine: `python -m tests.machine`.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.snapshotted import REPOSITORY, TOKENLESS
from typing_extensions import override

from overland.adapters.programs import SystemPrograms
from overland.ports.programs import Finished, ProgramAbsent, Programs, Running
from overland.source.snapshotkinds import Mount, SnapshotImpossible, SnapshotLost
from overland.source.snapshots import snapshots
from overland.source.snapshotview import SnapshotMode, SnapshotView

ZFS = """#!/bin/sh
# Acts like `zfs`, over folders: dataset tank/data is {dataset}.
set -e
kept={dataset}/.zfs/snapshot
if [ -e {dataset}/../refuses ]; then
    echo "cannot $1 snapshots : permission denied" >&2; exit 1
fi
case "$1" in
  snapshot) echo "${{2#tank/data@}}" >> {dataset}/../taken
            [ -e {dataset}/../hidden ] && exit 0
            mkdir -p $kept; mkdir $kept/"${{2#tank/data@}}"
            cp -r {dataset}/file {dataset}/inside $kept/"${{2#tank/data@}}"/;;
  list) for name in $(ls $kept 2>/dev/null); do echo "tank/data@$name"; done;;
  destroy) case "$2" in tank/data@?*) ;; *) exit 9;; esac
           echo "${{2#tank/data@}}" >> {dataset}/../destroyed
           rm -rf $kept/"${{2#tank/data@}}";;
  *) exit 2;;
esac
"""


class Computer:
    """A computer on which dataset tank/data is mounted at `data`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.data, self.tools = folder, folder / "data", folder / "bin"
        self.kept = self.data / ".zfs" / "snapshot"
        self.programs: Programs = SystemPrograms()
        for made in (self.data / "inside", self.tools):
            made.mkdir(parents=True)
        for file in (self.data / "file", self.data / "inside" / "file"):
            file.write_text("before")
        (self.tools / "zfs").write_text(ZFS.format(dataset=self.data))
        (self.tools / "zfs").chmod(0o755)
        self.mounts = [self.mount_at(self.data)]
        monkeypatch.setenv("PATH", f"{self.tools}:/usr/bin:/bin")

    @staticmethod
    def mount_at(path: Path, *, root: bytes = b"/") -> Mount:
        return Mount(
            path=os.fsencode(path), kind="zfs", device=b"tank/data", number="0:1", root=root
        )

    def take(
        self, *sources: Path, mode: SnapshotMode = "zfs"
    ) -> AbstractContextManager[SnapshotView]:
        return snapshots(
            [os.fsencode(source) for source in sources or (self.data,)],
            mode=mode,
            repository_id=REPOSITORY,
            programs=self.programs,
            folder=self.folder / "snapshots",
            mounts=lambda: self.mounts,
        )

    def told(self, what: str) -> list[str]:
        file = self.folder / what
        return file.read_text().split() if file.exists() else []

    def kept_names(self) -> list[str]:
        return sorted(path.name for path in self.kept.iterdir()) if self.kept.exists() else []


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    return Computer(tmp_path, monkeypatch)


def read(view: SnapshotView, source: Path, name: str = "file") -> str:
    where = view.elsewhere(os.fsencode(source), 0)
    assert where is not None
    return Path(os.fsdecode(where), name).read_text()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("mode", ["zfs", "auto"])
def test_a_dataset_is_read_in_its_snapshot_which_is_held_open_and_removed(
    mode: SnapshotMode, computer: Computer
) -> None:
    before = open_descriptors()
    with computer.take(mode=mode) as view:
        (computer.data / "file").write_text("after")
        assert read(view, computer.data) == "before"
        assert open_descriptors() == before + 1
        view.confirm()
    assert view.notes == []
    assert computer.kept_names() == []
    assert computer.told("taken") == computer.told("destroyed")
    assert open_descriptors() == before


def test_what_a_killed_run_left_is_removed_and_nothing_else(computer: Computer) -> None:
    others = ["daily", f"{TOKENLESS}mine", f"{TOKENLESS}0123abcde"]
    for name in (f"{TOKENLESS}0123abcd", *others):
        (computer.kept / name).mkdir(parents=True)
    with computer.take():
        assert f"{TOKENLESS}0123abcd" not in computer.kept_names()
        assert len(computer.kept_names()) == len(others) + 1
    assert computer.kept_names() == sorted(others)


class WithoutDestroy(Programs):
    """Of which the one that removes was taken away after the look."""

    @override
    def run(self, argv: Sequence[str], *, timeout_s: float) -> Finished:
        if "destroy" in argv:
            raise ProgramAbsent("zfs", problem="it is gone")
        return SystemPrograms().run(argv, timeout_s=timeout_s)

    @override
    def start(self, argv: Sequence[str]) -> Running:
        return SystemPrograms().start(argv)


def test_what_was_left_is_in_nobodys_way_where_its_tool_has_gone(computer: Computer) -> None:
    (computer.kept / f"{TOKENLESS}0123abcd").mkdir(parents=True)
    computer.programs = WithoutDestroy()
    with computer.take() as view:
        assert read(view, computer.data) == "before"
        assert [note for note in view.notes if f"{TOKENLESS}0123abcd" in note]


def test_no_folder_of_a_dataset_is_taken_for_what_stands_for_a_subvolume(
    computer: Computer, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    sources = [computer.data, tmp_path / "other"]
    computer.mounts.append(replace(computer.mount_at(tmp_path / "other"), kind="tmpfs"))
    with computer.take(*sources, mode="auto") as view:
        for source in sources:  # the first folder of a dataset has inode 2
            assert view.elsewhere(os.fsencode(source / "inside"), 2) is None


def test_what_is_mounted_in_a_source_is_read_as_it_is_though_a_link_leads_to_it(
    computer: Computer, tmp_path: Path
) -> None:
    computer.mounts.append(computer.mount_at(computer.data / "inside"))
    linked = tmp_path / "linked"
    linked.symlink_to(computer.data)
    with computer.take(linked) as view:
        assert read(view, linked) == "before"
        inside = os.fsencode(linked / "inside")
        assert view.elsewhere(inside, 40) == inside
        assert view.elsewhere(os.fsencode(linked / "other"), 40) is None


def test_a_folder_that_is_mounted_by_itself_is_read_in_the_snapshot_of_its_dataset(
    computer: Computer, tmp_path: Path
) -> None:
    bound = tmp_path / "bound"
    bound.mkdir()
    computer.mounts.append(computer.mount_at(bound, root=b"/inside"))
    with computer.take(bound) as view:
        (computer.data / "inside" / "file").write_text("after")
        assert read(view, bound) == "before"
    assert computer.kept_names() == []


def test_a_folder_whose_dataset_is_not_mounted_itself_is_refused(
    computer: Computer, tmp_path: Path
) -> None:
    bound = tmp_path / "bound"
    bound.mkdir()
    computer.mounts = [computer.mount_at(bound, root=b"/inside")]
    with (
        pytest.raises(SnapshotImpossible, match="of tank/data only a folder is mounted"),
        computer.take(bound),
    ):
        pass
    assert computer.told("taken") == []


def test_a_snapshot_that_does_not_show_is_removed_and_refused_and_auto_reads_what_is_there(
    computer: Computer,
) -> None:
    (computer.folder / "hidden").touch()
    with (
        pytest.raises(SnapshotImpossible, match=r"does not show in .*: No such file"),
        computer.take(),
    ):
        pass
    with computer.take(mode="auto") as view:
        assert view.elsewhere(os.fsencode(computer.data), 0) is None
    assert ["does not show" in note for note in view.notes] == [True]
    assert len(computer.told("taken")) == 2
    assert computer.told("taken") == computer.told("destroyed")


def test_a_snapshot_that_somebody_destroyed_is_told_before_a_point_is_made(
    computer: Computer,
) -> None:
    with computer.take() as view:
        (name,) = computer.kept_names()
        (computer.kept / name).rename(computer.folder / "elsewhere")
        with pytest.raises(SnapshotLost, match="it is gone"):
            view.confirm()
        (computer.folder / "refuses").touch()
        with pytest.raises(SnapshotLost, match=r"its state is not known: .*permission denied"):
            view.confirm()


def test_a_snapshot_that_somebody_unmounted_is_told_before_a_point_is_made(
    computer: Computer,
) -> None:
    with computer.take() as view:
        (name,) = computer.kept_names()
        (computer.kept / name).rename(computer.folder / "elsewhere")
        (computer.kept / name).mkdir()
        with pytest.raises(SnapshotLost, match="somebody unmounted it"):
            view.confirm()


def test_without_the_tool_or_the_right_to_use_it_zfs_is_refused_and_auto_says_why(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (computer.folder / "refuses").touch()
    with pytest.raises(SnapshotImpossible, match="permission denied"), computer.take():
        pass
    with computer.take(mode="auto") as view:
        assert ["permission denied" in note for note in view.notes] == [True]
    monkeypatch.setenv("PATH", str(computer.folder / "nothing"))
    with pytest.raises(ProgramAbsent, match="the program zfs cannot be run"), computer.take():
        pass
    with computer.take(mode="auto") as view:
        assert ["the program zfs cannot be run" in note for note in view.notes] == [True]
    assert computer.told("taken") == []
