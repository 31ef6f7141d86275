"""`overland backup` and `overland seed`: runs of policies, and the seeds that are under way."""

import sys
import time
from typing import Final

import click
import msgspec

from overland.agent.backup.plan import SourceFailed
from overland.agent.connection import SeedReport
from overland.agent.policy import CommandSource, Policy, SeedPhase, is_due, stream_path
from overland.agent.refusals import SeedAbsent
from overland.agent.run import Outcome, Trigger
from overland.cli.machine import AgentMachine, open_agent
from overland.cli.outcome import (
    Commands,
    Exit,
    confirm,
    count_text,
    exit_for,
    json_option,
    note,
    printable,
    rate_text,
    show,
    size_text,
)
from overland.cli.refusals import Declined, StdinNotRead
from overland.errors import OverlandError
from overland.source.streams import StreamSource, given_source
from overland.values import SeedId

__all__ = ["backup", "seed"]

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
        outcome = machine.runner(given=given, reads_all=paranoid).run(policy, trigger="manual")
        seconds = time.monotonic() - started
    show(
        {"seconds": round(seconds, 3), "outcome": outcome},
        _outcome_text(outcome, seconds),
        as_json=as_json,
    )
    if given is not None and outcome.made is None:
        raise StdinNotRead(policy)
    click.get_current_context().exit(_note_failed(outcome))


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


def _note_failed(outcome: Outcome) -> int:
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
    tried again at its next time; the others go on.
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
    show(
        {"seconds": round(seconds, 3), "outcome": outcome},
        _outcome_text(outcome, seconds),
        as_json=as_json,
    )
    return _note_failed(outcome)


def _outcome_text(outcome: Outcome, seconds: float) -> str:
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


@click.group(cls=Commands)
def seed() -> None:
    """Watch, repair or abandon the seed of a policy."""


@seed.command()
@click.argument("policy")
@json_option
def status(policy: str, *, as_json: bool) -> None:
    """Show where the seed of POLICY is, and who has to do what next."""
    with open_agent() as machine:
        report = machine.connection().seed(_seed_of(machine, policy))
    show(report, _report_text(report), as_json=as_json)


def _report_text(report: SeedReport) -> str:
    lines = [f"seed {report.seed_id}: {report.state}", f"import job {report.job_name}"]
    if report.job is None:
        lines[-1] += ": not created yet"
    else:
        percent = report.job.percent_complete
        lines[-1] += f": {report.job.state}" + (f", {percent} %" if percent is not None else "")
        lines += [f"  drive {drive.serial}: {drive.state}" for drive in report.job.drives]
    if report.adoption is not None:
        lines.append(f"adoption: {report.adoption.state}")
        lines += [f"  missing {item.name}" for item in report.adoption.missing]
    if report.next_step is not None:
        by = f", by {report.next_step.by}" if report.next_step.by else ""
        lines.append(f"next: {report.next_step.who}: {report.next_step.what}{by}")
    return "\n".join(lines)


@seed.command()
@click.argument("policy")
@click.argument("job_name")
@json_option
def relink(policy: str, job_name: str, *, as_json: bool) -> None:
    """Link the seed of POLICY to the import job JOB_NAME, after a mistyped name."""
    with open_agent(exclusive=True) as machine:
        report = machine.connection().relink_seed(_seed_of(machine, policy), job_name=job_name)
    show(report, _report_text(report), as_json=as_json)


@seed.command()
@click.argument("policy")
@click.option("--yes", is_flag=True, help="Do not ask.")
def abandon(policy: str, *, yes: bool) -> None:
    """Give up the seed of POLICY; says what is left to clean up.  Nothing is deleted."""
    with open_agent(exclusive=True) as machine:
        seed_id = _seed_of(machine, policy)
        if not yes and not confirm(f"Abandon the seed of {policy}? It cannot be taken up again."):
            raise Declined
        machine.runner().abandon(policy)
        offline = machine.policies.load(policy).offline
    assert offline is not None, "only offline policies have a seed"
    click.echo(
        f"the seed of {policy} is abandoned; left to clean up:\n"
        f"  staging     {offline.staging_location}/seed-{seed_id}\n"
        f"  import job  {offline.job_name}\n"
        f"  objects     {offline.storage_account}/{offline.container}/seed-{seed_id}/\n"
        "  drives      whatever was prepared for it"
    )


def _seed_of(machine: AgentMachine, policy: str) -> SeedId:
    machine.policies.load(policy)
    progress = machine.policies.progress(policy)
    if progress.seed_id is None or progress.phase is SeedPhase.CONFIGURED:
        raise SeedAbsent(policy)
    return SeedId(progress.seed_id)
