"""Random stories against an independent model of what must be restorable; see `story.py`."""

import sys

import pytest
from tests.simulation.actions.story import Story
from tests.support.torture import fast_folder

pytestmark = pytest.mark.slow


def live(seed: int) -> list[str]:
    """Live through the story of a number; return what happened."""
    with fast_folder() as folder:
        story = Story(folder, seed)
        try:
            story.play()
        except BaseException as error:
            options = f"--action-seeds 1 --first-action-seed {seed}"
            again = f"./dev test tests/simulation -k actions {options}"
            error.add_note("\n".join(("what happened:", *story.trail, f"again: {again}")))
            raise
    return story.trail


def test_what_must_be_restorable_is_restored(action_seed: int) -> None:
    """Whatever is killed, damaged, forgotten, reclaimed and repacked in between."""
    sys.stdout.write("\n".join(live(action_seed)))  # shown by -rP


@pytest.mark.parametrize("seed", [3, 17])
def test_a_number_tells_the_same_story_again(seed: int) -> None:
    assert live(seed) == live(seed)
