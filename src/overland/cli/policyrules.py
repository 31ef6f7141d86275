"""The options of `overland policy` that say what is left out, and how they are shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from overland.agent.policy import Policy
from overland.cli.completion import complete_path
from overland.cli.outcome import SIZE, size_text
from overland.source.snapshotview import DEFAULT_PERCENT

__all__ = ["described_rules", "full_path", "given_rules", "rule_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])  # a command, of any signature


def rule_options(function: _Function) -> _Function:
    """Add the options that say what is left out; they are the same for `create` and `change`."""
    options = [
        click.option("--exclude", multiple=True, help="Pattern to leave out, such as '*.tmp'."),
        click.option(
            "--exclude-from",
            multiple=True,
            metavar="FILE",
            shell_complete=complete_path,
            help="File of such patterns, one a line; read at every run.",
        ),
        click.option(
            "--exclude-caches/--no-exclude-caches",
            default=None,
            help="Leave out what lies beside a valid CACHEDIR.TAG.",
        ),
        click.option(
            "--exclude-if-present",
            multiple=True,
            metavar="NAME",
            help="Leave out what lies in a folder with an entry NAME, but for NAME itself.",
        ),
        click.option(
            "--exclude-larger-than",
            "exclude_larger_than_bytes",
            type=SIZE,
            help="Leave out files that are longer, such as 2GiB.",
        ),
        click.option(
            "--snapshot",
            type=click.Choice(["none", "auto", "btrfs", "zfs", "lvm"]),
            help="Read from file system snapshots; auto takes those it can.",
        ),
        click.option(
            "--snapshot-percent",
            type=click.IntRange(1, 100),
            help="Room for the snapshot of an LVM volume that is not thin, as a part of it.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def given_rules(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what was given of the options that say what is left out, as fields of a policy."""
    names = (
        *("exclude", "exclude_from", "exclude_caches", "exclude_if_present"),
        *("snapshot", "snapshot_percent"),
    )
    given = {name: fields[name] for name in names if fields[name] not in (None, ())}
    if "exclude_from" in given:
        given["exclude_from"] = tuple(full_path(path) for path in given["exclude_from"])
    if fields["exclude_larger_than_bytes"] is not None:
        given["exclude_larger_than_bytes"] = fields["exclude_larger_than_bytes"]
    return given


def described_rules(it: Policy) -> list[tuple[str, str]]:
    """Return a row for each rule that most policies do not have."""
    rows = [("include from", path) for path in it.include_from]
    rows += [("exclude from", path) for path in it.exclude_from]
    if it.exclude_caches:
        rows.append(("exclude caches", "yes"))
    if it.exclude_if_present:
        rows.append(("exclude beside", ", ".join(it.exclude_if_present)))
    if it.exclude_larger_than_bytes is not None:
        rows.append(("exclude larger than", size_text(it.exclude_larger_than_bytes)))
    if it.snapshot != "none":
        rows.append(("snapshot", it.snapshot))
    if it.snapshot_percent != DEFAULT_PERCENT:
        rows.append(("snapshot room", f"{it.snapshot_percent} %"))
    return rows


def full_path(source: str) -> str:
    """Return an absolute path without `..` in it, and with one `/` in front."""
    path = Path("/", str(Path(source).absolute()).lstrip("/"))
    # Where a link is on the way, only the system knows what is above it.
    return str(path.resolve() if ".." in path.parts else path)
