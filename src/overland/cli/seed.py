"""`overland seed`: the seeds of policies, watched, repaired, given up and cleaned up after."""

from pathlib import Path

import click

from overland.adapters.posix import PosixFiles
from overland.agent.adopting import adopt_now
from overland.agent.connection import CleanedUp, SeedReport
from overland.agent.policy import OfflineSettings, SeedPhase
from overland.agent.refusals import SeedAbsent, SeedStillNeeded
from overland.cli.machine import AgentMachine, open_agent
from overland.cli.outcome import Commands, confirm, count_text, json_option, say, show, size_text
from overland.cli.refusals import Declined
from overland.seeding.removal import Removed, remove_seed
from overland.seeding.seedrecord import seed_folder
from overland.values import SeedId

__all__ = ["seed"]


@click.group(cls=Commands)
def seed() -> None:
    """Watch, repair, abandon or clean up after the seed of a policy."""


@seed.command()
@click.argument("policy")
@json_option
def status(policy: str, *, as_json: bool) -> None:
    """Show where the seed of POLICY is, and who has to do what next."""
    with open_agent() as machine:
        report = machine.connection().seed(_seed_of(machine, policy))
    show(report, _report_text(report), as_json=as_json)


def _report_text(report: SeedReport) -> str:
    lines = [f"seed {report.seed_id}: {report.state}"]
    if report.job is None:
        lines.append(f"import job {report.job_name}: not created yet")
    else:
        for job in (*report.earlier_jobs, report.job):
            percent = "" if job.percent_complete is None else f", {job.percent_complete} %"
            lines.append(f"import job {job.name}: {job.state}{percent}")
            lines += [f"  drive {drive.serial}: {drive.state}" for drive in job.drives]
    if report.adoption is not None:
        lines.append(f"adoption: {report.adoption.state}")
        lines += [f"  missing {item.name}" for item in report.adoption.missing]
    if report.next_step is not None:
        by = f", by {report.next_step.by}" if report.next_step.by else ""
        lines.append(f"next: {report.next_step.who}: {report.next_step.what}{by}")
    return "\n".join(lines)


@seed.command()
@click.argument("policy")
@json_option
def adopt(policy: str, *, as_json: bool) -> None:
    """Have the vault adopt the seed of POLICY now, instead of at the next scheduled backup.

    Nothing is sent over the network; drives that are still on their way are not waited for.
    """
    with open_agent(exclusive=True) as machine:
        report = adopt_now(
            policy,
            policies=machine.policies,
            connection=machine.connection(),
            clock=machine.clock,
            meter=machine.meter,
        )
    lines = [f"adoption: {report.state}, {report.done_objects} of {report.total_objects} objects"]
    lines += [f"  missing {item.name}" for item in report.missing]
    if report.missing:
        lines.append(f"next: overland backup now {policy}, or overland disk prepare --missing")
    show(report, "\n".join(lines), as_json=as_json)


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
        offline = _offline(machine, policy)
    say(
        f"the seed of {policy} is abandoned; left to clean up:\n"
        f"  staging     {offline.staging_location}/seed-{seed_id}\n"
        f"  import job  {offline.job_name}\n"
        f"  objects     {offline.storage_account}/{offline.container}/seed-{seed_id}/\n"
        "  drives      whatever was prepared for it\n"
        f"next: overland seed clean-up {policy}"
    )


@seed.command("clean-up")
@click.argument("policy")
@click.option("--staging/--no-staging", default=True, show_default=True, help="The staging folder.")
@click.option(
    "--container/--no-container",
    default=True,
    show_default=True,
    help="What the drives brought to the container.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def clean_up(policy: str, *, staging: bool, container: bool, yes: bool, as_json: bool) -> None:
    """Delete what is left of POLICY's seed: the staging folder, and the container's copy.

    Only when the seed is in the vault, every object of it verified there, or was abandoned.  Files
    that are not ours stay.  Interrupted, it is finished by running it again.
    """
    with open_agent(exclusive=True) as machine:
        seed_id = _seed_of(machine, policy)
        phase = machine.policies.progress(policy).phase
        offline = _offline(machine, policy)
        if phase not in (SeedPhase.ONLINE, SeedPhase.ABANDONED):
            raise SeedStillNeeded(policy, phase)
        if not yes and not confirm(_question(policy, phase, offline, seed_id)):
            raise Declined
        # The cloud first: it refuses what it still needs.
        landed = machine.connection().clean_up_seed(seed_id) if container else None
        staged = _remove_staged(offline, seed_id) if staging else None
    show(
        {"seed_id": seed_id, "container": landed, "staging": staged},
        _clean_up_text(offline, landed, staged),
        as_json=as_json,
    )


def _question(policy: str, phase: SeedPhase, offline: OfflineSettings, seed_id: SeedId) -> str:
    warning = ""
    if phase is SeedPhase.ABANDONED:
        warning = "Points made while its drives travelled cannot be restored without it. "
    return (
        f"{warning}Delete what is left of the seed of {policy}, in {offline.staging_location} and "
        f"{offline.storage_account}/{offline.container}/seed-{seed_id}/?"
    )


def _remove_staged(offline: OfflineSettings, seed_id: SeedId) -> Removed:
    folder = Path(offline.staging_location)
    if not (folder / seed_folder(seed_id)).is_dir():  # cleaned up before, or not mounted
        return Removed(objects=0, size_bytes=0)
    files = PosixFiles(folder)
    removed = remove_seed(files, seed_id)
    files.remove_empty_folders(seed_folder(seed_id))
    return removed


def _clean_up_text(
    offline: OfflineSettings, landed: CleanedUp | None, staged: Removed | None
) -> str:
    lines = []
    places = (
        (staged, offline.staging_location),
        (landed, f"{offline.storage_account}/{offline.container}"),
    )
    for removed, place in places:
        if removed is not None:
            what = count_text(removed.objects, "object")
            lines.append(f"{place}: {what} deleted, {size_text(removed.size_bytes)}")
    if staged is not None and staged.foreign:
        lines.append(f"{count_text(staged.foreign, 'file')} in the staging folder not ours: kept")
    return "\n".join(lines) or "nothing to do"


def _offline(machine: AgentMachine, policy: str) -> OfflineSettings:
    offline = machine.policies.load(policy).offline
    assert offline is not None, "only offline policies have a seed"
    return offline


def _seed_of(machine: AgentMachine, policy: str) -> SeedId:
    machine.policies.load(policy)
    progress = machine.policies.progress(policy)
    if progress.seed_id is None or progress.phase is SeedPhase.CONFIGURED:
        raise SeedAbsent(policy)
    return SeedId(progress.seed_id)
