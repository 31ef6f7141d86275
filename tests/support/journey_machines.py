"""The four machines of a journey, composed as the commands compose them, from what is on disk."""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from msgspec.structs import replace
from sqlalchemy import Engine
from tests.support.importservice import Operator
from tests.support.journey_faults import (
    Life,
    MachineClock,
    MortalEngine,
    MortalFiles,
    MortalVolumes,
)
from tests.support.journey_network import Application, Network
from tests.support.simengine import Killed
from typing_extensions import override

from overland.adapters.database import open_database
from overland.adapters.folderobjects import FolderSpaces
from overland.adapters.httpobjects import HttpObjects
from overland.adapters.posix import PosixFiles
from overland.adapters.programs import SystemPrograms
from overland.agent.backup.plan import BackupPlan
from overland.agent.connection import Connection, Grant
from overland.agent.data import LocalDataPath
from overland.agent.home import AgentHome
from overland.agent.policy import Policies
from overland.agent.run import PolicyRun
from overland.agent.setup import load_keys
from overland.cloud.adoptions import on_adoption_ended
from overland.cloud.clocks import sweep
from overland.cloud.home import CloudHome, Settings
from overland.cloud.locations import Dock
from overland.cloud.seedwork import manifest_of
from overland.cloud.services import Endpoints, Services
from overland.crypto import sign
from overland.diskprep.import_service import ImportService
from overland.diskprep.prepare import Workbench
from overland.diskprep.publish_settings import parse_publish_settings
from overland.diskprep.record import Preparations
from overland.ports.files import Files
from overland.ports.objects import Objects
from overland.ports.progress import NullProgress
from overland.seeding.staging import StagingLocation
from overland.server.api import create_app
from overland.server.objects_app import create_objects_app
from overland.station import connection as station
from overland.station.containers import Containers
from overland.station.driveimport import DriveImport
from overland.station.ingest import Ingest
from overland.station.intake import Intake
from overland.station.placing import Placing
from overland.station.records import Records
from overland.station.returning import Returning
from overland.station.transfer import Transfer
from overland.vault.adoption import Adoption
from overland.vault.reclaim import Reclaim

__all__ = ["API", "Cloud", "CopyComputer", "SourceComputer", "Station"]

API = "http://127.0.0.1:7001"
OBJECTS = "http://127.0.0.1:7002"
PACK_BYTES = 1 << 20
DOCK = Dock(
    recipient="Example Import Dock", street="1 Dock Road", city="Dublin",
    postal_code="D22", country="Ireland", phone="+353 1 000 0000",
)  # fmt: skip


def files_of(life: Life) -> Callable[[str], Files]:
    """Return what opens a folder for a program of this life."""
    return lambda path: MortalFiles(PosixFiles(Path(path)), life)


_apis: list[FastAPI] = []


def _api(services: Services) -> FastAPI:
    """Return the API, made once: it takes long, and holds nothing but its services."""
    if not _apis:
        _apis.append(create_app(services))
    return _apis[0]


class Cloud:
    """The control plane and the data plane, as one program that is killed and started anew."""

    def __init__(self, folder: Path, clock: MachineClock, rng: random.Random) -> None:
        self.folder, self.clock = folder, clock
        self.deaths = 0
        self._rng, self._lock = rng, threading.Lock()
        self._engine: MortalEngine | None = None
        (folder / "objects").mkdir(parents=True)
        home = CloudHome(PosixFiles(folder))
        home.save_settings(Settings(dock=DOCK))
        self._open(Life())
        with self.database.begin() as connection:
            home.new_root_token(connection, at=clock.now(), random=self._rng.randbytes)
        self.root_token = home.root_token().reveal().decode()

    def _open(self, life: Life) -> None:
        self.life = life
        self.database: Engine = open_database(self.folder / "cloud.db", "cloud")
        self.spaces = FolderSpaces(self.folder / "objects")
        self.spaces._files = cast("PosixFiles", MortalFiles(self.spaces._files, life))
        engine = MortalEngine(life, before=self._engine)
        adoption = Adoption(
            database=self.database,
            engine=engine,
            spaces=self.spaces,
            clock=self.clock,
            on_ended=on_adoption_ended(self.clock),
        )
        reclaim = Reclaim(
            database=self.database,
            engine=engine,
            spaces=self.spaces,
            clock=self.clock,
            manifest_of=manifest_of,
        )
        adoption.register()
        reclaim.register()
        self._engine = engine
        engine.launch()
        self.spaces.sweep()
        adoption.resume()
        reclaim.resume()
        home = CloudHome(PosixFiles(self.folder))
        self.services = Services(
            database=self.database,
            clock=self.clock,
            random=self._rng.randbytes,
            spaces=self.spaces,
            adoption=adoption,
            reclaim=reclaim,
            endpoints=Endpoints(url=API, object_url=OBJECTS, ca_pem=""),
            dock=DOCK,
            grant_key=home.grant_key(self._rng.randbytes),
            table_key=home.table_key(self._rng.randbytes),
        )
        _api(self.services).state.services = self.services
        self._objects = create_objects_app(
            self.spaces,
            public_key=sign.public_key(self.services.grant_key),
            clock=self.clock,
        )

    def application(self, host: str) -> Application:
        """Return what answers at an address; see `Server`."""
        return _api(self.services) if host == "127.0.0.1:7001" else self._objects

    def restart(self) -> None:
        """Start the program anew if it was killed; see `Server`."""
        with self._lock:
            if self.life.is_over:  # and no other request has seen to it
                self._begin_anew(Life())

    def live(self, life: Life) -> None:
        """Stop the program, and start it anew for another life."""
        with self._lock:
            try:
                self._begin_anew(life)
            except Killed:
                self._begin_anew(Life())

    def _begin_anew(self, life: Life) -> None:
        self.deaths += self.life.is_over
        self.database.dispose()
        self._open(life)

    def sweep(self) -> int:
        """Let it look at the clocks of shipping, as it does every few minutes."""
        return sweep(self.services)

    def space(self, name: str) -> Objects:
        """Return a store as it lies on the cloud's disk."""
        return FolderSpaces(self.folder / "objects").open(name)


class SmallPacks(LocalDataPath):
    """The data path, with packs so small that a small tree has several."""

    @override
    def _plan(self, *args: Any, **fields: Any) -> BackupPlan:  # Any: whatever it takes
        return replace(super()._plan(*args, **fields), pack_bytes=PACK_BYTES)


class SourceComputer:
    """One life of the agent's program; see `overland.cli.machine`."""

    def __init__(self, folder: Path, network: Network, clock: MachineClock, life: Life) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.network, self.clock, self.life = folder, network, clock, life
        self.files = MortalFiles(PosixFiles(folder), life)
        self.home = AgentHome(self.files)
        self.policies = Policies(self.files)

    def http(self, token: str) -> Any:  # `Http`; of the network's own class
        return self.network.http(API, token, self.life, self.clock.sleep)

    def connection(self) -> Connection:
        return Connection(self.http(self.home.registration().token))

    def open_grant(self, grant: Grant, *, renew: Callable[[], Grant]) -> Objects:
        objects = HttpObjects(
            grant.endpoint,
            grant.space,
            grant.prefix,
            grant.token,
            None,
            lambda: renew().token,
            pause=self.clock.sleep,
        )
        return self.network.objects(objects, self.life)

    def vault(self) -> Objects:
        connection = self.connection()
        return self.open_grant(connection.vault_grant(), renew=connection.vault_grant)

    def runner(self) -> PolicyRun:
        connection = self.connection()
        state = self.folder / "repository"
        state.mkdir(exist_ok=True)
        return PolicyRun(
            policies=self.policies,
            connection=connection,
            data=SmallPacks(
                home=self.home,
                keys=load_keys(self.home),
                state_folder=state,
                files_of=files_of(self.life),
                scratch_of=files_of(self.life),
                clock=self.clock,
                meter=NullProgress(),
                programs=SystemPrograms(),
            ),
            open_grant=lambda grant: self.open_grant(grant, renew=connection.vault_grant),
            clock=self.clock,
            meter=NullProgress(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyComputer:
    """One life of the disk commands' program; see `overland.cli.copycomputer`."""

    folder: Path
    network: Network
    clock: MachineClock
    life: Life
    settings: bytes
    rng: random.Random

    def bench(self, drives: Sequence[Path]) -> Workbench:
        return Workbench(
            volumes=MortalVolumes(self.life),
            preparations=Preparations(MortalFiles(PosixFiles(self.folder), self.life)),
            questions=Operator(*map(str, drives)),
            clock=self.clock,
            progress=NullProgress(),
            random=self.rng.randbytes,
            operator="ada@copy-computer",
        )

    def staging(self, path: Path) -> StagingLocation:
        return StagingLocation(str(path), files_of=files_of(self.life))

    def service(self, subscription_id: str) -> ImportService:
        settings = parse_publish_settings(self.settings)
        access = settings.access(subscription_id, now=self.clock.now())
        return ImportService(
            self.network.http(access.url, access.token, self.life, self.clock.sleep)
        )


class Station:
    """One life of the station's program; see `overland.cli.stationcomputer`."""

    def __init__(
        self, folder: Path, network: Network, clock: MachineClock, life: Life, *, token: str,
        before: "Station | None",
    ) -> None:  # fmt: skip
        folder.mkdir(exist_ok=True)
        self.clock, self.life = clock, life
        self._network, self._folder = network, folder
        self.connection = station.Connection(network.http(API, token, life, clock.sleep))
        self._database = open_database(folder / "station.db", "station")
        self.records = Records(self._database)
        self.volumes = MortalVolumes(life)
        self.engine: MortalEngine = MortalEngine(life, before=before.engine if before else None)

    def close(self) -> None:
        self._database.dispose()

    def intake(self) -> Intake:
        return Intake(
            connection=self.connection,
            volumes=self.volumes,
            records=self.records,
            clock=self.clock,
        )

    def returning(self) -> Returning:
        return Returning(connection=self.connection, records=self.records, clock=self.clock)

    def ingest(self) -> Ingest:
        drafts = MortalFiles(PosixFiles(self._folder), self.life)
        drafts.sweep()
        containers = Containers(connection=self.connection, open_grant=self._open)
        placing = Placing(records=self.records, containers=containers, progress=NullProgress())
        work = DriveImport(
            connection=self.connection,
            volumes=self.volumes,
            records=self.records,
            transfer=Transfer(NullProgress()),
            placing=placing,
            containers=containers,
            drafts=drafts,
            clock=self.clock,
        )
        return Ingest(
            engine=self.engine,
            work=work,
            connection=self.connection,
            volumes=self.volumes,
            records=self.records,
            progress=NullProgress(),
        )

    def _open(self, grant: station.Grant, *, prefix: str, renew: Callable[[], str]) -> Objects:
        objects = HttpObjects(
            grant.endpoint, grant.space, prefix, grant.token, None, renew, pause=self.clock.sleep
        )
        return self._network.objects(objects, self.life)
