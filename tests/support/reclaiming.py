"""A vault, its catalog and reclaim in memory, and a source computer that backs up into it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine
from tests.support.landed import VAULT, Computer, MemorySpaces, database, pack, put
from tests.support.manualclock import ManualClock
from tests.support.simdisk import SimDisk
from tests.support.simengine import SimEngine

from overland.adapters.folderobjects import FolderObjects
from overland.crypto import sign
from overland.format.replacement import (
    REPLACEMENT_PURPOSE,
    Replacement,
    ReplacementObject,
    encode_replacement,
)
from overland.format.signed import encode_signed
from overland.values import PointId, ReplacementId, point_name, replacement_name
from overland.vault import catalog, chains, marks, replacing, runs
from overland.vault.catalog import CatalogPoint
from overland.vault.owner import Owner
from overland.vault.reclaim import Reclaim
from overland.vault.runs import ReclaimReport, ReclaimRequest

__all__ = ["Reclaiming", "point_id_of", "replacement_of"]

DAY = timedelta(days=1)


def point_id_of(number: int) -> PointId:
    """Return the id of the point of a number."""
    return PointId(str(UUID(int=number)))


def replacement_of(
    computer: Computer,
    number: int,
    *,
    keeps: Iterable[int],
    replaced: Iterable[str],
    objects: Iterable[tuple[str, bytes]] = (),
    lost: Iterable[int] = (),
    created_at: datetime,
) -> tuple[ReplacementId, bytes]:
    """Return a replacement's id and its signed document."""
    replacement_id = ReplacementId(str(UUID(int=9000 + number)))
    gone = sorted(map(point_id_of, lost))
    replacement = Replacement(
        replacement_id=replacement_id,
        repository_id=computer.owner.repository_id,
        created_at=created_at,
        reason="repair" if gone else "repack",
        keeps=sorted(map(point_id_of, keeps)),
        lost=gone,
        replaced=sorted(replaced),
        objects=sorted(
            (
                ReplacementObject(
                    name=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
                )
                for name, data in objects
            ),
            key=lambda each: each.name,
        ),
    )
    document = encode_signed(
        REPLACEMENT_PURPOSE,
        encode_replacement(replacement),
        public_key=sign.public_key(computer.key),
        sign=lambda data: sign.sign(computer.key, REPLACEMENT_PURPOSE, data),
    )
    return replacement_id, document


@dataclass(kw_only=True)
class Reclaiming:
    """One vault and one computer; `begin` is one life of the cloud's process."""

    computer: Computer = field(default_factory=Computer)
    disk: SimDisk = field(default_factory=SimDisk)
    database: Engine = field(default_factory=database)
    engine: SimEngine = field(default_factory=SimEngine)
    clock: ManualClock = field(default_factory=ManualClock)
    manifests: dict[str, str] = field(default_factory=dict)
    reclaim: Reclaim = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start the cloud's process; interrupted work goes on in here."""
        self.reclaim = Reclaim(
            database=self.database,
            engine=self.engine,
            spaces=MemorySpaces(self.disk),
            clock=self.clock,
            manifest_of=lambda _, seed_id: self.manifests.get(seed_id),
        )
        self.reclaim.register()
        self.engine.launch()
        self.reclaim.resume()

    def restart(self) -> None:
        """Start the process anew after a kill or a power cut."""
        self.engine = self.engine.restart()
        if self.disk.is_cut:
            self.disk = self.disk.restart()
        self.begin()

    @property
    def owner(self) -> Owner:
        return self.computer.owner

    @property
    def store(self) -> FolderObjects:
        return MemorySpaces(self.disk).open(VAULT)

    @property
    def request(self) -> ReclaimRequest:
        return ReclaimRequest(
            source_computer_id=self.owner.source_computer_id,
            repository_id=self.owner.repository_id,
            public_key=self.owner.public_key.hex(),
            vault_space=VAULT,
        )

    # The source computer.

    def put(self, name: str, data: bytes) -> None:
        put(self.store, self.owner.prefix + name, data)

    def put_pack(self, label: str) -> str:
        name, data = pack(label)
        self.put(name, data)
        return name

    def put_point(self, number: int, labels: Iterable[str], *, base: int | None = None) -> PointId:
        """Put a point's packs and its file into the vault, dated now."""
        content = [pack(label) for label in labels]
        for name, data in content:
            self.put(name, data)
        point_id, data = self.computer.point(
            number, content, base=base, created_at=self.clock.now()
        )
        self.put(point_name(point_id), data)
        return point_id

    def record(self, point_id: PointId) -> CatalogPoint:
        with self.database.begin() as connection:
            fence = chains.read_fence(connection, self.owner)
        finding = catalog.inspect(
            self.store,
            fence=fence,
            point_id=point_id,
            replacements=replacing.load_accepted(self.store, fence),
        )
        with self.database.begin() as connection:
            return catalog.record(connection, finding, at=self.clock.now())

    def back_up(
        self, number: int, labels: Iterable[str] | None = None, *, base: int | None = None
    ) -> CatalogPoint:
        """Make a point of one pack, or of these."""
        labels = [f"pack {number}"] if labels is None else labels
        return self.record(self.put_point(number, labels, base=base))

    def replace(
        self,
        number: int,
        *,
        keeps: Iterable[int],
        replaced: Iterable[str],
        by: Iterable[str] = (),
        lost: Iterable[int] = (),
        chain_version: int | None = None,
    ) -> int:
        """Put a replacement into the vault and have it accepted."""
        content = [pack(label) for label in by]
        for name, data in content:
            self.put(name, data)
        replacement_id, document = replacement_of(
            self.computer,
            number,
            keeps=keeps,
            replaced=replaced,
            objects=content,
            lost=lost,
            created_at=self.clock.now(),
        )
        self.put(replacement_name(replacement_id), document)
        return self.accept(replacement_id, chain_version=chain_version)

    def accept(self, replacement_id: ReplacementId, *, chain_version: int | None = None) -> int:
        with self.database.begin() as connection:
            fence = chains.read_fence(connection, self.owner)
            listed = self.listed(connection)
        proposal = replacing.propose(
            self.store,
            fence=fence,
            listed=listed,
            replacement_id=replacement_id,
            manifest_of=self.manifests.get,
        )
        with self.database.begin() as connection:
            return replacing.accept(
                connection,
                proposal,
                chain_version=fence.version if chain_version is None else chain_version,
                at=self.clock.now(),
                actor="agent:1",
            )

    # Marks.

    def mark(self, number: int) -> None:
        with self.database.begin() as connection:
            marks.mark(
                connection,
                self.point(number, connection),
                owner=self.owner,
                at=self.clock.now(),
                grace=marks.MIN_GRACE,
                actor="agent:1",
            )

    def unmark(self, number: int) -> None:
        with self.database.begin() as connection:
            point = self.point(number, connection)
            marks.unmark(connection, point, owner=self.owner, at=self.clock.now(), actor="admin:1")

    # The cloud.

    def run(self) -> ReclaimReport:
        """Reclaim, and return what was done."""
        with self.database.begin() as connection:
            run = self.reclaim.begin(connection, self.request)
        self.reclaim.launch(run)
        with self.database.begin() as connection:
            return runs.find_run(connection, run).report

    def reclaim_all(self) -> ReclaimReport:
        """Reclaim, wait for the time of grace of whatever is unneeded, and reclaim again."""
        self.run()
        self.clock.advance(marks.MIN_GRACE)
        return self.run()

    # What tests ask.

    def listed(self, connection: Connection) -> list[CatalogPoint]:
        computer = self.owner.source_computer_id
        return catalog.list_points(connection, source_computer_id=computer)

    def points(self) -> dict[int, CatalogPoint]:
        """Return the catalog's points by their numbers."""
        with self.database.begin() as connection:
            return {UUID(each.point_id).int: each for each in self.listed(connection)}

    def point(self, number: int, connection: Connection) -> CatalogPoint:
        computer = self.owner.source_computer_id
        found = catalog.find_point(connection, point_id_of(number), source_computer_id=computer)
        if found is None:  # it never was, or was reclaimed and forgotten
            raise KeyError(number)
        return found

    def held(self) -> set[str]:
        """Return the names of the computer's objects in the vault."""
        prefix = self.owner.prefix
        return {info.name.removeprefix(prefix) for info in self.store.names(prefix)}

    def events(self) -> list[str]:
        computer = self.owner.source_computer_id
        with self.database.begin() as connection:
            found = chains.list_events(connection, source_computer_id=computer)
        return [each.event for each in found]
