"""What random stories seldom meet, told on purpose.

Each of these was missed when bugs were planted into the data path to see who finds them.
"""

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from tests.simulation.actions.steady import SteadyDisk
from tests.support.faulty import FaultPlan
from tests.support.faulty_ports import FaultyObjects
from tests.support.landed import Landed, pack, put
from tests.support.manualclock import ManualClock
from tests.support.reclaiming import DAY, Reclaiming
from tests.support.simdisk import SimDisk
from tests.support.simengine import Killed, SimEngine
from tests.support.simkernel import SimKernel, running_on
from tests.support.torture import fast_folder
from tests.support.vaulted import Vaulted, content

from overland.adapters.folderobjects import FolderObjects
from overland.adapters.posix import PosixFiles
from overland.agent.backup.upload import Uploader
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import open_point
from overland.agent.points.tree import UNREADABLE, PointTree
from overland.agent.restore.run import RestoreOptions, restore
from overland.errors import NotAuthorised
from overland.packing.writer import PackWriter
from overland.ports.progress import NullProgress
from overland.source.changes import FINGERPRINT_BYTES
from overland.values import PackId, PointId, index_name, pack_name, point_name


@pytest.fixture
def vaulted() -> Iterator[Vaulted]:
    with fast_folder() as folder:
        yield Vaulted(folder)


def fill(source: Path, *names: str) -> None:
    for name in names:
        (source / name).write_bytes(random.Random(name).randbytes(60_000))


def test_a_spool_is_sent_in_the_order_in_which_things_may_be_seen() -> None:
    """Packs, then the index files that name them."""
    spool, vault = SimDisk(), SimDisk()
    content = {hashlib.sha256(data).hexdigest(): data for data in (b"one", b"two", b"three")}
    names = [name(PackId(digest)) for name in (pack_name, index_name) for digest in sorted(content)]
    for name, data in zip(names, 2 * [content[each] for each in sorted(content)], strict=True):
        spool.write(name, data)
    with Uploader(FolderObjects(vault), spool, clock=ManualClock()) as uploader:
        assert uploader.resume() == len(names)
    assert [step.removeprefix("rename to ") for step in vault.trail if "rename" in step] == names


def test_what_the_vault_did_not_take_stays_in_the_spool() -> None:
    spool, vault = SimDisk(), FolderObjects(SimDisk())
    name = pack_name(PackId(hashlib.sha256(b"one").hexdigest()))
    spool.write(name, b"one")
    refusing = FaultyObjects(vault, FaultPlan(faults=["refuse"], at_most=1))
    with pytest.raises(NotAuthorised), Uploader(refusing, spool, clock=ManualClock()) as uploader:
        uploader.resume()
    assert spool.read(name) == b"one"
    with Uploader(vault, spool, clock=ManualClock()) as uploader:
        uploader.resume()
    assert vault.read(name) == b"one"
    assert not list(spool.names())


def test_an_object_that_is_put_again_is_durable_though_who_put_it_first_was_killed() -> None:
    """It is there to be seen, and its name was not synced yet."""
    for seed in range(20):
        disk = SteadyDisk(seed=seed, lies=True)
        disk.write("packs/one", b"one")
        disk.lies = False
        put(FolderObjects(disk), "packs/one", b"one")
        assert disk.restart().read("packs/one") == b"one"


def test_a_chunk_that_is_not_what_its_id_says_is_found_although_every_seal_holds(
    vaulted: Vaulted,
) -> None:
    """A writer that mixed chunks up made packs whose digests and seals are right."""
    append = PackWriter.append
    mixed: list[int] = []

    def mixing(
        self: PackWriter,
        sealed: memoryview,
        *,
        raw_bytes: int,
        codec: int,
        ids: Sequence[bytes],
        lengths: Sequence[int],
    ) -> None:
        mixed.append(len(ids))
        turned = [*ids[1:], *ids[:1]]
        append(self, sealed, raw_bytes=raw_bytes, codec=codec, ids=turned, lengths=lengths)

    fill(vaulted.source, "a", "b")
    with patch.object(PackWriter, "append", mixing):
        vaulted.back_up()
    assert max(mixed) > 1, "segments hold more than one chunk"
    report = vaulted.check()
    corrupt = {each.name for each in report.findings if each.kind == "corrupt"}
    assert corrupt & vaulted.packs()
    assert not report.is_whole


def test_a_damaged_chunk_is_restored_from_another_chains_pack(vaulted: Vaulted) -> None:
    fill(vaulted.source, "a", "b", "c")
    vaulted.back_up()
    point_id = vaulted.back_up("other")
    data_packs = _without_nodes(vaulted, point_id)
    assert len(data_packs) >= 2, "some packs hold nothing but files"
    for number, name in enumerate(sorted(data_packs)):
        whole = vaulted.disk.read(name)
        vaulted.disk.damage(name, offset=len(whole) // 2)
        target = vaulted.source.parent / f"target {number}"
        store = ChunkStore(vaulted.objects(), vaulted.keys)
        store.load_index()
        report = restore(
            open_point(vaulted.objects(), vaulted.keys, point_id),
            store=store,
            target=os.fsencode(target),
            progress=NullProgress(),
            options=RestoreOptions(strip=os.fsencode(vaulted.source), sync=False),
        )
        assert not report.problems
        assert content(target) == vaulted.contents[point_id]
        vaulted.disk.write(name, whole)


def _without_nodes(vaulted: Vaulted, point_id: PointId) -> set[str]:
    """Return the packs without which the tree can still be walked."""
    found = set()
    for name in vaulted.packs():
        data = vaulted.disk.read(name)
        vaulted.disk.delete(name)
        store = ChunkStore(vaulted.objects(), vaulted.keys)
        store.load_index()
        try:
            for _ in PointTree(open_point(vaulted.objects(), vaulted.keys, point_id), store).walk():
                pass
            found.add(name)
        except UNREADABLE:
            pass
        vaulted.disk.write(name, data)
    return found


def test_what_only_the_newest_point_needs_again_outlives_a_repack(vaulted: Vaulted) -> None:
    """It was gone in between, so that its chunks lie in the first point's packs."""
    fill(vaulted.source, "gone and back", "dead", "living")
    vaulted.pack_bytes = 1 << 20
    first = vaulted.back_up()
    for name in ("gone and back", "dead"):
        (vaulted.source / name).unlink()
    vaulted.back_up()
    fill(vaulted.source, "gone and back")
    vaulted.back_up()
    vaulted.keeper.deleted.add(first)
    assert vaulted.repack(min_live=1).packs_replaced
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole


def test_a_file_whose_size_and_times_were_put_back_is_read_again(vaulted: Vaulted) -> None:
    """Only the time of its last change of any kind tells; nobody can put that back."""
    fill(vaulted.source, "a")
    file = vaulted.source / "a"
    before = file.stat()
    vaulted.back_up()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    point_id = vaulted.back_up()
    assert vaulted.restored(point_id) == {b"a": file.read_bytes()}


@pytest.mark.parametrize("way", ["point", "replacement"])
def test_a_mark_ends_when_its_object_is_needed_even_if_nobody_reclaims_meanwhile(way: str) -> None:
    """A pack that was left behind, then needed for an hour, has its two weeks from then on."""
    world = Reclaiming()
    world.back_up(1, ["first"])
    left = world.put_pack("left behind")
    world.run()
    world.clock.advance(20 * DAY)
    if way == "point":
        world.back_up(2, ["left behind"], base=1)
        world.replace(1, keeps=[2], replaced=[left], by=["instead"])
    else:
        first, _ = pack("first")
        world.replace(1, keeps=[1], replaced=[first], by=["left behind"])
        world.replace(2, keeps=[1], replaced=[left], by=["instead"])
    world.run()
    assert left in world.held()
    world.clock.advance(13 * DAY)
    world.run()
    assert left in world.held()
    world.clock.advance(DAY)
    world.run()
    assert left not in world.held()


def test_what_vanishes_before_an_adoption_ends_is_named_and_no_point_appears() -> None:
    """Every step was done, and something else removed an object before the point came."""
    clean = Landed()
    clean.adopt(clean.adoption())
    landed = Landed(engine=SimEngine(kill_at=clean.engine.borders - 2))  # before the finish
    with pytest.raises(Killed):
        landed.adopt(landed.adoption())
    prefix = landed.seed.computer.owner.prefix
    gone = next(name for name in landed.in_vault() if name.startswith("packs/"))
    landed.vault.delete(prefix + gone)
    landed.engine = landed.engine.restart()
    adoption = landed.adoption()
    adoption.resume()
    with landed.database.begin() as connection:
        status = adoption.status(connection, landed.seed.seed_id)
    assert status is not None
    assert status.state == "incomplete"
    assert [each.name for each in status.missing] == [gone]
    assert point_name(landed.seed.point_id) not in landed.in_vault()


def test_a_long_file_that_lost_a_pack_is_read_again_though_its_list_is_known(
    vaulted: Vaulted,
) -> None:
    """Its entry names chunks that only list those of its content."""
    (vaulted.source / "long").write_bytes(random.Random(3).randbytes(8_000_000))
    point_id = vaulted.back_up()
    for name in sorted(vaulted.packs()):
        data = vaulted.disk.read(name)
        vaulted.disk.delete(name)
        if _are_lists_readable(vaulted, point_id):
            break  # what is lost is content alone
        vaulted.disk.write(name, data)
    assert len(vaulted.packs()) > 1
    with patch.object(vaulted.keeper, "record"):  # its base is not whole
        again = vaulted.back_up()
    assert vaulted.restored(again) == vaulted.contents[again]


def _are_lists_readable(vaulted: Vaulted, point_id: PointId) -> bool:
    store = ChunkStore(vaulted.objects(), vaulted.keys)
    store.load_index()
    tree = PointTree(open_point(vaulted.objects(), vaulted.keys, point_id), store)
    try:
        entries = [step.entry for step in tree.walk() if step.entry is not None]
        files = [entry for entry in entries if entry.kind == "file"]
        assert [entry.levels for entry in files] == [1], "the point of this test"
        for entry in files:
            for _ in tree.content_ids(entry):
                pass
    except UNREADABLE:
        return False
    return True


def test_a_file_that_changed_in_the_same_tick_of_the_clock_is_read_again(vaulted: Vaulted) -> None:
    """Where times are coarse, nothing about it tells that it was written to since."""
    file = vaulted.source / "a"
    file.write_bytes(b"before")
    just_now = datetime.fromtimestamp(file.stat().st_ctime + 1, UTC)

    def coarse(state: os.stat_result) -> bytes:
        return state.st_size.to_bytes(FINGERPRINT_BYTES, "little")

    with (
        patch("overland.agent.backup.looks.fingerprint", coarse),
        patch("overland.agent.backup.folders.fingerprint", coarse),
        patch.object(vaulted.clock, "now", lambda: just_now),
    ):
        vaulted.back_up()
        file.write_bytes(b"after!")
        point_id = vaulted.back_up()
    assert vaulted.restored(point_id) == {b"a": b"after!"}


@pytest.mark.crash
@pytest.mark.parametrize("way", ["the same writer", "another one"])
def test_the_second_file_of_a_folder_is_as_durable_as_the_first(tmp_path: Path, way: str) -> None:
    """That the folder was made durable once says nothing of what came into it since."""
    root = tmp_path / "root"
    root.mkdir()
    kernel = SimKernel(root, cut_at=None)
    with running_on(kernel):
        files = PosixFiles(root)
        files.write("packs/3f/one", b"one")
        files.write("packs/3f/two", b"two")
        files.delete("packs/3f/one")
        other = files if way == "the same writer" else PosixFiles(root)
        other.write("packs/3f/three", b"three")
        other.write("packs/4a/four", b"four")
    for seed in range(20):
        left = PosixFiles(kernel.survivors(tmp_path / f"{seed}", seed=seed))
        found = {info.name: left.read(info.name) for info in left.names()}
        assert found == {
            "packs/3f/three": b"three",
            "packs/3f/two": b"two",
            "packs/4a/four": b"four",
        }


@pytest.mark.crash
def test_a_file_that_was_written_without_any_sync_is_durable_once_it_was_settled(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    kernel = SimKernel(root, cut_at=None)
    with running_on(kernel):
        PosixFiles(root, is_scratch=True).write("packs/3f/one", b"one")
        PosixFiles(root).settle("packs/3f/one")
    for seed in range(20):
        left = PosixFiles(kernel.survivors(tmp_path / f"{seed}", seed=seed))
        assert left.read("packs/3f/one") == b"one"


@pytest.mark.crash
def test_the_temporary_name_of_a_file_that_was_published_never_comes_back(tmp_path: Path) -> None:
    """Where a file has both names after a power cut, sweeping the one may cost the other."""
    root = tmp_path / "root"
    root.mkdir()
    kernel = SimKernel(root, cut_at=None)
    with running_on(kernel):
        files = PosixFiles(root)
        files.write("packs/3f/one", b"one")
        new = files.create()
        new.write(b"two")
        files.write("beside", b"makes the root durable, with the temporary name")
        new.publish("packs/3f/two")
    for seed in range(20):
        left = kernel.survivors(tmp_path / f"{seed}", seed=seed)
        assert sorted(path.name for path in left.iterdir()) == ["beside", "packs"]
        assert PosixFiles(left).read("packs/3f/two") == b"two"
