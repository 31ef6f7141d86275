"""A seed whose drives have arrived: signed manifest, container, vault, catalog, all in memory."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from uuid import UUID

from sqlalchemy import Connection, Engine, StaticPool, create_engine
from tests.support.manualclock import ManualClock
from tests.support.simdisk import SimDisk
from tests.support.simengine import SimEngine

from overland.adapters.folderobjects import FolderObjects
from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.format import point as points
from overland.format.seed_manifest import (
    SEED_MANIFEST_PURPOSE,
    ManifestObject,
    SeedManifest,
    encode_seed_manifest,
)
from overland.format.signed import encode_signed
from overland.ports.objects import Objects
from overland.values import (
    PackId,
    PointId,
    RepositoryId,
    SeedId,
    index_name,
    key_change_name,
    pack_name,
    point_name,
)
from overland.vault import tables
from overland.vault.adoption import Adoption
from overland.vault.attempts import AttemptState
from overland.vault.move import AdoptionRequest
from overland.vault.owner import Owner

__all__ = [
    "CONTAINER",
    "SNAPSHOT",
    "VAULT",
    "Computer",
    "Landed",
    "MemorySpaces",
    "Seed",
    "database",
    "put",
]

CONTAINER = "accounts/harbour/seeds"
VAULT = f"vaults/{UUID(int=7)}"
SNAPSHOT = datetime(2027, 2, 1, 3, tzinfo=UTC)


_COMPILED: dict[object, object] = {}  # crash tests open hundreds of databases


class MemorySpaces:
    """`Spaces` on one disk in memory, so that one power cut hits them all."""

    def __init__(self, disk: SimDisk | None = None) -> None:
        self.disk = disk or SimDisk()

    def open(self, space: str) -> FolderObjects:
        return FolderObjects(self.disk, prefix=f"{space}/")


def put(store: Objects, name: str, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    store.put(name, [content], size_bytes=len(content), sha256=digest)


def database() -> Engine:
    """Return an empty database with the vault's tables."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    engine = engine.execution_options(compiled_cache=_COMPILED)
    tables.metadata.create_all(engine)
    return engine


@dataclass(frozen=True, kw_only=True)
class Computer:
    """A source computer that can sign; `number` tells one from another."""

    number: int = 1

    @property
    def key(self) -> Secret:
        return Secret(bytes([self.number]) * 32)

    @property
    def owner(self) -> Owner:
        return Owner(
            source_computer_id=str(UUID(int=1000 + self.number)),
            repository_id=RepositoryId(str(UUID(int=2000 + self.number))),
            public_key=sign.public_key(self.key),
        )

    def point(
        self,
        number: int,
        objects: Iterable[tuple[str, bytes]],
        *,
        base: int | None = None,
        seed_id: SeedId | None = None,
        created_at: datetime = SNAPSHOT,
    ) -> tuple[PointId, bytes]:
        """Return a point's id and its signed file."""
        point_id = PointId(str(UUID(int=number)))
        kind = "seed" if seed_id else "full" if base is None else "incremental"
        public = points.PointPublic(
            point_id=point_id,
            repository_id=self.owner.repository_id,
            created_at=created_at,
            kind=kind,  # type: ignore[arg-type] # one of the three
            seed_id=seed_id,
            base=None if base is None else PointId(str(UUID(int=base))),
            salt="5a" * 32,
            objects=[
                points.ObjectRef(
                    name=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
                )
                for name, data in objects
            ],
        )
        return point_id, bytes(
            points.assemble(
                public,
                bytes(100),
                master_number=0,
                sign=lambda data: sign.sign(self.key, points.SIGNATURE_PURPOSE, data),
            )
        )


def pack(text: str) -> tuple[str, bytes]:
    """Return the name and the bytes of something that has a pack's length and name."""
    data = hashlib.shake_256(text.encode()).digest(1024)
    return pack_name(PackId(hashlib.sha256(data).hexdigest())), data


@dataclass(frozen=True, kw_only=True)
class Seed:
    """What a source computer staged: the contents by name, and the signed list of them."""

    computer: Computer = field(default_factory=Computer)
    number: int = 1
    packs: int = 3
    key_change: bytes = b""

    @property
    def seed_id(self) -> SeedId:
        return SeedId(str(UUID(int=3000 + self.number)))

    @property
    def point_id(self) -> PointId:
        return PointId(str(UUID(int=self.number)))

    @cached_property
    def payload(self) -> dict[str, bytes]:
        """The packs and the index file, as the point names them."""
        label = f"{self.computer.number} {self.number}"
        found = dict(pack(f"{label} {turn}") for turn in range(self.packs))
        index = hashlib.shake_256(f"index {label}".encode()).digest(512)
        return found | {index_name(hashlib.sha256(index).hexdigest()): index}

    @cached_property
    def contents(self) -> dict[str, bytes]:
        """Every object, sorted by name."""
        point_id, point = self.computer.point(
            self.number, self.payload.items(), seed_id=self.seed_id
        )
        keyring: dict[str, bytes] = {"keys/00000001.keyring": b"wrapped keys"}
        if self.key_change:
            digest = hashlib.sha256(self.key_change).hexdigest()
            keyring[key_change_name(1, digest)] = self.key_change
        return dict(sorted((self.payload | keyring | {point_name(point_id): point}).items()))

    @cached_property
    def manifest(self) -> SeedManifest:
        return SeedManifest(
            seed_id=self.seed_id,
            repository_id=self.computer.owner.repository_id,
            job_name="harbour-first",
            point_id=self.point_id,
            snapshot_at=SNAPSHOT,
            created_at=SNAPSHOT,
            objects=[
                ManifestObject(
                    name=name,
                    size_bytes=len(data),
                    sha256=hashlib.sha256(data).hexdigest(),
                )
                for name, data in self.contents.items()
            ],
        )

    @cached_property
    def document(self) -> bytes:
        """The signed manifest."""
        return self.signed(encode_seed_manifest(self.manifest))

    def signed(self, body: bytes, *, by: Computer | None = None) -> bytes:
        key = (by or self.computer).key
        return encode_signed(
            SEED_MANIFEST_PURPOSE,
            body,
            public_key=sign.public_key(key),
            sign=lambda data: sign.sign(key, SEED_MANIFEST_PURPOSE, data),
        )


@dataclass(kw_only=True)
class Landed:
    """A cloud in which a seed's drives were imported; `run` is one life of its process."""

    seed: Seed = field(default_factory=Seed)
    disk: SimDisk = field(default_factory=SimDisk)
    database: Engine = field(default_factory=database)
    engine: SimEngine = field(default_factory=SimEngine)
    clock: ManualClock = field(default_factory=ManualClock)
    ended: list[tuple[SeedId, AttemptState]] = field(default_factory=list)
    document: bytes | None = None

    def __post_init__(self) -> None:
        self.store_manifest(self.document or self.seed.document)
        for name, data in self.seed.contents.items():
            put(self.container, f"seed-{self.seed.seed_id}/{name}", data)

    @property
    def spaces(self) -> MemorySpaces:
        return MemorySpaces(self.disk)

    @property
    def container(self) -> FolderObjects:
        return self.spaces.open(CONTAINER)

    @property
    def vault(self) -> FolderObjects:
        return self.spaces.open(VAULT)

    @property
    def request(self) -> AdoptionRequest:
        owner = self.seed.computer.owner
        document = self.vault.read("control/manifest.json")
        return AdoptionRequest(
            seed_id=self.seed.seed_id,
            manifest_name="control/manifest.json",
            manifest_sha256=hashlib.sha256(document).hexdigest(),
            source_computer_id=owner.source_computer_id,
            repository_id=owner.repository_id,
            public_key=owner.public_key.hex(),
            container_space=CONTAINER,
            vault_space=VAULT,
        )

    def store_manifest(self, document: bytes) -> None:
        self.vault.delete("control/manifest.json")
        put(self.vault, "control/manifest.json", document)

    def adoption(self) -> Adoption:
        """Return the work on a launched engine; interrupted work goes on in here."""

        def ended(_: Connection, seed_id: SeedId, state: AttemptState) -> None:
            self.ended.append((seed_id, state))

        adoption = Adoption(
            database=self.database,
            engine=self.engine,
            spaces=self.spaces,
            clock=self.clock,
            on_ended=ended,
        )
        adoption.register()
        self.engine.launch()
        return adoption

    def adopt(self, adoption: Adoption) -> None:
        """Begin an attempt and run it to its end."""
        with self.database.begin() as connection:
            attempt = adoption.begin(connection, self.request)
        adoption.launch(attempt)

    def damage(self, name: str, change: Callable[[bytes], bytes | None]) -> None:
        """Replace an object of the container behind everybody's back; None removes it."""
        path = f"{CONTAINER}/seed-{self.seed.seed_id}/{name}"
        data = change(self.disk.read(path))
        self.disk.delete(path)
        if data is not None:
            self.disk.write(path, data)

    def in_vault(self) -> dict[str, bytes]:
        """Return the objects of the source computer in the vault, by object name."""
        prefix = self.seed.computer.owner.prefix
        return {
            info.name.removeprefix(prefix): self.vault.read(info.name)
            for info in self.vault.names(prefix)
        }
