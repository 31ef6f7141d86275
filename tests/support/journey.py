"""The whole journey from one seed number: what happens, what goes wrong, what must hold.

Everything random is drawn from the number, but for what threads and keys decide.  `trail` tells
what happened, in order; a failure shows it.
"""

import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from tests.support.journey_faults import BaseClock, Life, MachineClock
from tests.support.journey_machines import API, Cloud, CopyComputer, SourceComputer, Station
from tests.support.journey_network import Network, Trouble
from tests.support.journey_source import build_source, work_on
from tests.support.simengine import Killed

from overland.agent.policy import Progress, SeedPhase
from overland.agent.run import Outcome
from overland.errors import TransientError
from overland.format.seed_manifest import SeedManifest
from overland.values import PointId

__all__ = ["JOB", "PASSPHRASE", "POLICY", "Kept", "Scene", "Story"]

T = TypeVar("T")

POLICY, JOB = "nightly", "harbour-import-07"
PASSPHRASE = "correct horse battery staple"
TRIES = 30
CALM_AFTER = 6  # tries, after which nothing goes wrong any more, so that every story ends

_OPERATIONS = {
    "backup": 140,
    "disk prepare": 190,
    "disk ship": 30,
    "station receive": 3,
    "station ingest": 140,
    "station return": 8,
    "station give-up": 15,
    "restore": 40,
}
"""How many operations a command usually has; it is killed at one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the number decides beforehand; faults of programs and network come as they come."""

    in_transit: str
    drive_count: int
    lost: int
    is_late: bool
    flips: int
    breaks: bool
    replaces: bool
    loses_hints: bool
    ships_elsewhere: bool
    doubled: bool
    strangers: bool
    overdue: bool
    returns_first: bool
    runs_in_transit: int
    kills: float
    troubles: float

    @classmethod
    def drawn(cls, rng: random.Random) -> "Story":
        drive_count = rng.choice((2, 2, 3, 4))
        return cls(
            in_transit=rng.choice(("protect", "protect", "protect", "wait")),
            drive_count=drive_count,
            lost=rng.choice((0, 0, 1, rng.randrange(drive_count - 1) + 1)),
            is_late=rng.random() < 0.4,
            flips=rng.choice((0, 0, 1, 2)),
            breaks=rng.random() < 0.2,
            replaces=rng.random() < 0.2,
            loses_hints=rng.random() < 0.2,
            ships_elsewhere=rng.random() < 0.2,
            doubled=rng.random() < 0.4,
            strangers=rng.random() < 0.4,
            overdue=rng.random() < 0.3,
            returns_first=rng.random() < 0.5,
            runs_in_transit=rng.randrange(1, 4),
            kills=rng.choice((0.0, 0.3, 0.6)),
            troubles=rng.choice((0.0, 0.2, 0.4)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A recovery point, and a likeness of the source at its instant."""

    point_id: PointId
    label: str
    likeness: Path


@dataclass(slots=True)
class Scene:
    """All machines of one journey, and what a story has come to."""

    folder: Path
    seed: int
    trail: list[str] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    deaths: int = 0
    seeded: Kept | None = None
    manifest: SeedManifest | None = None
    drives: dict[str, Path] = field(default_factory=dict)
    loads: dict[str, list[str]] = field(default_factory=dict)
    flipped: list[str] = field(default_factory=list)
    broken: str | None = None
    sent_again: set[str] = field(default_factory=set)
    settings: bytes = b""
    passphrase: str = PASSPHRASE
    world: dict[str, str] = field(default_factory=dict)
    base: BaseClock = field(default_factory=BaseClock)
    network: Network = field(default_factory=Network)
    _station: Station | None = None
    rng: random.Random = field(init=False)
    story: Story = field(init=False)
    clocks: dict[str, MachineClock] = field(init=False)
    cloud: Cloud = field(init=False)
    _faults: random.Random = field(init=False)
    _days: random.Random = field(init=False)
    _keys: random.Random = field(init=False)
    _commands: int = 0

    def __post_init__(self) -> None:
        self.rng, self._faults, self._days, self._keys, clouds = (
            random.Random(f"{part} of {self.seed}")
            for part in ("story", "faults", "days", "keys", "cloud")
        )
        self.story = Story.drawn(self.rng)
        self.note(str(self.story))
        names = ("source", "copy", "cloud", "station")
        self.clocks = {name: MachineClock(self.base) for name in names}
        self.cloud = Cloud(self.folder / "cloud", self.clocks["cloud"], clouds)
        self.network.server = self.cloud
        for name in ("agent", "copy", "likeness", "staging", "drives"):
            (self.folder / name).mkdir()

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def staging(self) -> Path:
        return self.folder / "staging"

    def close(self) -> None:
        if self._station is not None:
            self._station.close()
        self.cloud.database.dispose()

    def note(self, text: str) -> None:
        self.trail.append(f"{len(self.trail):3} {text}")

    # -- programs, and how they are killed ------------------------------------------------------

    def do(self, title: str, act: Callable[[Life], T]) -> T:
        """Run a command until it ends well, as an operator does whose computer keeps failing."""
        for number in range(TRIES):
            life = self._next_life(title, number)
            try:
                result = act(life)
            except Killed as killed:
                self.deaths += 1
                self.note(f"{title}: {killed}")
            except TransientError as error:
                self.note(f"{title}: to be tried again: {type(error).__name__}: {error}")
                self.base.advance(timedelta(minutes=5))
            else:
                self.note(f"{title}: ends well after {life.steps} operations")
                return result
        raise AssertionError(f"{title} never ends well")

    def _next_life(self, title: str, number: int) -> Life:
        rng, is_calm = self._faults, number >= CALM_AFTER
        usual = next(count for name, count in _OPERATIONS.items() if title.startswith(name))
        kill_at = rng.randrange(usual) if rng.random() < self.story.kills else None
        if rng.random() < self.story.troubles:
            kind: Trouble = rng.choice(("refused", "cut", "lost"))
            self.network.troubles += [kind] * rng.choice((1, 2, 5, 12, 40))
            self.note(f"the network: {kind}, {len(self.network.troubles)} times")
        if rng.random() < self.story.kills / 3 and not is_calm:
            at = int(2 ** rng.uniform(0, 8))
            self.note(f"the cloud's program begins anew, to be killed at operation {at}")
            self.cloud.live(Life(at))
        if is_calm:
            self.network.troubles.clear()
        return Life(None if is_calm else kill_at)

    def calm(self, act: Callable[[Life], T]) -> T:
        """Do something to which nothing happens."""
        with self.network.calm():
            if self.cloud.life.is_mortal:
                self.cloud.live(Life())
            return act(Life())

    def source_computer(self, life: Life) -> SourceComputer:
        return SourceComputer(self.folder / "agent", self.network, self.clocks["source"], life)

    def copy_computer(self, life: Life) -> CopyComputer:
        return CopyComputer(
            folder=self.folder / "copy",
            network=self.network,
            clock=self.clocks["copy"],
            life=life,
            settings=self.settings,
            rng=self._keys,
        )

    def station(self, life: Life) -> Station:
        before = self._station
        if before is not None:
            before.close()
        self._station = Station(
            self.folder / "station",
            self.network,
            self.clocks["station"],
            life,
            token=self.world["station"],
            before=before,
        )
        return self._station

    def ask(self, token: str, method: str, path: str, body: object = None) -> Any:
        """Ask the API something that has to succeed, with nothing going wrong."""

        def asked(life: Life) -> Any:
            http = self.network.http(API, token, life, self.base_sleep)
            reply = http.request(method, path, json=body)
            assert reply.status < 300, f"{method} {path}: {reply.status} {reply.body}"
            return reply.body

        return self.calm(asked)

    def base_sleep(self, seconds: float) -> None:
        self.base.advance(timedelta(seconds=seconds))

    # -- time, and the work of days -------------------------------------------------------------

    def pass_time(self, days: float) -> None:
        """Let time pass; the cloud looks at its clocks."""
        self.base.advance(timedelta(days=days))
        changed = self.cloud.sweep()
        self.note(f"{days:.1f} days pass; the cloud's clocks changed {changed} jobs")

    def set_clocks(self) -> None:
        """Let the clocks of the customer's computers be wrong, differently."""
        for name in ("source", "copy"):
            if self._days.random() < 0.4:
                hours = self._days.choice((-120.0, -3.0, 0.0, 0.5, 72.0))
                self.clocks[name].wrong_by = timedelta(hours=hours)
                self.note(f"the clock of the {name} computer is wrong by {hours} hours")

    def build(self) -> None:
        build_source(self.source, self._days)

    def work(self) -> None:
        self.note(f"{work_on(self.source, self._days)} entries of the source change")

    # -- runs of the policy ---------------------------------------------------------------------

    def run(self, trigger: str) -> Outcome:
        """Run the policy, and keep a likeness of every point that it made."""
        hints = self.folder / "agent" / "repository"
        if self.story.loses_hints and hints.exists() and self._days.random() < 0.4:
            shutil.rmtree(hints)
            self.note("the source computer loses its hints")

        def ran(life: Life) -> Outcome:
            return self.source_computer(life).runner().run(POLICY, trigger=trigger)  # type: ignore[arg-type] # a trigger

        outcome = self.do(f"backup by {trigger}", ran)
        self.note(f"  {outcome.result}, {outcome.phase}, {len(outcome.messages)} messages")
        seed_point = self.progress().seed_point_id
        if self.seeded is None and outcome.phase is not SeedPhase.STAGING:
            assert seed_point is not None
            self.seeded = self._keep(PointId(seed_point), "seeded")
        if outcome.made is not None and outcome.made.point_id != seed_point:
            self._keep(outcome.made.point_id, f"{outcome.result} {len(self.kept)}")
        return outcome

    def progress(self) -> Progress:
        return self.source_computer(Life()).policies.progress(POLICY)

    def _keep(self, point_id: PointId, label: str) -> Kept:
        likeness = self.folder / "likeness" / str(len(self.kept))
        subprocess.run(["cp", "-a", "--", str(self.source), str(likeness)], check=True)
        kept = Kept(point_id=point_id, label=label, likeness=likeness)
        self.kept.append(kept)
        self.note(f"  point {label}: {point_id}")
        return kept

    # -- drives ---------------------------------------------------------------------------------

    def path_on_drive(self, serial: str, name: str) -> Path:
        assert self.manifest is not None, "drives are filled from a seed"
        return self.drives[serial] / f"seed-{self.manifest.seed_id}" / name

    def flip_bit(self, serial: str, name: str) -> None:
        path = self.path_on_drive(serial, name)
        content = bytearray(path.read_bytes())
        at = self.rng.randrange(len(content))
        content[at] ^= 1 << self.rng.randrange(8)
        path.write_bytes(content)
        self.flipped.append(name)
        self.note(f"a bit of {name} flips on drive {serial}, at {at}")

    def copy_drive(self, serial: str) -> Path:
        copy = self.folder / "drives" / f"copy-of-{serial}"
        if not copy.exists():
            shutil.copytree(self.drives[serial], copy)
        return copy

    def sent_to_vault(self) -> set[str]:
        """Return the objects that the source computer has sent to its vault."""
        prefix = "/vaults/"
        return {
            sent.path.split("/", 4)[-1]
            for sent in self.network.sent
            if sent.path.startswith(prefix)
        }

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self.rng.sample(items, len(items))
