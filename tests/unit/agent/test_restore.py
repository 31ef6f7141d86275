"""A restore puts back what was backed up, touches nothing else, and says what it could not do."""

import errno
import fcntl
import os
import random
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.backed_up import BackedUp
from tests.support.torture import acl, build_torture, fast_folder

from overland import locks
from overland.agent.backup.plan import RootUnreadable
from overland.agent.compare import compare_trees
from overland.agent.points import tree as points_tree
from overland.agent.points.chunks import ChunkStore, Decoded, Job, Wanted
from overland.agent.points.tree import PathAbsent
from overland.agent.restore import batch as restore_batch
from overland.agent.restore import crew, writing
from overland.agent.restore.metadata import Describer
from overland.agent.restore.names import StripOutside
from overland.agent.restore.run import RestoreIncomplete, TargetBusy, TargetOccupied
from overland.agent.restore.target import Access, Folder
from overland.errors import OutOfSpace
from overland.format.tree import TreeCorrupt
from overland.source import entries

IS_ROOT = os.geteuid() == 0


@pytest.fixture(params=[0, 2], ids=["threads", "processes"])
def backed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackedUp]:
    monkeypatch.setattr(crew, "_FEW_FILES", 0)  # no batch is too small for processes
    with fast_folder() as folder:
        world = BackedUp(folder)
        world.processes = request.param
        (world.source / "folder" / "below").mkdir(parents=True)
        (world.source / "folder" / "file").write_bytes(b"in the folder")
        (world.source / "folder" / "below" / "large").write_bytes(
            random.Random(1).randbytes(200_000)
        )
        (world.source / "file").write_bytes(b"content")
        (world.source / "empty").write_bytes(b"")
        (world.source / "link").symlink_to("file")
        (world.source / "twin").hardlink_to(world.source / "file")
        os.mkfifo(world.source / "pipe")
        world.back_up()
        yield world


def equal(backed: BackedUp) -> list[str]:
    return compare_trees(backed.source, backed.target).differences


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(".overland-*"))


# -- where things go ----------------------------------------------------------------------------


def test_without_strip_everything_lies_under_its_full_path(backed: BackedUp) -> None:
    backed.restore(strip=b"/")
    inside = backed.target / backed.source.relative_to("/")
    assert compare_trees(backed.source, inside).differences == []
    assert (backed.target / backed.source.parts[1]).stat().st_mode & 0o777 == 0o755


def test_chosen_paths_bring_nothing_else(backed: BackedUp) -> None:
    chosen = (f"{backed.source}/folder/below".encode(), f"{backed.source}/file".encode())
    backed.restore(paths=chosen)
    found = sorted(str(path.relative_to(backed.target)) for path in backed.target.rglob("*"))
    assert found == ["file", "folder", "folder/below", "folder/below/large"]
    assert compare_trees(backed.source / "folder/below", backed.target / "folder/below").equal


def test_the_path_of_a_chosen_folder_can_be_left_out(backed: BackedUp) -> None:
    backed.restore(strip=f"{backed.source}/folder".encode())
    assert compare_trees(backed.source / "folder", backed.target).differences == []


@pytest.mark.parametrize("path", ["", "/file", "/folder/file/x"])
def test_a_path_outside_of_what_is_left_out_is_refused(backed: BackedUp, path: str) -> None:
    with pytest.raises((StripOutside, PathAbsent)):
        backed.restore(
            paths=(f"{backed.source}{path}".encode(),), strip=f"{backed.source}/folder".encode()
        )
    assert not backed.target.exists()


# -- names that are taken -----------------------------------------------------------------------


def occupy(backed: BackedUp) -> None:
    (backed.target / "folder").mkdir(parents=True)
    (backed.target / "file").write_bytes(b"mine")
    (backed.target / "folder" / "file").symlink_to("elsewhere")
    (backed.target / "other").write_bytes(b"not in the point")


def test_taken_names_are_all_listed_and_nothing_is_changed(backed: BackedUp) -> None:
    occupy(backed)
    with pytest.raises(TargetOccupied) as refused:
        backed.restore()
    assert refused.value.paths == [
        f"{backed.source}/{name}".encode() for name in ("file", "folder/file")
    ]
    assert sorted(path.name for path in backed.target.rglob("*")) == [
        "file",
        "file",
        "folder",
        "other",
    ]


def test_other_entries_in_the_target_do_not_matter(backed: BackedUp) -> None:
    (backed.target / "folder").mkdir(parents=True)
    (backed.target / "other").write_bytes(b"not in the point")
    backed.restore()
    assert (backed.target / "other").read_bytes() == b"not in the point"
    (backed.target / "other").unlink()
    assert [line for line in equal(backed) if "time" not in line and "mode" not in line] == []


def test_overwrite_replaces_entries_and_keeps_others(backed: BackedUp) -> None:
    occupy(backed)
    (backed.target / "pipe").symlink_to("/etc/passwd")
    backed.restore(on_conflict="overwrite")
    assert (backed.target / "other").read_bytes() == b"not in the point"
    (backed.target / "other").unlink()
    os.utime(backed.target, ns=(0, backed.source.stat().st_mtime_ns))
    assert equal(backed) == []


def test_overwrite_never_removes_a_folder(backed: BackedUp) -> None:
    (backed.target / "file").mkdir(parents=True)
    (backed.target / "file" / "mine").write_bytes(b"mine")
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore(on_conflict="overwrite")
    [problem] = incomplete.value.report.problems
    assert (problem.path, problem.kind) == (f"{backed.source}/file".encode(), "occupied")
    assert (backed.target / "file" / "mine").read_bytes() == b"mine"
    assert (backed.target / "twin").read_bytes() == b"content"


def test_overwrite_puts_a_folder_in_the_place_of_a_file(backed: BackedUp) -> None:
    backed.target.mkdir()
    (backed.target / "folder").write_bytes(b"a file")
    backed.restore(on_conflict="overwrite")
    assert equal(backed) == []


def test_skip_leaves_what_is_there(backed: BackedUp) -> None:
    occupy(backed)
    report = backed.restore(on_conflict="skip")
    assert report.skipped == 2
    assert (backed.target / "file").read_bytes() == b"mine"
    assert (backed.target / "folder" / "file").is_symlink()
    assert (backed.target / "twin").read_bytes() == b"content", "not a link to somebody's file"


def test_keep_both_gives_the_restored_one_a_free_name(backed: BackedUp) -> None:
    occupy(backed)
    (backed.target / "file.restored").write_bytes(b"mine, too")
    backed.restore(on_conflict="keep-both")
    assert (backed.target / "file").read_bytes() == b"mine"
    assert (backed.target / "file.restored").read_bytes() == b"mine, too"
    assert (backed.target / "file.restored-2").read_bytes() == b"content"
    assert (backed.target / "folder" / "file.restored").read_bytes() == b"in the folder"
    assert (backed.target / "file.restored-2").samefile(backed.target / "twin")


def test_a_name_taken_meanwhile_is_kept_and_reported(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Access.publish

    def raced(
        self: Access, folder: Folder, unfinished: bytes, name: bytes, *, replace: bool
    ) -> None:
        if name == b"large":
            fd = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=self.fd(folder))
            os.write(fd, b"mine")
            os.close(fd)
        publish(self, folder, unfinished, name, replace=replace)

    monkeypatch.setattr(Access, "publish", raced)
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore()
    [problem] = incomplete.value.report.problems
    assert problem.kind == "occupied"
    assert (backed.target / "folder" / "below" / "large").read_bytes() == b"mine"
    assert leftovers(backed.target) == []


def test_two_restores_into_one_folder_are_refused(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)
    backed.target.mkdir()
    other = os.open(backed.target, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        with pytest.raises(TargetBusy):
            backed.restore()
    finally:
        os.close(other)


# -- nothing leaves the target ------------------------------------------------------------------


@pytest.mark.parametrize("on_conflict", ["overwrite", "skip", "keep-both"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(
    backed: BackedUp, on_conflict: str, tmp_path: Path
) -> None:
    backed.target.mkdir()
    (backed.target / "folder").symlink_to(tmp_path)
    backed.restore(on_conflict=on_conflict)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_swapped_for_a_link_while_restoring_lets_nothing_out(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_folder = Access.make_folder

    def swapped(self: Access, parent: Folder, name: bytes) -> Folder:
        folder = make_folder(self, parent, name)
        if name == b"folder":
            fd = self.fd(parent)
            os.rmdir(name, dir_fd=fd)
            os.symlink(tmp_path, name, dir_fd=fd)
        return folder

    monkeypatch.setattr(Access, "make_folder", swapped)
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore()
    assert list(tmp_path.iterdir()) == []
    assert {problem.path for problem in incomplete.value.report.problems} == {
        f"{backed.source}/folder/{name}".encode() for name in ("below", "file")
    }
    assert (backed.target / "file").read_bytes() == b"content"


def test_the_targets_default_acl_does_not_get_into_what_is_restored(backed: BackedUp) -> None:
    backed.target.mkdir()
    os.setxattr(backed.target, "system.posix_acl_default", acl(1234, 6))
    backed.restore()
    os.removexattr(backed.target, "system.posix_acl_default")
    assert equal(backed) == []


# -- batches, pieces, threads -------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_smallest_batches_and_pieces_restore_the_same(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_batch, "_MAX_CHUNKS", 7)
    monkeypatch.setattr(restore_batch, "_MAX_FILES", 3)
    monkeypatch.setattr(points_tree, "_PIECE_IDS", 5)
    monkeypatch.setattr(writing, "_SHARED_WORTH_BYTES", 4096)
    with fast_folder() as folder:
        backed = BackedUp(folder)
        build_torture(backed.source / "tree")
        (backed.source / "very many chunks").write_bytes(random.Random(2).randbytes(8 << 20))
        backed.back_up()
        backed.restore(workers=workers, verify=True)
        assert equal(backed) == []


def test_a_batch_reads_a_segment_once_however_its_files_are_spread_over_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed = BackedUp(tmp_path)
    for number in range(60):
        folder = backed.source / f"{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}").write_bytes(random.Random(number).randbytes(50_000))
    backed.back_up()
    decode, read = ChunkStore.decode, Counter[tuple[str, int]]()

    def counting(self: ChunkStore, job: Job, wanted: Wanted) -> list[Decoded]:
        if threading.current_thread() is not threading.main_thread():  # which reads folders
            read.update((job.pack_id, segment.number) for segment in job.segments)
        return decode(self, job, wanted)

    monkeypatch.setattr(ChunkStore, "decode", counting)
    backed.restore()
    assert len(read) > 1, "several segments, each with files of several folders"
    assert set(read.values()) == {1}


def test_a_long_list_of_chunks_is_itself_in_chunks(backed: BackedUp) -> None:
    (backed.source / "very many chunks").write_bytes(random.Random(2).randbytes(8 << 20))
    backed.back_up()
    point, store = backed.open()
    tree = points_tree.PointTree(point, store)
    entry = tree.entry(f"{backed.source}/very many chunks".encode())
    assert entry is not None
    assert entry.levels > 0, "the point of this test"
    backed.restore()
    assert equal(backed) == []


# -- what cannot be put back is said ------------------------------------------------------------


def test_what_the_target_cannot_hold_is_reported_and_the_rest_restored(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.setxattr(backed.source / "file", "user.colour", b"blue")
    backed.back_up()

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    with monkeypatch.context() as patched:
        patched.setattr(os, "setxattr", unsupported)
        patched.setattr(os, "chown", unsupported)
        report = backed.restore()
    lacking = {shortfall.what for shortfall in report.shortfalls}
    assert "attribute user.colour" in lacking
    assert "owner" in lacking or not IS_ROOT
    assert (backed.target / "file").read_bytes() == b"content"
    assert report.shortfall_count == len(report.shortfalls)


def test_without_hard_links_in_the_target_each_name_gets_a_file(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", unsupported)
        report = backed.restore()
    [shortfall] = report.shortfalls
    assert (shortfall.what, shortfall.path) == ("hard link", f"{backed.source}/twin".encode())
    assert (backed.target / "twin").read_bytes() == b"content"
    assert not (backed.target / "twin").samefile(backed.target / "file")


def test_owners_are_left_to_who_restores_if_so_asked(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("no owner is to be changed")

    monkeypatch.setattr(os, "chown", never)
    report = backed.restore(owners="none")
    assert report.shortfalls == []


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_owners_are_found_by_name_where_the_name_exists(tmp_path: Path) -> None:
    with fast_folder() as folder:
        backed = BackedUp(folder)
        backed.source.mkdir()
        (backed.source / "file").write_bytes(b"")
        backed.back_up()
        point, store = backed.open()
        entry = points_tree.PointTree(point, store).entry(f"{backed.source}/file".encode())
    assert entry is not None
    theirs = tmp_path / "file"
    theirs.write_bytes(b"")
    for user, expected in (("root", 0), ("nobody-of-this-name", 4321)):
        moved = msgspec.structs.replace(entry, uid=4321, user=user)
        Describer("names", lambda *_: None).describe(str(theirs).encode(), moved, b"file")
        assert theirs.stat().st_uid == expected


def test_a_full_target_stops_the_restore_and_leaves_nothing_unfinished(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OutOfSpace):
            backed.restore()
    assert leftovers(backed.target) == []
    backed.restore(resume=True)
    assert equal(backed) == []


def test_a_target_that_is_full_at_an_entry_without_data_has_nothing_unfinished(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", full)
        with pytest.raises(OutOfSpace):
            backed.restore()
    assert leftovers(backed.target) == []


def test_one_entry_that_fails_does_not_stop_the_others(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Access.create

    def forbidding(self: Access, folder: Folder, name: bytes, *, mode: int) -> int:
        if folder.name == b"below":
            raise PermissionError(errno.EACCES, "permission denied")
        return create(self, folder, name, mode=mode)

    monkeypatch.setattr(Access, "create", forbidding)
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore()
    [problem] = incomplete.value.report.problems
    assert (problem.path, problem.kind) == (
        f"{backed.source}/folder/below/large".encode(),
        "failed",
    )
    assert (backed.target / "folder" / "file").read_bytes() == b"in the folder"


def test_a_file_that_got_the_number_of_a_removed_one_is_not_linked_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link_of(state: os.stat_result) -> bytes:
        return (
            b"the same number!" if state.st_nlink > 1 and not stat.S_ISDIR(state.st_mode) else b""
        )

    backed = BackedUp(tmp_path)
    for folder in ("removed", "made"):
        (backed.source / folder).mkdir(parents=True)
        (backed.source / folder / "one").write_bytes(folder.encode())
        (backed.source / folder / "two").hardlink_to(backed.source / folder / "one")
    with monkeypatch.context() as patched:
        patched.setattr(entries, "link_of", link_of)
        backed.back_up()
    backed.restore()
    for folder in ("removed", "made"):
        one, two = backed.target / folder / "one", backed.target / folder / "two"
        assert one.read_bytes() == folder.encode()
        assert one.samefile(two)


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason="needs root")
@pytest.mark.parametrize(("owners", "mode"), [("ids", 0o6755), ("none", 0o755)])
def test_what_does_not_get_its_owner_does_not_run_as_who_restores(
    tmp_path: Path, owners: str, mode: int
) -> None:
    backed = BackedUp(tmp_path)
    backed.source.mkdir()
    program = backed.source / "program"
    program.write_bytes(b"runs as its owner")
    os.chown(program, 4321, 4321)
    program.chmod(0o6755)
    backed.back_up()
    report = backed.restore(owners=owners)
    assert (backed.target / "program").stat().st_mode & 0o7777 == mode
    assert [one.what for one in report.shortfalls] == (
        ["setuid and setgid"] if owners == "none" else []
    )


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077], ids=oct)
def test_every_mode_is_restored_whatever_the_mask(tmp_path: Path, mask: int) -> None:
    backed = BackedUp(tmp_path)
    backed.source.mkdir()
    modes = [0o400, 0o444, 0o600, 0o640, 0o644, 0o666, 0o755, 0o777, 0o1644, 0o2755, 0o4755]
    for mode in modes:
        (backed.source / oct(mode)).write_bytes(b"of this mode")
        (backed.source / oct(mode)).chmod(mode)
    backed.back_up()
    before = os.umask(mask)
    try:
        backed.restore()
    finally:
        os.umask(before)
    found = {entry.name: oct(entry.stat().st_mode & 0o7777) for entry in backed.target.iterdir()}
    assert found == {oct(mode): oct(mode) for mode in modes}


def test_in_a_folder_that_was_there_nobody_sees_a_file_before_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed = BackedUp(tmp_path)
    (backed.source / "there").mkdir(parents=True)
    (backed.source / "there" / "open").write_bytes(b"for all")
    (backed.source / "there" / "open").chmod(0o644)
    backed.back_up()
    (backed.target / "there").mkdir(parents=True)
    create, made = Access.create, list[int]()

    def noting(self: Access, folder: Folder, name: bytes, *, mode: int) -> int:
        made.append(mode)
        return create(self, folder, name, mode=mode)

    monkeypatch.setattr(Access, "create", noting)
    backed.restore()
    assert made == [0o600]
    assert (backed.target / "there" / "open").stat().st_mode & 0o7777 == 0o644


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_a_target_that_gives_its_group_does_not_change_whose_files_are(tmp_path: Path) -> None:
    backed = BackedUp(tmp_path)
    (backed.source / "folder").mkdir(parents=True)
    for name in ("one", "two"):
        (backed.source / "folder" / name).write_bytes(b"of root")
    backed.back_up()
    backed.target.mkdir()
    os.chown(backed.target, 0, 4321)
    backed.target.chmod(0o2755)
    backed.restore()
    found = [(backed.target / "folder" / name).stat() for name in ("one", "two")]
    assert [(each.st_uid, each.st_gid) for each in found] == [(0, 0)] * 2


def test_a_root_that_leads_out_of_the_target_is_refused(tmp_path: Path) -> None:
    backed = BackedUp(tmp_path)
    backed.source.mkdir()
    with pytest.raises(RootUnreadable, match=r"\.\."):
        backed.back_up(Path(f"{backed.source}/../source"))
    backed.back_up()
    point, store = backed.open()
    outside = msgspec.structs.replace(point.root.roots[0], path=b"/../source")
    root = msgspec.structs.replace(point.root, roots=[outside])
    with pytest.raises(TreeCorrupt):
        points_tree.PointTree(msgspec.structs.replace(point, root=root), store)
