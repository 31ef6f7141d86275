"""`AzureOfflineBackupDiskPrep`: the original's command lines, as they stand in its runbooks.

    AzureOfflineBackupDiskPrep s:<staging location> [p:<publish settings file>]
    AzureOfflineBackupDiskPrep u: [s:<staging location> p:<publish settings file>]

Behind them are the steps of `overland disk`.  A path that really begins or ends with a quote or
a mark of emphasis is given to `overland disk prepare --staging`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import click

from overland.cli.copycomputer import CopyComputer, open_copy_computer
from overland.cli.diskflow import (
    PrepareRequest,
    connected,
    one_of,
    prepare_seed,
    records_at,
    remember,
    ship_parcel,
)
from overland.cli.diskquestions import TerminalQuestions
from overland.cli.disktexts import prepared_text, shipped_text, status_text
from overland.cli.log import configure_logging
from overland.cli.originalwords import WrongUsage, values_of
from overland.cli.outcome import Commands, Exit, confirm, is_interactive, note, say, show
from overland.diskprep import status as watching
from overland.diskprep.prepare import Workbench
from overland.diskprep.record import Preparation
from overland.diskprep.refusals import NoPreparation

__all__ = ["CommandLine", "main", "parse"]

_USAGE: Final = """\
Prepare drives for the import of a first backup:
  AzureOfflineBackupDiskPrep s:<staging location>                        on the source computer
  AzureOfflineBackupDiskPrep s:<staging location> p:<publish settings>   elsewhere

Show the import job, and enter or correct what is shipped:
  AzureOfflineBackupDiskPrep u:                                          on the source computer
  AzureOfflineBackupDiskPrep u: s:<staging location> p:<publish settings>   elsewhere
"""
_PROGRAM: Final = "AzureOfflineBackupDiskPrep"
_EDITABLE: Final = frozenset({"Creating", "Shipping"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What was typed; a path is empty when its key was not given."""

    is_update: bool
    staging: str
    publish_settings: str


def parse(words: Sequence[str]) -> CommandLine:
    """Return what the words of a command line mean.

    Raises:
        WrongUsage: A key is unknown, missing, empty or given twice.
    """
    paths = values_of(words, ("s", "p", "u"), program=_PROGRAM)
    if paths.get("u"):
        raise _wrong(f"u: takes nothing, and was given {paths['u']!r}")
    for key in ("s", "p"):
        if paths.get(key) == "":
            raise _wrong(f"{key}: needs a path right behind the colon")
    if "u" not in paths and "s" not in paths:
        raise _wrong("s: is missing; it names the staging location of the first backup")
    return CommandLine(
        is_update="u" in paths,
        staging=paths.get("s", ""),
        publish_settings=paths.get("p", ""),
    )


def _wrong(problem: str) -> WrongUsage:
    return WrongUsage(problem, program=_PROGRAM)


@click.group(cls=Commands)
def _program() -> None:
    """Give the one command below its way of ending."""


@_program.command("run", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("words", nargs=-1)
def _run(*, words: tuple[str, ...]) -> int:
    if any(word in {"-h", "--help", "/?", "-?"} for word in words):
        say(_USAGE)
        return Exit.OK
    if not words:
        note(_USAGE)
    line = parse(words)
    questions = TerminalQuestions(drives=(), erase=(), consent=False)
    with open_copy_computer() as computer:
        bench = computer.bench(questions)
        if line.is_update:
            return _update(line, computer, bench)
        return _prepare(line, computer, bench, questions)


def _prepare(
    line: CommandLine, computer: CopyComputer, bench: Workbench, questions: TerminalQuestions
) -> int:
    if not line.publish_settings and not _is_of_this_source(line.staging, computer):
        raise _wrong(
            "p: is missing: this computer did not write the backup in that staging location, so "
            "it has to be told the publish settings file"
        )
    request = PrepareRequest(staging=line.staging, publish_settings=line.publish_settings)
    done = prepare_seed(computer, bench, questions, request)
    show(None, prepared_text(done, computer), as_json=False)
    if not is_interactive() or not confirm("Enter the shipping information now?"):
        note("to do it later: AzureOfflineBackupDiskPrep u:")
        return Exit.OK
    return _ship(done, computer, bench, line.publish_settings)


def _is_of_this_source(staging: str, computer: CopyComputer) -> bool:
    repository_id = computer.source.repository_id()
    seeds = computer.staging(staging).seeds()
    return any(seed.record and seed.record.repository_id == repository_id for seed in seeds)


def _update(line: CommandLine, computer: CopyComputer, bench: Workbench) -> int:
    """Show the jobs that wait, and offer the shipping wizard."""
    shown = []
    for record in _waiting(line, computer, bench):
        known, service = connected(record, bench, computer, line.publish_settings)
        shown.append((known, watching.job_status(known, service, now=computer.clock.now())))
    if not shown:
        raise NoPreparation
    show(None, "\n\n".join(status_text(status) for _, status in shown), as_json=False)
    editable = [record for record, status in shown if status.state in _EDITABLE]
    if editable and is_interactive() and confirm("Enter or correct the shipping information now?"):
        return _ship(one_of(editable), computer, bench, line.publish_settings)
    return max(_EXITS[status.answer] for _, status in shown)


_EXITS: Final[dict[watching.Answer, Exit]] = {
    "no-such-job": Exit.ERROR,
    "unreachable": Exit.TRY_AGAIN,
    "not-authorised": Exit.REFUSED,
    "in-progress": Exit.OK,
    "ended": Exit.OK,
}


def _waiting(line: CommandLine, computer: CopyComputer, bench: Workbench) -> list[Preparation]:
    """Return the records that `u:` is about: what this source waits for, or those named (R95)."""
    if line.staging and line.publish_settings:
        records = records_at(computer, bench, [line.staging])
        return [remember(record, bench, line.publish_settings) for record in records]
    if computer.source.repository_id() is None or line.staging or line.publish_settings:
        raise _wrong("away from the source computer, u: needs both s: and p:")
    jobs = {policy.offline.job_name for policy in computer.source.policies() if policy.offline}
    records = records_at(computer, bench, computer.source.staging_locations())
    return [record for record in records if record.job_name in jobs]


def _ship(record: Preparation, computer: CopyComputer, bench: Workbench, settings: str) -> int:
    done = ship_parcel(
        computer, bench, record, record.form(), settings=settings, consent=False, again=True
    )
    show(None, shipped_text(done, computer), as_json=False)
    return Exit.OK


def main() -> None:
    """Run the program; exit codes are those of `overland` (`docs/reference/exit-codes.md`)."""
    configure_logging(default="warning")
    _program.main(["run", "--", *sys.argv[1:]], prog_name=_PROGRAM)


if __name__ == "__main__":
    main()
