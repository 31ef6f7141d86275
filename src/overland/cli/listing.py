"""A command's result that is a list of any length, printed without being held.

To people each row is a line, as soon as it is known.  With `--json` it is the same one document
that `show` prints, and nothing of it is printed before all of it is known: an error that comes
after the first row still leaves one document on standard output, which says so.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from tempfile import TemporaryFile
from typing import Final, TypeVar

import msgspec

from overland.cli.outcome import say, telling

__all__ = ["show_rows"]

_TOGETHER: Final = 500  # rows printed at once; each print is flushed

_T = TypeVar("_T")


def show_rows(rows: Iterable[object], *, as_json: bool) -> None:
    """Print rows as one JSON array, or each as a line for people.

    Raises:
        OutputLost, BrokenPipeError: As `say`.
    """
    if not as_json:
        for some in _pieces(rows):
            say("\n".join(map(str, some)))
        return
    with TemporaryFile() as kept:
        divider = b"[\n"
        for some in _pieces(rows):
            text = msgspec.json.format(msgspec.json.encode(some))
            kept.write(divider + text.removeprefix(b"[\n").removesuffix(b"\n]"))
            divider = b",\n"
        kept.write(b"[]\n" if divider == b"[\n" else b"\n]\n")
        kept.seek(0)
        if sys.stdout is None:  # as Python has it where the descriptor was closed at the start
            return
        with telling():
            shutil.copyfileobj(kept, sys.stdout.buffer)
            sys.stdout.flush()


def _pieces(rows: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(rows)
    while some := list(islice(rest, _TOGETHER)):
        yield some
