"""Snapshots are taken, read under the sources' own paths, and never left behind.

The btrfs tests make a file system on a loop device.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.backed_up import BackedUp
from tests.support.snapshotted import (
    REPOSITORY,
    TOKENLESS,
    back_up,
    counted,
    counting,
    killed_with_a_snapshot,
    restored,
    stream_of,
)

from overland.adapters.programs import SystemPrograms
from overland.source.snapshotkinds import (
    Mount,
    SnapshotImpossible,
    SnapshotLost,
    read_mounts,
)
from overland.source.snapshots import snapshots
from overland.source.snapshotview import SnapshotMode, SnapshotView

PREFIX = f".{TOKENLESS}"

on_btrfs = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None,
    reason="needs root and btrfs-progs",
)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A btrfs file system, mounted."""
    image, place = tmp_path / "btrfs.img", tmp_path / "volume"
    with image.open("wb") as file:
        file.truncate(160 << 20)
    place.mkdir()
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount btrfs here: {mounted.stderr}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--recursive", place], check=True)


def subvolume(path: Path) -> Path:
    subprocess.run(["btrfs", "subvolume", "create", path], check=True, capture_output=True)
    return path


def mounted_at(path: Path, kind: str, device: bytes) -> Mount:
    return Mount(path=os.fsencode(path), kind=kind, device=device, number="0:1", root=b"/")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.root
@on_btrfs
@pytest.mark.requirement("R64")
def test_what_changes_after_the_snapshot_is_not_in_the_point(volume: Path, tmp_path: Path) -> None:
    data = subvolume(volume / "data")
    source = data / "inside"
    source.mkdir()
    for name in ("one", "two"):
        (source / name).write_text("before")
    backed = BackedUp(tmp_path / "backup")
    code = "import sys; [open(name, 'w').write('after') for name in sys.argv[1:]]"
    change = stream_of(code, source / "one", source / "two")
    view = back_up(backed, source, source / "two", mode="btrfs", streams=change)
    assert view.notes == []
    found = restored(backed, source)
    assert [(found / name).read_text() for name in ("one", "two")] == ["before", "before"]
    assert (source / "one").read_text() == "after"
    assert names(data) == ["inside"], "the snapshot is removed"
    back_up(backed, source, source / "two", mode="btrfs")
    found = restored(backed, source)
    assert [(found / name).read_text() for name in ("one", "two")] == ["after", "after"]


@pytest.mark.root
@pytest.mark.slow
@on_btrfs
@pytest.mark.requirement("R64")
def test_two_files_that_a_writer_keeps_equal_are_equal_in_every_point(
    volume: Path, tmp_path: Path
) -> None:
    data = subvolume(volume / "data")
    for number in range(300):
        (data / f"m{number}").write_bytes(os.urandom(4096))
    backed = BackedUp(tmp_path / "backup")
    with counting(data):
        for _ in range(3):
            back_up(backed, data, mode="btrfs")
    for number in range(3):
        ahead = counted(restored(backed, data, number))
        assert ahead in {0, 1}, "the two were read at different instants"


@pytest.mark.root
@on_btrfs
def test_what_lies_below_in_another_subvolume_or_mount_is_read_as_it_is(
    volume: Path, tmp_path: Path
) -> None:
    data = subvolume(volume / "data")
    nested, own = subvolume(data / "nested"), subvolume(data / "own")
    mounted = data / "mounted"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", mounted], check=True)
    for folder in (data, nested, own, mounted):
        (folder / "file").write_text(folder.name)
    backed = BackedUp(tmp_path / "backup")
    back_up(backed, data, own, mode="btrfs", one_file_system=False)
    found = restored(backed, data)
    for below in ("", "nested", "own", "mounted"):
        assert (found / below / "file").read_text() == (data / below).name
    assert names(data) == ["file", "mounted", "nested", "own"]
    assert names(own) == ["file"]
    back_up(backed, data, mode="btrfs", one_file_system=True)
    found = restored(backed, data)
    assert names(found) == ["file"]
    skipped = {each.path.rpartition(b"/")[2] for each in backed.results[-1].skipped}
    assert skipped == {b"mounted", b"nested", b"own"}


@pytest.mark.root
@on_btrfs
def test_what_a_killed_run_left_is_removed_by_the_next_and_nothing_else(
    volume: Path, tmp_path: Path
) -> None:
    data = subvolume(volume / "data")
    (data / "file").write_text("x")
    left = data / f"{PREFIX}00000000"
    others = data / ".overland-snapshot-11111111-00000000"
    for name in (left, others):
        subprocess.run(
            ["btrfs", "subvolume", "snapshot", "-r", data, name], check=True, capture_output=True
        )
    plain = data / f"{PREFIX}folder"
    plain.mkdir()
    backed = BackedUp(tmp_path / "backup")
    back_up(backed, data, mode="btrfs")
    assert names(data) == sorted([others.name, plain.name, "file"])
    assert names(restored(backed, data)) == sorted([plain.name, "file"])


@pytest.mark.root
@on_btrfs
def test_a_run_that_is_killed_leaves_one_snapshot_and_the_next_run_none(
    volume: Path, tmp_path: Path
) -> None:
    data = subvolume(volume / "data")
    backed = BackedUp(tmp_path / "backup")
    killed_with_a_snapshot(backed, data, mode="btrfs")
    assert [name.startswith(PREFIX) for name in names(data)] == [True]
    back_up(backed, data, mode="btrfs")
    assert names(data) == []


@pytest.mark.root
@on_btrfs
def test_a_snapshot_that_is_not_read_only_is_not_ours_to_remove_and_in_nobodys_way(
    volume: Path, tmp_path: Path
) -> None:
    data = subvolume(volume / "data")
    subvolume(data / f"{PREFIX}0123abcd")
    view = back_up(BackedUp(tmp_path / "backup"), data, mode="btrfs")
    assert names(data) == [f"{PREFIX}0123abcd"]
    assert ["not a snapshot of ours" in note for note in view.notes] == [True]


@pytest.mark.root
@on_btrfs
def test_what_only_looks_like_a_snapshot_of_ours_is_kept(volume: Path, tmp_path: Path) -> None:
    data, precious = subvolume(volume / "data"), subvolume(volume / "precious")
    (precious / "file").write_text("kept")
    subprocess.run(["btrfs", "property", "set", precious, "ro", "true"], check=True)
    look_alikes = [
        data / f"{PREFIX}before-the-upgrade",
        data / f"{PREFIX}0123abcd-mine",
        data / f"{PREFIX}0123ABCD",
        Path(os.fsdecode(os.fsencode(data / PREFIX) + b"\xff\xfe")),
    ]
    for path in look_alikes:
        subprocess.run(
            ["btrfs", "subvolume", "snapshot", "-r", data, path], check=True, capture_output=True
        )
    link = data / f"{PREFIX}01234567"
    link.symlink_to(precious)
    before = names(data)
    backed = BackedUp(tmp_path / "backup")
    view = back_up(backed, data, mode="btrfs", one_file_system=False)
    assert names(data) == before
    assert not backed.results[-1].skipped, "they are in the point, too"
    assert (precious / "file").read_text() == "kept"
    assert view.notes == []


@pytest.mark.root
@on_btrfs
def test_a_snapshot_that_somebody_removed_is_told_before_a_point_is_made(
    volume: Path, tmp_path: Path
) -> None:
    data = subvolume(volume / "data")
    with snapshots(
        [os.fsencode(data)],
        mode="btrfs",
        repository_id=REPOSITORY,
        programs=SystemPrograms(),
        folder=tmp_path / "snapshots",
    ) as view:
        view.confirm()
        subprocess.run(
            ["btrfs", "subvolume", "delete", data / names(data)[0]], check=True, capture_output=True
        )
        with pytest.raises(SnapshotLost, match="it is gone"):
            view.confirm()


def test_where_none_can_be_taken_auto_says_so_and_reads_what_is_there(tmp_path: Path) -> None:
    mounts = [mounted_at(Path("/"), "ext4", b"/dev/sda1")]

    def enter(mode: SnapshotMode) -> SnapshotView:
        with snapshots(
            [os.fsencode(tmp_path)],
            mode=mode,
            repository_id=REPOSITORY,
            programs=SystemPrograms(),
            folder=tmp_path / "snapshots",
            mounts=lambda: mounts,
        ) as view:
            return view

    view = enter("auto")
    assert view.elsewhere(os.fsencode(tmp_path), 0) is None
    assert "without a snapshot" in view.notes[0]
    assert "/dev/sda1 is no logical volume" in view.notes[0]
    assert enter("none").notes == []
    with pytest.raises(SnapshotImpossible, match="ext4"):
        enter("btrfs")


def test_mounts_are_read_from_the_system() -> None:
    found = {mount.path: mount.kind for mount in read_mounts()}
    assert found[b"/proc"] == "proc"
