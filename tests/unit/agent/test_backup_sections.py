"""A folder with very many entries is walked in sections, which nobody can tell from the point."""

import os
import tracemalloc
from pathlib import Path

import pytest
from tests.support.backups import Tree, make_plan, make_repository, point_id, run
from tests.support.simdisk import SimDisk

from overland.adapters.posix import PosixFiles
from overland.agent.backup import looks
from overland.agent.backup import sections as backup_sections
from overland.agent.backup.run import BackupResult
from overland.agent.backup.sections import Sections
from overland.format.tree import Entry


class World:
    """A folder, and all its backups."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.out, self.state = SimDisk(), SimDisk()
        self.count = 0

    def back_up(self) -> BackupResult:
        self.count += 1
        plan = make_plan(self.source, number=self.count)
        return run(plan, repository=make_repository(self.state), out=self.out, stored=[self.out])

    def tree(self) -> Tree:
        return Tree(self.out, make_repository(SimDisk()), point_id(self.count))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Files, links, folders and hard links, whose order by name mixes them."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(300):
        _write(folder, number)
    (folder / "0042-link").symlink_to("nowhere")
    (folder / "0077-folder").mkdir()
    (folder / "0077-folder" / "inside").write_bytes(b"inside")
    os.link(folder / "0001", folder / "0250-too")
    return folder


def _write(folder: Path, number: int) -> None:
    (folder / f"{number:04}").write_bytes(b"%d" % number * (number % 50))


def _small_sections(monkeypatch: pytest.MonkeyPatch, *, many: int = 20) -> None:
    monkeypatch.setattr(looks, "MANY_ENTRIES", many)
    monkeypatch.setattr(backup_sections, "_MEAN_ENTRIES", 8)
    monkeypatch.setattr(backup_sections, "_MAX_ENTRIES", 24)


def _entries(world: World) -> dict[bytes, Entry]:
    return dict(world.tree().entries)


def test_sections_make_the_tree_that_no_sections_make(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = World(source)
    whole.back_up()
    _small_sections(monkeypatch)
    world = World(source)
    found = world.back_up().statistics
    assert _entries(world) == _entries(whole), "content of the folder's node included"
    assert (found.files, found.folders, found.others) == (302, 2, 1)


def test_an_unchanged_folder_of_sections_writes_nothing(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small_sections(monkeypatch)
    world = World(source)
    first = world.back_up().statistics
    entries = _entries(world)
    again = world.back_up().statistics
    assert (again.chunks, again.new_chunks) == (0, 0)
    assert (again.files, again.source_bytes) == (first.files, first.source_bytes)
    assert _entries(world) == entries


@pytest.mark.parametrize("change", ["written", "removed", "added", "below", "many removed"])
def test_what_changes_in_a_folder_of_sections_is_in_the_next_point(
    source: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    _small_sections(monkeypatch)
    world = World(source)
    world.back_up()
    if change == "written":
        (source / "0133").write_bytes(b"other")
    elif change == "removed":
        (source / "0133").unlink()
    elif change == "added":
        (source / "0133-more").write_bytes(b"more")
    elif change == "below":
        (source / "0077-folder" / "inside").write_bytes(b"changed")
    else:
        for number in range(295):
            if number not in {1, 250}:
                (source / f"{number:04}").unlink()
    found = world.back_up().statistics
    monkeypatch.undo()
    fresh = World(source)
    fresh.back_up()
    assert _entries(world) == _entries(fresh)
    # Sections that a border moved in are read again; all others are known.
    assert found.chunks < 100


def test_a_folder_that_grows_into_sections_and_out_of_them_is_backed_up(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(source)
    world.back_up()
    entries = _entries(world)
    for many in (20, 10_000, 20):
        _small_sections(monkeypatch, many=many)
        world.back_up()
        assert _entries(world) == entries


def test_borders_move_only_where_a_name_comes_or_goes() -> None:
    names = [b"%06d" % number for number in range(40_000)]
    before = _taken(names)
    after = _taken([name for name in names if name not in {b"000100", b"020000", b"039999"}])
    assert len(before) > 10
    assert sum(section not in before for section in after) <= 6, "two for each name that went"
    assert sum(len(taken) for _, taken in before) == len(names)


def _taken(names: list[bytes]) -> list[tuple[bytes, tuple[bytes, ...]]]:
    sections = Sections(list(names), key=b"k" * 16, former_key=b"k" * 16, scratch=None)
    taken = []
    while sections.have_more:
        key, part = sections.take()
        taken.append((key, tuple(part)))
    return taken


def test_a_very_large_folder_takes_little_more_memory_than_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "MANY_ENTRIES", 500)
    monkeypatch.setattr(backup_sections, "_MEAN_ENTRIES", 128)
    monkeypatch.setattr(backup_sections, "_MAX_ENTRIES", 512)
    count = 10_000
    one, many = (_peaks(tmp_path / str(size), count, per_folder=size) for size in (count, 100))
    for kind in ("first", "unchanged"):
        each = (one[kind] - many[kind]) / count
        assert each < 150, f"{kind}: {each:.0f} bytes an entry more than in small folders"


def _peaks(folder: Path, count: int, *, per_folder: int) -> dict[str, int]:
    """Return the most memory that Python had in a first and an unchanged run."""
    source, state, out = (folder / name for name in ("source", "state", "out"))
    for made in (source, state, out):
        made.mkdir(parents=True)
    for number in range(count):
        file = source / f"{number // per_folder:08}" / f"{number:08}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"%d" % number)
    files = PosixFiles(out)
    found: dict[str, int] = {}
    for kind in ("first", "unchanged"):
        plan = make_plan(source, number=1 + len(found))
        repository = make_repository(PosixFiles(state), state_folder=state)
        tracemalloc.start()
        run(plan, repository=repository, out=files, stored=[files])
        found[kind] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return found
