"""Random stories of seeds in the mail, and of runs over a bad line; see `story.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.mail.tell import live

pytestmark = pytest.mark.slow


def test_what_is_in_the_mail_is_restorable_and_is_not_sent_again(mail_seed: int) -> None:
    """Whatever is killed, lost, damaged, made again, given up, or spoilt on the line."""
    sys.stdout.write("\n".join(live(mail_seed)))  # shown by -rP


def test_a_number_tells_the_same_story_again_in_another_process() -> None:
    """At another time, and whatever order sets have there."""
    numbers = ["1", "15"]
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation.mail.tell", *numbers],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONHASHSEED": order},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for order in ("1", "2")
    ]
    assert "story 15" in told[0]
    assert told[0] == told[1]
