"""`overland explain CODE`: what an error code means, and what to do.

`errors.json`, beside this module, is the one catalogue: this command reads it, and
`docs/reference/errors.md` is made from it.
"""

from functools import cache
from importlib import resources
from typing import Final

import click
import msgspec

from overland.cli.outcome import json_option, show
from overland.errors import RefusedError

__all__ = ["Explanation", "errors_page", "explain", "explanations"]

_CATALOGUE: Final = "errors.json"
_HEAD: Final = """\
# Errors

Every error of `overland` is one line on standard error, `error: <message> [code]`.
The codes are stable: scripts may rely on them, and the API uses them too.
`overland explain CODE` prints what this page says; [exit codes](exit-codes.md) lists the families.
"""


class Explanation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An error code in words: what it means, how it comes about, and what to do."""

    code: str
    meaning: str
    cause: str
    next: str


@cache
def explanations() -> dict[str, Explanation]:
    """Return every error code with its explanation, sorted by code."""
    text = resources.files("overland.cli").joinpath(_CATALOGUE).read_bytes()
    found = msgspec.json.decode(text, type=list[Explanation])
    return {each.code: each for each in found}


def errors_page() -> str:
    """Return the text of `docs/reference/errors.md`, one sentence per line."""
    parts = [_HEAD]
    for each in explanations().values():
        lines = [f"## {each.code}", "", each.meaning, each.cause, *_sentences(each.next)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


@click.command(cls=click.Command)
@click.argument("code", required=False)
@json_option
def explain(code: str | None, *, as_json: bool) -> None:
    """Tell what the error CODE means and what to do; without CODE, list all codes.

    CODE is the word in brackets at the end of an error's line.
    """
    known = explanations()
    if code is None:
        width = max(len(each) for each in known)
        lines = [f"{each.code:<{width}}  {_plain(each.meaning)}" for each in known.values()]
        show(list(known.values()), "\n".join(lines), as_json=as_json)
        return
    found = known.get(code.strip("[]").lower())
    if found is None:
        raise RefusedError(
            f"there is no error code {code!r}; `overland explain` without a code lists them"
        )
    show(
        found,
        _plain(f"{found.code}: {found.meaning}\n{found.cause}\n{found.next}"),
        as_json=as_json,
    )


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
