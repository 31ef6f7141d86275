"""Protection groups: one policy whose members are of several kinds.

A group is a policy, and a policy with one folder is a group of one: members share schedule,
retention, first-copy method and, on the way, the seed.  What is said here of a group holds for
every policy.

While a seed is under way its members, times and retention stay, so that what the drives carry
stays what the policy says (R58).  A new member is the exception: it is not on the drives and does
not need to be, for it goes over the network by itself, from the next run on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from overland.agent.policy import (
    CommandSource,
    Policies,
    Policy,
    PolicyInvalid,
    Progress,
    SeedPhase,
)
from overland.agent.refusals import SeedUnderWay
from overland.agent.seedrefusals import JobNameElsewhere

__all__ = [
    "Member",
    "grown",
    "is_open",
    "members",
    "refuse_job_name",
    "refuse_while_open",
    "shrunk",
    "system_state",
    "when_protected",
]

_SYSTEM_STATE_FOLDER: Final = "/system-state"

_STATE_COMMANDS: Final = (
    ("packages-dpkg", "dpkg", ("dpkg-query", "--show", "--showformat", "${Package}=${Version}\\n")),
    ("packages-rpm", "rpm", ("rpm", "--query", "--all")),
    ("disks", "lsblk", ("lsblk", "--json", "--output-all", "--bytes")),
    ("mounts", "findmnt", ("findmnt", "--json", "--real")),
    ("services", "systemctl", ("systemctl", "list-unit-files", "--no-pager", "--no-legend")),
    ("accounts", "getent", ("getent", "passwd")),
    ("groups", "getent", ("getent", "group")),
    ("kernel-settings", "sysctl", ("sysctl", "--all", "--ignore")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One thing that a group protects; `name` is how it is removed again."""

    kind: Literal["files", "image", "command"]
    name: str
    detail: str = ""


def members(policy: Policy) -> list[Member]:
    """Return everything that the policy protects, in the order of a recovery point."""
    return [
        *(Member(kind="files", name=path) for path in policy.sources),
        *(Member(kind="image", name=path) for path in policy.images),
        *(
            Member(kind="command", name=each.name, detail=" ".join(each.argv))
            for each in policy.commands
        ),
    ]


def grown(
    policy: Policy,
    *,
    sources: Iterable[str] = (),
    images: Iterable[str] = (),
    commands: Iterable[CommandSource] = (),
) -> Policy:
    """Return the policy with more members; a command of a known name replaces it.

    Raises:
        PolicyInvalid: A new member breaks a rule, or meets another one.
    """
    new = tuple(commands)
    taken = {each.name for each in new}
    return msgspec.structs.replace(
        policy,
        sources=tuple(dict.fromkeys((*policy.sources, *sources))),
        images=tuple(dict.fromkeys((*policy.images, *images))),
        commands=(*(each for each in policy.commands if each.name not in taken), *new),
    ).checked()


def shrunk(policy: Policy, names: Sequence[str]) -> Policy:
    """Return the policy without some members; points that have them keep them.

    Raises:
        PolicyInvalid: There is no such member, or none would be left.
    """
    known = {each.name for each in members(policy)}
    for name in names:
        if name not in known:
            raise PolicyInvalid("member", f"{policy.name} has no member {name}")
    gone = set(names)
    return msgspec.structs.replace(
        policy,
        sources=tuple(path for path in policy.sources if path not in gone),
        images=tuple(path for path in policy.images if path not in gone),
        commands=tuple(each for each in policy.commands if each.name not in gone),
    ).checked()


def system_state(programs: Iterable[str], *, timeout_s: float) -> tuple[CommandSource, ...]:
    """Return the commands that write down what this system is made of.

    `programs` are those that the computer has.  The files that make up the system, such as `/etc`,
    are protected as files.
    """
    known = set(programs)
    return tuple(
        CommandSource(name=f"{_SYSTEM_STATE_FOLDER}/{name}", argv=argv, timeout_s=timeout_s)
        for name, program, argv in _STATE_COMMANDS
        if program in known
    )


def is_open(progress: Progress) -> bool:
    """Return whether the seed is on its way: staged, and not in the vault yet."""
    return progress.phase in {SeedPhase.AWAITING_IMPORT, SeedPhase.ADOPTING}


def refuse_while_open(name: str, progress: Progress) -> None:
    """Return if members, times and retention may be edited.

    Raises:
        SeedUnderWay: The seed is on its way.
    """
    if is_open(progress):
        raise SeedUnderWay(name, progress.phase)


def when_protected(policy: Policy, progress: Progress) -> str:
    """Return when a member that was added is in a recovery point, and how it gets there."""
    if not is_open(progress):
        return "the next run protects it"
    if policy.in_transit == "protect":
        return "the next run protects it over the network; the drives travel as they are"
    return (
        "it is protected over the network when the seed is in the vault; sooner with "
        f"`overland policy change {policy.name} --in-transit protect`"
    )


def refuse_job_name(policy: Policy, policies: Policies) -> None:
    """Return if no other policy here has the job name with another storage account (R54).

    Raises:
        JobNameElsewhere: One has.
    """
    assert policy.offline is not None, "only offline policies have a job name"
    for name in policies.names():
        other = policies.load(name).offline
        if name == policy.name or other is None or other.job_name != policy.offline.job_name:
            continue
        is_over = policies.progress(name).phase is SeedPhase.ABANDONED
        if other.storage_account != policy.offline.storage_account and not is_over:
            raise JobNameElsewhere(
                other.job_name, policy=name, storage_account=other.storage_account
            )
