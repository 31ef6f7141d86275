"""The real control plane in one process: its routes, SQLite, folders, an engine that waits."""

import asyncio
import hashlib
import itertools
import json as jsons
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self

import httpx
from fastapi import FastAPI
from sqlalchemy import Engine, create_engine, event
from tests.support.manualclock import ManualClock
from tests.support.simengine import SimEngine

from overland.adapters.folderobjects import FolderSpaces
from overland.cloud import tables as cloud_tables
from overland.cloud.adoptions import on_adoption_ended
from overland.cloud.clocks import sweep
from overland.cloud.identity import Role, Scope, issue_token
from overland.cloud.locations import Dock
from overland.cloud.seedwork import manifest_of
from overland.cloud.services import Endpoints, Services
from overland.crypto import registration, sign
from overland.crypto.secrets import Secret
from overland.jobs import tables as job_tables
from overland.ports.http import Reply
from overland.server.api import create_app
from overland.vault import tables as vault_tables
from overland.vault.adoption import Adoption
from overland.vault.reclaim import Reclaim

__all__ = ["DOCK", "LocalCloud", "LocalHttp", "World", "registration_body"]

DOCK = Dock(
    recipient="Example Import Dock",
    street="1 Dock Road",
    city="Dublin",
    postal_code="D22",
    country="Ireland",
    phone="+353 1 000 0000",
)
ARM = "api-version=2021-01-01"


class LocalHttp:
    """`Http` to a `LocalCloud` with one token."""

    def __init__(self, cloud: "LocalCloud", token: str | None) -> None:
        self._cloud, self._token = cloud, token

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        content = jsons.dumps(json).encode() if json is not None else raw
        return self._cloud.send(method, path, token=self._token, content=content)

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """Send a request that has to succeed, and return its JSON body."""
        reply = self.request(method, path, json=body)
        assert reply.status < 300, f"{method} {path}: {reply.status} {reply.body}"
        return reply.body


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A tenant with all that a first seed needs."""

    tenant_id: str
    admin: str
    subscription_id: str
    group: str
    account: str
    account_id: str
    container: str
    vault_id: str
    jobs: str

    def job_path(self, name: str) -> str:
        return f"{self.jobs}/{name}?{ARM}"


class LocalCloud:
    """A cloud below a folder, on a clock that the test moves.

    `engine` runs adoption at once, within the request that starts it.
    """

    def __init__(self, folder: Path, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.folder = folder
        (folder / "objects").mkdir(parents=True, exist_ok=True)
        self.database = _database(folder / "cloud.db")
        self.spaces = FolderSpaces(folder / "objects")
        self.engine = SimEngine()
        self._bytes = _predictable_bytes()
        self.grant_key = sign.generate_signing_key(self.random)
        adoption = Adoption(
            database=self.database,
            engine=self.engine,
            spaces=self.spaces,
            clock=self.clock,
            on_ended=on_adoption_ended(self.clock),
        )
        reclaim = Reclaim(
            database=self.database,
            engine=self.engine,
            spaces=self.spaces,
            clock=self.clock,
            manifest_of=manifest_of,
        )
        adoption.register()
        reclaim.register()
        self.engine.launch()
        self.services = Services(
            database=self.database,
            clock=self.clock,
            random=self.random,
            spaces=self.spaces,
            adoption=adoption,
            reclaim=reclaim,
            endpoints=Endpoints(
                url="https://cloud.test", object_url="https://objects.test", ca_pem="PEM\n"
            ),
            dock=DOCK,
            grant_key=self.grant_key,
            table_key=Secret(self.random(32)),
        )
        self.app = _app()
        self.root_token = self.token(Role.ROOT, days=3650)
        self._runner: asyncio.Runner | None = None

    def random(self, count: int) -> bytes:
        return bytes(itertools.islice(self._bytes, count))

    def token(self, role: Role, scope: Scope | None = None, *, days: int = 30) -> str:
        """Make a token of any role, without asking anybody."""
        with self.database.begin() as connection:
            return issue_token(
                connection,
                role,
                scope or Scope(),
                at=self.clock.now(),
                lifetime=timedelta(days=days),
                random=self.random,
            )

    def http(self, token: str | None) -> LocalHttp:
        return LocalHttp(self, token)

    def sweep(self) -> int:
        """Let the cloud look at its clocks."""
        return sweep(self.services)

    def tenant(self, name: str = "Example") -> tuple[str, str]:
        made = self.http(self.root_token).ok("POST", "/v1/tenants", {"name": name})
        return made["tenant_id"], made["token"]

    def station(self) -> LocalHttp:
        body = {"role": "station", "expires_in_days": 30}
        return self.http(self.http(self.root_token).ok("POST", "/v1/tokens", body)["token"])

    def world(
        self, name: str = "harbour", *, account: str | None = None, container: str = "seeds"
    ) -> World:
        tenant_id, admin = self.tenant(name)
        http = self.http(admin)
        subscription_id = http.ok("POST", "/v1/subscriptions", {"name": name})["subscription_id"]
        group = f"/subscriptions/{subscription_id}/resourceGroups/rg-{name}"
        where = {"location": "westeurope"}
        account = account or f"{name}data"
        account_id = f"{group}/providers/Microsoft.Storage/storageAccounts/{account}"
        http.ok("PUT", f"{group}?{ARM}", where)
        http.ok("PUT", f"{account_id}?{ARM}", where)
        http.ok("PUT", f"{account_id}/blobServices/default/containers/{container}?{ARM}", {})
        vault = http.ok(
            "PUT", f"{group}/providers/Microsoft.RecoveryServices/vaults/vault-1?{ARM}", where
        )
        return World(
            tenant_id=tenant_id,
            admin=admin,
            subscription_id=subscription_id,
            group=group,
            account=account,
            account_id=account_id,
            container=container,
            vault_id=vault["properties"]["vaultId"],
            jobs=f"{group}/providers/Microsoft.ImportExport/jobs",
        )

    def register(
        self, world: World, *, name: str, repository_id: str, signing_key: Secret
    ) -> dict[str, str]:
        """Register a source computer; the answer has `source_computer_id` and `token`."""
        credentials = self.http(world.admin).ok("POST", f"/v1/vaults/{world.vault_id}/credentials")
        body = registration_body(
            credentials, name=name, repository_id=repository_id, signing_key=signing_key
        )
        http = self.http(credentials["registration_token"])
        answer: dict[str, str] = http.ok("POST", "/v1/source-computers", body)
        return answer

    def put_object(self, space: str, name: str, content: bytes) -> None:
        """Put an object where a station or an agent would put it."""
        digest = hashlib.sha256(content).hexdigest()
        self.spaces.open(space).put(name, [content], size_bytes=len(content), sha256=digest)

    def send(self, method: str, path: str, *, token: str | None, content: bytes | None) -> Reply:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        if content is not None:
            headers["content-type"] = "application/json"
        if self._runner is None:
            self._runner = asyncio.Runner()
        response = self._runner.run(self._exchange(method, path, headers, content))
        body = None
        with suppress(ValueError):
            body = response.json() if response.content else None
        return Reply(status=response.status_code, body=body, raw=response.content)

    async def _exchange(
        self, method: str, path: str, headers: dict[str, str], content: bytes | None
    ) -> httpx.Response:
        self.app.state.services = self.services
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="https://cloud.test") as client:
            return await client.request(method, path, headers=headers, content=content)

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None
        self.database.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def registration_body(
    credentials: dict[str, str], *, name: str, repository_id: str, signing_key: Secret
) -> dict[str, str]:
    """Return what a source computer says to register with vault credentials."""
    claim = registration.Claim(
        vault_id=credentials["vault_id"],
        name=name,
        repository_id=repository_id,
        signing_public_key=sign.public_key(signing_key).hex(),
        token_sha256=hashlib.sha256(credentials["registration_token"].encode()).hexdigest(),
    )
    return {
        "name": claim.name,
        "repository_id": claim.repository_id,
        "signing_public_key": claim.signing_public_key,
        "proof": registration.prove(claim, signing_key),
    }


_apps: list[FastAPI] = []


def _app() -> FastAPI:
    """Return the one application of this process: building all routes takes most of a test.

    Every request first says which cloud it is for.
    """
    if not _apps:
        _apps.append(create_app(None))  # type: ignore[arg-type] # set before each request
    return _apps[0]


@cache
def _empty_database() -> bytes:
    """Return a file with all tables and no rows: making them takes as long as a short test."""
    with create_engine("sqlite://").connect() as connection:
        for metadata in (cloud_tables.metadata, job_tables.metadata, vault_tables.metadata):
            metadata.create_all(connection)
        connection.commit()
        driver: Any = connection.connection.driver_connection  # Any: the driver's own connection
        content: bytes = driver.serialize()
    return content


def _database(path: Path) -> Engine:
    if not path.exists():
        path.write_bytes(_empty_database())
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: object) -> None:  # Any: the driver's own connection
        connection.isolation_level = None  # transactions are begun below
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA busy_timeout = 60000")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:  # Any: as above
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _predictable_bytes() -> Iterator[int]:
    for number in itertools.count():
        yield from hashlib.sha256(f"overland test {number}".encode()).digest()
