"""Damage costs what it hits and nothing more, and any good copy heals it."""

import mmap
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.torture import fast_folder
from typing_extensions import override

from overland.agent.compare import compare_trees
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import open_keys, open_point
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.agent.restore import crew
from overland.agent.restore.run import RestoreIncomplete, RestoreOptions, RestoreReport, restore
from overland.agent.sources import LayeredObjects, SeedFolderObjects
from overland.errors import Unreachable
from overland.ports.progress import NullProgress
from overland.values import PackId

FILES = 24


@pytest.fixture(params=[0, 2], ids=["threads", "processes"])
def backed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackedUp]:
    monkeypatch.setattr(crew, "_FEW_FILES", 0)  # no batch is too small for processes
    with fast_folder() as folder:
        world = BackedUp(folder)
        world.processes = request.param
        world.source.mkdir()
        for number in range(FILES):
            content = random.Random(number).randbytes(150_000)
            (world.source / f"{number:02}").write_bytes(content)
        world.back_up()
        assert len(world.packs()) >= 3, "some packs must be without tree nodes"
        yield world


def copy_of(backed: BackedUp) -> BackedUp:
    """A second set of the same objects, such as the drives have."""
    copied = backed.staging.parent / "copied"
    shutil.copytree(backed.staging, copied)
    other = BackedUp.__new__(BackedUp)
    other.staging, other.files = copied, type(backed.files)(copied)
    other.results = backed.results
    return other


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def data_packs(backed: BackedUp) -> list[Path]:
    """The packs without tree nodes, found by trying."""
    needed = []
    for pack in backed.packs():
        hidden = pack.rename(pack.with_suffix(".hidden"))
        point, store = backed.open()
        try:
            list(PointTree(point, store).walk())
            needed.append(pack)
        except UNREADABLE:
            pass
        hidden.rename(pack)
    return needed


def restored_from(
    backed: BackedUp, layers: list[tuple[str, SeedFolderObjects]], **options: object
) -> RestoreReport:
    objects = LayeredObjects(layers)
    keys = open_keys(objects, passphrase=PASSPHRASE)
    store = ChunkStore(objects, keys)
    store.load_index()
    own = {"strip": str(backed.source).encode(), "sync": False, "processes": backed.processes}
    chosen = {**own, **options}
    return restore(
        open_point(objects, keys, backed.results[-1].point_id),
        store=store,
        target=str(backed.target).encode(),
        progress=NullProgress(),
        options=RestoreOptions(**chosen),  # type: ignore[arg-type]  # the tests' own words
    )


def restored_names(backed: BackedUp) -> set[str]:
    return {path.name for path in backed.target.iterdir()}


def test_one_flipped_byte_costs_the_files_of_its_segment(backed: BackedUp) -> None:
    pack = data_packs(backed)[0]
    flip(pack, 5000)
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore()
    report = incomplete.value.report
    name = f"packs/{pack.parent.name}/{pack.name}"
    assert list(report.packs) == [name]
    lost = {problem.path.decode().rpartition("/")[2] for problem in report.problems}
    assert 1 <= len(lost) <= 9, "a segment of 1 MiB holds at most parts of nine such files"
    assert {problem.kind for problem in report.problems} == {"corrupt"}
    assert restored_names(backed) == {path.name for path in backed.source.iterdir()} - lost
    for path in backed.target.iterdir():
        assert path.read_bytes() == (backed.source / path.name).read_bytes()
    assert name in str(incomplete.value)


def test_a_missing_pack_names_itself_and_the_files_that_need_it(backed: BackedUp) -> None:
    pack = data_packs(backed)[0]
    pack.unlink()
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore()
    report = incomplete.value.report
    name = f"packs/{pack.parent.name}/{pack.name}"
    assert {problem.kind for problem in report.problems} == {"absent"}
    assert report.packs == {name: [problem.path for problem in report.problems]}
    assert report.lost == [name]
    lost = {problem.path.decode().rpartition("/")[2] for problem in report.problems}
    assert restored_names(backed) == {path.name for path in backed.source.iterdir()} - lost


def test_a_missing_pack_without_any_index_is_still_named(backed: BackedUp) -> None:
    pack = data_packs(backed)[0]
    pack.unlink()
    for index in backed.folder().glob("index/*"):
        index.unlink()
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore()
    report = incomplete.value.report
    assert f"packs/{pack.parent.name}/{pack.name}" in report.lost
    assert {problem.kind for problem in report.problems} == {"absent"}


def test_when_the_pack_is_back_resume_restores_the_rest(backed: BackedUp) -> None:
    pack = data_packs(backed)[0]
    content = pack.read_bytes()
    pack.unlink()
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore()
    pack.write_bytes(content)
    report = backed.restore(resume=True)
    assert report.files == incomplete.value.report.problem_count
    assert report.already_there == FILES - report.files
    assert compare_trees(backed.source, backed.target).differences == []


def test_a_second_layer_heals_every_kind_of_damage(backed: BackedUp) -> None:
    drives = copy_of(backed)
    packs = backed.packs()
    packs[0].unlink()
    flip(packs[1], 10)  # the header
    flip(packs[2], packs[2].stat().st_size // 2)
    for pack in packs[3:]:
        pack.write_bytes(pack.read_bytes()[:1000])
    report = restored_from(backed, [("vault", backed.place(0)), ("drive", drives.place(0))])
    assert compare_trees(backed.source, backed.target).differences == []
    assert report.served["drive"].size_bytes > 0
    assert len(report.served["vault"].damaged) == len(packs) - 1


def test_two_damaged_copies_heal_each_other(tmp_path: Path) -> None:
    backed = BackedUp(tmp_path, pack_bytes=8 << 20)
    backed.source.mkdir()
    for number in range(FILES):
        (backed.source / f"{number}").write_bytes(random.Random(number).randbytes(150_000))
    backed.back_up()
    drives = copy_of(backed)
    pack = max(backed.packs(), key=lambda path: path.stat().st_size)
    flip(pack, pack.stat().st_size // 4)
    flip(drives.staging / pack.relative_to(backed.staging), pack.stat().st_size * 3 // 4)
    restored_from(backed, [("vault", backed.place(0)), ("drive", drives.place(0))])
    assert compare_trees(backed.source, backed.target).differences == []


def test_chunks_that_were_stored_again_replace_a_lost_pack(backed: BackedUp) -> None:
    pack = data_packs(backed)[0]
    assert backed.repository.forget_packs("documents", [PackId(pack.stem)]) == 1
    for path in backed.source.iterdir():
        path.touch()
    backed.back_up()
    pack.unlink()
    backed.restore()
    assert compare_trees(backed.source, backed.target).differences == []


class Silent(SeedFolderObjects):
    """A place that stops answering after some reads, by whichever process."""

    reads_left = mmap.mmap(-1, 1)  # forked processes share it, as they would a vault

    @override
    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        if not self.reads_left[0]:
            raise Unreachable("the vault does not answer")
        self.reads_left[0] -= 1
        return super().read_range(name, offset=offset, length=length)


def test_a_source_that_falls_silent_stops_the_restore_to_be_resumed(backed: BackedUp) -> None:
    Silent.reads_left[0] = 6
    with pytest.raises(Unreachable):
        restored_from(backed, [("vault", Silent(backed.files, backed.place_id(0)))])
    assert list(backed.target.rglob(".overland-*")) == []
    restored_from(backed, [("vault", backed.place(0))], resume=True)
    assert compare_trees(backed.source, backed.target).differences == []
