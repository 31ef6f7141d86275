"""The estimate of a source counts what the backup will read, and no more."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from msgspec.structs import replace
from tests.support.backups import make_plan
from tests.support.random_trees import Node, build_tree, trees
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


@settings(max_examples=60, deadline=None)
@given(trees())
def test_a_rule_that_leaves_nothing_out_changes_nothing(tree: dict[bytes, Node]) -> None:
    with fast_folder() as folder:
        source = folder / "source"
        build_tree(source, tree)
        assert estimate(source) == estimate(source, exclude=("no name is like this",))


def test_a_source_inside_another_counts_once(tmp_path: Path) -> None:
    inner = tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    (inner / "file").write_bytes(b"x" * 8192)
    (tmp_path / "outer/file").write_bytes(b"x" * 4096)
    plan = make_plan(tmp_path / "outer", number=1)
    both = replace(plan, roots=(tmp_path / "outer", inner))
    assert selected_bytes(both).size_bytes == selected_bytes(plan).size_bytes == 3 * 4096


@pytest.mark.root
def test_what_is_mounted_counts_where_other_file_systems_do(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (tmp_path / "here").write_bytes(b"x" * 4096)
    subprocess.run(["mount", "-t", "tmpfs", "none", mounted], check=True)
    try:
        (mounted / "there").write_bytes(b"x" * 4096)
        plan = make_plan(tmp_path, number=1, one_file_system=True)
        assert selected_bytes(plan).size_bytes == 4096
        assert selected_bytes(replace(plan, one_file_system=False)).size_bytes == 2 * 4096
    finally:
        subprocess.run(["umount", mounted], check=True)


def test_depth_has_no_limit_of_its_own() -> None:
    with fast_folder() as folder:
        with open_deep(folder, [b"d"] * 700, make=True) as fd:
            leaf = os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
            os.write(leaf, b"x" * 4096)
            os.close(leaf)
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert estimate(folder) == 4096
        assert len(list(Path("/proc/self/fd").iterdir())) == before
