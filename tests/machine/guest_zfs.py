"""Snapshots of a real ZFS pool; runs in the machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.machine.guestdisk import ZFS_DISK, run
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
from overland.ports.programs import ProgramAbsent
from overland.source.snapshotkinds import (
    SnapshotImpossible,
    SnapshotLost,
    Zfs,
    read_mounts,
)
from overland.source.snapshots import snapshots
from overland.source.snapshotview import SnapshotMode, SnapshotView

POOL = "overlandtest"
DATASET = f"{POOL}/with space"
CHANGE = "import sys; [open(name, 'w').write('after') for name in sys.argv[1:]]"
EXPIRY = Path("/sys/module/zfs/parameters/zfs_expire_snapshot")  # zfs(4), in seconds
UNPRIVILEGED = """
import os, sys
from pathlib import Path
from overland.adapters.programs import SystemPrograms
from overland.errors import OverlandError
from overland.source.snapshots import snapshots
try:
    with snapshots([os.fsencode(sys.argv[1])], mode=sys.argv[2], repository_id=sys.argv[3],
                   programs=SystemPrograms(), folder=Path("/nowhere")) as view:
        print(*view.notes)
except OverlandError as error:
    print(error.code, error)
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("pool") / "tank"
    run("zpool", "create", "-f", "-m", place, POOL, ZFS_DISK)
    yield place
    run("zpool", "destroy", "-f", POOL)


@pytest.fixture
def dataset(pool: Path) -> Iterator[Path]:
    run("zfs", "create", DATASET)
    try:
        yield pool / "with space"
    finally:
        run("zfs", "destroy", "-r", DATASET)


def kept(dataset: str = DATASET) -> list[str]:
    """The names of a dataset's snapshots, without its own."""
    listed = run("zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-d", "1", dataset)
    return sorted(line.partition("@")[2] for line in listed.splitlines())


def taken(source: Path, *, mode: SnapshotMode = "zfs") -> AbstractContextManager[SnapshotView]:
    return snapshots(
        [os.fsencode(source)],
        mode=mode,
        repository_id=REPOSITORY,
        programs=SystemPrograms(),
        folder=Path("/nowhere"),
    )


def place_of(view: SnapshotView, source: Path) -> Path:
    where = view.elsewhere(os.fsencode(source), 0)
    assert where is not None
    return Path(os.fsdecode(where))


def is_mounted(path: Path) -> bool:
    return os.fsencode(path) in {mount.path for mount in read_mounts()}


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
    assert kept() == []
    back_up(backed, dataset, mode="zfs")
    assert (restored(backed, source) / "one").read_text() == "after"


def test_the_first_folder_of_a_dataset_is_no_subvolume(dataset: Path, tmp_path: Path) -> None:
    (dataset / "first").mkdir()
    assert (dataset / "first").stat().st_ino == 2, "what stands for a subvolume in btrfs"
    (dataset / "first" / "file").write_text("before")
    backed = BackedUp(tmp_path / "backup")
    change = stream_of(CHANGE, dataset / "first" / "file")
    back_up(backed, dataset, mode="zfs", streams=change)
    assert backed.results[-1].skipped == ()
    assert (restored(backed, dataset) / "first" / "file").read_text() == "before"


def test_the_dataset_s_own_folder_links_holes_and_attributes_come_back(
    dataset: Path, tmp_path: Path
) -> None:
    dataset.chmod(0o750)
    os.chown(dataset, 1234, 2345)
    os.setxattr(dataset, "user.kept", b"top")
    (dataset / "one").write_text("x")
    os.link(dataset / "one", dataset / "two")
    os.setxattr(dataset / "one", "user.kept", b"yes")
    with (dataset / "holes").open("wb") as file:
        file.write(os.urandom(1 << 17))
        file.seek(8 << 20)
        file.write(os.urandom(1 << 17))
    backed = BackedUp(tmp_path / "backup")
    back_up(backed, dataset, mode="zfs")
    found, before = restored(backed, dataset), dataset.stat()
    after = found.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, 1234, 2345)
    assert after.st_mtime_ns == before.st_mtime_ns
    assert os.getxattr(found, "user.kept") == b"top"
    assert os.getxattr(found / "one", "user.kept") == b"yes"
    assert (found / "one").samefile(found / "two")
    assert (found / "holes").read_bytes() == (dataset / "holes").read_bytes()
    assert (found / "holes").stat().st_blocks * 512 < 1 << 20


def test_an_unchanged_dataset_is_not_read_again_through_the_next_snapshot(
    dataset: Path, tmp_path: Path
) -> None:
    for number in range(50):
        (dataset / f"f{number}").write_bytes(os.urandom(10_000))
    backed = BackedUp(tmp_path / "backup")
    for _ in range(2):
        back_up(backed, dataset, mode="zfs")
    first, second = (result.statistics for result in backed.results)
    assert first.chunks >= 50
    assert second.chunks < first.chunks // 2, "the files were known, though the device is another"


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
        run("zfs", "snapshot", f"{DATASET}@{name}")
    above = f"{TOKENLESS}00000000"
    run("zfs", "snapshot", f"{POOL}@{above}")
    backed = BackedUp(tmp_path / "backup")
    killed_with_a_snapshot(backed, dataset, mode="zfs")
    assert len(kept()) == 4
    view = back_up(backed, dataset, mode="zfs")
    assert view.notes == []
    assert kept() == sorted(others)
    assert kept(POOL) == [above], "it is of another dataset, and no source is in that"
    run("zfs", "destroy", f"{POOL}@{above}")


def test_what_a_killed_run_left_and_somebody_holds_is_told_and_stays(
    dataset: Path, tmp_path: Path
) -> None:
    (dataset / "file").write_text("x")
    left = f"{TOKENLESS}00000000"
    run("zfs", "snapshot", f"{DATASET}@{left}")
    run("zfs", "hold", "somebody", f"{DATASET}@{left}")
    backed = BackedUp(tmp_path / "backup")
    view = back_up(backed, dataset, mode="zfs")
    assert [f"{left} in {dataset} was not removed" in note for note in view.notes] == [True]
    assert kept() == [left]
    run("zfs", "release", "somebody", f"{DATASET}@{left}")
    view = back_up(backed, dataset, mode="zfs")
    assert (view.notes, kept()) == ([], [])


def test_a_dataset_below_is_read_as_it_is_and_left_out_of_one_file_system(
    dataset: Path, tmp_path: Path
) -> None:
    run("zfs", "create", f"{DATASET}/below")
    for folder in (dataset, dataset / "below"):
        (folder / "file").write_text(folder.name)
    backed = BackedUp(tmp_path / "backup")
    back_up(backed, dataset, mode="zfs", one_file_system=False)
    found = restored(backed, dataset)
    assert (found / "file").read_text() == dataset.name
    assert (found / "below" / "file").read_text() == "below"
    back_up(backed, dataset, mode="zfs", one_file_system=True)
    assert sorted(path.name for path in restored(backed, dataset).iterdir()) == ["file"]


def test_a_dataset_below_that_is_a_source_too_has_a_snapshot_of_its_own(
    dataset: Path, tmp_path: Path
) -> None:
    run("zfs", "create", f"{DATASET}/below")
    files = [dataset / "file", dataset / "below" / "file"]
    for file in files:
        file.write_text("before")
    backed = BackedUp(tmp_path / "backup")
    change = stream_of(CHANGE, *files)
    back_up(backed, dataset, dataset / "below", mode="zfs", streams=change, one_file_system=False)
    found = restored(backed, dataset)
    assert [(found / file.relative_to(dataset)).read_text() for file in files] == ["before"] * 2
    assert [file.read_text() for file in files] == ["after"] * 2
    assert kept() == kept(f"{DATASET}/below") == []


def test_a_folder_that_is_mounted_by_itself_is_read_in_the_snapshot_of_its_dataset(
    dataset: Path, tmp_path: Path
) -> None:
    (dataset / "inside").mkdir()
    (dataset / "inside" / "file").write_text("before")
    bound = tmp_path / "bound"
    bound.mkdir()
    run("mount", "--bind", dataset / "inside", bound)
    backed = BackedUp(tmp_path / "backup")
    try:
        change = stream_of(CHANGE, bound / "file")
        back_up(backed, bound, mode="zfs", streams=change)
        assert (bound / "file").read_text() == "after"
    finally:
        run("umount", bound)
    assert (restored(backed, bound) / "file").read_text() == "before"


def test_a_snapshot_stays_mounted_while_it_is_read_however_long_nothing_is_open(
    dataset: Path,
) -> None:
    (dataset / "file").write_text("before")
    usual = EXPIRY.read_text()
    EXPIRY.write_text("1")
    try:
        run("zfs", "snapshot", f"{DATASET}@other")
        other = dataset / ".zfs" / "snapshot" / "other"
        assert [path.name for path in other.iterdir()] == ["file"]
        assert is_mounted(other)
        with taken(dataset) as view:
            where = place_of(view, dataset)
            device = where.stat().st_dev
            assert device != dataset.stat().st_dev, "it is not the placeholder"
            deadline = time.monotonic() + 60
            while is_mounted(other) and time.monotonic() < deadline:
                time.sleep(1)
            assert not is_mounted(other), "the kernel unmounts what nobody has open"
            assert is_mounted(where)
            assert where.stat().st_dev == device
            assert (where / "file").read_text() == "before"
    finally:
        EXPIRY.write_text(usual)
    assert kept() == ["other"]


def test_a_snapshot_cannot_be_destroyed_while_it_is_read_nor_unmounted_unseen(
    dataset: Path,
) -> None:
    (dataset / "file").write_text("before")

    def destroy() -> str:
        argv = ["zfs", "destroy", f"{DATASET}@{name}"]
        return subprocess.run(argv, check=False, capture_output=True, text=True).stderr

    with taken(dataset) as view:
        (name,) = kept()
        where = place_of(view, dataset)
        assert "busy" in destroy()
        view.confirm()
        assert (where / "file").read_text() == "before"
        run("umount", "--lazy", where)
        assert "busy" in destroy()
        with pytest.raises(SnapshotLost, match="somebody unmounted it"):
            view.confirm()
    assert kept() == []


def test_a_snapshot_that_was_destroyed_is_told_to_be_gone(dataset: Path) -> None:
    mount = next(each for each in read_mounts() if each.path == os.fsencode(dataset))
    method = Zfs(SystemPrograms(), mounts=read_mounts)
    name = f"{TOKENLESS}00000000"
    run("zfs", "snapshot", f"{DATASET}@{name}")
    assert method.loss(mount.path, mount, name) is None
    run("zfs", "destroy", f"{DATASET}@{name}")
    assert method.loss(mount.path, mount, name) == "it is gone"


def test_the_visible_folder_of_snapshots_is_in_no_point_that_is_read_from_one(
    dataset: Path, tmp_path: Path
) -> None:
    run("zfs", "set", "snapdir=visible", DATASET)
    run("zfs", "snapshot", f"{DATASET}@daily")
    (dataset / "file").write_text("x")
    backed = BackedUp(tmp_path / "backup")
    back_up(backed, dataset, mode="zfs", one_file_system=False)
    assert [path.name for path in restored(backed, dataset).iterdir()] == ["file"]
    back_up(backed, dataset, mode="none", one_file_system=False)
    living = sorted(path.name for path in restored(backed, dataset).iterdir())
    assert living == [".zfs", "file"], "as the page says"


def test_without_the_right_to_take_snapshots_zfs_is_refused_and_auto_says_why(
    dataset: Path,
) -> None:
    def tell(mode: SnapshotMode) -> str:
        argv = [sys.executable, "-c", UNPRIVILEGED, str(dataset), mode, REPOSITORY]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, user=65534)
        assert done.returncode == 0, done.stderr
        return done.stdout

    refused, noted = tell("zfs"), tell("auto")
    print(refused, noted)  # noqa: T201 - it is read on the console
    assert refused.startswith("snapshot-impossible ")
    assert "permission denied" in refused.lower()
    assert f"{dataset} is read without a snapshot: " in noted
    assert "permission denied" in noted.lower()
    assert kept() == []


def test_without_the_tool_zfs_is_refused_and_auto_says_why(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as changed:
        changed.setenv("PATH", str(tmp_path))
        with pytest.raises(ProgramAbsent, match="the program zfs cannot be run"), taken(dataset):
            pass
        with taken(dataset, mode="auto") as view:
            assert ["the program zfs cannot be run" in note for note in view.notes] == [True]
            assert view.elsewhere(os.fsencode(dataset), 0) is None


def test_a_pool_that_cannot_be_written_is_refused_and_auto_reads_what_is_there(
    dataset: Path, tmp_path: Path
) -> None:
    (dataset / "file").write_text("x")
    run("zpool", "export", POOL)
    run("zpool", "import", "-o", "readonly=on", "-d", "/dev", POOL)
    backed = BackedUp(tmp_path / "backup")
    try:
        with pytest.raises(SnapshotImpossible, match="read-only"), taken(dataset):
            pass
        view = back_up(backed, dataset, mode="auto")
    finally:
        run("zpool", "export", POOL)
        run("zpool", "import", "-d", "/dev", POOL)
    assert ["without a snapshot" in note for note in view.notes] == [True]
    assert (restored(backed, dataset) / "file").read_text() == "x"


def test_the_version_is_that_of_the_page() -> None:
    """Print the versions, for the record."""
    print(run("zfs", "version"), os.uname().release)  # noqa: T201 - it is read on the console
