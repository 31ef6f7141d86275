"""Long bodies go from the line into the buffers they are stored from, and nothing else changes."""

import asyncio
import hashlib
import mmap
import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.dataplane import grant_token, objects_app, serving_app
from tests.support.landed import MemorySpaces
from tests.support.manualclock import ManualClock
from tests.support.tls import Authority, authority
from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl

from overland.adapters.folderobjects import FolderObjects
from overland.adapters.httpobjects import HttpObjects
from overland.server import bulk
from overland.server import objects_wire as wire
from overland.server.bulk import BUFFER_BYTES, Body
from overland.server.uploads import Limits, Upload

SPACE = "accounts/harbour/seeds"
SIZES = [1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 2 * BUFFER_BYTES, 9 << 20]


@pytest.mark.parametrize("trust", [None, authority()], ids=["plain", "tls"])
def test_bodies_of_any_length_are_stored_as_they_were_sent(trust: Authority | None) -> None:
    spaces = MemorySpaces()
    with serving_app(objects_app(spaces), trust) as endpoint:
        ca_pem = trust.ca_pem if trust else None
        _put_all(endpoint, ca_pem, spaces)  # its connections end with it, before the server does


def _put_all(endpoint: str, ca_pem: str | None, spaces: MemorySpaces) -> None:
    token = grant_token(SPACE, "seed-1/")
    store = HttpObjects(endpoint, SPACE, "seed-1/", token, ca_pem)

    def put(number: int) -> None:
        content = random.Random(number).randbytes(SIZES[number])
        pieces = [content[at : at + 1_000_003] for at in range(0, len(content), 1_000_003)]
        digest = hashlib.sha256(content).hexdigest()
        store.put(str(number), pieces, size_bytes=len(content), sha256=digest)
        assert spaces.open(SPACE).read(f"seed-1/{number}") == content

    for number in range(len(SIZES)):  # one after the other on one connection
        put(number)
    for info in list(spaces.disk.names()):
        spaces.disk.delete(info.name)
    with ThreadPoolExecutor(3) as pool:  # and side by side: buffers are not mixed up
        list(pool.map(put, range(len(SIZES))))


class _Counted(bulk._Spare):
    """Counts the buffers that are in use."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.in_use, self.most = threading.Lock(), 0, 0

    @override
    def take(self) -> mmap.mmap:
        with self.lock:
            self.in_use += 1
            self.most = max(self.most, self.in_use)
        return super().take()

    @override
    def give(self, buffer: mmap.mmap) -> None:
        with self.lock:
            self.in_use -= 1
        super().give(buffer)


def test_an_upload_holds_three_buffers_however_long_the_store_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spare, spaces, began = _Counted(), MemorySpaces(), time.monotonic()
    monkeypatch.setattr(bulk, "_spare", spare)
    put = FolderObjects.put

    def slow(
        store: FolderObjects,
        name: str,
        content: Iterable[bytes | memoryview],
        *,
        size_bytes: int,
        sha256: str,
    ) -> None:
        def blocks() -> Iterator[bytes | memoryview]:
            for number, block in enumerate(content):
                while number == 1 and spare.in_use < 3 and time.monotonic() < began + 60:
                    time.sleep(0.01)
                time.sleep(0.05)  # a fourth would be taken now
                yield block

        put(store, name, blocks(), size_bytes=size_bytes, sha256=sha256)

    monkeypatch.setattr(FolderObjects, "put", slow)
    content = random.Random(9).randbytes(8 * BUFFER_BYTES + 3)
    with serving_app(objects_app(spaces), None) as endpoint:
        store = HttpObjects(endpoint, SPACE, "seed-1/", grant_token(SPACE, "seed-1/"), None)
        digest = hashlib.sha256(content).hexdigest()
        store.put("a", [content], size_bytes=len(content), sha256=digest)
    assert spaces.open(SPACE).read("seed-1/a") == content
    assert (spare.most, spare.in_use) == (3, 0)


def test_a_request_behind_a_body_is_answered_after_it() -> None:
    content = random.Random(7).randbytes(BUFFER_BYTES + 5)
    with serving_app(objects_app(MemorySpaces()), None) as endpoint, _line(endpoint) as line:
        line.sendall(_head("PUT", content) + content + _head("GET") + _head("PUT", content))
        line.sendall(content)
        answers = _until(line, content, b"HTTP/1.1 200")
    assert answers.startswith(b"HTTP/1.1 201")
    assert answers.count(b"HTTP/1.1 ") == 3


def test_a_refused_body_is_left_behind_and_the_connection_goes_on() -> None:
    content = bytes(3 * BUFFER_BYTES)
    with serving_app(objects_app(MemorySpaces()), None) as endpoint, _line(endpoint) as line:
        line.sendall(_head("PUT", content, token="no") + content + _head("PUT", b"x") + b"x")
        answers = _until(line, b"", b"HTTP/1.1 201")
    assert answers.startswith(b"HTTP/1.1 401")


def test_a_body_that_breaks_off_leaves_nothing() -> None:
    spaces = MemorySpaces()
    content = bytes(2 * BUFFER_BYTES)
    with serving_app(objects_app(spaces), None) as endpoint:
        for sent_bytes in (0, 1, BUFFER_BYTES, BUFFER_BYTES + 1, len(content) - 1):
            with _line(endpoint) as line:
                line.sendall(_head("PUT", content) + content[:sent_bytes])
    assert list(spaces.disk.names()) == []
    assert spaces.disk.sweep() == 0


def test_nothing_is_read_into_a_body_before_it_is_asked_for() -> None:
    body = Body(b"first", 10, _flow())
    assert body.room() is None


class _Trickle(Body):
    """A sender of whom `bytes_each` come in each minute, until all have."""

    def __init__(self, clock: ManualClock, *, bytes_each: int, size_bytes: int) -> None:
        super().__init__(b"", size_bytes, _flow())
        self._clock, self._bytes_each, self._size_bytes = clock, bytes_each, size_bytes
        self._is_given = False

    @override
    async def fill(self) -> memoryview | None:
        if self._is_given:
            return None
        self._clock.sleep(59)
        self.arrived_bytes = min(self._size_bytes, self.arrived_bytes + self._bytes_each)
        if self.arrived_bytes < self._size_bytes:
            raise TimeoutError  # as when the time for one look is over
        self._is_given = True
        return memoryview(mmap.mmap(-1, BUFFER_BYTES))[: self._size_bytes]


@pytest.mark.parametrize(("kib_each", "is_stored"), [(32 * 60, True), (16 * 60, False), (0, False)])
def test_a_thin_line_has_its_time_and_a_thinner_one_has_not(
    kib_each: int, *, is_stored: bool
) -> None:
    clock = ManualClock()
    size_bytes = 4 << 20
    body = _Trickle(clock, bytes_each=kib_each << 10, size_bytes=size_bytes)

    async def run(executor: ThreadPoolExecutor) -> int:
        upload = Upload(limits=Limits(), monotonic_s=clock.monotonic_s)
        return await upload.run(body, _length, on=executor)

    with ThreadPoolExecutor(1) as executor:
        if is_stored:
            assert asyncio.run(run(executor)) == size_bytes
        else:
            with pytest.raises((wire.UploadTooSlow, wire.UploadInterrupted)):
                asyncio.run(run(executor))
            assert clock.monotonic_s() < 60 + 2 * 64 + 60


def _length(content: Iterator[bytes | memoryview]) -> int:
    return sum(len(piece) for piece in content)


def _flow() -> FlowControl:
    class Line(asyncio.Transport):
        @override
        def pause_reading(self) -> None:
            pass

        @override
        def resume_reading(self) -> None:
            pass

    return FlowControl(Line())


def _line(endpoint: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), timeout=120)


def _until(line: socket.socket, content: bytes, last: bytes) -> bytes:
    """Return all answers but for `content`, until the last one has come after it."""
    received = b""
    while last not in received.partition(content)[2] if content else last not in received:
        received += line.recv(1 << 20)
    return received


def _head(method: str, content: bytes = b"", *, token: str = "") -> bytes:
    lines = [
        f"{method} /{SPACE}/seed-1/a HTTP/1.1",
        "Host: here",
        f"Authorization: Bearer {token or grant_token(SPACE, 'seed-1/')}",
    ]
    if content:
        lines += [
            f"Content-Length: {len(content)}",
            f"{wire.DIGEST_HEADER}: {hashlib.sha256(content).hexdigest()}",
        ]
    return "\r\n".join([*lines, "", ""]).encode()
