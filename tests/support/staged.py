"""Small seeds in a staging location, and drives in memory, for tests of what carries them."""

import hashlib
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath

from tests.support.simdisk import SimDisk

from overland.crypto import sign
from overland.errors import RefusedError
from overland.format.seed_manifest import ManifestObject, SeedManifest
from overland.ports.files import Files
from overland.ports.volume import FOLDER, Attachment, Content
from overland.seeding.drive import MANIFEST_XML
from overland.seeding.seedrecord import SeedRecord
from overland.seeding.staging import SeedDraft, StagingLocation
from overland.values import (
    PackId,
    PointId,
    RepositoryId,
    SeedId,
    key_change_name,
    keyring_name,
    pack_name,
)

SEED_ID = SeedId("11111111-aaaa-4bbb-8ccc-222222222222")
OTHER_SEED_ID = SeedId("99999999-aaaa-4bbb-8ccc-222222222222")
REPOSITORY_ID = RepositoryId("33333333-aaaa-4bbb-8ccc-444444444444")
POINT_ID = PointId("55555555-aaaa-4bbb-8ccc-666666666666")
SUBSCRIPTION_ID = "77777777-aaaa-4bbb-8ccc-888888888888"
NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
SIGNING_KEY = sign.generate_signing_key(lambda count: b"s" * count)
STAGING = "/staging"


def sign_with_source_key(purpose: str, body: sign.Signable) -> bytes:
    return sign.sign(SIGNING_KEY, purpose, body)


def record(seed_id: SeedId = SEED_ID, *, job_name: str = "harbour-import-07") -> SeedRecord:
    return SeedRecord(
        seed_id=seed_id,
        repository_id=REPOSITORY_ID,
        job_name=job_name,
        subscription_id=SUBSCRIPTION_ID,
        storage_account="harbourdata",
        container="seeds",
        policy="nightly",
        source_computer="harbour-1",
        created_at=NOW,
    )


def objects(
    *, packs: Sequence[int] = (4096, 8192, 512), seed: int = 0, key_change: bytes = b""
) -> dict[str, bytes]:
    """A seed's objects: packs of these sizes, a recovery point, a keyring; and a key change."""
    source = random.Random(seed)
    made = {f"points/{POINT_ID}.point": source.randbytes(1024)}
    made[keyring_name(1)] = b'{"format":1}'
    if key_change:
        made[key_change_name(1, hashlib.sha256(key_change).hexdigest())] = key_change
    for size_bytes in packs:
        content = source.randbytes(size_bytes)
        made[pack_name(PackId(hashlib.sha256(content).hexdigest()))] = content
    return dict(sorted(made.items()))


def manifest_object(name: str, content: bytes) -> ManifestObject:
    return ManifestObject(
        name=name,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def manifest(content: dict[str, bytes], seed_id: SeedId = SEED_ID) -> SeedManifest:
    return SeedManifest(
        seed_id=seed_id,
        repository_id=REPOSITORY_ID,
        job_name="harbour-import-07",
        point_id=POINT_ID,
        snapshot_at=NOW,
        created_at=NOW,
        objects=[manifest_object(name, data) for name, data in content.items()],
    )


def location(files: Files) -> StagingLocation:
    return StagingLocation(STAGING, files_of=lambda _path: files)


def finish(draft: SeedDraft, content: dict[str, bytes], seed_id: SeedId = SEED_ID) -> str:
    return draft.finish(
        manifest(content, seed_id),
        public_key=sign.public_key(SIGNING_KEY),
        sign=sign_with_source_key,
    )


def stage(
    files: Files,
    content: dict[str, bytes],
    seed_id: SeedId = SEED_ID,
    *,
    job_name: str = "harbour-import-07",
) -> None:
    """Stage a complete seed."""
    draft = location(files).begin(record(seed_id, job_name=job_name), needed_bytes=0)
    for name, data in content.items():
        draft.files.write(name, data)
    finish(draft, content, seed_id)


class SimDrive:
    """`Volume` over a `SimDisk`."""

    def __init__(self, serial: str, *, capacity_bytes: int, disk: SimDisk | None = None) -> None:
        self.disk = disk or SimDisk(capacity_bytes=capacity_bytes)
        self._serial, self._capacity_bytes = serial, capacity_bytes
        self.system, self.erased = False, 0
        self.attached: Attachment = FOLDER

    @property
    def serial(self) -> str:
        return self._serial

    @property
    def capacity_bytes(self) -> int:
        return self._capacity_bytes

    @property
    def path(self) -> str:
        return f"/drives/{self._serial}"

    def content(self) -> Content:
        names = {info.name for info in self.disk.names()}
        if not names:
            return "blank"
        ours = any(name == MANIFEST_XML or name.startswith("seed-") for name in names)
        return "overland" if ours else "foreign"

    def holds(self, path: str) -> bool:
        return PurePosixPath(path).is_relative_to(self.path)

    def attachment(self) -> Attachment:
        return self.attached

    def is_system(self) -> bool:
        return self.system

    def erase(self) -> None:
        self.erased += 1
        for info in list(self.disk.names()):
            self.disk.delete(info.name)

    def files(self) -> Files:
        return self.disk


class SimDrives:
    """`Volumes`: the drives that are attached, by path."""

    def __init__(self, *drives: SimDrive) -> None:
        self.drives = {drive.path: drive for drive in drives}

    def open(self, path: str) -> SimDrive:
        if path not in self.drives:
            raise RefusedError(f"there is no drive at {path}")
        return self.drives[path]
