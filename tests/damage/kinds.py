"""Every kind of file: a sample, its fields as the format documents name them, and who reads it."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final
from unittest.mock import patch

from tests.damage.samples import NEW_PASSPHRASE, Fields, Owned, back_to_back, members
from tests.support import staged
from tests.support.manualclock import ManualClock
from tests.support.simdisk import SimDisk

from overland.agent.check.content import check_pack_content
from overland.agent.check.described import DescribedPacks
from overland.agent.home import AgentHome, Identity, Registration
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.indexes import IndexFiles, read_index_file, read_index_tables
from overland.agent.points.reading import open_keys, open_point
from overland.agent.points.replacements import proven_replacement
from overland.agent.policy import Policies, Policy, Progress, SeedPhase
from overland.agent.sources import LayeredObjects
from overland.crypto import sign
from overland.diskprep.record import Preparation, Preparations
from overland.errors import OverlandError
from overland.format.index_parts import Shape
from overland.format.seed_manifest import DriveManifest
from overland.packing.index import Ids, as_ids
from overland.packing.reader import ChunkAbsent
from overland.ports.progress import NullProgress
from overland.seeding.copying import ObjectCopier
from overland.seeding.drive import MANIFEST_XML, begin_drive, manifest_hash, object_path, seal_drive
from overland.seeding.ledger import Ledger
from overland.station.connection import StationDrive, StationJob
from overland.station.manifestfile import DriveRejected
from overland.station.opening import check_drive
from overland.values import PackId

__all__ = ["IN_PARTS", "NOT_NOTICED", "Kind", "code_of", "local_kinds", "vault_kinds"]

NOT_NOTICED: Final = "nothing"
"""Instead of a code: the file is taken for good; the page says why that harms nobody."""

IN_PARTS: Final = "index file, read in parts"

_Read = Callable[[Owned, str, bytes], object]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of file, with the reader that has to notice what happened to it."""

    name: str
    data: bytes
    fields: Fields
    read: Callable[[bytes], object]
    theirs: bytes | None = None
    older: bytes | None = None


def code_of(kind: Kind, data: bytes) -> str:
    """Return the code of the error that reading a file raises."""
    try:
        kind.read(data)
    except DriveRejected as rejected:
        return f"{rejected.code} ({rejected.status})"
    except OverlandError as error:
        return error.code
    return NOT_NOTICED


# -- objects of a vault -------------------------------------------------------------------------


def vault_kinds(mine: Owned, theirs: Owned) -> list[Kind]:
    """Return the kinds of objects."""
    readers: dict[str, tuple[Callable[[bytes], Fields], _Read]] = {
        "pack": (_pack_fields, _read_pack),
        "index file": (partial(_index_fields, mine), _read_index),
        IN_PARTS: (partial(_index_fields, mine), partial(_read_in_parts, _ids_of_index(mine))),
        "recovery point": (_point_fields, _read_point),
        "keyring": (members, _read_keyring),
        "replacement": (members, _read_replacement),
        "key change": (members, _read_keyring),  # which makes the older points count
    }
    made = []
    for kind, (fields, read) in readers.items():
        data = mine.read(mine.names[kind])
        older = mine.older.get(kind)
        made.append(
            Kind(
                name=kind,
                data=data,
                fields=fields(data),
                read=_in_vault(mine, mine.names[kind], read),
                theirs=theirs.read(theirs.names[kind]),
                older=None if older is None else mine.read(older),
            )
        )
    return made


def _in_vault(
    owned: Owned, name: str, read: Callable[[Owned, str, bytes], object]
) -> Callable[[bytes], object]:
    def with_data(data: bytes) -> object:
        disk = owned.vaulted.disk
        before = disk.read(name)
        disk.write(name, data)
        try:
            return read(owned, name, data)
        finally:
            disk.write(name, before)

    return with_data


_HEADER: Final = {
    "magic": 8,
    "version": 4,
    "cipher": 2,
    "master_number": 2,
    "repository_id": 16,
    "salt": 32,
}


def _pack_fields(data: bytes) -> Fields:
    offset, sealed_bytes = struct.unpack_from("<QI", data, len(data) - 56)
    return back_to_back(
        data,
        **_HEADER,
        segments=offset - 64,
        directory=sealed_bytes,
        trailer_magic=8,
        directory_offset=8,
        directory_sealed_bytes=4,
        segment_count=4,
        chunk_count=4,
        reserved=4,
        trailer_checksum=32,
    )


def _index_fields(owned: Owned, data: bytes) -> Fields:
    """Return the header, the head, and each part; a small file has one block of each kind."""
    vaulted = owned.vaulted
    packs = read_index_file(vaulted.objects(), vaulted.keys, owned.names["index file"])
    shape = Shape(
        packs=len(packs),
        segments=sum(len(pack.directory.segments) for pack in packs),
        chunks=sum(len(pack.directory.chunks) for pack in packs),
    )
    names = ("fan_out", "packs", "segments", "chunks")
    sizes = {name: part.sealed_bytes for name, part in zip(names, shape.parts(), strict=True)}
    return back_to_back(data, **_HEADER, head=64, **sizes)


def _point_fields(data: bytes) -> Fields:
    public_bytes, root_bytes = struct.unpack_from("<II", data, 16)
    fields = back_to_back(
        data,
        magic=8,
        version=4,
        cipher=2,
        master_number=2,
        public_length=4,
        root_length=4,
        reserved=8,
        public=public_bytes,
        root=root_bytes,
        padding=-1,
        signature=64,
    )
    inner = members(data[32 : 32 + public_bytes])
    return fields | {f"public: {name}": (32 + at, size) for name, (at, size) in inner.items()}


def _read_pack(owned: Owned, name: str, _: bytes) -> object:
    objects, keys, vault = owned.vaulted.objects(), owned.vaulted.keys, owned.vaulted.vault
    described = DescribedPacks()
    for info in vault.names("index/"):
        described.add(read_index_tables(objects, keys, info.name))
    expected = described.expected(PackId(name[9:-5]))
    assert expected is not None, "so that seals alone notice what is damaged"
    store = ChunkStore(objects, keys)
    return check_pack_content(vault, vault.head(name), store, expected=expected)


def _read_index(owned: Owned, name: str, _: bytes) -> object:
    return list(read_index_file(owned.vaulted.objects(), owned.vaulted.keys, name))


def _ids_of_index(owned: Owned) -> Ids:
    vaulted = owned.vaulted
    packs = read_index_file(vaulted.objects(), vaulted.keys, owned.names["index file"])
    return as_ids(b"".join(pack.directory.chunks["id"].tobytes() for pack in packs))


def _read_in_parts(ids: Ids, owned: Owned, name: str, _: bytes) -> object:
    """Look all its chunks up as in a file that is too long to be read whole."""
    objects, keys = owned.vaulted.objects(), owned.vaulted.keys
    with patch("overland.agent.points.indexes._SMALL_BYTES", 0):
        files = IndexFiles(objects, keys)
        each = next(each for each in files._files if each.name == name)
        each._contents = each._open(owned.vaulted.vault)
        found = each.find(ids)[0]
    if len(found) != len(ids):
        raise ChunkAbsent(ids[len(found)].tobytes(), count=len(ids) - len(found))
    return found


def _read_point(owned: Owned, _: str, __: bytes) -> object:
    return open_point(owned.vaulted.objects(), owned.vaulted.keys, owned.last)


def _read_keyring(owned: Owned, _: str, __: bytes) -> object:
    objects = LayeredObjects([("vault", owned.vaulted.vault)])
    keys = open_keys(objects, passphrase=NEW_PASSPHRASE)
    return open_point(objects, keys, owned.last)  # another's keyring is genuine, and of no use


def _read_replacement(owned: Owned, name: str, data: bytes) -> object:
    keys = owned.vaulted.keys
    vault = owned.vaulted.vault
    return proven_replacement(data, name=name, place=vault, signatures=keys.signatures)


# -- files beside the objects -------------------------------------------------------------------


def local_kinds() -> list[Kind]:
    """Return the kinds of files of a staging location, a drive, and the computers' own folders."""
    return [*_staging_kinds(), *_drive_kinds(), _ledger_kind(), *_home_kinds()]


def _staging_kinds() -> list[Kind]:
    disk, theirs, older = SimDisk(), SimDisk(), SimDisk()
    staged.stage(disk, staged.objects(seed=1))
    staged.stage(theirs, staged.objects(seed=2), staged.OTHER_SEED_ID)
    staged.stage(older, staged.objects(seed=3), job_name="before")
    folder, other = f"seed-{staged.SEED_ID}", f"seed-{staged.OTHER_SEED_ID}"

    def kind(name: str, fields: Callable[[bytes], Fields]) -> Kind:
        path = f"{folder}/{name}"

        def read(data: bytes) -> object:
            before = disk.read(path)
            disk.write(path, data)
            try:
                return staged.location(disk).open(staged.SEED_ID)
            finally:
                disk.write(path, before)

        return Kind(
            name=name,
            data=disk.read(path),
            fields=fields(disk.read(path)),
            read=read,
            theirs=theirs.read(f"{other}/{name}"),
            older=older.read(path),
        )

    return [
        kind("manifest.json", members),
        kind("READY", lambda data: back_to_back(data, digest=64, line_feed=1)),
        kind("seed.json", members),
    ]


def _sealed_drive(serial: str, seed: int) -> tuple[SimDisk, StationJob, StationDrive]:
    """Return a finished drive, and the job and the drive as the station knows them."""
    disk, content = SimDisk(), staged.objects(seed=seed)
    source = SimDisk()
    staged.stage(source, content)
    opened = staged.location(source).open(staged.SEED_ID)
    begin_drive(disk, seed_id=staged.SEED_ID, seed_manifest=opened.read_document())
    for name, data in content.items():
        disk.write(object_path(staged.SEED_ID, name), data)
    key = sign.generate_signing_key(lambda size: b"c" * size)
    manifest = DriveManifest(
        seed_id=staged.SEED_ID,
        job_name="harbour-import-07",
        drive_serial=serial,
        sequence=1,
        drive_count=1,
        seed_manifest_sha256=opened.sha256,
        objects=opened.manifest.objects,
        prepared_at=staged.NOW,
    )
    copier = ObjectCopier(NullProgress())
    seal_drive(
        disk,
        manifest,
        lambda: [
            copier.read_back(
                object_path(staged.SEED_ID, item.name),
                medium=disk,
                size_bytes=item.size_bytes,
                sha256=item.sha256,
            )
            for item in manifest.objects
        ],
        container="seeds",
        public_key=sign.public_key(key),
        sign=lambda purpose, body: sign.sign(key, purpose, body),
    )
    written = manifest_hash(disk)
    assert written is not None
    drive = StationDrive(serial=serial, state="Received", manifest_hash=written)
    job = StationJob(
        job_id="1",
        name="job",
        state="Transferring",
        container="seeds",
        seed_id=staged.SEED_ID,
        signing_public_key=sign.public_key(staged.SIGNING_KEY).hex(),
        drive_public_key=sign.public_key(key).hex(),
        drives=(drive,),
    )
    return disk, job, drive


def _drive_kinds() -> list[Kind]:
    disk, job, drive = _sealed_drive("D1", 1)
    theirs, _, _ = _sealed_drive("D2", 3)
    older, _, _ = _sealed_drive("D1", 2)

    def kind(name: str, path: str, fields: Callable[[bytes], Fields], *, trusts: bool) -> Kind:
        def read(data: bytes) -> object:
            before = disk.read(path)
            disk.write(path, data)
            known = _with_hash(drive, data) if trusts else drive
            try:
                return list(check_drive(disk, job=job, drive=known).items)
            finally:
                disk.write(path, before)

        return Kind(
            name=name,
            data=disk.read(path),
            fields=fields(disk.read(path)),
            read=read,
            theirs=theirs.read(path),
            older=older.read(path),
        )

    signed = object_path(staged.SEED_ID, "drive.json")
    copied = object_path(staged.SEED_ID, "manifest.json")
    return [
        kind("drive.json", signed, members, trusts=False),
        kind("manifest.json on a drive", copied, members, trusts=False),
        kind(MANIFEST_XML, MANIFEST_XML, _elements, trusts=False),
        kind(f"{MANIFEST_XML} of a forged job", MANIFEST_XML, _elements, trusts=True),
    ]


def _with_hash(drive: StationDrive, data: bytes) -> StationDrive:
    """Return the drive of a job that lists the hash of this manifest."""
    digest = hashlib.sha256(data).hexdigest()
    return StationDrive(serial=drive.serial, state=drive.state, manifest_hash=digest)


def _elements(data: bytes) -> Fields:
    found: Fields = {}
    for element in ("DriveId", "BlobPath", "FilePath", "Length", "ImportDisposition"):
        start = data.index(f"<{element}>".encode()) + len(element) + 2
        found[element] = (start, data.index(b"<", start) - start)
    for attribute in ("Version", "Offset", "Length", "Hash"):
        start = data.index(f' {attribute}="'.encode()) + len(attribute) + 3
        found[f"@{attribute}"] = (start, data.index(b'"', start) - start)
    return found


def _ledger_kind() -> Kind:
    def written(by: str) -> bytes:
        disk = SimDisk()
        ledger = Ledger(disk, "custody.jsonl", clock=ManualClock())
        ledger.append("prepared", drive="D1", by=by, details={"to": "E:"})
        ledger.append("sealed", drive="D1", by=by, details={})
        ledger.append("handed over", drive="D1", by=by, details={"carrier": "ship"})
        return disk.read("custody.jsonl")

    def read(data: bytes) -> object:
        disk = SimDisk()
        disk.write("custody.jsonl", data)
        return Ledger(disk, "custody.jsonl", clock=ManualClock()).events()

    data = written("anna")
    first = data.index(b"\n") + 1
    second = data.index(b"\n", first) + 1
    fields = members(data[:first]) | {
        "second line": (first, second - first - 1),
        "last line": (second, len(data) - second),
    }
    lines = data.splitlines(keepends=True)
    mixed = lines[0] + written("bernd").splitlines(keepends=True)[1] + lines[2]
    without_second = lines[0] + lines[2]
    return Kind(
        name="custody.jsonl",
        data=data,
        fields=fields,
        read=read,
        theirs=mixed,
        older=without_second,
    )


def _home_kinds() -> list[Kind]:
    files = SimDisk()
    home, policies, records = AgentHome(files), Policies(files), Preparations(files)
    home.save_identity(
        Identity(computer_name="source", repository_id="r", signing_public_key="00" * 32)
    )
    home.save_registration(
        Registration(
            url="https://u",
            object_url="https://o",
            ca_pem="pem",
            vault_id="v",
            vault_name="vault",
            source_computer_id="c",
            token="token",
        )
    )
    policies.save(Policy(name="docs", sources=("/data",), first_copy="network"))
    policies.record("docs", Progress(phase=SeedPhase.ONLINE, last_run_at=staged.NOW))
    records.save(
        Preparation(
            seed_id=staged.SEED_ID,
            job_name="job",
            staging="/staging",
            subscription_id=staged.SUBSCRIPTION_ID,
            storage_account="harbour",
            container="seeds",
            seed_manifest_sha256="0" * 64,
            object_count=1,
            object_bytes=512,
            started_at=staged.NOW,
        )
    )
    readers: dict[str, Callable[[], object]] = {
        "agent.json": home.identity,
        "registration.json": home.registration,
        "policies/docs.policy.json": lambda: policies.load("docs"),
        "policies/docs.progress.json": lambda: policies.progress("docs"),
        f"{staged.SEED_ID}/record.json": lambda: records.find(staged.SEED_ID),
    }

    def kind(name: str, look: Callable[[], object]) -> Kind:
        def read(data: bytes) -> object:
            before = files.read(name)
            files.write(name, data)
            try:
                return look()
            finally:
                files.write(name, before)

        data = files.read(name)
        # No digest covers these: what must be noticed is that the form is broken.
        fields = {f"{field}: its name": (at - 4, 1) for field, (at, _) in members(data).items()}
        other = next(each for each in readers if each != name)
        shown = name.removeprefix(f"{staged.SEED_ID}/").replace("docs", "NAME")
        return Kind(name=shown, data=data, fields=fields, read=read, theirs=files.read(other))

    return [kind(name, look) for name, look in readers.items()]
