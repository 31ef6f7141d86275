"""The first copy of an offline policy: sealed into the staging location, and read there again."""

import hashlib
import itertools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from overland.agent.backup.estimate import selected_bytes
from overland.agent.backup.roots import checked_sources
from overland.agent.backup.run import BackupPlan, BackupResult, back_up
from overland.agent.datapath import Made, Staged
from overland.agent.home import AgentHome
from overland.agent.points.pointfile import read_point_file
from overland.agent.policy import Policy
from overland.agent.repository import Repository
from overland.agent.setup import Keys, newest_keyring
from overland.crypto.sign import public_key, sign
from overland.crypto.signers import KeyChangeMissing
from overland.errors import IntegrityError, ObjectAbsent, RefusedError
from overland.format.objecttable import ObjectTable
from overland.format.seed_manifest import ManifestObject, SeedManifest
from overland.ports.clock import Clock
from overland.ports.files import Files
from overland.ports.objects import Objects
from overland.ports.progress import Progress
from overland.seeding.seedrecord import SeedRecord, seed_folder
from overland.seeding.staging import (
    SeedAlreadyStaged,
    SeedDraft,
    SeedIncomplete,
    StagedSeed,
    StagingLocation,
)
from overland.source.snapshotview import SnapshotView
from overland.values import SeedId, point_name

__all__ = ["FirstCopy", "Reading", "StagingUnusable"]

Reading = AbstractContextManager[tuple[BackupPlan, SnapshotView]]
"""Takes the snapshots that a policy asks for; gives the plan to read in them, and their view."""


class StagingUnusable(RefusedError):
    """The staging location is not there or cannot be written."""

    code = "staging-unusable"

    def __init__(self, path: str, *, problem: str) -> None:
        super().__init__(f"the staging location {path} cannot be used: {problem}")
        self.path = path


class FirstCopy:
    """The first copy of one offline policy, in its staging location."""

    def __init__(
        self,
        policy: Policy,
        *,
        home: AgentHome,
        keys: Keys,
        repository: Repository,
        files_of: Callable[[str], Files],
        clock: Clock,
        meter: Progress,
    ) -> None:
        """Prepare; nothing is looked at yet.

        Args:
            policy: Whose first copy it is; an offline one.
            home: Has the keyrings that go with the copy.
            keys: Of this computer.
            repository: What the copy is sealed for.
            files_of: Gives a folder's durable files.
            clock: Gives the instants in the documents.
            meter: Is told bytes and files.
        """
        assert policy.offline is not None, "only offline policies are staged"
        self._policy, self._offline = policy, policy.offline
        self._home, self._keys, self._repository = home, keys, repository
        self._files_of, self._clock, self._meter = files_of, clock, meter

    def stage(self, plan: BackupPlan, reading: Reading, *, seed_id: SeedId) -> Staged:
        """Write it to the staging location; see `DataPath.stage`.

        Raises:
            StagingUnusable: The staging location is not there.
            OutOfSpace: It is too small; what was written stays, incomplete.
            SeedConflict: The seed's folder is of another repository, subscription or container.
            KeyChangeMissing: The home folder has lost a key change that travels with the keyring.
        """
        location = self._location()
        checked_sources(plan)
        needed_bytes, unknown = selected_bytes(plan)
        try:
            draft = location.begin(self._record(seed_id), needed_bytes=needed_bytes)
        except SeedAlreadyStaged:
            return self._staged(location.open(seed_id), f"{location.path}/{seed_folder(seed_id)}")
        keyrings = self._copy_keyrings(draft)
        with reading as (in_snapshots, view):
            result = back_up(
                replace(in_snapshots, expected_bytes=None if unknown else needed_bytes),
                repository=self._repository,
                out=draft.files,
                clock=self._clock,
                progress=self._meter,
            )
        draft.finish(
            self._manifest(seed_id, result, keyrings),
            public_key=public_key(self._keys.signing),
            sign=lambda purpose, data: sign(self._keys.signing, purpose, data),
        )
        if unknown:
            view.notes.append(
                f"the size of {', '.join(unknown)} was not known before, and the room in the "
                "staging location was not checked for it"
            )
        staged = self._staged(location.open(seed_id), f"{location.path}/{seed_folder(seed_id)}")
        return replace(staged, made=replace(staged.made, notes=tuple(view.notes)))

    def manifest(self, seed_id: SeedId) -> bytes:
        """Return the signed manifest of the staged seed; see `DataPath.staged_manifest`.

        Raises:
            ObjectAbsent: The staging location is not there, or does not hold the seed whole.
            IntegrityError: What it holds is damaged.
        """
        return self._open_staged(seed_id).read_document()

    def send(self, seed_id: SeedId, *, names: Iterable[str], vault: Objects) -> int:
        """Send objects of the staged seed to the vault, and return their bytes; see `DataPath`.

        Names that the seed's manifest does not have are left out.

        Raises:
            ObjectAbsent: The staging location is not there, or does not hold one of them whole.
        """
        staged = self._open_staged(seed_id)
        asked = dict.fromkeys(names)
        by_name = {item.name: item for item in staged.manifest.objects if item.name in asked}
        wanted = [by_name[name] for name in asked if name in by_name]
        self._meter.start("sending", sum(item.size_bytes for item in wanted), len(wanted))
        for item in wanted:
            content = staged.files.blocks(item.name)
            try:
                vault.put(item.name, content, size_bytes=item.size_bytes, sha256=item.sha256)
            except IntegrityError:
                raise ObjectAbsent(item.name) from None
            self._meter.advance(bytes=item.size_bytes, count=1)
        self._meter.finish()
        return sum(item.size_bytes for item in wanted)

    def _location(self) -> StagingLocation:
        path = self._offline.staging_location
        try:
            if not Path(path).is_dir():
                raise StagingUnusable(path, problem="it is not a folder; is it mounted?")
        except OSError as error:
            raise StagingUnusable(path, problem=str(error.strerror)) from None
        return StagingLocation(path, files_of=self._files_of)

    def _open_staged(self, seed_id: SeedId) -> StagedSeed:
        try:
            return self._location().open(seed_id)
        except (StagingUnusable, SeedIncomplete):
            raise ObjectAbsent(f"{seed_folder(seed_id)}/manifest.json") from None

    def _record(self, seed_id: SeedId) -> SeedRecord:
        offline, identity = self._offline, self._home.identity()
        return SeedRecord(
            seed_id=seed_id,
            repository_id=identity.repository_id,
            job_name=offline.job_name,
            subscription_id=offline.subscription_id,
            storage_account=offline.storage_account,
            container=offline.container,
            policy=self._policy.name,
            source_computer=identity.computer_name,
            created_at=self._clock.now(),
        )

    def _copy_keyrings(self, draft: SeedDraft) -> list[ManifestObject]:
        """Put the keyring beside the packs: drives and passphrase suffice for a restore.

        The newest alone: a replaced passphrase has no business on a new drive.  With it go the
        key changes that it names, so that whoever adds older recovery points has what proves them.

        Raises:
            KeyChangeMissing: The home folder has lost one.
        """
        newest, _ = newest_keyring(self._home)
        copied = []
        for name in (*self._repository.signatures.change_names, newest):
            try:
                data = self._home.files.read(name)
            except ObjectAbsent:
                raise KeyChangeMissing(newest, change=name) from None
            draft.files.write(name, data)
            copied.append(
                ManifestObject(
                    name=name,
                    size_bytes=len(data),
                    sha256=hashlib.sha256(data).hexdigest(),
                )
            )
        return copied

    def _manifest(
        self,
        seed_id: SeedId,
        result: BackupResult,
        keyrings: list[ManifestObject],
    ) -> SeedManifest:
        objects = ObjectTable(itertools.chain(keyrings, result.objects))
        return SeedManifest(
            seed_id=seed_id,
            repository_id=self._repository.repository_id,
            job_name=self._offline.job_name,
            point_id=result.point_id,
            snapshot_at=result.created_at,
            created_at=self._clock.now(),
            objects=objects.by_name(),
        )

    def _staged(self, seed: StagedSeed, folder: str) -> Staged:
        name = point_name(seed.manifest.point_id)
        file = read_point_file(seed.files, name)
        _, root = self._repository.open_point(file, name=name, place=seed.files)
        del file  # of 100 TB, 280 MB
        return Staged(
            made=Made(
                point_id=seed.manifest.point_id,
                statistics=msgspec.structs.asdict(root.statistics),
                skipped=root.statistics.skipped,
                changed=root.statistics.changed_while_read,
            ),
            manifest=seed.read_document(),
            folder=folder,
        )
