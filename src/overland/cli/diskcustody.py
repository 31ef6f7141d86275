"""`overland disk custody`: who held which drive, as a document that anybody can verify."""

from pathlib import Path

import click
import msgspec

from overland.cli.completion import complete_path
from overland.cli.copycomputer import CopyComputer, open_copy_computer
from overland.cli.diskflow import connected, one_of, write_file
from overland.cli.diskquestions import TerminalQuestions
from overland.cli.outcome import Commands, Exit, json_option, note, show
from overland.crypto import sign
from overland.diskprep.prepare import Workbench
from overland.diskprep.record import Preparation
from overland.diskprep.submit import own_key
from overland.errors import NotAuthorised, ObjectAbsent, Unreachable
from overland.jobs import custodyproof
from overland.jobs.custodyproof import CustodyDocument, CustodyReport, SignedCloudLog, SignedLedger

__all__ = ["custody"]


@click.group(cls=Commands)
def custody() -> None:
    """Who held which drive, from blank to returned."""


@custody.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--job", "job_name", metavar="NAME", help="Of several import jobs, this one.")
@click.option(
    "--publish-settings",
    envvar="OVERLAND_PUBLISH_SETTINGS",
    metavar="FILE",
    default="",
    shell_complete=complete_path,
    help="Publish settings of the subscription.",
)
@json_option
def export(*, file: str, job_name: str | None, publish_settings: str, as_json: bool) -> None:
    """Write the signed custody log of an import job to FILE.

    It joins the ledger of this computer with the cloud's log; without a network, or before the job
    exists, the cloud's part is left out and can be added by exporting again.
    """
    with open_copy_computer() as computer:
        bench = computer.bench(TerminalQuestions(drives=(), erase=(), consent=False))
        records = [
            each for each in computer.preparations.all() if job_name in {None, each.job_name}
        ]
        record = one_of(records)
        document = CustodyDocument(
            job_name=record.job_name,
            ledger=_ledger(record, bench),
            cloud=_cloud(record, bench, computer, publish_settings),
        )
        content = msgspec.json.format(msgspec.json.encode(document)) + b"\n"
        write_file(file, content)
        result = {"job": record.job_name, "file": file, "cloud": document.cloud is not None}
        show(result, f"custody of import job {record.job_name}: {file}", as_json=as_json)


@custody.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--key", "keys", multiple=True, metavar="HEX", help="A public key to trust; repeat for several."
)
@json_option
def verify(*, file: Path, keys: tuple[str, ...], as_json: bool) -> int:
    """Check the custody log FILE with public keys alone, and tell each drive's way.

    Ends with 4 when the document was changed, and with 1 when a drive's way has a gap.
    """
    report = custodyproof.verify(file.read_bytes(), trusted=frozenset(key.lower() for key in keys))
    show(report, _text(report, is_trusted=bool(keys)), as_json=as_json)
    return Exit.ERROR if any(drive.gaps for drive in report.drives) else Exit.OK


def _ledger(record: Preparation, bench: Workbench) -> SignedLedger:
    lines = bench.ledger(record).lines()
    head = custodyproof.ledger_head(record.seed_id, lines)
    key = bench.preparations.signing_key(bench.random)
    return SignedLedger(
        seed_id=record.seed_id,
        lines=tuple(line.decode() for line in lines),
        public_key=own_key(bench).hex(),
        signature=sign.sign(key, custodyproof.LEDGER_PURPOSE, head).hex(),
    )


def _cloud(
    record: Preparation, bench: Workbench, computer: CopyComputer, settings: str
) -> SignedCloudLog | None:
    if record.job is None:
        note("the import job does not exist yet; the cloud's part is left out")
        return None
    try:
        _, service = connected(record, bench, computer, settings)
        return msgspec.convert(service.custody(record.job.arm_id), SignedCloudLog)
    except (Unreachable, NotAuthorised, ObjectAbsent) as error:
        note(f"the cloud's part is left out: {error}")
        return None


def _text(report: CustodyReport, *, is_trusted: bool) -> str:
    lines = [f"custody of import job {report.job_name}: nothing that is signed was changed"]
    for drive in report.drives:
        lines.append(f"drive {drive.serial}:")
        lines += [f"  {step.at:%Y-%m-%d %H:%M} {step.event}, by {step.by}" for step in drive.steps]
        if drive.gaps:
            lines.append(f"  GAP: no log says who had it when it was {', '.join(drive.gaps)}")
        else:
            lines.append("  gap-free" + (", ended" if drive.is_ended else ", still under way"))
    for name, key in (("copy computer", report.ledger_key), ("cloud", report.cloud_key)):
        lines.append(f"signed by the {name}: {key or 'its part is absent'}")
    lines.append("the job's name is signed by nobody: compare drives and keys")
    if not is_trusted:
        lines.append("compare these keys with those that you know, or give them with --key")
    return "\n".join(lines)
