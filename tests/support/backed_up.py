"""A small repository of real parts: back up a tree, several times, and open it for a restore."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

from msgspec.structs import replace
from tests.support.signing_rotation import rotate_signing, vouch
from tests.support.simdisk import SimDisk

from overland.adapters.posix import PosixFiles
from overland.agent.backup.run import BackupPlan, BackupResult, back_up
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point, ReadKeys, open_keys, open_point
from overland.agent.points.signatures import Signatures
from overland.agent.repository import Repository
from overland.agent.restore.run import RestoreOptions, RestoreReport, restore
from overland.agent.sources import LayeredObjects, SeedFolderObjects
from overland.crypto.keyring import Argon2Parameters, KeyringDocument, encode_keyring, generation_of
from overland.crypto.keys import MasterKey, new_keyring, signing_key, with_master
from overland.ports.progress import NullProgress
from overland.seeding.subfolder import Subfolder
from overland.source.chunker import Sizes
from overland.values import PointId, RepositoryId, SeedId, keyring_name

__all__ = ["PASSPHRASE", "BackedUp", "SettledClock"]

PASSPHRASE = "correct horse battery staple"
SMALL_CHUNKS = Sizes(min_bytes=1024, mean_bytes=4096, max_bytes=16384)
_CHEAP = Argon2Parameters(memory_kib=32, iterations=1, lanes=1)


class SettledClock:
    """Real instants, moved on so far that no file counts as changed just now."""

    def __init__(self) -> None:
        self._ahead = timedelta(minutes=1)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def monotonic_s(self) -> float:
        return self.now().timestamp()

    def sleep(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


@cache
def sample_keyring() -> tuple[KeyringDocument, MasterKey, str]:
    """A keyring, its master key and its recovery kit; cheap to derive, and done once."""
    counter = iter(range(1, 1 << 30))
    return new_keyring(
        PASSPHRASE,
        repository_id=RepositoryId(str(UUID(int=1))),
        random=lambda size: next(counter).to_bytes(4, "big") * (size // 4),
        cost=_CHEAP,
    )


class BackedUp:
    """A source, and places that hold its recovery points: one place for each backup."""

    def __init__(
        self, folder: Path, *, sizes: Sizes = SMALL_CHUNKS, pack_bytes: int = 1 << 20
    ) -> None:
        self.source, self.staging, self.target = (
            folder / name for name in ("source", "staging", "target")
        )
        state = folder / "state"
        for made in (self.staging, state):
            made.mkdir(parents=True)
        self.document, master_key, self.recovery_kit = sample_keyring()
        self._state = PosixFiles(state)
        self.home = SimDisk()  # for key changes
        self.thief = signing_key(self.document, master_key)
        self._vouched = 0
        self._open(master_key)
        self._sizes, self._pack_bytes = sizes, pack_bytes
        self.files = PosixFiles(self.staging)
        self.results: list[BackupResult] = []
        self.processes: int | None = None  # that restores use where they are not asked otherwise

    def rotate_master(self, passphrase: str) -> str:
        """Take a new master key for the points to come; return the new recovery kit."""
        self.document, master, kit = with_master(
            self.document, self._master, passphrase, random=secrets.token_bytes, cost=_CHEAP
        )
        self._open(master)
        return kit

    def rotate_signing(self, passphrase: str, *, without: Sequence[PointId] = ()) -> str:
        """Take a new signing and master key for the points to come; return the new recovery kit.

        Vouched for is every point that the present key signed, but those `without`.
        """
        self.thief, self.stolen = signing_key(self.document, self._master), self.repository
        files = [
            (info.name, place.read(info.name))
            for place in map(self.place, range(self._vouched, len(self.results)))
            for info in place.names("points/")
        ]
        listed = [each for each in vouch(files) if each.id not in without]
        made = rotate_signing(self.document, self._master, listed, passphrase)
        self._vouched = len(self.results)
        self.document = made.document
        self.home.write(made.name, made.data)
        self._open(made.master)
        return made.kit

    def _open(self, master: MasterKey) -> None:
        self._master = master
        self.repository = Repository(
            repository_id=self.document.repository_id,
            master_key=master,
            signing_key=signing_key(self.document, master),
            state=self._state,
            state_folder=None,
            signatures=lambda: Signatures.of(self.document, at_hand=[self.home]),
        )

    def back_up(self, *roots: Path, **changes: object) -> BackupResult:
        """Make the next recovery point in a place of its own; `changes` are fields of the plan."""
        number = len(self.results)
        place = Subfolder(self.files, f"seed-{self.place_id(number)}")
        for name in self.repository.signatures.change_names:
            place.write(name, self.home.read(name))
        place.write(keyring_name(generation_of(self.document)), encode_keyring(self.document))
        plan = BackupPlan(
            point_id=PointId(str(UUID(int=0x1000 + number))),
            kind="incremental" if self.results else "seed",
            seed_id=None if self.results else self.place_id(0),
            base=self.results[-1].point_id if self.results else None,
            roots=roots or (self.source,),
            include=(),
            exclude=(),
            one_file_system=True,
            never_enter=(),
            policy="documents",
            host="source",
            sizes=self._sizes,
            pack_bytes=self._pack_bytes,
        )
        result = back_up(
            replace(plan, **changes),
            repository=self.repository,
            out=place,
            clock=SettledClock(),
            progress=NullProgress(),
            stored=[self.place(before) for before in range(number)],
        )
        self.results.append(result)
        return result

    @staticmethod
    def place_id(number: int) -> SeedId:
        return SeedId(str(UUID(int=0x2000 + number)))

    def place(self, number: int) -> SeedFolderObjects:
        return SeedFolderObjects(self.files, self.place_id(number))

    def folder(self, number: int = 0) -> Path:
        """The folder that a backup's objects lie in."""
        return self.staging / f"seed-{self.place_id(number)}"

    def packs(self, number: int = 0) -> list[Path]:
        return sorted(self.folder(number).glob("packs/*/*.pack"))

    def objects(self) -> LayeredObjects:
        return LayeredObjects(
            [(f"place {number}", self.place(number)) for number in range(len(self.results))]
        )

    def open(self, number: int = -1, *, passphrase: str = PASSPHRASE) -> tuple[Point, ChunkStore]:
        """Open a recovery point with nothing but the places and the passphrase."""
        objects = self.objects()
        keys: ReadKeys = open_keys(objects, passphrase=passphrase)
        store = ChunkStore(objects, keys)
        store.load_index()
        return open_point(objects, keys, self.results[number].point_id), store

    def restore(
        self,
        number: int = -1,
        *,
        paths: tuple[bytes, ...] = (),
        target: Path | None = None,
        **options: object,
    ) -> RestoreReport:
        """Restore a recovery point; the source's own path is left out."""
        point, store = self.open(number)
        own = {"strip": str(self.source).encode(), "sync": False, "processes": self.processes}
        chosen = {**own, **options}
        return restore(
            point,
            store=store,
            target=str(target or self.target).encode(),
            progress=NullProgress(),
            paths=paths,
            options=RestoreOptions(**chosen),  # type: ignore[arg-type]  # the tests' own words
        )
