"""The whole journey from one number, with what goes wrong on it; see `tests/support/journey.py`."""

import sys

import pytest
from tests.support.journey import Scene
from tests.support.journey_story import tell
from tests.support.torture import fast_folder

pytestmark = pytest.mark.slow


def test_a_restored_byte_is_the_byte_that_was_backed_up(seed: int) -> None:
    """Whatever happens between source and restore, and nobody between them can read it."""
    with fast_folder() as folder:
        scene = Scene(folder, seed)
        try:
            tell(scene)
        except BaseException as error:
            again = f"./dev test tests/simulation --seeds 1 --first-seed {seed}"
            error.add_note("\n".join(("what happened:", *scene.trail, f"again: {again}")))
            raise
        finally:
            scene.close()
        sys.stdout.write("\n".join(scene.trail))  # shown by -rP
