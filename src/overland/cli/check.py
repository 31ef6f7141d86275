"""`overland check`: is everything there, and is it what was written?"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from overland.agent.check.places import PlacedFinding, PlacesReport, check_places
from overland.agent.points.reading import newest_signatures
from overland.agent.points.signatures import Signatures
from overland.agent.setup import newest_keyring
from overland.agent.sources import LayeredObjects
from overland.cli.machine import AgentMachine, open_agent
from overland.cli.outcome import Exit, count_text, json_option, note, show, size_text
from overland.cli.places import open_layers, place_options, read_keys
from overland.errors import IntegrityError, TransientError

__all__ = ["NotWhole", "check"]

_WORDS: Final = {
    "corrupt": "damaged",
    "missing": "missing",
    "foreign": "foreign",
    "replaced": "replaced",
}


class NotWhole(IntegrityError):
    """A check found objects that are damaged or missing."""

    code = "not-whole"

    def __init__(self, *, damaged: int, missing: int) -> None:
        super().__init__(
            f"{count_text(damaged, 'object')} damaged, {missing:,} missing; "
            "the report names each and says what to do"
        )
        self.damaged, self.missing = damaged, missing


@click.command(cls=click.Command)
@click.option(
    "--keyless",
    is_flag=True,
    help="Without keys: names, sizes, SHA-256 and signatures, and no seal is opened.",
)
@click.option(
    "--digests",
    is_flag=True,
    help="Compute the SHA-256 of every pack too, also where its seals prove it; takes longer.",
)
@place_options
@json_option
def check(*, keyless: bool, digests: bool, as_json: bool, **fields: Any) -> int:
    """Read everything back, and name what is damaged or missing, and what to do about it.

    Without --from the vault is checked, and the staging locations of this computer's policies.
    Several places, such as the drives of one seed, are checked together: an object is missing if
    none of them has it.  With the keys every segment is opened, every chunk compared with its id,
    and every recovery point followed to its last file.  Nothing is changed.

    Seals prove a pack that an index file describes, so its SHA-256 is left out with the keys;
    --digests compares it with the name all the same, as every other place does.
    """
    if keyless and (fields["passphrase_file"] or fields["recovery_kit"]):
        raise click.UsageError("--keyless uses neither a passphrase nor a recovery kit")
    if keyless and digests:
        raise click.UsageError("--keyless compares the SHA-256 of everything anyway")
    with open_agent() as machine:
        layers = open_layers(machine, fields["folders"])
        objects = LayeredObjects(layers)
        keys = None
        if not keyless:
            keys = read_keys(machine, objects, fields["passphrase_file"], fields["recovery_kit"])
        report = check_places(
            layers,
            progress=machine.meter,
            keys=keys,
            signatures=_signatures(machine, objects) if keyless else None,
            reclaimed=_reclaimed(machine, fields["folders"]),
            digests=digests,
        )
    show(_value(report), "\n".join(_lines(report)), as_json=as_json)
    if report.is_whole:
        return Exit.OK
    kinds = [one.finding.kind for one in report.found]
    error = NotWhole(damaged=kinds.count("corrupt"), missing=kinds.count("missing"))
    note(f"error: {error} [{error.code}]")
    return Exit.INTEGRITY


def _reclaimed(machine: AgentMachine, folders: Sequence[Path]) -> set[str]:
    """Return the points that the cloud has deleted for good; it is not asked about folders."""
    if folders or not machine.home.is_registered():
        return set()
    try:
        points = machine.connection().chains().points
    except TransientError as error:
        note(f"warning: the cloud does not say which recovery points were deleted: {error}")
        return set()
    return {point.point_id for point in points if point.state == "reclaimed"}


def _signatures(machine: AgentMachine, objects: LayeredObjects) -> Signatures:
    if machine.home.is_initialised():
        return Signatures.of(newest_keyring(machine.home)[1], at_hand=[machine.home.files])
    note(
        "warning: signatures are compared with the key in the keyring beside them, "
        "for which nothing but the passphrase or the recovery kit vouches"
    )
    return newest_signatures(objects)


def _value(report: PlacesReport) -> dict[str, object]:
    checked = report.checked
    return {
        "whole": report.is_whole,
        "with_keys": checked.with_keys,
        "objects": checked.objects,
        "size_bytes": checked.size_bytes,
        "chunks": checked.chunks,
        "points": [
            {"point_id": point, "restorable": whole} for point, whole in checked.restorable.items()
        ],
        "findings": [
            {
                "name": one.finding.name,
                "kind": one.finding.kind,
                "place": one.place,
                "reason": one.finding.reason,
                "next": _next(one),
            }
            for one in report.found
        ],
    }


def _lines(report: PlacesReport) -> Iterator[str]:
    checked = report.checked
    counts = [count_text(checked.objects, "object"), size_text(checked.size_bytes)]
    counts += [f"{count_text(checked.chunks, 'chunk')} proven"] if checked.with_keys else []
    yield f"checked {', '.join(counts)}"
    for point, whole in checked.restorable.items():
        yield f"{'whole  ' if whole else 'BROKEN '} recovery point {point}"
    for one in report.found:
        place = f" in {one.place}" if one.place else ""
        yield f"{_WORDS[one.finding.kind]} {one.finding.name}{place}: {one.finding.reason}"
        yield f"  next: {_next(one)}"
    if not checked.restorable:
        yield "there is no recovery point here"
    if report.is_whole:
        seen = "everything is there and whole"
        yield seen if checked.with_keys else f"{seen}, as far as can be seen without keys"


def _next(one: PlacedFinding) -> str:
    if one.finding.kind == "replaced":
        return "nothing; other packs stand in for it, and the vault deletes it in time"
    if one.finding.kind == "foreign":
        return "nothing; no object of a repository has this name, and it was not read"
    if one.whole_in is not None:
        return f"keep this copy as evidence; restores use the whole copy in {one.whole_in}"
    if one.finding.name.startswith("points/") and one.finding.kind == "missing":
        return (
            "add the places that have the missing objects with --from, and check again; "
            "paths that are not named here can be restored now"
        )
    if one.finding.kind == "missing":
        return "add the place that has it, such as another drive, with --from, and check again"
    return "keep this copy as evidence, and look for another one: add its place with --from"
