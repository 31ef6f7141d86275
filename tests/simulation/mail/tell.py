"""Lives through stories of seeds in the mail: `python -m tests.simulation.mail.tell SEED …`.

Also of a story that fails: what happened until then, and why.
"""

import contextlib
import io
import sys
import traceback
from collections.abc import Sequence

from tests.simulation.actions.tell import folder_of
from tests.simulation.mail.story import Story

__all__ = ["live", "main"]


def live(seed: int) -> list[str]:
    """Live through the story of a number; return what happened."""
    with folder_of("mail", seed) as folder:
        story = Story(folder, seed)
        try:
            story.play()
        except BaseException as error:
            again = f"./dev test tests/simulation/mail --seeds 1 --first-seed {seed}"
            error.add_note("\n".join(("what happened:", *story.trail, f"again: {again}")))
            raise
        finally:
            story.close()
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
            told = [*getattr(error, "__notes__", ()), *traceback.format_exception(error)[-6:]]
        sys.stdout.write("\n".join([f"story {seed}", *told, ""]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
