"""The options that a policy is made from, and the policy that they make."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from overland.agent.mounts import Mounts
from overland.agent.policy import (
    CommandSource,
    OfflineSettings,
    Policy,
    PolicyInvalid,
    Schedule,
    check_offline_field,
)
from overland.agent.sourcekinds import ALLOWABLE
from overland.agent.stagingpath import staging_folder
from overland.cli.completion import complete_path
from overland.cli.outcome import SIZE, ask
from overland.cli.policykeep import given_retention
from overland.cli.policyrules import full_path, given_rules, rule_options
from overland.source.patternfile import read_patterns
from overland.vault.retention import Retention

__all__ = [
    "SIX",
    "drafted_policy",
    "given_commands",
    "given_schedule",
    "offline_options",
    "offline_value",
    "source_options",
]

SIX: Final = {
    "staging": "Staging location, the full path that the copy computer sees",
    "publish_settings": "Publish settings file",
    "job_name": "Import job name",
    "subscription": "Subscription id",
    "storage_account": "Storage account",
    "container": "Container",
}
"""The six fields of the offline page, in its order."""

_PATHS: Final = ("staging", "publish_settings")
_STORED: Final = {"staging": "staging_location", "subscription": "subscription_id"}
_DRIVE_BYTES: Final = 10 * 1000**4  # R23; `overland disk prepare` has the same default

_Function = TypeVar("_Function", bound=Callable[..., Any])  # a command, of any signature


def source_options(function: _Function) -> _Function:
    """Add the options that say what is protected."""
    options = [
        click.option(
            "--source",
            "sources",
            multiple=True,
            shell_complete=complete_path,
            help="Folder or file; repeatable.",
        ),
        click.option(
            "--image",
            "images",
            multiple=True,
            shell_complete=complete_path,
            help="Image file or block device; repeatable.",
        ),
        click.option("--include", multiple=True, help="Pattern: only what matches is backed up."),
        click.option(
            "--include-from",
            multiple=True,
            metavar="FILE",
            shell_complete=complete_path,
            help="File of such patterns, one a line.",
        ),
        rule_options,
        click.option(
            "--one-file-system", is_flag=True, help="Do not follow mounts below a source."
        ),
        click.option(
            "--allow-source",
            "allowed_sources",
            multiple=True,
            type=click.Choice(list(ALLOWABLE)),
            help="Seed sources of this kind all the same; repeatable.",
        ),
    ]
    return _with(function, options)


def offline_options(function: _Function) -> _Function:
    """Add the six fields of the offline page, and how its prerequisites are checked."""
    six = [
        click.option(
            "--" + key.replace("_", "-"),
            key,
            shell_complete=complete_path if key in _PATHS else None,
            help=text,
        )
        for key, text in SIX.items()
    ]
    options = [
        *six,
        click.option(
            "--skip-check",
            "skip_checks",
            multiple=True,
            metavar="NAME",
            help="Leave a check of the preflight out; repeatable.",
        ),
        click.option(
            "--service-account",
            metavar="USER",
            help="Who makes scheduled runs; the present user when not given.",
        ),
        click.option(
            "--drive-size",
            "drive_bytes",
            type=SIZE,
            default=_DRIVE_BYTES,
            show_default="10TB",
            help="Size of the drives, to tell how many are needed.",
        ),
    ]
    return _with(function, options)


def _with(function: _Function, options: Sequence[Callable[[_Function], _Function]]) -> _Function:
    for option in reversed(options):
        function = option(function)
    return function


def drafted_policy(
    name: str,
    fields: dict[str, Any],
    *,
    offline: bool,
    commands: tuple[CommandSource, ...] = (),
) -> Policy:
    """Return the policy that options make; missing fields of the page are asked for.

    Raises:
        RefusedError: A field breaks its rule.
        InputMissing: A field is missing, and nobody is at the terminal.
    """
    made = Policy(
        name=name,
        sources=tuple(full_path(source) for source in fields["sources"]),
        commands=commands,
        images=tuple(full_path(image) for image in fields["images"]),
        include=fields["include"],
        include_from=tuple(full_path(path) for path in fields["include_from"]),
        **given_rules(fields),
        one_file_system=fields["one_file_system"],
        first_copy="offline" if offline else "network",
        offline=_offline_page(fields) if offline else None,
        allowed_sources=tuple(dict.fromkeys(fields["allowed_sources"])),
        **_given(fields),
    ).checked()
    read_patterns((*made.include_from, *made.exclude_from))
    return made


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what a command has options for that says when and how, and not what."""
    if "times" not in fields:
        return {}
    return {
        "schedule": given_schedule(fields["times"], fields["days"]),
        "in_transit": fields["in_transit"],
        "mean_chunk_kib": fields["mean_chunk_kib"],
        "image_chunk_kib": fields["image_chunk_kib"],
        "retention": given_retention(fields, old=Retention()),
    }


def given_commands(
    name: str | None, argv: tuple[str, ...], timeout_s: float
) -> tuple[CommandSource, ...]:
    """Return the command that options name, or none.

    Raises:
        click.UsageError: There is a name without a program, or a program without a name.
    """
    if name is None and not argv:
        return ()
    if name is None or not argv:
        raise click.UsageError("a command is given as --command NAME -- PROGRAM [ARGUMENT]...")
    return (CommandSource(name=name, argv=argv, timeout_s=timeout_s),)


def given_schedule(times: tuple[str, ...], days: tuple[str, ...]) -> Schedule:
    """Return the schedule of the options; days are checked here, times by the policy.

    Raises:
        PolicyInvalid: A day is none.
    """
    try:
        return msgspec.convert(
            {"times": times, "days": days} if days else {"times": times}, Schedule
        )
    except msgspec.ValidationError:
        raise PolicyInvalid("schedule", "days are mon, tue, wed, thu, fri, sat, sun") from None


def offline_value(key: str, text: str) -> str:
    """Return a field of the offline page as it is stored, checked by its rule.

    Raises:
        PolicyInvalid: It breaks the rule.
        StagingPathMalformed: It is a staging location that is no path and no share.
        StagingNotMounted: It is a share that is mounted nowhere here.
    """
    value = text
    if key == "staging":
        is_local = not text.startswith(("\\", "/")) and ":" not in text
        value = staging_folder(str(Path(text).absolute()) if is_local else text, Mounts.now())
    elif key == "publish_settings":
        value = str(Path(text).absolute())
    check_offline_field(_STORED.get(key, key), value)
    return value


def _offline_page(fields: dict[str, Any]) -> OfflineSettings:
    values = {}
    for key, question in SIX.items():
        text = fields[key] or ask(question, option="--" + key.replace("_", "-"))
        values[_STORED.get(key, key)] = offline_value(key, text)
    return OfflineSettings(**values)
