"""How many journeys and stories are lived through, and from which number on."""

import pytest

_SEEDS = 50
_ACTION_SEEDS = 200
_MAIL_SEEDS = 14


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; they are known when this folder is named on the command line."""
    group = parser.getgroup("simulation")
    group.addoption("--seeds", type=int, help="How many journeys, and stories of the mail.")
    group.addoption("--first-seed", type=int, default=0, help="The number of the first one.")
    group.addoption("--action-seeds", type=int, default=_ACTION_SEEDS, help="How many stories.")
    group.addoption("--first-action-seed", type=int, default=0, help="The first one's number.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make each journey and story a test of its own, so that they can be spread."""
    for fixture, option, count in (
        ("seed", "seeds", _SEEDS),
        ("action_seed", "action-seeds", _ACTION_SEEDS),
        ("mail_seed", "seeds", _MAIL_SEEDS),
    ):
        if fixture in metafunc.fixturenames and not metafunc.definition.get_closest_marker(
            "parametrize"
        ):
            given = metafunc.config.getoption(f"--{option}", None)
            wanted = count if given is None else given
            first = metafunc.config.getoption(f"--first-{option.removesuffix('s')}", 0)
            metafunc.parametrize(fixture, range(first, first + wanted))
