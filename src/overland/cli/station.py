"""`overland station`: receive parcels, import drives, send them back."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import click

from overland.cli.completion import complete_path
from overland.cli.outcome import Commands, Exit, count_text, json_option, show, size_text
from overland.cli.refusals import FileUnusable
from overland.cli.stationcomputer import (
    home_option,
    open_station,
    save_config,
    station_folder,
)
from overland.cli.stationexport import export
from overland.format.copy_log import DriveStatus
from overland.station.home import StationConfig
from overland.station.ingest import Choice, DamagedObject, DriveOutcome
from overland.station.intake import Parcel
from overland.station.overview import JobStatus, StationStatus
from overland.station.returning import ReturnedParcel

__all__ = ["station"]

_MAX_FILE_BYTES: Final = 1 << 20
_SHOWN_OBJECTS: Final = 20  # the error log names them all

# How a drive can be given up: it never came to reading its manifests.
_REASONS: Final = tuple(
    each.value
    for each in (
        DriveStatus.DISK_NOT_FOUND,
        DriveStatus.DISK_OPERATION_FAILED,
        DriveStatus.VOLUME_NOT_NTFS,
        DriveStatus.BITLOCKER_VOLUME_NOT_FOUND,
        DriveStatus.BITLOCKER_NOT_ACTIVATED,
        DriveStatus.BITLOCKER_PROTECTOR_NOT_FOUND,
        DriveStatus.BITLOCKER_KEY_INVALID,
        DriveStatus.BITLOCKER_UNLOCK_VOLUME_FAILED,
        DriveStatus.BITLOCKER_FAILED,
    )
)


@click.group(cls=Commands)
def station() -> None:
    """Receive parcels, import what their drives bring or fill them, and send the drives back."""


station.add_command(export)


@station.command()
@click.option("--cloud-url", required=True, help="Address of the cloud's API.")
@click.option("--ca-file", type=click.Path(dir_okay=False), help="Its certificate authority.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    required=True,
    help="File with a token of the role `station`.",
)
@click.option(
    "--object-socket",
    type=click.Path(dir_okay=False),
    help="Of a cloud on this computer, as given to `cloud serve`: its way for objects, not TLS.",
)
@home_option
@json_option
def init(
    *,
    cloud_url: str,
    ca_file: str | None,
    token_file: str,
    object_socket: str | None,
    home: str | None,
    as_json: bool,
) -> None:
    """Tell this station which cloud it serves; token and socket are tried at once."""
    config = StationConfig(
        url=cloud_url,
        ca_pem=_text(ca_file) if ca_file else "",
        token=_text(token_file).strip(),
        object_socket=str(Path(object_socket).absolute()) if object_socket else "",
    )
    folder = station_folder(home)
    save_config(folder, config)
    show(
        {"url": config.url, "home": str(folder)},
        f"this station serves {config.url}\nNext: overland station receive",
        as_json=as_json,
    )


@station.command()
@click.option("--tracking-number", required=True, help="The number on the parcel.")
@click.option("--carrier", required=True, help="Who brought it.")
@click.option(
    "--drive",
    "paths",
    multiple=True,
    shell_complete=complete_path,
    help="Where a drive is attached; repeat.",
)
@click.option("--serial", "serials", multiple=True, help="A drive that cannot be opened; repeat.")
@home_option
@json_option
def receive(
    *,
    tracking_number: str,
    carrier: str,
    paths: tuple[str, ...],
    serials: tuple[str, ...],
    home: str | None,
    as_json: bool,
) -> None:
    """Book a parcel in with all drives that were in it; nothing on them is changed."""
    if not paths and not serials:
        raise click.UsageError("name the drives of the parcel: --drive PATH, or --serial NUMBER")
    with open_station(home) as machine:
        parcel = machine.intake().receive(
            tracking_number=tracking_number,
            carrier=carrier,
            paths=_absolute(paths),
            serials=serials,
        )
    show(parcel, _parcel_text(parcel), as_json=as_json)


@station.command()
@click.option("--job", help="Name or id of an import job.")
@click.option(
    "--drive",
    "paths",
    multiple=True,
    shell_complete=complete_path,
    help="Where a drive is attached; repeat.",
)
@click.option("--all", "everything", is_flag=True, help="Every drive that waits here.")
@home_option
@json_option
def ingest(
    *, job: str | None, paths: tuple[str, ...], everything: bool, home: str | None, as_json: bool
) -> int:
    """Verify drives and upload what they bring, four at a time.

    Killed or stopped at any point, the same command goes on where it was.  Exit code 4 means that
    a drive ended with damage, 5 that a drive stopped and the command can be run again.
    """
    if not (job or paths or everything):
        raise click.UsageError("say what to import: --job JOB, --drive PATH or --all")
    with open_station(home) as machine:
        importer = machine.ingest()
        choices = importer.choose(job=job, paths=_absolute(paths))
        outcomes = importer.run(choices)
    show(outcomes, _outcomes_text(outcomes, choices), as_json=as_json)
    return _exit(outcomes)


@station.command("give-up")
@click.argument("serial")
@click.option("--reason", type=click.Choice(_REASONS), required=True, help="Documented status.")
@home_option
@json_option
def give_up(*, serial: str, reason: str, home: str | None, as_json: bool) -> int:
    """End the import of the drive SERIAL, which cannot be read, for good.

    What landed of it stays; its owner learns which objects are missing and can send them again.
    """
    with open_station(home) as machine:
        outcome = machine.ingest().give_up(serial, reason=DriveStatus(reason))
    show(outcome, _outcome_text(outcome), as_json=as_json)
    return _exit([outcome])


@station.command("return")
@click.option("--job", required=True, help="Name or id of the import job.")
@click.option("--carrier", required=True, help="Who carries the drives back.")
@click.option("--tracking-number", required=True, help="The number of the parcel.")
@home_option
@json_option
def send_back(
    *, job: str, carrier: str, tracking_number: str, home: str | None, as_json: bool
) -> None:
    """Record that the finished drives of a job were sent back to their owner."""
    with open_station(home) as machine:
        parcel = machine.returning().send_back(
            job, carrier=carrier, tracking_number=tracking_number
        )
    show(parcel, _returned_text(parcel), as_json=as_json)


@station.command()
@home_option
@json_option
def status(*, home: str | None, as_json: bool) -> None:
    """List the import jobs and the drives that are here, and what to do next."""
    with open_station(home) as machine:
        found = machine.overview().status()
    show(found, _status_text(found), as_json=as_json)


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnusable(Path(path), problem=str(error)) from None


def _absolute(paths: Iterable[str]) -> list[str]:
    return [str(Path(path).absolute()) for path in paths]


def _exit(outcomes: Sequence[DriveOutcome]) -> int:
    """Return the exit code of an import: damage goes before what can be run again."""
    results = {each.result for each in outcomes}
    if results & {"failed", "completed-more-info"}:
        return Exit.INTEGRITY
    stops = [each.stop for each in outcomes if each.result == "stopped"]
    if any(stop is not None and stop.family == "refused" for stop in stops):
        return Exit.REFUSED
    if stops:
        return Exit.TRY_AGAIN
    return Exit.REFUSED if "no-path" in results else Exit.OK


def _parcel_text(parcel: Parcel) -> str:
    job = f"of job {parcel.job_id}" if parcel.job_id else "of no known job"
    lines = [f"parcel {parcel.tracking_number} by {parcel.carrier}, {job}"]
    for each in parcel.drives:
        lines += [f"  {each.serial:<20} {each.outcome}", f"    {each.next_step}"]
    lines += [f"  {serial:<20} missing: was not in the parcel" for serial in parcel.missing]
    lines += [f"  note: {_FLAGS.get(flag, flag)}" for flag in parcel.flags]
    return "\n".join(lines)


_FLAGS: Final = {
    "mixed-parcel": "the parcel has drives of several jobs; tell the sender to use one each",
    "unknown-tracking-number": "no job has this tracking number; its drives told the job",
}


def _outcomes_text(outcomes: Sequence[DriveOutcome], choices: Sequence[Choice]) -> str:
    if not choices:
        return "no drive waits for its import"
    return "\n".join(_outcome_text(each) for each in outcomes)


def _outcome_text(outcome: DriveOutcome) -> str:
    lines = [f"drive {outcome.serial} of job {outcome.job_name}: {_RESULTS[outcome.result]}"]
    if outcome.total_objects:
        landed = f"{outcome.landed} of {count_text(outcome.total_objects, 'object')} landed"
        lines.append(f"  {landed}, {size_text(outcome.landed_bytes)}")
    if outcome.noted:
        noted = (
            f"{count_text(count, 'blob')} {name.lower()}" for name, count in outcome.noted.items()
        )
        lines.append(f"  {', '.join(sorted(noted))}: their names were taken")
    if outcome.failure is not None:
        lines.append(f"  {outcome.failure.status}: {outcome.failure.reason}")
    if outcome.stop is not None:
        lines.append(f"  {outcome.stop.message} [{outcome.stop.code}]")
    lines += [
        f"  damaged: {each.name} ({each.status}{_parts_text(each)})"
        for each in outcome.damaged[:_SHOWN_OBJECTS]
    ]
    hidden = len(outcome.damaged) - _SHOWN_OBJECTS
    if hidden > 0:
        lines.append(f"  and {hidden} more; the error log names them all")
    return "\n".join(lines)


_RESULTS: Final = {
    "completed": "complete",
    "completed-with-warnings": "complete, and not all as it was listed",
    "completed-more-info": "imported with damage; the error log was left with the customer",
    "failed": "rejected; nothing more will be imported from it",
    "stopped": "stopped; run the same command again to go on",
    "cancelled": "the job is cancelled; send the drive back unopened",
    "no-path": "not attached; give its path with --drive",
    "finished": "finished before",
}


def _parts_text(damaged: DamagedObject) -> str:
    parts = [f"{kind} at {offset}+{length}" for offset, length, kind in damaged.parts[:4]]
    more = len(damaged.parts) - len(parts)
    return ": " + ", ".join(parts) + (f" and {more} more" if more > 0 else "") if parts else ""


def _returned_text(parcel: ReturnedParcel) -> str:
    lines = [
        f"job {parcel.job_name} is {parcel.job_state}",
        f"in the parcel: {', '.join(parcel.serials)}",
    ]
    if parcel.extra:
        lines.append(f"and, unopened, what came with it: {', '.join(parcel.extra)}")
    lines.append(f"by {parcel.carrier}, {parcel.tracking_number}, to:")
    address = parcel.address or {}
    lines += [f"  {address[name]}" for name in _ADDRESS if address.get(name)]
    return "\n".join(lines)


_ADDRESS: Final = (
    "recipientName",
    "streetAddress1",
    "streetAddress2",
    "postalCode",
    "city",
    "stateOrProvince",
    "countryOrRegion",
    "phone",
    "email",
)


def _status_text(found: StationStatus) -> str:
    lines = [line for job in found.jobs for line in _job_lines(job)]
    lines += [
        f"drive {each.serial}: {each.outcome}, of no job here, since {each.received_at}"
        for each in found.strays
    ]
    return "\n".join(lines) or "no jobs on their way, and no drives here"


def _job_lines(job: JobStatus) -> list[str]:
    cancelled = ", cancelled" if job.cancel_requested else ""
    lines = [f"job {job.name} ({job.job_id}): {job.state}{cancelled}", f"  next: {job.next_step}"]
    for each in job.drives:
        counted = f"{each.landed}/{each.total_objects}, {size_text(each.landed_bytes)}"
        lines.append(f"  {each.serial:<20} {each.state:<18} {each.path or '-'}  {counted}")
        if each.stopped:
            lines.append(f"    stopped: {each.stopped}")
    return lines
