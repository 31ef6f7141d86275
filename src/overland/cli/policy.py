"""`overland policy`: what is protected, when, and how the first copy travels."""

import shlex
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from overland.agent.policy import (
    CommandSource,
    OfflineSettings,
    Policy,
    PolicyInvalid,
    Progress,
    Schedule,
    SeedPhase,
    next_run,
)
from overland.agent.refusals import PolicyExists, SeedUnderWay
from overland.cli.machine import open_agent
from overland.cli.outcome import Commands, ask, confirm, json_option, show
from overland.cli.policykeep import described_retention, given_retention, keep_options
from overland.cli.policyrules import described_rules, full_path, given_rules, rule_options
from overland.cli.refusals import Declined
from overland.source.patternfile import read_patterns
from overland.vault.retention import Retention

__all__ = ["policy"]

_SILENCE_S: Final = 3600.0

_SIX = {
    "staging": "Staging location, the full path that the copy computer sees",
    "publish_settings": "Publish settings file",
    "job_name": "Import job name",
    "subscription": "Subscription id",
    "storage_account": "Storage account",
    "container": "Container",
}


@click.group(cls=Commands)
def policy() -> None:
    """What is protected, when, and how the first copy travels."""


@policy.command()
@click.argument("name")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROGRAM [ARGUMENT]...]")
@click.option("--source", "sources", multiple=True, help="Folder or file; repeatable.")
@click.option("--image", "images", multiple=True, help="Image file or block device; repeatable.")
@click.option(
    "--command",
    metavar="NAME",
    help="Store what PROGRAM prints as the file NAME; more with `policy add-command`.",
)
@click.option("--include", multiple=True, help="Pattern: only what matches is backed up.")
@click.option(
    "--include-from", multiple=True, metavar="FILE", help="File of such patterns, one a line."
)
@rule_options
@click.option("--one-file-system", is_flag=True, help="Do not follow mounts below a source.")
@click.option(
    "--at",
    "times",
    multiple=True,
    default=("22:00",),
    show_default=True,
    help="Time of day, such as 12:30.",
)
@click.option("--day", "days", multiple=True, help="mon, tue, …; every day when not given.")
@click.option("--offline/--online", default=False, help="How the first copy travels.")
@click.option("--staging", help=_SIX["staging"])
@click.option("--publish-settings", help=_SIX["publish_settings"])
@click.option("--job-name", help=_SIX["job_name"])
@click.option("--subscription", help=_SIX["subscription"])
@click.option("--storage-account", help=_SIX["storage_account"])
@click.option("--container", help=_SIX["container"])
@click.option(
    "--in-transit",
    type=click.Choice(["protect", "wait"]),
    default="protect",
    show_default=True,
    help="Make incremental points over the network while the drives travel, or only wait.",
)
@click.option(
    "--mean-chunk-kib",
    type=int,
    default=256,
    show_default=True,
    help="Mean size of a chunk in KiB, 16 to 2048.",
)
@click.option(
    "--image-chunk-kib",
    type=int,
    default=64,
    show_default=True,
    help="The same for images and commands.",
)
@keep_options
@json_option
def create(
    name: str, argv: tuple[str, ...], *, as_json: bool, offline: bool, **fields: Any
) -> None:
    """Make the policy NAME.

    With --offline the six fields of the offline page are needed; what is missing is asked for at
    a terminal.  Times of day are full or half hours, up to three a day.
    """
    made = Policy(
        name=name,
        sources=tuple(full_path(source) for source in fields["sources"]),
        commands=_commands(fields["command"], argv, _SILENCE_S),
        images=tuple(full_path(image) for image in fields["images"]),
        include=fields["include"],
        include_from=tuple(full_path(path) for path in fields["include_from"]),
        **given_rules(fields),
        one_file_system=fields["one_file_system"],
        schedule=_schedule(fields["times"], fields["days"]),
        first_copy="offline" if offline else "network",
        offline=_offline_page(fields, offline=offline),
        in_transit=fields["in_transit"],
        mean_chunk_kib=fields["mean_chunk_kib"],
        image_chunk_kib=fields["image_chunk_kib"],
        retention=given_retention(fields, old=Retention()),
    ).checked()
    read_patterns((*made.include_from, *made.exclude_from))
    with open_agent() as agent:
        if name in agent.policies.names():
            raise PolicyExists(name)
        agent.policies.save(made)
    show(
        made,
        f"policy {name} saved\n\n{_describe(made)}\n\nNext: overland backup now {name}",
        as_json=as_json,
    )


def _commands(
    name: str | None, argv: tuple[str, ...], timeout_s: float
) -> tuple[CommandSource, ...]:
    if name is None and not argv:
        return ()
    if name is None or not argv:
        raise click.UsageError("a command is given as --command NAME -- PROGRAM [ARGUMENT]...")
    return (CommandSource(name=name, argv=argv, timeout_s=timeout_s),)


def _schedule(times: tuple[str, ...], days: tuple[str, ...]) -> Schedule:
    try:
        return msgspec.convert(
            {"times": times, "days": days} if days else {"times": times}, Schedule
        )
    except msgspec.ValidationError:
        raise PolicyInvalid("schedule", "days are mon, tue, wed, thu, fri, sat, sun") from None


def _offline_page(fields: dict[str, Any], *, offline: bool) -> OfflineSettings | None:
    if not offline:
        _refuse_offline_fields(fields)
        return None
    values = {
        key: fields[key] or ask(question, option="--" + key.replace("_", "-"))
        for key, question in _SIX.items()
    }
    publish_settings = Path(values["publish_settings"]).absolute()
    if not publish_settings.is_file():
        raise PolicyInvalid("publish_settings", f"{publish_settings} cannot be read as a file")
    return OfflineSettings(
        staging_location=str(Path(values["staging"]).absolute()),
        publish_settings=str(publish_settings),
        job_name=values["job_name"],
        subscription_id=values["subscription"],
        storage_account=values["storage_account"],
        container=values["container"],
    )


def _refuse_offline_fields(fields: dict[str, Any]) -> None:
    given = [key for key in _SIX if fields[key]]
    if given:
        raise click.UsageError(
            f"--{given[0].replace('_', '-')} belongs to an offline first copy; add --offline"
        )


def _describe(it: Policy) -> str:
    rows = [("sources", ", ".join(it.sources) or "-")]
    rows += [("image", image) for image in it.images]
    rows += [("command", f"{each.name}: {shlex.join(each.argv)}") for each in it.commands]
    rows += [
        ("include", ", ".join(it.include) or "-"),
        ("exclude", ", ".join(it.exclude) or "-"),
        *described_rules(it),
        ("runs at", f"{', '.join(it.schedule.times)} on {', '.join(it.schedule.days)}"),
        ("keeps", described_retention(it.retention)),
        ("first copy", it.first_copy),
    ]
    if it.offline is not None:
        rows += [
            ("  staging location", it.offline.staging_location),
            ("  publish settings", it.offline.publish_settings),
            ("  import job name", it.offline.job_name),
            ("  subscription id", it.offline.subscription_id),
            ("  storage account", it.offline.storage_account),
            ("  container", it.offline.container),
            ("in transit", it.in_transit),
        ]
    return "\n".join(f"{label:<20} {value}" for label, value in rows)


@policy.command("list")
@json_option
def list_policies(*, as_json: bool) -> None:
    """Name all policies, how far each has come, and when each runs next."""
    with open_agent() as agent:
        rows = []
        for name in agent.policies.names():
            progress = agent.policies.progress(name)
            due = next_run(agent.policies.load(name).schedule, after=agent.local_now())
            rows.append(
                {
                    "name": name,
                    "phase": progress.phase,
                    "next_run": due,
                    "last_run": progress.last_run_at,
                    "last_outcome": progress.last_outcome,
                }
            )
    text = "\n".join(
        f"{row['name']:<20} {row['phase']:<16} next run {row['next_run']:%Y-%m-%d %H:%M} UTC   "
        f"{row['last_outcome']}"
        for row in rows
    )
    show(rows, text or "no policies yet; make one with `overland policy create`", as_json=as_json)


@policy.command("show")
@click.argument("name")
@json_option
def show_policy(name: str, *, as_json: bool) -> None:
    """Show the policy NAME and how far its seed has come."""
    with open_agent() as agent:
        found, progress = agent.policies.load(name), agent.policies.progress(name)
    text = (
        f"{_describe(found)}\n{'phase':<20} {progress.phase}\n"
        f"{'seed':<20} {progress.seed_id or '-'}\n"
        f"{'newest point':<20} {progress.last_point_id or '-'}"
    )
    show({"policy": found, "progress": progress}, text, as_json=as_json)


@policy.command()
@click.argument("name")
@click.option("--at", "times", multiple=True, help="New times of day.")
@click.option("--day", "days", multiple=True, help="New days of the week.")
@rule_options
@click.option(
    "--in-transit",
    type=click.Choice(["protect", "wait"]),
    help="Make incremental points over the network while the drives travel, or only wait.",
)
@keep_options
@json_option
def change(name: str, *, as_json: bool, **fields: Any) -> None:
    """Change the policy NAME; an option that is given replaces what the policy had of it.

    From the end of staging until its seed is in the vault, only --in-transit may change, so that
    what the drives carry stays what the policy says.
    """
    with open_agent() as agent:
        old, progress = agent.policies.load(name), agent.policies.progress(name)
        edits = {key for key, value in fields.items() if value not in (None, ())}
        if edits - {"in_transit"}:
            _refuse_while_open(name, progress)
        new = msgspec.structs.replace(
            old,
            schedule=_schedule(
                fields["times"] or old.schedule.times, fields["days"] or old.schedule.days
            ),
            **given_rules(fields),
            in_transit=fields["in_transit"] or old.in_transit,
            retention=given_retention(fields, old=old.retention),
        )
        agent.policies.save(new)
    show(new, _describe(new), as_json=as_json)


def _refuse_while_open(name: str, progress: Progress) -> None:
    if progress.phase in {SeedPhase.AWAITING_IMPORT, SeedPhase.ADOPTING}:
        raise SeedUnderWay(name, progress.phase)


@policy.command("add-command")
@click.argument("policy_name", metavar="POLICY")
@click.argument("name")
@click.argument(
    "argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- PROGRAM [ARGUMENT]..."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=_SILENCE_S,
    show_default=True,
    metavar="SECONDS",
    help="How long the program may be silent before it is killed.",
)
@json_option
def add_command(
    policy_name: str, name: str, argv: tuple[str, ...], *, timeout_s: float, as_json: bool
) -> None:
    """Store what PROGRAM prints as the file NAME in every recovery point of POLICY.

    A command of that NAME is replaced.  The program is started without a shell, with the
    environment of the run; keep passwords out of its arguments, which the policy shows.
    """
    with open_agent() as agent:
        old = agent.policies.load(policy_name)
        _refuse_while_open(policy_name, agent.policies.progress(policy_name))
        others = tuple(each for each in old.commands if each.name != name)
        new = msgspec.structs.replace(old, commands=(*others, *_commands(name, argv, timeout_s)))
        agent.policies.save(new)
    show(new, _describe(new), as_json=as_json)


@policy.command("remove-command")
@click.argument("policy_name", metavar="POLICY")
@click.argument("name")
@json_option
def remove_command(policy_name: str, name: str, *, as_json: bool) -> None:
    """Store what the command NAME of POLICY prints no longer; points that have it keep it."""
    with open_agent() as agent:
        old = agent.policies.load(policy_name)
        _refuse_while_open(policy_name, agent.policies.progress(policy_name))
        others = tuple(each for each in old.commands if each.name != name)
        if len(others) == len(old.commands):
            raise PolicyInvalid("command", f"{policy_name} has no command {name}")
        new = msgspec.structs.replace(old, commands=others)
        agent.policies.save(new)
    show(new, _describe(new), as_json=as_json)


@policy.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, *, yes: bool) -> None:
    """Stop protecting what the policy NAME names; recovery points in the vault stay."""
    with open_agent() as agent:
        agent.policies.load(name)
        _refuse_while_open(name, agent.policies.progress(name))  # who would adopt the drives?
        if not yes and not confirm(f"Delete the policy {name}? Its points in the vault stay."):
            raise Declined
        agent.policies.delete(name)
    click.echo(f"policy {name} deleted; its recovery points stay")
