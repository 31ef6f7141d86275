"""Several servers in one process, which begin and end together."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import uvicorn
from typing_extensions import override

from overland.server.dealing import Dealer, dealing

__all__ = ["Listener", "Server", "Servers"]

_FAREWELL_S: Final = 0.5  # for idle connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A socket that listens already, so that its port is known, and what answers on it.

    With `loops` it is served by so many event loops in threads of their own, else by the one that
    runs; each has a configuration of its own.
    """

    listening: socket.socket
    config: Callable[[], uvicorn.Config]
    loops: int = 0


class Servers:
    """The servers of all listeners; signals are left to the caller."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        """Begin to serve, in the event loop that runs and in threads."""
        self.serving: list[asyncio.Future[None]] = []
        self._servers: list[Server] = []
        self._ready: list[asyncio.Event] = []
        self._dealers: list[Dealer] = []
        self._closing = contextlib.ExitStack()
        loops = sum(each.loops for each in listeners)
        self._threads = ThreadPoolExecutor(max(1, loops), thread_name_prefix="serve")
        for each in listeners:
            if each.loops:
                self._serve_in_threads(each)
            else:
                serving = self._new(each).serve(sockets=[each.listening])
                self.serving.append(asyncio.create_task(serving))

    async def ready(self) -> None:
        """Wait until all listeners answer."""
        for event in self._ready:
            await event.wait()

    def stop(self) -> None:
        """Have all end, soon: requests under way are finished."""
        for dealer in self._dealers:
            dealer.stop()
        for server in self._servers:
            server.should_exit = True

    async def ended(self) -> None:
        """Wait until all have ended.

        Raises:
            Exception: What one of them failed with.
        """
        await asyncio.wait(self.serving)
        self._threads.shutdown()
        self._closing.close()
        await asyncio.gather(*self.serving)

    def _new(self, listener: Listener) -> "Server":
        server, event = Server(listener.config()), asyncio.Event()
        server.on_ready = partial(asyncio.get_running_loop().call_soon_threadsafe, event.set)
        self._servers.append(server)
        self._ready.append(event)
        return server

    def _serve_in_threads(self, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        dealer = self._closing.enter_context(dealing(listener.listening, listener.loops))
        self._dealers.append(dealer)
        for taking in dealer.listeners:
            serve = partial(_serve_alone, self._new(listener), taking)
            self.serving.append(loop.run_in_executor(self._threads, serve))


class Server(uvicorn.Server):
    """A server that says when it listens, and leaves signals to us, because there are several."""

    on_ready: Callable[[], object] | None = None

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.on_ready is not None:
            self.on_ready()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: answer what was asked, and wait a moment only for clients to say farewell too."""
        ending = asyncio.create_task(super().shutdown(sockets))
        await asyncio.wait([ending], timeout=_FAREWELL_S)
        for connection in list(self.server_state.connections):
            if connection.transport.is_closing():  # an idle client that does not answer TLS's end
                connection.transport.abort()
        await ending

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Do nothing."""
        yield


def _serve_alone(server: Server, listening: socket.socket) -> None:
    """Serve in an event loop of this thread."""
    asyncio.run(server.serve(sockets=[listening]))
