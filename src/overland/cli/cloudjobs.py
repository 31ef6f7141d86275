"""`overland cloud job`: import jobs as their owner sees them."""

from typing import Any, Final
from urllib.parse import quote

import click

from overland.cli.cloudcomputer import (
    ApiClient,
    in_subscription,
    lines_text,
    subscription_option,
    with_api,
)
from overland.cli.outcome import Commands, show
from overland.cli.refusals import ResourceAbsent

__all__ = ["job", "job_id"]

_JOBS: Final = "/providers/Microsoft.ImportExport/jobs"


@click.group(cls=Commands)
def job() -> None:
    """Import jobs."""


@job.command("list")
@subscription_option
@with_api
def list_jobs(*, api: ApiClient, subscription: str | None, as_json: bool) -> None:
    """List the import jobs of a subscription."""
    found, path = [], f"{in_subscription(api, subscription)}{_JOBS}"
    while path:
        page = api.arm("GET", path, "import jobs")
        found += page["value"]
        path = _following(page)
    rows = [{"name": each["name"], "state": each["properties"]["state"]} for each in found]
    show(found, lines_text(rows, "name", "state"), as_json=as_json)


@job.command("show")
@click.argument("name")
@subscription_option
@with_api
def show_job(*, api: ApiClient, name: str, subscription: str | None, as_json: bool) -> None:
    """Show an import job and its drives."""
    found = api.arm("GET", job_id(api, subscription, name), f"import job {name}")
    drives = [
        {"drive": each["driveId"], "state": each["state"], "copy": each.get("copyStatus", "")}
        for each in found["properties"].get("driveList") or ()
    ]
    text = f"{found['name']}: {found['properties']['state']}\n"
    show(found, text + lines_text(drives, "drive", "state", "copy"), as_json=as_json)


@job.command("custody")
@click.argument("name")
@subscription_option
@with_api
def show_custody(*, api: ApiClient, name: str, subscription: str | None, as_json: bool) -> None:
    """Show who did what with an import job and its drives, and when."""
    path = f"/v1/custody?job={quote(job_id(api, subscription, name), safe='')}"
    found = api.ask("GET", path, f"custody of {name}")
    text = lines_text(found["events"], "at", "event", "drive", "actor")
    broken = "" if found["intact"] else "\nthe chain of digests is broken: entries were changed"
    show(found, text + broken, as_json=as_json)


@job.command("delete")
@click.argument("name")
@subscription_option
@with_api
def delete_job(*, api: ApiClient, name: str, subscription: str | None, as_json: bool) -> None:
    """Delete an import job that is `Creating` or `Completed`, with its keys."""
    api.arm("DELETE", job_id(api, subscription, name), f"import job {name}")
    show({"name": name, "deleted": True}, f"import job {name} deleted", as_json=as_json)


def job_id(api: ApiClient, subscription: str | None, name: str) -> str:
    """Return the resource id of the job of this name, in whatever group it is.

    Raises:
        ResourceAbsent: No job of the subscription has the name; case does not count.
    """
    path = f"{in_subscription(api, subscription)}{_JOBS}"
    while path:
        page = api.arm("GET", path, "import jobs")
        for each in page["value"]:
            if each["name"].casefold() == name.casefold():
                return str(each["id"])
        path = _following(page)
    raise ResourceAbsent("import job", name)


def _following(page: dict[str, Any]) -> str:  # Any: a page of JSON
    """Return the path of the next page, without host and version; empty after the last."""
    link = str(page.get("nextLink", ""))
    start = link.find("/subscriptions")
    return link[start:].replace("api-version=2021-01-01&", "") if link else ""
