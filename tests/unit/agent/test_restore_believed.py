"""A restore that goes on believes of what is there only what an earlier run has finished."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.backed_up import BackedUp

from overland.agent.compare import compare_trees

CONTENT = b"eighteen bytes, so"


@pytest.fixture
def backed(tmp_path: Path) -> BackedUp:
    made = BackedUp(tmp_path)
    (made.source / "folder").mkdir(parents=True)
    (made.source / "folder" / "file").write_bytes(CONTENT)
    (made.source / "folder" / "other").write_bytes(CONTENT)
    (made.source / "folder" / "link").symlink_to("file")
    made.back_up()
    made.restore()
    return made


def with_time_of(path: Path, before: os.stat_result) -> None:
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)


def cut(path: Path) -> None:
    before = path.stat()
    path.write_bytes(CONTENT[:9])
    with_time_of(path, before)


def longer(path: Path) -> None:
    before = path.stat()
    path.write_bytes(CONTENT + b"!")
    with_time_of(path, before)


def rewritten(path: Path) -> None:
    path.write_bytes(CONTENT[::-1])


def a_link(path: Path) -> None:
    before = path.stat()
    path.unlink()
    path.symlink_to("x" * len(CONTENT))
    with_time_of(path, before)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [cut, longer, rewritten, a_link, a_pipe], ids=lambda h: h.__name__)
def test_what_is_not_the_finished_file_is_restored_again(
    backed: BackedUp, harm: Callable[[Path], None]
) -> None:
    harm(backed.target / "folder" / "file")
    report = backed.restore(resume=True, on_conflict="overwrite")
    assert compare_trees(backed.source, backed.target).differences == []
    assert report.already_there == 2, "the other file, and the link"


@pytest.mark.parametrize("to", ["files", "other"])
def test_a_link_that_points_elsewhere_is_restored_again(backed: BackedUp, to: str) -> None:
    link = backed.target / "folder" / "link"
    before = link.lstat()
    link.unlink()
    link.symlink_to(to)
    with_time_of(link, before)
    backed.restore(resume=True, on_conflict="overwrite")
    assert link.readlink() == Path("file")


def test_a_pipe_that_is_there_is_not_made_again(backed: BackedUp) -> None:
    os.mkfifo(backed.source / "pipe")
    backed.back_up()
    backed.restore(resume=True, on_conflict="overwrite")
    inode = (backed.target / "pipe").stat().st_ino
    backed.restore(resume=True, on_conflict="overwrite")
    assert (backed.target / "pipe").stat().st_ino == inode
