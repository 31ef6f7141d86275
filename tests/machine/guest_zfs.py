"""Snapshots of a real ZFS pool; runs in the machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machine.guestdisk import ZFS_DISK, run
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

POOL = "overlandtest"
CHANGE = "import sys; [open(name, 'w').write('after') for name in sys.argv[1:]]"


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "tank"
    run("zpool", "create", "-f", "-m", place, POOL, ZFS_DISK)
    run("zfs", "create", f"{POOL}/with space")
    try:
        yield place / "with space"
    finally:
        run("zpool", "destroy", "-f", POOL)


def snapshots_of_the_pool() -> list[str]:
    listed = run("zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-r", POOL)
    return sorted(line.partition("@")[2] for line in listed.splitlines())


def test_what_changes_after_the_snapshot_is_not_in_the_point(dataset: Path, tmp_path: Path) -> None:
    source = dataset / "inside"
    source.mkdir()
    for name in ("one", "two"):
        (source / name).write_text("before")
    backed = BackedUp(tmp_path / "backup")
    change = stream_of(CHANGE, source / "one", source / "two")
    view = back_up(backed, dataset, source / "two", mode="auto", streams=change)
    assert view.notes == []
    found = restored(backed, source)
    assert [(found / name).read_text() for name in ("one", "two")] == ["before", "before"]
    assert (source / "one").read_text() == "after"
    assert snapshots_of_the_pool() == []
    back_up(backed, dataset, mode="zfs")
    assert (restored(backed, source) / "one").read_text() == "after"


def test_two_files_that_a_writer_keeps_equal_are_equal_in_every_point(
    dataset: Path, tmp_path: Path
) -> None:
    for number in range(100):
        (dataset / f"m{number}").write_bytes(os.urandom(4096))
    backed = BackedUp(tmp_path / "backup")
    with counting(dataset):
        for _ in range(3):
            back_up(backed, dataset, mode="zfs")
    for number in range(3):
        assert counted(restored(backed, dataset, number)) in {0, 1}


def test_what_a_killed_run_left_is_removed_by_the_next_and_nothing_else(
    dataset: Path, tmp_path: Path
) -> None:
    (dataset / "file").write_text("x")
    others = ["daily", "overland-snapshot-11111111-00000000", f"{TOKENLESS}mine"]
    for name in others:
        run("zfs", "snapshot", f"{POOL}/with space@{name}")
    run("zfs", "snapshot", f"{POOL}@{TOKENLESS}00000000")  # of the dataset above
    backed = BackedUp(tmp_path / "backup")
    killed_with_a_snapshot(backed, dataset, mode="zfs")
    assert len(snapshots_of_the_pool()) == 5
    view = back_up(backed, dataset, mode="zfs")
    assert view.notes == []
    assert snapshots_of_the_pool() == sorted([*others, f"{TOKENLESS}00000000"])


def test_a_dataset_below_is_read_as_it_is_and_left_out_of_one_file_system(
    dataset: Path, tmp_path: Path
) -> None:
    run("zfs", "create", f"{POOL}/with space/below")
    for folder in (dataset, dataset / "below"):
        (folder / "file").write_text(folder.name)
    backed = BackedUp(tmp_path / "backup")
    back_up(backed, dataset, mode="zfs", one_file_system=False)
    found = restored(backed, dataset)
    assert (found / "file").read_text() == dataset.name
    assert (found / "below" / "file").read_text() == "below"
    back_up(backed, dataset, mode="zfs", one_file_system=True)
    assert sorted(path.name for path in restored(backed, dataset).iterdir()) == ["file"]


def test_the_version_is_that_of_the_page() -> None:
    """Print the versions, for the record."""
    print(run("zfs", "version"), os.uname().release)  # noqa: T201 - it is read on the console
