"""Several source computers' runs record points while reclaim deletes; nobody loses anything."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.landed import pack
from tests.support.reclaiming import DAY, Reclaiming, point_id_of
from tests.support.simdisk import SimDisk

from overland.adapters.database import open_database
from overland.values import PointId
from overland.vault import chains
from overland.vault import reclaim as reclaims
from overland.vault.marks import PointReclaimed, PointStays

pytestmark = pytest.mark.crash

_WRITERS = 3
_POINTS = 12
_MOST_POINTS = 90
_TRIES = 200
_OF_NOBODY = 2  # objects that are deleted whatever the writers do: the first point's pack and file
_PATIENCE_S = 1.0


class Writer:
    """A run that makes points of packs that an interrupted run, or a deleted point, has left."""

    def __init__(
        self, world: Reclaiming, first: int, ran: threading.Event, met: threading.Event
    ) -> None:
        self.world, self.first, self.ran, self.met = world, first, ran, met

    def write(self) -> list[int]:
        numbers: list[int] = []
        for turn, number in enumerate(range(self.first, self.first + _MOST_POINTS)):
            if turn >= _POINTS and self.met.is_set():
                break
            numbers.append(number)
            labels = [f"shared {(turn + n) % 5}" for n in range(3)]
            self.record(self.world.put_point(number, labels), labels)
            assert all(pack(label)[0] in self.world.held() for label in labels)
            with contextlib.suppress(PointStays):
                self.world.mark(number)  # the next ones find its packs, and may see them go
                if turn % 2:
                    self.take_back(number)
            if turn % 4 == 3:
                self.ran.clear()
                self.ran.wait(_PATIENCE_S)  # or reclaim gives way to the writers all the time
        return numbers

    def take_back(self, number: int) -> None:
        """Take the mark back, unless its two weeks have passed: here a run makes fifteen days."""
        with contextlib.suppress(PointReclaimed, KeyError):
            self.world.unmark(number)

    def record(self, point_id: PointId, labels: list[str]) -> None:
        for _ in range(_TRIES):
            point = chains.look_again(lambda: self.world.record(point_id))
            if point.state == "available":
                return
            for label in labels:
                self.world.put(*pack(label))
        pytest.fail(f"point {point_id} never became whole")


@pytest.mark.parametrize("seed", range(2))
def test_points_recorded_while_reclaim_runs_are_whole(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reclaims, "BATCH_OBJECTS", 1)
    database = open_database(tmp_path / "cloud.db", "cloud")
    world = Reclaiming(disk=SimDisk(seed=seed), database=database)
    world.back_up(1)
    world.back_up(2)
    world.mark(1)  # so something can be deleted, however much of the rest is taken up again
    ended, ran, met = threading.Event(), threading.Event(), threading.Event()

    def delete() -> int:
        deleted = 0
        while not ended.is_set() or not deleted:
            world.clock.advance(15 * DAY)
            deleted += world.run().objects_deleted
            if deleted > _OF_NOBODY:
                met.set()
            ran.set()
        return deleted

    with ThreadPoolExecutor(_WRITERS + 1) as threads:
        reclaiming = threads.submit(delete)
        writers = [Writer(world, 100 * (each + 1), ran, met) for each in range(_WRITERS)]
        try:
            written = list(threads.map(Writer.write, writers))
        finally:
            ended.set()
        assert reclaiming.result() > _OF_NOBODY, "there was something to lose"
    living = {n for n, each in world.points().items() if each.reclaimed_at is None}
    for number in living & {each for numbers in written for each in numbers}:
        assert world.record(point_id_of(number)).state == "available"
    database.dispose()
