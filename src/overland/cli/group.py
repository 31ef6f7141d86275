"""`overland group`: several workloads of a computer, protected as one.

A protection group is a policy with members of several kinds; every command of `overland policy`
works on it too.
"""

import shutil
import time
from typing import Any, Final

import click

from overland.agent.groups import (
    grown,
    is_open,
    members,
    refuse_while_open,
    shrunk,
    system_state,
    when_protected,
)
from overland.agent.mounts import Mounts
from overland.agent.policy import Policy
from overland.agent.seedrefusals import PointNotMade
from overland.agent.sourcekinds import source_problems
from overland.cli.backup import note_failed, outcome_text, staging_text
from overland.cli.completion import complete_path
from overland.cli.machine import AgentMachine, open_agent
from overland.cli.outcome import Commands, count_text, json_option, note, show
from overland.cli.policy import create as create_policy
from overland.cli.policyoptions import given_commands
from overland.cli.policyrules import full_path

__all__ = ["group"]

_SILENCE_S: Final = 3600.0
_PROGRAMS: Final = ("dpkg", "rpm", "lsblk", "findmnt", "systemctl", "getent", "sysctl")


@click.group(cls=Commands)
def group() -> None:
    """Files, databases and images of this computer, protected as one.

    The members of a group share schedule, retention and first copy.  A group is a policy:
    `overland policy` and `overland backup` take its name too.
    """


group.add_command(create_policy, "create")


@group.command()
@click.argument("name", metavar="GROUP")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROGRAM [ARGUMENT]...]")
@click.option(
    "--source",
    "sources",
    multiple=True,
    shell_complete=complete_path,
    help="Folder or file; repeatable.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    shell_complete=complete_path,
    help="Image file or block device; repeatable.",
)
@click.option("--command", metavar="NAME", help="Store what PROGRAM prints as the file NAME.")
@click.option("--system-state", is_flag=True, help="Store what this system is made of.")
@json_option
def add(
    name: str,
    argv: tuple[str, ...],
    *,
    sources: tuple[str, ...],
    images: tuple[str, ...],
    command: str | None,
    system_state: bool,
    as_json: bool,
) -> None:
    """Add members to GROUP.

    While a seed of the group is on its way, new members go over the network: the drives do not
    wait for them.  --system-state adds commands that write down packages, disks, mounts, services,
    accounts and kernel settings; name folders such as /etc with --source.
    """
    with open_agent() as machine:
        old, progress = machine.policies.load(name), machine.policies.progress(name)
        commands = given_commands(command, argv, _SILENCE_S)
        if system_state:
            commands += _system_state()
        if not (sources or images or commands):
            raise click.UsageError("name a member: --source, --image, --command or --system-state")
        replaced = {each.name for each in old.commands} & {each.name for each in commands}
        if replaced:  # another program under the same name is an edit of what is there
            refuse_while_open(name, progress)
        new = grown(
            old,
            sources=[full_path(path) for path in sources],
            images=[full_path(path) for path in images],
            commands=commands,
        )
        _refuse_unfit(old, new)
        machine.policies.save(new)
    count = count_text(len(members(new)) - len(members(old)), "new member")
    text = f"{_members_text(new)}\n{count}: {when_protected(new, progress)}"
    show({"group": new.name, "members": members(new)}, text, as_json=as_json)


def _system_state() -> tuple[Any, ...]:  # Any: see `system_state`, whose name is an option's here
    return system_state(
        [program for program in _PROGRAMS if shutil.which(program)], timeout_s=_SILENCE_S
    )


def _refuse_unfit(old: Policy, new: Policy) -> None:
    """Refuse new members that no first copy by drive is made of."""
    if new.first_copy != "offline":
        return
    known = {each.name for each in members(old)}
    for problem in source_problems(new, Mounts.now(), allowed=new.allowed_sources):
        if problem.path not in known:
            raise problem


@group.command()
@click.argument("name", metavar="GROUP")
@click.argument("member_names", metavar="MEMBER...", nargs=-1, required=True)
@json_option
def remove(name: str, member_names: tuple[str, ...], *, as_json: bool) -> None:
    """Protect MEMBER of GROUP no longer; recovery points that have it keep it.

    All members are removed or none is; while a seed is on its way, none is.
    """
    with open_agent() as machine:
        old = machine.policies.load(name)
        refuse_while_open(name, machine.policies.progress(name))
        new = shrunk(old, member_names)
        machine.policies.save(new)
    show({"group": new.name, "members": members(new)}, _members_text(new), as_json=as_json)


@group.command("list")
@json_option
def list_groups(*, as_json: bool) -> None:
    """Name all groups, with how many members of which kind each has."""
    with open_agent() as machine:
        rows = [_row(machine, name) for name in machine.policies.names()]
    text = "\n".join(
        f"{row['name']:<20} {row['phase']:<16} {count_text(row['files'], 'file')}, "
        f"{count_text(row['images'], 'image')}, {count_text(row['commands'], 'command')}"
        for row in rows
    )
    show(rows, text or "no groups yet; make one with `overland group create`", as_json=as_json)


def _row(machine: AgentMachine, name: str) -> dict[str, Any]:
    policy = machine.policies.load(name)
    return {
        "name": name,
        "phase": machine.policies.progress(name).phase,
        "files": len(policy.sources),
        "images": len(policy.images),
        "commands": len(policy.commands),
    }


@group.command("show")
@click.argument("name", metavar="GROUP")
@json_option
def show_group(name: str, *, as_json: bool) -> None:
    """Show the members of GROUP and how far its seed has come."""
    with open_agent() as machine:
        policy, progress = machine.policies.load(name), machine.policies.progress(name)
    text = f"{_members_text(policy)}\n{'phase':<9} {progress.phase}"
    if is_open(progress):
        text += f"\nnew members: {when_protected(policy, progress)}"
    show(
        {"group": name, "first_copy": policy.first_copy, "members": members(policy)}
        | {"phase": progress.phase},
        text,
        as_json=as_json,
    )


def _members_text(policy: Policy) -> str:
    return "\n".join(
        f"{each.kind:<9} {each.name}" + (f": {each.detail}" if each.detail else "")
        for each in members(policy)
    )


@group.command("create-recovery-point")
@click.argument("name", metavar="GROUP")
@click.option("--online", is_flag=True, help="In the vault: the only place of points here.")
@json_option
def create_recovery_point(name: str, *, online: bool, as_json: bool) -> int:
    """Make a recovery point of all members of GROUP now, as `overland backup now` does.

    The first one of an offline group is written to the staging location.
    """
    if not online:
        raise click.UsageError("give --online: points are made in the vault, none on local disks")
    return _run(name, reads_all=False, as_json=as_json)


@group.command("consistency-check")
@click.argument("name", metavar="GROUP")
@json_option
def consistency_check(name: str, *, as_json: bool) -> int:
    """Compare every member of GROUP with what is stored of it, byte for byte, and repair.

    Everything is read, also files whose size and times say that they did not change; what differs
    goes into a new recovery point.
    """
    with open_agent() as machine:
        machine.policies.load(name)
        if machine.policies.progress(name).last_point_id is None:
            raise PointNotMade(name)
    return _run(name, reads_all=True, as_json=as_json)


def _run(name: str, *, reads_all: bool, as_json: bool) -> int:
    with open_agent(exclusive=True) as machine:
        started = time.monotonic()
        staging = staging_text(machine, name)
        if staging:
            note(staging)
        outcome = machine.runner(reads_all=reads_all).run(name, trigger="manual")
        seconds = time.monotonic() - started
    show(
        {"seconds": round(seconds, 3), "outcome": outcome},
        outcome_text(outcome, seconds),
        as_json=as_json,
    )
    return note_failed(outcome)
