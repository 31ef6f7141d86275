"""Snapshots of a real volume group, thick and thin, under ext4 and XFS; runs in the machine."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.machine.guestdisk import LVM_DISK, run
from tests.support.backed_up import BackedUp
from tests.support.snapshotted import (
    TOKENLESS,
    back_up,
    counted,
    counting,
    killed_with_a_snapshot,
    restored,
    stream_of,
)

from overland.source.snapshotkinds import SnapshotImpossible, SnapshotLost, read_mounts

GROUP = "overlandtest"
CHANGE = "import sys; [open(name, 'w').write('after') for name in sys.argv[1:]]"
FILL = """
import os, sys
with open(sys.argv[1], 'r+b') as file:
    for _ in range(64):
        file.write(os.urandom(1 << 20))
    os.fsync(file.fileno())
"""


@dataclass(frozen=True)
class Volume:
    """A mounted logical volume of 400 MiB in a group of 2 GiB."""

    path: Path
    is_thin: bool


@pytest.fixture(scope="module", autouse=True)
def _group() -> Iterator[None]:
    run("vgcreate", "--yes", GROUP, LVM_DISK)
    run("lvcreate", "--yes", "--type", "thin-pool", "--size", "900m", "--name", "pool", GROUP)
    yield
    run("vgremove", "--yes", GROUP)


@pytest.fixture(params=["thick-ext4", "thick-xfs", "thin-ext4", "thin-xfs"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Volume]:
    kind, file_system = request.param.split("-")
    size = ["--virtualsize", "400m", "--thinpool", "pool"] if kind == "thin" else ["--size", "400m"]
    run("lvcreate", "--yes", *size, "--name", "data", GROUP)
    device, place = f"/dev/{GROUP}/data", tmp_path / "volume"
    place.mkdir()
    run(f"mkfs.{file_system}", "-q", device)
    run("mount", device, place)
    try:
        yield Volume(place, kind == "thin")
    finally:
        run("umount", place)
        run("lvremove", "--yes", f"{GROUP}/data")


def volumes() -> list[str]:
    listed = json.loads(run("lvs", "--reportformat", "json", "--options", "lv_name", GROUP))
    return sorted(row["lv_name"] for row in listed["report"][0]["lv"])


def snapshot_mounts() -> list[bytes]:
    return [mount.path for mount in read_mounts() if TOKENLESS.encode() in mount.path]


def test_what_changes_after_the_snapshot_is_not_in_the_point(
    volume: Volume, tmp_path: Path
) -> None:
    source = volume.path / "inside"
    source.mkdir()
    for name in ("one", "two"):
        (source / name).write_text("before")
    os.setxattr(source / "one", "user.kept", b"yes")
    os.link(source / "one", source / "linked")
    backed = BackedUp(tmp_path / "backup")
    change = stream_of(CHANGE, source / "one", source / "two")
    view = back_up(backed, volume.path, source / "two", mode="auto", streams=change)
    assert view.notes == []
    found = restored(backed, source)
    assert [(found / name).read_text() for name in ("one", "two")] == ["before", "before"]
    assert os.getxattr(found / "one", "user.kept") == b"yes"
    assert (found / "linked").samefile(found / "one")
    assert (source / "one").read_text() == "after"
    assert volumes() == ["data", "pool"]
    assert snapshot_mounts() == []
    back_up(backed, volume.path, source / "two", mode="lvm")
    found = restored(backed, source)
    assert [(found / name).read_text() for name in ("one", "two")] == ["after", "after"]


def test_an_unchanged_volume_is_not_read_again_through_the_next_snapshot(
    volume: Volume, tmp_path: Path
) -> None:
    for number in range(50):
        (volume.path / f"f{number}").write_bytes(os.urandom(10_000))
    backed = BackedUp(tmp_path / "backup")
    for _ in range(2):
        back_up(backed, volume.path, mode="lvm")
    first, second = (result.statistics for result in backed.results)
    assert first.chunks >= 50
    assert second.chunks < first.chunks // 2, "the files were known, though the device is another"


def test_two_files_that_a_writer_keeps_equal_are_equal_in_every_point(
    volume: Volume, tmp_path: Path
) -> None:
    for number in range(100):
        (volume.path / f"m{number}").write_bytes(os.urandom(4096))
    backed = BackedUp(tmp_path / "backup")
    with counting(volume.path):
        for _ in range(3):
            back_up(backed, volume.path, mode="lvm", percent=25)
    for number in range(3):
        assert counted(restored(backed, volume.path, number)) in {0, 1}
    assert volumes() == ["data", "pool"]


def test_a_file_that_is_deleted_and_open_does_not_keep_a_snapshot_from_being_read(
    volume: Volume, tmp_path: Path
) -> None:
    (volume.path / "file").write_text("kept")
    backed = BackedUp(tmp_path / "backup")
    with (volume.path / "deleted").open("wb") as held:
        held.write(os.urandom(1 << 20))
        held.flush()
        (volume.path / "deleted").unlink()
        back_up(backed, volume.path, mode="lvm")
    assert (restored(backed, volume.path) / "file").read_text() == "kept"


def test_what_a_killed_run_left_is_removed_by_the_next_and_nothing_else(
    volume: Volume, tmp_path: Path
) -> None:
    (volume.path / "file").write_text("x")
    size = [] if volume.is_thin else ["--size", "8m"]
    others = ["overland-snapshot-11111111-00000000", f"{TOKENLESS}mine"]
    for name in others:
        run("lvcreate", "--yes", "--snapshot", *size, "--name", name, f"{GROUP}/data")
    backed = BackedUp(tmp_path / "backup")
    killed_with_a_snapshot(backed, volume.path, mode="lvm")
    assert len(volumes()) == 5
    assert len(snapshot_mounts()) == 1
    view = back_up(backed, volume.path, mode="lvm")
    assert view.notes == []
    assert volumes() == sorted(["data", "pool", *others])
    assert snapshot_mounts() == []
    for name in others:
        run("lvremove", "--yes", f"{GROUP}/{name}")


def test_a_snapshot_without_room_for_what_is_written_makes_no_point(
    volume: Volume, tmp_path: Path
) -> None:
    filled = volume.path / "filled"
    filled.write_bytes(os.urandom(64 << 20))
    os.sync()
    backed = BackedUp(tmp_path / "backup")
    fill = stream_of(FILL, filled)
    if volume.is_thin:  # it takes its room from the pool
        before = filled.read_bytes()
        back_up(backed, volume.path, mode="lvm", percent=1, streams=fill)
        assert (restored(backed, volume.path) / "filled").read_bytes() == before
    else:
        with pytest.raises(SnapshotLost, match="--snapshot-percent"):
            back_up(backed, volume.path, mode="lvm", percent=1, streams=fill)
        assert backed.results == []
        assert not [info for info in backed.files.names() if info.name.endswith(".point")]
        back_up(backed, volume.path, mode="lvm", percent=30, streams=fill)
    assert volumes() == ["data", "pool"]
    assert snapshot_mounts() == []


def test_a_folder_mounted_twice_and_a_full_group(volume: Volume, tmp_path: Path) -> None:
    (volume.path / "inside").mkdir()
    (volume.path / "inside" / "file").write_text("both")
    bound = tmp_path / "bound"
    bound.mkdir()
    run("mount", "--bind", volume.path / "inside", bound)
    backed = BackedUp(tmp_path / "backup")
    try:
        back_up(backed, volume.path, bound, mode="lvm")
    finally:
        run("umount", bound)
    assert (restored(backed, bound) / "file").read_text() == "both"
    run("lvcreate", "--yes", "--extents", "100%FREE", "--name", "rest", GROUP)
    try:
        if not volume.is_thin:
            with pytest.raises(SnapshotImpossible, match="0 MiB free"):
                back_up(backed, volume.path, mode="lvm")
            view = back_up(backed, volume.path, mode="auto")
            assert ["without a snapshot" in note for note in view.notes] == [True]
        else:
            back_up(backed, volume.path, mode="lvm")
    finally:
        run("lvremove", "--yes", f"{GROUP}/rest")
    assert volumes() == ["data", "pool"]


def test_the_tools_are_those_of_the_page() -> None:
    """Print the versions, for the record."""
    print(run("lvs", "--version"), os.uname().release)  # noqa: T201 - it is read on the console
    assert subprocess.run(["dmsetup", "info"], check=False).returncode == 0
