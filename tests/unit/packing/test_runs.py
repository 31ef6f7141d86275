"""Runs: positions as a plain search finds them, merges as a plain sort makes them."""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from overland.packing import runs as packing_runs
from overland.packing.runs import NewRuns, Run, merged_slices, sorted_run
from overland.packing.tables import Piece

LAST = 2**64 - 1
SHAPES = ["even", "low", "crowded", "equal", "two heaps"]


def keys_of(shape: str, count: int, seed: int) -> NDArray[np.uint64]:
    """Keys as ids have them, and as they never should be."""
    source = random.Random(seed)
    draws: dict[str, Callable[[], int]] = {
        "even": lambda: source.randrange(2**64),
        "low": lambda: source.randrange(1000),
        "crowded": lambda: source.choice([0, 1, 2**63, LAST - 1, LAST]),
        "equal": lambda: 7 << 50,
        "two heaps": lambda: source.choice([0, LAST - 5000]) + source.randrange(5000),
    }
    return np.array([draws[shape]() for _ in range(count)], np.uint64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [64, 65, 1000, 20_000])
def test_a_guessed_position_is_the_one_that_is_searched(
    monkeypatch: pytest.MonkeyPatch, shape: str, count: int
) -> None:
    monkeypatch.setattr(packing_runs, "_LONG", 64)
    keys = np.sort(keys_of(shape, count, seed=1))
    run = Run(Piece(keys, digests=None), Piece(np.arange(count, dtype=np.uint32), digests=None))
    near = np.concatenate([keys[:500], keys[:500] + np.uint64(1), keys[-500:] - np.uint64(1)])
    wanted = np.concatenate([near, keys_of("even", 500, seed=2), np.array([0, LAST], np.uint64)])
    for is_cold in (False, True):
        found = run.positions(wanted, is_cold=is_cold)
        assert (found == np.searchsorted(keys, wanted)).all()


@pytest.mark.parametrize("place", ["in memory", "in a scratch file"])
@given(
    parts=st.lists(
        st.tuples(st.sampled_from(SHAPES), st.integers(0, 300), st.integers(0, 99)), max_size=12
    )
)
@settings(max_examples=60, deadline=None)
def test_runs_hold_what_was_added_and_pass_over_none_of_it(
    tmp_path_factory: pytest.TempPathFactory, place: str, parts: list[tuple[str, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing_runs, "_IN_MEMORY", 100)
        patch.setattr(packing_runs, "_MERGED_AT_ONCE", 30)
        patch.setattr(packing_runs, "_FILTERED", 250)
        patch.setattr(packing_runs, "_FILTER_BITS", 12)
        new = NewRuns(scratch=None if place == "in memory" else folder)
        all_keys = np.empty(0, np.uint64)
        for part in parts:
            keys = keys_of(*part)
            new.add(sorted_run(keys, first_row=len(all_keys)))
            all_keys = np.concatenate([all_keys, keys])
            assert new.may_know(all_keys).all()
        merged = new.merged()
    lengths = [len(run.keys) for run in new.runs]
    assert all(2 * later <= earlier for earlier, later in pairwise(lengths))
    assert list(folder.iterdir()) == []
    order = np.argsort(all_keys, kind="stable")
    assert (merged.keys.rows == all_keys[order]).all()
    assert (merged.rows.rows == order).all(), "of equal keys, the earlier one comes first"


def test_a_filter_passes_over_most_of_what_no_run_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing_runs, "_FILTERED", 1000)
    new = NewRuns(scratch=None)
    new.add(sorted_run(keys_of("even", 999, seed=1), first_row=0))
    absent = keys_of("even", 1000, seed=3)
    assert new.may_know(absent).all(), "few keys are searched as fast"
    new.add(sorted_run(keys_of("even", 1, seed=2), first_row=999))
    assert not new.may_know(absent).any()
    assert not NewRuns(scratch=None).may_know(absent).any()


def test_merging_yields_nothing_of_nothing(tmp_path: Path) -> None:
    assert len(NewRuns(scratch=tmp_path).merged().keys) == 0
    nothing = NewRuns(scratch=None).merged()
    assert [len(keys) for keys, _ in merged_slices([nothing])] in ([], [0])
