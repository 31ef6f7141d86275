"""Which paths a policy includes and excludes, in the manner of gitignore.

A pattern is matched against the path below its root, as bytes:

* `*` stands for any characters but `/`, `?` for one of them, `[a-z]` and `[!a-z]` for one of a set;
* `**/` at the start or between slashes stands for any number of folders, `/**` at the end for
  everything below;
* a pattern with a `/` before its end is anchored to the root, others match at any depth;
* a `/` at the end makes it match folders only;
* `!` before it takes back what an earlier pattern excluded; the last pattern that matches decides.

A folder that is excluded is not entered, so that nothing below it can be taken back.  With include
patterns only files that match one of them, or that lie in a folder that does, are backed up;
folders on the way to them are kept.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, final

from overland.errors import RefusedError

__all__ = ["PatternInvalid", "Rules", "keep_everything"]


_LONGEST: Final = 4096  # characters of a text in a recovery point


class PatternInvalid(RefusedError):
    """An include or exclude pattern cannot be understood."""

    code = "pattern-invalid"

    def __init__(self, pattern: str, *, problem: str) -> None:
        super().__init__(f"the pattern {pattern!r} is not valid: {problem}")
        self.pattern, self.problem = pattern, problem


@final
class Rules:
    """The include and exclude patterns of a policy, compiled."""

    def __init__(self, *, include: Sequence[str], exclude: Sequence[str]) -> None:
        """Compile the patterns.

        Raises:
            PatternInvalid: One of them is empty, has an open bracket, or cannot be kept with a
                recovery point.
        """
        self._exclude = [_compiled(pattern) for pattern in exclude]
        self._include = [_compiled(pattern) for pattern in include]

    @property
    def keeps_everything(self) -> bool:
        """Whether no pattern can leave anything out."""
        return not self._exclude and not self._include

    def keeps(self, path: bytes, *, is_folder: bool, is_included: bool) -> bool:
        """Return whether a path below its root is backed up.

        Args:
            path: Relative to the root, without a leading `/`.
            is_folder: Whether it is a folder; one that is kept is entered.
            is_included: What `includes` said of the folder that it lies in.
        """
        excluded = False
        for negated, folders_only, match in self._exclude:
            if (is_folder or not folders_only) and match(path):
                excluded = not negated
        if excluded:
            return False
        return is_folder or is_included or self._matches_include(path, is_folder=False)

    def includes(self, path: bytes, *, is_included: bool) -> bool:
        """Return whether everything in the folder `path` (b"" for the root) is included."""
        return not self._include or is_included or self._matches_include(path, is_folder=True)

    def _matches_include(self, path: bytes, *, is_folder: bool) -> bool:
        included = False
        for negated, folders_only, match in self._include:
            if (is_folder or not folders_only) and match(path):
                included = not negated
        return included


keep_everything = Rules(include=(), exclude=())
"""The rules of a policy without patterns."""


def _compiled(pattern: str) -> tuple[bool, bool, Callable[[bytes], object]]:
    if len(pattern) > _LONGEST:
        raise PatternInvalid(pattern, problem=f"it has more than {_LONGEST:,} characters")
    if any("\ud800" <= character <= "\udfff" for character in pattern):
        raise PatternInvalid(pattern, problem="it is not UTF-8; write `?` for foreign bytes")
    negated = pattern.startswith("!")
    body = pattern[1:] if negated else pattern
    folders_only = body.endswith("/")
    body = body.rstrip("/")
    if not body:
        raise PatternInvalid(pattern, problem="it is empty")
    anchored = "/" in body
    expression = _translated(pattern, body.lstrip("/").encode())
    if not anchored:
        expression = rb"(?:.*/)?" + expression
    try:
        return negated, folders_only, re.compile(expression, re.DOTALL).fullmatch
    except re.error as error:
        raise PatternInvalid(pattern, problem=error.msg) from None


def _translated(pattern: str, body: bytes) -> bytes:
    out, at = b"", 0
    while at < len(body):
        if body.startswith(b"**/", at) and (at == 0 or body[at - 1 : at] == b"/"):
            out, at = out + rb"(?:[^/]+/)*", at + 3
        elif body[at:] == b"**" and (at == 0 or body[at - 1 : at] == b"/"):
            out, at = out + rb".+", at + 2
        elif body[at : at + 1] == b"*":
            out, at = out + rb"[^/]*", at + 1
        elif body[at : at + 1] == b"?":
            out, at = out + rb"[^/]", at + 1
        elif body[at : at + 1] == b"[":
            part, at = _bracket(pattern, body, at)
            out += part
        else:
            if body[at : at + 1] == b"\\" and at + 1 < len(body):
                at += 1
            out, at = out + re.escape(body[at : at + 1]), at + 1
    return out


def _bracket(pattern: str, body: bytes, at: int) -> tuple[bytes, int]:
    start = at + 1
    negated = body[start : start + 1] in {b"!", b"^"}
    start += negated
    end = body.find(b"]", start + 1)  # a bracket right after the opening one stands for itself
    if end < 0:
        raise PatternInvalid(pattern, problem="a bracket is not closed")
    inside = body[start:end].replace(b"\\", rb"\\").replace(b"[", rb"\[").replace(b"]", rb"\]")
    return b"[" + (b"^/" if negated else b"") + inside.replace(b"^", rb"\^") + b"]", end + 1
