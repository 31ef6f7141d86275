import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import pytest
from tests.support.landed import CONTAINER, SNAPSHOT, VAULT, Computer, Landed, Seed, put
from tests.support.simengine import Killed, SimEngine
from typing_extensions import override

from overland.format.seed_manifest import encode_seed_manifest
from overland.values import point_name
from overland.vault import adoption as adoptions
from overland.vault import catalog
from overland.vault.adoption import Adoption, AdoptionStatus


def status(landed: Landed, adoption: Adoption) -> AdoptionStatus:
    with landed.database.begin() as connection:
        found = adoption.status(connection, landed.seed.seed_id)
    assert found is not None
    return found


def adopted(landed: Landed) -> AdoptionStatus:
    adoption = landed.adoption()
    landed.adopt(adoption)
    return status(landed, adoption)


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def packs(seed: Seed) -> list[str]:
    return [name for name in seed.contents if name.startswith("packs/")]


@pytest.mark.requirement("R126")
def test_everything_that_was_signed_arrives_in_the_vault_and_nothing_else() -> None:
    landed = Landed()
    put(landed.container, f"seed-{landed.seed.seed_id}/packs/stray", b"not signed")
    found = adopted(landed)
    assert landed.in_vault() == landed.seed.contents
    assert (found.state, found.missing, found.percent) == ("done", (), 100)
    assert found.copied == found.done_objects == found.total_objects == len(landed.seed.contents)
    assert found.done_bytes == found.total_bytes == sum(map(len, landed.seed.contents.values()))
    assert landed.ended == [(landed.seed.seed_id, "done")]


@pytest.mark.requirement("R128")
def test_the_seeds_point_is_available_and_as_old_as_its_snapshot() -> None:
    landed = Landed()
    adopted(landed)
    with landed.database.begin() as connection:
        owner = landed.seed.computer.owner
        (point,) = catalog.list_points(connection, source_computer_id=owner.source_computer_id)
    assert (point.point_id, point.state, point.kind) == (landed.seed.point_id, "available", "seed")
    assert point.created_at == SNAPSHOT
    assert point.published_at == landed.clock.now()


def test_objects_come_in_the_order_in_which_they_need_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adoptions, "BATCH_OBJECTS", 2)
    landed = Landed()
    before = len(landed.disk.trail)
    adopted(landed)
    trail = [step for step in landed.disk.trail[before:] if step.startswith("rename")]
    kinds = [step.rpartition(".")[2] for step in trail]
    assert kinds == ["pack", "pack", "pack", "index", "keyring", "point"], trail


def test_a_key_change_comes_before_the_keyring_that_names_it() -> None:
    landed = Landed(seed=Seed(key_change=b"what a former signing key signed\n"))
    before = len(landed.disk.trail)
    adopted(landed)
    assert landed.in_vault() == landed.seed.contents
    trail = [step for step in landed.disk.trail[before:] if step.startswith("rename")]
    kinds = [step.rpartition(".")[2] for step in trail]
    assert kinds[-4:] == ["index", "change", "keyring", "point"], trail


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: None, "absent"),
        (flipped, "corrupt"),
        (lambda data: data[:-512], "corrupt"),
        (lambda data: data + bytes(512), "corrupt"),
        (lambda _: b"", "corrupt"),
    ],
    ids=["lost", "flipped", "cut", "longer", "empty"],
)
@pytest.mark.parametrize("kind", ["packs/", "index/", "keys/", "points/"])
@pytest.mark.requirement("R126", "R134")
def test_what_is_lost_or_damaged_is_named_and_no_point_appears(
    kind: str, change: Callable[[bytes], bytes | None], reason: str
) -> None:
    landed = Landed()
    name = next(each for each in landed.seed.contents if each.startswith(kind))
    landed.damage(name, change)
    found = adopted(landed)
    size_bytes = len(landed.seed.contents[name])
    assert [(m.name, m.size_bytes, m.reason) for m in found.missing] == [(name, size_bytes, reason)]
    assert (found.state, landed.ended) == ("incomplete", [(landed.seed.seed_id, "incomplete")])
    assert found.percent < 100
    expected = {n: d for n, d in landed.seed.contents.items() if n != name}
    expected.pop(point_name(landed.seed.point_id), None)
    assert landed.in_vault() == expected


def test_a_new_attempt_looks_anew_and_copies_only_what_was_missing() -> None:
    landed = Landed()
    first, second, third = packs(landed.seed)
    landed.damage(first, flipped)
    landed.damage(second, lambda _: None)
    adoption = landed.adoption()
    landed.adopt(adoption)
    assert {m.name for m in status(landed, adoption).missing} == {first, second}

    # A top-up drive brings one, the network the other; a third is gone, but it was adopted.
    landed.damage(first, lambda _: landed.seed.contents[first])
    owner = landed.seed.computer.owner
    put(landed.vault, owner.prefix + second, landed.seed.contents[second])
    landed.damage(third, lambda _: None)
    landed.adopt(adoption)
    found = status(landed, adoption)
    assert (found.number, found.state, found.missing) == (2, "done", ())
    assert found.copied == 2, "the pack of the top-up drive, and the point"
    assert landed.in_vault() == landed.seed.contents


def test_what_was_verified_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    landed = Landed()
    landed.damage(packs(landed.seed)[0], lambda _: None)
    adoption = landed.adoption()
    landed.adopt(adoption)
    reads: list[str] = []
    blocks = landed.disk.blocks

    def watched(name: str) -> Iterator[memoryview]:
        reads.append(name)
        return blocks(name)

    monkeypatch.setattr(landed.disk, "blocks", watched)
    landed.adopt(adoption)
    assert status(landed, adoption).skipped == len(landed.seed.contents) - 2
    assert len(reads) == 1, "only what was missing is tried again"


def test_an_adopted_seed_is_not_adopted_again() -> None:
    landed = Landed()
    adoption = landed.adoption()
    landed.adopt(adoption)
    landed.adopt(adoption)
    assert (status(landed, adoption).number, len(landed.ended)) == (1, 1)


def test_an_object_of_the_vault_that_is_not_the_signed_one_is_a_conflict_and_stays() -> None:
    for other in (b"other", flipped(Landed().seed.contents[packs(Landed().seed)[0]])):
        landed = Landed()
        name = packs(landed.seed)[0]
        put(landed.vault, landed.seed.computer.owner.prefix + name, other)
        found = adopted(landed)
        assert [(m.name, m.reason) for m in found.missing] == [(name, "conflict")]
        assert landed.in_vault()[name] == other


def test_what_was_verified_and_has_another_length_now_is_a_conflict_and_stays() -> None:
    landed = Landed()
    lost, cut, _ = packs(landed.seed)
    landed.damage(lost, flipped)
    adoption = landed.adoption()
    landed.adopt(adoption)
    landed.damage(lost, lambda _: landed.seed.contents[lost])
    name = landed.seed.computer.owner.prefix + cut
    landed.disk.truncate(f"{VAULT}/{name}", length=512)

    landed.adopt(adoption)

    found = status(landed, adoption)
    assert (found.state, [(m.name, m.reason) for m in found.missing]) == (
        "incomplete",
        [(cut, "conflict")],
    )
    assert landed.in_vault()[cut] == landed.seed.contents[cut][:512]


@pytest.mark.parametrize("kind", ["packs/", "index/", "keys/"])
@pytest.mark.requirement("R126")
def test_what_vanishes_from_the_vault_while_the_work_is_killed_keeps_the_point_out(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoptions, "BATCH_OBJECTS", 2)
    ends: set[str] = set()
    for kill_at in itertools.count():
        landed = Landed(engine=SimEngine(kill_at=kill_at))
        name = next(each for each in landed.seed.contents if each.startswith(kind))
        point = point_name(landed.seed.point_id)
        try:
            landed.adopt(landed.adoption())
        except Killed:
            pass
        else:
            break
        if point in landed.in_vault():
            continue
        landed.disk.delete(f"{VAULT}/{landed.seed.computer.owner.prefix}{name}")
        landed.engine = landed.engine.restart()
        again = landed.adoption()
        again.resume()
        found = status(landed, again)
        ends.add(found.state)
        if found.state == "done":
            assert landed.in_vault() == landed.seed.contents, f"killed at {kill_at}"
        else:
            assert [m.name for m in found.missing] == [name], f"killed at {kill_at}"
            assert point not in landed.in_vault(), f"killed at {kill_at}"
    assert ends == {"done", "incomplete"}


@pytest.mark.requirement("R126")
def test_another_computers_objects_do_not_pass_for_the_seeds() -> None:
    landed = Landed()
    other = Seed(computer=Computer(number=2))
    swapped = list(zip(packs(landed.seed), packs(other), strict=True))
    for mine, theirs in swapped:
        landed.damage(mine, _always(other.contents[theirs]))
    their_point = _always(other.contents[point_name(other.point_id)])
    landed.damage(point_name(landed.seed.point_id), their_point)
    found = adopted(landed)
    assert {m.reason for m in found.missing} == {"corrupt"}
    assert len(found.missing) == len(swapped) + 1


MINE, THEIRS = Seed(), Seed(computer=Computer(number=2))
FOREIGN = {
    "another computer's": (THEIRS.document, "signature-invalid"),
    "mine, signed by another": (
        MINE.signed(encode_seed_manifest(MINE.manifest), by=THEIRS.computer),
        "signature-invalid",
    ),
    "theirs, signed by me": (
        MINE.signed(encode_seed_manifest(THEIRS.manifest)),
        "foreign",
    ),
    "another seed of mine": (Seed(number=2).document, "foreign"),
    "altered": (MINE.document.replace(b"harbour-first", b"harbour-fir5t"), "signature-invalid"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_manifest_that_is_not_the_seeds_own_is_refused(case: str) -> None:
    document, code = FOREIGN[case]
    landed = Landed(document=document)
    found = adopted(landed)
    assert (found.state, landed.in_vault()) == ("failed", {})
    assert found.error is not None
    assert found.error.startswith(code)


def test_a_manifest_that_changed_after_the_request_is_refused() -> None:
    landed = Landed()
    adoption = landed.adoption()
    with landed.database.begin() as connection:
        attempt = adoption.begin(connection, landed.request)
    landed.store_manifest(landed.seed.document + b" ")
    adoption.launch(attempt)
    found = status(landed, adoption)
    assert (found.state, landed.in_vault()) == ("failed", {})
    assert found.error is not None
    assert found.error.startswith("manifest-changed")


def test_a_failed_attempt_can_be_followed_by_another() -> None:
    landed = Landed(document=THEIRS.document)
    adoption = landed.adoption()
    landed.adopt(adoption)
    landed.store_manifest(landed.seed.document)
    landed.adopt(adoption)
    found = status(landed, adoption)
    assert (found.number, found.state, found.error) == (2, "done", None)


def test_a_signed_point_of_another_snapshot_is_refused() -> None:
    landed = Landed()
    _, point = landed.seed.computer.point(
        landed.seed.number,
        landed.seed.payload.items(),
        seed_id=landed.seed.seed_id,
        created_at=SNAPSHOT.replace(year=2026),
    )
    seed = _WithPoint(point=point)
    landed = Landed(seed=seed)
    found = adopted(landed)
    assert (found.state, found.error and found.error.split(":")[0]) == ("failed", "foreign")
    assert point_name(seed.point_id) not in landed.in_vault()


def test_a_signed_point_of_another_seed_is_refused() -> None:
    seed = Seed()
    _, point = seed.computer.point(1, seed.payload.items(), seed_id=Seed(number=2).seed_id)
    landed = Landed(seed=_WithPoint(point=point))
    found = adopted(landed)
    assert (found.state, found.error and found.error.split(":")[0]) == ("failed", "foreign")
    assert point_name(seed.point_id) not in landed.in_vault()


def test_a_signed_point_that_names_an_object_outside_the_manifest_is_refused() -> None:
    point = Seed().computer.point(1, Seed(packs=4).payload.items(), seed_id=Seed().seed_id)[1]
    landed = Landed(seed=_WithPoint(point=point))
    found = adopted(landed)
    assert (found.state, found.error and found.error.split(":")[0]) == ("failed", "foreign")


def test_work_that_was_entered_but_never_started_begins_at_the_next_start() -> None:
    landed = Landed()
    adoption = landed.adoption()
    with landed.database.begin() as connection:
        adoption.begin(connection, landed.request)
    landed.engine = landed.engine.restart()
    again = landed.adoption()
    assert status(landed, again).state == "running"
    again.resume()
    assert status(landed, again).state == "done"


def test_progress_is_seen_while_the_work_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoptions, "BATCH_OBJECTS", 2)
    landed = Landed(engine=SimEngine(kill_at=3))  # before the result of the first step is kept
    adoption = landed.adoption()
    with pytest.raises(Killed):
        landed.adopt(adoption)
    found = status(landed, adoption)
    assert (found.state, found.done_objects, found.total_objects) == ("running", 2, 6)
    assert 0 < found.percent < 100
    assert found.ended_at is None


def test_the_container_is_left_as_it_is() -> None:
    landed = Landed()
    before = [info.name for info in landed.container.names()]
    adopted(landed)
    assert [info.name for info in landed.container.names()] == before
    assert CONTAINER != VAULT


def _always(data: bytes) -> Callable[[bytes], bytes]:
    return lambda _: data


@dataclass(frozen=True, kw_only=True)
class _WithPoint(Seed):
    """A seed whose point is another file, listed and signed like the right one."""

    point: bytes

    @cached_property
    @override
    def contents(self) -> dict[str, bytes]:
        return super().contents | {point_name(self.point_id): self.point}
