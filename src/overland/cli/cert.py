"""`overland cert`: an application with a certificate that speaks for this computer."""

from pathlib import Path
from typing import Any

import click

from overland.agent.certificate import Certificates
from overland.agent.certificatesignin import DEFAULT_SCOPE, certificate_in_use
from overland.agent.offlineidentity import OfflineIdentities, OfflineIdentity
from overland.agent.settings import CURRENT_USER
from overland.cli import certsteps
from overland.cli.certificatehere import open_all, sign_in_here
from overland.cli.certsteps import PARAMS_FILE, Entered
from overland.cli.cloudcomputer import ApiClient, with_api
from overland.cli.machine import AgentMachine, open_agent
from overland.cli.outcome import (
    Commands,
    Exit,
    count_text,
    instant_text,
    json_option,
    note,
    show,
    size_text,
)
from overland.cli.refusals import FileTaken
from overland.cli.secrets import write_new
from overland.errors import OverlandError

__all__ = ["cert", "created_text", "entered_text"]

_token_option = click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    help="Upload with this token, instead of who is signed in.",
)


@click.group(cls=Commands)
def cert() -> None:
    """Let an application sign in for this computer, by a certificate whose key stays here."""


@cert.command("create-application")
@click.option("--subscription", required=True, help="Whose storage accounts will be used.")
@click.option("--user-id", help="Who answers for it; who is signed in when not given.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=PARAMS_FILE,
    show_default=True,
    help="The identity file to write; it holds no secret.",
)
@with_api
def create_application(
    *, api: ApiClient, subscription: str, user_id: str | None, out: Path, as_json: bool
) -> None:
    """Make the application AzureOfflineBackup_<user id>, and write OfflineApplicationParams.xml.

    One that exists is left as it is; the command then says how a certificate is added by hand,
    and ends with 3.
    """
    made, path = certsteps.create_application(
        api, subscription=subscription, user_id=user_id, out=out
    )
    show({"application": made, "file": str(path)}, created_text(made, path), as_json=as_json)


@cert.command()
@click.option(
    "--params",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="OfflineApplicationParams.xml, made here or on another computer.",
)
@click.option("--storage-account", required=True, help="Account of the offline policies.")
@click.option("--subscription", help="Refuse the file if it was made for another one.")
@_token_option
@json_option
def enroll(
    *,
    params: Path,
    storage_account: str,
    subscription: str | None,
    token_file: str | None,
    as_json: bool,
) -> None:
    """Make this computer's certificate and let the application speak for it."""
    certsteps.refuse_strangers()
    with open_agent(exclusive=True) as machine:
        machine.registration()  # before anything is asked of the cloud
        done = certsteps.enroll(
            machine,
            certsteps.caller(machine, token_file=token_file),
            params=params,
            account=storage_account,
            subscription=subscription,
        )
    show(done, entered_text(done), as_json=as_json)


@cert.command()
@_token_option
@json_option
def upload(*, token_file: str | None, as_json: bool) -> None:
    """Enter this computer's certificate, or claim it after an upload by hand; put it to use."""
    certsteps.refuse_strangers()
    with open_agent(exclusive=True) as machine:
        done = certsteps.upload(machine, certsteps.caller(machine, token_file=token_file))
    show(done, "\n".join(map(entered_text, done)) or _NONE, as_json=as_json)


@cert.command()
@_token_option
@json_option
def renew(*, token_file: str | None, as_json: bool) -> None:
    """Replace the certificate by a new one; the old one stays in use until the cloud has both."""
    certsteps.refuse_strangers()
    with open_agent(exclusive=True) as machine:
        done = certsteps.renew(machine, certsteps.caller(machine, token_file=token_file))
    show(done, "\n".join(map(entered_text, done)) or _NONE, as_json=as_json)


@cert.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--storage-account", help="Whose certificate; not needed when there is one only.")
@json_option
def export(*, file: Path, storage_account: str | None, as_json: bool) -> None:
    """Write this computer's certificate, without its key, into the new file FILE (.cer)."""
    with open_agent() as machine:
        identity, found = certsteps.pick(machine, storage_account)
    try:
        write_new(file, found.der)
    except FileExistsError:
        raise FileTaken(file) from None
    shown = {"file": str(file), "thumbprint": found.thumbprint, "subject": found.subject}
    text = f"{found.subject} ({found.thumbprint}) of {identity.application}: {file}"
    show(shown, text, as_json=as_json)


@cert.command()
@json_option
def status(*, as_json: bool) -> int:
    """Show each storage account's identity, and whether the cloud signs it in now.

    Ends with 3 when one is not signed in.
    """
    with open_agent() as machine:
        identities = OfflineIdentities(machine.files)
        rows = [_row(machine, identities.load(account)) for account in identities.accounts()]
        user_id = machine.settings().get(CURRENT_USER)
    show({"user_id": user_id, "identities": rows}, _status_text(rows), as_json=as_json)
    return int(Exit.OK if all(row["code"] is None for row in rows) else Exit.REFUSED)


@cert.command()
@click.argument("policy")
@json_option
def check(*, policy: str, as_json: bool) -> None:
    """Try all that the certificate opens: the seed of POLICY, its import job, what has landed."""
    with open_agent() as machine:
        found = open_all(machine, policy)
    text = (
        f"seed {found.seed_id}: {found.seed_state}\n"
        f"import job {found.job_name}: {found.job_state or 'not made yet'}\n"
        f"in the container: {count_text(found.landed_objects, 'object')}, "
        f"{size_text(found.landed_bytes)}"
    )
    show(found, text, as_json=as_json)


_NONE = "no identity file yet; make one with `overland cert enroll`"


def created_text(made: OfflineIdentity, path: Path) -> str:
    """Return what to say of a new application."""
    return (
        f"application {made.application} made: {made.client_id}\n"
        f"written: {path}\n"
        f"Next, on the source computer: overland cert enroll --params {path} --storage-account NAME"
    )


def entered_text(done: Entered) -> str:
    """Return what to say of a certificate that the cloud has."""
    return (
        f"{done.file}\n"
        f"{done.subject}, thumbprint {done.thumbprint}, until {instant_text(done.not_after)}\n"
        f"{done.application} signs in by it for storage account {done.storage_account}"
    )


def _row(machine: AgentMachine, identity: OfflineIdentity) -> dict[str, Any]:  # Any: JSON
    row: dict[str, Any] = {  # Any: JSON
        "storage_account": identity.storage_account,
        "application": identity.application,
        "client_id": identity.client_id,
        "thumbprint": None,
        "not_after": None,
        "ends_soon": False,
        "code": None,
        "problem": None,
    }
    try:
        found = certificate_in_use(identity, machine.settings(), Certificates(machine.files))
        row["thumbprint"], row["not_after"] = found.thumbprint, found.not_after.isoformat()
        row["ends_soon"] = found.ends_soon(machine.clock.now())
        sign_in_here(machine, identity, found).token(DEFAULT_SCOPE)
    except OverlandError as error:
        row["code"], row["problem"] = error.code, str(error)
    if row["ends_soon"]:
        note(f"certificate {row['thumbprint']} ends soon; run `overland cert renew`")
    return row


def _status_text(rows: list[dict[str, Any]]) -> str:  # Any: JSON
    lines = []
    for row in rows:
        lines.append(f"{row['storage_account']:<24} {row['application']}  {row['client_id']}")
        if row["thumbprint"]:
            until = instant_text(row["not_after"])
            lines.append(f"{'':<24} certificate {row['thumbprint']} until {until}")
        lines.append(
            f"{'':<24} signs in"
            if row["code"] is None
            else f"{'':<24} does not sign in: {row['problem']} [{row['code']}]"
        )
    return "\n".join(lines) or _NONE
