"""A look ahead saves time and changes nothing: not the point, nor what the next run knows."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.backups import Tree, make_plan, make_repository, point_id, run
from tests.support.random_trees import Node, build_tree, mutate, trees
from tests.support.simdisk import SimDisk
from tests.support.torture import build_torture, fast_folder

from overland.agent.backup import folders, lookahead, looks, scout, walk
from overland.agent.backup.folders import Folder
from overland.agent.backup.lookahead import LookAhead
from overland.agent.backup.plan import BackupResult
from overland.agent.backup.sights import Sight
from overland.agent.processes import Forked, fork, processors
from overland.source.changes import (
    UNTRUSTED,
    ChangeCache,
    ChangeCacheWriter,
    FolderBlock,
    as_mounted,
    fingerprint,
    folder_key,
    split_prints,
)
from overland.source.marks import Marks
from overland.source.scan import Listing, Stat, State, look_at, open_folder, state_of

Roots = Sequence[tuple[bytes, bytes]]


class Ahead:
    """What the runs of a test were told from ahead; the process is let finish before they walk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.found = self.missing = 0
        self.is_on = self.is_patient = True
        take, start = LookAhead.take, LookAhead.start

        def counted(ahead: LookAhead, key: bytes) -> Sight | None:
            sight = take(ahead, key)
            self.found += sight is not None
            self.missing += sight is None
            return sight

        def patient(ahead: LookAhead, roots: Roots, cache: ChangeCache) -> None:
            start(ahead, roots, cache)
            if self.is_patient and ahead._process is not None:
                os.set_blocking(ahead._process.fd, True)
                ahead._receive()

        patch.setattr(LookAhead, "take", counted)
        patch.setattr(LookAhead, "start", patient)
        patch.setattr(looks, "WORTH_BYTES", 1)
        patch.setattr(lookahead, "processors", lambda: 2)
        patch.setattr(lookahead, "can_fork", lambda: self.is_on)

    def reports(self, body: Callable[[Roots, ChangeCache, int], None]) -> None:
        """Have the process do something else."""
        self.patch.setattr(lookahead, "report", body)


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ahead]:
    yield Ahead(monkeypatch)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # none is left


class Twice:
    """A source that is backed up with a look ahead, and without, each with its own hints."""

    def __init__(self, source: Path, ahead: Ahead) -> None:
        self.source, self._ahead = source, ahead
        self.fingerprint: Callable[[os.stat_result], bytes] = fingerprint
        self._disks = {True: (SimDisk(), SimDisk()), False: (SimDisk(), SimDisk())}
        self._number = 0

    def back_up(self, **changes: object) -> BackupResult:
        """Make a point with each, and compare; return what the run with the look ahead says."""
        self._number += 1
        results = {}
        for is_on, (out, state) in self._disks.items():
            self._ahead.is_on = is_on
            plan = make_plan(self.source, number=self._number, **changes)
            results[is_on] = run(plan, repository=make_repository(state), out=out, stored=[out])
        one, other = results[True], results[False]
        assert (one.skipped, one.statistics.files) == (other.skipped, other.statistics.files)
        assert one.statistics.source_bytes == other.statistics.source_bytes
        assert one.statistics.new_chunks == other.statistics.new_chunks
        tree, tree_without = self.tree(is_on=True), self.tree(is_on=False)
        assert tree.entries == tree_without.entries
        assert tree.contents == tree_without.contents
        known = self._known(is_on=True)
        assert known == self._known(is_on=False)
        if "elsewhere" not in changes:
            for folder, block in known.items():
                _is_true(folder, block, self.fingerprint)
        return one

    def tree(self, *, is_on: bool = True) -> Tree:
        return Tree(self._disks[is_on][0], make_repository(SimDisk()), point_id(self._number))

    def _known(self, *, is_on: bool) -> dict[bytes, FolderBlock | None]:
        """What the change cache knows of every folder of the point."""
        cache = make_repository(self._disks[is_on][1]).changes("test")
        return {folder: cache.find(key) for folder, key in _keys(self.source).items()}


def _is_true(
    folder: bytes, block: FolderBlock | None, seen: Callable[[os.stat_result], bytes]
) -> None:
    """Check that what is known of a folder is what is there."""
    if block is None or not block.node or len(folder) > 3000:
        return  # longer paths than the system takes
    for name, mark in zip(block.names.split(b"\0"), split_prints(block.fingerprints), strict=False):
        state = os.lstat(folder + b"/" + name)
        is_here = state.st_dev == os.lstat(folder).st_dev
        assert mark in {seen(state) if is_here else as_mounted(seen(state)), UNTRUSTED}


def _keys(source: Path) -> dict[bytes, bytes]:
    keys = {os.fsencode(source): folder_key(b"", os.fsencode(source))}
    for folder, below, _ in os.walk(os.fsencode(source)):
        for name in below:
            keys[folder + b"/" + name] = folder_key(keys[folder], name)
    return keys


@pytest.fixture
def twice(tmp_path: Path, ahead: Ahead) -> Twice:
    (tmp_path / "source").mkdir()
    return Twice(tmp_path / "source", ahead)


def _write(twice: Twice, path: str, content: bytes = b"content") -> Path:
    file = twice.source / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


# -- the same point --------------------------------------------------------------------------


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    tree=trees(),
    seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=3),
    is_patient=st.booleans(),
)
def test_any_tree_after_any_change_is_the_same_point(
    ahead: Ahead, tree: dict[bytes, Node], seeds: list[int], *, is_patient: bool
) -> None:
    ahead.is_patient = is_patient
    with fast_folder() as folder:
        build_tree(folder / "source", tree)
        twice = Twice(folder / "source", ahead)
        twice.back_up()
        for seed in seeds:
            ahead.found = 0
            mutate(twice.source, seed)
            twice.back_up()
            assert ahead.found or not is_patient, "the source itself at least"
        twice.back_up()


def test_the_torture_tree_is_the_same_point(ahead: Ahead) -> None:
    with fast_folder() as folder:
        build_torture(folder / "source")
        twice = Twice(folder / "source", ahead)
        twice.back_up()
        twice.back_up()
        mutate(twice.source, 1)
        twice.back_up()
        assert ahead.found > 50


def test_rules_that_leave_folders_out_leave_out_their_reports(twice: Twice, ahead: Ahead) -> None:
    for number in range(6):
        _write(twice, f"{number}/below/a/f", b"%d" % number)
        _write(twice, f"{number}/small.tmp")
    twice.back_up()
    _write(twice, "5/below/a/new")
    for exclude in (("/1", "/3/below"), ("*.tmp",), ()):
        ahead.found = 0
        twice.back_up(exclude=exclude)
        assert ahead.found > 12


def test_marks_are_found_in_folders_that_were_looked_at_ahead(twice: Twice) -> None:

    _write(twice, "a/kept")
    _write(twice, "b/kept")
    twice.back_up()
    _write(twice, "b/.nobackup")
    result = twice.back_up(marks=Marks(names=frozenset({b".nobackup"})))
    assert twice.source.joinpath("b/kept").exists()
    assert os.fsencode(twice.source / "b/kept") not in twice.tree().entries
    assert result.statistics.files == 2


def test_a_link_that_came_or_went_is_seen_though_the_file_did_not_change(twice: Twice) -> None:
    one = _write(twice, "a/one")
    twice.back_up()
    (twice.source / "b").mkdir()
    (twice.source / "b/two").hardlink_to(one)
    twice.back_up()
    path = os.fsencode(one)
    assert twice.tree().entries[path].link
    (twice.source / "b/two").unlink()
    twice.back_up()
    assert not twice.tree().entries[path].link


def test_a_tree_deeper_than_descriptors_are_kept_is_the_same_point(
    twice: Twice, ahead: Ahead
) -> None:
    deep = "/".join(["d"] * 90)
    _write(twice, f"{deep}/f")
    twice.back_up()
    _write(twice, f"{deep}/g")
    ahead.found = 0
    twice.back_up()
    assert 60 < ahead.found < 70


def test_a_folder_of_sections_is_left_to_the_walk(
    twice: Twice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "MANY_ENTRIES", 20)
    monkeypatch.setattr(scout, "MANY_ENTRIES", 20)
    for number in range(60):
        _write(twice, f"many/{number}/f")
    _write(twice, "few/f")
    twice.back_up()
    _write(twice, "many/30/g")
    _write(twice, "few/g")
    twice.back_up()
    for number in range(50):
        shutil.rmtree(twice.source / f"many/{number}")
    twice.back_up()
    for number in range(50):
        _write(twice, f"few/{number}/f")
    twice.back_up()


def test_what_cannot_be_backed_up_is_named_as_ever(twice: Twice) -> None:
    _write(twice, "a/f")
    twice.back_up()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.fspath(twice.source / "a/s"))
    result = twice.back_up()
    assert [one.path for one in result.skipped] == [os.fsencode(twice.source / "a/s")]


def test_a_cache_that_names_a_file_whose_entry_it_lost_costs_time_only(
    twice: Twice, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    (twice.source / "a/two").hardlink_to(_write(twice, "a/one"))
    _write(twice, "a/f")
    (twice.source / "a/gone").mkdir()
    twice.back_up()
    _write(twice, "a/g")
    monkeypatch.setattr(walk, "old_entries", lambda _block: {})
    ahead.found = 0
    result = twice.back_up()
    assert ahead.found
    assert result.statistics.files == 4


def test_a_time_that_no_message_holds_is_left_to_the_walk(
    twice: Twice, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far(found: os.stat_result) -> State:
        return msgspec.structs.replace(state_of(found), st_mtime_ns=2**64)

    (_write(twice, "a/f").parent / "inner").mkdir()
    twice.back_up()
    monkeypatch.setattr(scout, "state_of", far)
    ahead.found = 0
    twice.back_up()
    assert ahead.found == 1, "a folder without others in it"


def test_a_linked_file_in_a_folder_where_another_changed_stays_linked(twice: Twice) -> None:
    (twice.source / "two").hardlink_to(_write(twice, "one"))
    twice.back_up()
    _write(twice, "other")
    twice.back_up()
    assert twice.tree().entries[os.fsencode(twice.source / "one")].link


def test_a_new_name_is_seen_though_no_number_of_the_file_tells(
    twice: Twice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_ctime(state: Stat) -> bytes:
        return fingerprint(state)[:16] + bytes(8) + fingerprint(state)[24:]

    for module in (looks, folders, scout):
        monkeypatch.setattr(module, "fingerprint", without_ctime)
    twice.fingerprint = without_ctime
    old = _write(twice, "folder/old")
    twice.back_up()
    old.rename(old.with_name("new"))
    twice.back_up()
    assert os.fsencode(old.with_name("new")) in twice.tree().contents


def test_a_folder_with_an_entry_that_cannot_be_looked_at_is_left_to_the_walk(
    twice: Twice, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(names: list[bytes], *, fd: int) -> Listing:
        found = look_at(names, fd=fd)
        if b"bad" in names:
            return Listing(found.names[1:], found.stats[1:], [(b"bad", "permission denied")])
        return found

    _write(twice, "a/bad")
    _write(twice, "a/f")
    twice.back_up()
    monkeypatch.setattr(scout, "look_at", failing)
    ahead.found = 0
    twice.back_up()
    assert ahead.found == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_folder_in_which_another_file_system_is_mounted_is_left_to_the_walk(
    twice: Twice, ahead: Ahead
) -> None:
    mounted = _write(twice, "a/mounted/hidden").parent
    twice.back_up()
    subprocess.run(["mount", "-t", "tmpfs", "none", mounted], check=True)
    try:
        _write(twice, "a/mounted/shown")
        ahead.found = 0
        twice.back_up()
        assert ahead.found == 1
        twice.back_up(one_file_system=True)
        assert os.fsencode(mounted / "shown") not in twice.tree().entries
    finally:
        subprocess.run(["umount", mounted], check=True)


def test_a_folder_that_is_read_elsewhere_is_not_looked_at_where_it_is(
    twice: Twice, tmp_path: Path
) -> None:
    """As where another file system, with a snapshot of its own, is mounted in the source."""
    elsewhere, path = tmp_path / "elsewhere", os.fsencode(twice.source / "a")
    elsewhere.mkdir()
    for number in (1, 2):
        (elsewhere / f"{number}").touch()
        _write(twice, f"a/here {number}")
        twice.back_up(elsewhere=lambda at, _: os.fsencode(elsewhere) if at == path else None)
    assert path + b"/2" in twice.tree().entries
    assert path + b"/here 1" not in twice.tree().entries


# -- while the source changes ----------------------------------------------------------------


def test_a_folder_exchanged_after_the_look_is_not_read_for_the_one_that_was_seen(
    twice: Twice, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(twice, "a/f")
    _write(twice, "b/f", b"old")
    twice.back_up()
    file = _write(twice, "b/f", b"new content")
    _write(twice, "b/g", b"of another folder").parent.rename(twice.source.parent / "other")
    _write(twice, "b/f", b"new content")
    real = looks.Looks.enter

    def exchange(self: looks.Looks, folder: Folder) -> object:
        if folder.name == b"b":
            assert folder.sight is not None
            shutil.rmtree(file.parent)
            (twice.source.parent / "other").rename(file.parent)
        return real(self, folder)

    monkeypatch.setattr(looks.Looks, "enter", exchange)
    out, state = twice._disks[True]
    ahead.is_on = True
    plan = make_plan(twice.source, number=2)
    result = run(plan, repository=make_repository(state), out=out, stored=[out])

    reason = "vanished while the backup ran"
    assert [(one.path, one.reason) for one in result.skipped] == [(os.fsencode(file), reason)]
    tree = Tree(out, make_repository(SimDisk()), point_id(2))
    assert set(tree.contents) == {os.fsencode(twice.source / "a/f")}


def test_a_folder_that_became_another_before_it_was_seen_is_looked_at_by_the_walk(
    twice: Twice, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(twice, "a/f")
    twice.back_up()

    def elsewhere(name: bytes, *, parent_fd: int) -> int:
        """In the process alone: a folder that is another one when it is opened."""
        (twice.source.parent / "a").mkdir()
        return open_folder(os.fsencode(twice.source.parent / name.decode()), parent_fd=parent_fd)

    monkeypatch.setattr(scout, "open_folder", elsewhere)
    ahead.found = 0
    twice.back_up()
    assert ahead.found == 2, "its report was there"
    assert (twice.source.parent / "a").exists()


# -- a process that fails --------------------------------------------------------------------


def _cut(reports: int, then: bytes) -> Callable[[Roots, ChangeCache, int], None]:
    """A process that ends after so many reports, with these bytes behind them."""

    def body(roots: Roots, cache: ChangeCache, fd: int) -> None:
        for key, sight in islice(scout._Scout(cache).sights(roots), reports):
            encoded = scout._encoded(sight)
            scout._write(fd, scout.HEAD.pack(len(encoded), key) + encoded)
        scout._write(fd, then)

    return body


@pytest.mark.parametrize(
    "then",
    [b"", b"\x01", scout.HEAD.pack(9, b"k" * 16) + b"\x01", b"\xff" * 100, bytes(20)],
    ids=["end", "half a head", "half a report", "endless", "empty"],
)
@pytest.mark.parametrize("reports", [0, 1, 4])
def test_a_process_that_ends_early_leaves_the_rest_to_the_walk(
    twice: Twice, ahead: Ahead, reports: int, then: bytes
) -> None:
    for number in range(5):
        _write(twice, f"{number}/a/f", b"%d" % number)
    twice.back_up()
    _write(twice, "0/a/new")
    _write(twice, "4/a/new")
    ahead.reports(_cut(reports, then))
    ahead.found = 0
    twice.back_up()
    assert ahead.found == reports


def test_a_report_that_makes_no_sense_counts_as_none(twice: Twice, ahead: Ahead) -> None:
    def body(roots: Roots, _cache: ChangeCache, fd: int) -> None:
        scout._write(fd, scout.HEAD.pack(4, folder_key(b"", roots[0][0])) + b"\xc1\xc1\xc1\xc1")

    _write(twice, "b/f")
    twice.back_up()
    ahead.reports(body)
    ahead.found = 0
    twice.back_up()
    assert (ahead.found, ahead.missing > 0) == (0, True)


def test_what_was_seen_long_ago_is_looked_at_again(
    twice: Twice, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(0, 9000, 250))
    for name in "abc":
        _write(twice, f"{name}/f")
    twice.back_up()
    monkeypatch.setattr(lookahead, "_now_s", lambda: next(times))
    ahead.found = 0
    twice.back_up()
    assert ahead.found == 1, "the first one, 250 seconds later"


def test_reports_in_memory_have_a_bound(
    twice: Twice, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "_MOST_BYTES", 4000)
    monkeypatch.setattr(lookahead, "_READ_BYTES", 1000)
    sizes: list[int] = []
    keep = LookAhead._keep

    def kept(ahead: LookAhead, data: bytes, now_s: float) -> None:
        keep(ahead, data, now_s)
        sizes.append(sum(len(report) for _, report in ahead._reports.values()))

    for number in range(18 * 18):
        _write(twice, f"{number // 18}/{number % 18}/f")
    twice.back_up()
    monkeypatch.setattr(LookAhead, "_keep", kept)
    ahead.found = 0
    twice.back_up()
    assert 4000 <= max(sizes) < 7000, "one read more, and a report that came in two"
    assert 20 < ahead.found < 200


def test_a_process_that_was_killed_leaves_the_rest_to_the_walk(twice: Twice, ahead: Ahead) -> None:
    _write(twice, "a/f")
    twice.back_up()
    ahead.reports(lambda _roots, _cache, _fd: os.kill(os.getpid(), signal.SIGKILL))
    twice.back_up()


def test_a_process_that_raises_says_nothing(
    twice: Twice, ahead: Ahead, capfd: pytest.CaptureFixture[str]
) -> None:
    def body(_roots: Roots, _cache: ChangeCache, _fd: int) -> None:
        raise MemoryError

    _write(twice, "a/f")
    twice.back_up()
    capfd.readouterr()
    ahead.reports(body)
    twice.back_up()
    assert "MemoryError" not in capfd.readouterr().err


def test_without_a_process_the_walk_looks_itself(
    twice: Twice, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise BlockingIOError

    _write(twice, "a/f")
    twice.back_up()
    monkeypatch.setattr(os, "fork", fork)
    ahead.found = 0
    twice.back_up()
    assert not ahead.found


def test_a_run_that_fails_ends_the_process(
    twice: Twice, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    def body(_roots: Roots, _cache: ChangeCache, fd: int) -> None:
        while True:
            scout._write(fd, b"\0" * 4096)

    def fail(_self: object, _folder: Folder) -> None:
        raise KeyboardInterrupt

    _write(twice, "a/f")
    twice.back_up()
    ahead.is_patient = False
    ahead.reports(body)
    monkeypatch.setattr(looks.Looks, "enter", fail)
    with pytest.raises(KeyboardInterrupt):
        twice.back_up()


def test_a_process_is_ended_when_its_start_is_interrupted(
    twice: Twice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(body: Callable[[int], None], *, note: Callable[[Forked], None]) -> bool:
        fork(body, note=note)
        raise KeyboardInterrupt

    _write(twice, "a/f")
    twice.back_up()
    monkeypatch.setattr("overland.agent.backup.lookahead.fork", interrupted)
    with pytest.raises(KeyboardInterrupt):
        twice.back_up()


# -- when it is worth it ---------------------------------------------------------------------


@pytest.mark.parametrize("why", ["first copy", "all is read", "no hints", "one processor"])
def test_nobody_looks_ahead_where_it_helps_nothing(
    twice: Twice, ahead: Ahead, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    _write(twice, "a/f")
    if why != "first copy":
        twice.back_up()
    if why == "one processor":
        monkeypatch.setattr(lookahead, "processors", lambda: 1)
    if why == "no hints":
        for _, state in twice._disks.values():
            for info in list(state.names("changes/")):
                state.delete(info.name)
    ahead.found = ahead.missing = 0
    twice.back_up(reads_all=why == "all is read")
    assert (ahead.found, ahead.missing) == (0, 0)


_PROGRAM = """
import sys
from pathlib import Path
from tests.support.backups import make_plan, make_repository, run
from overland.adapters.posix import PosixFiles
from overland.agent.backup.lookahead import LookAhead

taken = []
take = LookAhead.take
LookAhead.take = lambda self, key: taken.append(take(self, key)) or taken[-1]
folder = Path(sys.argv[1])
out, state = PosixFiles(folder / "out"), PosixFiles(folder / "state")
for number in range(1, 3):
    repository = make_repository(state)
    run(make_plan(folder / "source", number=number), repository=repository, out=out, stored=[out])
print(len(taken))
"""


@pytest.mark.skipif(processors() < 2, reason="needs two processors")
def test_a_run_of_the_program_looks_ahead_without_being_told(tmp_path: Path) -> None:
    for name in ("out", "state"):
        (tmp_path / name).mkdir()
    for folder in range(60):
        (tmp_path / f"source/{folder}").mkdir(parents=True)
        for number in range(250):
            (tmp_path / f"source/{folder}/{number}").touch()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, tmp_path], check=True, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == "61", "asked for each folder"


def test_a_cache_without_blocks_is_no_cache() -> None:
    state = SimDisk()
    writer = ChangeCacheWriter(state, old=None)
    _, new = writer.end(epoch=b"", new_epoch=b"e" * 16)
    assert new is not None
    new.publish("changes/x")
    cache = ChangeCache(state, "changes/x")
    assert list(scout._Scout(cache).sights([(b"/", b"/")])) == []
