"""How many journeys are lived through, and from which number on."""

import pytest

_SEEDS = 50


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options; they are known when this folder is named on the command line."""
    group = parser.getgroup("simulation")
    group.addoption("--seeds", type=int, default=_SEEDS, help="How many journeys.")
    group.addoption("--first-seed", type=int, default=0, help="The number of the first one.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make each journey a test of its own, so that they can be spread."""
    if "seed" in metafunc.fixturenames:
        count = metafunc.config.getoption("--seeds", _SEEDS)
        first = metafunc.config.getoption("--first-seed", 0)
        metafunc.parametrize("seed", range(first, first + count))
