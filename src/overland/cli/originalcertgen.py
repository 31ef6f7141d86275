"""`AzureOfflineBackupCertGen`: the original's command lines, as they stand in its runbooks.

    AzureOfflineBackupCertGen CreateNewApplication SubscriptionId:<id>
    AzureOfflineBackupCertGen AddRegistryEntries SubscriptionId:<id> xmlfilepath:<file>
        storageaccountname:<account>

Behind them are the steps of `overland cert`.  Where the original opens a window to sign in,
`overland sign-in` comes first, or `tokenfile:` names a file with a token.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from overland.cli import certsteps, signedin
from overland.cli.cert import created_text, entered_text
from overland.cli.certsteps import PARAMS_FILE
from overland.cli.cloudcomputer import ApiClient, open_api
from overland.cli.log import configure_logging
from overland.cli.machine import open_agent, overland_home
from overland.cli.originalwords import MARKS, WrongUsage, values_of
from overland.cli.outcome import Commands, Exit, note, say, show
from overland.cli.signedin import SignInEnded

__all__ = ["CommandLine", "main", "parse"]

_USAGE: Final = """\
Make the application for offline backup, and write OfflineApplicationParams.xml here:
  AzureOfflineBackupCertGen CreateNewApplication SubscriptionId:<subscription id>

Let it speak for this computer, once that is registered:
  AzureOfflineBackupCertGen AddRegistryEntries SubscriptionId:<subscription id>
      xmlfilepath:<path of OfflineApplicationParams.xml> storageaccountname:<storage account>

Who is signed in (overland sign-in) needs the rights; for scripts, both take tokenfile:<file>,
and CreateNewApplication cloud:<address> and cafile:<file> of the cloud.
"""
_CREATE: Final = "createnewapplication"
_ADD: Final = "addregistryentries"
_NEEDED: Final = {
    _CREATE: ("SubscriptionId",),
    _ADD: ("SubscriptionId", "xmlfilepath", "storageaccountname"),
}
_ALSO: Final = {_CREATE: ("tokenfile", "cloud", "cafile"), _ADD: ("tokenfile",)}
_PROGRAM: Final = "AzureOfflineBackupCertGen"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What was typed: the verb in small letters, and the values by names in small letters."""

    verb: str
    values: Mapping[str, str]


def parse(words: Sequence[str]) -> CommandLine:
    """Return what the words of a command line mean.

    Raises:
        WrongUsage: The verb or a name is unknown, or a name is missing, empty or given twice.
    """
    verb = words[0].strip(MARKS).lower() if words else ""
    if verb not in _NEEDED:
        begin = "begin with CreateNewApplication or AddRegistryEntries"
        raise WrongUsage(begin, program=_PROGRAM)
    values = values_of(words[1:], (*_NEEDED[verb], *_ALSO[verb]), program=_PROGRAM)
    for name in _NEEDED[verb]:
        if not values.get(name.lower()):
            missing = f"{name}: is missing, with its value right behind the colon"
            raise WrongUsage(missing, program=_PROGRAM)
    return CommandLine(verb=verb, values=values)


@click.group(cls=Commands)
def _program() -> None:
    """Give the one command below its way of ending."""


@_program.command("run", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("words", nargs=-1)
def _run(*, words: tuple[str, ...]) -> int:
    if any(word in {"-h", "--help", "/?", "-?"} for word in words):
        say(_USAGE)
        return Exit.OK
    if not words:
        note(_USAGE)
    line = parse(words)
    return _create(line.values) if line.verb == _CREATE else _add(line.values)


def _create(values: Mapping[str, str]) -> int:
    certsteps.refuse_strangers()
    made, path = certsteps.create_application(
        _api(values),
        subscription=values["subscriptionid"],
        user_id=None,
        out=Path(PARAMS_FILE),
    )
    show(None, created_text(made, path), as_json=False)
    return Exit.OK


def _add(values: Mapping[str, str]) -> int:
    certsteps.refuse_strangers()
    with open_agent(exclusive=True) as machine:
        machine.registration()  # before anything is asked of the cloud
        done = certsteps.enroll(
            machine,
            certsteps.caller(machine, token_file=values.get("tokenfile")),
            params=Path(values["xmlfilepath"]),
            account=values["storageaccountname"],
            subscription=values["subscriptionid"],
        )
    show(None, entered_text(done), as_json=False)
    return Exit.OK


def _api(values: Mapping[str, str]) -> ApiClient:
    """Return the cloud where somebody is signed in, or that was named.

    Raises:
        SignInEnded: Nobody is, and no token was named.
    """
    if "tokenfile" not in values and signedin.read(overland_home()) is None:
        raise SignInEnded("nobody is signed in")
    return open_api(
        home=None,
        url=values.get("cloud"),
        ca_file=values.get("cafile"),
        token_file=values.get("tokenfile"),
    )


def main() -> None:
    """Run the program; exit codes are those of `overland` (`docs/reference/exit-codes.md`)."""
    configure_logging(default="warning")
    _program.main(["run", "--", *sys.argv[1:]], prog_name=_PROGRAM)


if __name__ == "__main__":
    main()
