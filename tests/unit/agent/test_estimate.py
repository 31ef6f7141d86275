"""The estimate of a source counts what the backup will read, and no more."""

import os
from pathlib import Path

from tests.support.backups import make_plan
from tests.support.torture import fast_folder, open_deep

from overland.agent.backup.estimate import selected_bytes


def estimate(source: Path, *, ours: tuple[Path, ...] = (), **rules: object) -> int:
    plan = make_plan(source, number=1, never_enter=ours, one_file_system=True, **rules)
    return selected_bytes(plan).size_bytes


def test_files_that_the_rules_keep_are_counted(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.txt", "b.tmp", "below/c.txt"):
        (tmp_path / name).write_bytes(b"x" * 4096)
    assert estimate(tmp_path) == 3 * 4096
    assert estimate(tmp_path, exclude=("*.tmp",)) == 2 * 4096
    assert estimate(tmp_path, include=("below/",)) == 4096


def test_holes_are_not_counted(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert estimate(tmp_path) < 1 << 20


def test_our_own_folders_are_not_counted(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "pack").write_bytes(b"x" * 8192)
    (tmp_path / "file").write_bytes(b"x" * 4096)
    assert estimate(tmp_path, ours=(staging, tmp_path / "absent")) == 4096


def test_depth_has_no_limit_of_its_own() -> None:
    with fast_folder() as folder:
        with open_deep(folder, [b"d"] * 700, make=True) as fd:
            leaf = os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
            os.write(leaf, b"x" * 4096)
            os.close(leaf)
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert estimate(folder) == 4096
        assert len(list(Path("/proc/self/fd").iterdir())) == before
