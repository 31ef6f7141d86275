"""A random story of one source computer and its vault, all of it from one number."""

import contextlib
import hashlib
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from tests.simulation.actions.keyactions import KeyActions
from tests.simulation.actions.proof import Proof
from tests.simulation.actions.source import Source
from tests.simulation.actions.steady import steady
from tests.simulation.actions.world import Copies, World
from tests.support.faulty import FaultPlan, FaultyFiles
from tests.support.faulty_ports import FaultyObjects
from tests.support.simdisk import PowerCut
from tests.support.simengine import Killed

from overland.agent.repack.run import repack
from overland.agent.repair.run import RepairReport, repair
from overland.errors import IntegrityError, OverlandError, RefusedError
from overland.values import PointId

__all__ = ["STEPS", "Story"]

STEPS: Final = 16
_DAY: Final = timedelta(days=1)
_POLICIES: Final = ("documents", "other")
_STORE_FAULTS: Final = ("error", "lost", "slow", "full", "short", "refuse", "flip", "cut", "lie")
_SPOOL_FAULTS: Final = ("error", "full", "short", "slow", "flip", "cut")
_DOCUMENTS: Final = ("points/", "replacements/", "keys/")


class Story:
    """One story; `trail` has what happened."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed, self.random = seed, random.Random(seed)
        self.trail: list[str] = []
        source = Source(folder / "source", random.Random(f"source {seed}"))
        size = self.random.choice((1 << 15, 1 << 17, 1 << 21))
        self.world = World(folder, seed, source, pack_bytes=size)
        self.model = self.world.model
        self.proof = Proof(self.world, folder)
        self.keys = KeyActions(
            self.world,
            self.proof,
            folder,
            self.random,
            heal=self.heal,
            restart=self._restart,
            meanwhile=(self.reclaim, self.back_up),
        )
        self._snapshots: list[tuple[dict[str, bytes], dict[str, PointId | None]]] = []

    def play(self, steps: int = STEPS) -> None:
        """Live through it.

        Raises:
            AssertionError: A promise was broken.
        """
        with steady(self.world.chance):
            self._act(self.back_up)
            weights, actions = zip(*self._actions(), strict=True)
            for _ in range(steps):
                (action,) = self.random.choices(actions, weights)
                self._act(action)
            self._act(self.end)

    def _actions(self) -> list[tuple[int, Callable[[], str]]]:
        return [
            (12, self.back_up),
            (5, self.cut_back_up),
            (3, self.faulty_back_up),
            (4, self.slow_back_up),
            (5, self.harm),
            (3, self.check),
            (3, self.restore),
            (5, self.forget),
            (1, self.take_back),
            (5, self.wait),
            (6, self.reclaim),
            (2, self.killed_reclaim),
            (4, self.disturbed_reclaim),
            (3, self.prune),
            (5, self.repack),
            (2, self.cut_repack),
            (4, self.heal),
            (2, self.repair_alone),
            (2, self.harm_hints),
            (1, self.remember_computer),
            (1, self.replay_computer),
            (4, self.keys.rotate_signing),
            (3, self.keys.change_keys),
            (4, self.keys.killed_change),
            (2, self.keys.steal),
            (4, self.keys.use_stolen),
            (3, self.keys.restore_elsewhere),
        ]

    def _act(self, action: Callable[[], str]) -> None:
        self.world.chance.begin(str(len(self.trail)))
        self.trail.append(action.__name__)
        self.trail[-1] += f": {action()}"
        self.world.note_keys()
        held = self.world.held()
        self.model.take(held)
        names = hashlib.sha256("\n".join(held).encode()).hexdigest()[:8]
        self.trail[-1] += f" [{len(held)} objects, {names}]"
        self.world.clock.advance(timedelta(seconds=self.random.randint(1, 5000)))
        self.proof.after_action(self.random)

    # -- the source computer --------------------------------------------------------------------

    def back_up(self) -> str:
        return self._run(self._changed())

    def cut_back_up(self) -> str:
        """Cut the power at some step, on a disk that may have lied about what it flushed."""
        policy = self._changed()
        which = self.random.choice(("vault", "vault", "spool", "state"))
        step, lies = self.random.randint(0, 30), self.random.random() < 0.3
        self.world.restart(which, cut_at=step, seed=self.random.randrange(1 << 30), lies=lies)
        try:
            done = self._run(policy)
        except PowerCut:
            done = "cut"
        self._restart()
        return f"{which} at {step}{' lying' * lies}: {done}"

    def faulty_back_up(self) -> str:
        """Back up over a bad line to a bad store from a bad disk."""
        policy, world = self._changed(), self.world
        faults = self.random.sample(_STORE_FAULTS, 3)
        rate = self.random.choice((0.02, 0.2))
        plan = FaultPlan(
            self.random.randrange(1 << 30), faults=faults, rate=rate, clock=world.clock
        )
        vault = FaultyObjects(world.vault, plan)
        spool_plan = FaultPlan(self.seed, faults=self.random.sample(_SPOOL_FAULTS, 2), rate=0.02)
        spool = FaultyFiles(world.spool, plan=spool_plan)
        try:
            point_id = world.back_up(policy, vault=vault, spool=spool)
            done = _short(point_id)
        except (OverlandError, OSError) as error:
            done = type(error).__name__
        self.model.take(world.held())
        self.proof.gone.update(vault.power_cut())
        world.begin_agent()
        return f"{'/'.join(faults)} {rate}: {done}"

    def slow_back_up(self) -> str:
        """Back up over a thin line for days, while the cloud reclaims at one of its steps."""
        policy, world = self._changed(), self.world
        at, days = self.random.randint(0, 2), self.random.choice((0, 1, 13, 15))
        said: list[str] = []

        def meanwhile() -> None:
            said.append("")
            if len(said) == at + 1:
                world.clock.advance(days * _DAY)
                said[-1] = self.reclaim()

        world.meanwhile = meanwhile
        try:
            done = self._run(policy)
        finally:
            world.meanwhile = lambda: None
        return f"{done}, {days} days at {at}: {''.join(said)}"

    def _run(self, policy: str) -> str:
        full, reads_all = self.random.random() < 0.15, self.random.random() < 0.1
        point_id = self.world.back_up(policy, full=full, reads_all=reads_all)
        return f"{policy}{' full' * full} {_short(point_id)}"

    def _changed(self) -> str:
        for _ in range(self.random.randint(1, 5)):
            self.world.source.change()
        return self.random.choice(_POLICIES)

    def harm_hints(self) -> str:
        """Flip, cut, remove or swap a file of the agent's state; only time may be lost."""
        state = self.world.state
        names = [info.name for info in state.names() if info.size_bytes]
        if not names:
            return "nothing"
        name, other = self.random.choice(names), self.random.choice(names)
        size_bytes = state.size_bytes(name)
        match self.random.choice(("flip", "cut", "remove", "swap")):
            case "flip":
                state.damage(name, offset=self.random.randrange(size_bytes))
            case "cut":
                state.truncate(name, length=self.random.randrange(size_bytes))
            case "remove":
                state.delete(name)
            case _:
                state.write(name, state.read(other))
        self.world.begin_agent()
        return name

    def remember_computer(self) -> str:
        """Take an image of the source computer."""
        state = self.world.state
        image = {info.name: state.read(info.name) for info in state.names()}
        self._snapshots.append((image, dict(self.world.last)))
        return f"{len(image)} files"

    def replay_computer(self) -> str:
        """Go back to an image of the source computer, hints and notes and all."""
        if not self._snapshots:
            return "nothing"
        image, last = self.random.choice(self._snapshots)
        state = self.world.state
        for info in list(state.names()):
            state.delete(info.name)
        for name, data in image.items():
            state.write(name, data)
        if self.random.random() < 0.5:
            self.world.last = dict(last)
        self.world.begin_agent()
        return f"{len(image)} files"

    # -- damage, and what is done about it ------------------------------------------------------

    def harm(self) -> str:
        """Flip a bit of an object, cut it, remove it, or put another in its place."""
        world = self.world
        kinds = sorted({name.partition("/")[0] for name in world.held()})
        kind = self.random.choice(("packs", *kinds))
        names = [name for name in world.held() if name.startswith(f"{kind}/")]
        if not names:
            return "nothing"
        name = self.random.choice(names)
        path, size_bytes = world.prefix + name, len(world.held()[name])
        how = self.random.choice(("flip", "cut", "remove", "swap"))
        needed = set[str]().union(*map(self.model.needed, self.model.promised))
        match how:
            case "flip" if size_bytes:
                mask = 1 << self.random.randrange(8)
                world.disk.damage(path, offset=self.random.randrange(size_bytes), mask=mask)
            case "cut" if size_bytes:
                world.disk.truncate(path, length=self.random.randrange(size_bytes))
            case "swap" if name in needed:
                # A pack that nobody names yet is known by its directory alone: a run that takes it
                # over cannot tell that it lies under another's name (`docs/format/damage.md` §2).
                world.disk.write(path, world.held()[self.random.choice(names)])
            case _:
                world.disk.delete(path)
                self.proof.gone.add(name)
        return f"{how} {name}"

    def check(self) -> str:
        return self.proof.check(with_keys=self.random.random() < 0.7)

    def restore(self) -> str:
        return self.proof.restore(self.random)

    def heal(self) -> str:
        """Repair with true copies at hand; what a vault never replaces is removed before."""
        world = self.world
        for name in self.model.damaged(world.held()):
            if name.startswith(_DOCUMENTS):
                world.vault.delete(name)
        report = repair(world.workshop(), {"drive": Copies(self.model.truth)})
        self.proof.healed(report)
        return f"{len(report.fetched)} fetched"

    def repair_alone(self) -> str:
        """Repair packs and index files with nothing but the vault and the source."""
        held = self.world.held()
        lacking = self.model.damaged(held) | self.model.missing(held)
        if any(name.startswith(_DOCUMENTS) for name in lacking) or self.proof.unlisted():
            return "not now"
        report: RepairReport = repair(self.world.workshop(), {})
        self.model.take(self.world.held())
        for point_id, files in report.lost.items():
            self.proof.lose(point_id, [file.path for file in files])
            self.world.mark(point_id)
        return f"{len(report.broken)} broken, {len(report.lost)} points lost something"

    # -- retention ------------------------------------------------------------------------------

    def forget(self) -> str:
        points = sorted(self.model.promised)
        point_id = self.random.choice(points) if points else None
        return f"{_short(point_id)} {bool(point_id and self.world.mark(point_id))}"

    def take_back(self) -> str:
        points = sorted(self.model.let_go_at.keys() & self.model.promised.keys())
        point_id = self.random.choice(points) if points else None
        return f"{_short(point_id)} {bool(point_id and self.world.unmark(point_id))}"

    def wait(self) -> str:
        days = self.random.choice((1, 5, 13.5, 14))
        self.world.clock.advance(days * _DAY)
        return f"{days} days"

    def prune(self) -> str:
        """Let all points go but the newest few, wait, reclaim, and repack what is left."""
        keep = self.random.randint(1, 3)
        points = sorted(self.model.promised)
        gone = sum(self.world.mark(each) for each in points[:-keep])
        self.world.clock.advance(15 * _DAY)
        return f"{gone} points, {self.reclaim()}, {self.repack()}"

    def reclaim(self) -> str:
        held = self.world.held()
        self.proof.note_needed(held)  # an action of several parts may have put objects just now
        report = self.world.cloud.run()
        self.proof.reclaimed(report)
        self.proof.waited_long(held)
        return f"{report.objects_deleted} deleted{' refused' * bool(report.problem)}"

    def killed_reclaim(self) -> str:
        """Kill the cloud at some border, or cut its power at some step."""
        cloud, kills = self.world.cloud, self.random.random() < 0.5
        at = self.random.randint(0, 9)
        if kills:
            cloud.engine = cloud.engine.restart(kill_at=at)
        else:
            self.world.restart("vault", cut_at=at, seed=at)
        try:
            if kills:
                cloud.begin()
            cloud.run()
            done = "finished"
        except (Killed, PowerCut):
            done = "killed"
        self._restart()
        return f"{'killed' if kills else 'cut'} at {at}: {done}"

    def disturbed_reclaim(self) -> str:
        """Reclaim, and at one of its looks at the vault have the source computer do something."""
        world, at = self.world, self.random.randint(0, 30)
        act = self.random.choice(
            (self.back_up, self.back_up, self.take_back, self.repack, self.keys.rotate_now)
        )
        looks, said, failed = 0, ["nothing"], list[BaseException]()

        def look() -> None:
            nonlocal looks
            looks += not world.is_in_transaction
            if looks <= at or world.is_in_transaction:
                return
            disk.on_look = lambda: None
            try:
                said[0] = act()
            except BaseException as error:  # noqa: BLE001 - an engine would keep it to itself
                failed.append(error)

        disk = world.disk
        disk.on_look = look
        try:
            done = self.reclaim()
        finally:
            disk.on_look = lambda: None
        if failed:
            raise failed[0]
        return f"{act.__name__} at {at}: {said[0]}; {done}"

    def repack(self) -> str:
        known = self.proof.is_repackable()
        policy = self.random.choice((None, *_POLICIES))
        min_live = self.random.choice((0.4, 0.8, 1.0))
        try:
            report = repack(self.world.workshop(), policy=policy, min_live=min_live)
        except (RefusedError, IntegrityError) as error:
            if known:
                raise
            return type(error).__name__
        return f"{policy} {min_live}: {report.packs_replaced} for {report.new_packs}"

    def cut_repack(self) -> str:
        which = self.random.choice(("vault", "state", "spool"))
        step = self.random.randint(0, 25)
        self.world.restart(which, cut_at=step, seed=self.random.randrange(1 << 30))
        try:
            done = self.repack()
        except PowerCut:
            done = "cut"
        self._restart()
        return f"{which} at {step}: {done}"

    # -- the end --------------------------------------------------------------------------------

    def end(self) -> str:
        """Heal everything, prove everything, and see that what nobody needs goes."""
        self._restart()
        self.heal()
        keys = self.keys.end()
        self.proof.check(with_keys=True)
        self.proof.everything()
        for _ in range(4):
            self.world.clock.advance(14 * _DAY + timedelta(seconds=1))
            self.reclaim()
            self.model.take(self.world.held())
        self.proof.nothing_else_stays()
        self.proof.everything()
        if self.seed % 4 == 0:
            self.proof.foreign_reader(self.random)
        return f"{len(self.model.promised)} points, {keys}"

    def _restart(self) -> None:
        """Start everything again; what a lying disk lost is known to nobody but us."""
        world = self.world
        before, lied = set(world.held()), world.disk.lies
        before |= self.model.truth.keys() if lied else set()
        with contextlib.suppress(Killed):
            world.restart(seed=self.random.randrange(1 << 30))
        if lied:
            self.proof.gone.update(before - world.held().keys())


def _short(point_id: PointId | None) -> str:
    return "nothing" if point_id is None else f"p{UUID(point_id).int - 0x1000}"
