from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection
from tests.support.landed import SNAPSHOT, Computer, MemorySpaces, Seed, database, pack, put

from overland.adapters.folderobjects import FolderObjects
from overland.errors import ObjectAbsent, ObjectCorrupt, SignatureInvalid
from overland.values import PointId, point_name
from overland.vault import catalog
from overland.vault.catalog import CatalogPoint, PointState
from overland.vault.chains import read_fence
from overland.vault.owner import Foreign

VAULT = f"vaults/{UUID(int=7)}"
NOW = SNAPSHOT + timedelta(days=20)


class Vault:
    """A vault, its catalog, and one computer that backs up into it."""

    def __init__(self) -> None:
        self.store: FolderObjects = MemorySpaces().open(VAULT)
        self.database = database()
        self.computer = Computer()
        self.owner = self.computer.owner

    def put(self, name: str, data: bytes) -> None:
        put(self.store, self.owner.prefix + name, data)

    def publish(self, number: int, *, base: int | None = None, with_packs: bool = True) -> PointId:
        """Put a point with one pack of its own into the vault."""
        content = [pack(f"point {number}")]
        point_id, data = self.computer.point(
            number, content, base=base, created_at=SNAPSHOT + timedelta(days=number)
        )
        self.put(point_name(point_id), data)
        if with_packs:
            self.put(*content[0])
        return point_id

    def record(self, point_id: PointId) -> CatalogPoint:
        with self.database.begin() as connection:
            fence = read_fence(connection, self.owner)
        finding = catalog.inspect(self.store, fence=fence, point_id=point_id)
        with self.database.begin() as connection:
            return catalog.record(connection, finding, at=NOW)

    def adopt(self, seed: Seed) -> CatalogPoint:
        for name, data in seed.contents.items():
            self.put(name, data)
        return self.record(seed.point_id)

    def states(self) -> list[tuple[int, PointState]]:
        with self.database.begin() as connection:
            found = self._list(connection)
        return [(UUID(each.point_id).int, each.state) for each in found]

    def _list(self, connection: Connection) -> list[CatalogPoint]:
        computer = self.owner.source_computer_id
        return catalog.list_points(connection, source_computer_id=computer)


def test_a_point_whose_objects_are_there_is_available() -> None:
    vault = Vault()
    point = vault.record(vault.publish(5))
    assert (point.state, point.missing, point.kind, point.base) == ("available", (), "full", None)
    assert (point.object_count, point.size_bytes) == (1, 1024)
    assert (point.created_at, point.published_at) == (SNAPSHOT + timedelta(days=5), NOW)


def test_a_point_that_lacks_objects_names_them_until_they_are_there() -> None:
    vault = Vault()
    point_id = vault.publish(5, with_packs=False)
    name, data = pack("point 5")
    point = vault.record(point_id)
    assert (point.state, point.missing) == ("incomplete", (name,))
    vault.put(name, data)
    assert vault.record(point_id).state == "available"


def test_an_object_of_another_size_counts_as_missing() -> None:
    vault = Vault()
    point_id = vault.publish(5, with_packs=False)
    name, _ = pack("point 5")
    vault.put(name, b"short")
    assert vault.record(point_id).missing == (name,)


def test_many_objects_are_found_by_one_listing() -> None:
    vault = Vault()
    content = [pack(f"many {number}") for number in range(300)]
    point_id, data = vault.computer.point(5, content)
    vault.put(point_name(point_id), data)
    for name, each in content[1:]:
        vault.store._files.write(f"{VAULT}/{vault.owner.prefix}{name}", each)
    assert vault.record(point_id).missing == (content[0][0],)


def test_incrementals_wait_for_a_seed_that_travels_and_are_available_with_it() -> None:
    vault = Vault()
    seed = Seed()
    with vault.database.begin() as connection:
        announced = catalog.announce_seed(connection, seed.manifest, owner=vault.owner)
    assert (announced.state, announced.published_at) == ("waiting-for-seed", None)
    assert announced.created_at == SNAPSHOT
    vault.record(vault.publish(5, base=seed.number))
    vault.record(vault.publish(6, base=5))
    assert vault.states() == [
        (1, "waiting-for-seed"),
        (5, "waiting-for-seed"),
        (6, "waiting-for-seed"),
    ]
    adopted = vault.adopt(seed)
    assert (adopted.created_at, adopted.published_at) == (SNAPSHOT, NOW)
    assert adopted.object_count == announced.object_count
    assert adopted.size_bytes == announced.size_bytes
    assert vault.states() == [(1, "available"), (5, "available"), (6, "available")]


def test_announcing_a_seed_again_does_not_undo_its_adoption() -> None:
    vault = Vault()
    vault.adopt(Seed())
    with vault.database.begin() as connection:
        again = catalog.announce_seed(connection, Seed().manifest, owner=vault.owner)
    assert again.state == "available"


def test_a_seed_that_was_recorded_without_its_packs_waits_for_them() -> None:
    vault = Vault()
    seed = Seed()
    vault.put(point_name(seed.point_id), seed.contents[point_name(seed.point_id)])
    point = vault.record(seed.point_id)
    assert (point.state, len(point.missing)) == ("waiting-for-seed", len(seed.payload))


def test_a_point_without_its_base_is_incomplete_in_whatever_order_they_come() -> None:
    vault = Vault()
    vault.record(vault.publish(7, base=6))
    assert vault.states() == [(7, "incomplete")]
    vault.record(vault.publish(6, base=5))
    assert vault.states() == [(6, "incomplete"), (7, "incomplete")]
    vault.record(vault.publish(5))
    assert vault.states() == [(5, "available"), (6, "available"), (7, "available")]


def test_a_hole_makes_everything_above_it_incomplete_and_nothing_below() -> None:
    vault = Vault()
    vault.record(vault.publish(5))
    vault.record(vault.publish(6, base=5, with_packs=False))
    vault.record(vault.publish(7, base=6))
    assert vault.states() == [(5, "available"), (6, "incomplete"), (7, "incomplete")]


def test_points_that_are_based_on_each_other_are_incomplete() -> None:
    vault = Vault()
    vault.record(vault.publish(5, base=6))
    vault.record(vault.publish(6, base=5))
    assert vault.states() == [(5, "incomplete"), (6, "incomplete")]


def test_a_chain_of_thousands_of_points_is_settled() -> None:
    links = {
        str(n): catalog._Link("available", str(n - 1) if n else None, is_lost=False, stored="")
        for n in range(9999)
    }
    assert set(catalog._states(links).values()) == {"available"}
    links["0"] = replace(links["0"], own="waiting-for-seed")
    assert set(catalog._states(links).values()) == {"waiting-for-seed"}


def test_a_point_that_is_not_in_the_vault_is_absent() -> None:
    with pytest.raises(ObjectAbsent):
        Vault().record(PointId(str(UUID(int=5))))


def test_a_point_of_another_signer_is_refused_and_not_entered() -> None:
    vault = Vault()
    other = Computer(number=2)
    point_id, data = other.point(5, [])
    vault.put(point_name(point_id), data)
    with pytest.raises(SignatureInvalid):
        vault.record(point_id)
    assert vault.states() == []


def test_a_point_of_another_repository_is_foreign_even_with_the_right_key() -> None:
    vault = Vault()
    point_id = vault.publish(5)
    vault.owner = replace(vault.owner, repository_id=Computer(number=2).owner.repository_id)
    with pytest.raises(Foreign) as foreign:
        vault.record(point_id)
    assert foreign.value.field == "repository id"


def test_a_point_under_another_points_name_is_foreign() -> None:
    vault = Vault()
    _, data = vault.computer.point(5, [])
    wrong = PointId(str(UUID(int=6)))
    vault.put(point_name(wrong), data)
    with pytest.raises(Foreign) as foreign:
        vault.record(wrong)
    assert foreign.value.field == "point id"


@pytest.mark.parametrize("at", [0, 24, 60, -1, -64, -65])
def test_an_altered_point_is_refused(at: int) -> None:
    vault = Vault()
    point_id, data = vault.computer.point(5, [pack("point 5")])
    altered = bytearray(data)
    altered[at] ^= 1
    vault.put(point_name(point_id), bytes(altered))
    with pytest.raises((SignatureInvalid, ObjectCorrupt)):
        vault.record(point_id)
    assert vault.states() == []


def test_one_computers_point_never_replaces_anothers_of_the_same_id() -> None:
    vault = Vault()
    vault.record(vault.publish(5))
    vault.computer = Computer(number=2)
    vault.owner = vault.computer.owner
    vault.record(vault.publish(5, with_packs=False))
    assert vault.states() == [(5, "incomplete")]
    vault.owner = Computer().owner
    assert vault.states() == [(5, "available")]
