"""`overland cloud reclaim`: delete what no recovery point needs, or say what that would be."""

import time
from typing import Any, Final

import click

from overland.cli.cloudcomputer import ApiClient, with_api
from overland.cli.outcome import count_text, note, show, size_text

__all__ = ["reclaim"]

_POLL_S: Final = 0.2


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--source-computer", metavar="ID", help="For one source computer only.")
@with_api
def reclaim(*, api: ApiClient, dry_run: bool, source_computer: str | None, as_json: bool) -> None:
    """Reclaim the space of recovery points whose time is over.

    The cloud does it every day by itself.  Nothing is deleted that was needed within the last two
    weeks.  A recovery point whose file is damaged is put back from the cloud's copy of it; while
    one can be read nowhere, nothing more of its source computer becomes due.
    """
    body = {"dry_run": dry_run, "source_computer_id": source_computer}
    found = api.ask("POST", "/v1/reclaims", "reclaim", json=body)
    query = "" if source_computer is None else f"?source_computer={source_computer}"
    while any(each["state"] == "running" for each in found):
        time.sleep(_POLL_S)
        found = api.ask("GET", f"/v1/reclaims{query}", "reclaim")
    for each in found:
        if each["problem"] is not None:
            note(f"warning: {each['name']}: {each['problem']}")
        for point in each["points_put_back"]:
            note(f"{each['name']}: recovery point {point} was damaged and is whole again")
        for point in [] if each["problem"] else each["points_damaged"]:
            note(f"warning: {each['name']}: the file of recovery point {point} is damaged")
    text = "\n".join(_line(each) for each in found)
    show(found, text or "there is no source computer yet", as_json=as_json)


def _line(run: dict[str, Any]) -> str:  # Any: an answer of JSON
    would = "would be " if run["state"] == "preview" else ""
    return (
        f"{run['name']}: {count_text(run['points_reclaimed'], 'recovery point')} {would}reclaimed, "
        f"{_objects(run, 'deleted')} {would}deleted; {_objects(run, 'waiting')} more unneeded, "
        "waiting for the end of the time of grace"
    )


def _objects(run: dict[str, Any], kind: str) -> str:  # Any: as above
    count, size_bytes = run[f"objects_{kind}"], run[f"bytes_{kind}"]
    return f"{count_text(count, 'object')} ({size_text(size_bytes)})"
