"""What a policy's run does with bytes, on this computer: stage, send, send what is missing."""

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from overland.agent.backup.estimate import Estimate, selected_bytes
from overland.agent.backup.roots import checked_sources
from overland.agent.backup.run import BackupPlan, BackupResult, back_up
from overland.agent.backup.upload import Uploader
from overland.agent.datapath import Made, Staged
from overland.agent.home import AgentHome
from overland.agent.keys import ready_to_seal
from overland.agent.policy import OfflineSettings, Policy, stream_path
from overland.agent.repository import ObjectReader, Repository
from overland.agent.setup import Keys
from overland.agent.sources import SeedFolderObjects
from overland.crypto.sign import public_key, sign
from overland.errors import IntegrityError, ObjectAbsent, RefusedError
from overland.format.seed_manifest import ManifestObject, SeedManifest
from overland.ports.clock import Clock
from overland.ports.files import Files
from overland.ports.objects import Objects
from overland.ports.programs import Programs
from overland.ports.progress import Progress
from overland.seeding.seedrecord import SeedRecord, seed_folder
from overland.seeding.staging import (
    SeedAlreadyStaged,
    SeedDraft,
    SeedIncomplete,
    StagedSeed,
    StagingLocation,
)
from overland.source.chunker import Sizes
from overland.source.marks import Marks
from overland.source.patternfile import read_patterns
from overland.source.snapshots import SnapshotView, snapshots
from overland.source.streams import StreamSource
from overland.values import PointId, RepositoryId, SeedId, point_name

__all__ = ["LocalDataPath", "StagingUnusable"]

_SPREAD: Final = 4  # the smallest chunk is a quarter of the mean, the largest four times it


class StagingUnusable(RefusedError):
    """The staging location is not there or cannot be written."""

    code = "staging-unusable"

    def __init__(self, path: str, *, problem: str) -> None:
        super().__init__(f"the staging location {path} cannot be used: {problem}")
        self.path = path


class LocalDataPath:
    """The data path of one source computer; fulfils `overland.agent.datapath.DataPath`."""

    def __init__(  # noqa: PLR0913 - a data path joins the parts of its computer
        self,
        *,
        home: AgentHome,
        keys: Keys,
        state_folder: Path,
        files_of: Callable[[str], Files],
        scratch_of: Callable[[str], Files],
        clock: Clock,
        meter: Progress,
        programs: Programs,
        given: StreamSource | None = None,
        reads_all: bool = False,
    ) -> None:
        """Open the repository, whose hints lie in `state_folder`; `given` goes into one point.

        `files_of` gives a folder's durable files, `scratch_of` those that a power cut may take.
        With `reads_all` the next point does not rely on what the last run saw of the sources.
        """
        self._home, self._keys, self._state_folder = home, keys, state_folder
        self._files_of, self._clock, self._meter = files_of, clock, meter
        self._scratch_of = scratch_of
        self._programs, self._given, self._reads_all = programs, given, reads_all
        self._identity = home.identity()
        self.repository = Repository(
            repository_id=RepositoryId(self._identity.repository_id),
            master_key=keys.master,
            signing_key=keys.signing,
            state=files_of(str(state_folder)),
            state_folder=state_folder,
        )

    def estimate(self, policy: Policy) -> Estimate:
        """Return how much the policy selects now; reads no content."""
        anyhow = PointId(str(uuid4()))
        plan = self._plan(policy, kind="full", point_id=anyhow, base=None, seed_id=None)
        return selected_bytes(plan)

    # -- the first copy -------------------------------------------------------------------------

    def ready_to_stage(self, vault: Objects) -> None:
        """Return when a first copy may be sealed; see `DataPath.ready_to_stage`."""
        ready_to_seal(self._home, vault)

    def stage(self, policy: Policy, *, seed_id: SeedId, point_id: PointId) -> Staged:
        """Write the first copy to the staging location; see `DataPath.stage`."""
        location = self._location(policy)
        plan = self._plan(policy, kind="seed", point_id=point_id, base=None, seed_id=seed_id)
        checked_sources(plan)
        needed_bytes, unknown = selected_bytes(plan)
        try:
            draft = location.begin(self._record(policy, seed_id), needed_bytes=needed_bytes)
        except SeedAlreadyStaged:
            return self._staged(location.open(seed_id), f"{location.path}/{seed_folder(seed_id)}")
        keyrings = self._copy_keyrings(draft)
        with self._snapshots(policy, plan) as view:
            result = back_up(
                replace(
                    _read_in(view, plan, policy),
                    expected_bytes=None if unknown else needed_bytes,
                ),
                repository=self.repository,
                out=draft.files,
                clock=self._clock,
                progress=self._meter,
            )
        draft.finish(
            self._manifest(policy, seed_id, result, keyrings),
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

    def staged_manifest(self, policy: Policy, *, seed_id: SeedId) -> bytes:
        """Return the signed manifest of the staged seed; see `DataPath.staged_manifest`."""
        return self._open_staged(policy, seed_id).document

    def _location(self, policy: Policy) -> StagingLocation:
        path = _offline(policy).staging_location
        try:
            if not Path(path).is_dir():
                raise StagingUnusable(path, problem="it is not a folder; is it mounted?")
        except OSError as error:
            raise StagingUnusable(path, problem=str(error.strerror)) from None
        return StagingLocation(path, files_of=self._files_of)

    def _open_staged(self, policy: Policy, seed_id: SeedId) -> StagedSeed:
        try:
            return self._location(policy).open(seed_id)
        except (StagingUnusable, SeedIncomplete):
            raise ObjectAbsent(f"{seed_folder(seed_id)}/manifest.json") from None

    def _record(self, policy: Policy, seed_id: SeedId) -> SeedRecord:
        offline = _offline(policy)
        return SeedRecord(
            seed_id=seed_id,
            repository_id=self._identity.repository_id,
            job_name=offline.job_name,
            subscription_id=offline.subscription_id,
            storage_account=offline.storage_account,
            container=offline.container,
            policy=policy.name,
            source_computer=self._identity.computer_name,
            created_at=self._clock.now(),
        )

    def _copy_keyrings(self, draft: SeedDraft) -> list[ManifestObject]:
        """Put the keyring beside the packs: drives and passphrase suffice for a restore.

        The newest alone: a replaced passphrase has no business on a new drive.
        """
        copied = []
        for info in list(self._home.files.names("keys/"))[-1:]:
            data = self._home.files.read(info.name)
            draft.files.write(info.name, data)
            copied.append(
                ManifestObject(
                    name=info.name,
                    size_bytes=len(data),
                    sha256=hashlib.sha256(data).hexdigest(),
                )
            )
        return copied

    def _manifest(
        self,
        policy: Policy,
        seed_id: SeedId,
        result: BackupResult,
        keyrings: list[ManifestObject],
    ) -> SeedManifest:
        made = [
            ManifestObject(name=found.name, size_bytes=found.size_bytes, sha256=found.sha256)
            for found in result.objects
        ]
        return SeedManifest(
            seed_id=seed_id,
            repository_id=self.repository.repository_id,
            job_name=_offline(policy).job_name,
            point_id=result.point_id,
            snapshot_at=result.created_at,
            created_at=self._clock.now(),
            objects=sorted([*keyrings, *made], key=lambda item: item.name),
        )

    def _staged(self, seed: StagedSeed, folder: str) -> Staged:
        name = point_name(seed.manifest.point_id)
        _, root = self.repository.open_point(seed.files.read(name), name=name)
        return Staged(
            made=Made(
                point_id=seed.manifest.point_id,
                statistics=msgspec.structs.asdict(root.statistics),
                skipped=root.statistics.skipped,
                changed=root.statistics.changed_while_read,
            ),
            manifest=seed.document,
            folder=folder,
        )

    # -- over the network -----------------------------------------------------------------------

    def send(
        self, policy: Policy, *, base: PointId | None, seed_id: SeedId | None, vault: Objects
    ) -> Made:
        """Make a recovery point over the network; see `DataPath.send`."""
        ready_to_seal(self._home, vault)
        spool_folder = self._state_folder / "spool" / policy.name
        spool_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        spool = self._scratch_of(str(spool_folder))
        plan = self._plan(
            policy,
            kind="full" if base is None else "incremental",
            point_id=PointId(str(uuid4())),
            base=base,
            seed_id=None,
        )
        with ExitStack() as uploading:
            uploader = uploading.enter_context(Uploader(vault, spool, clock=self._clock))
            uploader.resume()
            view = uploading.enter_context(self._snapshots(policy, plan))
            result = back_up(
                _read_in(view, plan, policy),
                repository=self.repository,
                out=spool,
                clock=self._clock,
                progress=self._meter,
                stored=self._stored(policy, seed_id, vault),
                on_published=uploader.submit,
                acknowledge=uploader.drain,
            )
        return Made(
            point_id=result.point_id,
            statistics=msgspec.structs.asdict(result.statistics),
            skipped=result.statistics.skipped,
            changed=result.statistics.changed_while_read,
            failed=tuple(f"{os.fsdecode(it.path)}: {it.reason}" for it in result.failed),
            notes=tuple(view.notes),
        )

    def send_missing(
        self, policy: Policy, *, seed_id: SeedId, names: Iterable[str], vault: Objects
    ) -> int:
        """Send objects of the staged seed to the vault; see `DataPath.send_missing`."""
        staged = self._open_staged(policy, seed_id)
        by_name = {item.name: item for item in staged.manifest.objects}
        wanted = [by_name[name] for name in names if name in by_name]
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

    def _stored(
        self, policy: Policy, seed_id: SeedId | None, vault: Objects
    ) -> tuple[ObjectReader, ...]:
        """Return where objects of the policy's chain lie: the vault, and staging while it does."""
        if seed_id is None or policy.offline is None:
            return (vault,)
        path = policy.offline.staging_location
        if not Path(path).is_dir():
            return (vault,)
        return (vault, SeedFolderObjects(self._files_of(path), seed_id))

    def _plan(
        self,
        policy: Policy,
        *,
        kind: Literal["seed", "incremental", "full"],
        point_id: PointId,
        base: PointId | None,
        seed_id: SeedId | None,
    ) -> BackupPlan:
        ours = [self._state_folder.parent]
        if policy.offline is not None:
            ours.append(Path(policy.offline.staging_location))
        return BackupPlan(
            point_id=point_id,
            kind=kind,
            seed_id=seed_id,
            base=base,
            roots=_roots(policy),
            include=policy.include + read_patterns(policy.include_from),
            exclude=policy.exclude + read_patterns(policy.exclude_from),
            marks=Marks(
                caches=policy.exclude_caches,
                names=frozenset(os.fsencode(name) for name in policy.exclude_if_present),
                larger_than_bytes=policy.exclude_larger_than_bytes,
            ),
            one_file_system=policy.one_file_system,
            never_enter=tuple(ours),
            policy=policy.name,
            host=self._identity.computer_name,
            images=tuple(Path(image) for image in policy.images),
            streams=self._streams(policy),
            sizes=_sizes(policy.mean_chunk_kib),
            image_sizes=_sizes(policy.image_chunk_kib),
            reads_all=self._reads_all,
        )

    def _streams(self, policy: Policy) -> tuple[StreamSource, ...]:
        streams = [
            StreamSource(
                path=stream_path(command.name),
                timeout_s=command.timeout_s,
                open=partial(self._programs.start, command.argv),
            )
            for command in policy.commands
        ]
        return (*streams, self._given) if self._given else tuple(streams)

    def _snapshots(self, policy: Policy, plan: BackupPlan) -> AbstractContextManager[SnapshotView]:
        """Take the snapshots that the policy asks for, of all sources that are no devices."""
        sources = checked_sources(plan)
        return snapshots(
            [*sources.folders, *sources.files, *sources.images],
            mode=policy.snapshot,
            repository_id=self.repository.repository_id,
            programs=self._programs,
            folder=self._state_folder / "snapshots",
            percent=policy.snapshot_percent,
        )


def _read_in(view: SnapshotView, plan: BackupPlan, policy: Policy) -> BackupPlan:
    """Return the plan to read in the snapshots, where our own folders have copies too."""
    if policy.snapshot == "none":
        return plan
    ours = (*plan.never_enter, *view.also_shown(plan.never_enter))
    return replace(plan, elsewhere=view.elsewhere, never_enter=ours, confirm=view.confirm)


def _sizes(mean_kib: int) -> Sizes:
    mean_bytes = mean_kib << 10
    return Sizes(
        min_bytes=mean_bytes // _SPREAD, mean_bytes=mean_bytes, max_bytes=mean_bytes * _SPREAD
    )


def _roots(policy: Policy) -> tuple[Path, ...]:
    return tuple(Path(source) for source in policy.sources)


def _offline(policy: Policy) -> OfflineSettings:
    assert policy.offline is not None, "only offline policies are staged"
    return policy.offline
