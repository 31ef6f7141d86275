"""How many random histories, and which."""

import pytest

_HISTORIES = 12


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options; they are known when this folder is named on the command line."""
    group = parser.getgroup("histories")
    group.addoption("--histories", type=int, default=_HISTORIES, help="How many histories.")
    group.addoption("--first-history", type=int, default=0, help="The number of the first one.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make each history a test of its own, so that they can be spread."""
    if "history_seed" in metafunc.fixturenames:
        count = metafunc.config.getoption("--histories", _HISTORIES)
        first = metafunc.config.getoption("--first-history", 0)
        metafunc.parametrize("history_seed", range(first, first + count))
