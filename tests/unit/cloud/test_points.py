"""Marks, rules, replacements and reclaim through the API, as agents and administrators use it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey
from tests.support.landed import pack
from tests.support.reclaiming import point_id_of, replacement_of

from overland.agent.connection import Connection, VaultPoint
from overland.errors import ObjectAbsent
from overland.ports.http import RefusedByCloud
from overland.values import PointId, point_name, replacement_name
from overland.vault.retention import Retention

DAY = timedelta(days=1)
POLICY = "00000000-0000-4000-8000-00000000000a"


class Machine:
    """A registered source computer, with the connection that the agent has."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud, self.journey = cloud, Journey(cloud=cloud)
        self.computer = self.journey.seed.computer
        self.connection = Connection(self.journey.agent)
        self.admin = self.journey.admin

    def put(self, name: str, data: bytes) -> None:
        space = f"vaults/{self.journey.world.vault_id}"
        self.cloud.put_object(space, f"{self.journey.computer_id}/{name}", data)

    def put_point(self, number: int, base: int | None = None) -> PointId:
        self.cloud.clock.advance(DAY)
        content = [pack(f"point {number}")]
        point_id, data = self.computer.point(
            number, content, base=base, created_at=self.cloud.clock.now()
        )
        self.put(*content[0])
        self.put(point_name(point_id), data)
        return point_id

    def back_up(self, number: int, base: int | None = None) -> VaultPoint:
        version = self.connection.chains().chain_version
        return self.connection.publish_point(
            self.put_point(number, base), chain_version=version, policy_id=POLICY
        )

    def replace(self, number: int, *, keeps: list[int], gone: str, by: str) -> int:
        version = self.connection.chains().chain_version
        content = [pack(by)]
        self.put(*content[0])
        replacement_id, document = replacement_of(
            self.computer,
            number,
            keeps=keeps,
            replaced=[pack(gone)[0]],
            objects=content,
            created_at=self.cloud.clock.now(),
        )
        self.put(replacement_name(replacement_id), document)
        return self.connection.accept_replacement(replacement_id, chain_version=version)

    def held(self) -> set[str]:
        prefix = f"{self.journey.computer_id}/"
        store = self.cloud.spaces.open(f"vaults/{self.journey.world.vault_id}")
        return {info.name.removeprefix(prefix) for info in store.names(prefix)}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with LocalCloud(tmp_path) as cloud:
        yield Machine(cloud)


def test_a_point_is_deleted_taken_back_and_reclaimed(machine: Machine) -> None:
    machine.back_up(1)
    machine.back_up(2)
    marked = machine.connection.delete_point(point_id_of(1))
    assert marked.deletion is not None
    assert marked.deletion.reason == "deleted"
    assert machine.connection.undelete_point(point_id_of(1)).deletion is None
    machine.connection.delete_point(point_id_of(1))
    machine.cloud.clock.advance(14 * DAY)
    machine.admin.ok("POST", "/v1/reclaims", {})
    machine.cloud.clock.advance(14 * DAY)
    (run,) = machine.admin.ok("POST", "/v1/reclaims", {})
    assert (run["state"], run["objects_deleted"]) == ("done", 2)
    assert [each.point_id for each in machine.connection.points()] == [point_id_of(2)]
    events = machine.admin.ok(
        "GET", f"/v1/point-events?source_computer={machine.journey.computer_id}"
    )
    kinds = [(each["event"], each["actor"].partition(":")[0]) for each in events]
    assert kinds[:3] == [
        ("point-marked", "agent"),
        ("point-unmarked", "agent"),
        ("point-marked", "agent"),
    ]
    assert kinds[-1] == ("point-reclaimed", "cloud")


def test_an_administrator_takes_back_what_a_stolen_token_marked(machine: Machine) -> None:
    for number in (1, 2, 3):
        machine.back_up(number)
    for number in (1, 2):
        machine.connection.delete_point(point_id_of(number))
    with pytest.raises(RefusedByCloud) as refused:
        machine.connection.delete_point(point_id_of(3))
    assert refused.value.reason == "point-stays"
    machine.cloud.clock.advance(13 * DAY)
    for number in (1, 2):
        path = f"/v1/points/{point_id_of(number)}/undelete"
        machine.admin.ok("POST", f"{path}?source_computer={machine.journey.computer_id}")
    machine.cloud.clock.advance(60 * DAY)
    machine.admin.ok("POST", "/v1/reclaims", {})
    assert len(machine.connection.points()) == 3


def test_points_of_another_computer_do_not_exist(machine: Machine) -> None:
    machine.back_up(1)
    _, stranger = machine.cloud.tenant("Other")
    path = f"/v1/points/{point_id_of(1)}/delete?source_computer={machine.journey.computer_id}"
    assert machine.cloud.http(stranger).request("POST", path).status == 404
    with pytest.raises(ObjectAbsent):
        machine.connection.delete_point(point_id_of(9))


def test_a_rule_marks_old_points_and_raising_it_takes_that_back(machine: Machine) -> None:
    machine.connection.put_retention(POLICY, Retention(daily=7))
    for number in range(1, 10):
        machine.back_up(number)
    marked = [each for each in machine.connection.points() if each.deletion is not None]
    assert [each.point_id for each in marked] == [point_id_of(1), point_id_of(2)]
    assert {each.deletion.reason for each in marked if each.deletion} == {"retention"}
    machine.connection.put_retention(POLICY, Retention(daily=30))
    assert all(each.deletion is None for each in machine.connection.points())
    with pytest.raises(RefusedByCloud, match="at least 7"):
        machine.connection.put_retention(POLICY, Retention(daily=1))


def test_a_seed_on_its_way_is_not_deleted_before_it_is_abandoned(machine: Machine) -> None:
    machine.journey.stage()
    seed = machine.journey.seed
    machine.back_up(7, base=seed.number)
    for point_id in (seed.point_id, point_id_of(7)):
        with pytest.raises(RefusedByCloud, match="abandon it first"):
            machine.connection.delete_point(point_id)
    machine.connection.abandon_seed(seed.seed_id)
    assert machine.connection.delete_point(seed.point_id).deletion is not None


def test_a_point_begun_before_a_replacement_is_not_entered(machine: Machine) -> None:
    machine.back_up(1)
    before = machine.connection.chains().chain_version
    late = machine.put_point(2, base=1)
    machine.replace(1, keeps=[1], gone="point 1", by="new")
    for version in (before, None):
        with pytest.raises(RefusedByCloud) as refused:
            machine.connection.publish_point(late, chain_version=version)
        assert refused.value.reason == "chain-repacked"
    assert [each.point_id for each in machine.connection.points()] == [point_id_of(1)]
    assert machine.back_up(3, base=1).state == "available"
    for _ in range(3):
        machine.cloud.clock.advance(15 * DAY)
        machine.admin.ok("POST", "/v1/reclaims", {})
    assert point_name(late) not in machine.held()
    assert pack("point 1")[0] not in machine.held()
    assert {each.state for each in machine.connection.points()} == {"available"}


def test_a_replacement_of_an_older_chain_is_refused_and_the_same_again_is_accepted_once(
    machine: Machine,
) -> None:
    machine.back_up(1)
    version = machine.replace(1, keeps=[1], gone="point 1", by="new")
    replacement_id = machine.connection.chains().replacements[0]
    again = machine.connection.accept_replacement(replacement_id, chain_version=0)
    assert again == version == machine.connection.chains().chain_version
    other, document = replacement_of(
        machine.computer,
        2,
        keeps=[1],
        replaced=[pack("new")[0]],
        created_at=machine.cloud.clock.now(),
    )
    machine.put(replacement_name(other), document)
    with pytest.raises(RefusedByCloud) as refused:
        machine.connection.accept_replacement(other, chain_version=version - 1)
    assert refused.value.reason == "chain-changed"


def test_a_preview_is_for_operators_and_tenants_and_deletes_nothing(machine: Machine) -> None:
    machine.back_up(1)
    machine.back_up(2)
    machine.connection.delete_point(point_id_of(1))
    machine.cloud.clock.advance(14 * DAY)
    before = machine.held()
    for token in (machine.cloud.root_token, machine.journey.world.admin):
        http = machine.cloud.http(token)
        (shown,) = http.ok("POST", "/v1/reclaims", {"dry_run": True})
        assert (shown["state"], shown["points_reclaimed"]) == ("preview", 1)
    assert machine.held() == before
    assert machine.journey.agent.request("POST", "/v1/reclaims", json={}).status == 403
