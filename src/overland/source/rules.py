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
_SHOWN: Final = 200  # of them in a message


class PatternInvalid(RefusedError):
    """An include or exclude pattern cannot be understood."""

    code = "pattern-invalid"

    def __init__(self, pattern: str, *, problem: str) -> None:
        shown = pattern[:_SHOWN] + "…" * (len(pattern) > _SHOWN)
        super().__init__(f"the pattern {shown!r} is not valid: {problem}")
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
        expression = rb"(?>.*/)?" + expression
    try:
        return negated, folders_only, re.compile(expression, re.DOTALL).fullmatch
    except re.error as error:
        raise PatternInvalid(pattern, problem=error.msg) from None


def _translated(pattern: str, body: bytes) -> bytes:
    """Return a regular expression that never tries one star's choices against another's.

    A name is foreign bytes: with plain stars, five of them and a name of 255 hyphens take a minute.
    Where more than one star follows, the leftmost match of what stands between two stars leaves
    most to the others, so it is taken and never given back (`(?>…)`).
    """
    runs: list[list[list[bytes]]] = [[[b""]]]  # between `**/`: components, of what is between `*`
    tail, at = b"", 0
    while at < len(body):
        component = runs[-1][-1]
        if body.startswith(b"**/", at) and (at == 0 or body[at - 1 : at] == b"/"):
            runs.append([[b""]])
            at += 3
        elif body[at:] == b"**" and (at == 0 or body[at - 1 : at] == b"/"):
            tail, at = rb".+", at + 2
        elif body[at : at + 1] == b"*":
            component.append(b"")
            at += 1
        elif body[at : at + 1] == b"/":
            component[-1] += b"/"
            runs[-1].append([b""])
            at += 1
        else:
            one, at = _single(pattern, body, at)
            component[-1] += one
    first, *others = (b"".join(map(_starred, components)) for components in runs)
    middle = (rb"(?>(?:[^/]+/)*?" + run + rb")" for run in others[:-1])
    last = (rb"(?:[^/]+/)*" + run for run in others[-1:])
    return b"".join((first, *middle, *last, tail))


def _starred(between: list[bytes]) -> bytes:
    """Return the expression of one component of a path from what stands between its stars."""
    first, *others = between
    middle = (rb"(?>[^/]*?" + fixed + rb")" for fixed in others[:-1])
    last = (rb"[^/]*" + fixed for fixed in others[-1:])
    return b"".join((first, *middle, *last))


def _single(pattern: str, body: bytes, at: int) -> tuple[bytes, int]:
    """Return what stands for one byte of a name, and where the pattern goes on."""
    if body[at : at + 1] == b"?":
        return rb"[^/]", at + 1
    if body[at : at + 1] == b"[":
        return _bracket(pattern, body, at)
    if body[at : at + 1] == b"\\" and at + 1 < len(body):
        at += 1
    return re.escape(body[at : at + 1]), at + 1


def _bracket(pattern: str, body: bytes, at: int) -> tuple[bytes, int]:
    start = at + 1
    negated = body[start : start + 1] in {b"!", b"^"}
    start += negated
    end = body.find(b"]", start + 1)  # a bracket right after the opening one stands for itself
    if end < 0:
        raise PatternInvalid(pattern, problem="a bracket is not closed")
    inside = body[start:end].replace(b"\\", rb"\\").replace(b"[", rb"\[").replace(b"]", rb"\]")
    for doubled in (b"^", b"&", b"~", b"|"):  # `&&` and its like may come to mean set operations
        inside = inside.replace(doubled, b"\\" + doubled)
    inside = inside.replace(b"--", rb"-\-")
    return b"[" + (b"^/" if negated else b"") + inside + b"]", end + 1
