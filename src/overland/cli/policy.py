"""`overland policy`: what is protected, when, and how the first copy travels."""

import shlex
from typing import Any, Final

import click
import msgspec

from overland.agent.groups import grown, refuse_job_name, refuse_while_open
from overland.agent.offlineidentity import OfflineIdentities, refuse_without_identity
from overland.agent.policy import Policy, PolicyInvalid, next_run
from overland.agent.refusals import PolicyExists
from overland.agent.seedrefusals import FirstCopyFixed
from overland.cli.machine import open_agent
from overland.cli.outcome import Commands, confirm, is_interactive, json_option, note, say, show
from overland.cli.policykeep import described_retention, given_retention, keep_options
from overland.cli.policyoptions import (
    SIX,
    drafted_policy,
    given_commands,
    given_schedule,
    offline_options,
    source_options,
)
from overland.cli.policyrules import described_rules, given_rules, rule_options
from overland.cli.policywizard import ask_policy, told_after_staging
from overland.cli.preflight import refuse_unfit
from overland.cli.refusals import Declined

__all__ = ["policy"]

_SILENCE_S: Final = 3600.0


@click.group(cls=Commands)
def policy() -> None:
    """What is protected, when, and how the first copy travels."""


@policy.command()
@click.argument("name", required=False)
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROGRAM [ARGUMENT]...]")
@source_options
@click.option(
    "--command",
    metavar="NAME",
    help="Store what PROGRAM prints as the file NAME; more with `policy add-command`.",
)
@click.option(
    "--at", "times", multiple=True, help="Time of day, such as 12:30; 22:00 when not given."
)
@click.option("--day", "days", multiple=True, help="mon, tue, …; every day when not given.")
@click.option("--offline/--online", default=None, help="How the first copy travels.")
@offline_options
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
def create(name: str | None, argv: tuple[str, ...], *, as_json: bool, **fields: Any) -> None:
    """Make the policy NAME.

    At a terminal, without anything to protect, this asks for everything.  With --offline the six
    fields of the offline page are needed; what is missing is asked for at a terminal, and
    `overland preflight` is run before anything is saved.  Times of day are full or half hours, up
    to three a day.
    """
    is_asking = is_interactive() and not (fields["sources"] or fields["images"] or argv)
    with open_agent() as agent:
        if is_asking:
            name, fields["offline"] = ask_policy(
                name, fields, policies=agent.policies, now=agent.clock.now()
            )
        if name is None:
            raise click.UsageError("Missing argument 'NAME'.")
        made = _drafted(name, argv, fields)
        if name in agent.policies.names():
            raise PolicyExists(name)
        if made.offline is not None:
            refuse_job_name(made, agent.policies)
            refuse_without_identity(made, OfflineIdentities(agent.files), agent.settings())
            refuse_unfit(agent, made, fields)
        if is_asking:
            note(f"\n{_describe(made)}\n")
            if not confirm(f"Save the policy {name}?"):
                raise Declined
        agent.policies.save(made)
    show(made, _saved_text(made), as_json=as_json)


def _drafted(name: str, argv: tuple[str, ...], fields: dict[str, Any]) -> Policy:
    offline = bool(fields["offline"])
    if not offline:
        _refuse_offline_fields(fields)
    fields["times"] = fields["times"] or ("22:00",)
    commands = given_commands(fields["command"], argv, _SILENCE_S)
    return drafted_policy(name, fields, offline=offline, commands=commands)


def _saved_text(made: Policy) -> str:
    parts = [f"policy {made.name} saved", _describe(made)]
    if made.offline is not None:
        parts.append(told_after_staging(made.offline.staging_location, made.offline.job_name))
    return "\n\n".join([*parts, f"Next: overland backup now {made.name}"])


def _refuse_offline_fields(fields: dict[str, Any]) -> None:
    given = [key for key in SIX if fields[key]]
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
@click.option(
    "--offline/--online",
    default=None,
    help="Refused, unless it is what the policy says: the method stays.",
)
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
    what the drives carry stays what the policy says.  New members go over the network, so they may
    be added at any time: `overland group add`.
    """
    with open_agent() as agent:
        old, progress = agent.policies.load(name), agent.policies.progress(name)
        _refuse_other_method(old, offline=fields.pop("offline"))
        edits = {key for key, value in fields.items() if value not in (None, ())}
        if edits - {"in_transit"}:
            refuse_while_open(name, progress)
        new = msgspec.structs.replace(
            old,
            schedule=given_schedule(
                fields["times"] or old.schedule.times, fields["days"] or old.schedule.days
            ),
            **given_rules(fields),
            in_transit=fields["in_transit"] or old.in_transit,
            retention=given_retention(fields, old=old.retention),
        )
        agent.policies.save(new)
    show(new, _describe(new), as_json=as_json)


def _refuse_other_method(it: Policy, *, offline: bool | None) -> None:
    if offline is not None and offline != (it.first_copy == "offline"):
        method = "by drive" if it.first_copy == "offline" else "over the network"
        raise FirstCopyFixed(it.name, method=method)


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
        if any(each.name == name for each in old.commands):  # a replaced one is an edit
            refuse_while_open(policy_name, agent.policies.progress(policy_name))
        new = grown(old, commands=given_commands(name, argv, timeout_s))
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
        refuse_while_open(policy_name, agent.policies.progress(policy_name))
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
        refuse_while_open(name, agent.policies.progress(name))  # who would adopt the drives?
        if not yes and not confirm(f"Delete the policy {name}? Its points in the vault stay."):
            raise Declined
        agent.policies.delete(name)
    say(f"policy {name} deleted; its recovery points stay")
