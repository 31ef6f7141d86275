"""Real processes, killed with SIGKILL at random moments, lose nothing that was promised.

One cloud, several source computers that back up, repack, delete points and restore, and reclaim
all the while, by a clock that runs through weeks.  What the operating system decides does not
follow from the seed, so a failure shows the order of events too.  For minutes instead of seconds:
`./dev test tests/crash/test_hammer.py --hammer-rounds 60 --hammer-computers 3 --hammer-seed 7`
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.hammered import PATIENCE_S, Hammered, HammeredComputer, Story

pytestmark = [pytest.mark.crash, pytest.mark.slow]

_LIFE_S = 2.5, 8.0
_DAY_S = 0.1, 0.3
_RECLAIM_S = 1.0, 2.0


def test_backups_restores_repacking_and_reclaim_killed_at_random_lose_nothing(
    tmp_path: Path, hammer_rounds: int, hammer_computers: int, hammer_seed: int
) -> None:
    story = Story()
    story.tell("seed", f"--hammer-seed {hammer_seed}")
    cloud = Hammered(tmp_path, random.Random(f"{hammer_seed} cloud"), story)
    computers = [
        HammeredComputer(
            f"computer-{n}", tmp_path / f"{n}", cloud, random.Random(f"{hammer_seed} {n}")
        )
        for n in range(hammer_computers)
    ]
    try:
        with ThreadPoolExecutor(len(computers) + 3) as threads:
            found = threads.submit(cloud.found)
            list(threads.map(HammeredComputer.make_keys, computers))
            found.result()
            list(threads.map(HammeredComputer.register, computers))
            strike(cloud, computers, hammer_rounds, threads)
            proven = list(threads.map(HammeredComputer.prove, computers))
        assert all(each > 0 for each in proven), "something was promised"
        assert cloud.kills > 0, "it was killed at least once"
        assert cloud.deleted() > 0, "something was reclaimed"
    finally:
        if cloud.process is not None and cloud.process.poll() is None:
            cloud.stop()


def strike(
    cloud: Hammered, computers: list[HammeredComputer], rounds: int, threads: ThreadPoolExecutor
) -> None:
    """Let all live, while time passes and the cloud dies; end when something was reclaimed."""
    with (
        repeated(cloud.pass_time, lambda: cloud.rng.uniform(*_DAY_S), threads),
        repeated(cloud.kill, lambda: cloud.rng.uniform(*_LIFE_S), threads),
        repeated(cloud.reclaim, lambda: cloud.rng.uniform(*_RECLAIM_S), threads),
    ):
        for life in [threads.submit(live, each, rounds) for each in computers]:
            life.result()
        until = time.monotonic() + PATIENCE_S
        while not (cloud.deleted() and cloud.kills) and time.monotonic() < until:
            time.sleep(0.1)


def live(computer: HammeredComputer, rounds: int) -> None:
    computer.begin()
    for _ in range(rounds):
        computer.live()
    computer.end()


@contextmanager
def repeated(
    work: Callable[[], object], pause_s: Callable[[], float], threads: ThreadPoolExecutor
) -> Iterator[None]:
    """Do `work` after each pause, in a thread of its own, until the block ends."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(pause_s()):
            work()

    going = threads.submit(go_on)
    try:
        yield
    finally:
        ended.set()
        going.result()
