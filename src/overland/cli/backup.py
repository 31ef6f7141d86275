"""`overland backup`: runs of policies."""

import sys
import time
from typing import Final

import click
import msgspec

from overland.agent.backup.plan import SourceFailed
from overland.agent.policy import CommandSource, Policy, SeedPhase, is_due, stream_path
from overland.agent.run import Outcome, Trigger
from overland.cli.machine import AgentMachine, open_agent
from overland.cli.outcome import (
    Commands,
    Exit,
    OutputLost,
    count_text,
    exit_for,
    json_option,
    note,
    printable,
    rate_text,
    show,
    size_text,
)
from overland.cli.refusals import StdinNotRead
from overland.errors import OverlandError
from overland.source.streams import StreamSource, given_source

__all__ = ["backup", "note_failed", "outcome_text", "staging_text"]

_IDLE_S: Final = 30.0
_SILENCE_S: Final = 3600.0  # as of commands


@click.group(cls=Commands)
def backup() -> None:
    """Back up now, or when the schedule says so."""


@backup.command()
@click.argument("policy")
@click.option(
    "--stdin",
    "stdin_name",
    metavar="NAME",
    help="Put what comes on standard input into this point, as the file NAME.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="With --stdin: how long it may be silent; 3600 when not given.",
)
@click.option(
    "--paranoid",
    is_flag=True,
    help="Read every file, also those whose size and times say that they did not change.",
)
@json_option
def now(
    policy: str,
    *,
    stdin_name: str | None,
    timeout_s: float | None,
    paranoid: bool,
    as_json: bool,
) -> None:
    """Run POLICY now.

    The first run of an offline policy writes the first copy to the staging location.  Later runs
    wait for the drives and protect over the network, adopt the seed once it has landed, send what
    the drives did not bring, and from then on make incremental recovery points.

    A command, image or file that cannot be read to its end is left out; the rest is kept, and the
    exit code is 3.  The first copy of an offline policy is not finished without it.
    """
    if timeout_s is not None and stdin_name is None:
        raise click.UsageError("--timeout belongs to --stdin")
    with open_agent(exclusive=True) as machine:
        started = time.monotonic()
        given = _standard_input(machine.policies.load(policy), stdin_name, timeout_s or _SILENCE_S)
        if staging := staging_text(machine, policy):
            note(staging)
        outcome = machine.runner(given=given, reads_all=paranoid).run(policy, trigger="manual")
        seconds = time.monotonic() - started
    show(
        {"seconds": round(seconds, 3), "outcome": outcome},
        outcome_text(outcome, seconds),
        as_json=as_json,
    )
    if given is not None and outcome.made is None:
        raise StdinNotRead(policy)
    click.get_current_context().exit(note_failed(outcome))


def _standard_input(policy: Policy, name: str | None, timeout_s: float) -> StreamSource | None:
    """Return standard input as a stream of the policy; refuse a name that cannot be its file's."""
    if name is None:
        return None
    if sys.stdin is None:  # as Python has it when the descriptor was closed before the start
        raise click.UsageError("--stdin: standard input is closed; pipe something into it")
    if sys.stdin.isatty():
        note("reading from the terminal; end with Ctrl-D on a line of its own")
    given = CommandSource(name=name, argv=("-",), timeout_s=timeout_s)
    msgspec.structs.replace(policy, commands=(*policy.commands, given)).checked()
    return given_source(stream_path(name), timeout_s=timeout_s, fd=sys.stdin.fileno)


def note_failed(outcome: Outcome) -> int:
    """Name what is not in the point although the policy does; return the exit code."""
    failed = outcome.made.failed if outcome.made is not None else ()
    for what in failed:
        note(f"error: policy {outcome.policy}: {printable(what)} [{SourceFailed.code}]")
    return int(Exit.REFUSED if failed else Exit.OK)


@backup.command("run-schedule")
@click.option("--once", is_flag=True, help="Run what is due and end; for a systemd timer or cron.")
@click.option("--due", "only", multiple=True, help="With --once: run this policy, due or not.")
@json_option
def run_schedule(*, once: bool, only: tuple[str, ...], as_json: bool) -> None:
    """Run every policy when it is due, until stopped.

    A policy is due when a time of its schedule has passed since its last run.  A run that fails is
    tried again at its next time; the others go on.  So they do where nobody can be told how one
    ended.
    """
    if only and not once:
        raise click.UsageError("--due belongs to --once")
    while True:
        status = 0
        for name in only or _due():
            status = max(status, _scheduled_run(name, as_json=as_json))
        if once:
            click.get_current_context().exit(status)
        time.sleep(_IDLE_S)


def _due() -> list[str]:
    with open_agent() as machine:
        return [name for name in machine.policies.names() if _is_due(machine, name)]


def _is_due(machine: AgentMachine, name: str) -> bool:
    try:
        schedule = machine.policies.load(name).schedule
        last_run_at = machine.policies.progress(name).last_run_at
    except OverlandError:
        return True  # the run says what is wrong with it, and the others go on
    return is_due(schedule, last_run_at=last_run_at, now=machine.local_now())


def _scheduled_run(name: str, *, as_json: bool) -> int:
    trigger: Trigger = "schedule"
    started = time.monotonic()
    try:
        with open_agent(exclusive=True) as machine:
            outcome = machine.runner().run(name, trigger=trigger)
    except (OverlandError, OSError) as error:
        code = error.code if isinstance(error, OverlandError) else "operating-system"
        note(f"error: policy {name}: {error} [{code}]")
        return int(exit_for(error))
    seconds = time.monotonic() - started
    try:
        show(
            {"seconds": round(seconds, 3), "outcome": outcome},
            outcome_text(outcome, seconds),
            as_json=as_json,
        )
    except (OutputLost, BrokenPipeError) as error:  # a full log must not end all backups
        note(f"error: policy {name} has run: {error} [{OutputLost.code}]")
        return max(int(Exit.ERROR), note_failed(outcome))
    return note_failed(outcome)


def staging_text(machine: AgentMachine, name: str) -> str:
    """Return where the next run writes the first copy, or nothing when it writes none there."""
    offline = machine.policies.load(name).offline
    phase = machine.policies.progress(name).phase
    if offline is None or phase not in (SeedPhase.CONFIGURED, SeedPhase.STAGING):
        return ""
    return (
        f"staging location: {offline.staging_location}  (import job name: {offline.job_name}); "
        "disk preparation is given the same one"
    )


def outcome_text(outcome: Outcome, seconds: float) -> str:
    """Return how a run ended, for people."""
    lines = [f"policy {outcome.policy}: {outcome.result} ({outcome.phase})"]
    if outcome.made is not None:
        made, counted = outcome.made, outcome.made.statistics
        lines += [
            f"recovery point {made.point_id}",
            (
                f"  {count_text(counted['files'], 'file')}, "
                f"{size_text(counted['source_bytes'])} in {seconds:.1f} s "
                f"({rate_text(counted['source_bytes'], seconds=seconds)})"
            ),
            (
                f"  {size_text(counted['new_bytes'])} new, "
                f"{size_text(counted['stored_bytes'])} stored after compression"
            ),
        ]
        if made.skipped:
            lines.append(
                f"  {count_text(made.skipped, 'entry')} skipped; see `overland points show`"
            )
        if made.changed:
            lines.append(f"  {count_text(made.changed, 'file')} changed while read, marked so")
        lines += [f"note: {printable(each)}" for each in made.notes]
    if outcome.sent_bytes:
        lines.append(f"sent {size_text(outcome.sent_bytes)} that the drives did not bring")
    return "\n".join([*lines, *outcome.messages])
