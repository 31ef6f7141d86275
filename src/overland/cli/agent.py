"""`overland agent`: the keys, the registration and the state of this source computer."""

import secrets
import socket
from pathlib import Path

import click

from overland.agent.home import AgentNotRegistered, Identity
from overland.agent.keys import publish
from overland.agent.refusals import ComputerHasKeys
from overland.agent.setup import initialise, parse_vault_credentials
from overland.agent.signing import register_again
from overland.cli.agentconfig import config
from overland.cli.machine import AgentMachine, http_to, open_agent
from overland.cli.outcome import Commands, is_interactive, json_option, show, show_once
from overland.cli.refusals import FileTaken, FileUnusable
from overland.cli.secrets import read_passphrase, write_private
from overland.errors import OverlandError

__all__ = ["agent"]


@click.group(cls=Commands)
def agent() -> None:
    """Keys, registration and state of this source computer."""


agent.add_command(config)


@agent.command()
@click.option("--name", help="This computer's name in the vault; its host name by default.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help="File whose first line is the passphrase, of at least 16 characters; asked for if absent.",
)
@click.option(
    "--recovery-kit",
    "kit_file",
    type=click.Path(path_type=Path),
    help="Where to write the recovery kit; print it, lock it away, and delete the file.",
)
@json_option
def init(
    *, name: str | None, passphrase_file: Path | None, kit_file: Path | None, as_json: bool
) -> None:
    """Make this computer's keys.

    Whoever restores needs the passphrase or the recovery kit.  Nobody can help who has lost both:
    the cloud never sees either.
    """
    if kit_file is None and not is_interactive():
        raise click.UsageError("give --recovery-kit FILE: the kit is shown once and kept nowhere")
    if kit_file is not None and kit_file.exists():
        raise FileTaken(kit_file)
    with open_agent(exclusive=True) as machine:
        if machine.home.is_initialised():
            raise ComputerHasKeys(machine.home.identity().repository_id)
        passphrase = read_passphrase(passphrase_file, twice=True)
        identity, kit = initialise(
            machine.home,
            computer_name=name or socket.gethostname(),
            passphrase=passphrase,
            random=secrets.token_bytes,
        )
    if kit_file is None:
        show_once(
            f"\nRecovery kit, shown once. Write it down and lock it away:\n\n{kit}\n",
            what="the recovery kit (make another with `overland keys recovery-kit`)",
        )
    else:
        try:
            write_private(kit_file, kit + "\n")
        except OSError as error:
            problem = (
                f"{error.strerror}; the keys are made, and their kit is lost; make another with "
                "`overland keys recovery-kit`"
            )
            raise FileUnusable(kit_file, problem=problem) from None
    show(
        identity,
        f"{identity.computer_name}: keys made for repository {identity.repository_id}\n"
        f"Next: overland agent register --vault-credentials FILE",
        as_json=as_json,
    )


@agent.command("register")
@click.option(
    "--vault-credentials",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The file that the vault's owner downloaded; valid for ten days.",
)
@json_option
def register_command(*, file: Path, as_json: bool) -> None:
    """Register this computer with a vault."""
    with open_agent(exclusive=True) as machine:
        credentials = parse_vault_credentials(file.read_bytes(), now=machine.clock.now())
        http = http_to(
            credentials.url, token=credentials.registration_token, ca_pem=credentials.ca_pem
        )
        registration = register_again(machine.home, credentials, http=http)
        machine.go_on_with_keys()
        publish(machine.home, machine.vault())
        name = machine.home.identity().computer_name
    show(
        {
            "computer": name,
            "vault": registration.vault_name,
            "source_computer_id": registration.source_computer_id,
        },
        f"{name} is registered with vault {registration.vault_name}\n"
        "Next: overland policy create NAME --source PATH --offline …",
        as_json=as_json,
    )


@agent.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show who this computer is, its vault, whether the vault answers, and its policies."""
    from overland.cli.certificatehere import identity_rows  # noqa: PLC0415 - slow to load

    with open_agent() as machine:
        rows = [*_identity_rows(machine.home.identity()), *_vault_rows(machine)]
        accounts = identity_rows(machine)
        policies = {name: machine.policies.progress(name) for name in machine.policies.names()}
    value: dict[str, object] = {label.replace(" ", "_"): said for label, said in rows}
    if "recovery_points" in value:
        value["recovery_points"] = int(dict(rows)["recovery points"])
    value["accounts"] = {label.removeprefix("account "): said for label, said in accounts}
    value["policies"] = {
        name: {"phase": each.phase, "last_outcome": each.last_outcome}
        for name, each in policies.items()
    }
    rows += accounts
    rows += [
        (f"policy {name}", f"{each.phase}  {each.last_outcome}") for name, each in policies.items()
    ]
    text = "\n".join(f"{label:<18} {said}" for label, said in rows)
    show(value, text, as_json=as_json)


def _identity_rows(identity: Identity) -> list[tuple[str, str]]:
    return [
        ("computer", identity.computer_name),
        ("repository", identity.repository_id),
        ("signing key", identity.signing_public_key),
    ]


def _vault_rows(machine: AgentMachine) -> list[tuple[str, str]]:
    try:
        registration = machine.registration()
    except AgentNotRegistered as absent:
        return [("vault", f"not registered: {absent}")]
    rows = [("vault", registration.vault_name), ("cloud", registration.url)]
    try:
        points = machine.connection().points()
    except OverlandError as error:
        return [*rows, ("cloud answers", f"no: {error} [{error.code}]")]
    return [*rows, ("cloud answers", "yes"), ("recovery points", str(len(points)))]
