"""One run of a policy: what happens next follows from the phase of its seed alone.

| phase | what a run does | phase afterwards |
|---|---|---|
| Configured, Staging | writes the first copy to the staging location | AwaitingImport |
| AwaitingImport | asks for the job; waits, and protects over the network meanwhile | the same |
| AwaitingImport, job done | lets the vault adopt what landed | Adopting, then Online |
| Adopting | goes on with the adoption; `backup now` sends what is missing | Online |
| Adopting, objects missing | names them, and protects over the network | Adopting |
| Adopting, a top-up under way | waits as before; `backup now` sends what is missing | the same |
| Online | makes an incremental point over the network | Online |

Every step may be killed and run again: progress is recorded after a step is durable, and a step
that was done already is recognised and not done twice.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec

from overland.agent.adopting import wait_for_adoption
from overland.agent.base import usable_base
from overland.agent.connection import (
    AdoptionReport,
    Connection,
    Grant,
    SeedReport,
    next_step_text,
)
from overland.agent.datapath import DataPath, Made
from overland.agent.policy import OfflineSettings, Policies, Policy, Progress, SeedPhase
from overland.agent.refusals import (
    AdoptionFailed,
    PointNotWhole,
    SeedAbandoned,
    SeedLost,
    SeedUnknown,
)
from overland.errors import ObjectAbsent, OverlandError, RefusedError
from overland.events import Log
from overland.ports.clock import Clock
from overland.ports.http import RefusedByCloud
from overland.ports.objects import Objects
from overland.ports.progress import Progress as Meter
from overland.values import PointId, SeedId
from overland.vault.retention import Retention

__all__ = ["WAITING", "Outcome", "PolicyRun", "Trigger"]

WAITING: Final = (
    "Waiting for Azure Import Job to complete. "
    "Please check on Azure Management portal for more information on job status"
)
"""What a scheduled run shows while drives travel, letter for letter as the original does."""

_LARGE: Final = ("The next run sends every change since that snapshot; it may be large.",)

_ADOPTED: Final = frozenset({"Adopting", "Online"})  # in the cloud; somebody else began it

_TRIES: Final = 3  # a reclaim takes objects away from one run, not from the next
_GIVEN_UP: Final = frozenset({"chain-repacked", "signing-key-retired"})
"""Why the cloud does not enter a point that is made anew then."""

Trigger = Literal["manual", "schedule"]

log = Log()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended; `messages` are for people, in order."""

    policy: str
    result: Literal["staged", "no-job", "waiting", "point", "adopted", "incomplete"]
    phase: SeedPhase
    messages: tuple[str, ...]
    made: Made | None = None
    seed: SeedReport | None = None
    sent_bytes: int = 0


class PolicyRun:
    """Runs policies of this source computer, one at a time."""

    def __init__(
        self,
        *,
        policies: Policies,
        connection: Connection,
        data: DataPath,
        open_grant: Callable[[Grant], Objects],
        clock: Clock,
        meter: Meter,
    ) -> None:
        self._policies, self._connection, self._data = policies, connection, data
        self._open_grant, self._clock, self._meter = open_grant, clock, meter

    def run(self, name: str, *, trigger: Trigger) -> Outcome:
        """Do the next thing that the policy `name` needs, and record how it ended.

        Raises:
            OverlandError, OSError: What stopped the run; the progress of finished steps is kept.
        """
        policy = self._policies.load(name)
        log.info("run.started", policy=name, trigger=trigger)
        try:
            outcome = self._next(policy, trigger)
        except (OverlandError, OSError) as error:
            code = error.code if isinstance(error, OverlandError) else "operating-system"
            self._record(name, last_outcome=f"failed: {code}")
            log.info("run.failed", policy=name, code=code)
            raise
        failed = len(outcome.made.failed) if outcome.made else 0
        self._record(name, last_outcome=outcome.result + (f", {failed} failed" if failed else ""))
        log.info("run.ended", policy=name, result=outcome.result, phase=outcome.phase)
        return outcome

    def abandon(self, name: str) -> None:
        """Give up the policy's seed, in the cloud first; deletes nothing."""
        seed_id = _seed_id(self._policies.progress(name))
        self._connection.abandon_seed(seed_id)
        self._record(name, phase=SeedPhase.ABANDONED)
        log.info("seed.abandoned", policy=name, seed=seed_id)

    def _next(self, policy: Policy, trigger: Trigger) -> Outcome:
        match self._policies.progress(policy.name).phase:
            case SeedPhase.CONFIGURED | SeedPhase.STAGING:
                return self._stage(policy)
            case SeedPhase.AWAITING_IMPORT:
                return self._await(policy, trigger)
            case SeedPhase.ADOPTING:
                return self._adopt_again(policy, trigger)
            case SeedPhase.ONLINE:
                return self._protect(policy, result="point", messages=())
            case SeedPhase.ABANDONED:
                raise SeedAbandoned(policy.name)

    # -- Configured, Staging ----------------------------------------------------------------

    def _stage(self, policy: Policy) -> Outcome:
        offline = _offline(policy)
        self._data.ready_to_stage(self._open_grant(self._connection.vault_grant()))
        progress = self._policies.progress(policy.name)
        seed_id = SeedId(progress.seed_id or str(uuid4()))
        point_id = PointId(progress.seed_point_id or str(uuid4()))
        self._record(policy.name, phase=SeedPhase.STAGING, seed_id=seed_id, seed_point_id=point_id)
        report = self._connection.create_seed(
            seed_id=seed_id,
            job_name=offline.job_name,
            policy=policy.name,
            subscription_id=offline.subscription_id,
            storage_account=offline.storage_account,
            container=offline.container,
        )
        staged = self._data.stage(policy, seed_id=seed_id, point_id=point_id)
        self._record(policy.name, phase=SeedPhase.AWAITING_IMPORT, last_point_id=point_id)
        self._announce(policy, seed_id, staged.manifest)
        return Outcome(
            policy=policy.name,
            result="staged",
            phase=SeedPhase.AWAITING_IMPORT,
            messages=(
                *(f"warning: {warning}" for warning in report.warnings),
                f"The first copy is complete in {staged.folder}",
                (
                    "Next: on the copy computer, overland disk prepare "
                    f"--staging {offline.staging_location} --publish-settings FILE"
                ),
            ),
            made=staged.made,
        )

    def _announce(self, policy: Policy, seed_id: SeedId, manifest: bytes) -> None:
        self._connection.put_manifest(seed_id, manifest)
        self._record(policy.name, announced=True)

    # -- AwaitingImport ---------------------------------------------------------------------

    def _await(self, policy: Policy, trigger: Trigger) -> Outcome:
        progress = self._policies.progress(policy.name)
        seed_id = _seed_id(progress)
        if not progress.announced:
            manifest = self._data.staged_manifest(policy, seed_id=seed_id)
            self._announce(policy, seed_id, manifest)
        report = self._report(policy, seed_id)
        state = report.job.state if report.job else "absent"
        log.info("job.polled", policy=policy.name, job=report.job_name, state=state)
        if report.ready_to_adopt or report.state in _ADOPTED:
            return self._adopt(policy, trigger)
        return self._waiting(policy, report)

    def _waiting(self, policy: Policy, report: SeedReport) -> Outcome:
        step = next_step_text(report.next_step)
        if report.job is None:  # in the original this looks like waiting, for ever
            head = f"No import job {report.job_name} is known yet."
            return self._meanwhile(policy, result="no-job", messages=(head, *step), seed=report)
        return self._meanwhile(policy, result="waiting", messages=(WAITING, *step), seed=report)

    def _meanwhile(
        self,
        policy: Policy,
        *,
        result: Literal["no-job", "waiting", "incomplete"],
        messages: tuple[str, ...],
        seed: SeedReport | None = None,
    ) -> Outcome:
        """Protect over the network while the seed is not in the vault, or only say why not."""
        if policy.in_transit == "protect":
            return self._protect(policy, result=result, messages=messages, seed=seed)
        phase = self._policies.progress(policy.name).phase
        return Outcome(policy=policy.name, result=result, phase=phase, messages=messages, seed=seed)

    def _report(self, policy: Policy, seed_id: SeedId) -> SeedReport:
        try:
            report = self._connection.seed(seed_id)
        except ObjectAbsent:
            raise SeedUnknown(policy.name, seed_id) from None
        if report.state == "Abandoned":  # by somebody else, in the cloud
            self._record(policy.name, phase=SeedPhase.ABANDONED)
            raise SeedAbandoned(policy.name)
        return report

    # -- Adopting ---------------------------------------------------------------------------

    def _adopt_again(self, policy: Policy, trigger: Trigger) -> Outcome:
        report = self._report(policy, _seed_id(self._policies.progress(policy.name)))
        if report.state == "AwaitingImport" and not report.ready_to_adopt and trigger == "schedule":
            return self._waiting(policy, report)  # drives with what was missing are on their way
        return self._adopt(policy, trigger)

    def _adopt(self, policy: Policy, trigger: Trigger) -> Outcome:
        seed_id = _seed_id(self._policies.progress(policy.name))
        self._record(policy.name, phase=SeedPhase.ADOPTING)
        adoption = self._wait_for_adoption(seed_id)
        sent_bytes = 0
        if adoption.state == "incomplete" and trigger == "manual":
            sent_bytes = self._send_missing(policy, seed_id, adoption)
            adoption = self._wait_for_adoption(seed_id)
        match adoption.state:
            case "done":
                return self._adopted(policy, adoption, sent_bytes)
            case "incomplete":
                return self._incomplete(policy, adoption)
            case _:
                raise AdoptionFailed(policy.name, str(adoption.error))

    def _wait_for_adoption(self, seed_id: SeedId) -> AdoptionReport:
        return wait_for_adoption(self._connection, seed_id, clock=self._clock, meter=self._meter)

    def _send_missing(self, policy: Policy, seed_id: SeedId, adoption: AdoptionReport) -> int:
        names = [missing.name for missing in adoption.missing]
        vault = self._open_grant(self._connection.vault_grant())
        try:
            return self._data.send_missing(policy, seed_id=seed_id, names=names, vault=vault)
        except ObjectAbsent as absent:
            raise SeedLost(policy.name, absent.name) from None

    def _adopted(self, policy: Policy, adoption: AdoptionReport, sent_bytes: int) -> Outcome:
        self._record(policy.name, phase=SeedPhase.ONLINE)
        offline = _offline(policy)
        return Outcome(
            policy=policy.name,
            result="adopted",
            phase=SeedPhase.ONLINE,
            messages=(
                (
                    f"The vault has adopted the seed: {adoption.total_objects} objects, every one "
                    "verified. The seeded recovery point has the time of its snapshot."
                ),
                (
                    f"The staging folder in {offline.staging_location} and the objects in "
                    f"container {offline.container} are not needed any more and may be deleted: "
                    f"overland seed clean-up {policy.name}"
                ),
                *(_LARGE if policy.in_transit == "wait" else ()),
            ),
            sent_bytes=sent_bytes,
        )

    def _incomplete(self, policy: Policy, adoption: AdoptionReport) -> Outcome:
        size_bytes = sum(missing.size_bytes for missing in adoption.missing)
        named = tuple(
            f"  {missing.reason}: {missing.name} ({missing.size_bytes} bytes)"
            for missing in adoption.missing
        )
        messages = (
            f"The drives brought all but {len(named)} objects ({size_bytes} bytes):",
            *named,
            f"Next: overland backup now {policy.name} sends exactly these over the network",
            "or, by drive: on the copy computer, overland disk prepare --missing",
        )
        return self._meanwhile(policy, result="incomplete", messages=messages)

    # -- over the network -------------------------------------------------------------------

    def _protect(
        self,
        policy: Policy,
        *,
        result: Literal["point", "no-job", "waiting", "incomplete"],
        messages: tuple[str, ...],
        seed: SeedReport | None = None,
    ) -> Outcome:
        self._send_rule(policy)
        self._publish(policy.name)  # what it does not take is made anew below
        for _ in range(_TRIES - 1):
            made = self._send(policy)
            if self._publish(policy.name):
                break
        else:
            made = self._send(policy)
            if not self._publish(policy.name):
                raise PointNotWhole(policy.name, made.point_id)
        return Outcome(
            policy=policy.name,
            result=result,
            phase=self._policies.progress(policy.name).phase,
            messages=messages,
            made=made,
            seed=seed,
        )

    def _send(self, policy: Policy) -> Made:
        progress = self._policies.progress(policy.name)
        # Read before anything of earlier points is relied upon: what is replaced or deleted from
        # now on, the cloud finds out when it compares this version.
        chains = self._connection.chains()
        base = usable_base(progress, chains)
        vault = self._open_grant(self._connection.vault_grant(policy_id=progress.policy_id))
        # An adopted seed counts as stored in the vault, and nowhere else: staging may be emptied.
        travels = progress.phase is not SeedPhase.ONLINE
        seed_id = SeedId(progress.seed_id) if progress.seed_id and travels else None
        made = self._data.send(policy, base=base, seed_id=seed_id, vault=vault)
        self._record(
            policy.name,
            last_point_id=made.point_id,
            unpublished_point_id=made.point_id,
            unpublished_base=base,
            unpublished_chain_version=chains.chain_version,
        )
        return made

    def _publish(self, name: str) -> bool:
        """Tell the cloud of the newest point, if it does not know it yet; return if it took it.

        A point that lacks objects, or may rely on some that go, is given up, and so is one that was
        signed with a key that was replaced before the cloud knew of it: the next one is based on
        what it was based on, and stores again what it needs.
        """
        progress = self._policies.progress(name)
        if progress.unpublished_point_id is None:
            return True
        point_id = PointId(progress.unpublished_point_id)
        try:
            point = self._connection.publish_point(
                point_id,
                chain_version=progress.unpublished_chain_version,
                policy_id=progress.policy_id,
            )
        except RefusedByCloud as refused:
            if refused.reason not in _GIVEN_UP:
                raise
            log.info("point.refused", policy=name, point=point_id)
            self._record(name, last_point_id=progress.unpublished_base, unpublished_point_id=None)
            return False
        if point.state != "incomplete":
            self._record(name, unpublished_point_id=None)
            return True
        log.warning("point.incomplete", policy=name, point=point_id, missing=len(point.missing))
        self._record(name, last_point_id=progress.unpublished_base, unpublished_point_id=None)
        with contextlib.suppress(RefusedError):
            self._connection.delete_point(point_id)  # nobody can restore it
        return False

    def _send_rule(self, policy: Policy) -> None:
        """Let the cloud know how many points of the policy stay; it knows the policy by an id."""
        policy_id = self._policies.progress(policy.name).policy_id or str(uuid4())
        self._record(policy.name, policy_id=policy_id)
        if policy.retention != Retention():
            self._connection.put_retention(policy_id, policy.retention)

    def _record(self, name: str, **changes: Any) -> None:
        old = self._policies.progress(name)
        self._policies.record(
            name, msgspec.structs.replace(old, last_run_at=self._clock.now(), **changes)
        )


def _offline(policy: Policy) -> OfflineSettings:
    assert policy.offline is not None, "only offline policies have a seed"
    return policy.offline


def _seed_id(progress: Progress) -> SeedId:
    assert progress.seed_id is not None, "the seed's id is recorded before it is staged"
    return SeedId(progress.seed_id)
