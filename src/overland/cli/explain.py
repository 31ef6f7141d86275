"""`overland explain CODE`: what an error code means, and what to do.

`errors.json`, beside this module, is the one catalogue: this command reads it, and
`docs/reference/errors.md` is made from it.  `original_errors.json` leads from the numbers of
Azure's offline seeding to our codes.
"""

from functools import cache
from importlib import resources
from typing import Final

import click
import msgspec

from overland.cli.outcome import json_option, show
from overland.errors import RefusedError

__all__ = ["Explanation", "Original", "errors_page", "explain", "explanations", "originals"]

_CATALOGUE: Final = "errors.json"
_ORIGINALS: Final = "original_errors.json"
_HEAD: Final = """\
# Errors

Every error of `overland` is one line on standard error, `error: <message> [code]`.
The codes are stable: scripts may rely on them, and the API uses them too.
`overland explain CODE` prints what this page says; [exit codes](exit-codes.md) lists the families.
"""
_ORIGINALS_HEAD: Final = """\
## Numbers of the original

Runbooks for Azure's offline seeding name errors by number.
`overland explain NUMBER` leads to what is said here.

| number | meaning | here |
|---|---|---|
"""


class Explanation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An error code in words: what it means, how it comes about, and what to do."""

    code: str
    meaning: str
    cause: str
    next: str


class Original(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An error number of Azure's offline seeding: our code, or what happens here instead."""

    original: str
    meaning: str
    code: str | None = None
    instead: str = ""


@cache
def explanations() -> dict[str, Explanation]:
    """Return every error code with its explanation, sorted by code."""
    text = resources.files("overland.cli").joinpath(_CATALOGUE).read_bytes()
    found = msgspec.json.decode(text, type=list[Explanation])
    return {each.code: each for each in found}


@cache
def originals() -> dict[str, Original]:
    """Return the error numbers of Azure's offline seeding."""
    text = resources.files("overland.cli").joinpath(_ORIGINALS).read_bytes()
    return {each.original: each for each in msgspec.json.decode(text, type=list[Original])}


def errors_page() -> str:
    """Return the text of `docs/reference/errors.md`, one sentence per line."""
    parts = [_HEAD]
    for each in explanations().values():
        lines = [f"## {each.code}", "", each.meaning, each.cause, *_sentences(each.next)]
        parts.append("\n".join(lines) + "\n")
    rows = [_original_row(each) for each in originals().values()]
    return "\n".join([*parts, _ORIGINALS_HEAD + "\n".join(rows) + "\n"])


@click.command(cls=click.Command)
@click.argument("code", required=False)
@json_option
def explain(code: str | None, *, as_json: bool) -> None:
    """Tell what the error CODE means and what to do; without CODE, list all codes.

    CODE is the word in brackets at the end of an error's line, or the number that Azure's offline
    seeding has for it.
    """
    known = explanations()
    if code is None:
        width = max(len(each) for each in known)
        lines = [f"{each.code:<{width}}  {_plain(each.meaning)}" for each in known.values()]
        show(list(known.values()), "\n".join(lines), as_json=as_json)
        return
    original = originals().get(code.strip("[]").lower())
    if original is not None and not original.code:
        show(original, f"{_head(original)}\n{_plain(original.instead)}", as_json=as_json)
        return
    found = known.get((original and original.code) or code.strip("[]").lower())
    if found is None:
        raise RefusedError(
            f"there is no error code {code!r}; `overland explain` without a code lists them"
        )
    head = f"{_head(original)}\n" if original else ""
    text = _plain(f"{found.code}: {found.meaning}\n{found.cause}\n{found.next}")
    show(found, head + text, as_json=as_json)


def _head(original: Original) -> str:
    return f"{original.original} of Azure's offline seeding: {original.meaning}."


def _original_row(each: Original) -> str:
    here = f"[{each.code}](#{each.code})" if each.code else each.instead
    return f"| {each.original} | {each.meaning} | {here} |"


def _sentences(text: str) -> list[str]:
    return text.replace(". ", ".\n").splitlines()


def _plain(text: str) -> str:
    """Return text without the marks of Markdown's links."""
    out = ""
    while "](" in text:
        before, _, rest = text.partition("](")
        start, _, label = before.rpartition("[")
        out, text = f"{out}{start}{label}", rest.partition(")")[2]
    return out + text
