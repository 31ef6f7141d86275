"""Targets: names and patterns, and the files that our programs left on their own disks.

A program's own record may be damaged, and a staging location is somebody else's to write to.
"""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from tests.fuzz.oracle import Target
from tests.support import format_samples as sample
from tests.support.backups import REPOSITORY
from tests.support.manualclock import ManualClock
from tests.support.simdisk import SimDisk

from overland.agent.home import AgentHome, Identity, Registration
from overland.agent.policy import (
    CommandSource,
    OfflineSettings,
    Policies,
    Policy,
    Progress,
    Schedule,
    SeedPhase,
)
from overland.agent.settings import AgentSettings
from overland.cloud.grants import is_safe_name
from overland.diskprep.record import Preparation, Preparations
from overland.format.drive_blob import Blob, check_blob
from overland.format.drive_xml import ManifestXmlInvalid
from overland.format.index import PackDirectory
from overland.packing.hints import IndexHint
from overland.packing.index import ChunkIndex, as_ids
from overland.ports.files import Files, name_parts
from overland.seeding.ledger import Ledger
from overland.seeding.seedrecord import SeedRecord, read_record, write_record
from overland.source.changes import ChangeCache, ChangeCacheWriter, FolderBlock
from overland.source.patternfile import patterns_in
from overland.source.rules import Rules
from overland.station.home import StationConfig, StationHome
from overland.values import PackId, is_object_name
from overland.vault import retention
from overland.vault.retention import Retention

__all__ = ["LOCAL"]

_NOW: Final = datetime(2027, 1, 1, tzinfo=UTC)
_SEED: Final = sample.SEED
_HEAD: Final = "head"  # of a saved chunk index


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


def _pattern_file(data: bytes) -> bool:
    """A file with patterns, as a user's editor left it: every line is a pattern or is refused."""
    found = patterns_in(data.decode())
    assert all(pattern and "\n" not in pattern for pattern in found), "a pattern is a line"
    assert not any(pattern.startswith("#") for pattern in found), "and a comment is none"
    rules = Rules(include=(), exclude=found[:20])
    rules.keeps(b"/srv/a.tmp", is_folder=False, is_included=True)
    return True


def _retention(data: bytes) -> bool:
    found = retention.decode(data)
    assert retention.decode(retention.encode(found)) == found, "what is accepted is stored"
    points = [(day, _NOW - timedelta(days=day)) for day in range(40)]
    assert 0 in retention.kept(found, points), "the newest point stays"
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


def _write_settings(files: Files) -> None:
    settings = AgentSettings(AgentHome(files), scratch="/agent")
    settings.set("CurrentUserId", "33333333-3333-4333-8333-333333333333")
    settings.set("UseApplicationIdentity", "no")


def _write_policy(files: Files) -> None:
    Policies(files).save(Policy(name="daily", sources=("/srv",), first_copy="network"))


def _write_wide_policy(files: Files) -> None:
    Policies(files).save(
        Policy(
            name="daily",
            sources=("/srv", "/home"),
            commands=(CommandSource(name="db.sql", argv=("pg_dump", "--all"), timeout_s=60.0),),
            images=("/dev/vg/disk",),
            include=("/srv/**",),
            exclude=("*.tmp", "!keep.tmp"),
            include_from=("/etc/in",),
            exclude_from=("/etc/out",),
            exclude_caches=True,
            exclude_if_present=(".nobackup",),
            exclude_larger_than_bytes=1 << 30,
            one_file_system=True,
            schedule=Schedule(times=("22:00", "04:30"), days=("mon", "sun")),
            first_copy="offline",
            offline=OfflineSettings(
                staging_location="/staging",
                publish_settings="/p.publishsettings",
                job_name="harbour",
                subscription_id="0b9d2a5e-7c14-4e0f-9a63-5d1f0c8e2b71",
                storage_account="harbour",
                container="seeds",
            ),
            retention=Retention(daily=7, weekly=4, monthly=12, yearly=10),
        )
    )


def _write_progress(files: Files) -> None:
    Policies(files).record("daily", Progress(phase=SeedPhase.CONFIGURED))


def _write_station(files: Files) -> None:
    StationHome(files).save(StationConfig(url="https://x", ca_pem="PEM", token="secret"))


# Hints.


@cache
def _chunk_index() -> dict[str, bytes]:
    """The files of a saved index: its head, and its only part."""
    data, directory = sample.sample_pack()
    index = ChunkIndex(REPOSITORY)
    index.add(PackDirectory(pack_id=PackId("ab" * 32), pack_bytes=len(data), directory=directory))
    disk = SimDisk()
    IndexHint(disk, _HEAD, folder=None).save(index)
    return {info.name: disk.read(info.name) for info in disk.names()}


def _index_part() -> str:
    return next(name for name in _chunk_index() if name != _HEAD)


def _read_chunk_index(name: str, data: bytes) -> bool:
    """Whatever is damaged, what was never stored is not found."""
    disk = SimDisk()
    for other, content in _chunk_index().items():
        disk.write(other, content)
    disk.write(name, data)
    index = IndexHint(disk, _HEAD, folder=None).load(REPOSITORY)
    rows = index.lookup(as_ids(b"never stored".ljust(32) + _known_chunk()))
    assert rows[0] < 0, "a chunk that was never stored"
    if rows[1] >= 0:
        index.places(rows[1:])
    return bool(rows[1] >= 0)


def _known_chunk() -> bytes:
    known: bytes = sample.sample_pack()[1].chunks["id"][0].tobytes()
    return known


def _write_changes(files: Files) -> None:
    writer = ChangeCacheWriter(files, old=None)
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
    _, new = writer.end(epoch=bytes(16), new_epoch=b"e" * 16)
    assert new is not None, "there was none before"
    new.publish("changes")


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
        name="pattern-file",
        kind="text",
        make_seeds=lambda: [
            b"\xef\xbb\xbf# made by hand\r\n*.tmp\r\n!keep.tmp  \n\\#1\\ \n/srv/**/cache/\n",
            b"a\\ \t\n\\!b\n\n  \nc [x] ?\n",
        ],
        attempt=_pattern_file,
        tokens=(
            b"\n",
            b"\r\n",
            b"#",
            b"\\#",
            b"!",
            b"\\",
            b" ",
            b"\t",
            b"\xef\xbb\xbf",
            b"**/",
            b"[",
        ),
        refusals=(UnicodeDecodeError,),
        constant_bytes=8 << 20,
        bytes_per_byte=2048,
    ),
    Target(
        name="retention",
        kind="json",
        make_seeds=lambda: [retention.encode(Retention(daily=7, weekly=4, monthly=12, yearly=10))],
        attempt=_retention,
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
        name="agent-settings",
        kind="json",
        make_seeds=_written("settings.json", _write_settings),
        attempt=_stored(
            "settings.json", lambda files: AgentSettings(AgentHome(files), scratch="/agent").all()
        ),
    ),
    Target(
        name="policy",
        kind="json",
        make_seeds=lambda: [
            *_written("policies/daily.policy.json", _write_policy)(),
            *_written("policies/daily.policy.json", _write_wide_policy)(),
        ],
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
        make_seeds=lambda: [_chunk_index()[_HEAD]],
        attempt=lambda data: _read_chunk_index(_HEAD, data),
        is_sealed=True,
    ),
    Target(
        name="chunk-index-part",
        kind="binary",
        make_seeds=lambda: [_chunk_index()[_index_part()]],
        attempt=lambda data: _read_chunk_index(_index_part(), data),
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
