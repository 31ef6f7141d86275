"""`overland cloud`: serve vaults and import jobs, and administer them over the API."""

from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click
import msgspec

from overland.cli.cloudapplications import application, rotate_signing_key
from overland.cli.cloudcapability import allow_seeding
from overland.cli.cloudcomputer import (
    ApiClient,
    cloud_folder,
    in_subscription,
    init_cloud,
    kept_secret,
    lines_text,
    subscription_option,
    with_api,
)
from overland.cli.cloudexport import job
from overland.cli.cloudreclaim import reclaim
from overland.cli.cloudserve import serve
from overland.cli.cloudusers import GROUPS
from overland.cli.outcome import Commands, instant_text, json_option, note, show
from overland.cli.refusals import ResourceAbsent
from overland.cloud.home import ROOT_TOKEN_FILE
from overland.cloud.locations import dock_from_text

__all__ = ["cloud"]

_Function = TypeVar("_Function", bound=Callable[..., Any])  # a command, of any signature

_DEFAULT_GROUP: Final = "overland"
_DEFAULT_LOCATION: Final = "westeurope"
_ACCOUNTS: Final = "/providers/Microsoft.Storage/storageAccounts"
_VAULTS: Final = "/providers/Microsoft.RecoveryServices/vaults"


@click.group(cls=Commands)
def cloud() -> None:
    """Serve vaults and import jobs, and administer them."""


cloud.add_command(serve)
cloud.add_command(application)
cloud.add_command(job)
cloud.add_command(reclaim)
cloud.add_command(allow_seeding)
cloud.add_command(rotate_signing_key)
for _each in GROUPS:
    cloud.add_command(_each)


def _place_options(function: _Function) -> _Function:
    for option in (
        click.option(
            "--location", default=_DEFAULT_LOCATION, show_default=True, help="Name of the region."
        ),
        click.option("--group", default=_DEFAULT_GROUP, show_default=True, help="Resource group."),
    ):
        function = option(function)
    return subscription_option(function)


def _secret_option(what: str) -> Callable[[_Function], _Function]:
    return click.option(
        "--out",
        type=click.Path(dir_okay=False),
        help=f"Keep the {what} in this new file, for its owner only, instead of printing it.",
    )


@cloud.command()
@click.option("--home", type=click.Path(file_okay=False), help="Home folder.")
@click.option("--dock", help="`recipient; street; city; postal code; country[; phone]`.")
@click.option("--new-root-token", is_flag=True, help="End the root token and make another.")
@click.option(
    "--soft-delete-days",
    type=click.IntRange(14, 3650),
    help="How long deleted recovery points can be taken back; 14 unless it was set.",
)
@click.option(
    "--job-retention-days",
    type=click.IntRange(1, 3650),
    help="How long ended import jobs are kept; 90 unless it was set.",
)
@json_option
def init(
    *,
    home: str | None,
    dock: str | None,
    new_root_token: bool,
    soft_delete_days: int | None,
    job_retention_days: int | None,
    as_json: bool,
) -> None:
    """Make a cloud in the home folder; its root token goes into a file there."""
    folder = cloud_folder(home)
    address = None if dock is None else dock_from_text(dock)
    is_new = init_cloud(
        folder,
        dock=address,
        new_root_token=new_root_token,
        soft_delete_days=soft_delete_days,
        job_retention_days=job_retention_days,
    )
    token_file = str(folder / ROOT_TOKEN_FILE)
    result = {"folder": str(folder), "root_token_file": token_file, "is_new": is_new}
    done = "made" if is_new else "changed"
    show(result, f"cloud {done} in {folder}; its root token is in {token_file}", as_json=as_json)
    if is_new and address is None:
        note("no dock address is set; give --dock, so that customers know where to ship")


@cloud.group()
def tenant() -> None:
    """Tenants; needs the root token."""


@tenant.command("create")
@click.argument("name")
@_secret_option("administrator's token")
@with_api
def create_tenant(*, api: ApiClient, name: str, out: str | None, as_json: bool) -> None:
    """Make a tenant and its administrator's first token."""
    with kept_secret(out) as keep:
        made = api.ask("POST", "/v1/tenants", "a tenant", json={"name": name})
        keep(f"{made['token']}\n")
    _show_secret(made, "token", out, f"tenant {made['tenant_id']}", as_json=as_json)


@cloud.group()
def subscription() -> None:
    """Subscriptions of a tenant."""


@subscription.command("create")
@click.argument("name")
@with_api
def create_subscription(*, api: ApiClient, name: str, as_json: bool) -> None:
    """Make a subscription."""
    made = api.ask("POST", "/v1/subscriptions", "a subscription", json={"name": name})
    show(made, f"subscription {made['subscription_id']}", as_json=as_json)


@subscription.command("list")
@with_api
def list_subscriptions(*, api: ApiClient, as_json: bool) -> None:
    """List the subscriptions that the token reaches."""
    found = api.ask("GET", "/v1/subscriptions", "subscriptions")
    show(found, lines_text(found, "subscription_id", "name"), as_json=as_json)


@cloud.group("storage-account")
def storage_account() -> None:
    """Storage accounts, where drives are imported to."""


@storage_account.command("create")
@click.argument("name")
@_place_options
@with_api
def create_account(
    *, api: ApiClient, name: str, subscription: str | None, group: str, location: str, as_json: bool
) -> None:
    """Make a storage account, and its resource group if there is none."""
    place = _group(api, subscription, group, location)
    body = {"location": location, "kind": "StorageV2"}
    made = api.arm("PUT", f"{place}{_ACCOUNTS}/{quote(name)}", f"account {name}", json=body)
    show(made, f"storage account {made['id']}", as_json=as_json)


@storage_account.command("list")
@subscription_option
@with_api
def list_accounts(*, api: ApiClient, subscription: str | None, as_json: bool) -> None:
    """List storage accounts."""
    found = api.arm("GET", f"{in_subscription(api, subscription)}{_ACCOUNTS}", "accounts")["value"]
    show(found, lines_text(found, "name", "location", "id"), as_json=as_json)


@cloud.group()
def container() -> None:
    """Containers of a storage account; each seed best has its own."""


@container.command("create")
@click.argument("name")
@click.option("--storage-account", "account", required=True, help="Its name.")
@subscription_option
@with_api
def create_container(
    *, api: ApiClient, name: str, account: str, subscription: str | None, as_json: bool
) -> None:
    """Make a container."""
    found = api.arm("GET", f"{in_subscription(api, subscription)}{_ACCOUNTS}", "accounts")["value"]
    ids = [each["id"] for each in found if each["name"] == account]
    if not ids:
        raise ResourceAbsent("storage account", account)
    path = f"{ids[0]}/blobServices/default/containers/{quote(name)}"
    made = api.arm("PUT", path, f"container {name}", json={})
    show(made, f"container {made['id']}", as_json=as_json)


@cloud.group()
def vault() -> None:
    """Vaults, where backups rest."""


@vault.command("create")
@click.argument("name")
@_place_options
@with_api
def create_vault(
    *, api: ApiClient, name: str, subscription: str | None, group: str, location: str, as_json: bool
) -> None:
    """Make a vault, and its resource group if there is none."""
    place = _group(api, subscription, group, location)
    body = {"location": location}
    made = api.arm("PUT", f"{place}{_VAULTS}/{quote(name)}", f"vault {name}", json=body)
    result = {"vault_id": made["properties"]["vaultId"], **made}
    show(result, f"vault {result['vault_id']}", as_json=as_json)


@vault.command("list")
@subscription_option
@with_api
def list_vaults(*, api: ApiClient, subscription: str | None, as_json: bool) -> None:
    """List vaults."""
    found = api.arm("GET", f"{in_subscription(api, subscription)}{_VAULTS}", "vaults")["value"]
    rows = [{"vault_id": each["properties"]["vaultId"], **each} for each in found]
    show(rows, lines_text(rows, "vault_id", "name", "location"), as_json=as_json)


@cloud.command("vault-credentials")
@click.argument("vault_id")
@_secret_option("credentials file")
@with_api
def vault_credentials(*, api: ApiClient, vault_id: str, out: str | None, as_json: bool) -> None:
    """Make the file with which source computers register in a vault, for ten days."""
    path = f"/v1/vaults/{quote(vault_id)}/credentials"
    with kept_secret(out) as keep:
        made = api.ask("POST", path, f"vault {vault_id}")
        text = msgspec.json.format(msgspec.json.encode(made)).decode() + "\n"
        keep(text)
    if out is None:
        show(made, text.rstrip(), as_json=as_json)
        return
    result = {"file": out, "vault_id": made["vault_id"], "expires_at": made["expires_at"]}
    show(result, f"{out}: good until {instant_text(made['expires_at'])}", as_json=as_json)


@cloud.command("publish-settings")
@subscription_option
@click.option("--job-name", help="Make it good for one import job only.")
@_secret_option("publish settings file")
@with_api
def publish_settings(
    *,
    api: ApiClient,
    subscription: str | None,
    job_name: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Make the file with which a copy computer creates and ships import jobs."""
    path = f"/v1/subscriptions/{quote(api.subscription(subscription))}/publish-settings"
    with kept_secret(out) as keep:
        made = api.ask("POST", path, "publish settings", json={"job_name": job_name})
        keep(made["xml"])
    if out is None:
        show(made, made["xml"].rstrip(), as_json=as_json)
        return
    result = {"file": out, "expires_at": made["expires_at"]}
    show(result, f"{out}: good until {instant_text(made['expires_at'])}", as_json=as_json)


@cloud.group()
def token() -> None:
    """Tokens of stations, administrators and copy computers."""


@token.command("create")
@click.option(
    "--role",
    required=True,
    type=click.Choice(["station", "admin", "diskprep"]),
    help="Whom it is for: a station, an administrator, or a copy computer (diskprep).",
)
@click.option(
    "--days",
    default=90,
    show_default=True,
    type=click.IntRange(1, 366),
    help="How many days it is valid.",
)
@click.option("--tenant", help="Of an administrator; needs the root token.")
@click.option("--subscription", help="Of a copy computer.")
@click.option("--job-name", help="Of a copy computer, for one import job only.")
@_secret_option("token")
@with_api
def create_token(
    *,
    api: ApiClient,
    role: str,
    days: int,
    tenant: str | None,
    subscription: str | None,
    job_name: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Make a token.

    The root token makes those of stations and administrators; an administrator's token makes those
    of administrators and copy computers of the same tenant.
    """
    body = {
        "role": role,
        "expires_in_days": days,
        "tenant_id": tenant,
        "subscription_id": subscription,
        "job_name": job_name,
    }
    with kept_secret(out) as keep:
        made = api.ask("POST", "/v1/tokens", "a token", json=body)
        keep(f"{made['token']}\n")
    _show_secret(
        made,
        "token",
        out,
        f"{role} token until {instant_text(made['expires_at'])}",
        as_json=as_json,
    )


@token.command("list")
@with_api
def list_tokens(*, api: ApiClient, as_json: bool) -> None:
    """List tokens, without their secrets."""
    found = api.ask("GET", "/v1/tokens", "tokens")
    names = ("token_id", "role", "expires_at", "revoked_at", "issued_by")
    show(found, lines_text(found, *names), as_json=as_json)


@token.command("revoke")
@click.argument("token_id")
@with_api
def revoke_token(*, api: ApiClient, token_id: str, as_json: bool) -> None:
    """End a token now."""
    api.ask("DELETE", f"/v1/tokens/{quote(token_id)}", f"token {token_id}")
    show({"token_id": token_id, "revoked": True}, f"token {token_id} revoked", as_json=as_json)


def _group(api: ApiClient, subscription: str | None, group: str, location: str) -> str:
    """Return the path of a resource group, made if there is none."""
    path = f"{in_subscription(api, subscription)}/resourceGroups/{quote(group)}"
    api.arm("PUT", path, f"resource group {group}", json={"location": location})
    return path


def _show_secret(
    made: dict[str, Any], field: str, out: str | None, text: str, *, as_json: bool
) -> None:  # Any: an answer of JSON
    """Print what was made; its secret only when it goes into no file."""
    if out is None:
        show(made, f"{text}\n{made[field]}", as_json=as_json)
        return
    kept = {name: value for name, value in made.items() if name != field}
    show({**kept, "file": out}, f"{text}\nits {field} is in {out}", as_json=as_json)
