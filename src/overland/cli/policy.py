"""`overland policy`: what is protected, when, and how the first copy travels."""

from pathlib import Path
from typing import Any

import click
import msgspec

from overland.agent.policy import (
    OfflineSettings,
    Policy,
    PolicyInvalid,
    Schedule,
    SeedPhase,
    next_run,
)
from overland.agent.refusals import PolicyExists, SeedUnderWay
from overland.cli.machine import open_agent
from overland.cli.outcome import Commands, ask, confirm, json_option, show
from overland.cli.refusals import Declined

__all__ = ["policy"]

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
@click.option("--source", "sources", multiple=True, required=True, help="Folder; repeatable.")
@click.option("--include", multiple=True, help="Pattern of what to keep although it is excluded.")
@click.option("--exclude", multiple=True, help="Pattern of what to leave out, such as '*.tmp'.")
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
@json_option
def create(name: str, *, as_json: bool, offline: bool, **fields: Any) -> None:
    """Make the policy NAME.

    With --offline the six fields of the offline page are needed; what is missing is asked for at
    a terminal.  Times of day are full or half hours, up to three a day.
    """
    made = Policy(
        name=name,
        sources=tuple(_full_path(source) for source in fields["sources"]),
        include=fields["include"],
        exclude=fields["exclude"],
        one_file_system=fields["one_file_system"],
        schedule=_schedule(fields["times"], fields["days"]),
        first_copy="offline" if offline else "network",
        offline=_offline_page(fields, offline=offline),
        in_transit=fields["in_transit"],
        mean_chunk_kib=fields["mean_chunk_kib"],
    ).checked()
    with open_agent() as agent:
        if name in agent.policies.names():
            raise PolicyExists(name)
        agent.policies.save(made)
    show(
        made,
        f"policy {name} saved\n\n{_describe(made)}\n\nNext: overland backup now {name}",
        as_json=as_json,
    )


def _full_path(source: str) -> str:
    path = Path(source).absolute()
    # Where a link is on the way, only the system knows what is above it.
    return str(path.resolve() if ".." in path.parts else path)


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
    rows = [
        ("sources", ", ".join(it.sources)),
        ("include", ", ".join(it.include) or "-"),
        ("exclude", ", ".join(it.exclude) or "-"),
        ("runs at", f"{', '.join(it.schedule.times)} on {', '.join(it.schedule.days)}"),
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
@click.option("--exclude", multiple=True, help="New exclude patterns.")
@click.option(
    "--in-transit",
    type=click.Choice(["protect", "wait"]),
    help="Make incremental points over the network while the drives travel, or only wait.",
)
@json_option
def change(name: str, *, as_json: bool, **fields: Any) -> None:
    """Change the policy NAME.

    While its seed is open, only --in-transit may change, so that what the drives carry stays
    what the policy says.
    """
    with open_agent() as agent:
        old, progress = agent.policies.load(name), agent.policies.progress(name)
        edits = {key: value for key, value in fields.items() if value}
        settled = (SeedPhase.CONFIGURED, SeedPhase.ONLINE, SeedPhase.ABANDONED)
        if progress.phase not in settled and set(edits) - {"in_transit"}:
            raise SeedUnderWay(name, progress.phase)
        new = msgspec.structs.replace(
            old,
            schedule=_schedule(
                fields["times"] or old.schedule.times, fields["days"] or old.schedule.days
            ),
            exclude=fields["exclude"] or old.exclude,
            in_transit=fields["in_transit"] or old.in_transit,
        )
        agent.policies.save(new)
    show(new, _describe(new), as_json=as_json)


@policy.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, *, yes: bool) -> None:
    """Stop protecting what the policy NAME names; recovery points in the vault stay."""
    with open_agent() as agent:
        agent.policies.load(name)
        if not yes and not confirm(f"Delete the policy {name}? Its points in the vault stay."):
            raise Declined
        agent.policies.delete(name)
    click.echo(f"policy {name} deleted; its recovery points stay")
