"""Short files are read by one thread at a time, and all the same by several from a slow disk."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.backed_up import BackedUp
from tests.support.torture import fast_folder

from overland.agent.backup import turns, workers
from overland.agent.backup.turns import Turns
from overland.agent.compare import compare_trees
from overland.source.reader import WholeFile, read_whole

FOLDERS, FILES = 6, 150


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still: this machine may be slow."""
    now = [0.0]
    monkeypatch.setattr(turns, "_now_s", lambda: now[0])
    return now


class Inside:
    """How many threads are inside at once, at most."""

    def __init__(self) -> None:
        self.most = self.times = self._now = 0
        self._lock = threading.Lock()

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.times += 1
            self.most = max(self.most, self._now)
        yield
        with self._lock:
            self._now -= 1


def two_at_once(taken: Turns) -> bool:
    """Return whether somebody else may come in before one has left."""
    is_in = threading.Event()

    def other() -> None:
        with taken.one(100):
            is_in.set()

    thread = threading.Thread(target=other)
    with taken.one(100):
        thread.start()
        came_in = is_in.wait(0.2)
    thread.join()
    return came_in


def test_one_at_a_time_is_inside() -> None:
    taken = Turns()
    for _ in range(3):
        assert not two_at_once(taken)


def test_a_turn_ends_with_a_failure() -> None:
    taken = Turns()
    with pytest.raises(OSError, match="gone"), taken.one(100):
        raise OSError("gone")
    with taken.one(100):
        pass


def test_after_much_was_read_from_a_disk_all_go_on_side_by_side_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken, read = Turns(), iter([0, turns._MANY_BLOCKS])
    monkeypatch.setattr(turns, "_blocks_read", lambda: next(read, turns._MANY_BLOCKS))
    with taken.one(100):
        pass

    assert two_at_once(taken)

    for _ in range(turns._SIDE_BY_SIDE):
        with taken.one(100):
            pass
    assert not two_at_once(taken), "the disk is not looked at again"


def test_after_a_very_long_turn_all_go_on_side_by_side(clock: list[float]) -> None:
    taken = Turns()
    with taken.one(100):
        clock[0] += 99 * turns._SLOW_S
    assert not two_at_once(taken)

    with taken.one(100):
        clock[0] += 101 * turns._SLOW_S
    assert two_at_once(taken)


def test_a_short_pause_with_few_files_ends_no_turns(clock: list[float]) -> None:
    taken = Turns()
    with taken.one(1):
        clock[0] += 10 * turns._SLOW_S
    assert not two_at_once(taken)


def test_few_blocks_from_a_disk_end_no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, read = Turns(), iter([0, turns._MANY_BLOCKS - 1])
    monkeypatch.setattr(turns, "_blocks_read", lambda: next(read, turns._MANY_BLOCKS))
    with taken.one(100):
        pass

    assert not two_at_once(taken)


@pytest.mark.parametrize("is_slow", [False, True], ids=["memory", "disk"])
def test_a_backup_reads_short_files_in_turn_and_stores_them_all(
    monkeypatch: pytest.MonkeyPatch, *, is_slow: bool
) -> None:
    inside = Inside()

    def noted(
        name: bytes, *, parent_fd: int, expected: os.stat_result, buffer: memoryview
    ) -> WholeFile | None:
        with inside.counted():
            return read_whole(name, parent_fd=parent_fd, expected=expected, buffer=buffer)

    monkeypatch.setattr(workers, "read_whole", noted)
    if is_slow:
        blocks = iter(range(0, 1 << 40, turns._MANY_BLOCKS))
        monkeypatch.setattr(turns, "_blocks_read", lambda: next(blocks))
    with fast_folder() as folder:
        backed = BackedUp(folder)
        _write(backed.source)
        backed.back_up()
        backed.restore()
        found = compare_trees(backed.source, backed.target)

    assert found.equal, found.differences
    assert inside.times == FOLDERS * FILES
    assert is_slow or inside.most == 1


def _write(source: Path) -> None:
    for number in range(FOLDERS):
        (source / str(number)).mkdir(parents=True)
        for each in range(FILES):
            (source / str(number) / str(each)).write_bytes(b"%d of %d" % (each, number) * each)
