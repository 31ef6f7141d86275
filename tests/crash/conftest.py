"""How long the hammer strikes, and with which number."""

import pytest

_ROUNDS = 2
_COMPUTERS = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; they are known when this folder is named on the command line."""
    group = parser.getgroup("hammer")
    group.addoption("--hammer-rounds", type=int, default=_ROUNDS, help="Per source computer.")
    group.addoption("--hammer-computers", type=int, default=_COMPUTERS, help="Source computers.")
    group.addoption("--hammer-seed", type=int, default=0, help="The number of the run.")


@pytest.fixture
def hammer_rounds(request: pytest.FixtureRequest) -> int:
    """How often each source computer backs up."""
    rounds: int = request.config.getoption("--hammer-rounds", _ROUNDS)
    return rounds


@pytest.fixture
def hammer_computers(request: pytest.FixtureRequest) -> int:
    """How many source computers there are."""
    computers: int = request.config.getoption("--hammer-computers", _COMPUTERS)
    return computers


@pytest.fixture
def hammer_seed(request: pytest.FixtureRequest) -> int:
    """The number that all random choices come from."""
    seed: int = request.config.getoption("--hammer-seed", 0)
    return seed
