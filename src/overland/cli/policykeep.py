"""The options of `overland policy` that say how many recovery points stay."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from overland.vault import retention
from overland.vault.retention import MAX_POINTS, MINIMA, Retention

__all__ = ["described_retention", "given_retention", "keep_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])  # a command, of any signature


def keep_options(function: _Function) -> _Function:
    """Add the options of retention; they are the same for `create` and `change`."""
    for row, least in reversed(MINIMA.items()):
        option = click.option(
            f"--keep-{row}",
            type=click.IntRange(0, MAX_POINTS),
            metavar="N",
            help=f"How many {row} recovery points stay: 0, or at least {least}.",
        )
        function = option(function)
    return function


def given_retention(fields: dict[str, Any], *, old: Retention) -> Retention:
    """Return the rule after what was given of it; without any option ever, all points stay.

    Raises:
        RetentionInvalid: It would keep too little, or too much.
    """
    given = {row: fields[f"keep_{row}"] for row in MINIMA if fields[f"keep_{row}"] is not None}
    if not given:
        return old
    rows = {row: given.get(row, getattr(old, row)) for row in MINIMA}
    return retention.decode(retention.encode(Retention(**rows)))


def described_retention(it: Retention) -> str:
    """Return the rule in words."""
    rows = [f"{getattr(it, row)} {row}" for row in MINIMA if getattr(it, row)]
    return ", ".join(rows) or "all recovery points"
