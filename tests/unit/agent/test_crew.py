"""Threads start with the first work, once, and what they fail with comes out."""

import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.backed_up import BackedUp

from overland.agent.backup.crew import Crew, Take
from overland.agent.backup.publisher import Publisher
from overland.agent.backup.workers import Workers
from overland.crypto.masterkey import Subkeys
from overland.packing.chainindex import ChainIndex
from overland.sealing.dedup import Dedup


def test_without_work_no_thread_starts() -> None:
    begun = threading.Event()

    def body(take: Take[int]) -> None:
        begun.set()
        while take() is not None:
            pass

    crew = Crew[int]("idle", [body], limit=1)
    crew.raise_failure()
    assert crew.end() == []
    assert not begun.is_set()


def test_many_who_hand_over_at_once_start_each_body_once() -> None:
    begun: list[int] = []
    done: list[int] = []

    def body(take: Take[int]) -> None:
        begun.append(1)
        while (work := take()) is not None:
            done.append(work)

    crew = Crew[int]("busy", [body, body], limit=2)
    with ThreadPoolExecutor(4) as hands:
        list(hands.map(crew.hand_over, range(1, 101)))
    assert crew.end() == []
    assert sorted(done) == list(range(1, 101))
    assert len(begun) == 2


def test_what_a_body_fails_with_comes_out_where_work_is_handed_over() -> None:
    def body(take: Take[int]) -> None:
        take()
        raise OSError("the device failed")

    crew = Crew[int]("failing", [body], limit=1)

    def hand_over_for_ever() -> None:
        while True:
            crew.hand_over(1)

    with pytest.raises(OSError, match="the device failed"):
        hand_over_for_ever()
    assert set(crew.end()) <= {1}


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Until the test's end Python does not look for garbage that refers to itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_what_a_run_held_is_free_when_it_ends(tmp_path: Path) -> None:
    """Keys and index of a run do not wait, in an agent that goes on, for the next one's."""
    backed = BackedUp(tmp_path)
    backed.source.mkdir()
    held = {Workers, Publisher, Dedup, ChainIndex, Subkeys}
    before = {id(each) for each in gc.get_objects() if type(each) in held}
    for size in (100_000, 200_000):
        (backed.source / "file").write_bytes(os.urandom(size))
        backed.back_up()
    left = [each for each in gc.get_objects() if type(each) in held and id(each) not in before]
    assert [type(each).__name__ for each in left] == []
