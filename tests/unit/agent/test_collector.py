"""The collector of cycles during a backup."""

import gc
from collections.abc import Iterator

import pytest

from overland.agent.backup.collector import collecting_rarely


@pytest.fixture(autouse=True)
def as_python_has_it() -> Iterator[None]:
    """Commands look seldom anyway, and any test before may have loaded one."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_cycles_are_looked_for_as_before_whatever_happened_inside() -> None:
    before = gc.get_threshold()
    with pytest.raises(RuntimeError):
        _fail_inside(before)
    assert gc.get_threshold() == before


def _fail_inside(before: tuple[int, int, int]) -> None:
    with collecting_rarely():
        assert gc.get_threshold()[0] > before[0]
        assert gc.isenabled(), "memory stays bounded, whatever somebody else leaves behind"
        raise RuntimeError
