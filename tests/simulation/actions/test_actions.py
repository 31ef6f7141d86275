"""Random stories against an independent model of what must be restorable; see `story.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.actions.tell import live

pytestmark = pytest.mark.slow


def test_what_must_be_restorable_is_restored(action_seed: int) -> None:
    """Whatever is killed, damaged, forgotten, reclaimed and repacked in between."""
    sys.stdout.write("\n".join(live(action_seed)))  # shown by -rP


def test_a_number_tells_the_same_story_again_in_another_process() -> None:
    """In another folder, at another time, and whatever order sets have there."""
    numbers = ["3", "17", "105"]
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation.actions.tell", *numbers],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONHASHSEED": order},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for order in ("1", "2")
    ]
    assert "story 105" in told[0]
    assert told[0] == told[1]
