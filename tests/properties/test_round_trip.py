"""What was backed up is what is restored: any tree, after any changes, from any of its points."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.backed_up import BackedUp
from tests.support.random_trees import Node, build_tree, mutate, trees
from tests.support.torture import build_torture, fast_folder

from overland.agent.compare import compare_trees


@contextmanager
def world() -> Iterator[BackedUp]:
    with fast_folder() as folder:
        yield BackedUp(folder)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees())
def test_any_tree_comes_back_as_it_was(tree: dict[bytes, Node]) -> None:
    with world() as backed:
        build_tree(backed.source, tree)
        backed.back_up()
        report = backed.restore()
        assert report.shortfalls == []
        assert compare_trees(backed.source, backed.target).differences == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees(), seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=3))
def test_every_point_of_a_changing_tree_comes_back(
    tree: dict[bytes, Node], seeds: list[int]
) -> None:
    with world() as backed:
        build_tree(backed.source, tree)
        backed.back_up()
        backed.restore(0, target=backed.target / "0")
        assert compare_trees(backed.source, backed.target / "0").equal
        for number, seed in enumerate(seeds, start=1):
            mutate(backed.source, seed)
            backed.back_up()
            backed.restore(number, target=backed.target / f"{number}")
            found = compare_trees(backed.source, backed.target / f"{number}")
            assert found.differences == [], f"after change {number}"
        for number in range(len(seeds)):  # older points, now that newer ones exist
            backed.restore(number, target=backed.target / f"{number} again")
            found = compare_trees(backed.target / f"{number}", backed.target / f"{number} again")
            assert found.differences == [], f"point {number} changed when later ones were made"


@pytest.mark.parametrize("verify", [False, True], ids=["", "verified"])
def test_the_torture_tree_comes_back_through_changes(*, verify: bool) -> None:
    with world() as backed:
        build_torture(backed.source)
        backed.back_up()
        for number in range(2):
            backed.restore(-1, target=backed.target / f"{number}", verify=verify)
            found = compare_trees(backed.source, backed.target / f"{number}")
            assert found.differences == []
            assert found.entries > 450
            mutate(backed.source, number)
            backed.back_up()
        backed.restore(0, target=backed.target / "0 again")
        assert compare_trees(backed.target / "0", backed.target / "0 again").differences == []
