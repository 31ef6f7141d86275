"""`overland disk`: prepare drives from a staging location, ship them, and watch them."""

from pathlib import Path
from typing import Any

import click
import msgspec

from overland.adapters.volumes import create_folder_volume
from overland.cli.copycomputer import CopyComputer, open_copy_computer
from overland.cli.diskform import asked, form_options, with_options
from overland.cli.diskquestions import TerminalQuestions
from overland.cli.outcome import (
    SIZE,
    Commands,
    Exit,
    ask,
    confirm,
    json_option,
    note,
    show,
    size_text,
)
from overland.diskprep import ship as shipping
from overland.diskprep import status as watching
from overland.diskprep import submit as submission
from overland.diskprep.filling import StagedObjectDamaged
from overland.diskprep.prepare import (
    DEFAULT_DRIVE_LIMIT_BYTES,
    Workbench,
    check_staged,
    choose_seed,
    prepare_drives,
    record_for,
)
from overland.diskprep.record import Preparation
from overland.diskprep.refusals import NoPreparation, SeveralPreparations, ShippingDeclined
from overland.errors import Unreachable

__all__ = ["disk"]

_SETTINGS = click.option(
    "--publish-settings",
    envvar="OVERLAND_PUBLISH_SETTINGS",
    metavar="FILE",
    default="",
    help="Publish settings of the subscription; remembered for later commands.",
)
_STAGING = click.option("--staging", metavar="PATH", help="The staging location.")
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
@click.option("--drive", "drives", multiple=True, metavar="PATH", help="A drive to fill; repeat.")
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
    "--drive-limit",
    type=SIZE,
    default=DEFAULT_DRIVE_LIMIT_BYTES,
    show_default="10TB",
    help="The largest drive that the datacenter takes.",
)
@click.option("--yes", is_flag=True, help="Fill blank drives without asking.")
@json_option
def prepare(*, staging: str | None, publish_settings: str, as_json: bool, **options: Any) -> None:
    """Put a staged seed on drives, verify them, and create the import job.

    Drives are named with --drive, or asked for until everything fits.  Those that are named are
    filled side by side, four at a time, and each is verified while others are filled; a drive that
    fails leaves the others alone.  A drive that holds data is refused unless its serial number is
    repeated with --erase.
    """
    path = staging or ask("Staging location", option="--staging PATH")
    questions = TerminalQuestions(
        drives=options["drives"], erase=options["erase"], consent=options["yes"]
    )
    with open_copy_computer() as computer:
        bench = computer.bench(questions, drive_limit_bytes=options["drive_limit"])
        location = computer.staging(path)
        seed = choose_seed(
            location, questions, job_name=options["job_name"], seed_id=options["seed_id"]
        )
        record = _remember(record_for(seed, bench, staging=location.path), bench, publish_settings)
        service = computer.service(record.publish_settings, subscription_id=record.subscription_id)
        try:
            submission.find_job(record, bench, service)  # a name that is taken is told first
        except Unreachable as error:
            note(f"the import job is created when the network is back: {error}")
        done = prepare_drives(seed, bench, staging=location.path, replace=options["replace"])
        for unused in questions.unused_drives():
            note(f"the drive at {unused} was not needed and not touched; do not ship it")
        done = submission.submit(done, bench, service)
        show(_prepared(done, computer), _prepared_text(done, computer), as_json=as_json)


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
            for problem in problems:
                note(f"{problem.name}: {problem.check}")
            raise StagedObjectDamaged(problems[0].name, check=problems[0].check)
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
        record = _one_preparation(computer, bench, staging, options)
        record = _remember(record, bench, publish_settings)
        form = asked(with_options(record.form(), options))
        record = shipping.keep(record, form, bench)
        if missing := shipping.missing_fields(form):
            raise shipping.ShippingIncomplete(missing)
        service = computer.service(record.publish_settings, subscription_id=record.subscription_id)
        if record.job is None:
            record = submission.find_job(record, bench, service)
        note(shipping.review(record, form))
        if not (options["yes"] or confirm("Is this right, and may it be sent?")):
            raise ShippingDeclined(record.job_name)
        done = shipping.commit(record, form, bench, service)
        place = str(computer.folder / done.seed_id / "record.json")
        result = {
            "job": done.job_name,
            "carrier": form.carrier,
            "tracking_number": form.tracking_number,
            "drives": list(done.job.serials) if done.job else [],
            "record": place,
        }
        text = (
            f"import job {done.job_name} is on its way with {form.carrier}, "
            f"number {form.tracking_number}\nstored in {place}"
        )
        show(result, text, as_json=as_json)


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
            settings = publish_settings or record.publish_settings
            service = computer.service(settings, subscription_id=record.subscription_id)
            found.append(watching.job_status(record, service, now=computer.clock.now()))
        show(found, "\n\n".join(_status_text(each) for each in found), as_json=as_json)
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


def _remember(record: Preparation, bench: Workbench, settings: str) -> Preparation:
    """Keep where the publish settings are, so that later commands find them."""
    if not settings or record.publish_settings == str(Path(settings).absolute()):
        return record
    known = msgspec.structs.replace(record, publish_settings=str(Path(settings).absolute()))
    bench.preparations.save(known)
    return known


def _preparations(
    computer: CopyComputer, bench: Workbench, staging: str | None, options: dict[str, Any]
) -> list[Preparation]:
    """Return the records that a command is about: those here, or of a staging location."""
    if staging is not None:
        location = computer.staging(staging)
        seeds = [seed for seed in location.seeds() if seed.why_not is None]
        records = [
            record_for(location.open(seed.seed_id), bench, staging=location.path) for seed in seeds
        ]
    else:
        records = computer.preparations.all()
    job_name, seed_id = options["job_name"], options["seed_id"]
    return [
        record
        for record in records
        if job_name in {None, record.job_name} and seed_id in {None, record.seed_id}
    ]


def _one_preparation(
    computer: CopyComputer, bench: Workbench, staging: str | None, options: dict[str, Any]
) -> Preparation:
    """Return the one record that a command is about: the only one, or the only unshipped one."""
    records = _preparations(computer, bench, staging, options)
    if len(records) > 1:
        records = [each for each in records if not (each.job and each.job.shipped_at)] or records
    match records:
        case []:
            raise NoPreparation
        case [only]:
            return only
        case _:
            raise SeveralPreparations([record.job_name for record in records])


def _prepared(done: Preparation, computer: CopyComputer) -> dict[str, object]:
    job = done.job
    assert job is not None, "the job was created"
    return {
        "job": done.job_name,
        "job_id": job.arm_id,
        "seed_id": done.seed_id,
        "location": job.location,
        "ship_to": job.ship_to,
        "carriers": job.carriers,
        "drives": [
            {
                "serial": drive.serial,
                "path": drive.path,
                "sequence": drive.sequence,
                "objects": drive.object_count,
                "bytes": drive.object_bytes,
                "manifest_hash": drive.manifest_hash,
            }
            for drive in done.sealed()
        ],
        "objects": done.object_count,
        "bytes": done.object_bytes,
        "record": str(computer.folder / done.seed_id),
    }


def _prepared_text(done: Preparation, computer: CopyComputer) -> str:
    return (
        f"{submission.packing_list(done)}\n"
        f"The packing list and the record are in {computer.folder / done.seed_id}\n"
        "Next: hand the parcel to the carrier, then run `overland disk ship`."
    )


def _status_text(found: watching.JobStatus) -> str:
    head = {
        "no-such-job": "there is no such job",
        "unreachable": f"the service cannot be reached: {found.detail}",
        "not-authorised": f"not authorised: {found.detail}",
    }.get(found.answer, found.state)
    percent = "" if found.percent_complete is None else f", {found.percent_complete} %"
    lines = [f"import job {found.job_name}: {head}{percent}"]
    for drive in found.drives:
        done = "" if drive.percent_complete is None else f", {drive.percent_complete} %"
        lines.append(f"  drive {drive.serial}: {drive.state or drive.prepared}{done}")
    step = found.next_step
    by = "" if step.by is None else f", by {step.by:%Y-%m-%d}"
    urgent = " - little time is left" if step.is_urgent else ""
    lines.append(f"  next: {step.who}: {step.what}{by}{urgent}")
    return "\n".join(lines)
