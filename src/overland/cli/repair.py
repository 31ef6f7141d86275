"""`overland repair`: bring back what the vault lacks, and say what is lost."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from overland.agent.repair.run import Harmless, LostFile, RepairReport
from overland.agent.repair.run import repair as bring_back
from overland.cli.machine import AgentMachine, open_agent
from overland.cli.outcome import (
    Exit,
    count_text,
    json_option,
    note,
    printable,
    show,
    size_text,
)
from overland.cli.places import open_layers
from overland.errors import IntegrityError
from overland.ports.objects import Objects

__all__ = ["DataLost", "RepairIncomplete", "repair"]


class DataLost(IntegrityError):
    """Parts of recovery points are in no place any more."""

    code = "data-lost"

    def __init__(self, *, files: int, points: int) -> None:
        super().__init__(
            f"{count_text(files, 'file')} of {count_text(points, 'recovery point')} cannot be "
            "restored whole; the report names each; run `overland backup now` and repair again, "
            "which brings back what the source has not changed, or repair with --from a copy"
        )
        self.files, self.points = files, points


class RepairIncomplete(IntegrityError):
    """Damaged objects stay that a vault never replaces; whole copies are elsewhere."""

    code = "repair-incomplete"

    def __init__(self, *, objects: int) -> None:
        super().__init__(
            f"{count_text(objects, 'object')} stay damaged in the vault; the report names each; "
            "keep the place that has a whole copy, and name it with --from when you restore"
        )
        self.objects = objects


_HARMLESS: Final[dict[Harmless, str]] = {
    "retired": "a former signing key signed it, and no key change lists it; it counts for nobody",
    "superseded": "a newer keyring, which is whole, opens all that it opened",
}


@click.command("repair", cls=click.Command)
@click.option(
    "--from",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Take copies from this drive or folder too; may be repeated.",
)
@click.option("--quick", is_flag=True, help="Look for what is missing; do not read everything.")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what is wrong.")
@json_option
def repair(*, folders: tuple[Path, ...], quick: bool, dry_run: bool, as_json: bool) -> int:
    """Make the vault whole again, from wherever its bytes still are, and name what is lost.

    Missing and damaged objects are taken from the staging locations of this computer's policies
    and the places of --from, each proven first.  Index files are made anew from packs.  What no
    place has as a whole is read where it still can be, chunk by chunk, from damaged packs and from
    the files of the source, and stored in new packs.  Nothing is deleted.  Killed at any moment,
    run it again.
    """
    with open_agent(exclusive=True) as machine:
        report = bring_back(
            machine.workshop(), _places(machine, folders), read_all=not quick, dry_run=dry_run
        )
    show(_value(report), "\n".join(_lines(report, dry_run=dry_run)), as_json=as_json)
    error = _error(report)
    if error is None:
        return Exit.OK
    note(f"error: {error} [{error.code}]")
    return Exit.INTEGRITY


def _places(machine: AgentMachine, folders: Sequence[Path]) -> dict[str, Objects]:
    layers = [*open_layers(machine, ())]
    if folders:
        layers += open_layers(machine, folders)
    return {label: objects for label, objects in layers if label != "vault"}


def _error(report: RepairReport) -> IntegrityError | None:
    if report.lost or report.unreadable:
        return DataLost(
            files=sum(map(len, report.lost.values())),
            points=len(report.lost) + len(report.unreadable),
        )
    return RepairIncomplete(objects=len(report.unhealed)) if report.unhealed else None


def _value(report: RepairReport) -> dict[str, object]:
    return {
        "whole": report.is_whole,
        "objects": report.objects,
        "size_bytes": report.size_bytes,
        "damaged": report.damaged,
        "missing": report.missing,
        "fetched": report.fetched,
        "unhealed": report.unhealed,
        "harmless": report.harmless,
        "broken": report.broken,
        "waiting": report.waiting,
        "unreadable": report.unreadable,
        "salvaged_chunks": report.salvaged_chunks,
        "reread_chunks": report.reread_chunks,
        "new_objects": report.new_objects,
        "replacement_id": report.replacement_id,
        "lost": [
            {
                "point_id": point_id,
                "path": _path(file),
                "parts": [list(part) for part in file.parts],
            }
            for point_id, files in report.lost.items()
            for file in files
        ],
    }


def _lines(report: RepairReport, *, dry_run: bool) -> Iterator[str]:
    yield f"looked at {count_text(report.objects, 'object')}, {size_text(report.size_bytes)}"
    yield from _object_lines(report, dry_run=dry_run)
    for point_id in report.waiting:
        yield f"waiting recovery point {point_id}: its seed is still on its way"
    for point_id in report.unreadable:
        yield f"LOST recovery point {point_id}: its own file is in no place"
    for name in report.unhealed:
        yield f"STILL DAMAGED {name}: a vault never replaces it"
    for point_id, files in report.lost.items():
        yield f"LOST in recovery point {point_id}:"
        yield from (f"  {_path(file)}{_parts(file)}" for file in files)
    if report.is_whole and not dry_run:
        yield "everything that recovery points need is there and whole"


def _object_lines(report: RepairReport, *, dry_run: bool) -> Iterator[str]:
    fetched = "could be taken from" if dry_run else "taken again from"
    for kind, names in (("damaged", report.damaged), ("missing", report.missing)):
        for name in names:
            place = report.fetched.get(name)
            yield f"{kind} {name}" + (f": {fetched} {place}" if place else "")
    if report.new_objects:
        yield (
            f"{count_text(report.salvaged_chunks, 'chunk')} saved from damaged packs or other "
            f"places, {report.reread_chunks:,} read again from the source; "
            f"{count_text(report.new_objects, 'new object')}"
        )
    if dry_run and report.broken:
        yield f"{count_text(len(report.broken), 'object')} in no place; chunks would be looked for"
    for name, why in sorted(report.harmless.items()):
        yield f"{why} {name}: {_HARMLESS[why]}"


def _path(file: LostFile) -> str:
    return printable(file.path.decode("utf-8", "surrogateescape"))


def _parts(file: LostFile) -> str:
    if not file.parts:
        return ""
    spans = ", ".join(f"{offset}-{offset + length}" for offset, length in file.parts)
    return f": bytes {spans}"
