"""One cloud in one process: API and data plane over TLS, SQLite, folders, durable work.

The data plane can be had over a socket of this computer too, with the same grants and checks.

`serve` composes the ports and runs until SIGTERM or SIGINT.  Requests under way are finished,
adoption stops between two steps and goes on at the next start.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from overland import events
from overland.adapters.clock import SystemClock
from overland.adapters.database import open_database
from overland.adapters.engine import DbosEngine
from overland.adapters.folderobjects import FolderSpaces
from overland.adapters.localsocket import listening as listening_locally
from overland.adapters.medium import BUFFER_BYTES, BufferPool, read_blocks
from overland.adapters.posix import PosixFiles
from overland.cloud import home, signin
from overland.cloud.adoptions import on_adoption_ended
from overland.cloud.clocks import sweep
from overland.cloud.home import CloudHome, Settings
from overland.cloud.reclaims import begin_due
from overland.cloud.seedwork import manifest_of
from overland.cloud.services import Endpoints, Limits, Services
from overland.crypto import sign
from overland.server.api import create_app
from overland.server.attached import AttachingListener
from overland.server.bulk import BulkProtocol
from overland.server.certificates import SERVER_FILE, SERVER_KEY_FILE, ensure_certificates
from overland.server.objects_app import create_objects_app
from overland.server.serving import Listener, Servers
from overland.vault.adoption import Adoption
from overland.vault.reclaim import Reclaim

__all__ = ["Options", "serve"]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_RESERVE_BYTES: Final = 64 << 20  # of a full disk, for the tables by which reclaim frees it
_COPY_BUFFERS: Final = 8  # two for each of the objects that two drives bring at a time
_SWEEP_EVERY_S: Final = 300.0
_GRACE_S: Final = 10  # for requests under way at the end
_MOST_LOOPS: Final = 4  # a bound; more than two were not measured, for want of processors
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where the cloud lives and listens; port 0 is any free one.

    `object_socket` is where the data plane listens too, for programs of this computer: of this
    user, or with `object_socket_group` of that group as well.
    """

    folder: Path
    host: str
    port: int
    object_port: int
    public_name: str
    object_socket: Path | None = None
    object_socket_group: str | None = None


def serve(options: Options) -> None:
    """Run a cloud until the process is told to end.

    `endpoints.json` in the home folder says where it listens, while it does.

    Raises:
        CloudNotInitialised: `overland cloud init` was not run yet.
        DatabaseNewer: A newer version of the program has changed the tables.
        EngineInUse: Another process serves this home folder.
        SocketUnsafe: The socket's path cannot be used, or its folder is open to others.
        SocketInUse: Another program listens on the socket.
        OSError: A port is taken.
    """
    _log_to_stderr()
    cloud_home = CloudHome(PosixFiles(options.folder))
    settings = cloud_home.settings()
    with contextlib.ExitStack() as closing:
        api, objects = (
            closing.enter_context(_listening(options.host, port))
            for port in (options.port, options.object_port)
        )
        local = _local_socket(options, closing)
        endpoints = _endpoints(options, api, objects)
        services = closing.enter_context(_services(options, cloud_home, settings, endpoints))
        cloud_home.save_endpoints(None)
        closing.callback(cloud_home.save_endpoints, None)
        closing.enter_context(_sweeping(services))
        data_plane = create_objects_app(
            services.spaces,
            public_key=sign.public_key(services.grant_key),
            clock=services.clock,
            read_file=partial(
                read_blocks, block_bytes=BUFFER_BYTES, pool=BufferPool(kept=_COPY_BUFFERS)
            ),
        )
        config = partial(_config, options)
        data_config = partial(config, data_plane, http=BulkProtocol)
        listeners = [
            Listener(listening=api, config=partial(config, create_app(services))),
            Listener(listening=objects, config=data_config, loops=_loops()),
        ]
        if local is not None:
            listeners.append(Listener(listening=local, config=partial(data_config, is_local=True)))
        asyncio.run(_run(options, listeners, cloud_home, endpoints))
    log.info("cloud.stopped")


@contextlib.contextmanager
def _services(
    options: Options, cloud_home: CloudHome, settings: Settings, endpoints: Endpoints
) -> Iterator[Services]:
    """Open tables, objects and engine; interrupted work goes on before requests come in."""
    clock = SystemClock()
    with contextlib.ExitStack() as closing:
        objects = options.folder / "objects"
        objects.mkdir(mode=0o700, exist_ok=True)
        spaces = FolderSpaces(objects, reserve_bytes=_RESERVE_BYTES)
        database = open_database(options.folder / "cloud.db", "cloud")
        closing.callback(database.dispose)
        database.hide_parameters = True  # errors show statements without keys and addresses
        engine = DbosEngine(options.folder / "work.db", "cloud")
        adoption = Adoption(
            database=database,
            engine=engine,
            spaces=spaces,
            clock=clock,
            on_ended=on_adoption_ended(clock),
        )
        reclaim = Reclaim(
            database=database,
            engine=engine,
            spaces=spaces,
            clock=clock,
            manifest_of=manifest_of,
            grace=timedelta(days=settings.soft_delete_days),
        )
        adoption.register()
        reclaim.register()
        engine.launch()
        closing.callback(engine.close)
        swept = spaces.sweep()
        adoption.resume()
        reclaim.resume()
        log.info("cloud.opened", unfinished_puts=swept)
        yield Services(
            database=database,
            clock=clock,
            random=os.urandom,
            spaces=spaces,
            adoption=adoption,
            reclaim=reclaim,
            endpoints=endpoints,
            dock=settings.dock,
            grant_key=cloud_home.grant_key(os.urandom),
            table_key=cloud_home.table_key(os.urandom),
            limits=Limits(retention=timedelta(days=settings.job_retention_days)),
        )


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=256) as listening:
        yield listening


def _local_socket(options: Options, closing: contextlib.ExitStack) -> socket.socket | None:
    if options.object_socket is None:
        return None
    local = closing.enter_context(
        listening_locally(options.object_socket, group=options.object_socket_group)
    )
    return closing.enter_context(AttachingListener(fileno=local.detach()))


def _endpoints(options: Options, api: socket.socket, objects: socket.socket) -> Endpoints:
    names = dict.fromkeys([*_LOOPBACK, options.public_name])
    at = SystemClock().now()
    ca_pem = ensure_certificates(PosixFiles(options.folder), list(names), at=at)
    shown = f"[{options.public_name}]" if ":" in options.public_name else options.public_name
    return Endpoints(
        url=f"https://{shown}:{api.getsockname()[1]}",
        object_url=f"https://{shown}:{objects.getsockname()[1]}",
        ca_pem=ca_pem,
    )


@contextlib.contextmanager
def _sweeping(services: Services) -> Iterator[None]:
    """Look at the clocks of shipping and of reclaim at once, and then every few minutes."""
    stopping = threading.Event()

    def work() -> None:
        """Look, and again until `stopping` is set; a look that fails is logged and ends nothing."""
        while True:
            try:
                services.reclaim.look_at_clock()
                changed = sweep(services)
                signin.forget_ended(services)
                begun = begin_due(services)
            except Exception:  # an edge: the next look may go better
                log.exception("clocks.failed")
            else:
                log.debug("clocks.swept", changed=changed, reclaims=begun)
            if stopping.wait(_SWEEP_EVERY_S):
                return

    thread = threading.Thread(target=work, name="clocks")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _loops() -> int:
    """Return how many threads shall decrypt uploads: one for each processor that we may use."""
    ours = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(_MOST_LOOPS, ours)


async def _run(
    options: Options, listeners: list[Listener], cloud_home: CloudHome, endpoints: Endpoints
) -> None:
    """Serve until a signal comes; say where as soon as all listeners answer."""
    servers = Servers(listeners)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, servers.stop)
    ready = asyncio.create_task(servers.ready())
    await asyncio.wait([ready, *servers.serving], return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        ca = str(options.folder / home.CA_FILE)
        cloud_home.save_endpoints(
            home.Endpoints(
                url=endpoints.url,
                object_url=endpoints.object_url,
                ca=ca,
                object_socket=str(options.object_socket or ""),
            )
        )
        log.info("cloud.started", url=endpoints.url, object_url=endpoints.object_url)
    await asyncio.wait(servers.serving, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    servers.stop()  # one without the other is of no use
    await servers.ended()


def _config(
    options: Options,
    app: ASGIApp,
    *,
    http: type[H11Protocol] = H11Protocol,
    is_local: bool = False,
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ssl_certfile=None if is_local else options.folder / SERVER_FILE,
        ssl_keyfile=None if is_local else options.folder / SERVER_KEY_FILE,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # or a client on this computer would name its own address
        http=http,
        lifespan="off",
        timeout_graceful_shutdown=_GRACE_S,
    )


def _log_to_stderr() -> None:
    """Write one JSON object per event; nothing that is secret is ever an event's field.

    What libraries have to say from warnings on has the same form.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    events.configure(lowest=events.INFO, prepare=lambda: None)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
