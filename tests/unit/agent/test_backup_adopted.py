"""What a killed run has carried to a store is read through before the next run vouches for it."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
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
from tests.support.simdisk import PowerCut, SimDisk
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.agent.backup.publisher import Published
from overland.agent.backup.run import BackupResult
from overland.agent.backup.upload import Uploader
from overland.errors import Unreachable
from overland.format.replacement import Replacement
from overland.values import ObjectInfo, ReplacementId, replacement_name


class Killed(BaseException):
    """The process ends here."""


class Metered(FolderObjects):
    """A vault that counts what is read of each object, and can stop answering."""

    def __init__(self, disk: SimDisk) -> None:
        super().__init__(disk)
        self.read_bytes: Counter[str] = Counter()
        self.answers = 10**9

    @override
    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        self.answers -= 1
        if self.answers < 0:
            raise Unreachable("no answer")
        data = super().read_range(name, offset=offset, length=length)
        self.read_bytes[name] += len(data)
        return data


class World:
    def __init__(self, tmp_path: Path) -> None:
        self.source = tmp_path / "source"
        self.source.mkdir()
        self.disk, self.spool, self.state = SimDisk(), SimDisk(), SimDisk()
        self.vault = Metered(self.disk)
        self.steps_before_hints = 0
        for number in range(40):
            (self.source / f"f{number:03d}").write_bytes(os.urandom(100_000))

    def send(
        self, *, number: int = 1, base: int | None = None, die_after: int | None = None
    ) -> BackupResult:
        seen: list[Published] = []
        plan = make_plan(
            self.source,
            number=number,
            kind="incremental" if base else "full",
            seed_id=None,
            base=point_id(base) if base else None,
            pack_bytes=1 << 20,
        )
        with Uploader(self.vault, self.spool, clock=FixedClock()) as uploader:
            uploader.resume()

            def note(found: Published) -> None:
                uploader.submit(found)
                seen.append(found)
                self.steps_before_hints = self.state.steps
                if len(seen) == die_after:
                    uploader.drain()
                    raise Killed

            return run(
                plan,
                repository=make_repository(self.state),
                out=self.spool,
                stored=[self.vault],
                on_published=note,
                acknowledge=uploader.drain,
            )

    def packs(self) -> list[ObjectInfo]:
        return list(self.disk.names("packs/"))

    def contents(self, number: int = 1) -> dict[bytes, bytes]:
        return Tree(self.vault, make_repository(SimDisk()), point_id(number)).contents

    def files(self) -> dict[bytes, bytes]:
        return {os.fsencode(path): path.read_bytes() for path in self.source.iterdir()}

    def change(self) -> None:
        for number in range(0, 40, 2):
            (self.source / f"f{number:03d}").write_bytes(os.urandom(100_000))


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[World]:
    """A run that was killed when the vault had two of its packs and no index file."""
    world = World(tmp_path)
    with pytest.raises(Killed):
        world.send(die_after=2)
    assert len(world.packs()) == 2
    assert not list(world.disk.names("index/"))
    yield world
    assert len(world.contents()) == 40, "everything can be restored, whatever was left behind"


def torn(world: World, name: str) -> None:
    data = world.disk.read(name)
    world.disk.delete(name)
    world.disk.write(name, data[: len(data) // 2])


def torn_to_zeros(world: World, name: str) -> None:
    """As a file system leaves it that kept the length and lost a page."""
    data = world.disk.read(name)
    world.disk.delete(name)
    world.disk.write(name, data[:8192] + bytes(4096) + data[12288:])


def flipped(world: World, name: str) -> None:
    world.disk.damage(name, offset=5000)


def test_whole_packs_are_read_once_and_used(killed: World) -> None:
    left = {info.name: info.size_bytes for info in killed.packs()}
    result = killed.send()
    assert left.keys() <= {found.name for found in result.objects}
    for name, size_bytes in left.items():
        assert size_bytes <= killed.vault.read_bytes[name] < 1.5 * size_bytes


@pytest.mark.parametrize("harm", [torn, torn_to_zeros, flipped], ids=lambda harm: harm.__name__)
def test_a_damaged_pack_is_not_vouched_for_and_its_chunks_are_stored_again(
    killed: World, harm: object
) -> None:
    assert callable(harm)
    bad, good = killed.packs()
    harm(killed, bad.name)
    before = killed.disk.read(bad.name)
    result = killed.send()
    named = {found.name for found in result.objects}
    assert bad.name not in named
    assert good.name in named
    assert killed.disk.read(bad.name) == before, "evidence is kept"
    killed.disk.delete(bad.name)


def test_a_damaged_pack_that_an_index_file_describes_is_not_vouched_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(Killed):
        world.send(die_after=6)  # all packs and the index file; the point is not there
    assert list(world.disk.names("index/"))
    bad = world.packs()[1]
    flipped(world, bad.name)
    result = world.send()
    assert bad.name not in {found.name for found in result.objects}
    assert world.vault.read_bytes[bad.name] < 1.5 * bad.size_bytes, "read through once"
    world.disk.delete(bad.name)
    assert len(world.contents()) == 40


def test_a_note_about_a_pack_of_another_length_is_not_believed(killed: World) -> None:
    one, other = killed.packs()
    lines = [f"{one.size_bytes} {one.name[9:-5]}", f"{other.size_bytes + 64} {other.name[9:-5]}"]
    killed.state.write("adopted/packs", "\n".join(["", *lines, "0 x", "\x85"]).encode())
    named = {found.name for found in killed.send().objects}
    assert {one.name, other.name} <= named
    assert killed.vault.read_bytes[one.name] < one.size_bytes / 2
    assert killed.vault.read_bytes[other.name] >= other.size_bytes


def test_a_pack_that_others_stand_in_for_is_not_vouched_for(killed: World) -> None:
    goes, stays = killed.packs()
    replacement = Replacement(
        replacement_id=ReplacementId(point_id(77)),
        repository_id=REPOSITORY,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        reason="repack",
        keeps=[point_id(99)],
        lost=[],
        replaced=[goes.name],
        objects=[],
    )
    document = make_repository(SimDisk()).seal_replacement(replacement)
    killed.disk.write(replacement_name(replacement.replacement_id), document)
    named = {found.name for found in killed.send().objects}
    assert goes.name not in named, "it may be deleted at any time"
    assert stays.name in named
    killed.disk.delete(goes.name)


def test_what_was_read_through_once_is_not_read_again_after_the_next_kill(killed: World) -> None:
    left = {info.name: info.size_bytes for info in killed.packs()}
    with pytest.raises(Killed):
        killed.send(die_after=1)
    killed.vault.read_bytes.clear()
    result = killed.send()
    assert left.keys() <= {found.name for found in result.objects}
    for name, size_bytes in left.items():
        assert killed.vault.read_bytes[name] < size_bytes / 2


def test_a_store_that_stops_answering_ends_the_run_and_not_the_pack(killed: World) -> None:
    left = {info.name for info in killed.packs()}
    killed.vault.answers = 1
    with pytest.raises(Unreachable):
        killed.send()
    killed.vault.answers = 10**9
    assert left <= {found.name for found in killed.send().objects}


def test_packs_that_another_point_names_are_left_to_it(tmp_path: Path) -> None:
    """A point that named them too would keep them as long as it lives, and needs none of them."""
    world = World(tmp_path)
    others = {found.name for found in world.send().objects}
    world.change()
    with pytest.raises(Killed):
        world.send(number=2, die_after=2)
    left = {info.name for info in world.packs()} - others
    named = {found.name for found in world.send(number=2).objects}
    assert left
    assert left <= named
    assert named.isdisjoint(others)
    assert world.contents(2) == world.files()


def copied(disk: SimDisk) -> dict[str, bytes]:
    return {info.name: disk.read(info.name) for info in disk.names()}


def disk_of(copy: dict[str, bytes]) -> SimDisk:
    disk = SimDisk()
    for name, data in copy.items():
        disk.write(name, data)
    return disk


def test_hints_that_a_power_cut_left_are_not_believed_of_a_run_whose_packs_are_lost(
    tmp_path: Path,
) -> None:
    """What the last run saw names no chunk that the index of the same state does not know."""
    world = World(tmp_path)
    world.send()
    vault, state = copied(world.disk), copied(world.state)
    world.change()
    world.state = disk_of(state).restart()
    world.send(number=2, base=1)
    for step in range(world.steps_before_hints, world.state.steps):
        world.disk, world.spool = disk_of(vault), SimDisk()
        world.vault = Metered(world.disk)
        world.state = disk_of(state).restart(cut_at=step, seed=step)
        with pytest.raises(PowerCut):
            world.send(number=2, base=1)
        world.state, world.spool = world.state.restart(seed=step), SimDisk()
        for info in list(world.disk.names()):
            if info.name not in vault:
                world.disk.delete(info.name)
        world.send(number=2, base=1)
        assert world.contents(2) == world.files()
