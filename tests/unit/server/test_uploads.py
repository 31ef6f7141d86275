"""Slow senders hold threads that store for a bounded time, and a bounded number of them."""

import hashlib
import socket
from collections.abc import Iterable, Iterator

import pytest
from tests.support.asgi import Answer, AsgiClient
from tests.support.dataplane import grant_token, objects_app, serving_app
from tests.support.landed import MemorySpaces
from tests.support.manualclock import ManualClock

from overland.adapters.httpobjects import HttpObjects
from overland.errors import TransientError
from overland.server import objects_wire as wire
from overland.server.uploads import Limits

SPACE = "accounts/harbour/seeds"
KIB = 1 << 10
LIMITS = Limits(grace_s=60, idle_s=60, slowest_bytes_per_s=32 * KIB)


class Slow:
    """A client that sends a body at its own speed, on a clock that it moves itself."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.clock = ManualClock()
        self.spaces = MemorySpaces()
        self.http = AsgiClient(objects_app(self.spaces, clock=self.clock, limits=limits))
        self.http.headers["authorization"] = f"Bearer {grant_token(SPACE, 'seed-1/')}"

    def put(self, pieces: Iterable[bytes], content: bytes) -> Answer:
        digest = hashlib.sha256(content).hexdigest()
        headers = {wire.DIGEST_HEADER: digest, "content-length": str(len(content))}
        return self.http.request("PUT", f"/{SPACE}/seed-1/a", headers=headers, pieces=pieces)

    def at(self, bytes_per_s: float, content: bytes, *, wait_s: float = 0) -> Iterator[bytes]:
        self.clock.sleep(wait_s)
        for start in range(0, len(content), 64 * KIB):
            piece = content[start : start + 64 * KIB]
            self.clock.sleep(len(piece) / bytes_per_s)
            yield piece

    @property
    def stored(self) -> list[str]:
        return [info.name for info in self.spaces.disk.names()]


CONTENT = bytes(8 << 20)


@pytest.mark.parametrize(("bytes_per_s", "wait_s"), [(32 * KIB, 0), (32 * KIB, 59), (1 << 30, 59)])
def test_a_thin_line_that_keeps_the_least_rate_is_waited_for(
    bytes_per_s: float, wait_s: float
) -> None:
    slow = Slow()
    assert slow.put(slow.at(bytes_per_s, CONTENT, wait_s=wait_s), CONTENT).status == 201


@pytest.mark.parametrize(("bytes_per_s", "wait_s"), [(16 * KIB, 0), (1 << 30, 63)])
def test_an_upload_below_the_least_rate_is_408_and_leaves_nothing(
    bytes_per_s: float, wait_s: float
) -> None:
    slow = Slow()
    answer = slow.put(slow.at(bytes_per_s, CONTENT, wait_s=wait_s), CONTENT)
    assert (answer.status, answer.json()["error"]["code"]) == (408, "upload-too-slow")
    assert set(answer.json()["error"]) == {"code", "message", "target", "details"}
    assert slow.stored == []
    assert slow.spaces.disk.sweep() == 0


def test_announcing_much_and_sending_little_earns_no_time() -> None:
    slow = Slow()

    def dribble() -> Iterator[bytes]:
        for _ in range(1000):
            slow.clock.sleep(1)
            yield b"x"

    assert slow.put(dribble(), CONTENT).status == 408
    assert 60 < slow.clock.monotonic_s() < 62


def test_a_silent_sender_is_given_up() -> None:
    with (
        serving_app(
            objects_app(MemorySpaces(), limits=Limits(grace_s=0, idle_s=60)), None
        ) as endpoint,
        _connected(endpoint) as line,
    ):
        line.sendall(_head(10))
        assert line.recv(100).startswith(b"HTTP/1.1 408")


def test_no_grant_holds_all_threads_and_an_ended_upload_gives_its_place_back() -> None:
    limits = Limits(writers=3, per_grant=2)
    with serving_app(objects_app(MemorySpaces(), limits=limits), None) as endpoint:
        lines = [_connected(endpoint) for _ in range(2)]
        for number, line in enumerate(lines):
            line.sendall(_head(10, name=f"seed-1/{number}", expects=True))
            assert line.recv(100).startswith(b"HTTP/1.1 100"), "its upload is under way"
        store = _store(endpoint, "seed-1/")
        with pytest.raises(TransientError, match="2 uploads are under way"):
            _put(store)
        _put(_store(endpoint, "seed-2/"))
        for line in lines:
            line.sendall(bytes(10))
            assert line.recv(100).startswith(b"HTTP/1.1 201")
            line.close()
        _put(store)


def test_too_slow_is_for_the_client_what_another_attempt_may_mend() -> None:
    app = objects_app(MemorySpaces(), limits=Limits(grace_s=-1))  # over before it began
    with serving_app(app, None) as endpoint, pytest.raises(TransientError, match="slower than"):
        _put(_store(endpoint, "seed-1/"))


def test_one_grants_share_is_below_the_whole() -> None:
    with pytest.raises(AssertionError):
        Limits(writers=8, per_grant=8)


def _store(endpoint: str, prefix: str) -> HttpObjects:
    token = grant_token(SPACE, prefix)
    return HttpObjects(endpoint, SPACE, prefix, token, None, pause=lambda _s: None)


def _put(store: HttpObjects) -> None:
    store.put("a", [b"content"], size_bytes=7, sha256=hashlib.sha256(b"content").hexdigest())


def _connected(endpoint: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), timeout=120)


def _head(size_bytes: int, *, name: str = "seed-1/a", expects: bool = False) -> bytes:
    lines = [
        f"PUT /{SPACE}/{name} HTTP/1.1",
        "Host: here",
        f"Authorization: Bearer {grant_token(SPACE, 'seed-1/')}",
        f"Content-Length: {size_bytes}",
        f"{wire.DIGEST_HEADER}: {hashlib.sha256(bytes(size_bytes)).hexdigest()}",
        *(["Expect: 100-continue"] if expects else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()
