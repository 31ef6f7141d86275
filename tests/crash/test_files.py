"""The power is cut at every step of writing and removing files and objects."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.simdisk import PowerCut, SimDisk
from tests.support.simkernel import SimKernel, running_on

from overland.adapters.folderobjects import FolderObjects
from overland.adapters.posix import PosixFiles
from overland.errors import ObjectAbsent
from overland.ports.files import Files

pytestmark = pytest.mark.crash

NAME = "packs/3f/one.pack"
OLD, NEW = b"old content", b"new, and longer, content"
SEEDS = range(6)


def write(files: Files) -> None:
    files.write(NAME, NEW)


def write_in_pieces(files: Files) -> None:
    new = files.create()
    try:
        new.write(NEW[:5])
        new.write(NEW[5:])
        new.publish(NAME)
    finally:
        new.abandon()


def put(files: Files) -> None:
    digest = hashlib.sha256(NEW).hexdigest()
    FolderObjects(files).put(NAME, [NEW[:5], NEW[5:]], size_bytes=len(NEW), sha256=digest)


def seen(files: Files) -> bytes | None:
    try:
        return files.read(NAME)
    except ObjectAbsent:
        return None


def cuts() -> Iterator[tuple[int, int]]:
    return ((cut_at, seed) for cut_at in itertools.count() for seed in SEEDS)


def cut_everywhere(
    folder: Path, work: Callable[[Files], None], *, before: bytes | None
) -> Iterator[tuple[PosixFiles, bool]]:
    """Yield what is left of `work` after a cut at each step, and whether `work` had returned."""
    for cut_at, seed in cuts():
        root = folder / f"{cut_at}-{seed}"
        root.mkdir()
        # The first life ends well and leaves `before`; the second one is cut.
        kernel = SimKernel(root, cut_at=None)
        with running_on(kernel):
            if before is not None:
                PosixFiles(root).write(NAME, before)
            kernel._cut_at = kernel.steps + cut_at
            try:
                work(PosixFiles(root))
            except PowerCut:
                finished = False
            else:
                finished = True
        yield PosixFiles(kernel.survivors(folder / f"{cut_at}-{seed}-after", seed=seed)), finished
        if finished and seed == SEEDS[-1]:
            return


@pytest.mark.parametrize("before", [None, OLD])
@pytest.mark.parametrize("work", [write, write_in_pieces])
def test_a_name_shows_the_old_or_the_whole_new_content(
    tmp_path: Path, work: Callable[[Files], None], before: bytes | None
) -> None:
    outcomes = set()
    for files, finished in cut_everywhere(tmp_path, work, before=before):
        found = seen(files)
        assert found == NEW if finished else found in {before, NEW}
        outcomes.add((found, finished))
        files.sweep()
        assert [info.name for info in files.names()] == ([NAME] if found is not None else [])
        assert seen(files) == found, "sweeping removes no published content"
        work(files)
        assert seen(files) == NEW, "the next life finishes the work"
    assert outcomes == {(before, False), (NEW, False), (NEW, True)}, "the cuts hit something"


def settled_and_shown(files: Files) -> None:
    new = files.create()
    try:
        new.write(NEW)
        new.settle()
        new.show(NAME)
    finally:
        new.abandon()


@pytest.mark.parametrize("before", [None, OLD])
def test_what_was_settled_and_shown_is_whole_or_not_there(
    tmp_path: Path, before: bytes | None
) -> None:
    """Nobody waited for the name; so it may be the old one also when the work had ended."""
    outcomes = set()
    for files, finished in cut_everywhere(tmp_path, settled_and_shown, before=before):
        found = seen(files)
        assert found in {before, NEW}
        outcomes.add((found, finished))
        settled_and_shown(files)
        assert seen(files) == NEW, "the next life finishes the work"
    assert outcomes == {(before, False), (before, True), (NEW, True)}, "the cuts hit something"


@pytest.mark.parametrize("before", [None, OLD])
def test_a_settled_name_is_the_one_that_was_shown(tmp_path: Path, before: bytes | None) -> None:
    def work(files: Files) -> None:
        settled_and_shown(files)
        files.settle(NAME)

    for files, finished in cut_everywhere(tmp_path, work, before=before):
        assert seen(files) == NEW if finished else seen(files) in {before, NEW}


def test_a_forgotten_file_is_gone_or_back_as_it_was(tmp_path: Path) -> None:
    def forget(files: Files) -> None:
        files.forget(NAME)
        assert seen(files) is None

    outcomes = {seen(files) for files, _ in cut_everywhere(tmp_path, forget, before=OLD)}
    assert outcomes == {None, OLD}


def test_an_object_is_absent_or_whole(tmp_path: Path) -> None:
    for files, finished in cut_everywhere(tmp_path, put, before=None):
        assert seen(files) == NEW if finished else seen(files) in {None, NEW}
        put(files)
        assert seen(files) == NEW


def test_a_removed_file_stays_removed(tmp_path: Path) -> None:
    def delete(files: Files) -> None:
        files.delete(NAME)

    for files, finished in cut_everywhere(tmp_path, delete, before=OLD):
        assert seen(files) is None if finished else seen(files) in {None, OLD}


def test_what_a_killed_writer_made_visible_is_durable_once_it_was_settled(tmp_path: Path) -> None:
    """A killed process loses nothing; a power cut soon after it may, unless somebody settles."""
    for kill_at in itertools.count():
        root = tmp_path / f"{kill_at}"
        root.mkdir()
        kernel = SimKernel(root, cut_at=kill_at)
        with running_on(kernel):
            try:
                write(PosixFiles(root))
            except PowerCut:
                kernel._cut_at, kernel._is_cut = None, False  # it was the process, not the power
            else:
                return
            put(PosixFiles(root))
        for seed in SEEDS:
            after = PosixFiles(kernel.survivors(tmp_path / f"{kill_at}-{seed}", seed=seed))
            assert seen(after) == NEW


@pytest.mark.parametrize("before", [None, OLD])
@pytest.mark.parametrize("work", [write, write_in_pieces])
def test_the_simulated_disk_keeps_the_same_promise(
    work: Callable[[Files], None], before: bytes | None
) -> None:
    for cut_at, seed in cuts():
        disk = SimDisk()
        if before is not None:
            disk.write(NAME, before)
        disk = disk.restart(cut_at=cut_at, seed=seed)
        try:
            work(disk)
        except PowerCut:
            assert seen(disk) in {before, NEW}
            with pytest.raises(PowerCut):
                disk.write("later", b"")
        else:
            assert seen(disk.restart()) == NEW
            break
        disk = disk.restart()
        disk.sweep()
        work(disk)
        assert seen(disk) == NEW
