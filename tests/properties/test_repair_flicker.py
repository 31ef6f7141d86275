"""A place that flickers while repair works: nothing is silently absent afterwards.

Repair reads everything more than once: to plan, to save, to say what is lost.  A place may answer
otherwise each time.  Whatever it does, a file of a living point can be restored, or is named as
lost, or lies below a folder that is named; or repair ended with an error and replaced nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from tests.support.simdisk import SimDisk
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write
from tests.unit.agent.test_repair import mend_source
from tests.unit.agent.test_repair_unindexed import chunks_of
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import open_point
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.agent.repair.run import RepairReport, repair
from overland.errors import ObjectAbsent, OverlandError
from overland.format.tree import Entry
from overland.ports.progress import NullProgress, Progress
from overland.values import ObjectInfo, PointId

Flaw = Callable[[str, bytes], bytes]


def absent(name: str, _data: bytes) -> bytes:
    raise ObjectAbsent(name)


def other(_name: str, data: bytes) -> bytes:
    return bytes(byte ^ 0x55 for byte in data)


class Flickering:
    """`Objects` whose packs and index files are flawed at chosen reads of a range, by number."""

    is_local = True

    def __init__(self, objects: FolderObjects, flaw: Flaw, is_flawed: Callable[[int], bool]):
        self._objects, self._flaw, self._is_flawed = objects, flaw, is_flawed
        self.reads = 0

    def _seen(self, name: str, data: bytes) -> bytes:
        if not name.startswith(("packs/", "index/")):
            return data
        self.reads += 1
        return self._flaw(name, data) if self._is_flawed(self.reads) else data

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        return self._seen(name, self._objects.read_range(name, offset=offset, length=length))

    def read(self, name: str) -> bytes:
        return self._seen(name, self._objects.read(name))

    def blocks(self, name: str) -> Iterator[memoryview]:
        return self._objects.blocks(name)

    def head(self, name: str) -> ObjectInfo:
        return self._objects.head(name)

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return self._objects.names(prefix, start_after=start_after)

    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        self._objects.put(name, content, size_bytes=size_bytes, sha256=sha256)

    def delete(self, name: str) -> None:
        self._objects.delete(name)


class Scene:
    """A chain of two points in broken packs, of which most can be read; the source is no help."""

    def __init__(self, folder: Path, *, keeps_index: bool) -> None:
        self.vaulted = vaulted = Vaulted(folder, pack_bytes=1 << 17)
        for number in range(6):
            write(vaulted.source, f"d{number % 2}/e{number % 3}/file{number}", number, 9_000)
        vaulted.back_up()
        write(vaulted.source, "d0/more", 50, 9_000)
        vaulted.back_up()
        mend_source(vaulted)
        disk = vaulted.disk
        if keeps_index:  # which tells what is in the packs that do not tell themselves any more
            for name in vaulted.packs():
                disk.damage(name, offset=disk.size_bytes(name) - 100)
        else:
            for info in list(disk.names("index/")):
                disk.delete(info.name)
            disk.damage(max(vaulted.packs(), key=disk.size_bytes), offset=200)
        self._disks = {which: saved(getattr(vaulted, which)) for which in ("disk", "state")}
        self._version = vaulted.keeper.version

    def repair(
        self, flaw: Flaw, is_flawed: Callable[[int], bool], progress: Progress | None = None
    ) -> tuple[RepairReport, int]:
        """Repair from the beginning; return what is said of it, and how many reads it took."""
        vaulted = self.vaulted
        for which, contents in self._disks.items():
            disk = SimDisk()
            for name, data in contents.items():
                disk.write(name, data)
            setattr(vaulted, which, disk)
        vaulted.spool = SimDisk()
        vaulted.keeper.accepted.clear()
        vaulted.keeper.version = self._version
        vaulted.restart()
        place = Flickering(vaulted.vault, flaw, is_flawed)
        vaulted.vault = place  # type: ignore[assignment]  # it is as good as one
        try:
            shop = replace(vaulted.workshop(), progress=progress or NullProgress())
            report = repair(shop, {})
        finally:
            vaulted.restart()
        return report, place.reads

    def assert_nothing_is_silently_absent(self, report: RepairReport) -> None:
        self.vaulted.keeper.reclaim()
        for point_id in self.vaulted.keeper.living():
            found = self.restorable(point_id)
            named = [lost.path for lost in report.lost.get(point_id, [])]
            for path, content in self.vaulted.contents[point_id].items():
                full = str(self.vaulted.source).encode() + b"/" + path
                if found.get(full) != content:
                    assert any(full == lost or full.startswith(lost + b"/") for lost in named), path

    def new_packs(self, report: RepairReport) -> set[str]:
        """Return the packs that a repair's replacement brought."""
        [made] = [
            each
            for each in self.vaulted.keeper.documents()
            if each.replacement_id == report.replacement_id
        ]
        return {item.name for item in made.objects if item.name.startswith("packs/")}

    def restorable(self, point_id: PointId) -> dict[bytes, bytes]:
        """Return what of a point can be restored whole, by full path."""
        objects = self.vaulted.objects()
        store = ChunkStore(objects, self.vaulted.keys)
        store.load_index()
        tree = PointTree(open_point(objects, self.vaulted.keys, point_id), store)
        found = {}
        for step in tree.walk(unreadable=lambda _path, _error: None):
            if step.action == "entry" and step.entry is not None:
                content = whole(tree, store, step.entry)
                if content is not None:
                    found[step.path] = content
        return found


def whole(tree: PointTree, store: ChunkStore, entry: Entry) -> bytes | None:
    try:
        return b"".join(part for ids in tree.content_ids(entry) for part in store.read(ids))
    except UNREADABLE:
        return None


def saved(disk: SimDisk) -> dict[str, bytes]:
    return {info.name: disk.read(info.name) for info in disk.names()}


def chance_of(random: Random, reads: int) -> Callable[[int], bool]:
    """Return which reads are flawed: a few, all from one on, all up to one, or every so many."""
    first, count, every = random.randint(1, reads), random.randint(1, 12), random.randint(2, 12)
    return random.choice(
        [
            lambda number: first <= number < first + count,
            lambda number: number >= first,
            lambda number: number <= first,
            lambda number: number % every == first % every,
        ]
    )


class Phase(NullProgress):
    """Knows how far repair is."""

    begun = ""

    @override
    def start(self, phase: str, total_bytes: int | None, total_count: int | None) -> None:
        self.begun = phase


def test_what_is_absent_for_planning_and_there_again_is_saved(tmp_path: Path) -> None:
    scene = Scene(tmp_path, keeps_index=True)
    phase, met = Phase(), list[str]()

    def away(name: str, data: bytes) -> bytes:
        if phase.begun == "reading recovery points" and name.startswith("packs/"):
            met.append(name)
            raise ObjectAbsent(name)
        return data

    report, _ = scene.repair(away, lambda _number: True, phase)
    assert met, "not a folder could be read for planning"
    assert not report.lost
    assert report.salvaged_chunks
    assert report.salvaged_chunks == chunks_of(scene.vaulted, scene.new_packs(report))
    scene.vaulted.keeper.reclaim()
    scene.vaulted.assert_all_restorable()


def test_what_is_there_for_planning_and_absent_then_is_named(tmp_path: Path) -> None:
    scene = Scene(tmp_path, keeps_index=True)
    phase = Phase()

    def away(name: str, data: bytes) -> bytes:
        if phase.begun == "salvaging" and name.startswith("packs/"):
            raise ObjectAbsent(name)
        return data

    report, _ = scene.repair(away, lambda _number: True, phase)
    assert not report.salvaged_chunks
    assert set(report.lost) == set(scene.vaulted.keeper.living())
    scene.assert_nothing_is_silently_absent(report)
    again = scene.vaulted.repair()
    assert not again.lost, "the packs are kept for points that lost something"
    assert again.salvaged_chunks == chunks_of(scene.vaulted, scene.new_packs(again))
    scene.vaulted.keeper.reclaim()
    scene.vaulted.assert_all_restorable()


CASES = 12


def test_what_is_not_saved_is_named(tmp_path: Path, history_seed: int) -> None:
    random = Random(history_seed)
    scene = Scene(tmp_path, keeps_index=history_seed % 2 == 0)
    _, reads = scene.repair(absent, lambda _number: False)
    for case in range(CASES):
        flaw = random.choice([absent, other])
        try:
            report, _ = scene.repair(flaw, chance_of(random, reads))
        except OverlandError:
            assert not scene.vaulted.keeper.accepted, "an error changes nothing"
            continue
        try:
            scene.assert_nothing_is_silently_absent(report)
        except AssertionError as error:
            error.add_note(f"history {history_seed}, case {case}, {flaw.__name__}")
            raise
