"""`overland sign-in`, `sign-out` and `who-am-i`: a person at a command."""

import getpass
import platform
import time
import webbrowser
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from overland.adapters.clock import SystemClock
from overland.adapters.http import UrllibHttp, Wire
from overland.cli import signedin
from overland.cli.outcome import json_option, note, printable, show
from overland.cli.refusals import FileUnusable
from overland.cli.signedin import CLIENT_ID, Answer, SignedIn, SignInAnswerOdd, SignInEnded
from overland.errors import RefusedError, Unreachable
from overland.ports.http import accept

__all__ = ["sign_in", "sign_out", "who_am_i"]

_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER_S: Final = 5  # RFC 8628 §3.5
_LONGEST_PAUSE_S: Final = 60
_TIMEOUT_S: Final = 30.0
_MAX_CA_BYTES: Final = 1 << 20

_home_option = click.option("--home", type=click.Path(file_okay=False), help="Home folder.")


class SignInTurnedDown(RefusedError):
    """The code was refused on the page, or nobody confirmed it in time."""

    code = "sign-in-turned-down"


@click.command("sign-in")
@click.option("--cloud", "url", required=True, help="Address of the cloud's API.")
@click.option("--tenant", required=True, help="The tenant's id.")
@click.option("--ca-file", type=click.Path(dir_okay=False), help="The cloud's authority.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser here.")
@_home_option
@json_option
def sign_in(
    *, url: str, tenant: str, ca_file: str | None, opens: bool, home: str | None, as_json: bool
) -> None:
    """Sign in: prints a code, which a person confirms on the cloud's page, here or elsewhere.

    From then on `overland cloud` acts in that person's name, until `overland sign-out`.
    """
    folder = signedin.home_folder(home)
    ca_pem = None if ca_file is None else _read(Path(ca_file))
    wire = Wire(url, None, ca_pem, timeout_s=_TIMEOUT_S)
    form = {"client_id": CLIENT_ID, "client_name": _client_name()}
    begun = signedin.post_form(wire, f"/{quote(tenant)}/oauth2/v2.0/devicecode", form)
    if begun.status != 200:
        raise SignInTurnedDown(_said(begun))
    page, code = begun.text("verification_uri"), begun.text("user_code")
    note(f"Open {printable(page)} and enter the code {printable(code)}.")
    if opens and begun.text("verification_uri_complete").startswith("https://"):
        webbrowser.open(
            begun.text("verification_uri_complete")
        )  # and never a file of this computer
    answer = _wait(wire, tenant, begun)
    life = timedelta(seconds=int(answer.body.get("expires_in", 0)))
    kept = SignedIn(
        url=url,
        ca_pem=ca_pem,
        tenant_id=tenant,
        access_token=answer.text("access_token"),
        refresh_token=answer.text("refresh_token"),
        expires_at=SystemClock().now() + life,
    )
    signedin.store(folder, kept)
    me = _me(kept)
    show({**me, "cloud": url}, f"signed in at {url} as {me['name']}", as_json=as_json)


@click.command("sign-out")
@_home_option
@json_option
def sign_out(*, home: str | None, as_json: bool) -> None:
    """End this computer's session at the cloud, and forget it here."""
    folder = signedin.home_folder(home)
    is_ended = False
    try:
        kept = signedin.access_token(folder)
        session_id = _session_of(kept)
        http = UrllibHttp(kept.url, kept.access_token, kept.ca_pem)
        accept(http.request("DELETE", f"/v1/sessions/{quote(session_id)}"), what="the session")
        is_ended = True
    except SignInEnded:
        pass  # by somebody else, or nobody was signed in
    except Unreachable:
        note("the cloud does not answer; the session there ends when it is ended by an owner")
    finally:
        signedin.forget(folder)
    show({"signed_out": True, "session_ended": is_ended}, "signed out", as_json=as_json)


@click.command("who-am-i")
@_home_option
@json_option
def who_am_i(*, home: str | None, as_json: bool) -> None:
    """Show who is signed in here, where, and with which roles."""
    kept = signedin.access_token(signedin.home_folder(home))
    me = _me(kept)
    lines = [f"{me['name']} at {kept.url}, tenant {me['tenant_id']}"]
    for role in me["roles"]:
        place = f"subscription {role['subscription_id']}" if role["subscription_id"] else "tenant"
        place += f", resource group {role['resource_group']}" if role["resource_group"] else ""
        lines.append(f"{role['role']}  {place}")
    if me["totp_required"] and not me["totp_on"]:
        lines.append("no role counts before `overland cloud totp enable`: the tenant demands it")
    show({**me, "cloud": kept.url}, "\n".join(lines), as_json=as_json)


def _wait(wire: Wire, tenant: str, begun: Answer) -> Answer:
    """Ask until somebody decided; slower whenever the cloud says so, or does not answer."""
    pause_s = float(begun.body.get("interval", _SLOWER_S))
    ends_at = time.monotonic() + float(begun.body.get("expires_in", 600))
    form = {
        "grant_type": _GRANT,
        "client_id": CLIENT_ID,
        "device_code": begun.text("device_code"),
    }
    while time.monotonic() < ends_at:
        time.sleep(pause_s)
        try:
            answer = signedin.post_form(wire, signedin.token_path(quote(tenant)), form)
        except Unreachable:
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            continue
        if answer.status == 200:
            return answer
        error = answer.body.get("error")
        if error in {"slow_down", "temporarily_unavailable"}:
            pause_s = min(pause_s + _SLOWER_S, _LONGEST_PAUSE_S)
        elif error != "authorization_pending":
            raise SignInTurnedDown(_said(answer))
    raise SignInTurnedDown("nobody confirmed the code in time; run `overland sign-in` again")


def _me(kept: SignedIn) -> dict[str, Any]:  # Any: JSON
    http = UrllibHttp(kept.url, kept.access_token, kept.ca_pem)
    found = accept(http.request("GET", "/v1/me"), what="who is signed in")
    if not isinstance(found, dict):
        raise SignInAnswerOdd("the cloud's answer is not that of a cloud of ours")
    return found


def _session_of(kept: SignedIn) -> str:
    """Return the session's id, which is that of its access tokens."""
    return str(_me(kept).get("session_id"))


def _client_name() -> str:
    try:
        who = getpass.getuser()
    except (OSError, KeyError):  # no such user in a small container
        who = "somebody"
    name = f"overland of {who} on {platform.node() or 'a computer'}"
    return "".join(each if each.isprintable() else "?" for each in name)[:128]


def _said(answer: Answer) -> str:
    return printable(str(answer.body.get("error_description") or answer.body.get("error")))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_CA_BYTES).decode()
    except OSError as error:
        raise FileUnusable(path, problem=str(error.strerror)) from None
    except UnicodeDecodeError:
        raise FileUnusable(path, problem="it is not text") from None
