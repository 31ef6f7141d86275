"""A recovery point's file in the vault is damaged or gone: what reclaim does, and what it asks for.

Nothing that the point might need is deleted; a copy out of the source computer's reach, or the
seed's manifest, tells what that is, and the way out never needs more than a command.
"""

import pytest
from tests.support.landed import VAULT, Seed, pack, put
from tests.support.reclaiming import DAY, Reclaiming, point_id_of
from tests.support.simengine import Killed, SimEngine

from overland.errors import KeyChangeMissing
from overland.format.point import PointPublic
from overland.ports.objects import Objects
from overland.values import PointId, point_name
from overland.vault import copies
from overland.vault.owner import Owner

HARMS = ("missing", "flipped", "swapped", "short")


def path_of(world: Reclaiming, number: int) -> str:
    return f"{VAULT}/{world.owner.prefix}{point_name(point_id_of(number))}"


def copy_of(world: Reclaiming, number: int) -> str:
    return copies.kept_name(world.owner, point_id_of(number))


def harm(world: Reclaiming, path: str, how: str, *, other: str) -> None:
    data = world.disk.read(path)
    world.disk.delete(path)
    if how == "flipped":
        world.disk.write(path, data[:700] + bytes([data[700] ^ 1]) + data[701:])
    if how == "swapped":
        world.disk.write(path, world.disk.read(other))
    if how == "short":
        world.disk.write(path, data[:-1])


def lose(world: Reclaiming, number: int) -> None:
    """Damage a point's file, and the copy of it."""
    harm(world, path_of(world, number), "flipped", other="")
    world.store.delete(copy_of(world, number))


def three_points() -> Reclaiming:
    """Three full points; the oldest is reclaimed, and its objects may go with the next run."""
    world = Reclaiming()
    for number in (1, 2, 3):
        world.back_up(number)
        world.clock.advance(DAY)
    world.mark(1)
    world.clock.advance(14 * DAY)
    world.run()
    world.clock.advance(14 * DAY)
    return world


@pytest.mark.parametrize("how", HARMS)
def test_a_damaged_point_is_put_back_from_its_copy_and_holds_up_nothing(how: str) -> None:
    world = three_points()
    data = world.disk.read(path_of(world, 2))
    harm(world, path_of(world, 2), how, other=path_of(world, 3))
    assert world.reclaim.preview(world.request).points_damaged == [point_id_of(2)]
    report = world.run()
    assert (report.problem, report.objects_deleted) == (None, 2)
    assert (report.points_damaged, report.points_put_back) == ([], [point_id_of(2)])
    assert world.disk.read(path_of(world, 2)) == data
    assert pack("pack 2")[0] in world.held()
    assert world.points()[2].state == "available"
    assert world.events()[-1] == "point-put-back"
    assert world.run().points_put_back == []


def test_a_key_change_that_is_missing_refuses_preview_and_run_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, real = three_points(), copies.read_file

    def missing(store: Objects, *, owner: Owner, point_id: PointId) -> PointPublic:
        if point_id == point_id_of(2):
            raise KeyChangeMissing("points/2", change="keychanges/1")
        return real(store, owner=owner, point_id=point_id)

    monkeypatch.setattr(copies, "read_file", missing)
    before = world.held()
    preview = world.reclaim.preview(world.request)
    assert (preview.objects_deleted, world.held()) == (0, before)
    assert "keychanges/1" in str(preview.problem)
    assert preview.problem == world.run().problem


def test_a_killed_put_back_is_done_by_the_next_run() -> None:
    for border in range(40):
        world = three_points()
        data = world.disk.read(path_of(world, 2))
        harm(world, path_of(world, 2), "flipped", other="")
        world.engine = SimEngine(kill_at=border)
        world.begin()
        try:
            world.run()
        except Killed:
            world.restart()
        else:
            return
        world.run()
        assert world.disk.read(path_of(world, 2)) == data
        assert pack("pack 2")[0] in world.held()
    pytest.fail("a run has fewer borders")


def test_a_forged_or_damaged_copy_is_no_copy() -> None:
    world = three_points()
    harm(world, path_of(world, 2), "flipped", other="")
    damaged = world.disk.read(path_of(world, 2))
    whole = world.disk.read(path_of(world, 3))
    for forged in (b"", damaged, whole, b"x" * 2000):
        world.store.delete(copy_of(world, 2))
        put(world.store, copy_of(world, 2), forged)
        report = world.run()
        assert point_id_of(2) in str(report.problem)
        assert report.objects_deleted == 0
        assert world.disk.read(path_of(world, 2)) == damaged


def test_what_a_point_without_a_copy_might_need_stays_and_doomed_objects_go() -> None:
    world = three_points()
    with world.database.begin() as connection:
        run = world.reclaim.begin(connection, world.request)
    world.reclaim._plan(run)  # doomed, and killed before anything was deleted
    left = world.put_pack("left")
    lose(world, 2)
    before = world.held()
    world.restart()
    for _ in range(4):
        world.clock.advance(15 * DAY)
        report = world.run()
        assert (report.objects_deleted, report.points_damaged) == (0, [point_id_of(2)])
    doomed = {point_name(point_id_of(1)), pack("pack 1")[0]}
    assert before - world.held() == doomed
    assert left in world.held(), "nobody knows whether the damaged point needs it"


def test_every_unreadable_point_is_named_and_counts_as_incomplete() -> None:
    world = three_points()
    world.back_up(4, base=2)
    world.back_up(5)
    lose(world, 2)
    lose(world, 3)
    report = world.run()
    assert report.points_damaged == [point_id_of(2), point_id_of(3)]
    for each in (point_id_of(2), point_id_of(3), "overland repair", "overland points delete"):
        assert each in str(report.problem)
    states = {number: each.state for number, each in world.points().items() if number > 1}
    assert states == {2: "incomplete", 3: "incomplete", 4: "incomplete", 5: "available"}
    assert world.points()[2].missing == (point_name(point_id_of(2)),)


def test_deleting_the_unreadable_point_and_what_is_based_on_it_frees_the_way() -> None:
    world = three_points()
    world.back_up(4, base=2)
    world.back_up(5)
    lose(world, 2)
    assert world.run().objects_deleted == 0
    world.mark(2)
    for _ in range(2):
        world.clock.advance(15 * DAY)
        assert world.run().objects_deleted == 0, "point 4 is based on it"
    world.mark(4)
    for _ in range(3):
        world.clock.advance(15 * DAY)
        world.run()
    assert world.run().problem is None
    kept = {point_name(point_id_of(n)) for n in (3, 5)} | {pack(f"pack {n}")[0] for n in (3, 5)}
    assert world.held() == kept
    left = {info.name for info in world.store.names("control/")}
    assert left == {copy_of(world, 3), copy_of(world, 5)}


def test_the_newest_point_can_be_deleted_when_it_turned_out_unreadable() -> None:
    world = three_points()
    lose(world, 3)
    world.run()
    world.mark(3)
    world.clock.advance(15 * DAY)
    world.reclaim_all()
    assert world.held() == {point_name(point_id_of(2)), pack("pack 2")[0]}


def test_a_point_that_can_be_read_again_counts_again() -> None:
    world = three_points()
    data = world.disk.read(path_of(world, 2))
    lose(world, 2)
    world.run()
    world.disk.write(path_of(world, 2), data)
    report = world.run()
    assert (report.problem, report.objects_deleted, report.points_damaged) == (None, 2, [])
    assert (world.points()[2].state, world.points()[2].missing) == ("available", ())
    assert copy_of(world, 2) in {info.name for info in world.store.names("control/")}


def test_a_seeds_manifest_tells_what_its_damaged_point_needs() -> None:
    world, seed = Reclaiming(), Seed(number=7)
    world.back_up(1)
    for name, data in seed.contents.items():
        world.put(name, data)
    put(world.store, "control/manifests/1.json", seed.document)
    world.manifests[seed.seed_id] = "control/manifests/1.json"
    world.record(seed.point_id)
    world.clock.advance(DAY)
    world.back_up(5, base=seed.number)
    world.mark(1)
    world.store.delete(world.owner.prefix + point_name(seed.point_id))
    for _ in range(3):
        world.clock.advance(15 * DAY)
        report = world.run()
        assert report.points_damaged[-1:] == [seed.point_id]
        assert report.problem is None
    assert pack("pack 1")[0] not in world.held()
    assert set(seed.payload) <= world.held()
    assert world.points()[5].state == "incomplete", "its base's file is missing"


def test_a_full_vault_has_no_copies_and_is_reclaimed_all_the_same() -> None:
    world = three_points()
    for number in (2, 3):
        world.store.delete(copy_of(world, number))
    world.disk._capacity_bytes = sum(info.size_bytes for info in world.disk.names())
    assert world.run().objects_deleted == 2
    assert world.run().problem is None
    assert world.run().objects_deleted == 0
    assert copy_of(world, 3) in {info.name for info in world.store.names("control/")}, "room again"
