r"""Files with patterns, one a line, as `--exclude-from` and `--include-from` of a policy name them.

Empty lines, and lines that begin with `#`, say nothing.  Blanks at the end of a line do not count,
unless a `\` stands before them; `\#` and `\!` begin a pattern with that character.  What a
pattern means is in `overland.source.rules`, and `!` takes back what an earlier line excluded.
"""

import os
import stat
from collections.abc import Iterable
from typing import Final

from overland.errors import RefusedError

__all__ = ["PatternFileUnreadable", "patterns_in", "read_patterns"]

_MAX_BYTES: Final = 1 << 20
_MARK: Final = "\ufeff"  # some editors begin a file with it


class PatternFileUnreadable(RefusedError):
    """A file with patterns that a policy names cannot be used; nothing was backed up."""

    code = "pattern-file-unreadable"

    def __init__(self, path: str, *, problem: str) -> None:
        super().__init__(
            f"the patterns in {path} cannot be used: {problem}; put the file right, or take it "
            "out of the policy"
        )
        self.path, self.problem = path, problem


def read_patterns(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns in the files, in order.

    Raises:
        PatternFileUnreadable: A file is not there, no file, not UTF-8, or larger than 1 MiB.
    """
    found: list[str] = []
    for path in paths:
        try:
            with open(path, "rb", opener=_opened) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise PatternFileUnreadable(path, problem="it is not a file")
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            problem = os.strerror(error.errno) if error.errno else "it cannot be read"
            raise PatternFileUnreadable(path, problem=problem) from None
        if len(data) > _MAX_BYTES:
            raise PatternFileUnreadable(path, problem="it is larger than 1 MiB")
        try:
            found += patterns_in(data.decode())
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise PatternFileUnreadable(path, problem=f"line {line} is not UTF-8") from None
    return tuple(found)


def _opened(path: str, flags: int) -> int:
    # Without O_NONBLOCK a pipe of that name would block us for ever.
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def patterns_in(text: str) -> list[str]:
    """Return the patterns that a file's text holds."""
    found: list[str] = []
    for line in text.removeprefix(_MARK).split("\n"):
        pattern = line.removesuffix("\r")
        if not pattern.startswith("#") and (pattern := _without_blanks(pattern)):
            found.append(pattern)
    return found


def _without_blanks(line: str) -> str:
    end = len(line.rstrip(" \t"))
    escapes = end - len(line[:end].rstrip("\\"))
    return line[: end + 1] if escapes % 2 else line[:end]
