"""`python -m overland.server`: what `overland cloud serve` becomes."""

import sys
from pathlib import Path
from typing import NoReturn

import click

from overland.errors import OverlandError, RefusedError
from overland.server.app import Options, serve

__all__ = ["main"]


@click.command()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8443, show_default=True)
@click.option("--object-port", type=click.IntRange(0, 65535), default=8444, show_default=True)
@click.option("--public-name", default=None)
@click.option("--object-socket", type=click.Path(path_type=Path), default=None)
@click.option("--object-socket-group", default=None)
def main(
    *,
    folder: Path,
    host: str,
    port: int,
    object_port: int,
    public_name: str | None,
    object_socket: Path | None,
    object_socket_group: str | None,
) -> None:
    """Serve the cloud of a folder until SIGTERM."""
    options = Options(
        folder=folder.absolute(),
        host=host,
        port=port,
        object_port=object_port,
        public_name=public_name or host,
        object_socket=None if object_socket is None else object_socket.absolute(),
        object_socket_group=object_socket_group,
    )
    try:
        serve(options)
    except OverlandError as error:
        _fail(str(error), code=error.code, status=3 if isinstance(error, RefusedError) else 1)
    except OSError as error:
        _fail(str(error), code="operating-system", status=1)


def _fail(message: str, *, code: str, status: int) -> NoReturn:
    """End as every command does: one line and a code (`docs/reference/exit-codes.md`)."""
    click.echo(f"error: {message} [{code}]", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
