"""Lives through stories and tells what happened: `python -m tests.simulation.actions.tell SEED …`.

Also of a story that fails: what happened until then, and why.
"""

import contextlib
import fcntl
import io
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.simulation.actions.story import Story
from tests.support.torture import fast_folder

__all__ = ["folder_of", "live", "main"]


def live(seed: int) -> list[str]:
    """Live through the story of a number; return what happened."""
    with folder_of("story", seed) as folder:
        story = Story(folder, seed)
        try:
            story.play()
        except BaseException as error:
            options = f"--action-seeds 1 --first-action-seed {seed}"
            again = f"./dev test tests/simulation -k actions {options}"
            error.add_note("\n".join(("what happened:", *story.trail, f"again: {again}")))
            raise
    return story.trail


@contextlib.contextmanager
def folder_of(kind: str, seed: int) -> Iterator[Path]:
    """Yield an empty folder with the kind and the number in its name, for one process at a time.

    Points say where the source was, and key changes have the digests of points in them and in their
    names: in a folder with another name it would not be the same story.
    """
    with fast_folder() as other:
        folder = other.with_name(f"overland-{kind}-{os.getuid()}-{seed}")
    with contextlib.ExitStack() as held:
        while True:
            folder.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):  # who had it has removed it
                if os.path.samestat(os.fstat(lock), folder.stat()):
                    break
        for left in folder.iterdir():  # by a process that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


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
