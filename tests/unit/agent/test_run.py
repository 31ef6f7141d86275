"""A policy's runs, phase by phase, against a cloud and a data path made of plain values."""

import errno
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Literal
from uuid import UUID

import msgspec
import pytest
from tests.support.simdisk import PowerCut, SimDisk
from tests.unit.agent.test_policy import offline_policy
from typing_extensions import override

from overland.agent import run as run_module
from overland.agent.connection import (
    AdoptionReport,
    Chains,
    Connection,
    Grant,
    JobReport,
    MissingObject,
    SeedReport,
    VaultPoint,
)
from overland.agent.datapath import Made, Staged
from overland.agent.keys import KeyringBehind
from overland.agent.policy import Policies, Policy, SeedPhase
from overland.agent.refusals import PointNotWhole, SeedAbandoned, SeedUnknown
from overland.agent.run import WAITING, PolicyRun
from overland.errors import NotAuthorised, ObjectAbsent, RefusedError, Unreachable
from overland.ports.http import RefusedByCloud
from overland.ports.objects import Objects
from overland.ports.progress import NullProgress
from overland.values import PointId, SeedId
from overland.vault.retention import Retention


class _Clock:
    def __init__(self) -> None:
        self.instant = datetime(2027, 3, 14, 9, 30, tzinfo=UTC)

    def now(self) -> datetime:
        self.instant += timedelta(seconds=1)
        return self.instant

    def monotonic_s(self) -> float:
        return self.instant.timestamp()

    def sleep(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


@dataclass
class _World:
    """What exists outside the agent; survives its crashes."""

    seeds: set[str] = field(default_factory=set)
    manifests: dict[str, bytes] = field(default_factory=dict)
    staged: dict[str, str] = field(default_factory=dict)
    staged_times: int = 0
    points: list[tuple[str, str | None]] = field(default_factory=list)
    catalog: list[str] = field(default_factory=list)
    landed: bool = False
    top_up_travels: bool = False
    seed_state: str = "AwaitingImport"
    has_job: bool = True
    missing: tuple[str, ...] = ()
    adopted: set[str] = field(default_factory=set)
    reachable: bool = True
    authorised: bool = True
    refuses_points: bool = False
    answers: list[str] = field(default_factory=list)  # to the next points; then all are taken
    published: list[tuple[str, int | None, str | None]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    rules: dict[str, Retention] = field(default_factory=dict)
    is_rotated_elsewhere: bool = False


class _Cloud(Connection):
    def __init__(self, world: _World) -> None:
        self._world = world

    def _check(self) -> None:
        if not self._world.reachable:
            raise Unreachable("no answer")
        if not self._world.authorised:
            raise NotAuthorised("the token is not known")

    @override
    def create_seed(
        self,
        *,
        seed_id: SeedId,
        job_name: str,
        policy: str,
        subscription_id: str,
        storage_account: str,
        container: str,
    ) -> SeedReport:
        self._check()
        self._world.seeds.add(seed_id)
        return SeedReport(seed_id=seed_id, state="Configured", job_name=job_name)

    @override
    def put_manifest(self, seed_id: SeedId, manifest: bytes) -> None:
        self._check()
        self._world.manifests[seed_id] = manifest

    @override
    def seed(self, seed_id: SeedId) -> SeedReport:
        self._check()
        if seed_id not in self._world.seeds:
            raise ObjectAbsent("seed")
        landed, state = self._world.landed, "Packaging" if self._world.landed else "Shipping"
        job = JobReport(name="harbour-import-07", state=state)
        return SeedReport(
            seed_id=seed_id,
            state=self._world.seed_state,
            job_name="harbour-import-07",
            job=job if self._world.has_job else None,
            ready_to_adopt=landed and not self._world.top_up_travels,
        )

    @override
    def start_adoption(self, seed_id: SeedId) -> AdoptionReport:
        return AdoptionReport(state="running", total_objects=3)

    @override
    def adoption(self, seed_id: SeedId) -> AdoptionReport:
        self._check()
        missing = tuple(MissingObject(name=name, size_bytes=7) for name in self._world.missing)
        state: Literal["done", "incomplete"] = "incomplete" if missing else "done"
        if state == "done":
            self._world.adopted.add(seed_id)
        return AdoptionReport(state=state, total_objects=3, done_objects=3, missing=missing)

    @override
    def abandon_seed(self, seed_id: SeedId) -> None:
        self._check()

    @override
    def vault_grant(self, *, policy_id: str | None = None) -> Grant:
        self._check()
        return Grant(endpoint="", space="", prefix="", token="", expires_at="")

    @override
    def chains(self) -> Chains:
        self._check()
        points = tuple(
            VaultPoint(point_id=each, created_at="", kind="incremental", state="available")
            for each in self._world.catalog
        )
        return Chains(chain_version=len(points), points=points)

    @override
    def publish_point(
        self,
        point_id: PointId,
        *,
        chain_version: int | None = None,
        policy_id: str | None = None,
    ) -> VaultPoint:
        self._check()
        if self._world.refuses_points:
            raise Unreachable("no answer")
        state = self._world.answers.pop(0) if self._world.answers else "available"
        if state == "chain-repacked":
            raise RefusedByCloud(state, "packs of its chain were replaced")
        if state == "available":
            self._world.catalog.append(point_id)
        self._world.published.append((point_id, chain_version, policy_id))
        return VaultPoint(point_id=point_id, created_at="", kind="incremental", state=state)

    @override
    def delete_point(self, point_id: PointId) -> VaultPoint:
        self._world.deleted.append(point_id)
        return VaultPoint(point_id=point_id, created_at="", kind="incremental", state="incomplete")

    @override
    def put_retention(self, policy_id: str, retention: Retention) -> None:
        self._world.rules[policy_id] = retention


class _Data:
    def __init__(self, world: _World) -> None:
        self._world = world
        self._ids = (f"point-{number}" for number in itertools.count(len(world.points)))

    def _made(self, point_id: str) -> Made:
        return Made(point_id=PointId(point_id), statistics={}, skipped=0, changed=0)

    def ready_to_stage(self, vault: Objects) -> None:
        if self._world.is_rotated_elsewhere:
            raise KeyringBehind(here=1, vault=2)

    def stage(self, policy: Policy, *, seed_id: SeedId, point_id: PointId) -> Staged:
        if seed_id not in self._world.staged:
            self._world.staged[seed_id] = point_id
            self._world.staged_times += 1
        assert self._world.staged[seed_id] == point_id, "the same point at every try"
        return Staged(made=self._made(point_id), manifest=b"manifest", folder="/mnt/staging/s")

    def staged_manifest(self, policy: Policy, *, seed_id: SeedId) -> bytes:
        if seed_id not in self._world.staged:
            raise ObjectAbsent("manifest.json")
        return b"manifest"

    def send(
        self, policy: Policy, *, base: PointId | None, seed_id: SeedId | None, vault: Objects
    ) -> Made:
        point_id = next(self._ids)
        self._world.points.append((point_id, base))
        return self._made(point_id)

    def send_missing(
        self, policy: Policy, *, seed_id: SeedId, names: Iterable[str], vault: Objects
    ) -> int:
        if seed_id not in self._world.staged:
            raise ObjectAbsent(next(iter(names)))
        assert set(names) == set(self._world.missing), "exactly the missing objects are sent"
        self._world.missing = ()
        return 7


def runner(disk: SimDisk, world: _World) -> PolicyRun:
    return PolicyRun(
        policies=Policies(disk),
        connection=_Cloud(world),
        data=_Data(world),
        open_grant=lambda _: SimpleNamespace(),
        clock=_Clock(),
        meter=NullProgress(),
    )


@pytest.fixture
def disk() -> SimDisk:
    disk = SimDisk()
    Policies(disk).save(offline_policy())
    return disk


def phase(disk: SimDisk) -> SeedPhase:
    return Policies(disk).progress("files").phase


@pytest.mark.requirement("R1", "R72", "R114", "R121", "R123")
def test_the_journey_goes_phase_by_phase(disk: SimDisk) -> None:
    world = _World()
    run = runner(disk, world)
    assert run.run("files", trigger="manual").result == "staged"
    assert list(world.manifests.values()) == [b"manifest"]
    waiting = run.run("files", trigger="schedule")
    assert waiting.result == "waiting"
    assert waiting.messages[0] == WAITING
    assert world.points == [("point-0", next(iter(world.staged.values())))]
    assert world.catalog == ["point-0"], "protected while the drives are in the mail"
    world.landed = True
    adopted = run.run("files", trigger="schedule")
    assert (adopted.result, phase(disk)) == ("adopted", SeedPhase.ONLINE)
    assert len(world.points) == 1, "the adopting run transfers nothing"
    assert run.run("files", trigger="schedule").result == "point"
    assert world.points[-1] == ("point-1", "point-0"), (
        "the first incremental follows the last point"
    )
    assert world.staged_times == 1, "no second full copy, ever"


@pytest.mark.requirement("R114")
def test_the_waiting_text_is_the_original_letter_for_letter() -> None:
    assert WAITING == (
        "Waiting for Azure Import Job to complete. Please check on Azure Management portal "
        "for more information on job status"
    )


@pytest.mark.requirement("R72", "R114", "R115")
def test_a_policy_that_only_waits_sends_nothing(disk: SimDisk) -> None:
    Policies(disk).save(msgspec.structs.replace(offline_policy(), in_transit="wait"))
    world = _World()
    run = runner(disk, world)
    run.run("files", trigger="manual")
    waited = run.run("files", trigger="schedule")
    assert (waited.result, waited.messages[0]) == ("waiting", WAITING)
    assert world.points == []
    world.landed = True
    adopted = run.run("files", trigger="schedule")
    assert "may be large" in adopted.messages[-1], "all since the snapshot is still to be sent"


def test_a_home_folder_from_before_a_rotation_announces_and_stages_nothing(
    disk: SimDisk,
) -> None:
    world = _World(is_rotated_elsewhere=True)
    run = runner(disk, world)
    with pytest.raises(KeyringBehind):
        run.run("files", trigger="manual")
    assert (world.seeds, world.staged, phase(disk)) == (set(), {}, SeedPhase.CONFIGURED)
    assert Policies(disk).progress("files").last_outcome == "failed: keyring-behind"
    world.is_rotated_elsewhere = False  # the newest home folder was put back
    assert run.run("files", trigger="manual").result == "staged"


@pytest.mark.requirement("R117")
def test_a_job_that_does_not_exist_is_not_called_waiting(disk: SimDisk) -> None:
    world = _World(has_job=False)
    run = runner(disk, world)
    run.run("files", trigger="manual")
    answer = run.run("files", trigger="schedule")
    assert answer.result == "no-job"
    assert "No import job harbour-import-07" in answer.messages[0]
    assert WAITING not in answer.messages
    assert len(world.points) == 1, "protected all the same"
    world.has_job = True
    assert run.run("files", trigger="schedule").messages[0] == WAITING


@pytest.mark.requirement("R119")
def test_every_answer_of_the_poll_is_logged_with_job_and_state(
    disk: SimDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    polled: list[tuple[object, object]] = []

    def info(event: str, **fields: object) -> None:
        if event == "job.polled":
            polled.append((fields["job"], fields["state"]))

    monkeypatch.setattr(run_module.log, "info", info)
    world = _World(has_job=False)
    run = runner(disk, world)
    run.run("files", trigger="manual")
    for change in ("has_job", "landed"):
        run.run("files", trigger="schedule")
        setattr(world, change, True)
    run.run("files", trigger="schedule")
    name = "harbour-import-07"
    assert polled == [(name, "absent"), (name, "Shipping"), (name, "Packaging")]


@pytest.mark.requirement("R134")
def test_a_schedule_names_what_is_missing_and_only_backup_now_sends_it(disk: SimDisk) -> None:
    world = _World(landed=True, missing=("packs/aa/x.pack",))
    run = runner(disk, world)
    run.run("files", trigger="manual")
    incomplete = run.run("files", trigger="schedule")
    assert incomplete.result == "incomplete"
    assert any("packs/aa/x.pack" in message for message in incomplete.messages)
    assert len(world.points) == 1, "protected over the network all the same"
    assert run.run("files", trigger="schedule").result == "incomplete"
    finished = run.run("files", trigger="manual")
    assert (finished.result, finished.sent_bytes) == ("adopted", 7)


@pytest.mark.requirement("R133", "R134")
def test_while_a_top_up_travels_schedules_wait_and_only_backup_now_sends(disk: SimDisk) -> None:
    world = _World(landed=True, missing=("packs/aa/x.pack",))
    run = runner(disk, world)
    run.run("files", trigger="manual")
    assert run.run("files", trigger="schedule").result == "incomplete"
    world.top_up_travels = True
    assert run.run("files", trigger="schedule").result == "waiting"
    assert phase(disk) is SeedPhase.ADOPTING
    assert run.run("files", trigger="manual").sent_bytes == 7
    assert phase(disk) is SeedPhase.ONLINE


@pytest.mark.requirement("R127")
def test_an_adoption_that_somebody_else_began_is_followed(disk: SimDisk) -> None:
    world = _World()
    run = runner(disk, world)
    run.run("files", trigger="manual")
    world.seed_state = "Online"
    assert run.run("files", trigger="schedule").result == "adopted"
    assert phase(disk) is SeedPhase.ONLINE


@pytest.mark.requirement("R131")
def test_a_seed_that_was_given_up_in_the_cloud_is_given_up_here(disk: SimDisk) -> None:
    world = _World()
    run = runner(disk, world)
    run.run("files", trigger="manual")
    world.seed_state = "Abandoned"
    with pytest.raises(SeedAbandoned):
        run.run("files", trigger="schedule")
    assert phase(disk) is SeedPhase.ABANDONED


def test_missing_objects_without_staging_are_refused_with_the_way_out(disk: SimDisk) -> None:
    world = _World(landed=True, missing=("packs/aa/x.pack",))
    run = runner(disk, world)
    run.run("files", trigger="manual")
    world.staged.clear()
    with pytest.raises(RefusedError, match="seed abandon files"):
        run.run("files", trigger="manual")
    assert phase(disk) is SeedPhase.ADOPTING


@pytest.mark.requirement("R117")
def test_a_seed_that_the_cloud_does_not_know_is_not_called_waiting(disk: SimDisk) -> None:
    world = _World()
    run = runner(disk, world)
    run.run("files", trigger="manual")
    world.seeds.clear()
    with pytest.raises(SeedUnknown):
        run.run("files", trigger="schedule")
    assert Policies(disk).progress("files").last_outcome == "failed: seed-unknown"


@pytest.mark.requirement("R117")
def test_a_cloud_out_of_reach_is_not_called_waiting(disk: SimDisk) -> None:
    world = _World()
    run = runner(disk, world)
    run.run("files", trigger="manual")
    world.reachable = False
    with pytest.raises(Unreachable):
        run.run("files", trigger="schedule")
    assert phase(disk) is SeedPhase.AWAITING_IMPORT


@pytest.mark.requirement("R117")
def test_a_token_that_does_not_count_any_more_is_not_called_waiting(disk: SimDisk) -> None:
    world = _World()
    run = runner(disk, world)
    run.run("files", trigger="manual")
    world.authorised = False
    with pytest.raises(NotAuthorised):
        run.run("files", trigger="schedule")
    assert Policies(disk).progress("files").last_outcome == "failed: not-authorised"


def test_an_abandoned_seed_runs_no_more(disk: SimDisk) -> None:
    world = _World()
    run = runner(disk, world)
    run.run("files", trigger="manual")
    run.abandon("files")
    with pytest.raises(RefusedError, match="abandoned"):
        run.run("files", trigger="schedule")


@pytest.mark.crash
def test_power_cut_at_every_step_of_the_journey_ends_in_the_same_place() -> None:
    for step in itertools.count():
        disk, world = SimDisk(cut_at=step), _World()
        finished = _journey_until_cut(disk, world)
        if not finished:
            disk = disk.restart()
            assert _journey_until_cut(disk, world)
        assert phase(disk) is SeedPhase.ONLINE, f"cut at step {step}"
        assert len(world.seeds) == 1, f"one seed, whatever happens (cut at step {step})"
        assert world.staged_times == 1, f"one full copy, whatever happens (cut at step {step})"
        if finished:
            break


def _journey_until_cut(disk: SimDisk, world: _World) -> bool:
    try:
        if "files" not in Policies(disk).names():
            Policies(disk).save(offline_policy())
        run = runner(disk, world)
        for _ in range(2):
            run.run("files", trigger="schedule")
        world.landed = True
        for _ in range(3):
            run.run("files", trigger="schedule")
    except PowerCut:
        return False
    return True


def test_what_the_system_refuses_counts_as_a_run_that_failed(
    disk: SimDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Staged:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(_Data, "stage", broken)
    with pytest.raises(OSError, match="input/output"):
        runner(disk, _World()).run("files", trigger="schedule")
    progress = Policies(disk).progress("files")
    assert progress.last_outcome == "failed: operating-system"
    assert progress.last_run_at is not None


def test_a_point_that_the_cloud_could_not_be_told_of_is_not_made_again() -> None:
    disk, world = SimDisk(), _World()
    Policies(disk).save(
        msgspec.structs.replace(offline_policy(), first_copy="network", offline=None)
    )
    run = runner(disk, world)
    world.refuses_points = True
    with pytest.raises(Unreachable):
        run.run("files", trigger="schedule")
    assert (world.points, world.catalog) == ([("point-0", None)], [])
    world.refuses_points = False
    run.run("files", trigger="schedule")
    assert world.points[1:] == [("point-1", "point-0")], "the first copy is sent once"
    assert world.catalog == ["point-0", "point-1"]


def online() -> tuple[SimDisk, _World, PolicyRun]:
    """Return a policy that goes over the network, after its first run."""
    disk, world = SimDisk(), _World()
    Policies(disk).save(
        msgspec.structs.replace(
            offline_policy(), first_copy="network", offline=None, retention=Retention(daily=7)
        )
    )
    run = runner(disk, world)
    run.run("files", trigger="schedule")
    return disk, world, run


@pytest.mark.parametrize("answer", ["chain-repacked", "incomplete"])
def test_a_point_that_the_vault_cannot_vouch_for_is_made_again_on_the_same_base(
    answer: str,
) -> None:
    disk, world, run = online()
    world.answers = [answer]
    outcome = run.run("files", trigger="schedule")
    assert world.points[1:] == [("point-1", "point-0"), ("point-2", "point-0")]
    assert world.catalog == ["point-0", "point-2"]
    assert outcome.made is not None
    assert outcome.made.point_id == "point-2"
    assert world.deleted == (["point-1"] if answer == "incomplete" else [])
    assert Policies(disk).progress("files").last_point_id == "point-2"


def test_a_point_that_is_never_whole_fails_the_run_and_the_next_starts_from_what_is() -> None:
    _, world, run = online()
    world.answers = ["incomplete"] * 3
    with pytest.raises(PointNotWhole):
        run.run("files", trigger="schedule")
    run.run("files", trigger="schedule")
    assert world.points[-1] == ("point-4", "point-0")


def test_the_version_of_the_chain_is_that_of_before_the_run_even_after_a_kill() -> None:
    disk, world, run = online()
    world.refuses_points = True
    with pytest.raises(Unreachable):
        run.run("files", trigger="schedule")
    world.refuses_points = False
    world.catalog += ["another-policys-point"]
    runner(disk, world).run("files", trigger="schedule")
    assert [each[:2] for each in world.published] == [
        ("point-0", 0),
        ("point-1", 1),
        ("point-2", 3),
    ]


def test_the_cloud_learns_the_rule_and_never_the_policys_name() -> None:
    disk, world, run = online()
    run.run("files", trigger="schedule")
    (policy_id,) = world.rules
    assert UUID(policy_id).version == 4
    assert world.rules[policy_id] == Retention(daily=7)
    assert {each[2] for each in world.published} == {policy_id}
    assert Policies(disk).progress("files").policy_id == policy_id
