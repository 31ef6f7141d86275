"""`overland cloud serve`: become the server of a cloud."""

import os
import sys
from pathlib import Path
from typing import Final

import click

import overland
from overland.cli.cloudcomputer import cloud_folder

__all__ = ["serve"]

_LAST_PORT: Final = 65535
_PORT: Final = click.IntRange(0, _LAST_PORT)


@click.command()
@click.option("--home", type=click.Path(file_okay=False), help="Home folder.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8443, type=_PORT, show_default=True, help="Of the API; 0 is any free one."
)
@click.option("--object-port", type=_PORT, help="Of the data plane; default port + 1.")
@click.option("--public-name", help="How clients call this computer, if not by the address.")
@click.option(
    "--object-socket",
    type=click.Path(dir_okay=False),
    help="Where the data plane listens too, without TLS, for a station on this computer.",
)
@click.option("--object-socket-group", metavar="GROUP", help="Who else may connect to it.")
def serve(
    *,
    home: str | None,
    host: str,
    port: int,
    object_port: int | None,
    public_name: str | None,
    object_socket: str | None,
    object_socket_group: str | None,
) -> None:
    """Serve until SIGTERM; `endpoints.json` in the home folder says where."""
    chosen = object_port if object_port is not None else (port + 1 if port else 0)
    if chosen > _LAST_PORT:
        raise click.UsageError("give --object-port too; there is no port after the last")
    if object_socket_group is not None and object_socket is None:
        raise click.UsageError("the group is of a socket: give --object-socket too")
    socket_path = None if object_socket is None else str(Path(object_socket).absolute())
    words = [
        *(sys.executable, "-m", "overland.server"),
        *("--folder", str(cloud_folder(home))),
        *("--host", host, "--port", str(port), "--object-port", str(chosen)),
        *_option("--public-name", public_name),
        *_option("--object-socket", socket_path),
        *_option("--object-socket-group", object_socket_group),
    ]
    # The server becomes this process, so that signals and the exit code are its own.
    path = [str(Path(overland.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    os.execve(words[0], words, environment)  # noqa: S606 - our own interpreter and module


def _option(name: str, value: str | None) -> tuple[str, ...]:
    return () if value is None else (name, value)
