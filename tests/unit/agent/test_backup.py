"""What a backup keeps of a source, and what it says about the rest."""

import contextlib
import hashlib
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.backups import (
    REPOSITORY,
    FixedClock,
    Tree,
    make_plan,
    make_repository,
    point_id,
    run,
)
from tests.support.faulty import FaultyFiles
from tests.support.simdisk import SimDisk

from overland.adapters.posix import PosixFiles
from overland.agent.backup import large as backup_large
from overland.agent.backup.counts import Counts
from overland.agent.backup.run import BackupPlan, BackupResult, RootUnreadable, back_up
from overland.agent.backup.walk import Walk
from overland.errors import NotAuthorised, OutOfSpace
from overland.format.point import PointCorrupt, PointPublic, PointRoot, Statistics
from overland.format.tree import Entry
from overland.ports.progress import NullProgress
from overland.source import reader
from overland.source.changes import FINGERPRINT_BYTES
from overland.source.rules import PatternInvalid
from overland.values import PackId


class World:
    """A source, a place for objects and a place for hints."""

    def __init__(self, tmp_path: Path) -> None:
        self.source = tmp_path / "source"
        self.source.mkdir()
        self.out = SimDisk()
        self.state = SimDisk()

    def write(self, path: str, content: bytes) -> Path:
        file = self.source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def plan(self, *, number: int = 1, **changes: object) -> BackupPlan:
        return make_plan(self.source, number=number, **changes)

    def back_up(self, *, number: int = 1, **changes: object) -> BackupResult:
        plan = self.plan(number=number, **changes)
        return run(plan, repository=make_repository(self.state), out=self.out, stored=[self.out])

    def tree(self, number: int = 1) -> Tree:
        return Tree(self.out, make_repository(SimDisk()), point_id(number))

    def entry(self, path: str, number: int = 1) -> Entry:
        return self.tree(number).entries[os.fsencode(self.source / path)]

    def content(self, path: str, number: int = 1) -> bytes:
        return self.tree(number).contents[os.fsencode(self.source / path)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_files_of_all_lengths_come_back_as_they_were(world: World) -> None:
    lengths = [0, 1, 4095, 4096, 4097, 70_000, (4 << 20) - 1, (4 << 20) + 1, 20 << 20]
    for length in lengths:
        world.write(f"folder-{length % 3}/{length}", os.urandom(length))
    result = world.back_up(workers=2)
    tree = world.tree()
    for length in lengths:
        path = world.source / f"folder-{length % 3}/{length}"
        assert tree.contents[os.fsencode(path)] == path.read_bytes()
    assert result.statistics.files == len(lengths)
    assert result.statistics.source_bytes == sum(lengths)
    assert result.skipped == ()


def test_metadata_comes_back(world: World) -> None:
    file = world.write("f", b"x")
    file.chmod(0o4751)
    os.utime(file, ns=(1, 1_234_567_890_123_456_789))
    (world.source / "link").symlink_to("nowhere/\udcff")
    os.mkfifo(world.source / "pipe", 0o600)
    (world.source / "empty").mkdir(mode=0o1777)
    world.back_up()
    entry = world.entry("f")
    assert (entry.mode, entry.mtime_ns, entry.uid) == (
        0o4751,
        1_234_567_890_123_456_789,
        os.getuid(),
    )
    assert world.entry("link").target == b"nowhere/\xff"
    assert world.entry("pipe").kind == "fifo"
    assert world.entry("empty").kind == "folder"


def test_names_are_bytes(world: World) -> None:
    names = [b"\xff\xfe", b"two\nlines", b"n" * 255, b" ", b"\x01"]
    for name in names:
        Path(os.fsdecode(os.fsencode(world.source) + b"/" + name)).write_bytes(name)
    world.back_up()
    tree = world.tree()
    for name in names:
        assert tree.contents[os.fsencode(world.source) + b"/" + name] == name


def test_all_names_of_a_file_are_linked(world: World) -> None:
    world.write("a", b"x" * 100)
    (world.source / "b").hardlink_to(world.source / "a")
    world.write("c", b"x" * 100)
    world.back_up()
    assert world.entry("a").link == world.entry("b").link != b""
    assert world.entry("c").link == b""
    world.write("d", b"new: the folder is looked through again")
    world.back_up(number=2)
    assert world.entry("a", 2).link == world.entry("b", 2).link != b""


def test_holes_are_kept_as_holes(world: World) -> None:
    with (world.source / "sparse").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(10 << 20)
        file.write(b"data" * 1024)
    result = world.back_up()
    entry = world.entry("sparse")
    if entry.extents is None:
        pytest.skip("the file system of the tests has no holes")
    assert entry.size_bytes == 64 << 20
    assert result.statistics.new_bytes < 1 << 20


def test_paths_longer_than_the_system_allows_are_kept(world: World) -> None:
    name = b"d" * 200
    fd = os.open(world.source, os.O_RDONLY)
    for _ in range(100):
        os.mkdir(name, dir_fd=fd)
        fd, above = os.open(name, os.O_RDONLY, dir_fd=fd), fd
        os.close(above)
    leaf = os.open(b"leaf", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.write(leaf, b"deep")
    os.close(leaf)
    os.close(fd)
    result = world.back_up()
    path = os.fsencode(world.source) + (b"/" + name) * 100 + b"/leaf"
    assert len(path) > 20_000
    assert world.tree().contents[path] == b"deep"
    assert result.skipped == ()


def test_many_folders_above_and_beside_do_not_use_up_descriptors(world: World) -> None:
    path = world.source
    for depth in range(150):
        path = path / "d"
        world.write(f"{path.relative_to(world.source)}/file-{depth}", b"%d" % depth)
        (path / "z-later").mkdir()
        (path / "z-later/f").write_bytes(b"l%d" % depth)
    before = len(list(Path("/proc/self/fd").iterdir()))
    world.back_up()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    contents = world.tree().contents
    assert contents[os.fsencode(path / "z-later/f")] == b"l149"
    assert len(contents) == 300


def test_what_has_no_content_is_named_with_a_reason(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(world.source / "s"))
    result = world.back_up()
    path = os.fsencode(world.source / "s")
    assert [(s.path, s.reason) for s in result.skipped] == [
        (path, "a socket has no content to back up")
    ]
    assert path not in world.tree().entries
    assert world.tree().root.skipped == list(result.skipped)


def test_what_may_not_be_read_is_named_and_the_rest_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("denied", b"secret")
    world.write("fine", b"fine")
    real = reader.open_file

    def deny(name: bytes, *, parent_fd: int) -> int:
        if name == b"denied":
            raise PermissionError(13, "denied")
        return real(name, parent_fd=parent_fd)

    with monkeypatch.context() as patched:
        patched.setattr(reader, "open_file", deny)
        result = world.back_up()
    assert [(s.path, s.reason) for s in result.skipped] == [
        (os.fsencode(world.source / "denied"), "permission denied")
    ]
    assert list(world.tree().contents.values()) == [b"fine"]
    assert world.back_up(number=2).skipped == ()
    assert world.content("denied", 2) == b"secret", "it is tried again in every run"


def test_a_file_that_vanishes_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("small", "large"):
        world.write(name, b"x" * (5 << 20 if name == "large" else 10))
    real = Walk._begin_entries

    def vanish(walk: Walk, folder: object, old: object) -> None:
        for path in world.source.iterdir():
            path.unlink()
        real(walk, folder, old)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(Walk, "_begin_entries", vanish)
    result = world.back_up()
    assert sorted((s.path.rpartition(b"/")[2], s.reason) for s in result.skipped) == [
        (b"large", "vanished while the backup ran"),
        (b"small", "vanished while the backup ran"),
    ]


@pytest.mark.parametrize("size", [10, 5 << 20])
def test_a_file_that_changes_while_it_is_read_is_flagged_and_read_again_next_time(
    world: World, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = world.write("f", b"a" * size)
    readings = 0

    def change(_fd: int) -> tuple[()]:
        nonlocal readings
        readings += 1
        with path.open("ab") as file:
            file.write(b"b")
        return ()

    with monkeypatch.context() as patched:
        patched.setattr(reader, "read_xattrs", change)
        patched.setattr(backup_large, "read_xattrs", change)
        patched.setattr("overland.agent.backup.large.os.fstat", _fstat_after(change, os.fstat))
        result = world.back_up()
    assert result.changed == (os.fsencode(path),)
    assert result.statistics.changed_while_read == 1
    entry = world.entry("f")
    assert entry.changed
    assert len(world.content("f")) == entry.size_bytes
    assert world.content("f") == path.read_bytes()[: entry.size_bytes]
    world.back_up(number=2)
    assert not world.entry("f", 2).changed
    assert world.content("f", 2) == path.read_bytes()


def _blind(state: os.stat_result) -> bytes:
    """A fingerprint that a change keeps, as where somebody sets the clock back to forge a ctime."""
    return state.st_size.to_bytes(FINGERPRINT_BYTES, "little")


@pytest.mark.parametrize("size", [10, 5 << 20])
def test_reading_all_catches_a_change_that_no_size_and_no_time_shows(
    world: World, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = world.write("f", b"a" * size)
    monkeypatch.setattr("overland.agent.backup.looks.fingerprint", _blind)
    monkeypatch.setattr("overland.agent.backup.folders.fingerprint", _blind)
    world.back_up()
    path.write_bytes(b"b" * size)
    world.back_up(number=2)
    assert world.content("f", 2) == b"a" * size, "the hint was believed"
    world.back_up(number=3, reads_all=True)
    assert world.content("f", 3) == b"b" * size
    world.back_up(number=4)
    assert world.content("f", 4) == b"b" * size, "what was read is what is known from now on"


@pytest.mark.parametrize("damage", ["missing", "damaged", "stale"])
def test_a_bad_change_cache_costs_time_and_no_truth(world: World, damage: str) -> None:
    world.write("a/f", b"first")
    world.write("b/g", b"same")
    world.back_up()
    (name,) = [info.name for info in world.state.names("changes/")]
    old = world.state.read(name)
    world.write("a/f", b"other")
    world.back_up(number=2)
    world.write("a/f", b"third")
    match damage:
        case "missing":
            world.state.delete(name)
        case "damaged":
            data = bytearray(world.state.read(name))
            data[len(data) // 2] ^= 1
            world.state.write(name, data)
        case _:
            world.state.write(name, old)
    world.back_up(number=3)
    assert world.content("a/f", 3) == b"third"
    assert world.content("b/g", 3) == b"same"


def _fstat_after(
    change: Callable[[int], object], fstat: Callable[[int], os.stat_result]
) -> Callable[[int], os.stat_result]:
    """Make every look at a large file follow a change; of folders it tells the truth."""

    def look(fd: int) -> os.stat_result:
        state = fstat(fd)
        if state.st_size > 4 << 20:
            change(fd)
            return fstat(fd)
        return state

    return look


def test_a_small_file_that_outgrew_its_buffer_is_read_in_pieces(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world.write("f", b"a")
    real = reader.open_file

    def grow(name: bytes, *, parent_fd: int) -> int:
        path.write_bytes(os.urandom(6 << 20))
        return real(name, parent_fd=parent_fd)

    monkeypatch.setattr(reader, "open_file", grow)
    monkeypatch.setattr(reader, "is_same", lambda _before, _after: False)
    result = world.back_up()
    assert world.content("f") == path.read_bytes()
    assert result.changed == ()


def test_an_unchanged_source_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        world.write(f"{number % 5}/{number}", os.urandom(number * 200))
    world.back_up()
    monkeypatch.setattr(reader, "open_file", _never)
    result = world.back_up(number=2)
    assert result.statistics.new_chunks == 0
    assert [found.name[:7] for found in result.objects] == ["points/"]
    assert result.statistics.files == 50
    assert result.statistics.source_bytes == sum(number * 200 for number in range(50))
    assert world.tree(2).contents == world.tree(1).contents


def test_only_what_changed_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        world.write(f"{number % 5}/{number}", b"old %d" % number)
    world.back_up()
    world.write("3/13", b"new content")
    (world.source / "4/14").unlink()
    world.write("0/new", b"new file")
    opened: list[bytes] = []
    real = reader.open_file

    def watch(name: bytes, *, parent_fd: int) -> int:
        opened.append(name)
        return real(name, parent_fd=parent_fd)

    monkeypatch.setattr(reader, "open_file", watch)
    world.back_up(number=2)
    assert sorted(opened) == [b"13", b"new"]
    contents = world.tree(2).contents
    assert contents[os.fsencode(world.source / "3/13")] == b"new content"
    assert os.fsencode(world.source / "4/14") not in contents
    assert len(contents) == 20
    assert len(world.tree(1).contents) == 20, "the older point is what it was"


def test_metadata_alone_changes_without_reading(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("a/f", b"x")
    world.write("b/f", b"y")
    world.back_up()
    (world.source / "a").chmod(0o700)
    monkeypatch.setattr(reader, "open_file", _never)
    world.back_up(number=2)
    assert world.entry("a", 2).mode == 0o700
    assert world.content("a/f", 2) == b"x"


def test_a_file_as_young_as_the_scan_is_read_again(world: World) -> None:
    """The racy-clean problem: the second change is within the same tick, with the same size."""
    path = world.write("f", b"one")
    times = path.stat()

    def go(number: int) -> None:
        back_up(
            world.plan(number=number),
            repository=make_repository(world.state),
            out=world.out,
            clock=FixedClock(ahead=timedelta(0)),
            progress=NullProgress(),
            stored=[world.out],
        )

    go(1)
    path.write_bytes(b"two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    go(2)
    assert world.content("f", 2) == b"two"


def test_lost_packs_are_stored_again_though_nothing_changed(world: World) -> None:
    for number in range(30):
        world.write(f"{number % 3}/{number}", os.urandom(3000))
    first = world.back_up()
    packs = [found.name for found in first.objects if found.name.startswith("packs/")]
    repository = make_repository(world.state)
    assert repository.forget_packs("test", [PackId(name[9:-5]) for name in packs]) == len(packs)
    for name in packs:
        world.out.delete(name)
    result = world.back_up(number=2)
    assert result.statistics.new_chunks > 0
    assert len(world.tree(2).contents) == 30
    for path, content in world.tree(2).contents.items():
        assert Path(os.fsdecode(path)).read_bytes() == content


@pytest.mark.requirement("R125")
def test_lost_hints_cost_reading_and_store_nothing_twice(world: World) -> None:
    for number in range(30):
        world.write(f"{number % 3}/{number}", os.urandom(3000))
    world.back_up()
    world.state = SimDisk()
    result = world.back_up(number=2)
    assert result.statistics.new_chunks == 0
    assert world.tree(2).contents == world.tree(1).contents


def test_hints_of_another_chain_are_not_relied_upon(world: World) -> None:
    world.write("f", os.urandom(3000))
    world.back_up()
    other = SimDisk()
    full = make_plan(world.source, number=5, kind="full", base=None)
    run(full, repository=make_repository(world.state), out=other)
    tree = Tree(other, make_repository(SimDisk()), point_id(5))
    assert tree.contents[os.fsencode(world.source / "f")] == (world.source / "f").read_bytes()


def test_the_same_content_is_stored_once(world: World) -> None:
    for number in range(20):
        world.write(f"copy-{number}", b"the same" * 100)
    result = world.back_up(workers=2)
    assert result.statistics.new_bytes < 20_000


def test_rules_decide_what_is_kept(world: World) -> None:
    for path in ("keep/a.doc", "keep/a.tmp", "cache/a.doc", "other/b.txt"):
        world.write(path, b"x")
    world.back_up(include=("*.doc",), exclude=("cache/",))
    kept = {path.removeprefix(os.fsencode(world.source)) for path in world.tree().entries}
    assert kept == {b"", b"/keep", b"/keep/a.doc", b"/other"}


def test_changed_rules_count_at_once(world: World) -> None:
    world.write("a.doc", b"x")
    world.write("a.tmp", b"y")
    world.back_up()
    world.back_up(number=2, exclude=("*.tmp",))
    assert list(world.tree(2).contents.values()) == [b"x"]


def test_our_own_folders_are_never_entered(world: World) -> None:
    world.write("data", b"x")
    world.write("staging/seed/pack", b"y")
    result = world.back_up(never_enter=(world.source / "staging", world.source / "none"))
    assert list(world.tree().contents.values()) == [b"x"]
    assert [(s.path, s.reason) for s in result.skipped] == [
        (os.fsencode(world.source / "staging"), "Overland's own folder")
    ]


def test_a_root_that_cannot_be_read_is_refused_before_anything_is_written(world: World) -> None:
    pipe = world.source / "pipe"
    os.mkfifo(pipe)
    for root in (pipe, world.source / "missing"):
        with pytest.raises(RootUnreadable) as refused:
            run(make_plan(root), repository=make_repository(world.state), out=world.out)
        assert refused.value.path == str(root)
    assert world.out.steps == world.state.steps == 0


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, _bind], ids=["pipe", "folder", "socket"])
@pytest.mark.parametrize("size", [10, 1 << 20, 20 << 20])
def test_a_file_that_something_else_has_replaced_is_named_as_such(
    world: World, monkeypatch: pytest.MonkeyPatch, size: int, make: Callable[[Path], None]
) -> None:
    file = world.source / "file"
    world.write("file", bytes(size))
    world.write("kept", b"x")
    opened = reader.open_file

    def replaced(name: bytes, **rest: int) -> int:
        if name == b"file" and file.is_file():
            file.unlink()
            make(file)
        return opened(name, **rest)

    for module in (reader, backup_large):
        monkeypatch.setattr(module, "open_file", replaced)
    result = world.back_up()
    reason = "replaced by something that is not a file"
    assert [(s.path, s.reason) for s in result.skipped] == [(os.fsencode(file), reason)]
    assert list(world.tree().contents.values()) == [b"x"]


def test_a_pattern_that_cannot_be_understood_is_refused_before_anything_is_written(
    world: World,
) -> None:
    with pytest.raises(PatternInvalid):
        world.back_up(exclude=("a[b",))
    assert world.out.steps == world.state.steps == 0


def test_several_roots_come_in_the_order_of_the_plan(world: World) -> None:
    world.write("b/f", b"1")
    world.write("a/f", b"2")
    roots = [world.source / "b", world.source / "a"]
    run(make_plan(roots), repository=make_repository(world.state), out=world.out)
    assert [root.path for root in world.tree().root.roots] == [os.fsencode(root) for root in roots]
    assert len(world.tree().contents) == 2


@pytest.mark.requirement("R68", "R71")
def test_a_full_staging_location_keeps_finished_packs_for_the_next_run(world: World) -> None:
    for number in range(60):
        world.write(f"f{number:02d}", os.urandom(100_000))
    full = FaultyFiles(world.out, full_after_bytes=4_000_000)
    plan = world.plan(pack_bytes=1 << 20)
    with pytest.raises(OutOfSpace):
        run(plan, repository=make_repository(world.state), out=full)
    kept = {info.name for info in world.out.names()}
    assert kept
    assert all(name.startswith("packs/") for name in kept)
    result = world.back_up(pack_bytes=1 << 20)
    assert kept <= {found.name for found in result.objects}
    assert result.statistics.new_bytes < 60 * 100_000 - len(kept) * 900_000
    assert len(world.tree().contents) == 60


def test_packs_that_are_sent_grow_with_what_was_sent_before(world: World) -> None:
    for number in range(120):
        world.write(f"f{number:03d}", os.urandom(1 << 20))
    plan = world.plan(pack_bytes=16 << 20, first_pack_bytes=4 << 20, workers=1)
    result = run(plan, repository=make_repository(world.state), out=world.out)
    lengths = [found.size_bytes for found in result.objects if found.name.startswith("packs/")]
    *grown, _last, _nodes = lengths
    sent = 0
    for length in grown:
        full = min(16 << 20, max(4 << 20, sent // 4))
        assert full - (2 << 20) < length <= full + (64 << 10)
        sent += length
    assert grown[0] < 5 << 20 < 14 << 20 < grown[-1]
    assert len(world.tree().contents) == 120


def test_a_seeds_objects_are_named_as_their_bytes_and_the_point_comes_last(world: World) -> None:
    world.write("f", os.urandom(1000))
    result = world.back_up()
    kinds = [found.name.partition("/")[0] for found in result.objects]
    assert kinds == sorted(kinds, key=("packs", "index", "points").index)
    assert kinds[-1] == "points"
    assert all(found.size_bytes % 512 == 0 for found in result.objects)
    assert all(
        hashlib.sha256(world.out.read(found.name)).hexdigest() == found.sha256
        for found in result.objects
    )
    named = {ref.name for ref in world.tree().parsed.public.objects}
    assert named == {found.name for found in result.objects[:-1]}


def test_an_incremental_needs_only_its_chain(world: World) -> None:
    for number in range(1, 4):
        world.write(f"f{number}", os.urandom(5000))
        world.back_up(number=number)
    needed: set[str] = set()
    for number in range(1, 4):
        needed |= {ref.name for ref in world.tree(number).parsed.public.objects}
    for info in list(world.out.names("packs/")):
        assert info.name in needed
    assert len(world.tree(3).contents) == 3


def test_a_long_list_of_chunks_becomes_chunks_itself(world: World) -> None:
    world.write("f", os.urandom(12 << 20))
    world.back_up()
    assert world.entry("f").levels == 1
    assert world.content("f") == (world.source / "f").read_bytes()
    world.state = SimDisk()
    assert world.back_up(number=2).statistics.new_chunks == 0


def _never(*_args: object, **_more: object) -> int:
    raise AssertionError("nothing is read")


@pytest.mark.parametrize("seconds", [13_569_465_600, -11_676_096_000])
def test_a_time_that_the_format_cannot_hold_becomes_the_nearest_one(
    world: World, seconds: int
) -> None:
    far = world.write("file", b"from 2400, or from 1600")
    os.utime(far, (seconds, seconds))
    kept = far.stat().st_mtime_ns  # some file systems move it nearer themselves
    world.back_up()
    entry = world.entry("file")
    assert entry.mtime_ns == min(max(kept, -(2**63)), 2**63 - 1)
    assert world.content("file") == far.read_bytes()


def test_a_run_that_fails_leaves_no_file_open_and_none_behind(tmp_path: Path) -> None:
    def refuse(_: object) -> None:
        raise NotAuthorised("the grant is over")

    world = World(tmp_path)
    for number in range(40):
        world.write(f"f{number}", os.urandom(200_000))
    out = tmp_path / "out"
    out.mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(NotAuthorised):
            run(
                world.plan(pack_bytes=1 << 20, workers=2),
                repository=make_repository(SimDisk()),
                out=PosixFiles(out),
                on_published=refuse,
            )
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [path.name for path in out.iterdir()] == ["packs"]


def test_the_list_of_what_is_left_out_never_makes_a_point_too_long_to_be_read() -> None:
    counts = Counts()
    for _ in range(50):
        counts.skip(b"p" * 1_000_000, "permission denied")
    assert counts.skipped_count == 50
    assert 0 < sum(len(one.path) for one in counts.skipped) <= 16 << 20


def test_a_root_that_no_reader_would_take_is_not_written() -> None:
    now = datetime(2026, 7, 1, tzinfo=UTC)
    public = PointPublic(
        point_id=point_id(1),
        repository_id=REPOSITORY,
        created_at=now,
        kind="full",
        seed_id=None,
        base=None,
        salt="0" * 64,
        objects=[],
    )
    root = PointRoot(
        roots=[],
        statistics=Statistics(),
        skipped=[],
        host="host",
        policy="test",
        include=["x" * 5000],
        exclude=[],
        started_at=now,
        ended_at=now,
    )
    with pytest.raises(PointCorrupt):
        make_repository(SimDisk()).seal_point(public, root)
