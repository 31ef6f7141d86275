"""Targets: names and patterns, and the files that our programs left on their own disks.

A program's own record may be damaged, and a staging location is somebody else's to write to.
"""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final

from tests.fuzz.oracle import Target
from tests.support import format_samples as sample
from tests.support.backups import REPOSITORY
from tests.support.manualclock import ManualClock
from tests.support.simdisk import SimDisk

from overland.agent.home import AgentHome, Identity, Registration
from overland.agent.policy import Policies, Policy, Progress, SeedPhase
from overland.cloud.grants import is_safe_name
from overland.diskprep.record import Preparation, Preparations
from overland.format.drive_blob import Blob, check_blob
from overland.format.drive_xml import ManifestXmlInvalid
from overland.format.index import PackDirectory
from overland.packing.index import ChunkIndex
from overland.ports.files import Files, name_parts
from overland.seeding.ledger import Ledger
from overland.seeding.seedrecord import SeedRecord, read_record, write_record
from overland.source.changes import ChangeCache, ChangeCacheWriter, FolderBlock
from overland.source.rules import Rules
from overland.station.home import StationConfig, StationHome
from overland.values import PackId, is_object_name

__all__ = ["LOCAL"]

_NOW: Final = datetime(2027, 1, 1, tzinfo=UTC)
_SEED: Final = sample.SEED


# Names.


def _names(data: bytes) -> bool:
    """Whatever name is taken stays below the folder that it is used in."""
    name = data.decode("utf-8", "surrogateescape")
    taken = is_object_name(name)
    if taken or is_safe_name(name) or _is_plain(name):
        below = os.path.normpath(f"/root/{name}")
        assert below == f"/root/{name}", f"{name!r} climbs, or has two spellings"
        assert "\0" not in name, "a name ends where it ends"
    if taken:
        assert name.isascii(), "an object's name is ASCII"
        assert _is_plain(name), "an object's name is a name of plain parts"
    return taken


def _is_plain(name: str) -> bool:
    try:
        name_parts(name)
    except ValueError:
        return False
    return True


def _drive_path(data: bytes) -> bool:
    path = data.decode("utf-8", "replace")
    blob = Blob(
        blob_path="seeds/x", file_path=path, length=0, disposition="no-overwrite", blocks=()
    )
    try:
        check_blob(blob, name="fuzz")
    except ManifestXmlInvalid:
        return False
    assert os.path.normpath(f"/drive/{blob.file_name}") == f"/drive/{blob.file_name}"
    return True


def _pattern(data: bytes) -> bool:
    """The first line is a pattern, the others are paths that it is asked about."""
    pattern, *paths = data.split(b"\n")
    rules = Rules(include=(), exclude=[pattern.decode("utf-8", "surrogateescape")])
    for path in paths[:20]:
        rules.keeps(path[:255], is_folder=False, is_included=True)
    return True


# Records.


def _stored(name: str, read: Callable[[Files], object]) -> Callable[[bytes], bool]:
    """Return the attempt to read a file of this name from a disk that holds nothing else."""

    def attempt(data: bytes) -> bool:
        disk = SimDisk()
        disk.write(name, data)
        return read(disk) is not None

    return attempt


def _written(name: str, write: Callable[[Files], object]) -> Callable[[], Sequence[bytes]]:
    def make() -> Sequence[bytes]:
        disk = SimDisk()
        write(disk)
        return [disk.read(name)]

    return make


def _write_seed_record(files: Files) -> None:
    record = SeedRecord(
        seed_id=_SEED,
        repository_id=sample.REPOSITORY,
        job_name="harbour",
        subscription_id="s",
        storage_account="a",
        container="c",
        policy="daily",
        source_computer="srv-1",
        created_at=_NOW,
    )
    write_record(files, record)


def _write_preparation(files: Files) -> None:
    made = Preparation(
        seed_id=_SEED,
        job_name="harbour",
        staging="/staging",
        subscription_id="s",
        storage_account="a",
        container="c",
        seed_manifest_sha256="0" * 64,
        object_count=1,
        object_bytes=512,
        started_at=_NOW,
    )
    Preparations(files).save(made)


def _write_ledger(files: Files) -> None:
    ledger = Ledger(files, "ledger", clock=ManualClock())
    ledger.append("sealed", drive="ZX", by="ada", details={"a": "b"})
    ledger.append("handed over", drive="ZX", by="ada", details={})


def _write_identity(files: Files) -> None:
    AgentHome(files).save_identity(
        Identity(computer_name="srv", repository_id=sample.REPOSITORY, signing_public_key="0" * 64)
    )


def _write_registration(files: Files) -> None:
    made = Registration(
        url="https://x",
        object_url="https://y",
        ca_pem="PEM",
        vault_id="v",
        vault_name="vault-1",
        source_computer_id="c",
        token="secret",
    )
    AgentHome(files).save_registration(made)


def _write_policy(files: Files) -> None:
    Policies(files).save(Policy(name="daily", sources=("/srv",), first_copy="network"))


def _write_progress(files: Files) -> None:
    Policies(files).record("daily", Progress(phase=SeedPhase.CONFIGURED))


def _write_station(files: Files) -> None:
    StationHome(files).save(StationConfig(url="https://x", ca_pem="PEM", token="secret"))


# Hints.


@cache
def _chunk_index() -> bytes:
    data, directory = sample.sample_pack()
    index = ChunkIndex(REPOSITORY)
    index.add(PackDirectory(pack_id=PackId("ab" * 32), pack_bytes=len(data), directory=directory))
    out = bytearray()
    index.save(out.extend)
    return bytes(out)


def _read_chunk_index(data: bytes) -> bool:
    ChunkIndex.load(data, REPOSITORY)
    return True


def _write_changes(files: Files) -> None:
    writer = ChangeCacheWriter(files)
    for number in range(3):
        writer.add(
            FolderBlock(
                key=bytes([number]) * 16,
                device=1,
                has_links=False,
                names=b"a\0b",
                fingerprints=bytes(72),
                node=b"node",
                content=bytes(32),
                levels=0,
                files=2,
                others=0,
                file_bytes=9,
            )
        )
    writer.publish("changes", epoch=b"e" * 16)


def _read_changes(files: Files) -> object:
    cache = ChangeCache(files, "changes")
    found: list[FolderBlock | None] = [cache.find(bytes([n]) * 16) for n in range(4)]
    return found


LOCAL: Final = (
    Target(
        name="object-name",
        kind="text",
        make_seeds=lambda: [
            b"packs/ab/" + b"ab" * 32 + b".pack",
            b"index/" + b"0" * 64 + b".index",
            b"points/0b9d2a5e-7c14-4e0f-9a63-5d1f0c8e2b71.point",
            b"keys/00000001.keyring",
        ],
        attempt=_names,
        tokens=(b".", b"..", b"./", b"//", b"\0", b"A", b"\xd9\xa1"),
    ),
    Target(
        name="drive-path",
        kind="text",
        make_seeds=lambda: [b"\\seed\\packs\\a.pack"],
        attempt=_drive_path,
        tokens=(b"\\", b"..", b"\\..\\", b"/", b":", b"C:", b"\0", b"\x7f", b"CON"),
    ),
    Target(
        name="pattern",
        kind="text",
        make_seeds=lambda: [
            b"*.tmp\na.tmp\nb/c.tmp\n" + b"a" * 255,
            b"/srv/**/cache/\n" + b"a/" * 120,
            b"[!a-z]?\\*\nA1*",
            b"**/*-*-*/**\n" + b"-" * 255,
        ],
        attempt=_pattern,
        tokens=(b"*", b"**/", b"/**", b"[", b"]", b"[!", b"\\", b"!", b"*a*a*a", b"(?", b"{9999}"),
        constant_bytes=8 << 20,
        bytes_per_byte=2048,
    ),
    Target(
        name="seed-record",
        kind="json",
        make_seeds=_written("seed.json", _write_seed_record),
        attempt=_stored("seed.json", lambda files: read_record(files, _SEED)),
    ),
    Target(
        name="preparation",
        kind="json",
        make_seeds=_written(f"{_SEED}/record.json", _write_preparation),
        attempt=_stored(f"{_SEED}/record.json", lambda files: Preparations(files).find(_SEED)),
    ),
    Target(
        name="ledger",
        kind="json",
        make_seeds=_written("ledger", _write_ledger),
        attempt=_stored(
            "ledger", lambda files: Ledger(files, "ledger", clock=ManualClock()).events()
        ),
    ),
    Target(
        name="agent-identity",
        kind="json",
        make_seeds=_written("agent.json", _write_identity),
        attempt=_stored("agent.json", lambda files: AgentHome(files).identity()),
    ),
    Target(
        name="agent-registration",
        kind="json",
        make_seeds=_written("registration.json", _write_registration),
        attempt=_stored("registration.json", lambda files: AgentHome(files).registration()),
    ),
    Target(
        name="policy",
        kind="json",
        make_seeds=_written("policies/daily.policy.json", _write_policy),
        attempt=_stored("policies/daily.policy.json", lambda files: Policies(files).load("daily")),
        constant_bytes=8 << 20,
    ),
    Target(
        name="policy-progress",
        kind="json",
        make_seeds=_written("policies/daily.progress.json", _write_progress),
        attempt=_stored(
            "policies/daily.progress.json", lambda files: Policies(files).progress("daily")
        ),
    ),
    Target(
        name="station-settings",
        kind="json",
        make_seeds=_written("station.json", _write_station),
        attempt=_stored("station.json", lambda files: StationHome(files).config()),
    ),
    Target(
        name="chunk-index-hint",
        kind="binary",
        make_seeds=lambda: [_chunk_index()],
        attempt=_read_chunk_index,
        is_sealed=True,
    ),
    Target(
        name="change-cache",
        kind="binary",
        make_seeds=_written("changes", _write_changes),
        attempt=_stored("changes", _read_changes),
        constant_bytes=16 << 20,
    ),
)
"""The local targets."""
