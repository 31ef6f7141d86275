"""The `overland` program: one group of commands per machine, each loaded when it is used."""

import importlib
import os
from typing import Final

import click
from typing_extensions import override

from overland import __version__
from overland.cli.log import configure_logging
from overland.cli.outcome import Commands

__all__ = ["main", "overland"]

_STANDARD_ERROR: Final = 2
_EPILOG: Final = """
\b
The journey of a first backup, and who types what:
  provider         overland cloud init, serve          the vault and the import service
  source computer  overland agent init, register       keys; a vault to belong to
                   overland policy create --offline    what, when, and the six offline fields
                   overland backup now                 first copy to the staging location
  copy computer    overland disk prepare, ship         drives, import job, parcel
  datacenter       overland station receive, ingest    verify and upload, then return the drives
  source computer  overland backup run-schedule        adopts the seed, then incrementals
                   overland points list, restore       any point, at any time, from the first day
"""

_COMMANDS: Final = {
    "agent": ("overland.cli.agent", "agent", "Keys, registration and state of this computer."),
    "backup": ("overland.cli.backup", "backup", "Back up now, or when the schedule says so."),
    "cert": ("overland.cli.cert", "cert", "Let an application speak for this computer."),
    "check": ("overland.cli.check", "check", "Read all back; name what is damaged or missing."),
    "cloud": ("overland.cli.cloud", "cloud", "Serve and administer vaults and import jobs."),
    "completion": ("overland.cli.completion", "completion", "Print shell completion."),
    "disk": ("overland.cli.disk", "disk", "Prepare and ship drives on the copy computer."),
    "explain": ("overland.cli.explain", "explain", "Tell what an error code means."),
    "group": ("overland.cli.group", "group", "Protect several workloads as one."),
    "keys": ("overland.cli.keys", "keys", "Change the passphrase and the recovery kit."),
    "mount": ("overland.cli.mount", "mount", "Show recovery points as folders, to browse."),
    "points": ("overland.cli.restore", "points", "List recovery points and what is in them."),
    "policy": ("overland.cli.policy", "policy", "What is protected, when, and how it starts."),
    "preflight": ("overland.cli.preflight", "preflight", "Check all that a seed needs."),
    "repack": ("overland.cli.repack", "repack", "Free the room of what no point needs."),
    "repair": ("overland.cli.repair", "repair", "Bring back what the vault lacks; name losses."),
    "restore": ("overland.cli.restore", "restore", "Bring files back from a recovery point."),
    "sign-in": ("overland.cli.signin", "sign_in", "Sign in at a cloud, as a person."),
    "sign-out": ("overland.cli.signin", "sign_out", "End the session of this computer."),
    "seed": ("overland.cli.seed", "seed", "Watch, repair or abandon a seed under way."),
    "station": ("overland.cli.station", "station", "Receive, import and return drives."),
    "unmount": ("overland.cli.mount", "unmount", "End what mount began."),
    "who-am-i": ("overland.cli.signin", "who_am_i", "Show who is signed in, and their roles."),
}


class _LazyGroup(Commands):
    """A group whose commands' modules are imported only when they run or are completed."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted; none is imported."""
        return sorted(_COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command and return it; None if there is none of this name."""
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its line of the table; none is imported."""
        rows = [(name, _COMMANDS[name][2]) for name in sorted(_COMMANDS)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=_LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="overland")
def overland() -> None:
    """Back up over land: the first backup travels on drives, every later one over the network."""


def main() -> None:
    """Run the program; the exit code says how it ended (`docs/reference/exit-codes.md`)."""
    _fill_standard_descriptors()
    configure_logging(default="warning")
    overland()


def _fill_standard_descriptors() -> None:
    """Open those of descriptors 0 to 2 that are closed.

    Otherwise the next file would get the number, perhaps one with backups, and what a library or a
    program says on standard error would be written into it.
    """
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= _STANDARD_ERROR:
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)
