"""What random stories seldom meet of leftovers: runs, repacks and adoptions that came to no end.

Each of these was missed when bugs were planted into the data path to see who finds them.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete
from tests.support.backups import FixedClock, make_plan, make_repository, point_id, run
from tests.support.landed import Landed, put
from tests.support.simdisk import PowerCut, SimDisk
from tests.support.simengine import Killed, SimEngine
from tests.support.torture import fast_folder
from tests.support.vaulted import Vaulted

from overland.adapters.folderobjects import FolderObjects
from overland.agent.backup.publisher import Published
from overland.agent.backup.run import BackupResult
from overland.agent.backup.upload import Uploader
from overland.values import PackId, pack_name, point_name
from overland.vault.tables import adoption_steps, verified_objects


class Ended(BaseException):
    """The process ends here."""


@pytest.fixture
def source() -> Iterator[Path]:
    with fast_folder() as folder:
        fill(folder / "source", *(f"file {number}" for number in range(20)))
        yield folder / "source"


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(random.Random(name).randbytes(100_000))


def stage(source: Path, out: SimDisk, *, until: str | None = None) -> BackupResult:
    """Make a seed in a staging location, and end when an object of this kind was published."""

    def note(found: Published) -> None:
        if until is not None and found.name.startswith(until):
            raise Ended

    return run(
        make_plan(source, pack_bytes=1 << 19),
        repository=make_repository(SimDisk()),
        out=out,
        on_published=note,
    )


def copied(disk: SimDisk) -> SimDisk:
    """Return a disk with the same files."""
    other = SimDisk()
    for info in disk.names():
        other.write(info.name, disk.read(info.name))
    return other


def described(out: SimDisk, name: str) -> set[str]:
    """Return the packs that an index file describes."""
    tables = make_repository(SimDisk()).open_index(out.read(name), name=name)
    return {pack_name(PackId(each.pack_id)) for each in tables.directories()}


def test_no_index_file_of_a_point_names_a_pack_that_the_point_does_not_list(source: Path) -> None:
    """A name that leads nowhere: drives would carry the index file, and not the damaged pack."""
    out = SimDisk()
    with pytest.raises(Ended):
        stage(source, out, until="index/")
    packs = [info.name for info in out.names("packs/")]
    assert len(packs) > 2
    out.damage(packs[0], offset=3000)
    named = {found.name for found in stage(source, out).objects}
    assert packs[0] not in named
    assert set(packs[1:]) < named
    for name in named:
        if name.startswith("index/"):
            assert described(out, name) <= named


def test_packs_of_the_base_in_the_same_place_are_not_taken_for_leftovers(source: Path) -> None:
    """A point that listed them as its own would keep them for as long as it lives."""
    out, state = SimDisk(), SimDisk()
    named = []
    for number in (1, 2):
        repository = make_repository(state)
        result = run(make_plan(source, number=number), repository=repository, out=out, stored=[out])
        named.append({found.name for found in result.objects})
        (source / "file 3").write_bytes(os.urandom(100_000))
    assert any(name.startswith("packs/") for name in named[1])
    assert named[0].isdisjoint(named[1])


def test_nothing_is_sent_twice_after_a_power_cut_at_any_step_of_the_hints(source: Path) -> None:
    """The point is in the vault, and nobody could take note of it."""
    vault, state = SimDisk(), SimDisk()
    _send(source, vault, state, number=1)
    fill(source, "new", "newer")
    begun = copied(vault), copied(state)
    steps = _send(source, copied(vault), counted := copied(state).restart(), number=2)
    assert counted.steps > steps
    for step in range(steps, counted.steps):
        vault, state = copied(begun[0]), copied(begun[1]).restart(cut_at=step, seed=step)
        with pytest.raises(PowerCut):
            _send(source, vault, state, number=2)
        packs = {info.name for info in vault.names("packs/")}
        _send(source, vault, state.restart(seed=step), number=3, base=1)
        assert {info.name for info in vault.names("packs/")} == packs, f"cut at {step}"


def _send(
    source: Path, vault: SimDisk, state: SimDisk, *, number: int, base: int | None = None
) -> int:
    """Send a point; return how many steps the hints had taken when the last object was sent."""
    spool, steps = SimDisk(), 0
    base = base or (number - 1)

    def note(found: Published) -> None:
        nonlocal steps
        uploader.submit(found)
        steps = state.steps

    with Uploader(FolderObjects(vault), spool, clock=FixedClock()) as uploader:
        run(
            make_plan(
                source,
                number=number,
                kind="incremental" if base else "full",
                seed_id=None,
                base=point_id(base) if base else None,
            ),
            repository=make_repository(state),
            out=spool,
            stored=[FolderObjects(vault)],
            on_published=note,
            acknowledge=uploader.drain,
        )
    return steps


def test_what_another_replacement_let_go_is_no_leftover_of_an_older_repack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The computer was set back to an image, whose journal knows packs that are on their way out.

    Were they listed again, the cloud would refuse the replacement, this time and every time.
    """
    with fast_folder() as folder:
        vaulted = Vaulted(folder)
        fill(vaulted.source, *map(str, range(9)))
        first = vaulted.back_up()
        for name in "0123":
            (vaulted.source / name).unlink()
        second = vaulted.back_up()
        (vaulted.source / "4").unlink()
        third = vaulted.back_up()
        vaulted.keeper.deleted.add(first)
        monkeypatch.setattr("overland.agent.repack.run.forget_journal", lambda _: None)
        vaulted.repack(min_live=1)
        monkeypatch.undo()
        image = copied(vaulted.state)
        vaulted.keeper.deleted.add(second)
        vaulted.repack(min_live=1)
        earlier, later = vaulted.keeper.documents()
        again = {item.name for item in earlier.objects} & set(later.replaced)
        assert any(name.startswith("packs/") for name in again)

        vaulted.state = image
        vaulted.restart()
        full = vaulted.back_up(full=True)
        (vaulted.source / "5").unlink()
        vaulted.back_up()
        vaulted.keeper.deleted |= {third, full}
        assert vaulted.repack(min_live=1).packs_replaced
        vaulted.keeper.reclaim()
        vaulted.assert_all_restorable()
        assert vaulted.check().is_whole


def test_what_a_lost_row_said_of_other_bytes_is_found_again() -> None:
    """The vault holds bytes of the right length that are not the seed's, from before.

    The step that saw it is done for the engine; its rows went with a power cut.
    """
    clean = Landed()
    clean.adopt(clean.adoption())
    landed = Landed(engine=SimEngine(kill_at=clean.engine.borders - 2))  # before the finish
    name = next(each for each in landed.seed.contents if each.startswith("packs/"))
    other = landed.seed.contents[name][::-1]
    put(landed.vault, landed.seed.computer.owner.prefix + name, other)
    with pytest.raises(Killed):
        landed.adopt(landed.adoption())
    with landed.database.begin() as connection:
        for table in (adoption_steps, verified_objects):
            connection.execute(delete(table))
    landed.engine = landed.engine.restart()
    adoption = landed.adoption()
    adoption.resume()
    with landed.database.begin() as connection:
        status = adoption.status(connection, landed.seed.seed_id)
    assert status is not None
    assert [(each.name, each.reason) for each in status.missing] == [(name, "conflict")]
    assert status.state == "incomplete"
    assert point_name(landed.seed.point_id) not in landed.in_vault()
