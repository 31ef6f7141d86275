"""`overland keys`: change what opens this computer's backups."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from overland.agent import keys as change
from overland.cli.machine import AgentMachine, open_agent
from overland.cli.outcome import Commands, is_interactive, json_option, show, show_once
from overland.cli.refusals import FileTaken
from overland.cli.secrets import read_passphrase, write_private
from overland.ports.objects import Objects

__all__ = ["keys"]

_Function = TypeVar("_Function", bound=Callable[..., Any])  # Any: click looks at the rest

_passphrase_option = click.option(
    "--new-passphrase-file",
    "passphrase_file",
    type=click.Path(path_type=Path),
    help="File whose first line is the new passphrase, of at least 16 characters; asked for if "
    "absent.",
)
_kit_option = click.option(
    "--recovery-kit",
    "kit_file",
    type=click.Path(path_type=Path),
    help="Where to write the new recovery kit; print it, lock it away, and delete the file.",
)
_OLD_COPIES = (
    "Drives and staging locations made before still open with what opened them then: see "
    "docs/how-to/change-the-passphrase.md"
)


_SIGNING = (
    click.option(
        "--signing",
        is_flag=True,
        help="Replace the signing key as well, and with it the master key: after this computer's "
        "home folder was stolen. Needs --vault-credentials.",
    ),
    click.option(
        "--vault-credentials",
        "credentials_file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="With --signing: the file that the vault's owner downloaded; valid for ten days.",
    ),
    click.option(
        "--without",
        metavar="POINT",
        multiple=True,
        help="With --signing: a recovery point that shall not count any more, because it is not "
        "yours; may be repeated.",
    ),
    click.option(
        "--accept-unknown",
        is_flag=True,
        help="With --signing: have recovery points count that this computer's records do not "
        "lead to.",
    ),
    click.option(
        "--disown",
        is_flag=True,
        help="With --signing: go on although the vault has a newer keyring that was made with the "
        "key that is replaced. Only when no other copy of this home folder made it.",
    ),
)


def _signing_options(function: _Function) -> _Function:
    for option in reversed(_SIGNING):
        function = option(function)
    return function


@click.group(cls=Commands)
def keys() -> None:
    """The passphrase and the recovery kit that open this computer's backups."""


@keys.command()
@_passphrase_option
@json_option
def passphrase(*, passphrase_file: Path | None, as_json: bool) -> None:
    """Replace the passphrase; the recovery kit keeps working."""
    with _machine() as (machine, vault):
        generation = change.change_passphrase(
            machine.home,
            vault,
            passphrase=_new_passphrase(passphrase_file),
            random=secrets.token_bytes,
        )
    _show(generation, "the passphrase was replaced", vault=vault, as_json=as_json)


@keys.command("recovery-kit")
@_kit_option
@json_option
def recovery_kit(*, kit_file: Path | None, as_json: bool) -> None:
    """Make a new recovery kit and withdraw the old one; the passphrase keeps working."""
    _check_kit_file(kit_file)
    with _machine() as (machine, vault):
        generation = change.new_recovery_kit(
            machine.home, vault, random=secrets.token_bytes, keep=_keeper(kit_file)
        )
    _show(generation, "the recovery kit was replaced", vault=vault, as_json=as_json)


@keys.command()
@_passphrase_option
@_kit_option
@click.option(
    "--master",
    is_flag=True,
    help="Replace the master key too: what is stored from now on opens with the new one only.",
)
@_signing_options
@json_option
def rotate(
    *,
    passphrase_file: Path | None,
    kit_file: Path | None,
    master: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Replace passphrase and recovery kit in one step, and with --master the master key.

    Nothing is uploaded again.  Without --master, the key that seals the data stays, and whoever
    had it keeps it.  With it, the old key still opens what was stored before, and nothing that is
    stored from now on.

    With --signing, whoever has an old copy of this computer's home folder can add nothing to the
    backups any more either: what the old signing key signed counts where it is listed now, and
    what it signs later does not.  When it was interrupted, run it again: it goes on.
    """
    if fields.pop("signing"):
        _rotate_signing(fields, passphrase_file, kit_file, as_json=as_json)
        return
    if any(fields.values()):
        raise click.UsageError(
            "--vault-credentials, --without, --accept-unknown and --disown go with --signing"
        )
    _check_kit_file(kit_file)
    replace = change.rotate_master if master else change.rotate
    with _machine() as (machine, vault):
        generation = replace(
            machine.home,
            vault,
            passphrase=_new_passphrase(passphrase_file),
            random=secrets.token_bytes,
            keep=_keeper(kit_file),
        )
    what = "master key, passphrase and recovery kit" if master else "passphrase and recovery kit"
    _show(generation, f"{what} were replaced", vault=vault, as_json=as_json)


def _rotate_signing(
    fields: dict[str, Any], passphrase_file: Path | None, kit_file: Path | None, *, as_json: bool
) -> None:
    if fields["credentials_file"] is None:
        raise click.UsageError("--signing needs --vault-credentials FILE")
    # Few rotate it, and the other commands do without what does.
    from overland.agent.signing import NewKeys  # noqa: PLC0415 - as said above
    from overland.cli.keyssigning import rotate_signing  # noqa: PLC0415 - as said above

    rotate_signing(
        credentials_file=fields["credentials_file"],
        without=fields["without"],
        accept_unknown=fields["accept_unknown"],
        new=NewKeys(
            passphrase=lambda: _new_passphrase(passphrase_file),
            random=secrets.token_bytes,
            keep=_keeper(kit_file),
            disown=fields["disown"],
        ),
        check_kit_file=lambda: _check_kit_file(kit_file),
        as_json=as_json,
    )


@keys.command()
@json_option
def publish(*, as_json: bool) -> None:
    """Finish a change that was interrupted: bring the newest keyring to the vault."""
    with _machine() as (machine, vault):
        generation = change.publish(machine.home, vault)
    _show(generation, "nothing is left to do", vault=vault, as_json=as_json)


@keys.command()
@click.option(
    "--disown",
    is_flag=True,
    help="Go on although somebody with a former master key made the keyring that is in the way. "
    "Only when no other copy of this home folder did.",
)
@json_option
def reissue(*, disown: bool, as_json: bool) -> None:
    """Put this computer's keyring into the vault again, above what is damaged or not yours there.

    Passphrase and recovery kit stay as they are.
    """
    with _machine(disown=disown) as (machine, vault):
        generation = change.reissue(machine.home, vault, disown=disown)
    _show(generation, "this computer's keyring was kept", vault=vault, as_json=as_json)


@keys.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show which keyring counts here, and which in the vault."""
    with _machine(exclusive=False) as (machine, vault):
        found = change.generations(machine.home, vault)
        is_changing = machine.home.is_signing_key_changing()
    in_vault = "no vault" if found.vault is None else str(found.vault)
    unusable = "".join(f"\ndamaged or not yours  {name}" for name in found.unusable)
    then = ""
    if is_changing:
        then = "\nNext: overland keys rotate --signing --vault-credentials FILE"
    elif found.is_reissue_due:
        then = "\nNext: overland keys reissue"
    elif not found.is_published:
        then = "\nNext: overland keys publish"
    show(
        {
            "here": found.here,
            "vault": found.vault,
            "is_published": found.is_published,
            "unusable": list(found.unusable),
            "is_signing_key_changing": is_changing,
        },
        f"keyring here      {found.here}\nkeyring in vault  {in_vault}{unusable}{then}",
        as_json=as_json,
    )


@contextmanager
def _machine(
    *, exclusive: bool = True, disown: bool = False
) -> Iterator[tuple[AgentMachine, Objects | None]]:
    with open_agent(exclusive=exclusive) as machine:
        machine.home.identity()
        if exclusive:
            machine.go_on_with_keys(disown=disown)
        yield machine, machine.vault() if machine.home.is_registered() else None


def _new_passphrase(file: Path | None) -> str:
    return read_passphrase(file, twice=True, option="--new-passphrase-file")


def _check_kit_file(kit_file: Path | None) -> None:
    if kit_file is None and not is_interactive():
        raise click.UsageError("give --recovery-kit FILE: the kit is shown once and kept nowhere")
    if kit_file is not None and kit_file.exists():
        raise FileTaken(kit_file)


def _keeper(kit_file: Path | None) -> Callable[[str], None]:
    """Return what keeps a kit: in a file, durably, or on the screen."""

    def keep(kit: str) -> None:
        """Keep a kit: on return the file survives a power cut, or the text was shown.

        Raises:
            OSError: The file cannot be written, or is there already; no half of it is left.
            OutputLost: Nobody can have seen it.
        """
        if kit_file is None:
            show_once(
                f"\nRecovery kit, shown once. Write it down and lock it away:\n\n{kit}\n",
                what="the recovery kit (make another with `overland keys recovery-kit`)",
            )
        else:
            write_private(kit_file, kit + "\n")

    return keep


def _show(generation: int, what: str, *, vault: Objects | None, as_json: bool) -> None:
    where = "here and in the vault" if vault is not None else "here; there is no vault yet"
    show(
        {"keyring": generation, "in_vault": vault is not None},
        f"{what}: keyring {generation} counts from now on, {where}\n{_OLD_COPIES}",
        as_json=as_json,
    )
