"""Fill one drive: copy its objects, read them back from the medium, seal it.

Reading staging happens once.  Every object is hashed on its way and must be what the manifest
says, so a damaged one is found here and not at the datacenter.  What was finished before a kill is
kept: a copied object by its presence, a read-back one by its digests in the local record.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.diskprep.record import DriveRecord, DriveState
from overland.errors import IntegrityError, ObjectAbsent, ObjectCorrupt, TransientError
from overland.format.objecttable import ObjectTable
from overland.format.seed_manifest import DriveManifest, ManifestObject
from overland.ports.clock import Clock
from overland.ports.files import Files
from overland.ports.progress import Progress
from overland.seeding.copying import Digests, ObjectCopier
from overland.seeding.drive import DriveNotAsWritten, begin_drive, is_drive_of, seal_drive
from overland.seeding.seedrecord import seed_folder
from overland.seeding.staging import StagedSeed
from overland.seeding.subfolder import Subfolder

__all__ = ["DriveFailed", "DriveFilling", "StagedObjectDamaged"]

_BATCH_BYTES: Final = 16 << 30  # read-back that a kill may cost; about two minutes of a hard disk


class StagedObjectDamaged(IntegrityError):
    """An object in the staging location is not what the source computer wrote there."""

    code = "staged-object-damaged"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(
            f"the staging location is damaged: {name}: {check}; nothing was shipped; put the file "
            "back from another copy, or stage the seed again on the source computer"
        )
        self.name, self.check = name, check


class DriveFailed(TransientError):
    """A drive was pulled out, or its device failed; what it holds is not in danger elsewhere."""

    code = "drive-failed"

    def __init__(self, serial: str, *, why: str) -> None:
        super().__init__(
            f"drive {serial} failed: {why}; connect it again and run the same command, or make "
            f"its content on another drive with --replace {serial}"
        )
        self.serial, self.why = serial, why


class _ReadBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One batch of what was read back: positions in the seed manifest, and MD5 of each 4 MiB."""

    numbers: tuple[int, ...]
    range_md5: tuple[tuple[str, ...], ...]

    def fits(self, object_count: int) -> bool:
        """Whether it tells of objects that a manifest of so many has."""
        return len(self.numbers) == len(self.range_md5) > 0 and all(
            0 <= number < object_count for number in self.numbers
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveFilling:
    """One drive on its way from blank to sealed; `local` is the seed's folder of the record."""

    seed: StagedSeed
    drive: DriveRecord
    medium: Files
    local: Files
    key: Secret
    clock: Clock
    progress: Progress
    stopping: threading.Event

    def begin(self) -> None:
        """Make the drive recognisable as one of this seed, durably.  It is blank before.

        Raises:
            SeedRecordInvalid, ObjectAbsent: Staging has another manifest of the seed now, or none.
            OutOfSpace, OSError: The drive is full, or failed.
        """
        self.forget_read_back()
        begin_drive(
            self.medium, seed_id=self.seed.manifest.seed_id, seed_manifest=self.seed.read_document()
        )

    def was_begun(self) -> bool:
        """Return whether the drive is one of this seed, and so may be continued."""
        return is_drive_of(
            self.medium,
            seed_id=self.seed.manifest.seed_id,
            seed_manifest_sha256=self.seed.sha256,
        )

    def copy(self) -> None:
        """Copy every object that is not there yet; on return all of them are durable.

        Raises:
            StagedObjectDamaged: Staging does not hold what the manifest says.
            OutOfSpace: The drive is smaller than it said.
            SourceUnreadable: The staging location failed.
            DriveFailed: The drive failed.
            CopyStopped: `stopping` was set.
        """
        objects = self._objects()
        with self._phase("copying", objects) as copier:
            for item in objects:
                self._copy(item, copier)
                self.progress.advance(count=1)

    def read_back(self) -> None:
        """Read every object back from the medium and compare it with the manifest (R89).

        An object that reads back wrongly is written and read once more.  What was read back is in
        the local record, durably, after each 16 GiB.

        Raises:
            DriveNotAsWritten: It reads back wrongly again; the drive cannot be trusted.
            DriveFailed: The drive failed.
            StagedObjectDamaged, SourceUnreadable: It cannot be written once more.
            CopyStopped: `stopping` was set.
        """
        done = {number for batch in self._batches() for number in batch.numbers}
        waiting = [number for number in self.drive.numbers() if number not in done]
        objects = ObjectTable(self.seed.manifest.objects[number] for number in waiting)
        with self._phase("reading back", objects) as copier:
            for batch in self._cut(done):
                digests = [self._read_back(number, copier) for number in batch]
                self._keep(batch, digests)

    def seal(self) -> DriveRecord:
        """Write the drive's manifests; return its finished record.

        Raises:
            DriveNotAsWritten: A manifest reads back differently.
            DriveFailed: The drive failed.
            OutOfSpace: The drive has no room for its manifests.
        """
        now = self.clock.now()
        manifest = DriveManifest(
            seed_id=self.seed.manifest.seed_id,
            job_name=self.seed.manifest.job_name,
            drive_serial=self.drive.serial,
            sequence=self.drive.sequence,
            drive_count=None,  # drives are sealed one by one; the job has their number
            seed_manifest_sha256=self.seed.sha256,
            objects=self._objects(),
            prepared_at=now,
        )
        with self._naming_the_drive():
            found = seal_drive(
                self.medium,
                manifest,
                self._digests,
                container=self.seed.record.container,
                public_key=sign.public_key(self.key),
                sign=lambda purpose, body: sign.sign(self.key, purpose, body),
            )
        return msgspec.structs.replace(
            self.drive, state=DriveState.SEALED, manifest_hash=found, sealed_at=now
        )

    def forget_read_back(self) -> None:
        """Remove from the local record what only an unfinished drive needs."""
        for info in list(self.local.names(self._folder)):
            self.local.delete(info.name)

    def _objects(self) -> ObjectTable:
        return ObjectTable(self.seed.manifest.objects[number] for number in self.drive.numbers())

    @contextmanager
    def _phase(self, phase: str, objects: ObjectTable) -> Iterator[ObjectCopier]:
        """Give a copier, with a line of progress about these objects."""
        with self._naming_the_drive():
            self.medium.sweep()
        self.progress.start(f"{phase} {self.drive.serial}", objects.size_bytes, len(objects))
        try:
            with ObjectCopier(self.progress, stopping=self.stopping) as copier:
                yield copier
        finally:
            self.progress.finish()

    @contextmanager
    def _naming_the_drive(self) -> Iterator[None]:
        """Say which drive an error of the system is about."""
        try:
            yield
        except OSError as error:
            raise DriveFailed(self.drive.serial, why=error.strerror or str(error)) from error

    @property
    def _target(self) -> Files:
        return Subfolder(self.medium, seed_folder(self.seed.manifest.seed_id))

    def _copy(self, item: ManifestObject, copier: ObjectCopier) -> None:
        with self._naming_the_drive():
            if _size_bytes(self._target, item.name) == item.size_bytes:
                self._target.settle(item.name)  # who copied it may have been killed meanwhile
                self.progress.advance(bytes=item.size_bytes)
                return
        self._write(item, copier)

    def _write(self, item: ManifestObject, copier: ObjectCopier) -> None:
        try:
            with self._naming_the_drive():
                copier.copy(
                    item.name,
                    source=self.seed.files,
                    target=self._target,
                    size_bytes=item.size_bytes,
                    sha256=item.sha256,
                )
        except ObjectAbsent as absent:
            raise StagedObjectDamaged(item.name, check="it is not there") from absent
        except ObjectCorrupt as corrupt:
            raise StagedObjectDamaged(item.name, check=corrupt.check) from corrupt

    def _read_back(self, number: int, copier: ObjectCopier) -> Digests:
        item = self.seed.manifest.objects[number]
        try:
            digests = self._read(item, copier)
        except (ObjectCorrupt, ObjectAbsent):
            with self._naming_the_drive():
                self._target.delete(item.name)  # a full drive has no room for both
            self._write(item, copier)
            digests = self._read_again(item, copier)
        self.progress.advance(count=1)
        return digests

    def _read(self, item: ManifestObject, copier: ObjectCopier) -> Digests:
        with self._naming_the_drive():
            return copier.read_back(
                item.name, medium=self._target, size_bytes=item.size_bytes, sha256=item.sha256
            )

    def _read_again(self, item: ManifestObject, copier: ObjectCopier) -> Digests:
        try:
            return self._read(item, copier)
        except ObjectCorrupt as corrupt:
            raise DriveNotAsWritten(
                self.drive.serial, name=item.name, check=corrupt.check
            ) from corrupt
        except ObjectAbsent as absent:
            why = f"{item.name} was written and is not there"
            raise DriveFailed(self.drive.serial, why=why) from absent

    def _cut(self, done: set[int]) -> Iterator[list[int]]:
        """Yield what is still to read in batches that no finished batch lies within."""
        batch, size_bytes = list[int](), 0
        for number in self.drive.numbers():
            if batch and (number in done or size_bytes >= _BATCH_BYTES):
                yield batch
                batch, size_bytes = [], 0
            if number not in done:
                batch.append(number)
                size_bytes += self.seed.manifest.objects[number].size_bytes
        if batch:
            yield batch

    # The digests of what was read back, in the local record until the drive is sealed.

    @property
    def _folder(self) -> str:
        return f"read-back/{self.drive.sequence}/"

    def _batches(self) -> Iterator[_ReadBack]:
        count = len(self.seed.manifest.objects)
        for info in list(self.local.names(self._folder)):
            try:
                batch = msgspec.json.decode(self.local.read(info.name), type=_ReadBack)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                batch = None
            if batch is not None and batch.fits(count):
                yield batch
            else:
                self.local.delete(info.name)  # a hint: what it told is read again

    def _keep(self, numbers: list[int], digests: list[Digests]) -> None:
        batch = _ReadBack(
            numbers=tuple(numbers), range_md5=tuple(digest.range_md5 for digest in digests)
        )
        self.local.write(f"{self._folder}{numbers[0]:08d}.json", msgspec.json.encode(batch))

    def _digests(self) -> Iterator[Digests]:
        for batch in self._batches():
            for number, range_md5 in zip(batch.numbers, batch.range_md5, strict=True):
                item = self.seed.manifest.objects[number]
                yield Digests(size_bytes=item.size_bytes, sha256=item.sha256, range_md5=range_md5)


def _size_bytes(files: Files, name: str) -> int | None:
    try:
        return files.size_bytes(name)
    except ObjectAbsent:
        return None
