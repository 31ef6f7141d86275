"""`overland cloud user`, `service-account`, `role`, `session`, `totp` and `audit`."""

from typing import Any, Final
from urllib.parse import quote

import click

from overland.cli.cloudcomputer import ApiClient, kept_secret, lines_text, with_api
from overland.cli.outcome import Commands, ask, instant_text, show

__all__ = ["GROUPS"]

_ROLES: Final = ("owner", "contributor", "reader", "backup-operator", "station-operator")

_role_option = click.option("--role", type=click.Choice(_ROLES), help="A first role.")
_subscription = click.option("--subscription", help="Where it holds; otherwise in the tenant.")
_group_option = click.option("--group", help="Resource group of the subscription.")
_out_option = click.option(
    "--out",
    type=click.Path(dir_okay=False),
    help="Keep the secret in this new file, for its owner only, instead of printing it.",
)


_keep_option = click.option(
    "--keep-tokens",
    is_flag=True,
    help="Leave the tokens good that they issued for machines and service accounts.",
)


@click.group(cls=Commands)
def user() -> None:
    """People of a tenant."""


@user.command("create")
@click.argument("name")
@_role_option
@_subscription
@_group_option
@_out_option
@with_api
def create_user(
    *,
    api: ApiClient,
    name: str,
    role: str | None,
    subscription: str | None,
    group: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Invite a person, who chooses a password with the invitation on the cloud's page /password."""
    body = _user_body(name, "person", role, subscription, group)
    with kept_secret(out) as keep:
        made = api.ask("POST", "/v1/users", f"user {name}", json=body)
        keep(f"{made['invitation']}\n")
    _show_invitation(made, out, as_json=as_json)


@user.command("list")
@with_api
def list_users(*, api: ApiClient, as_json: bool) -> None:
    """List people and service accounts."""
    found = api.ask("GET", "/v1/users", "users")
    show(found, lines_text(found, "name", "kind", "state"), as_json=as_json)


@user.command("show")
@click.argument("name")
@with_api
def show_user(*, api: ApiClient, name: str, as_json: bool) -> None:
    """Show a person or service account, and their roles."""
    found = api.ask("GET", f"/v1/users/{quote(name, safe='')}", f"user {name}")
    factor = "on" if found["totp_on"] else "off"
    lines = [f"{found['name']}  {found['kind']}  {found['state']}  second factor {factor}"]
    lines += [f"{each['role']}  {_place(each)}" for each in found["roles"]]
    show(found, "\n".join(lines), as_json=as_json)


@user.command("disable")
@click.argument("name")
@_keep_option
@with_api
def disable_user(*, api: ApiClient, name: str, keep_tokens: bool, as_json: bool) -> None:
    """Stop a person or service account at once, with all sessions and the tokens they issued."""
    body = {"disabled": True, "keep_tokens": keep_tokens}
    _set_disabled(api, name, body, as_json=as_json)


@user.command("enable")
@click.argument("name")
@with_api
def enable_user(*, api: ApiClient, name: str, as_json: bool) -> None:
    """Let a person or service account in again."""
    _set_disabled(api, name, {"disabled": False}, as_json=as_json)


@user.command("reset")
@click.argument("name")
@_out_option
@with_api
def reset_user(*, api: ApiClient, name: str, out: str | None, as_json: bool) -> None:
    """Take password, second factor and sessions away, and invite the person anew."""
    with kept_secret(out) as keep:
        made = api.ask("POST", f"/v1/users/{quote(name, safe='')}/invitation", f"user {name}")
        keep(f"{made['invitation']}\n")
    _show_invitation(made, out, as_json=as_json)


@user.command("delete")
@click.argument("name")
@_keep_option
@with_api
def delete_user(*, api: ApiClient, name: str, keep_tokens: bool, as_json: bool) -> None:
    """Delete a person or service account, with roles, sessions and tokens, also those they issued.

    What they did stays in the audit.
    """
    query = "?keep_tokens=true" if keep_tokens else ""
    api.ask("DELETE", f"/v1/users/{quote(name, safe='')}{query}", f"user {name}")
    show({"name": name, "deleted": True}, f"user {name} deleted", as_json=as_json)


@click.group("service-account", cls=Commands)
def service_account() -> None:
    """Identities of programs: roles and tokens, no password."""


@service_account.command("create")
@click.argument("name")
@_role_option
@_subscription
@_group_option
@with_api
def create_account(
    *,
    api: ApiClient,
    name: str,
    role: str | None,
    subscription: str | None,
    group: str | None,
    as_json: bool,
) -> None:
    """Make a service account; `overland cloud user` lists, stops and deletes it."""
    body = _user_body(name, "service", role, subscription, group)
    made = api.ask("POST", "/v1/users", f"service account {name}", json=body)
    show(made, f"service account {name}", as_json=as_json)


@service_account.command("token")
@click.argument("name")
@click.option(
    "--days",
    default=90,
    show_default=True,
    type=click.IntRange(1, 366),
    help="How many days it is valid.",
)
@_out_option
@with_api
def create_token(*, api: ApiClient, name: str, days: int, out: str | None, as_json: bool) -> None:
    """Make a token that has the account's roles, and ends with the account."""
    path = f"/v1/users/{quote(name, safe='')}/tokens"
    with kept_secret(out) as keep:
        made = api.ask("POST", path, f"service account {name}", json={"expires_in_days": days})
        keep(f"{made['token']}\n")
    text = f"token of {name} until {instant_text(made['expires_at'])}"
    _show_secret(made, "token", out, text, as_json=as_json)


@click.group(cls=Commands)
def role() -> None:
    """Who may do what, where."""


@role.command("assign")
@click.argument("name")
@click.argument("role_name", metavar="ROLE", type=click.Choice(_ROLES))
@_subscription
@_group_option
@click.option("--tenant", help="For the cloud's operator, who names station operators.")
@with_api
def assign_role(
    *,
    api: ApiClient,
    name: str,
    role_name: str,
    subscription: str | None,
    group: str | None,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Give a person or service account a role: nobody grants more than they have."""
    body = {
        "user": name,
        "role": role_name,
        "subscription_id": subscription,
        "resource_group": group,
        "tenant_id": tenant,
    }
    made = api.ask("POST", "/v1/role-assignments", f"user {name}", json=body)
    show(made, f"{made['user']}  {made['role']}  {_place(made)}", as_json=as_json)


@role.command("list")
@with_api
def list_roles(*, api: ApiClient, as_json: bool) -> None:
    """List the assignments, with the ids that `remove` takes."""
    found = api.ask("GET", "/v1/role-assignments", "role assignments")
    lines = [
        f"{each['assignment_id']}  {each['user']}  {each['role']}  {_place(each)}" for each in found
    ]
    show(found, "\n".join(lines), as_json=as_json)


@role.command("remove")
@click.argument("assignment_id")
@with_api
def remove_role(*, api: ApiClient, assignment_id: str, as_json: bool) -> None:
    """Take a role away at once; a tenant keeps its last owner."""
    path = f"/v1/role-assignments/{quote(assignment_id, safe='')}"
    api.ask("DELETE", path, f"role assignment {assignment_id}")
    done = {"assignment_id": assignment_id, "removed": True}
    show(done, f"role assignment {assignment_id} removed", as_json=as_json)


@click.group(cls=Commands)
def session() -> None:
    """Commands that are signed in."""


@session.command("list")
@with_api
def list_sessions(*, api: ApiClient, as_json: bool) -> None:
    """List your sessions; an owner sees those of the tenant."""
    found = api.ask("GET", "/v1/sessions", "sessions")
    names = ("session_id", "user", "client", "address", "used_at")
    show(found, lines_text(found, *names), as_json=as_json)


@session.command("end")
@click.argument("session_id")
@with_api
def end_session(*, api: ApiClient, session_id: str, as_json: bool) -> None:
    """End a session at once."""
    api.ask("DELETE", f"/v1/sessions/{quote(session_id, safe='')}", f"session {session_id}")
    show({"session_id": session_id, "ended": True}, f"session {session_id} ended", as_json=as_json)


@click.group(cls=Commands)
def totp() -> None:
    """The second factor: one-time codes of an authenticator app."""


@totp.command("enable")
@with_api
def enable_totp(*, api: ApiClient, as_json: bool) -> None:
    """Set up your second factor: shows a secret once, and asks for a first code of the app."""
    made = api.ask("POST", "/v1/me/totp", "a second factor")
    click.echo(f"Add this to your authenticator app: {made['secret']}", err=True)
    click.echo(f"or as an address: {made['address']}", err=True)
    code = ask("The code that it shows now", option="a terminal")
    done = api.ask("POST", "/v1/me/totp/confirm", "a second factor", json={"code": code})
    text = "second factor on; keep these recovery codes apart, each is good once:\n"
    show(done, text + "\n".join(done["recovery_codes"]), as_json=as_json)


@totp.command("disable")
@with_api
def disable_totp(*, api: ApiClient, as_json: bool) -> None:
    """Turn your second factor off, by your password and a code."""
    password = click.prompt("Password", hide_input=True, err=True)
    code = ask("A one-time code, or a recovery code", option="a terminal")
    body = {"password": password, "code": code}
    api.ask("POST", "/v1/me/totp/end", "the second factor", json=body)
    show({"totp_on": False}, "second factor off", as_json=as_json)


@totp.command("require")
@click.option("--off", is_flag=True, help="Stop to demand it.")
@with_api
def require_totp(*, api: ApiClient, off: bool, as_json: bool) -> None:
    """Demand a second factor of everybody: without one, nothing but setting it up is allowed."""
    made = api.ask("PUT", "/v1/sign-in-rules", "the tenant", json={"totp_required": not off})
    show(made, f"second factor {'optional' if off else 'demanded'}", as_json=as_json)


@click.command()
@click.option(
    "--top",
    default=100,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="How many events to show.",
)
@click.option("--before", type=click.IntRange(0), help="Only events before this number.")
@with_api
def audit(*, api: ApiClient, top: int, before: int | None, as_json: bool) -> None:
    """Show who signed in, failed to, and changed rights: when, from where; newest first."""
    more = "" if before is None else f"&before={before}"
    found = api.ask("GET", f"/v1/audit?top={top}{more}", "the audit")
    names = ("number", "at", "event", "actor", "address", "target")
    show(found, lines_text(found, *names), as_json=as_json)


GROUPS: Final = (user, service_account, role, session, totp, audit)
"""What `overland cloud` takes in."""


def _user_body(
    name: str, kind: str, role_name: str | None, subscription: str | None, group: str | None
) -> dict[str, str | None]:
    return {
        "name": name,
        "kind": kind,
        "role": role_name,
        "subscription_id": subscription,
        "resource_group": group,
    }


def _set_disabled(api: ApiClient, name: str, body: dict[str, bool], *, as_json: bool) -> None:
    path = f"/v1/users/{quote(name, safe='')}"
    made = api.ask("PATCH", path, f"user {name}", json=body)
    show(made, f"user {made['name']}: {made['state']}", as_json=as_json)


def _place(row: dict[str, Any]) -> str:  # Any: JSON
    if not row["subscription_id"]:
        return "tenant"
    text = f"subscription {row['subscription_id']}"
    return f"{text}, resource group {row['resource_group']}" if row["resource_group"] else text


def _show_invitation(made: dict[str, Any], out: str | None, *, as_json: bool) -> None:  # Any: JSON
    until = instant_text(made["invitation_expires_at"])
    text = (
        f"user {made['name']} is invited until {until}; the password is chosen on the page "
        "/password of the cloud, with the tenant's id, the name, and this invitation"
    )
    _show_secret(made, "invitation", out, text, as_json=as_json)


def _show_secret(
    made: dict[str, Any], field: str, out: str | None, text: str, *, as_json: bool
) -> None:  # Any: JSON
    if out is None:
        show(made, f"{text}\n{made[field]}", as_json=as_json)
        return
    kept = {name: value for name, value in made.items() if name != field}
    show({**kept, "file": out}, f"{text}\nits {field} is in {out}", as_json=as_json)
