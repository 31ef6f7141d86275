"""What a policy's run does with bytes, on this computer: stage, send, send what is missing."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from overland.agent.backup.plan import FULL_PACK_BYTES
from overland.agent.backup.roots import checked_sources
from overland.agent.backup.run import BackupPlan, back_up
from overland.agent.backup.upload import Uploader
from overland.agent.datapath import Made, Staged
from overland.agent.home import AgentHome
from overland.agent.keys import ready_to_seal
from overland.agent.policy import Policies, Policy, PolicyInvalid, stream_path
from overland.agent.repository import ObjectReader, Repository
from overland.agent.setup import Keys
from overland.agent.sources import SeedFolderObjects
from overland.format.stored import RecordDamaged
from overland.ports.clock import Clock
from overland.ports.files import Files
from overland.ports.objects import Objects
from overland.ports.programs import Programs
from overland.ports.progress import Progress
from overland.source.chunker import DEFAULT_SIZES, IMAGE_SIZES, Sizes
from overland.source.marks import Marks
from overland.source.patternfile import read_patterns
from overland.source.rules import PatternInvalid
from overland.source.snapshotview import SnapshotView
from overland.source.streams import StreamSource
from overland.values import PointId, RepositoryId, SeedId

if TYPE_CHECKING:
    from overland.agent.backup.estimate import Estimate
    from overland.agent.firstcopy import FirstCopy
    from overland.agent.points.signatures import Signatures

__all__ = ["LocalDataPath", "chunk_sizes"]

_FIRST_SENT_BYTES: Final = 16 << 20
"""Of a pack that is sent while the run goes on: early enough, and not too small to store well."""


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
            signatures=self._signatures,
        )

    def estimate(self, policy: Policy) -> "Estimate":
        """Return how much the policy selects now; reads no content.

        Raises:
            PatternFileUnreadable: A file of patterns that the policy names cannot be read.
        """
        from overland.agent.backup.estimate import selected_bytes  # noqa: PLC0415 - not in a run

        anyhow = PointId(str(uuid4()))
        plan = self._plan(policy, kind="full", point_id=anyhow, base=None, seed_id=None)
        return selected_bytes(plan)

    def _signatures(self) -> "Signatures":
        from overland.agent.points.signatures import Signatures  # noqa: PLC0415 - where needed

        return Signatures.of(self._keys.document, at_hand=[self._home.files])

    # -- the first copy -------------------------------------------------------------------------

    def ready_to_stage(self, vault: Objects) -> None:
        """Return when a first copy may be sealed; see `DataPath.ready_to_stage`."""
        ready_to_seal(self._home, vault)

    def stage(self, policy: Policy, *, seed_id: SeedId, point_id: PointId) -> Staged:
        """Write the first copy to the staging location; see `DataPath.stage`."""
        plan = self._plan(policy, kind="seed", point_id=point_id, base=None, seed_id=seed_id)
        reading = self._reading(policy, plan)
        return self._first_copy(policy).stage(plan, reading, seed_id=seed_id)

    def staged_manifest(self, policy: Policy, *, seed_id: SeedId) -> bytes:
        """Return the signed manifest of the staged seed; see `DataPath.staged_manifest`."""
        return self._first_copy(policy).manifest(seed_id)

    def send_missing(
        self, policy: Policy, *, seed_id: SeedId, names: Iterable[str], vault: Objects
    ) -> int:
        """Send objects of the staged seed to the vault; see `DataPath.send_missing`."""
        return self._first_copy(policy).send(seed_id, names=names, vault=vault)

    def _first_copy(self, policy: Policy) -> "FirstCopy":
        # There is one for each policy, and the runs after it do without what makes it.
        from overland.agent.firstcopy import FirstCopy  # noqa: PLC0415 - as said above

        return FirstCopy(
            policy,
            home=self._home,
            keys=self._keys,
            repository=self.repository,
            files_of=self._files_of,
            clock=self._clock,
            meter=self._meter,
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
            in_snapshots, view = uploading.enter_context(self._reading(policy, plan))
            result = back_up(
                in_snapshots,
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
            sizes=Sizes.around(policy.mean_chunk_kib << 10),
            image_sizes=Sizes.around(policy.image_chunk_kib << 10),
            reads_all=self._reads_all,
            first_pack_bytes=FULL_PACK_BYTES if kind == "seed" else _FIRST_SENT_BYTES,
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

    @contextmanager
    def _reading(
        self, policy: Policy, plan: BackupPlan
    ) -> Iterator[tuple[BackupPlan, SnapshotView]]:
        """Take the snapshots that the policy asks for, of all sources that are no devices.

        Gives the plan to read in them, where our own folders have copies too.
        """
        if policy.snapshot == "none":
            yield plan, SnapshotView()
            return
        # Few policies ask for them, and the others do without what takes them.
        from overland.source.snapshots import snapshots  # noqa: PLC0415 - as said above

        sources = checked_sources(plan)
        with snapshots(
            [*sources.folders, *sources.files, *sources.images],
            mode=policy.snapshot,
            repository_id=self.repository.repository_id,
            programs=self._programs,
            folder=self._state_folder / "snapshots",
            percent=policy.snapshot_percent,
        ) as view:
            ours = (*plan.never_enter, *view.also_shown(plan.never_enter))
            elsewhere, confirm = view.elsewhere, view.confirm
            yield replace(plan, elsewhere=elsewhere, never_enter=ours, confirm=confirm), view


def chunk_sizes(policies: Policies) -> list[Sizes]:
    """Return by what sizes this computer's backups cut files, without doubles.

    A policy whose record is damaged, breaks a rule or has a pattern that cannot be understood is
    left out; what every policy has by default is there always.
    """
    found: dict[Sizes, None] = {}
    for name in policies.names():
        with suppress(RecordDamaged, PolicyInvalid, PatternInvalid):
            policy = policies.load(name)
            for mean_kib in (policy.mean_chunk_kib, policy.image_chunk_kib):
                found[Sizes.around(mean_kib << 10)] = None
    return list(found | {DEFAULT_SIZES: None, IMAGE_SIZES: None})


def _roots(policy: Policy) -> tuple[Path, ...]:
    return tuple(Path(source) for source in policy.sources)
