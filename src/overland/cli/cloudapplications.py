"""`overland cloud application` and `rotate-signing-key`: programs that sign in by certificate."""

import base64
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import click

from overland.cli.cloudcomputer import ApiClient, lines_text, with_api
from overland.cli.outcome import Commands, instant_text, note, show
from overland.cli.refusals import FileUnusable, ResourceAbsent

__all__ = ["application", "rotate_signing_key"]

_ALL: Final = "/v1/tenants/mine/applications"
_MAX_FILE_BYTES: Final = 16 << 10  # as the cloud takes


@click.group(cls=Commands)
def application() -> None:
    """Programs that sign in by certificate."""


@application.command("create")
@click.argument("name")
@with_api
def create_application(*, api: ApiClient, name: str, as_json: bool) -> None:
    """Make the application NAME, or find it if there is one."""
    made = api.ask("POST", _ALL, f"application {name}", json={"name": name})
    verb = "made" if made["is_new"] else "exists already"
    show(made, f"application {made['name']} {verb}: {made['application_id']}", as_json=as_json)


@application.command("list")
@click.option("--owner", metavar="USER-ID", help="Only those of this owner.")
@with_api
def list_applications(*, api: ApiClient, owner: str | None, as_json: bool) -> None:
    """List the tenant's applications."""
    query = "" if owner is None else f"?owner={quote(owner, safe='')}"
    found = api.ask("GET", f"{_ALL}{query}", "applications")
    show(found, lines_text(found, "application_id", "name"), as_json=as_json)


@application.command("show")
@click.argument("application_name", metavar="APPLICATION")
@with_api
def show_application(*, api: ApiClient, application_name: str, as_json: bool) -> None:
    """Show an application, named by id or name, with its certificates and owners."""
    found = _find(api, application_name)
    lines = [f"{found['application_id']}  {found['name']}"]
    lines += [f"owner {each}" for each in found["owners"]]
    lines += [_certificate(each) for each in found["certificates"]]
    show(found, "\n".join(lines), as_json=as_json)


@application.command("delete")
@click.argument("application_name", metavar="APPLICATION")
@with_api
def delete_application(*, api: ApiClient, application_name: str, as_json: bool) -> None:
    """Delete an application with its certificates; its tokens end now."""
    found = _find(api, application_name)
    api.ask("DELETE", _path(found), "application")
    shown = {"application_id": found["application_id"], "deleted": True}
    show(shown, f"application {found['name']} deleted", as_json=as_json)


@application.command("add-certificate")
@click.argument("application_name", metavar="APPLICATION")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--source-computer", metavar="ID", help="The computer that it speaks for.")
@with_api
def add_certificate(
    *,
    api: ApiClient,
    application_name: str,
    file: str,
    source_computer: str | None,
    as_json: bool,
) -> None:
    """Enter the certificate in FILE (.cer, DER or PEM) beside those that are there.

    It opens nothing until it speaks for a source computer: name that, or let it claim the
    certificate itself.
    """
    body = {"certificate": _content(file), "source_computer_id": source_computer}
    found = _find(api, application_name)
    made = api.ask("POST", f"{_path(found)}/certificates", "application", json=body)
    if made["source_computer_id"] is None:
        note("it opens nothing until its source computer claims it")
    verb = "entered" if made["is_new"] else "was there already"
    show(made, f"certificate {verb}: {_certificate(made)}", as_json=as_json)


@application.command("remove-certificate")
@click.argument("application_name", metavar="APPLICATION")
@click.argument("thumbprint")
@with_api
def remove_certificate(
    *, api: ApiClient, application_name: str, thumbprint: str, as_json: bool
) -> None:
    """Remove the certificate of this thumbprint (SHA-1 or SHA-256); its tokens end now."""
    path = f"{_path(_find(api, application_name))}/certificates/{quote(thumbprint, safe='')}"
    api.ask("DELETE", path, f"certificate {thumbprint}")
    shown = {"thumbprint": thumbprint, "removed": True}
    show(shown, f"certificate {thumbprint} removed", as_json=as_json)


@application.command("add-owner")
@click.argument("application_name", metavar="APPLICATION")
@click.argument("user_id")
@with_api
def add_owner(*, api: ApiClient, application_name: str, user_id: str, as_json: bool) -> None:
    """Enter a user as one who answers for the application; rights come from roles."""
    found = _find(api, application_name)
    api.ask("PUT", f"{_path(found)}/owners/{quote(user_id, safe='')}", "application")
    show({"owner": user_id, "added": True}, f"owner {user_id} added", as_json=as_json)


@application.command("remove-owner")
@click.argument("application_name", metavar="APPLICATION")
@click.argument("user_id")
@with_api
def remove_owner(*, api: ApiClient, application_name: str, user_id: str, as_json: bool) -> None:
    """Remove an owner."""
    found = _find(api, application_name)
    api.ask("DELETE", f"{_path(found)}/owners/{quote(user_id, safe='')}", "application")
    show({"owner": user_id, "removed": True}, f"owner {user_id} removed", as_json=as_json)


@click.command("rotate-signing-key")
@click.option("--end-tokens", is_flag=True, help="End all access tokens now: a key was seen.")
@with_api
def rotate_signing_key(*, api: ApiClient, end_tokens: bool, as_json: bool) -> None:
    """Sign access tokens with a new key from now on; every 90 days it happens by itself."""
    made = api.ask("POST", "/v1/signing-keys", "signing key", json={"end_tokens": end_tokens})
    show(made, f"access tokens are signed by key {made['key_id']} from now on", as_json=as_json)


def _find(api: ApiClient, named: str) -> dict[str, Any]:  # Any: an answer of JSON
    """Return the application of this id or name."""
    try:
        path = f"{_ALL}/{UUID(named)}"
    except ValueError:
        found = api.ask("GET", f"{_ALL}?name={quote(named, safe='')}", "applications")
        if not found:
            raise ResourceAbsent("application", named) from None
        return dict(found[0])
    return dict(api.ask("GET", path, f"application {named}"))


def _path(found: dict[str, Any]) -> str:  # Any: as above
    return f"{_ALL}/{found['application_id']}"


def _certificate(row: dict[str, Any]) -> str:  # Any: as above
    state = "expired" if row["expired"] else "until"
    computer = row["source_computer_id"] or "no source computer yet"
    return f"{row['thumbprint']}  {state} {instant_text(row['not_after'])}  {computer}"


def _content(file: str) -> str:
    """Return a certificate's file as the API takes it: PEM, or DER in base64."""
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise FileUnusable(Path(file), problem=str(error.strerror)) from None
    if len(content) > _MAX_FILE_BYTES:
        raise FileUnusable(Path(file), problem="it is too long for a certificate")
    if b"-----BEGIN" in content:
        return content.decode("ascii", errors="replace")
    return base64.b64encode(content).decode()
