"""How the original's programs take their arguments: `Name:value` words, as a runbook has them.

Names may be in any case, and paths may hold blanks without quotes; emphasis that a web page left
in a copied line (`*s:<*path*>*`) is not part of it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import click

__all__ = ["MARKS", "WrongUsage", "values_of"]

MARKS: Final = "*<>\"'"
"""Quotes and emphasis around words and values."""


class WrongUsage(click.UsageError):
    """The words are none of the command lines of a program."""

    def __init__(self, problem: str, *, program: str) -> None:
        super().__init__(f"{problem}; see {program} --help")


def values_of(words: Sequence[str], names: Iterable[str], *, program: str) -> dict[str, str]:
    """Return the values of words, by names in small letters; those not given are left out.

    Raises:
        WrongUsage: A name is given twice, or words come before the first name.
    """
    known = {name.lower(): name for name in names}
    parts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in words:
        name, colon, value = word.lstrip(MARKS).partition(":")
        if colon and name.lower() in known:
            if name.lower() in parts:
                raise WrongUsage(f"{known[name.lower()]}: is given twice", program=program)
            current = parts[name.lower()] = [value]
        elif current is None:
            wanted = ", ".join(f"{each}:" for each in known.values())
            raise WrongUsage(f"{word!r} is not one of {wanted}", program=program)
        else:
            current.append(word)  # a path with blanks that was not quoted
    return {name: " ".join(each).strip().strip(MARKS).strip() for name, each in parts.items()}
