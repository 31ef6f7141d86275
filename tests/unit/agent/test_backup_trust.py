"""What a run could not read is named, and what it takes from the run before is really stored."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.backups import Tree, make_plan, make_repository, point_id, run
from tests.support.simdisk import SimDisk

from overland.agent.backup import folders, looks, sections
from overland.agent.backup.chain import add_pack
from overland.agent.backup.plan import BackupPlan, BackupResult
from overland.errors import ObjectCorrupt
from overland.source import entries
from overland.source.changes import ChangeCacheWriter, FolderBlock, fingerprint
from overland.source.entries import link_of
from overland.source.scan import list_names, open_folder
from overland.source.snapshotkinds import SnapshotLost
from overland.values import PackId, RepositoryId, point_name

BAD_SECTOR = OSError(errno.EIO, os.strerror(errno.EIO))
CANNOT = f"cannot be read: {os.strerror(errno.EIO)}"
LONG = 12 << 20  # bytes of a file whose list of chunks is stored in chunks itself


class World:
    """A source, a place for objects and a place for hints."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.source.mkdir()
        self.out, self.state = SimDisk(), SimDisk()

    def write(self, path: str, content: bytes = b"content") -> Path:
        file = self.source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def path(self, name: str) -> bytes:
        return os.fsencode(self.source / name) if name else os.fsencode(self.source)

    def back_up(self, number: int = 1, **changes: object) -> BackupResult:
        plan: BackupPlan = make_plan(self.source, number=number, **changes)
        return run(plan, repository=make_repository(self.state), out=self.out, stored=[self.out])

    def tree(self, number: int = 1) -> Tree:
        return Tree(self.out, make_repository(SimDisk()), point_id(number))

    def lose(self, packs: list[str]) -> None:
        """Lose packs, and have the next run know it."""
        for name in packs:
            self.out.delete(name)
        ids = [PackId(name[9:-5]) for name in packs]
        assert make_repository(self.state).forget_packs("test", ids) == len(packs)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def skipped(result: BackupResult) -> list[tuple[bytes, str]]:
    return [(one.path, one.reason) for one in result.skipped]


# -- what cannot be read ---------------------------------------------------------------------


@pytest.mark.parametrize("call", ["list_names", "read_xattrs"])
def test_a_folder_that_cannot_be_listed_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    world.write("bad/inside")
    world.write("good/inside")
    bad = (world.source / "bad").stat().st_ino
    real: Callable[[int], object] = getattr(looks, call)

    def fail(fd: int) -> object:
        if os.fstat(fd).st_ino == bad:
            raise BAD_SECTOR
        return real(fd)

    with monkeypatch.context() as patched:
        patched.setattr(looks, call, fail)
        result = world.back_up()
    assert skipped(result) == [(world.path("bad"), CANNOT)]
    assert list(world.tree().contents) == [world.path("good/inside")]
    assert skipped(world.back_up(2)) == []
    assert sorted(world.tree(2).contents) == [world.path("bad/inside"), world.path("good/inside")]


def test_an_entry_whose_state_cannot_be_read_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("bad")
    world.write("good")
    real = os.stat

    def fail(path: object, **more: object) -> os.stat_result:
        if path == b"bad":
            raise BAD_SECTOR
        return real(path, **more)  # type: ignore[arg-type]  # handed through

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", fail)
        result = world.back_up()
    assert skipped(result) == [(world.path("bad"), CANNOT)]
    assert list(world.tree().contents) == [world.path("good")]


@pytest.mark.parametrize("call", ["listxattr", "getxattr"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_cannot_be_read_of_attributes_is_not_kept_as_if_it_had_none(
    world: World, monkeypatch: pytest.MonkeyPatch, call: str, kind: str
) -> None:
    bad = world.source / "bad"
    world.write("bad") if kind == "file" else bad.symlink_to("good")
    world.write("good")
    inode = bad.lstat().st_ino

    def is_bad(where: int | bytes) -> bool:
        found = os.fstat(where) if isinstance(where, int) else os.lstat(where)
        return found.st_ino == inode

    def names(where: int | bytes, **_: object) -> list[str]:
        if call == "listxattr" and is_bad(where):
            raise BAD_SECTOR
        return ["user.mark"] if is_bad(where) else []

    def value(where: int | bytes, name: str, **_: object) -> bytes:
        assert is_bad(where), name
        raise BAD_SECTOR

    with monkeypatch.context() as patched:
        patched.setattr(os, "listxattr", names)
        patched.setattr(os, "getxattr", value)
        result = world.back_up()
    assert skipped(result) == [(world.path("bad"), CANNOT)]
    assert list(world.tree().entries) == [world.path(""), world.path("good")]


def test_a_folder_that_cannot_be_opened_any_more_is_named_though_nothing_else_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("above/bad/inside")
    world.write("above/good")
    world.back_up()

    def fail(name: bytes, *, parent_fd: int) -> int:
        if name == b"bad":
            raise BAD_SECTOR
        return open_folder(name, parent_fd=parent_fd)

    with monkeypatch.context() as patched:
        patched.setattr(folders, "open_folder", fail)
        result = world.back_up(2)
    assert skipped(result) == [(world.path("above/bad"), CANNOT)]
    assert list(world.tree(2).contents) == [world.path("above/good")]
    world.back_up(3)
    assert len(world.tree(3).contents) == 2


def test_what_is_left_of_a_very_large_folder_that_went_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        world.write(f"large/{number:03}")
    monkeypatch.setattr(looks, "MANY_ENTRIES", 20)
    monkeypatch.setattr(sections, "_MEAN_ENTRIES", 1 << 30)
    monkeypatch.setattr(sections, "_MAX_ENTRIES", 24)
    real, begun = folders.Folder.section, 0

    def section(folder: folders.Folder, key: bytes) -> folders.Folder:
        nonlocal begun
        begun += 1
        if begun == 3:
            raise FileNotFoundError(errno.ENOENT, "gone")
        return real(folder, key)

    with monkeypatch.context() as patched:
        patched.setattr(folders.Folder, "section", section)
        result = world.back_up()
    assert skipped(result) == [(world.path("large"), "vanished while the backup ran")]
    assert len(world.tree().contents) == 2 * 24
    assert skipped(world.back_up(2)) == []
    assert len(world.tree(2).contents) == 100


def test_without_the_snapshots_word_there_is_no_point(world: World) -> None:
    """What was read may then be of no instant."""
    world.write("file")

    def lost() -> None:
        raise SnapshotLost("the snapshot", problem="it is full")

    with pytest.raises(SnapshotLost):
        world.back_up(confirm=lost)
    assert list(world.out.names("points/")) == []


def test_a_folder_far_above_that_was_exchanged_meanwhile_is_not_taken_for_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = "/".join(["a"] * 70)  # so deep that the folders far above are closed
    world.write(f"top/{deep}/inside")
    world.write("top/b/mine", b"of the folder that was there")
    other = world.source.parent / "other"
    shutil.copytree(world.source / "top", other)
    (other / "b" / "mine").write_bytes(b"of another folder")
    seen = 0

    def exchange(fd: int) -> list[bytes]:
        nonlocal seen
        names = list_names(fd)
        seen += names == [b"inside"]
        if seen == 1 and other.exists():
            (world.source / "top").rename(world.source.parent / "away")
            other.rename(world.source / "top")
        return names

    with monkeypatch.context() as patched:
        patched.setattr(looks, "list_names", exchange)
        result = world.back_up()
    assert not other.exists()
    assert skipped(result) == [(world.path("top/b"), "vanished while the backup ran")]
    assert b"of another folder" not in world.tree().contents.values()


# -- what is taken from the run before -------------------------------------------------------


def test_a_long_file_whose_list_is_stored_and_whose_content_is_lost_is_read_again(
    world: World,
) -> None:
    world.write("long", os.urandom(LONG))
    first = world.back_up()
    entry = world.tree().entries[world.path("long")]
    assert entry.levels
    packs = [found.name for found in first.objects if found.name.startswith("packs/")]
    repository = make_repository(world.state)
    lists = []
    for name in packs:
        alone = repository.new_index()
        add_pack(repository, world.out, alone, name=name, size_bytes=world.out.size_bytes(name))
        if not alone.unknown(entry.content):
            lists.append(name)
    assert 0 < len(lists) < len(packs), "lists lie in other packs than files do"
    world.lose([name for name in packs if name not in lists])

    world.back_up(2)

    assert world.tree(2).contents[world.path("long")] == (world.source / "long").read_bytes()


def test_a_single_file_whose_pack_is_lost_is_stored_again(world: World) -> None:
    file = world.write("alone", os.urandom(50_000))
    first = world.back_up(roots=(file,))
    world.lose([found.name for found in first.objects if found.name.startswith("packs/")])

    world.back_up(2, roots=(file,))

    assert world.tree(2).contents == {os.fsencode(file): file.read_bytes()}


def test_a_point_relies_on_its_own_chain_alone_though_the_hints_are_of_another_point(
    world: World,
) -> None:
    """A point that was safe, and that nobody took note of, is no part of the next one's chain."""
    world.write("old", os.urandom(50_000))
    first = world.back_up(1)
    world.write("new", os.urandom(50_000))
    world.back_up(2)
    third = world.back_up(3, base=first.point_id)
    named = {found.name for result in (first, third) for found in result.objects}
    for info in list(world.out.names()):
        if info.name not in named:
            world.out.delete(info.name)
    assert world.tree(3).contents == {
        world.path(name): (world.source / name).read_bytes() for name in ("old", "new")
    }


def test_a_new_name_is_seen_though_no_number_of_the_file_tells(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems do not note a file's new name in its own times."""
    old = world.write("folder/old")

    def without_ctime(state: os.stat_result) -> bytes:
        return fingerprint(state)[:16] + bytes(8) + fingerprint(state)[24:]

    monkeypatch.setattr(looks, "fingerprint", without_ctime)
    monkeypatch.setattr(folders, "fingerprint", without_ctime)
    world.back_up()
    old.rename(old.with_name("new"))
    world.back_up(2)
    assert list(world.tree(2).contents) == [world.path("folder/new")]


def test_names_of_one_file_stay_together_when_the_device_gets_another_number(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = world.write("first/one")
    (world.source / "second").mkdir()
    (world.source / "second" / "two").hardlink_to(one)
    real = ChangeCacheWriter.add

    def other_link(state: os.stat_result) -> bytes:
        return b"the same number!" if link_of(state) else b""

    def of_another_device(writer: ChangeCacheWriter, block: FolderBlock) -> None:
        real(writer, replace(block, device=block.device + 1))

    with monkeypatch.context() as patched:
        patched.setattr(ChangeCacheWriter, "add", of_another_device)
        patched.setattr(entries, "link_of", other_link)
        world.back_up()
    world.write("second/three")  # only the folder of one of the names is looked at entry by entry
    world.back_up(2)
    found = world.tree(2).entries
    links = {found[world.path(name)].link for name in ("first/one", "second/two")}
    assert links == {link_of(one.stat())}


def test_a_point_of_another_repository_is_refused_though_the_owner_signed_it(world: World) -> None:
    world.write("file")
    world.back_up()
    tree = world.tree()
    public = replace(tree.parsed.public, repository_id=RepositoryId(point_id(9)))
    repository = make_repository(SimDisk())
    data = repository.seal_point(public, tree.root)
    with pytest.raises(ObjectCorrupt, match="another repository"):
        repository.verified_point(data, name=point_name(public.point_id), place=SimDisk())
