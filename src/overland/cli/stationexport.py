"""`overland station export`: fill the drives that a customer sent for an export job."""

from pathlib import Path
from typing import Final

import click

from overland.cli.completion import complete_path
from overland.cli.outcome import Exit, count_text, json_option, show, size_text
from overland.cli.stationcomputer import home_option, open_station
from overland.station.exporting import Exported

__all__ = ["export"]

_SHOWN: Final = 20  # the list that is left with the customer names them all


@click.command()
@click.option("--job", required=True, help="Name or id of an export job.")
@click.option(
    "--drive",
    "paths",
    multiple=True,
    required=True,
    shell_complete=complete_path,
    help="An empty drive; repeat.",
)
@home_option
@json_option
def export(*, job: str, paths: tuple[str, ...], home: str | None, as_json: bool) -> int:
    """Copy the blobs of an export job onto its drives, which have to be empty.

    Give all drives of the job that came.  Killed or stopped at any point, the same command goes on
    where it was.  Exit code 4 means that blobs could not be read or written, or that the job's list
    of blobs is not valid; blobs that did not fit are told, and are no error.
    """
    with open_station(home) as machine:
        done = machine.export().run(job, paths=[str(Path(path).absolute()) for path in paths])
    show(done, _text(done), as_json=as_json)
    is_whole = all(each.status == "Completed" for each in done.drives)
    return Exit.OK if is_whole else Exit.INTEGRITY


def _text(done: Exported) -> str:
    lines = [f"export job {done.job_name}: nothing was exported: {done.problem}"]
    if done.problem is None:
        lines = [f"export job {done.job_name}"]
    for each in done.drives:
        size = size_text(each.size_bytes)
        lines.append(f"  {each.serial:<20} {each.status}: {count_text(each.blobs, 'blob')}, {size}")
    if done.unfinished:
        lines.append(f"{count_text(len(done.unfinished), 'blob')} are on no drive:")
        lines += [f"  {path}" for path in done.unfinished[:_SHOWN]]
        lines.append(f"all are named in {done.unfinished_list}")
    lines.append(f"Next: overland station return --job {done.job_name}")
    return "\n".join(lines)
