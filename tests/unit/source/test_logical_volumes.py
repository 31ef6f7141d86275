"""Snapshots of logical volumes are taken, read, proven whole, and never left behind.

These tests run a program that acts like LVM's tools, so that they run anywhere.  The real ones run
in a virtual machine: `python -m tests.machine`.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from tests.support.actinglvm import ActingLvm, volume
from tests.support.backed_up import BackedUp

from overland.adapters.programs import SystemPrograms
from overland.ports.programs import ProgramAbsent
from overland.source.snapshotkinds import (
    Mount,
    SnapshotImpossible,
    SnapshotLost,
)
from overland.source.snapshots import snapshots
from overland.source.snapshotview import SnapshotMode, SnapshotView

REPOSITORY = "6f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11"
PREFIX = "overland-snapshot-6f1c1e0a-"
LEFT = f"{PREFIX}0123abcd"


class Computer:
    """A computer on which volume shop/data is mounted at `data`."""

    def __init__(self, folder: Path, *volumes: dict[str, str], free_bytes: int = 1 << 30) -> None:
        self.lvm = ActingLvm(folder / "lvm", *volumes, free_bytes=free_bytes)
        self.data = folder / "lvm" / "data"
        self.data.mkdir()
        self.content = self.data / "file"
        self.content.write_text("before")
        self.folder = folder / "snapshots"
        self.mounted = [self.mount_at(self.data)]

    @staticmethod
    def mount_at(path: Path, *, kind: str = "ext4", root: bytes = b"/") -> Mount:
        device = b"/dev/mapper/shop-data"
        return Mount(path=os.fsencode(path), kind=kind, device=device, number="253:0", root=root)

    def take(
        self, *sources: Path, mode: SnapshotMode = "lvm", percent: int = 10
    ) -> AbstractContextManager[SnapshotView]:
        return snapshots(
            [os.fsencode(source) for source in sources or (self.data,)],
            mode=mode,
            repository_id=REPOSITORY,
            programs=SystemPrograms(),
            folder=self.folder,
            percent=percent,
            mounts=lambda: self.lvm.mounts(*self.mounted),
        )

    @contextmanager
    def taken(self) -> Iterator[tuple[SnapshotView, str]]:
        """Take the snapshot of the volume; give its name, too."""
        before = set(self.lvm.names())
        with self.take() as view:
            (name,) = set(self.lvm.names()) - before
            yield view, name


def start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *volumes: dict[str, str],
    free_bytes: int = 1 << 30,
) -> Computer:
    computer = Computer(tmp_path, *(volumes or (volume(),)), free_bytes=free_bytes)
    monkeypatch.setenv("PATH", f"{computer.lvm.bin}:/usr/bin:/bin")
    return computer


def read(view: SnapshotView, source: Path, name: str = "file") -> str:
    where = view.elsewhere(os.fsencode(source), 0)
    assert where is not None
    return Path(os.fsdecode(where), name).read_text()


@pytest.mark.parametrize("mode", ["lvm", "auto"])
def test_a_volume_is_read_in_its_snapshot_which_is_removed_with_its_room_and_folder(
    mode: SnapshotMode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch)
    with computer.take(mode=mode, percent=7) as view:
        computer.content.write_text("after")
        assert read(view, computer.data) == "before"
        # 7 % of 1 GiB are 71.68 MiB: 18 extents of 4 MiB.
        assert computer.lvm.state["free"] == (1 << 30) - (72 << 20)
        view.confirm()
    assert view.notes == []
    assert computer.lvm.names() == ["data"]
    assert computer.lvm.state["free"] == 1 << 30
    assert list(computer.folder.iterdir()) == []
    assert computer.lvm.calls("mount")[0][:4] == ["-t", "ext4", "-o", "ro,nosuid,nodev,noexec"]


def test_a_thin_volume_needs_no_room_in_the_group_and_xfs_a_mount_beside_its_own_uuid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch, volume(pool_lv="pool"), free_bytes=0)
    computer.mounted = [computer.mount_at(computer.data, kind="xfs")]
    with computer.take() as view:
        computer.content.write_text("after")
        assert read(view, computer.data) == "before"
    assert computer.lvm.names() == ["data"]
    assert computer.lvm.calls("mount")[0][1::2][:2] == ["xfs", "ro,nosuid,nodev,noexec,nouuid"]


def test_what_a_killed_run_left_is_unmounted_and_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [
        volume(lv_name="overland-snapshot-11111111-0123abcd", origin="data"),
        volume(lv_name=f"{PREFIX}mine", origin="data"),
        volume(lv_name=f"{PREFIX}0123abcde", origin="data"),
        volume(lv_name=f"{PREFIX}01234567", origin=""),  # no snapshot
        volume(lv_name=f"{PREFIX}01234568", origin="other"),  # of another volume
        volume(lv_name=f"{PREFIX}01234569", origin="data", vg_name="other"),
    ]
    for number, row in enumerate(others):
        row["lv_kernel_minor"] = str(number + 1)
    left = volume(lv_name=LEFT, origin="data", lv_kernel_minor="9")
    computer = start(tmp_path, monkeypatch, volume(), left, *others)
    (tmp_path / "lvm" / LEFT).mkdir()
    (computer.folder / LEFT).mkdir(parents=True)
    SystemPrograms().run(["mount", f"/dev/shop/{LEFT}", str(computer.folder / LEFT)], timeout_s=60)
    assert computer.lvm.state["mounts"]
    with computer.taken() as (view, _):
        assert LEFT not in computer.lvm.names()
    assert view.notes == []
    assert computer.lvm.names() == sorted(["data", *(row["lv_name"] for row in others)])
    assert computer.lvm.state["mounts"] == {}
    assert list(computer.folder.iterdir()) == []


def test_a_leftover_that_cannot_be_removed_is_told_and_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = volume(lv_name=LEFT, origin="data", lv_kernel_minor="9")
    computer = start(tmp_path, monkeypatch, volume(), left)
    (tmp_path / "lvm" / LEFT).mkdir()
    elsewhere = tmp_path / "somebody-looks-at-it"
    elsewhere.mkdir()
    SystemPrograms().run(["mount", f"/dev/shop/{LEFT}", str(elsewhere)], timeout_s=60)
    with computer.taken() as (view, _):
        assert read(view, computer.data) == "before"
    assert ["in use" in note for note in view.notes] == [True]
    assert computer.lvm.names() == ["data", LEFT]


def test_a_group_without_room_is_refused_with_figures_or_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch, free_bytes=100 << 20)
    with (
        pytest.raises(SnapshotImpossible, match=r"10 % of shop/data are 104 MiB.* 100 MiB free"),
        computer.take(),
    ):
        pass
    assert computer.lvm.calls("lvcreate") == []
    with computer.take(mode="auto") as view:
        assert view.elsewhere(os.fsencode(computer.data), 0) is None
    assert "104 MiB" in view.notes[0]
    with computer.take(percent=9) as view:
        assert read(view, computer.data) == "before"


def test_a_snapshot_that_cannot_be_mounted_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch)
    (tmp_path / "lvm" / "mount-fails").touch()
    with pytest.raises(SnapshotImpossible, match="wrong fs type"), computer.take():
        pass
    assert len(computer.lvm.calls("lvcreate")) == 1
    assert computer.lvm.names() == ["data"]
    assert list(computer.folder.iterdir()) == []


@pytest.mark.parametrize("absent", [["mount"], ["mount", "lvremove"]], ids=" ".join)
def test_a_snapshot_without_a_program_to_mount_it_is_not_left(
    absent: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", str(computer.lvm.bin))
    for tool in absent:
        (computer.lvm.bin / tool).unlink()
    with pytest.raises(ProgramAbsent, match="mount"), computer.take():
        pass
    assert len(computer.lvm.calls("lvcreate")) == 1
    if "lvremove" not in absent:
        assert computer.lvm.names() == ["data"]
    assert list(computer.folder.iterdir()) == []


LOSSES = {
    "given up": {"lv_attr": "swi-I-s---", "data_percent": "100.00"},
    "given up while suspended": {"lv_attr": "swi-S-s---", "data_percent": ""},
    "full": {"data_percent": "100.00"},
    "pool failed": {"lv_attr": "Vwi-a-tzF-", "pool_lv": "pool"},
    "gone": {},
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_snapshot_that_did_not_last_makes_no_point(
    loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thin = volume(pool_lv="pool") if loss == "pool failed" else volume()
    computer = start(tmp_path, monkeypatch, thin)
    backed = BackedUp(tmp_path / "backup")
    with computer.taken() as (view, name):
        if LOSSES[loss]:
            computer.lvm.change(name, **LOSSES[loss])
        else:
            computer.lvm.forget(name)
        with pytest.raises(SnapshotLost):
            backed.back_up(computer.data, elsewhere=view.elsewhere, confirm=view.confirm)
    made = [info.name for info in backed.files.names()]
    assert made, "packs stay"
    assert not [name for name in made if name.endswith(".point")]
    assert [name for name in computer.lvm.names() if name != "data"] == []


def test_a_snapshot_that_is_nearly_full_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch)
    with computer.taken() as (view, name):
        computer.lvm.change(name, data_percent="99.99")
        view.confirm()


def test_a_full_pool_does_not_spoil_what_a_thin_snapshot_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch, volume(pool_lv="pool"))
    with computer.taken() as (view, name):
        computer.lvm.change(name, data_percent="100.00")
        view.confirm()


def test_a_folder_of_the_volume_that_is_mounted_elsewhere_is_read_in_a_snapshot_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch)
    (computer.data / "inside").mkdir()
    (computer.data / "inside" / "file").write_text("inside")
    bound = tmp_path / "bound"
    bound.mkdir()
    computer.mounted.append(computer.mount_at(bound, root=b"/inside"))
    with computer.take(computer.data, bound) as view:
        assert read(view, bound) == "inside"
        assert read(view, computer.data) == "before"
        assert len(computer.lvm.names()) == 3
    assert computer.lvm.names() == ["data"]


def test_what_is_no_logical_volume_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch, volume(lv_kernel_minor="7"))  # under a LUKS mapping
    with pytest.raises(SnapshotImpossible, match="no logical volume"), computer.take():
        pass
    computer.mounted = [computer.mount_at(computer.data, kind="btrfs")]
    with pytest.raises(SnapshotImpossible, match="kind btrfs"), computer.take():
        pass
    assert computer.lvm.names() == ["data"]


@pytest.mark.parametrize("said", ["", "{}", '{"report": [{"lv": [{}]}]}', "Segmentation fault"])
def test_a_report_that_is_not_understood_is_refused(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch)
    (computer.lvm.bin / "lvs").write_text(f"#!/bin/sh\necho '{said}'\n")
    with pytest.raises(SnapshotImpossible, match="not understood"), computer.take():
        pass


def test_without_the_tools_it_is_told_which_one_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramAbsent, match="lvs"), computer.take():
        pass


def test_our_own_folders_have_copies_in_a_snapshot_and_are_not_read_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = start(tmp_path, monkeypatch)
    home = computer.data / "home"
    home.mkdir()
    (home / "key").write_text("secret")
    backed = BackedUp(tmp_path / "backup")
    with computer.take() as view:
        shown = view.also_shown([home, tmp_path])
        assert [path.joinpath("key").read_text() for path in shown] == ["secret"]
        ours = (home, *shown)
        backed.back_up(computer.data, elsewhere=view.elsewhere, never_enter=ours)
    assert [it.path.rpartition(b"/")[2] for it in backed.results[-1].skipped] == [b"home"]
