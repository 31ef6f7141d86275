"""A station at its cloud, with drives that a copy computer has sealed; killed where a test says."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support import staged
from tests.support.cloud import LocalCloud
from tests.support.faulty import FaultyFiles
from tests.support.simdisk import SimDisk
from tests.support.simengine import Killed, SimEngine
from tests.support.staged import SimDrive, SimDrives
from typing_extensions import override

from overland.adapters.database import open_database
from overland.cloud import grants
from overland.crypto import sign
from overland.errors import Unreachable
from overland.format.drive_xml import Blob, PageRange
from overland.format.seed_manifest import DriveManifest
from overland.ports.files import Files
from overland.ports.http import Reply
from overland.ports.objects import Objects
from overland.ports.progress import NullProgress
from overland.seeding.copying import ObjectCopier
from overland.seeding.drive import begin_drive, seal_drive
from overland.seeding.subfolder import Subfolder
from overland.station.connection import Connection, Grant
from overland.station.containers import Containers
from overland.station.driveimport import DriveImport
from overland.station.exporting import Export
from overland.station.ingest import DriveOutcome, Ingest
from overland.station.intake import Intake
from overland.station.items import Item
from overland.station.placing import Placing
from overland.station.records import Records
from overland.station.returning import Returning
from overland.station.transfer import Transfer
from overland.values import ObjectInfo

__all__ = [
    "ADDRESS",
    "DRIVE_KEY",
    "ITEM_PATH",
    "JOB",
    "SEED",
    "TRACKING",
    "Dock",
    "FaultyDrive",
    "Station",
    "Tripwire",
    "an_item",
    "path_in_drive",
]

JOB = "harbour-import-07"
TRACKING = "1Z-0001"
SEED = staged.SEED_ID
DRIVE_KEY = sign.generate_signing_key(lambda count: b"d" * count)
ADDRESS = {
    "recipientName": "Harbour Ltd",
    "streetAddress1": "5 Quay",
    "city": "Dublin",
    "postalCode": "D01",
    "countryOrRegion": "Ireland",
    "phone": "+353 1 111 1111",
    "email": "it@harbour.example",
}


class Tripwire:
    """Counts the instants at which a process can be killed, and kills it at one of them."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.steps = 0
        self._kill_at = kill_at

    def step(self, what: str) -> None:
        if self.steps == self._kill_at:
            raise Killed(f"killed at instant {self.steps}: {what}")
        self.steps += 1


class TrippedEngine(SimEngine):
    """An engine whose borders are instants of a tripwire."""

    def __init__(self, tripwire: Tripwire) -> None:
        super().__init__()
        self.tripwire = tripwire

    def after(self, other: "TrippedEngine | None") -> "TrippedEngine":
        if other is not None:
            self._stored = other._stored
        return self

    @override
    def _border(self) -> None:
        self.tripwire.step("engine")


class FaultyDrive(SimDrive):
    """A drive whose medium has faults."""

    def __init__(self, drive: SimDrive) -> None:
        super().__init__(drive.serial, capacity_bytes=drive.capacity_bytes, disk=drive.disk)
        self.faults = FaultyFiles(drive.disk)

    @override
    def files(self) -> Files:
        return self.faults


class TrippedHttp:
    """`Http` that can be killed before and after each request, and taken down."""

    def __init__(self, dock: "Dock", token: str, tripwire: Tripwire) -> None:
        self._http, self._dock, self._tripwire = dock.cloud.http(token), dock, tripwire

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        if self._dock.cloud_is_down:
            raise Unreachable("the cloud did not answer")
        self._tripwire.step(f"before {method} {path}")
        reply = self._http.request(method, path, json=json, raw=raw)
        self._dock.requests.append((method, path, json))
        self._tripwire.step(f"after {method} {path}")
        return reply


class GrantedObjects:
    """`Objects` below a prefix of the cloud's own store, if the grant allows it."""

    def __init__(self, dock: "Dock", grant: Grant, prefix: str, tripwire: Tripwire) -> None:
        self._dock, self._grant, self._prefix = dock, grant, prefix
        self._store, self._tripwire = dock.cloud.spaces.open(grant.space), tripwire

    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        if self._dock.store_is_down:
            raise Unreachable("the store did not answer")
        self._require("create", name)
        self._tripwire.step(f"before put {name}")
        self._store.put(
            self._prefix + name, self._sent(content), size_bytes=size_bytes, sha256=sha256
        )
        self._dock.puts.append(name)
        self._tripwire.step(f"after put {name}")

    def head(self, name: str) -> ObjectInfo:
        self._require("read", name)
        info = self._store.head(self._prefix + name)
        return ObjectInfo(name=name, size_bytes=info.size_bytes)

    def read(self, name: str) -> bytes:
        return self._store.read(self._prefix + name)

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        return self._store.read_range(self._prefix + name, offset=offset, length=length)

    def blocks(self, name: str) -> Iterator[memoryview]:
        return self._store.blocks(self._prefix + name)

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        after = self._prefix + start_after if start_after else ""
        return self._store.names(self._prefix + prefix, start_after=after)

    def delete(self, name: str) -> None:
        self._require("delete", name)
        self._tripwire.step(f"before delete {name}")
        self._store.delete(self._prefix + name)
        self._tripwire.step(f"after delete {name}")

    def _sent(self, content: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        for block in content:
            self._tripwire.step("within an upload")
            yield block

    def _require(self, permission: grants.Permission, name: str) -> None:
        cloud = self._dock.cloud
        grant = grants.verify(
            self._grant.token, public_key=sign.public_key(cloud.grant_key), at=cloud.clock.now()
        )
        grants.require(grant, permission, space=self._grant.space, name=self._prefix + name)


class Station:
    """One life of the station's program."""

    def __init__(
        self, dock: "Dock", tripwire: Tripwire, *, before: "Station | None" = None
    ) -> None:
        self.engine: TrippedEngine = TrippedEngine(tripwire).after(
            before.engine if before else None
        )
        self.connection = Connection(TrippedHttp(dock, dock.token, tripwire))
        self.records = dock.records
        self.progress = NullProgress()
        self._dock, self._tripwire = dock, tripwire
        self.intake = Intake(
            connection=self.connection,
            volumes=dock.volumes,
            records=self.records,
            clock=dock.cloud.clock,
        )
        self.returning = Returning(
            connection=self.connection, records=self.records, clock=dock.cloud.clock
        )

    def run(
        self,
        *,
        job: str | None = JOB,
        paths: Sequence[str] = (),
        then: Callable[[Ingest], list[DriveOutcome]] | None = None,
    ) -> list[DriveOutcome]:
        """Import the drives as `overland station ingest` does."""
        containers = Containers(connection=self.connection, open_grant=self._open)
        work = DriveImport(
            connection=self.connection,
            volumes=self._dock.volumes,
            records=self.records,
            transfer=Transfer(self.progress),
            placing=Placing(records=self.records, containers=containers, progress=self.progress),
            containers=containers,
            drafts=self._dock.drafts,
            clock=self._dock.cloud.clock,
        )
        ingest = Ingest(
            engine=self.engine,
            work=work,
            connection=self.connection,
            volumes=self._dock.volumes,
            records=self.records,
            progress=self.progress,
        )
        if then is not None:
            return then(ingest)
        return ingest.run(ingest.choose(job=job, paths=paths))

    def export(self) -> Export:
        """Return what fills drives, as `overland station export` has it."""
        return Export(
            connection=self.connection,
            volumes=self._dock.volumes,
            records=self.records,
            containers=Containers(connection=self.connection, open_grant=self._open),
            drafts=self._dock.drafts,
            clock=self._dock.cloud.clock,
            progress=self.progress,
        )

    def _open(self, grant: Grant, *, prefix: str, renew: Callable[[], str]) -> Objects:
        assert callable(renew), "a station asks for a new grant when one is over"
        return GrantedObjects(self._dock, grant, prefix, self._tripwire)


class Dock:
    """A cloud with an import job under way, its drives, and a station's files.

    `shares` says for each drive which of the seed's objects it carries, by number.  Without a
    `cloud` there is one in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        packs: Sequence[int] = (4096, 8192, 512),
        shares: dict[str, Sequence[int]] | None = None,
        log_level: str = "Error",
        backup_manifest: bool = False,
        cloud: LocalCloud | None = None,
    ) -> None:
        self.cloud = cloud or LocalCloud(folder)
        self.token = self.cloud.http(self.cloud.root_token).ok(
            "POST", "/v1/tokens", {"role": "station", "expires_in_days": 30}
        )["token"]
        self.requests: list[tuple[str, str, object]] = []
        self.puts: list[str] = []
        self.cloud_is_down = self.store_is_down = False
        self.records = Records(open_database(folder / "station.db", "station"))
        self.drafts = SimDisk()
        self.objects = staged.objects(packs=packs)
        names = list(self.objects)
        shares = shares or {"D1": range(len(names))}
        self.drives = {serial: SimDrive(serial, capacity_bytes=1 << 40) for serial in shares}
        self.volumes = SimDrives(*self.drives.values())
        self.world = self.cloud.world()
        self.document = self._announce()
        self.hashes = {
            serial: self.seal(self.drives[serial], [names[number] for number in share])
            for serial, share in shares.items()
        }
        self._options = {"logLevel": log_level, "backupDriveManifest": backup_manifest}

    def close(self) -> None:
        self.records._database.dispose()
        self.cloud.close()

    # What happens before the parcel arrives.

    def _announce(self) -> bytes:
        """Register the source computer, and give the cloud its signed seed manifest."""
        made = self.cloud.register(
            self.world,
            name="harbour-1",
            repository_id=staged.REPOSITORY_ID,
            signing_key=staged.SIGNING_KEY,
        )
        agent = self.cloud.http(made["token"])
        body = {
            "seed_id": SEED,
            "job_name": JOB,
            "policy": "nightly",
            "subscription_id": self.world.subscription_id,
            "storage_account": self.world.account,
            "container": self.world.container,
        }
        agent.ok("POST", "/v1/seeds", body)
        files = SimDisk()
        staged.stage(files, self.objects)
        document = files.read(f"seed-{SEED}/manifest.json")
        reply = agent.request("PUT", f"/v1/seeds/{SEED}/manifest", raw=document)
        assert reply.status == 200, reply.body
        return document

    def seal(self, drive: SimDrive, names: Sequence[str], *, serial: str | None = None) -> str:
        """Fill and seal a drive as disk preparation does; return its manifest's hash."""
        begin_drive(drive.disk, seed_id=SEED, seed_manifest=self.document)
        folder = Subfolder(drive.disk, f"seed-{SEED}")
        for name in names:
            folder.write(name, self.objects[name])
        manifest = DriveManifest(
            seed_id=SEED,
            job_name=JOB,
            drive_serial=serial or drive.serial,
            sequence=1,
            drive_count=None,
            seed_manifest_sha256=hashlib.sha256(self.document).hexdigest(),
            objects=[staged.manifest_object(name, self.objects[name]) for name in sorted(names)],
            prepared_at=staged.NOW,
        )
        with ObjectCopier(NullProgress()) as copier:
            digests = [copier.digests(n, folder.blocks(n)) for n in sorted(names)]
        return seal_drive(
            drive.disk,
            manifest,
            lambda: digests,
            container=self.world.container,
            public_key=sign.public_key(DRIVE_KEY),
            sign=lambda purpose, body: sign.sign(DRIVE_KEY, purpose, body),
        )

    def ship(self, *, drive_key: str | None = None, tags: dict[str, str] | None = None) -> None:
        """Create the import job and give its shipping data."""
        self.order(drive_key=drive_key, tags=tags)
        self.give_notice()

    def order(self, *, drive_key: str | None = None, tags: dict[str, str] | None = None) -> None:
        """Create the import job."""
        drives = [
            {
                "driveId": serial,
                "bitLockerKey": "none",
                "manifestFile": "\\DriveManifest.xml",
                "manifestHash": digest,
            }
            for serial, digest in self.hashes.items()
        ]
        key = drive_key or sign.public_key(DRIVE_KEY).hex()
        ours = {"overland-seed": SEED, "overland-drive-key": key}
        self._send_job(JOB, drives, tags=tags or ours)

    def give_notice(self, name: str = JOB, *, number: str = TRACKING) -> None:
        """Give a job's shipping data."""
        package = {"carrierName": "UPS", "trackingNumber": number, "driveCount": 1}
        patch = {"properties": {"state": "Shipping", "deliveryPackage": package}}
        self.cloud.http(self.world.admin).ok("PATCH", self.world.job_path(name), patch)

    def _send_job(self, name: str, drives: list[dict[str, str]], *, tags: dict[str, str]) -> None:
        body = {
            "location": "westeurope",
            "tags": tags,
            "properties": {
                "jobType": "Import",
                "storageAccountId": self.world.account_id,
                "returnAddress": ADDRESS,
                "returnShipping": {"carrierName": "UPS", "carrierAccountNumber": "1"},
                "driveList": drives,
                **self._options,
            },
        }
        self.cloud.http(self.world.admin).ok("PUT", self.world.job_path(name), body)

    def ship_other(self, serial: str) -> None:
        """Ship another job of the same customer, with one drive."""
        drive = {
            "driveId": serial,
            "bitLockerKey": "none",
            "manifestFile": "\\DriveManifest.xml",
            "manifestHash": "0" * 64,
        }
        self._send_job("another-job", [drive], tags={})
        self.give_notice("another-job", number="1Z-0002")

    def cancel(self) -> None:
        patch = {"properties": {"cancelRequested": True}}
        self.cloud.http(self.world.admin).ok("PATCH", self.world.job_path(JOB), patch)

    # The station.

    def station(
        self, tripwire: Tripwire | None = None, *, before: Station | None = None
    ) -> Station:
        """Return a new life of the station's program."""
        return Station(self, tripwire or Tripwire(), before=before)

    def receive(self, *serials: str) -> None:
        """Book the parcel in, with all drives or with these."""
        chosen = serials or tuple(self.drives)
        self.station().intake.receive(
            tracking_number=TRACKING,
            carrier="UPS",
            paths=[self.drives[serial].path for serial in chosen],
            serials=[],
        )

    def replace(self, drive: SimDrive) -> None:
        """Attach another drive at a path."""
        self.volumes.drives[drive.path] = drive

    def faulty(self, serial: str) -> FaultyFiles:
        """Give a drive a medium with faults, and return it."""
        drive = FaultyDrive(self.drives[serial])
        self.replace(drive)
        return drive.faults

    # What is there afterwards.

    @property
    def container(self) -> Objects:
        return self.cloud.spaces.open(f"accounts/{self.world.account}/{self.world.container}")

    def landed(self) -> dict[str, bytes]:
        """Return the seed's objects in the container."""
        prefix = f"seed-{SEED}/"
        names = [info.name for info in self.container.names(prefix)]
        return {name.removeprefix(prefix): self.container.read(name) for name in names}

    def logs(self) -> dict[str, str]:
        """Return the logs in the container, by name."""
        names = [info.name for info in self.container.names("waimportexport/")]
        return {name: self.container.read(name).decode() for name in names}

    def job(self) -> dict[str, Any]:
        """Return the job as its owner sees it."""
        path = self.world.job_path(JOB)
        answer: dict[str, Any] = self.cloud.http(self.world.admin).ok("GET", path)
        return answer

    def drive(self, serial: str) -> dict[str, Any]:
        """Return a drive as its owner sees it."""
        listed = self.job()["properties"]["driveList"]
        return next(each for each in listed if each["driveId"] == serial)

    def end_state(self) -> str:
        """Return everything that an import leaves outside the station, as one text."""
        properties = self.job()["properties"]
        landed = {n: hashlib.sha256(data).hexdigest() for n, data in self.landed().items()}
        shown = [properties["state"], properties["driveList"], landed, self.logs()]
        return json.dumps(shown, sort_keys=True)


def path_in_drive(name: str) -> str:
    """Return where an object of the seed lies on a drive."""
    return f"seed-{SEED}/{name}"


ITEM_PATH = "seed-x/packs/a.pack"


def an_item(content: bytes, parts: Iterable[tuple[int, int]]) -> Item:
    """Return an object with these parts, as (offset, length), as its manifests list it."""
    ranges = tuple(
        PageRange(start, size, hashlib.md5(content[start : start + size]).hexdigest().upper())
        for start, size in parts
    )
    blob = Blob(
        blob_path="seeds/" + ITEM_PATH,
        file_path="\\seed-x\\packs\\a.pack",
        length=len(content),
        disposition="no-overwrite",
        page_ranges=ranges,
    )
    digest = hashlib.sha256(content).hexdigest()
    return Item(number=0, name="packs/a.pack", size_bytes=len(content), sha256=digest, blob=blob)
