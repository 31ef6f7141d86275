"""Several event loops serve one port as one would: in turn, with one count, and end together."""

import asyncio
import errno
import hashlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import urllib3
import uvicorn
from tests.support.dataplane import grant_token, objects_app
from tests.support.landed import MemorySpaces
from tests.support.tls import Authority, authority

from overland.adapters.httpobjects import HttpObjects
from overland.errors import Unreachable
from overland.server.bulk import BUFFER_BYTES, BulkProtocol
from overland.server.dealing import DealtListener, dealing
from overland.server.serving import Listener, Servers
from overland.server.uploads import Limits

SPACE = "accounts/harbour/seeds"
LOOPS = 3
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    url: str
    address: tuple[str, int]
    stop: Callable[[], object]


@contextmanager
def _serving(app: Any, trust: Authority | None, loops: int = LOOPS) -> Iterator[Serving]:
    """Serve an application with several event loops until the block ends, or `stop`."""

    def config() -> uvicorn.Config:
        made = uvicorn.Config(
            app, http=BulkProtocol, log_config=None, access_log=False, lifespan="off", ws="none"
        )
        made.load()
        made.ssl = trust.server_context if trust else None
        return made

    begun, stops = threading.Event(), list[Callable[[], object]]()

    async def run(listening: socket.socket) -> None:
        servers = Servers([Listener(listening=listening, config=config, loops=loops)])
        loop = asyncio.get_running_loop()
        stops.append(partial(loop.call_soon_threadsafe, servers.stop))
        await servers.ready()
        begun.set()
        await servers.ended()

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        address = listening.getsockname()
        running = pool.submit(asyncio.run, run(listening))
        assert begun.wait(PATIENCE_S)
        scheme = "https" if trust else "http"
        try:
            yield Serving(url=f"{scheme}://127.0.0.1:{address[1]}", address=address, stop=stops[0])
        finally:
            if not running.done():
                stops[0]()
            running.result(PATIENCE_S)


async def _which_thread(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer with the thread that serves the connection."""
    body = str(threading.get_ident()).encode()
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("trust", [None, authority()], ids=["plain", "tls"])
def test_connections_are_dealt_to_the_loops_in_turn(trust: Authority | None) -> None:
    with _serving(_which_thread, trust) as serving, ExitStack() as closing:
        trusted = {"ca_cert_data": trust.ca_pem} if trust else {}
        served = []
        for _ in range(2 * LOOPS):
            client = closing.enter_context(urllib3.PoolManager(**trusted))  # type: ignore[arg-type] # a CA only
            served += [client.request("GET", serving.url).data for _ in range(2)]
    assert served[0::2] == served[1::2], "a connection stays where it is"
    turns = served[0::2]
    assert len(set(turns)) == LOOPS
    assert turns[:LOOPS] == turns[LOOPS:]


def test_uploads_through_all_loops_at_once_arrive_as_they_were_sent() -> None:
    spaces, trust = MemorySpaces(), authority()
    sizes = [1, BUFFER_BYTES - 1, BUFFER_BYTES + 1, 2 * BUFFER_BYTES, (9 << 20) + 3] * 2
    contents = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
    with _serving(objects_app(spaces), trust) as serving:
        token = grant_token(SPACE, "seed-1/")

        def put(number: int) -> None:
            store = HttpObjects(serving.url, SPACE, "seed-1/", token, trust.ca_pem)
            content = contents[number]
            digest = hashlib.sha256(content).hexdigest()
            store.put(str(number), [content], size_bytes=len(content), sha256=digest)

        with ThreadPoolExecutor(2 * LOOPS) as pool:
            list(pool.map(put, range(len(contents))))
    for number, content in enumerate(contents):
        assert spaces.open(SPACE).read(f"seed-1/{number}") == content


def test_a_grant_has_its_share_of_uploads_in_all_loops_together() -> None:
    content = random.Random(1).randbytes(BUFFER_BYTES)
    limits = Limits(per_grant=1)
    with _serving(objects_app(MemorySpaces(), limits=limits), None) as serving:
        with socket.create_connection(serving.address) as held:
            held.sendall(_head("held", content) + content[:-1])
            answers = set()
            for number in range(100):  # until the held one is under way, then at each loop
                answers.add(_answer(serving, str(number)))
                if answers >= {429} and number >= LOOPS:
                    break
            refused = [_answer(serving, "again") for _ in range(LOOPS)]
            held.sendall(content[-1:])
            assert held.recv(4096).startswith(b"HTTP/1.1 201")
        assert refused == [429] * LOOPS
        assert [_answer(serving, f"after-{number}") for number in range(LOOPS)] == [201] * LOOPS


def _answer(serving: Serving, name: str) -> int:
    with socket.create_connection(serving.address) as line:
        line.sendall(_head(name, b"x") + b"x")
        return int(line.recv(4096).split()[1])


def _head(name: str, content: bytes) -> bytes:
    return (
        f"PUT /{SPACE}/seed-1/{name} HTTP/1.1\r\nHost: here\r\n"
        f"Authorization: Bearer {grant_token(SPACE, 'seed-1/')}\r\n"
        f"Content-Length: {len(content)}\r\n"
        f"x-overland-sha256: {hashlib.sha256(content).hexdigest()}\r\n\r\n"
    ).encode()


def test_at_the_end_what_is_under_way_is_finished_and_nothing_new_begun() -> None:
    content = random.Random(2).randbytes(BUFFER_BYTES + 1)
    spaces = MemorySpaces()
    with _serving(objects_app(spaces, limits=Limits()), None) as serving:
        lines = [socket.create_connection(serving.address) for _ in range(LOOPS)]
        for number, line in enumerate(lines):
            line.sendall(_head(str(number), content) + content[:-1])
        serving.stop()
        _wait_until_refused(serving)
        for line in lines:
            line.sendall(content[-1:])
            assert line.recv(4096).startswith(b"HTTP/1.1 201")
            line.close()
    assert len(list(spaces.open(SPACE).names())) == LOOPS
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("serve", "dealer"))]


def _wait_until_refused(serving: Serving) -> None:
    for _ in range(1000):
        try:
            socket.create_connection(serving.address, timeout=PATIENCE_S).close()
        except ConnectionError:
            return
    pytest.fail("it still listens")


def test_a_store_that_has_ended_is_unreachable() -> None:
    with _serving(objects_app(MemorySpaces()), None, loops=1) as serving:
        url = serving.url
    store = HttpObjects(url, SPACE, "", grant_token(SPACE, ""), None, pause=lambda _: None)
    with pytest.raises(Unreachable):
        store.head("a")


def test_a_listener_that_was_dealt_nothing_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, dealing(listening, 1) as dealer:
        (taking,) = dealer.listeners
        taking.settimeout(0)  # as event loops have it
        with pytest.raises(BlockingIOError):
            taking.accept()


def test_a_client_that_has_gone_before_it_was_accepted_is_accepted_all_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, dealing(listening, 1) as dealer:
        (taking,) = dealer.listeners
        client = socket.create_connection(listening.getsockname())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()  # with a reset
        connection, _ = taking.accept()
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_where_no_more_files_can_be_opened_the_loop_hears_of_it() -> None:
    taking, giving = socket.socketpair()
    with DealtListener(fileno=taking.detach()) as listener, giving:
        giving.send(b"+")  # as it comes when the kernel could not install the descriptor
        with pytest.raises(OSError, match="open files") as failed:
            listener.accept()
    assert failed.value.errno == errno.EMFILE  # event loops pause then


def test_the_dealer_ends_though_a_loop_takes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with dealing(listening, 1) as dealer, socket.socket() as client:
            (giving,) = dealer._ends
            giving.settimeout(0)
            _fill(giving)
            giving.settimeout(None)
            client.connect(listening.getsockname())  # waits for room, and the dealer with it
        with pytest.raises(ConnectionError):
            socket.create_connection(listening.getsockname()).close()
    assert "dealer" not in {thread.name for thread in threading.enumerate()}


def _fill(line: socket.socket) -> None:
    """Send as much as there is room for."""
    with suppress(BlockingIOError):
        while True:
            line.send(bytes(1 << 10))
