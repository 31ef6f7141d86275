from datetime import timedelta

import pytest
from sqlalchemy import delete
from tests.support.landed import VAULT, Computer, Seed, pack, put
from tests.support.reclaiming import Reclaiming, point_id_of, replacement_of

from overland.errors import IntegrityError
from overland.values import point_name, replacement_name
from overland.vault import catalog, chains, copies, garbage, marks, tables
from overland.vault.chains import VaultChanged
from overland.vault.marks import PointReclaimed, PointStays
from overland.vault.replacing import ChainChanged, ReplacementRefused
from overland.vault.retention import Retention

DAY = timedelta(days=1)
POLICY = "00000000-0000-4000-8000-00000000000a"


def name_of(label: str) -> str:
    return pack(label)[0]


def two_points() -> Reclaiming:
    """Two full points; the older one is marked."""
    world = Reclaiming()
    world.back_up(1)
    world.clock.advance(DAY)
    world.back_up(2)
    world.mark(1)
    return world


# -- marks and what follows from them ---------------------------------------------------------


def test_a_marked_point_is_restored_like_any_other_for_two_weeks_and_then_goes() -> None:
    world = two_points()
    before = world.held()
    world.clock.advance(14 * DAY - timedelta(seconds=1))
    world.run()
    assert (world.points()[1].state, world.held()) == ("available", before)
    world.clock.advance(timedelta(seconds=1))
    assert world.run().points_reclaimed == 1
    assert world.held() == before, "its objects have been unneeded for no time yet"
    world.clock.advance(14 * DAY)
    assert world.run().objects_deleted == 2
    assert world.held() == {point_name(point_id_of(2)), name_of("pack 2")}
    assert set(world.points()) == {2}


def test_a_point_that_was_taken_back_in_time_stays() -> None:
    world = two_points()
    world.clock.advance(13 * DAY)
    world.unmark(1)
    world.clock.advance(2 * DAY)
    world.run()
    assert world.points()[1].marked_at is None
    world.clock.advance(30 * DAY)
    assert world.run().objects_deleted == 0
    assert world.events() == ["point-marked", "point-unmarked"]


def test_what_was_reclaimed_cannot_be_taken_back() -> None:
    world = two_points()
    world.clock.advance(14 * DAY)
    world.run()
    with pytest.raises(PointReclaimed):
        world.unmark(1)
    with pytest.raises(PointReclaimed):
        world.mark(1)


def test_the_newest_available_point_cannot_be_marked_nor_reclaimed_when_it_became_the_newest() -> (
    None
):
    world = two_points()
    with pytest.raises(PointStays):
        world.mark(2)
    world.disk.delete(f"{VAULT}/{world.owner.prefix}{name_of('pack 2')}")
    world.record(point_id_of(2))
    assert world.points()[2].state == "incomplete"
    world.clock.advance(20 * DAY)
    assert world.run().points_reclaimed == 0


def test_objects_of_a_base_stay_while_a_living_point_needs_them() -> None:
    world = Reclaiming()
    world.back_up(1)
    world.back_up(2, base=1)
    world.back_up(3, base=2)
    world.mark(1)
    world.mark(2)
    before = world.held()
    for _ in range(3):
        world.clock.advance(15 * DAY)
        world.run()
    assert world.held() == before
    assert world.points()[3].state == "available"
    assert [each.reclaimed_at is None for each in world.points().values()] == [False, False, True]


def test_a_point_based_on_a_reclaimed_one_is_available_until_that_one_is_doomed() -> None:
    world = two_points()
    world.clock.advance(14 * DAY)
    world.run()
    assert world.back_up(3, base=1).state == "available"
    world.clock.advance(30 * DAY)
    assert world.run().objects_deleted == 0


def test_a_point_based_on_one_whose_objects_went_is_incomplete() -> None:
    world = two_points()
    world.clock.advance(14 * DAY)
    world.reclaim_all()
    assert world.back_up(3, base=1).state == "incomplete"


def test_keyrings_and_what_is_not_of_a_repository_are_never_touched() -> None:
    world = two_points()
    world.put("keys/00000001.keyring", b"wrapped")
    world.disk.write(f"{VAULT}/{world.owner.prefix}notes.txt", b"mine")
    put(world.store, "control/manifests/x.json", b"{}")
    put(world.store, "somebody-else/" + name_of("theirs"), pack("theirs")[1])
    for _ in range(4):
        world.clock.advance(15 * DAY)
        world.run()
    left = {info.name for info in world.store.names("")}
    prefix = world.owner.prefix
    assert {f"{prefix}keys/00000001.keyring", f"{prefix}notes.txt"} <= left
    assert {"control/manifests/x.json", "somebody-else/" + name_of("theirs")} <= left


def test_a_lost_point_is_available_again_when_a_repair_finds_the_rest() -> None:
    world = Reclaiming()
    point = world.back_up(1, ["broken"])
    world.replace(1, keeps=[], lost=[1], replaced=[name_of("broken")], by=["what was left"])
    assert world.points()[1].state == "incomplete"
    world.replace(2, keeps=[1], replaced=[name_of("broken")], by=["the rest"])
    assert world.points()[1].state == "available"
    assert world.record(point.point_id).state == "available"


def test_the_point_recorded_last_stays_whatever_the_source_computers_clock_says() -> None:
    world = Reclaiming()
    world.back_up(1)
    with world.database.begin() as connection:
        rule = Retention(daily=7)
        marks.set_policy(connection, world.point(1, connection), POLICY, world.owner)
        marks.set_retention(
            connection, world.owner, POLICY, rule, at=world.clock.now(), actor="agent:1"
        )
    right = world.clock.now()
    for number in range(2, 30):  # an empty battery: every start is in 1970
        world.clock.advance(DAY)
        now = world.clock.now()
        world.clock.advance(right - 10000 * DAY - now)
        point_id = world.put_point(number, [f"pack {number}"])
        world.clock.advance(now - world.clock.now())
        point = world.record(point_id)
        with world.database.begin() as connection:
            marks.set_policy(connection, point, POLICY, world.owner)
        world.run()
    with pytest.raises(PointStays):
        world.mark(29)
    world.clock.advance(60 * DAY)
    world.run()
    assert world.points()[29].reclaimed_at is None
    assert world.points()[29].marked_at is None


# -- interrupted uploads ----------------------------------------------------------------------


def test_packs_without_a_point_go_two_weeks_after_they_were_seen() -> None:
    world = Reclaiming()
    left = world.put_pack("left over")
    world.run()
    world.back_up(1)
    world.clock.advance(14 * DAY - timedelta(seconds=1))
    world.run()
    assert left in world.held()
    world.clock.advance(timedelta(seconds=1))
    world.run()
    assert left not in world.held()


def test_packs_of_a_first_copy_that_takes_weeks_stay_while_it_is_under_way() -> None:
    world = Reclaiming()
    early = world.put_pack("early")
    for _ in range(60):
        with world.database.begin() as connection:
            chains.note_grant(connection, world.owner, at=world.clock.now())
        world.run()
        world.clock.advance(DAY)
    assert early in world.held()
    assert world.back_up(1, ["early", "late"]).state == "available"


def test_another_policys_points_do_not_end_a_first_copy_that_takes_weeks() -> None:
    world = Reclaiming()
    early = world.put_pack("early")
    for number in range(2, 62):
        with world.database.begin() as connection:
            at = world.clock.now()
            chains.note_grant(connection, world.owner, at=at, policy_id=POLICY)
        world.back_up(number)
        world.run()
        world.clock.advance(DAY)
    assert early in world.held()
    assert world.back_up(1, ["early", "late"]).state == "available"


def test_a_policy_whose_runs_always_fail_holds_nothing_for_ever() -> None:
    world = Reclaiming()
    for day in range(200):
        with world.database.begin() as connection:
            at = world.clock.now()
            chains.note_grant(connection, world.owner, at=at, policy_id=POLICY)
        if day == 1:
            world.put_pack("left over")
        world.back_up(2 + day)
        world.run()
        world.clock.advance(DAY)
    assert name_of("left over") not in world.held()


def test_a_recorded_point_ends_its_policys_upload() -> None:
    world = Reclaiming()
    with world.database.begin() as connection:
        chains.note_grant(connection, world.owner, at=world.clock.now(), policy_id=POLICY)
    left = world.put_pack("left over")
    world.run()
    world.clock.advance(13 * DAY)
    world.back_up(1)
    with world.database.begin() as connection:
        chains.note_grant(connection, world.owner, at=world.clock.now(), policy_id=POLICY)
        chains.note_recorded(connection, world.owner, POLICY)
    world.clock.advance(DAY)
    world.run()
    assert left not in world.held()


def test_a_mark_is_taken_back_when_its_object_is_needed_again() -> None:
    world = Reclaiming()
    world.put_pack("early")
    world.run()
    world.clock.advance(10 * DAY)
    world.back_up(1, ["early"])
    world.run()
    with world.database.begin() as connection:
        assert garbage.marks(connection, world.owner) == {}
    world.clock.advance(30 * DAY)
    assert world.run().objects_deleted == 0


# -- the fence --------------------------------------------------------------------------------


def test_a_pack_that_is_put_again_after_it_vanished_has_its_two_weeks_anew() -> None:
    world = Reclaiming()
    world.back_up(1)
    left = world.put_pack("left behind")
    world.run()
    world.store.delete(world.owner.prefix + left)
    world.run()
    world.clock.advance(20 * DAY)
    world.put_pack("left behind")
    world.back_up(2)
    assert world.run().objects_deleted == 0
    assert left in world.held()
    world.clock.advance(14 * DAY)
    world.run()
    assert left not in world.held()


def test_a_point_that_names_a_doomed_object_lacks_it_until_it_is_stored_again() -> None:
    world = two_points()
    world.clock.advance(14 * DAY)
    world.run()
    world.clock.advance(14 * DAY)
    name, data = pack("pack 1")
    with world.database.begin() as connection:
        run = world.reclaim.begin(connection, world.request)
    batches = world.reclaim._plan(run)  # doomed, and not deleted yet
    assert name in world.held()
    point = world.back_up(3, ["pack 1", "pack 3"])
    assert (point.state, point.missing) == ("incomplete", (name,))
    for each in batches:
        world.reclaim._step(each)
    assert name not in world.held()
    world.put(name, data)
    assert world.record(point.point_id).state == "available"
    for each in batches:
        world.reclaim._step(each)
    assert name in world.held(), "a step that runs again deletes nothing that came since"


def test_whoever_looked_before_objects_went_has_to_look_again() -> None:
    world = two_points()
    world.clock.advance(14 * DAY)
    world.run()
    world.clock.advance(14 * DAY)
    point_id = world.put_point(3, ["pack 1"])
    with world.database.begin() as connection:
        fence = chains.read_fence(connection, world.owner)
    finding = catalog.inspect(world.store, fence=fence, point_id=point_id)
    assert finding.is_complete
    world.run()
    with pytest.raises(VaultChanged), world.database.begin() as connection:
        catalog.record(connection, finding, at=world.clock.now())
    assert world.record(point_id).missing == (name_of("pack 1"),)


def test_nothing_is_doomed_when_a_point_was_recorded_since_the_survey(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = two_points()
    world.clock.advance(14 * DAY)
    world.run()
    world.clock.advance(14 * DAY)
    whole, numbers = garbage.unneeded, iter(range(3, 20))

    def slow(*given: object) -> dict[str, int]:
        found = whole(*given)  # type: ignore[arg-type] # as it was called
        world.back_up(next(numbers), ["pack 1"])
        return found

    monkeypatch.setattr(garbage, "unneeded", slow)
    assert world.run().objects_deleted == 0
    assert {each.state for n, each in world.points().items() if n > 2} == {"available"}


# -- documents that cannot be read ------------------------------------------------------------


@pytest.mark.parametrize("harm", ["missing", "flipped", "swapped"])
def test_nothing_is_deleted_while_a_points_file_cannot_be_read(harm: str) -> None:
    world = two_points()
    world.back_up(3)
    world.clock.advance(14 * DAY)
    world.run()
    world.clock.advance(14 * DAY)
    path = f"{VAULT}/{world.owner.prefix}{point_name(point_id_of(2))}"
    before, data = world.held(), world.disk.read(path)
    world.disk.delete(path)
    world.store.delete(copies.kept_name(world.owner, point_id_of(2)))
    if harm == "flipped":
        world.disk.write(path, data[:700] + bytes([data[700] ^ 1]) + data[701:])
    if harm == "swapped":
        other = f"{VAULT}/{world.owner.prefix}{point_name(point_id_of(3))}"
        world.disk.write(path, world.disk.read(other))
    report = world.run()
    assert report.objects_deleted == 0
    assert report.problem is not None
    assert point_id_of(2) in report.problem
    assert world.reclaim.preview(world.request).problem == report.problem
    world.disk.write(path, data)
    assert world.held() == before
    assert world.run().objects_deleted == 2


def test_what_a_travelling_seed_will_need_is_left_alone() -> None:
    world, seed = Reclaiming(), Seed()
    put(world.store, "control/manifests/1.json", seed.document)
    world.manifests[seed.seed_id] = "control/manifests/1.json"
    with world.database.begin() as connection:
        catalog.announce_seed(connection, seed.manifest, owner=world.owner)
    name, data = next(iter(seed.payload.items()))
    world.put(name, data)
    world.back_up(7)
    world.reclaim_all()
    assert name in world.held()
    world.manifests.clear()
    assert "cannot be read" in str(world.run().problem)


def test_a_point_that_was_never_recorded_is_entered_and_not_deleted() -> None:
    world = Reclaiming()
    world.back_up(1)
    world.put_point(2, ["pack 2"], base=1)
    world.run()
    world.back_up(3)
    with world.database.begin() as connection:
        connection.execute(delete(tables.points))
    before = world.held()
    for _ in range(4):
        world.clock.advance(15 * DAY)
        world.run()
    assert world.held() == before
    assert {n: each.state for n, each in world.points().items()} == dict.fromkeys(
        (1, 2, 3), "available"
    )


# -- rules ------------------------------------------------------------------------------------


def follow(world: Reclaiming, rule: Retention) -> None:
    with world.database.begin() as connection:
        for each in world.listed(connection):
            marks.set_policy(connection, each, POLICY, world.owner)
        at = world.clock.now()
        marks.set_retention(connection, world.owner, POLICY, rule, at=at, actor="agent:1")
        marks.apply_rules(connection, world.owner, at=at, grace=marks.MIN_GRACE)


def marked(world: Reclaiming) -> list[int]:
    return [n for n, each in world.points().items() if each.marked_at is not None]


def ten_days() -> Reclaiming:
    world = Reclaiming()
    for number in range(1, 11):
        world.clock.advance(DAY)
        world.back_up(number)
    return world


def test_a_rule_marks_what_it_does_not_keep_and_raising_it_takes_marks_back() -> None:
    world = ten_days()
    follow(world, Retention(daily=7))
    assert marked(world) == [1, 2, 3]
    follow(world, Retention(daily=9))
    assert marked(world) == [1]
    assert world.events()[-3:] == ["retention-changed", "point-unmarked", "point-unmarked"]


def test_a_rule_leaves_alone_what_a_person_took_back_or_deleted() -> None:
    world = ten_days()
    follow(world, Retention(daily=7))
    world.unmark(2)
    world.mark(9)
    follow(world, Retention(daily=8))
    assert marked(world) == [1, 9], "2 is held, and 9 does not count among the eight"
    assert world.points()[9].mark_reason == "deleted"


def test_a_rule_never_marks_what_cannot_be_restored() -> None:
    world = ten_days()
    world.disk.delete(f"{VAULT}/{world.owner.prefix}{name_of('pack 2')}")
    world.record(point_id_of(2))
    follow(world, Retention(daily=7))
    assert marked(world) == [1, 3]


@pytest.mark.requirement("R130")
def test_an_old_seed_stays_until_a_newer_point_can_be_restored() -> None:
    world, seed = Reclaiming(), Seed()
    for name, data in seed.contents.items():
        world.put(name, data)
    world.record(seed.point_id)
    follow(world, Retention(daily=7))
    world.clock.advance(1000 * DAY)
    world.reclaim_all()
    assert marked(world) == []
    for number in range(5, 13):
        world.clock.advance(DAY)
        world.back_up(number, base=seed.number)
    follow(world, Retention(daily=7))
    assert marked(world) == [seed.number, 5]


@pytest.mark.requirement("R130")
def test_a_seed_obeys_the_rule_of_the_points_that_build_on_it() -> None:
    """Nobody names its policy; what is below it and no seed keeps what was said of it."""
    world, seed = Reclaiming(), Seed()
    for name, data in seed.contents.items():
        world.put(name, data)
    world.record(seed.point_id)
    world.clock.advance(1000 * DAY)
    world.back_up(5, base=seed.number)  # nobody said whose rule it obeys
    for number in range(6, 14):
        world.clock.advance(DAY)
        point = world.back_up(number, base=number - 1)
        with world.database.begin() as connection:
            marks.set_policy(connection, point, POLICY, world.owner)
    with world.database.begin() as connection:
        at, rule = world.clock.now(), Retention(daily=7)
        marks.set_retention(connection, world.owner, POLICY, rule, at=at, actor="agent:1")
        marks.apply_rules(connection, world.owner, at=at, grace=marks.MIN_GRACE)
    assert marked(world) == [seed.number, 6]
    world.clock.advance(15 * DAY)
    world.reclaim_all()
    assert world.points()[seed.number].reclaimed_at is not None
    assert world.points()[5].state == "available", "what it needs of the seed stays"


# -- replacements -----------------------------------------------------------------------------


def repacked() -> Reclaiming:
    """A chain of three points of which the first pack was replaced."""
    world = Reclaiming()
    for number in (1, 2, 3):
        world.back_up(number, base=number - 1 or None)
    world.replace(1, keeps=[1, 2, 3], replaced=[name_of("pack 1")], by=["new 1"])
    return world


def test_replaced_objects_go_after_two_weeks_and_the_points_stay_available() -> None:
    world = repacked()
    world.back_up(4, base=3)
    world.run()
    assert name_of("pack 1") in world.held()
    world.clock.advance(14 * DAY)
    assert world.run().objects_deleted == 1
    assert name_of("pack 1") not in world.held()
    for number in (1, 2, 3, 4):
        assert world.record(point_id_of(number)).state == "available"


def test_a_later_replacement_may_replace_what_an_earlier_one_brought() -> None:
    world = repacked()
    gone = [name_of("new 1"), name_of("pack 2")]
    world.replace(2, keeps=[1, 2, 3], replaced=gone, by=["new 2"])
    world.back_up(4)
    world.reclaim_all()
    assert world.held().isdisjoint({*gone, name_of("pack 1")})
    assert world.record(point_id_of(3)).state == "available"


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_nothing_is_deleted_when_what_replaced_it_is_not_whole(harm: str) -> None:
    world = repacked()
    world.back_up(4)
    world.run()
    world.clock.advance(14 * DAY)
    path = f"{VAULT}/{world.owner.prefix}{name_of('new 1')}"
    if harm == "missing":
        world.disk.delete(path)
    else:
        world.disk.damage(path, offset=5)
    report = world.run()
    assert report.objects_deleted == 0
    assert name_of("new 1") in str(report.problem)
    assert name_of("pack 1") in world.held()


def test_a_replacement_is_refused_when_a_point_that_needs_what_goes_is_not_kept() -> None:
    world = Reclaiming()
    world.back_up(1)
    world.back_up(2, base=1)
    with pytest.raises(ReplacementRefused, match="not kept"):
        world.replace(1, keeps=[1], replaced=[name_of("pack 1")], by=["new"])
    assert world.points()[2].state == "available"


def test_a_replacement_is_refused_when_what_comes_is_not_in_the_vault() -> None:
    world = Reclaiming()
    world.back_up(1)
    replacement_id, document = replacement_of(
        world.computer,
        1,
        keeps=[1],
        replaced=[name_of("pack 1")],
        objects=[pack("new")],
        created_at=world.clock.now(),
    )
    world.put(replacement_name(replacement_id), document)
    with pytest.raises(ReplacementRefused, match="not in the vault"):
        world.accept(replacement_id)
    world.put_pack("new")
    world.accept(replacement_id)
    assert world.points()[1].state == "available"


def test_a_replacement_is_refused_when_it_brings_back_what_was_replaced() -> None:
    """It is there still, counts as replaced for ever, and goes when its two weeks are over."""
    world = Reclaiming()
    world.back_up(1)
    world.replace(1, keeps=[1], replaced=[name_of("pack 1")], by=["new 1"])
    assert name_of("pack 1") in world.held()
    with pytest.raises(ReplacementRefused, match="replaced before"):
        world.replace(2, keeps=[1], replaced=[name_of("new 1")], by=["pack 1"])
    world.reclaim_all()
    assert name_of("new 1") in world.held()
    assert world.record(point_id_of(1)).state == "available"


def test_a_replacement_is_refused_when_the_seed_of_the_chain_is_on_its_way() -> None:
    world, seed = Reclaiming(), Seed()
    put(world.store, "control/manifests/1.json", seed.document)
    world.manifests[seed.seed_id] = "control/manifests/1.json"
    with world.database.begin() as connection:
        catalog.announce_seed(connection, seed.manifest, owner=world.owner)
    world.back_up(2, base=seed.number)
    with pytest.raises(ReplacementRefused, match="on its way"):
        world.replace(1, keeps=[2], replaced=[name_of("pack 2")], by=["new"])


def test_a_replacement_of_an_older_version_of_the_chain_is_refused() -> None:
    world = Reclaiming()
    world.back_up(1)
    with world.database.begin() as connection:
        version = chains.read_fence(connection, world.owner).version
    world.back_up(2)
    with pytest.raises(ChainChanged):
        world.replace(1, keeps=[1], replaced=[name_of("pack 1")], by=["new"], chain_version=version)


def test_a_repair_that_lost_a_point_keeps_what_is_left_of_it_until_it_is_deleted() -> None:
    world = Reclaiming()
    world.back_up(1)
    world.back_up(2, base=1)
    world.back_up(3)
    world.replace(1, keeps=[2], lost=[1], replaced=[name_of("pack 1")], by=["new"])
    assert [each.state for each in world.points().values()] == [
        "incomplete",
        "available",
        "available",
    ]
    world.reclaim_all()
    assert name_of("pack 1") in world.held()
    world.mark(1)
    world.clock.advance(14 * DAY)
    world.reclaim_all()
    assert name_of("pack 1") not in world.held()
    assert world.record(point_id_of(2)).state == "available"


def test_accepted_replacements_are_known_when_the_database_lost_them() -> None:
    world = repacked()
    world.back_up(4)
    world.reclaim_all()
    with world.database.begin() as connection:
        for table in (tables.replacements, tables.points, tables.chains):
            connection.execute(delete(table))
    before = world.held()
    for _ in range(4):
        world.clock.advance(15 * DAY)
        world.run()
    assert world.held() == before
    assert set(world.points()) == {1, 2, 3, 4}
    with world.database.begin() as connection:
        assert len(chains.read_fence(connection, world.owner).accepted) == 1


def test_an_accepted_document_that_can_be_read_nowhere_stops_reclaim() -> None:
    world = repacked()
    world.back_up(4)
    with world.database.begin() as connection:
        (replacement_id,) = chains.read_fence(connection, world.owner).accepted
    world.store.delete(world.owner.prefix + replacement_name(replacement_id))
    with pytest.raises(IntegrityError):
        world.record(point_id_of(1))
    world.clock.advance(20 * DAY)
    assert world.run().problem is not None
    assert name_of("pack 1") in world.held()


def test_a_replacement_that_no_point_needs_any_more_goes_with_its_copy() -> None:
    world = repacked()
    world.back_up(4)
    for number in (1, 2, 3):
        world.mark(number)
    for _ in range(4):
        world.clock.advance(15 * DAY)
        world.run()
    assert world.held() == {point_name(point_id_of(4)), name_of("pack 4")}
    (copy,) = world.store.names("control/")
    assert copy.name == copies.kept_name(world.owner, point_id_of(4))
    with world.database.begin() as connection:
        assert chains.read_fence(connection, world.owner).accepted == ()


def test_what_names_others_is_deleted_before_them() -> None:
    """Killed between any two of the deletions, no point is left that lacks what it names."""
    world = repacked()
    world.back_up(4)
    for number in (1, 2, 3):
        world.mark(number)
    world.clock.advance(15 * DAY)
    world.run()
    world.clock.advance(15 * DAY)
    before = len(world.disk.trail)
    assert world.run().objects_deleted == 8
    gone = [step for step in world.disk.trail[before:] if step.startswith("unlink")]
    prefix = f"unlink {VAULT}/{world.owner.prefix}"
    kinds = [step.removeprefix(prefix).split("/")[0] for step in gone if step.startswith(prefix)]
    assert kinds == 3 * ["points"] + ["replacements"] + 4 * ["packs"]


def test_what_is_doomed_of_one_computer_stays_with_another_that_has_the_same_name() -> None:
    world = Reclaiming()
    world.back_up(1)
    other = Reclaiming(
        computer=Computer(number=2), disk=world.disk, database=world.database, clock=world.clock
    )
    other.put_pack("pack 1")
    other.run()
    with other.database.begin() as connection:  # and killed before it was deleted
        garbage.doom(connection, other.owner, [name_of("pack 1")])
        assert list(garbage.list_doomed(connection, other.owner)) == [name_of("pack 1")]
    before = world.held()
    world.run()
    assert world.held() == before
    assert world.record(point_id_of(1)).state == "available"
    other.run()
    assert other.held() == set()
    assert world.held() == before


# -- looking ahead ----------------------------------------------------------------------------


def test_a_preview_says_what_a_run_does_and_changes_nothing() -> None:
    world = two_points()
    world.clock.advance(14 * DAY)
    world.run()
    world.clock.advance(14 * DAY)
    before = world.held()
    preview = world.reclaim.preview(world.request)
    assert (world.held(), preview.objects_deleted) == (before, 2)
    assert world.reclaim.preview(world.request) == preview
    done = world.run()
    assert (done.objects_deleted, done.bytes_deleted) == (2, preview.bytes_deleted)
