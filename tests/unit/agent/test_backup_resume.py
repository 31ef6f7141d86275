"""A killed first copy goes on where it was, and touches nothing that is not its own."""

import hashlib
import os
from pathlib import Path

import pytest
from tests.support.backups import Tree, make_plan, make_repository, point_id, run
from tests.support.simdisk import SimDisk

from overland.agent.backup.publisher import Published
from overland.agent.backup.run import BackupResult
from overland.agent.repository import Repository
from overland.crypto.keys import MasterKey
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key
from overland.values import RepositoryId, SeedId, index_name


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(40):
        (tmp_path / f"f{number:02d}").write_bytes(os.urandom(100_000))
    return tmp_path


def stage(source: Path, out: SimDisk, *, die_after: int | None = None) -> BackupResult:
    published: list[Published] = []

    def note(found: Published) -> None:
        published.append(found)
        if len(published) == die_after:
            raise Killed

    return run(
        make_plan(source, pack_bytes=1 << 20),
        repository=make_repository(SimDisk()),
        out=out,
        on_published=note,
    )


def contents(out: SimDisk) -> dict[bytes, bytes]:
    return Tree(out, make_repository(SimDisk()), point_id(1)).contents


@pytest.mark.parametrize("die_after", range(1, 7))
def test_a_killed_first_copy_stores_nothing_twice(source: Path, die_after: int) -> None:
    out = SimDisk()
    with pytest.raises(Killed):
        stage(source, out, die_after=die_after)
    kept = {info.name for info in out.names("packs/")}
    result = stage(source, out)
    named = {found.name: found for found in result.objects}
    assert kept <= named.keys()
    assert {info.name for info in out.names()} == named.keys(), "the seed is all there is"
    assert sum(info.size_bytes for info in out.names("packs/")) < 40 * 100_000 * 1.1
    assert len(contents(out)) == 40


def test_a_finished_seed_that_is_made_again_is_the_same_seed(source: Path) -> None:
    out = SimDisk()
    first = stage(source, out)
    again = stage(source, out)
    assert again.statistics.new_chunks == 0
    assert {found.name for found in again.objects} == {found.name for found in first.objects}
    assert len(contents(out)) == 40


def test_a_damaged_pack_is_left_aside_and_its_chunks_are_stored_again(source: Path) -> None:
    out = SimDisk()
    with pytest.raises(Killed):
        stage(source, out, die_after=3)
    bad = next(iter(out.names("packs/"))).name
    out.damage(bad, offset=5000)
    before = out.read(bad)
    result = stage(source, out)
    assert bad not in {found.name for found in result.objects}
    assert out.read(bad) == before, "evidence is kept"
    out.delete(bad)
    assert len(contents(out)) == 40


def test_an_index_file_that_describes_a_pack_left_aside_is_left_aside_too(source: Path) -> None:
    out = SimDisk()
    stage(source, out)
    index = {info.name for info in out.names("index/")}
    bad = next(iter(out.names("packs/"))).name
    out.damage(bad, offset=5000)
    named = {found.name for found in stage(source, out).objects}
    assert index
    assert index.isdisjoint(named), "who reads it would look for chunks in the damaged pack"
    for name in (bad, *index):
        out.delete(name)
    assert len(contents(out)) == 40


def test_a_pack_that_two_index_files_describe_is_named_once(source: Path) -> None:
    out, repository = SimDisk(), make_repository(SimDisk())
    stage(source, out)
    [info] = out.names("index/")
    described = repository.open_index(out.read(info.name), name=info.name).directories()
    again = repository.seal_index(described[:1])
    out.write(index_name(hashlib.sha256(again).hexdigest()), again)
    names = [found.name for found in stage(source, out).objects]
    assert len(names) == len(set(names))
    assert {info.name for info in out.names()} == set(names)
    assert len(contents(out)) == 40


def test_foreign_files_are_not_touched_and_not_named(source: Path) -> None:
    out = SimDisk()
    foreign = {
        "seed.json": b"{}",
        "holiday.jpg": b"jpeg",
        "packs/ab/notes.txt": b"notes",
        f"packs/ab/{'ab' * 32}.pack": b"not a pack" * 100,
        f"index/{'cd' * 32}.index": b"not an index",
    }
    for name, data in foreign.items():
        out.write(name, data)
    result = stage(source, out)
    assert not foreign.keys() & {found.name for found in result.objects}
    assert {name: out.read(name) for name in foreign} == foreign


def test_packs_of_another_repository_are_not_relied_upon(source: Path) -> None:
    out = SimDisk()
    foreign = Repository(
        repository_id=RepositoryId("1f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11"),
        master_key=MasterKey(Secret(b"f" * 32)),
        signing_key=generate_signing_key(lambda size: b"f" * size),
        state=SimDisk(),
        state_folder=None,
    )
    run(make_plan(source, seed_id=SeedId(point_id(77))), repository=foreign, out=out)
    theirs = {info.name for info in out.names() if not info.name.startswith("points/")}
    result = stage(source, out)
    assert not theirs & {found.name for found in result.objects}
    assert theirs <= {info.name for info in out.names()}
    assert len(contents(out)) == 40
