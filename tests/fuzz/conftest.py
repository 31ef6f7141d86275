"""How many documents each parser is given."""

import pytest
from hypothesis import settings

_EXAMPLES = 40


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option; it is known when this folder is named on the command line."""
    group = parser.getgroup("fuzz")
    group.addoption(
        "--fuzz-examples", type=int, default=_EXAMPLES, help="Documents for each parser."
    )


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> settings:
    """The settings of a run: as many documents as the command line says."""
    count: int = request.config.getoption("--fuzz-examples", _EXAMPLES)
    return settings(max_examples=count, deadline=None)
