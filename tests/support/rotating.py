"""A source computer on a disk in memory, registered in a real cloud, whose keys are all replaced.

Power can be cut at every step of its home folder, and before and after everything that it says to
the vault and to the cloud.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from uuid import UUID

from tests.support.cloud import LocalCloud
from tests.support.simdisk import PowerCut, SimDisk
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.adapters.posix import PosixFiles
from overland.agent import signing, vouching
from overland.agent.connection import Connection
from overland.agent.home import AgentHome, VaultCredentials
from overland.agent.keys import publish, ready_to_seal
from overland.agent.points.reading import ReadKeys, list_points, open_keys
from overland.agent.setup import initialise, load_keys, register
from overland.agent.signing import Asked, NewKeys
from overland.agent.signingcloud import SigningCloud
from overland.agent.sources import LayeredObjects
from overland.agent.vouching import Inventory
from overland.crypto import sign
from overland.crypto.keyring import Argon2Parameters
from overland.crypto.secrets import Secret
from overland.format import point as points
from overland.format.key_change import Vouched
from overland.ports.http import Http, Reply
from overland.ports.objects import Objects
from overland.ports.progress import NullProgress
from overland.values import PointId, RepositoryId, point_name

__all__ = ["CHEAP", "NEW", "OLD", "Rotating", "Town"]

OLD, NEW = "correct horse battery", "staple correct horse"
CHEAP = Argon2Parameters(memory_kib=32, iterations=1, lanes=1)


class Town:
    """A cloud with one vault, its owner, and what the computers say to both, which can be cut."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud, self.world = cloud, cloud.world()
        self.cut_at: int | None = None
        self.said = 0

    @property
    def folder(self) -> Path:
        """The vault's space, for whoever owns the storage."""
        return self.cloud.folder / "objects" / "vaults" / self.world.vault_id

    def credentials(self) -> VaultCredentials:
        path = f"/v1/vaults/{self.world.vault_id}/credentials"
        issued = self.cloud.http(self.world.admin).ok("POST", path)
        known = VaultCredentials.__struct_fields__
        return VaultCredentials(**{name: issued[name] for name in known})

    def http(self, token: str) -> Http:
        return _Wire(self, self.cloud.http(token))

    def vault(self, source_computer_id: str) -> Objects:
        self.folder.mkdir(parents=True, exist_ok=True)
        return _Store(self, PosixFiles(self.folder), prefix=f"{source_computer_id}/")

    def step(self) -> None:
        if self.said == self.cut_at:
            self.cut_at = None
            raise PowerCut(f"what was said {self.said}")
        self.said += 1


class _Wire:
    """The cloud; power can be cut before a request, and after it was answered."""

    def __init__(self, town: Town, http: Http) -> None:
        self._town, self._http = town, http

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        self._town.step()
        reply = self._http.request(method, path, json=json, raw=raw)
        self._town.step()
        return reply


class _Store(FolderObjects):
    """The vault; power can be cut before and after each put."""

    def __init__(self, town: Town, files: PosixFiles, *, prefix: str) -> None:
        super().__init__(files, prefix=prefix)
        self._town = town

    @override
    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        self._town.step()
        super().put(name, content, size_bytes=size_bytes, sha256=sha256)
        self._town.step()


class Rotating:
    """One source computer, or another copy of its home folder."""

    def __init__(self, town: Town, *, disk: SimDisk | None = None) -> None:
        self.town, self.kits = town, list[str]()
        self.disk = disk or SimDisk()
        self.numbers: Iterator[int] = iter(range(1, 10_000))
        self.tips: list[str] = []
        if disk is not None:
            return
        _, kit = initialise(
            self.home,
            computer_name="files",
            passphrase=OLD,
            random=secrets.token_bytes,
            cost=CHEAP,
        )
        self.kits.append(kit)
        credentials = town.credentials()
        register(self.home, credentials, http=town.http(credentials.registration_token))
        publish(self.home, self.vault)

    @property
    def home(self) -> AgentHome:
        return AgentHome(self.disk)

    @property
    def vault_prefix(self) -> str:
        return f"{self.home.registration().source_computer_id}/"

    @property
    def vault(self) -> Objects:
        return self.town.vault(self.home.registration().source_computer_id)

    @property
    def cloud(self) -> SigningCloud:
        registered = self.home.registration()
        http = self.town.http(registered.token)
        return SigningCloud(http, source_computer_id=registered.source_computer_id)

    @property
    def connection(self) -> Connection:
        return Connection(self.town.http(self.home.registration().token))

    @property
    def key(self) -> Secret:
        return load_keys(self.home).signing

    def copy(self) -> "Rotating":
        """Return another copy of the home folder, as it is now."""
        disk = SimDisk()
        for info in list(self.disk.names()):
            disk.write(info.name, self.disk.read(info.name))
        made = Rotating(self.town, disk=disk)
        made.kits, made.numbers = list(self.kits), iter(range(10_000, 20_000))
        return made

    def restart(self) -> None:
        self.disk = self.disk.restart()
        self.town.cut_at = None

    def point(self, *, by: Secret | None = None, base: str | None = None) -> PointId:
        """Put a point into the vault, signed with a key."""
        key = by or self.key
        point_id = PointId(str(UUID(int=next(self.numbers))))
        public = points.PointPublic(
            point_id=point_id,
            repository_id=RepositoryId(self.home.identity().repository_id),
            created_at=self.town.cloud.clock.now(),
            kind="full" if base is None else "incremental",
            seed_id=None,
            base=None if base is None else PointId(base),
            salt="5a" * 32,
            objects=[],
        )
        data = bytes(
            points.assemble(
                public,
                bytes(100),
                master_number=0,
                sign=lambda text: sign.sign(key, points.SIGNATURE_PURPOSE, text),
            )
        )
        digest = hashlib.sha256(data).hexdigest()
        self.vault.put(point_name(point_id), [data], size_bytes=len(data), sha256=digest)
        return point_id

    def start(self) -> None:
        """Go on with what was interrupted, as every run does first."""
        signing.go_on(self.home, self.vault, self.cloud)
        ready_to_seal(self.home, self.vault)

    def back_up(self) -> PointId:
        """Do what a run does, as far as it concerns keys."""
        self.start()
        version = self.connection.chains().chain_version
        made = self.connection.publish_point(self.point(), chain_version=version)
        assert made.state == "available"
        return PointId(made.point_id)

    def register_again(self) -> None:
        """Do what `overland agent register` does."""
        credentials = self.town.credentials()
        http = self.town.http(credentials.registration_token)
        signing.register_again(self.home, credentials, http=http)

    def rotate(
        self,
        *,
        passphrase: str = NEW,
        without: tuple[str, ...] = (),
        disown: bool = False,
        credentials: VaultCredentials | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Do what the command does; `meanwhile` happens after each look at what there is."""
        credentials = credentials or self.town.credentials()
        http = self.town.http(credentials.registration_token)
        registration = signing.register_again(self.home, credentials, http=http)

        def take() -> Inventory:
            found = vouching.take(self.home, self.vault, self.cloud, meter=NullProgress())
            meanwhile()
            return found

        def choose(found: Inventory) -> list[Vouched]:
            return found.vouched(without)

        signing.rotate_signing(
            self.home,
            self.vault,
            self.cloud,
            asked=Asked(registration=registration, credentials=credentials, http=http),
            new=NewKeys(
                passphrase=lambda: passphrase,
                random=secrets.token_bytes,
                keep=self.kits.append,
                disown=disown,
                cost=CHEAP,
            ),
            take=take,
            choose=choose,
        )

    def opened(self, *, passphrase: str | None = None, kit: str | None = None) -> ReadKeys:
        """Return the keys of somebody who restores elsewhere, from the vault alone."""
        objects = LayeredObjects([("vault", self.vault)])
        return open_keys(objects, passphrase=passphrase, recovery_kit=kit)

    def believed(self, keys: ReadKeys) -> set[PointId]:
        """Return the points that such a reader believes."""
        objects = LayeredObjects([("vault", self.vault)])
        return {each.point_id for each in list_points(objects, keys).points}
