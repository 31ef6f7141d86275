"""Lives through stories and tells what happened: `python -m tests.simulation.actions.tell SEED …`.

Also of a story that fails: what happened until then, and why.
"""

import contextlib
import io
import sys
from collections.abc import Sequence

from tests.simulation.actions.story import Story
from tests.support.torture import fast_folder

__all__ = ["live", "main"]


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


def main(arguments: Sequence[str]) -> int:
    """Tell the stories of some numbers; return 1 if one broke a promise."""
    failed = False
    for seed in map(int, arguments):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # what the program logs
                told = live(seed)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is told
            failed = True
            told = [*error.__notes__, f"{type(error).__name__}: {error}"]
        sys.stdout.write("\n".join([f"story {seed}", *told, ""]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
