"""`overland cloud job create-export` and `ship`: blobs of a storage account onto own drives.

`job` is the group of `overland.cli.cloudjobs` with these commands in it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from overland.cli.cloudcomputer import (
    ApiClient,
    in_subscription,
    subscription_option,
    with_api,
)
from overland.cli.cloudjobs import job, job_id
from overland.cli.outcome import show
from overland.cli.refusals import FileUnusable, ResourceAbsent

__all__ = ["job"]

_LOCATIONS: Final = "/providers/Microsoft.ImportExport/locations"
_MAX_FILE_BYTES: Final = 64 << 10


@job.command("create-export")
@click.argument("name")
@click.option("--storage-account", required=True, help="The account to take blobs from.")
@click.option("--blob", "blobs", multiple=True, help="CONTAINER/BLOB; repeat.")
@click.option("--prefix", "prefixes", multiple=True, help="/CONTAINER/START, or / for all; repeat.")
@click.option("--blob-list", help="CONTAINER/BLOB of an XML list of blobs and prefixes.")
@click.option(
    "--return-address",
    type=click.Path(dir_okay=False),
    required=True,
    help="JSON file with recipientName, streetAddress1, city, postalCode and so on.",
)
@click.option("--return-carrier", required=True, help="Who brings the drives back.")
@click.option("--return-account", required=True, help="Your account number with that carrier.")
@click.option("--verbose-log", is_flag=True, help="Have every blob logged, not only failures.")
@subscription_option
@with_api
def create_export(
    *,
    api: ApiClient,
    name: str,
    storage_account: str,
    return_address: str,
    subscription: str | None,
    as_json: bool,
    **chosen: Any,  # the other options, by their names
) -> None:
    """Order an export of blobs onto drives that you send empty.

    The job is NAME.  No key is needed: what Overland sealed stays sealed on the drives.
    """
    properties = {
        "jobType": "Export",
        "returnAddress": _address(return_address),
        "returnShipping": {
            "carrierName": chosen["return_carrier"],
            "carrierAccountNumber": chosen["return_account"],
        },
        "logLevel": "Verbose" if chosen["verbose_log"] else "Error",
        "backupDriveManifest": True,
        "export": _selection(chosen["blobs"], chosen["prefixes"], chosen["blob_list"]),
    }
    account = _account(api, in_subscription(api, subscription), storage_account)
    properties["storageAccountId"] = account["id"]
    group = str(account["id"]).partition("/providers/")[0]
    path = f"{group}/providers/Microsoft.ImportExport/jobs/{quote(name)}"
    body = {"location": _location(api, str(account["location"])), "properties": properties}
    made = api.arm("PUT", path, f"export job {name}", json=body)
    show(made, _created_text(made), as_json=as_json)


@job.command("ship")
@click.argument("name")
@click.option("--carrier", required=True, help="Who carries the parcel.")
@click.option("--tracking-number", required=True, help="The number of the parcel.")
@click.option("--drives", type=click.IntRange(1, 10), required=True, help="How many are in it.")
@subscription_option
@with_api
def ship(
    *,
    api: ApiClient,
    name: str,
    carrier: str,
    tracking_number: str,
    drives: int,
    subscription: str | None,
    as_json: bool,
) -> None:
    """Say that the drives of the job NAME are on their way."""
    package = {"carrierName": carrier, "trackingNumber": tracking_number, "driveCount": drives}
    body = {"properties": {"state": "Shipping", "deliveryPackage": package}}
    made = api.arm("PATCH", job_id(api, subscription, name), f"job {name}", json=body)
    show(made, f"job {name} is {made['properties']['state']}", as_json=as_json)


def _selection(
    blobs: Sequence[str], prefixes: Sequence[str], blob_list: str | None
) -> dict[str, object]:
    """Return what a job says about its blobs, in the documented names."""
    if (blob_list is None) == (not blobs and not prefixes):
        raise click.UsageError("say which blobs: --blob and --prefix, or --blob-list")
    if blob_list is not None:
        return {"blobListblobPath": blob_list}
    named = {"blobPath": list(blobs), "blobPathPrefix": list(prefixes)}
    return {"blobList": {key: value for key, value in named.items() if value}}


def _account(api: ApiClient, subscription: str, name: str) -> dict[str, Any]:  # Any: a JSON object
    path = f"{subscription}/providers/Microsoft.Storage/storageAccounts"
    for each in api.arm("GET", path, "storage accounts")["value"]:
        if each["name"] == name:
            found: dict[str, Any] = each
            return found
    raise ResourceAbsent("storage account", name)


def _location(api: ApiClient, region: str) -> str:
    """Return where to send drives for an account in `region`: there, or where it says instead."""
    found = api.arm("GET", f"{_LOCATIONS}/{quote(region)}", f"location {region}")
    others = found["properties"].get("alternateLocations") or [found["id"]]
    return region if found["id"] in others else str(others[0]).rpartition("/")[2]


def _address(path: str) -> dict[str, Any]:  # Any: a JSON object, which the cloud checks
    try:
        with Path(path).open("rb") as file:
            found = json.loads(file.read(_MAX_FILE_BYTES))
    except (OSError, ValueError) as error:
        raise FileUnusable(Path(path), problem=str(error)) from None
    if not isinstance(found, dict):
        raise FileUnusable(Path(path), problem="it is not a JSON object")
    return found


def _created_text(made: dict[str, Any]) -> str:  # Any: a JSON object
    to = made["properties"].get("shippingInformation") or {}
    lines = [f"export job {made['name']}: {made['properties']['state']}", "send empty drives to:"]
    shown = ("recipientName", "streetAddress1", "postalCode", "city", "countryOrRegion")
    lines += [f"  {to[each]}" for each in shown if to.get(each)]
    lines.append(
        f"Next: overland cloud job ship {made['name']} --carrier ... --tracking-number ..."
    )
    return "\n".join(lines)
