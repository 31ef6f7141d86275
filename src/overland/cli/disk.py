"""`overland disk`: prepare drives from a staging location, ship them, and watch them."""

from pathlib import Path
from typing import Any

import click

from overland.adapters.volumes import create_folder_volume
from overland.cli import diskairgap, diskcustody
from overland.cli.completion import complete_path
from overland.cli.copycomputer import CopyComputer, open_copy_computer
from overland.cli.diskflow import (
    PrepareRequest,
    connected,
    one_of,
    prepare_seed,
    records_at,
    ship_parcel,
)
from overland.cli.diskform import form_options, with_options
from overland.cli.disklabels import write_labels
from overland.cli.diskquestions import TerminalQuestions
from overland.cli.disktexts import prepared, prepared_text, shipped_text, status_text
from overland.cli.outcome import SIZE, Commands, Exit, ask, json_option, note, show, size_text
from overland.diskprep import status as watching
from overland.diskprep.filling import StagedObjectDamaged
from overland.diskprep.prepare import Workbench, check_staged, choose_seed
from overland.diskprep.record import Preparation
from overland.diskprep.refusals import NoPreparation
from overland.diskprep.safety import DEFAULT_DRIVE_LIMIT_BYTES
from overland.diskprep.ship import NoJobYet
from overland.errors import OverlandError
from overland.seeding.copying import SourceUnreadable
from overland.seeding.staging import StagedProblem

__all__ = ["disk"]

_SETTINGS = click.option(
    "--publish-settings",
    envvar="OVERLAND_PUBLISH_SETTINGS",
    metavar="FILE",
    default="",
    shell_complete=complete_path,
    help="Publish settings of the subscription; remembered for later commands.",
)
_STAGING = click.option(
    "--staging", metavar="PATH", shell_complete=complete_path, help="The staging location."
)
_JOB = click.option("--job", "job_name", metavar="NAME", help="Of several seeds, that of this job.")
_SEED = click.option("--seed", "seed_id", metavar="ID", help="Of several seeds, this one.")

_EXITS: dict[watching.Answer, Exit] = {
    "no-such-job": Exit.ERROR,
    "unreachable": Exit.TRY_AGAIN,
    "not-authorised": Exit.REFUSED,
    "in-progress": Exit.OK,
    "ended": Exit.OK,
}


@click.group(cls=Commands)
def disk() -> None:
    """Prepare, ship and watch drives, on the copy computer.

    Killed or unplugged at any point, the same command goes on where it was.
    """


@disk.command()
@_STAGING
@_SETTINGS
@_JOB
@_SEED
@click.option(
    "--drive",
    "drives",
    multiple=True,
    metavar="PATH",
    shell_complete=complete_path,
    help="A drive to fill; repeat.",
)
@click.option(
    "--erase",
    multiple=True,
    metavar="SERIAL",
    help="Erase this drive although it holds data; repeat.",
)
@click.option(
    "--replace", metavar="SERIAL", help="Give a lost drive up and make its content again."
)
@click.option(
    "--missing",
    is_flag=True,
    help="Make drives with only what the shipped ones did not bring, as a job of its own.",
)
@click.option(
    "--drive-limit",
    type=SIZE,
    default=DEFAULT_DRIVE_LIMIT_BYTES,
    show_default="10TB",
    help="The largest drive that the datacenter takes.",
)
@click.option(
    "--usb-adapter", is_flag=True, help="A drive on USB is an internal one on an adapter."
)
@click.option(
    "--allow-virtual-source",
    is_flag=True,
    help="Prepare here although this source computer is virtual; the custody log records it.",
)
@click.option(
    "--offline-request",
    metavar="FILE",
    default="",
    shell_complete=complete_path,
    help="Write the job request to FILE instead of asking the cloud, for `overland disk submit`.",
)
@click.option("--yes", is_flag=True, help="Fill blank drives without asking.")
@json_option
def prepare(*, staging: str | None, publish_settings: str, as_json: bool, **options: Any) -> None:
    """Put a staged seed on drives, verify them, and create the import job.

    Drives are named with --drive, or asked for until everything fits.  Those that are named are
    filled side by side, four at a time, and each is verified while others are filled; a drive that
    fails leaves the others alone.  A drive that holds data is refused unless its serial number is
    repeated with --erase.

    Once a job is shipped it takes no more drives: --missing, and --replace for a drive on its way,
    then make another job, named after the first, with its own parcel and tracking number.
    """
    if options["missing"] and options["offline_request"]:
        raise click.UsageError("--missing asks the cloud; run it on a computer with a network")
    path = staging or ask("Staging location", option="--staging PATH")
    questions = TerminalQuestions(
        drives=options["drives"], erase=options["erase"], consent=options["yes"]
    )
    request = PrepareRequest(
        staging=path,
        publish_settings=publish_settings,
        job_name=options["job_name"],
        seed_id=options["seed_id"],
        replace=options["replace"],
        missing=options["missing"],
        offline_request=options["offline_request"],
        allow_virtual_source=options["allow_virtual_source"],
        usb_adapter=options["usb_adapter"],
    )
    with open_copy_computer() as computer:
        bench = computer.bench(questions, drive_limit_bytes=options["drive_limit"])
        done = prepare_seed(computer, bench, questions, request)
        if request.offline_request:
            shown = diskairgap.request_result(request.offline_request)
        else:
            shown = prepared(done, computer), prepared_text(done, computer)
        show(*shown, as_json=as_json)


@disk.command()
@_STAGING
@_JOB
@_SEED
@json_option
def check_staging(*, staging: str | None, as_json: bool, **options: Any) -> None:
    """Read a whole staged seed and compare it with its manifest, before drives are filled."""
    path = staging or ask("Staging location", option="--staging PATH")
    questions = TerminalQuestions(drives=(), erase=(), consent=False)
    with open_copy_computer() as computer:
        bench = computer.bench(questions)
        seed = choose_seed(
            computer.staging(path),
            questions,
            job_name=options["job_name"],
            seed_id=options["seed_id"],
        )
        problems = check_staged(seed, bench)
        if problems:
            raise _staged_error(problems)
        result = {"seed_id": seed.manifest.seed_id, "objects": len(seed.manifest.objects)}
        text = f"seed {seed.manifest.seed_id}: all {result['objects']} objects are whole"
        show(result, text, as_json=as_json)


@disk.command()
@_STAGING
@_SETTINGS
@_JOB
@_SEED
@form_options
@click.option("--yes", is_flag=True, help="Send without asking; for scripts.")
@json_option
def ship(*, staging: str | None, publish_settings: str, as_json: bool, **options: Any) -> None:
    """Tell the datacenter that the parcel is on its way.

    What is missing is asked for at a terminal, with what was typed before as default.  Everything
    is shown for review, and nothing is sent before you type yes; what was typed is kept either way.
    Run it again to correct an entry until the parcel has arrived.
    """
    questions = TerminalQuestions(drives=(), erase=(), consent=False)
    with open_copy_computer() as computer:
        bench = computer.bench(questions)
        record = one_of(_preparations(computer, bench, staging, options))
        form = with_options(record.form(), options)
        done = ship_parcel(
            computer, bench, record, form, settings=publish_settings, consent=options["yes"]
        )
        form = done.form()
        place = str(computer.folder / done.folder / "record.json")
        result = {
            "job": done.job_name,
            "carrier": form.carrier,
            "tracking_number": form.tracking_number,
            "drives": list(done.job.serials) if done.job else [],
            "record": place,
        }
        show(result, shipped_text(done, computer), as_json=as_json)


@disk.command()
@_STAGING
@_SETTINGS
@_JOB
@_SEED
@json_option
def status(*, staging: str | None, publish_settings: str, as_json: bool, **options: Any) -> int:
    """Show import jobs and their drives, and what has to happen next."""
    questions = TerminalQuestions(drives=(), erase=(), consent=False)
    with open_copy_computer() as computer:
        bench = computer.bench(questions)
        records = _preparations(computer, bench, staging, options)
        if not records:
            raise NoPreparation
        found = []
        for record in records:
            known, service = connected(record, bench, computer, publish_settings)
            found.append(watching.job_status(known, service, now=computer.clock.now()))
        show(found, "\n\n".join(status_text(each) for each in found), as_json=as_json)
        return max(_EXITS[each.answer] for each in found)


@disk.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--serial", required=True, help="The serial number that the drive shall have.")
@click.option("--capacity", type=SIZE, required=True, help="How much it holds, such as 40MiB.")
@json_option
def create_folder_drive_command(*, path: Path, serial: str, capacity: int, as_json: bool) -> None:
    """Make the folder PATH behave as a drive, for practice and tests."""
    create_folder_volume(path, serial=serial, capacity_bytes=capacity)
    result = {"path": str(path), "serial": serial, "capacity_bytes": capacity}
    show(result, f"drive {serial} at {path}, {size_text(capacity)}", as_json=as_json)


create_folder_drive_command.name = "create-folder-drive"
disk.add_command(create_folder_drive_command)


@disk.command()
@_STAGING
@_JOB
@_SEED
@json_option
def label(*, staging: str | None, as_json: bool, **options: Any) -> None:
    """Write the packing list and the shipping label again, as PDF where possible, and as text."""
    questions = TerminalQuestions(drives=(), erase=(), consent=False)
    with open_copy_computer() as computer:
        record = one_of(_preparations(computer, computer.bench(questions), staging, options))
        if record.job is None:
            raise NoJobYet(record.job_name)
        files = [str(path) for path in write_labels(computer, record)]
        show({"job": record.job_name, "files": files}, "\n".join(files), as_json=as_json)


disk.add_command(diskairgap.submit)
disk.add_command(diskairgap.accept_answer)
disk.add_command(diskcustody.custody)


def _staged_error(problems: list[StagedProblem]) -> OverlandError:
    """Name each problem, and return the error that ends the command."""
    for problem in problems:
        unread = "it cannot be read: " if problem.is_unreadable else ""
        note(f"{problem.name}: {unread}{problem.check}")
    unreadable = sum(problem.is_unreadable for problem in problems)
    note(f"{len(problems) - unreadable} absent or damaged, {unreadable} unreadable")
    for problem in problems:
        if not problem.is_unreadable:
            return StagedObjectDamaged(problem.name, check=problem.check)
    return SourceUnreadable(problems[0].name, why=problems[0].check)


def _preparations(
    computer: CopyComputer, bench: Workbench, staging: str | None, options: dict[str, Any]
) -> list[Preparation]:
    """Return the records that a command is about: those here, or of a staging location."""
    records = (
        computer.preparations.all() if staging is None else records_at(computer, bench, [staging])
    )
    job_name, seed_id = options["job_name"], options["seed_id"]
    return [
        record
        for record in records
        if job_name in {None, record.job_name} and seed_id in {None, record.seed_id}
    ]
