"""Whatever a stranger's token asks of another tenant's things, it sees and changes nothing."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from tests.support.applicants import Program, Tenancy
from tests.support.cloud import ARM, LocalCloud, LocalHttp
from tests.support.cloudsamples import Journey, job_body
from tests.support.landed import Seed
from tests.support.people import Town
from tests.support.routes import guarded_routes

from overland.cloud import tables

WHERE = {"location": "westeurope"}
ROLE = {"role": "admin", "expires_in_days": 1}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Scene"]:
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield Scene(cloud)


class Scene:
    """A tenant with one of everything, and a stranger with every kind of token."""

    def __init__(self, cloud: LocalCloud) -> None:
        Town.of(cloud)  # passwords cost little
        self.cloud, journey = cloud, Journey(cloud=cloud)
        self.journey, world = journey, journey.world
        journey.to_dock()
        admin = journey.admin
        victim = admin.ok("POST", "/v1/users", {"name": "victim", "role": "owner"})
        assigned = admin.ok("GET", "/v1/role-assignments")[0]
        home = Tenancy(cloud=cloud, tenant_id=world.tenant_id, admin_token=world.admin)
        application = home.application()
        certificate = home.enroll(application, Program(), journey.computer_id)
        point = admin.ok("GET", f"/v1/points?source_computer={journey.computer_id}")[0]
        town = Town(cloud=cloud, tenant_id=world.tenant_id, admin=admin)
        town.settle("resident")
        session = cloud.http(town.sign_in("resident")["access_token"]).ok("GET", "/v1/me")
        self.names = {
            "tenant_id": world.tenant_id,
            "subscription_id": world.subscription_id,
            "resource_group": world.group.rpartition("/")[2],
            "account": world.account,
            "service": "default",
            "container": world.container,
            "vault": "vault-1",
            "vault_id": world.vault_id,
            "seed_id": journey.seed.seed_id,
            "source_computer_id": journey.computer_id,
            "job_id": journey.job_id,
            "serial": journey.serials[0],
            "point_id": point["point_id"],
            "user": victim["user_id"],
            "user_id": victim["user_id"],
            "assignment_id": assigned["assignment_id"],
            "application_id": application,
            "thumbprint": certificate["thumbprint"],
            "token_id": world.admin.split("_")[1],
            "session_id": session["session_id"],
            "name": journey.name,
        }
        self.theirs = [
            each for each in self.names.values() if re.fullmatch(r"[0-9a-f]{8}-[-0-9a-f]{27}", each)
        ]
        self.strangers = self._strangers(cloud)

    def _strangers(self, cloud: LocalCloud) -> dict[str, LocalHttp]:
        other = cloud.world("inland")
        town = Town(cloud=cloud, tenant_id=other.tenant_id, admin=cloud.http(other.admin))
        registered = cloud.register(
            other, name="srv-9", repository_id=str(UUID(int=9)), signing_key=Seed().computer.key
        )
        tenancy = Tenancy(cloud=cloud, tenant_id=other.tenant_id, admin_token=other.admin)
        application = tenancy.application()
        program = Program(number=7)
        tenancy.enroll(application, program, registered["source_computer_id"])
        path = f"/v1/subscriptions/{other.subscription_id}/publish-settings"
        xml = town.admin.ok("POST", path)["xml"]
        copying = re.search(r'Token="([^"]+)"', xml)
        assert copying is not None
        return {
            "administrator": town.admin,
            "owner": town.person("stranger", "owner"),
            "computer": cloud.http(registered["token"]),
            "copy computer": cloud.http(copying[1]),
            "application": cloud.http(tenancy.token(application, program)),
        }

    def rows(self) -> list[str]:
        """Return every stored row that has to do with the tenant."""
        with self.cloud.database.connect() as connection:
            known = [
                f"{table.name}: {row}"
                for table in tables.metadata.sorted_tables
                for row in connection.execute(select(table)).all()
            ]
        return sorted(row for row in known if any(each in row for each in self.theirs))

    def body(self, method: str, path: str) -> Any:
        if method in ("GET", "DELETE"):
            return None
        if path.endswith("/jobs/{name}"):
            return job_body(self.journey.world) if method == "PUT" else {"tags": {}}
        computer = self.names["source_computer_id"]
        return {
            "/v1/tokens": {**ROLE, "tenant_id": self.names["tenant_id"]},
            "/v1/role-assignments": {"user": self.names["user"], "role": "reader"},
            "/v1/users/{user}": {"disabled": True},
            "/v1/users/{user}/tokens": {"expires_in_days": 1},
            "/v1/seeds": self.journey.seed_body(),
            "/v1/seeds/{seed_id}": {"state": "Abandoned"},
            "/v1/grants": {"kind": "seed-container", "seed_id": self.names["seed_id"]},
            "/v1/tenants/{tenant_id}/applications": {"name": "another"},
            "/v1/tenants/{tenant_id}/applications/{application_id}/certificates": {
                "certificate": Program(number=8).pem,
                "source_computer_id": computer,
            },
            "/v1/me/totp/confirm": {"code": "000000"},
            "/v1/me/totp/end": {"password": "-", "code": "000000"},
        }.get(path, WHERE if "/subscriptions/" in path else {})


ROUTES = [(each.method, each.path) for each in guarded_routes()]


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=[" ".join(each) for each in ROUTES])
def test_a_stranger_sees_and_changes_nothing(scene: Scene, method: str, path: str) -> None:
    before = scene.rows()
    concrete = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: scene.names.get(found[1], "none"), path)
    job = scene.journey.job_path.partition("?")[0]
    query = f"{ARM}&job={job}&source_computer={scene.names['source_computer_id']}"
    for who, http in scene.strangers.items():
        body = scene.body(method, path)
        reply = http.request(method, f"{concrete}?{query}", json=body)
        assert reply.status < 500, (who, reply.body)
        if reply.status < 300:
            shown = reply.raw.decode()
            assert not [each for each in scene.theirs if each in shown], (who, shown)
    assert scene.rows() == before


def test_the_walk_would_notice(scene: Scene) -> None:
    """The same walk with the tenant's own token sees things, and names are all real."""
    assert len(scene.rows()) > 20
    named = {name for _, path in ROUTES for name in re.findall(r"\{(\w+)", path)}
    unknown = named - set(scene.names)
    assert unknown <= {"policy_id", "replacement_id", "custody_id"}, unknown
    seen = scene.journey.admin.request("GET", f"/v1/seeds/{scene.names['seed_id']}")
    assert scene.names["seed_id"] in seen.raw.decode()
