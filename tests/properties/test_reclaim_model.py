"""Random lives of a vault against a model that knows chunks, not objects.

The model gives every pack a set of chunks and every point the chunks that it is made of; it knows
nothing of marks on objects, of fences or of replacements.  What it demands is the promise itself:
of every point that nobody let go, each chunk lies in some pack that is still there.
"""

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from tests.support.landed import pack
from tests.support.reclaiming import DAY, Reclaiming, point_id_of
from tests.support.simengine import Killed

from overland.errors import OverlandError
from overland.vault import reclaim as reclaims
from overland.vault.marks import MIN_GRACE, PointReclaimed, PointStays
from overland.vault.replacing import ReplacementRefused

_STEPS = 60


@dataclass
class Life:
    """One random life, from one number."""

    seed: int
    world: Reclaiming = field(default_factory=Reclaiming)
    chunks_of: dict[str, set[int]] = field(default_factory=dict)  # by a pack's label
    needs: dict[int, set[int]] = field(default_factory=dict)  # chunks, by a point's number
    bases: dict[int, int | None] = field(default_factory=dict)
    let_go_at: dict[int, object] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)
    trail: list[str] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def label(self) -> str:
        self.count += 1
        return f"{self.seed} {self.count}"

    def live(self) -> list[int]:
        return [n for n, each in self.world.points().items() if each.reclaimed_at is None]

    # What happens.

    def back_up(self) -> None:
        self.count += 1
        number = self.count
        states = self.world.points()
        # As the source computer does: a reclaimed point is no base, its chunks may be replaced.
        bases = [n for n in self.live() if n in self.needs and states[n].state == "available"]
        base = self.random.choice([*bases, None])
        labels = [self.label() for _ in range(self.random.randint(1, 3))]
        # Left by a run that was interrupted, or by deleted points; never what was replaced.
        reusable = [
            each
            for each in self.chunks_of
            if each not in self.replaced and pack(each)[0] in self.world.held()
        ]
        if reusable and self.random.random() < 0.4:
            labels.append(self.random.choice(reusable))
        for each in labels:
            if each not in self.chunks_of:
                self.chunks_of[each] = {self.count * 10 + n for n in range(4)}
                self.count += 1
        reach = set[int]().union(*(self.chunks_of[each] for each in labels))
        if base is not None:
            reach |= self.needs[base]
        self.needs[number] = {c for c in reach if self.random.random() < 0.7} or reach
        self.bases[number] = base
        self.record(number, labels, base)

    def record(self, number: int, labels: list[str], base: int | None) -> None:
        for _ in range(6):
            point_id = (
                point_id_of(number)
                if f"points/{point_id_of(number)}.point" in self.world.held()
                else self.world.put_point(number, labels, base=base)
            )
            point = self.world.record(point_id)
            if point.state == "available":
                return
            for each in labels:  # as the agent does: what is missing is stored again
                self.world.put(*pack(each))
            self.reclaim()
        self.needs.pop(number)  # never whole: nobody was promised anything

    def leave_packs(self) -> None:
        each = self.label()
        self.chunks_of[each] = {self.count * 10 + n for n in range(4)}
        self.count += 1
        self.world.put_pack(each)

    def mark(self) -> None:
        if not (live := self.live()):
            return
        number = self.random.choice(live)
        try:
            self.world.mark(number)
        except PointStays:
            return
        self.let_go_at.setdefault(number, self.world.clock.now())

    def unmark(self) -> None:
        number = self.random.choice([*self.let_go_at, 0])
        if number not in self.world.points():
            return
        try:
            self.world.unmark(number)
        except PointReclaimed:
            return
        self.let_go_at.pop(number, None)

    def wait(self) -> None:
        self.world.clock.advance(self.random.choice([DAY, 5 * DAY, MIN_GRACE]))

    def reclaim(self) -> None:
        self.world.run()

    def killed(self) -> None:
        self.world.engine = self.world.engine.restart(kill_at=self.random.randint(0, 9))
        with contextlib.suppress(Killed):
            self.world.begin()
            self.world.run()
        self.world.restart()

    def repack(self) -> None:
        """Copy what living points need out of some packs, as the agent does."""
        held = self.world.held()
        here = [each for each in self.chunks_of if pack(each)[0] in held]
        some = [each for each in here if self.random.random() < 0.4]
        keeps = [n for n in self.live() if n in self.needs]
        if not some or not keeps:
            return
        wanted = set[int]().union(*(self.needs[n] for n in keeps))
        kept = wanted & set[int]().union(*(self.chunks_of[each] for each in some))
        new = self.label()
        if not kept:
            return
        self.chunks_of[new] = kept
        try:
            self.world.replace(
                self.count, keeps=keeps, replaced=[pack(each)[0] for each in some], by=[new]
            )
        except ReplacementRefused:
            return  # a point that is not whole needs one of them
        self.replaced.update(some)

    # What has to hold.

    def check(self) -> None:
        held = self.world.held()
        here = set[int]().union(
            *(chunks for each, chunks in self.chunks_of.items() if pack(each)[0] in held)
        )
        points = self.world.points()
        for number, chunks in self.needs.items():
            marked_at = self.let_go_at.get(number)
            if marked_at is not None and self.world.clock.now() - marked_at >= MIN_GRACE:  # type: ignore[operator] # a datetime
                continue
            assert number in points, f"point {number} is gone"
            assert points[number].state == "available", f"point {number} is not available"
            assert chunks <= here, f"point {number} lost chunks"


def run(seed: int) -> None:
    life = Life(seed)
    actions: list[tuple[int, Callable[[], None]]] = [
        (5, life.back_up),
        (2, life.leave_packs),
        (3, life.mark),
        (1, life.unmark),
        (4, life.wait),
        (4, life.reclaim),
        (2, life.killed),
        (3, life.repack),
    ]
    for step in range(_STEPS):
        weights, choices = zip(*actions, strict=True)
        (act,) = life.random.choices(choices, weights)
        life.trail.append(act.__name__)
        try:
            act()
            life.check()
        except (AssertionError, OverlandError) as error:
            raise AssertionError(f"seed {seed}, step {step}: {life.trail}") from error
    for _ in range(3):
        life.world.clock.advance(MIN_GRACE + timedelta(seconds=1))
        life.reclaim()
        life.check()


@pytest.mark.parametrize("seed", range(25))
def test_no_point_that_was_kept_loses_a_chunk(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaims, "BATCH_OBJECTS", 2)
    run(seed)
