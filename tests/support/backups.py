"""Repositories and plans for tests of the data path."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from overland.agent.backup.chain import rebuild_index
from overland.agent.backup.publisher import OnPublished
from overland.agent.backup.run import BackupPlan, BackupResult, back_up
from overland.agent.repository import ObjectReader, Repository
from overland.crypto.keys import MasterKey
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key
from overland.format.tree import Entry, decode_node
from overland.packing.index import as_ids
from overland.ports.files import Files
from overland.ports.progress import NullProgress
from overland.source.chunker import Sizes
from overland.values import PointId, RepositoryId, SeedId

__all__ = [
    "REPOSITORY",
    "SEED",
    "FixedClock",
    "Tree",
    "make_plan",
    "make_repository",
    "point_id",
    "run",
]

REPOSITORY = RepositoryId("6f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11")
SEED = SeedId("0b7f3d52-7c56-4b6e-8a55-4a7c5f0f1e22")
SMALL = Sizes(min_bytes=1 << 10, mean_bytes=4 << 10, max_bytes=16 << 10)


class FixedClock:
    """Stands still, far enough ahead of the files of a test that they count as settled."""

    def __init__(self, *, ahead: timedelta = timedelta(hours=1)) -> None:
        self.instant = datetime.now(UTC) + ahead

    def now(self) -> datetime:
        return self.instant

    def monotonic_s(self) -> float:
        return self.instant.timestamp()

    def sleep(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


def make_repository(state: Files, *, state_folder: Path | None = None) -> Repository:
    """Open the repository that all tests share; its hints are in `state`."""
    return Repository(
        repository_id=REPOSITORY,
        master_key=MasterKey(Secret(b"m" * 32)),
        signing_key=generate_signing_key(lambda size: b"s" * size),
        state=state,
        state_folder=state_folder,
    )


def point_id(number: int) -> PointId:
    """Return the id of a test's point."""
    return PointId(str(UUID(int=number, version=4)))


def make_plan(source: Path | Sequence[Path], *, number: int = 1, **changes: object) -> BackupPlan:
    """Return a plan with small chunks and packs; an incremental if `number` is above 1."""
    fields: dict[str, object] = {
        "point_id": point_id(number),
        "kind": "seed" if number == 1 else "incremental",
        "seed_id": SEED if number == 1 else None,
        "base": None if number == 1 else point_id(number - 1),
        "roots": (source,) if isinstance(source, Path) else tuple(source),
        "include": (),
        "exclude": (),
        "one_file_system": False,
        "never_enter": (),
        "policy": "test",
        "host": "host",
        "sizes": SMALL,
        "workers": 1,
    }
    return BackupPlan(**(fields | changes))  # type: ignore[arg-type]  # tests name real fields


def run(
    plan: BackupPlan,
    *,
    repository: Repository,
    out: Files,
    stored: Sequence[ObjectReader] = (),
    on_published: OnPublished = lambda _: None,
    acknowledge: Callable[[], None] = lambda: None,
) -> BackupResult:
    """Back up with a fixed clock."""
    return back_up(
        plan,
        repository=repository,
        out=out,
        clock=FixedClock(),
        progress=NullProgress(),
        stored=stored,
        on_published=on_published,
        acknowledge=acknowledge,
    )


class Tree:
    """What a recovery point holds, read back with nothing but the objects and the keys."""

    def __init__(self, objects: ObjectReader, repository: Repository, point: PointId) -> None:
        self._objects, self._repository = objects, repository
        name = f"points/{point}.point"
        self.parsed, self.root = repository.open_point(objects.read(name), name=name, place=objects)
        index = rebuild_index(repository, [objects], tip=point)
        self._reader = repository.reader(objects, index, workers=1)
        self.entries: dict[bytes, Entry] = {}
        with self._reader:
            for root in self.root.roots:
                self._walk(root.path, root.entry)
            self.contents = {
                path: self._content(entry)
                for path, entry in self.entries.items()
                if entry.kind == "file"
            }

    def _walk(self, path: bytes, entry: Entry) -> None:
        self.entries[path] = entry
        if entry.kind == "folder":
            for child in decode_node(self._content(entry), name="node"):
                self._walk(path + b"/" + child.name, child)

    def _content(self, entry: Entry) -> bytes:
        ids = entry.content
        for _ in range(entry.levels):
            ids = b"".join(self._reader.read(as_ids(ids)))
        return b"".join(self._reader.read(as_ids(ids)))
