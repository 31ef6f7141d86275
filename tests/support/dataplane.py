"""The real data plane, in this process: called directly, or over TLS at 127.0.0.1."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import uvicorn
from tests.support.manualclock import ManualClock
from tests.support.tls import Authority
from uvicorn.protocols.http.h11_impl import H11Protocol

from overland.cloud import grants
from overland.cloud.grants import Grant, Permission
from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.ports.objects import Spaces
from overland.server.attached import ReadFile
from overland.server.bulk import BulkProtocol
from overland.server.objects_app import create_objects_app
from overland.server.uploads import Limits

__all__ = ["ALL", "KEY", "grant_token", "objects_app", "serving_app"]

KEY = Secret(b"control plane of the test cloud!")
ALL: frozenset[Permission] = frozenset(grants.PERMISSIONS)


def grant_token(
    space: str,
    *prefixes: str,
    permissions: frozenset[Permission] = ALL,
    clock: ManualClock | None = None,
) -> str:
    """Return a grant for an hour."""
    clock = clock or ManualClock()
    grant = Grant(
        grant_id="test",
        subject="test",
        space=space,
        prefixes=prefixes,
        permissions=permissions,
        expires_at=clock.now() + timedelta(hours=1),
    )
    return grants.issue(grant, private_key=KEY)


def objects_app(
    spaces: Spaces,
    *,
    clock: ManualClock | None = None,
    limits: Limits | None = None,
    read_file: ReadFile | None = None,
) -> Callable[..., object]:
    """Return the data plane over `spaces`, for grants of `grant_token`."""
    return create_objects_app(
        spaces,
        public_key=sign.public_key(KEY),
        clock=clock or ManualClock(),
        limits=limits,
        read_file=read_file,
    )


@contextmanager
def serving_app(
    app: Callable[..., object],
    authority: Authority | None,
    http: type[H11Protocol] = BulkProtocol,  # the data plane's; the API has uvicorn's own
    kind: type[uvicorn.Server] = uvicorn.Server,
    listener: socket.socket | None = None,
) -> Iterator[str]:
    """Serve an ASGI application with uvicorn until the block ends; the value is the address.

    With a `listener`, which stays the caller's, that is where it serves.
    """
    config = uvicorn.Config(
        app, http=http, log_config=None, access_log=False, lifespan="off", ws="none"
    )
    config.load()
    config.ssl = authority.server_context if authority else None
    server = kind(config)
    listening = listener or socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        scheme = "https" if authority else "http"
        yield "" if listener else f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        if listener is None:
            listening.close()
