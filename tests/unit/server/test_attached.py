"""Files that are handed over instead of their bytes: read, checked, told of, and closed."""

import errno
import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import pytest
from tests.support.dataplane import grant_token, objects_app, serving_app
from tests.support.landed import MemorySpaces
from tests.support.manualclock import ManualClock

from overland.adapters import httpobjects
from overland.adapters.httpobjects import HttpObjects
from overland.adapters.localsocket import listening
from overland.adapters.medium import BUFFER_BYTES, BufferPool, read_blocks
from overland.errors import NotAuthorised, ObjectCorrupt, ObjectExists, Unreachable
from overland.server.attached import AttachedFile, AttachingListener, ReadFile
from overland.server.objects_wire import UploadInterrupted, UploadTooSlow
from overland.server.uploads import Limits, paced

SPACE = "accounts/harbour/seeds"
_PATIENCE_S = 120.0  # against waiting for ever
READ = partial(read_blocks, block_bytes=BUFFER_BYTES, pool=BufferPool())


class FromDisk:
    """A file as content, which notes what is done with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened_times = self.iterated_times = self.blocks_read = self.ended_times = 0

    @contextmanager
    def opened(self) -> Iterator[int]:
        self.opened_times += 1
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def was_read(self, blocks: int) -> None:
        self.blocks_read += blocks

    def reading_ended(self) -> None:
        self.ended_times += 1

    def __iter__(self) -> Iterator[memoryview]:
        self.iterated_times += 1
        yield memoryview(self.path.read_bytes())


@pytest.fixture
def spaces() -> MemorySpaces:
    return MemorySpaces()


@pytest.fixture
def serve(tmp_path: Path, spaces: MemorySpaces) -> Iterator[Callable[[ReadFile | None], Path]]:
    """Serve a data plane that reads files as a test says; the value is its socket."""
    with ExitStack() as closing:

        def start(read_file: ReadFile | None) -> Path:
            path = tmp_path / "objects.sock"
            local = closing.enter_context(listening(path, group=None))
            listener = closing.enter_context(AttachingListener(fileno=local.detach()))
            app = objects_app(spaces, read_file=read_file)
            closing.enter_context(serving_app(app, None, listener=listener))
            return path

        yield start


def _store(path: Path, token: str | None = None) -> HttpObjects:
    token = grant_token(SPACE, "seed-1/") if token is None else token
    return HttpObjects("", SPACE, "seed-1/", token, None, local=path, pause=lambda _s: None)


def _put(store: HttpObjects, name: str, content: FromDisk, promised: bytes) -> None:
    digest = hashlib.sha256(promised).hexdigest()
    store.put(name, content, size_bytes=len(promised), sha256=digest)


def _file(tmp_path: Path, content: bytes) -> FromDisk:
    path = tmp_path / f"file-{len(content)}"
    path.write_bytes(content)
    return FromDisk(path)


def _descriptors() -> set[str]:
    found = set[str]()
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{each.name} {each.readlink()}")
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


def _until_closed(before: set[str]) -> None:
    """Wait until no file and no socket is open that was not before, but for connections."""
    end_s = time.monotonic() + _PATIENCE_S
    while any("/file-" in each for each in _descriptors() - before):
        assert time.monotonic() < end_s, _descriptors() - before
        time.sleep(0.01)


def test_files_of_any_length_go_in_as_they_are(
    tmp_path: Path, spaces: MemorySpaces, serve: Callable[[ReadFile | None], Path]
) -> None:
    store, before = _store(serve(READ)), _descriptors()
    sizes = (0, 1, 4096, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 2 * BUFFER_BYTES + 7)
    contents = {size: random.Random(size).randbytes(size) for size in sizes}
    files = {size: _file(tmp_path, content) for size, content in contents.items()}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda size: _put(store, str(size), files[size], contents[size]), sizes))

    for size, content in contents.items():
        assert spaces.open(SPACE).read(f"seed-1/{size}") == content
        assert (files[size].iterated_times, files[size].ended_times) == (0, 1)
        assert files[size].blocks_read == -(-size // BUFFER_BYTES)
    _until_closed(before)


def test_only_what_was_announced_is_read(
    tmp_path: Path, spaces: MemorySpaces, serve: Callable[[ReadFile | None], Path]
) -> None:
    store, content = _store(serve(READ)), random.Random(1).randbytes(BUFFER_BYTES + 10)
    _put(store, "a", _file(tmp_path, content + bytes(3 * BUFFER_BYTES)), content)
    assert spaces.open(SPACE).read("seed-1/a") == content


@pytest.mark.parametrize("change", ["shorter", "one bit", "empty"])
def test_a_file_that_is_not_what_was_promised_is_not_stored(
    tmp_path: Path, spaces: MemorySpaces, serve: Callable[[ReadFile | None], Path], change: str
) -> None:
    store, promised = _store(serve(READ)), random.Random(1).randbytes(BUFFER_BYTES + 10)
    found = {"shorter": promised[:-1], "one bit": b"\x00" + promised[1:], "empty": b""}[change]
    with pytest.raises(ObjectCorrupt):
        _put(store, "a", _file(tmp_path, found), promised)
    assert list(spaces.disk.names()) == []
    assert spaces.disk.sweep() == 0


def test_objects_are_never_replaced_and_the_same_is_not_read_again(
    tmp_path: Path, serve: Callable[[ReadFile | None], Path]
) -> None:
    store = _store(serve(READ))
    first, other = _file(tmp_path, b"first"), _file(tmp_path, b"another")
    _put(store, "a", first, b"first")
    _put(store, "a", first, b"first")
    assert (first.opened_times, first.blocks_read, first.ended_times) == (2, 1, 2)
    with pytest.raises(ObjectExists):
        _put(store, "a", other, b"another")
    assert store.read("a") == b"first"


@pytest.mark.parametrize("token", ["", "no"], ids=["none", "bad"])
def test_without_a_grant_nothing_is_read(
    tmp_path: Path, serve: Callable[[ReadFile | None], Path], token: str
) -> None:
    def read(_descriptor: int) -> Generator[memoryview, None, None]:
        raise AssertionError("nobody may have it read")

    path, before = serve(read), _descriptors()
    for _ in range(5):  # on one connection, and each time it is closed
        with pytest.raises(NotAuthorised):
            _put(_store(path, token), "a", _file(tmp_path, b"secret"), b"secret")
    outside = HttpObjects("", SPACE, "other/", grant_token(SPACE, "seed-1/"), None, local=path)
    with pytest.raises(NotAuthorised):
        _put(outside, "a", _file(tmp_path, b"secret"), b"secret")
    _until_closed(before)


def test_a_store_that_does_not_take_files_gets_their_bytes(
    tmp_path: Path, spaces: MemorySpaces, serve: Callable[[ReadFile | None], Path]
) -> None:
    store, content = _store(serve(None)), _file(tmp_path, b"content")
    _put(store, "a", content, b"content")
    assert spaces.open(SPACE).read("seed-1/a") == b"content"
    assert (content.opened_times, content.iterated_times) == (0, 1)


def test_a_medium_that_fails_is_told_from_a_store_that_does(
    tmp_path: Path, spaces: MemorySpaces, serve: Callable[[ReadFile | None], Path]
) -> None:
    def read(descriptor: int) -> Generator[memoryview, None, None]:
        yield memoryview(os.read(descriptor, BUFFER_BYTES))
        raise OSError(errno.EIO, "the drive's own")

    store, before = _store(serve(read)), _descriptors()
    content = random.Random(2).randbytes(2 * BUFFER_BYTES)
    with pytest.raises(ObjectCorrupt, match="cannot be read"):
        _put(store, "a", _file(tmp_path, content), content)
    assert list(spaces.disk.names()) == []
    _until_closed(before)


def test_a_file_that_cannot_be_opened_fails_before_anything_is_sent(
    tmp_path: Path, serve: Callable[[ReadFile | None], Path]
) -> None:
    store = _store(serve(READ))
    with pytest.raises(Unreachable):  # an error of ours would come out as it is
        _put(store, "a", FromDisk(tmp_path / "none"), b"content")
    _put(store, "a", _file(tmp_path, b"content"), b"content")


def test_a_sender_that_goes_away_ends_the_reading_and_leaves_nothing(
    tmp_path: Path, spaces: MemorySpaces, serve: Callable[[ReadFile | None], Path]
) -> None:
    began, may_go_on = threading.Event(), threading.Event()
    blocks_read = list[int]()

    def read(descriptor: int) -> Generator[memoryview, None, None]:
        while data := os.read(descriptor, BUFFER_BYTES):
            blocks_read.append(len(data))
            yield memoryview(data)
            began.set()
            assert may_go_on.wait(_PATIENCE_S)

    path, before = serve(read), _descriptors()
    content = random.Random(3).randbytes(4 * BUFFER_BYTES)
    file = _file(tmp_path, content)
    with _line(path) as line:
        ours, theirs = socket.socketpair()
        with ours, theirs, file.opened() as descriptor:
            socket.send_fds(line, [_head(content)], [descriptor, theirs.fileno()])
            theirs.close()
            assert began.wait(_PATIENCE_S)
    may_go_on.set()
    _until_closed(before)
    assert len(blocks_read) == 2, "one, and the one at which nobody listened any more"
    assert list(spaces.disk.names()) == []
    assert spaces.disk.sweep() == 0


def test_the_sender_hears_of_the_end_when_the_last_block_is_being_read(
    tmp_path: Path, spaces: MemorySpaces, serve: Callable[[ReadFile | None], Path]
) -> None:
    content, heard = random.Random(4).randbytes(3 * BUFFER_BYTES), threading.Event()

    def read(descriptor: int) -> Generator[memoryview, None, None]:
        for number in range(3):
            assert number < 2 or heard.wait(_PATIENCE_S), "it waits for what is behind the last"
            yield memoryview(os.pread(descriptor, BUFFER_BYTES, number * BUFFER_BYTES))

    path, file = serve(read), _file(tmp_path, content)
    with _line(path) as line, file.opened() as descriptor:
        ours, theirs = socket.socketpair()
        ours.settimeout(_PATIENCE_S)
        with ours:
            with theirs:
                socket.send_fds(line, [_head(content)], [descriptor, theirs.fileno()])
            told = b""
            while came := ours.recv(16):
                told += came
        assert list(spaces.open(SPACE).names()) == [], "it is not stored yet"
        heard.set()
        assert line.recv(4096).startswith(b"HTTP/1.1 201")
    assert told == b"+++", "each block once, the last with the one before"


def _nothing(_files: list[int]) -> list[int]:
    return []


def _one(files: list[int]) -> list[int]:
    return files[:1]


def _three(files: list[int]) -> list[int]:
    return [*files, files[0]]


def _two_files(files: list[int]) -> list[int]:
    return [files[0], files[0]]


def _two_sockets(files: list[int]) -> list[int]:
    return [files[1], files[1]]


def _swapped(files: list[int]) -> list[int]:
    return files[::-1]


@pytest.mark.parametrize("choose", [_nothing, _one, _three, _two_files, _two_sockets, _swapped])
def test_anything_but_a_file_and_a_socket_is_refused_and_closed(
    tmp_path: Path,
    spaces: MemorySpaces,
    serve: Callable[[ReadFile | None], Path],
    choose: Callable[[list[int]], list[int]],
) -> None:
    path, file, before = serve(READ), _file(tmp_path, b"content"), _descriptors()
    with _line(path) as line, file.opened() as descriptor:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            socket.send_fds(line, [_head(b"content")], choose([descriptor, theirs.fileno()]))
            assert line.recv(4096).startswith(b"HTTP/1.1 400")
    assert list(spaces.disk.names()) == []
    assert spaces.disk.sweep() == 0
    _until_closed(before)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "write-only"])
def test_only_a_regular_file_that_may_be_read_is(
    tmp_path: Path, spaces: MemorySpaces, serve: Callable[[ReadFile | None], Path], kind: str
) -> None:
    path, file = serve(READ), _file(tmp_path, b"content")
    other = -1
    match kind:
        case "pipe":
            descriptor, other = os.pipe()
        case "folder":
            descriptor = os.open(tmp_path, os.O_RDONLY)
        case "device":
            descriptor = os.open("/dev/zero", os.O_RDONLY)
        case _:
            descriptor = os.open(file.path, os.O_WRONLY)
    ours, theirs = socket.socketpair()
    with _line(path) as line, ours, theirs:
        socket.send_fds(line, [_head(b"content")], [descriptor, theirs.fileno()])
        answer = line.recv(4096)
    assert answer.startswith(b"HTTP/1.1 422" if kind == "write-only" else b"HTTP/1.1 400")
    assert list(spaces.disk.names()) == []
    for each in (descriptor, other):
        if each >= 0:
            os.close(each)


def test_files_that_no_request_asked_to_be_read_are_closed(
    tmp_path: Path, serve: Callable[[ReadFile | None], Path]
) -> None:
    path, file, before = serve(READ), _file(tmp_path, b"content"), _descriptors()
    with _line(path) as line, file.opened() as descriptor:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for _ in range(50):  # before a head is whole, again and again
                socket.send_fds(line, [b"GET /healthz "], [descriptor, theirs.fileno()])
                line.sendall(b"HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b'"attachedFiles":true' in _answer(line)
            socket.send_fds(line, [b"GET /hea"], [descriptor, theirs.fileno()])
    _until_closed(before)


def test_a_place_that_takes_no_files_does_not_say_so_and_refuses_them() -> None:
    with serving_app(objects_app(MemorySpaces(), read_file=READ), None) as endpoint:
        port = int(endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"attachedFiles" not in _answer(line)
            line.sendall(_head(b"content"))
            assert line.recv(4096).startswith(b"HTTP/1.1 400")


def test_a_server_that_ends_stops_reading(tmp_path: Path) -> None:
    path = _file(tmp_path, bytes(2 * BUFFER_BYTES)).path
    ours, theirs = socket.socketpair()
    file = AttachedFile([os.open(path, os.O_RDONLY), theirs.detach()])
    stored = list[int]()

    def store(blocks: Iterator[memoryview]) -> None:
        for block in blocks:
            stored.append(len(block))
            file.stop()

    with ours, pytest.raises(UploadInterrupted):
        file.feed(store, size_bytes=2 * BUFFER_BYTES, read=READ)
    assert stored == [BUFFER_BYTES]


@pytest.mark.parametrize(("block_kib", "is_read"), [(32 * 60, True), (16 * 60, False)])
def test_a_drive_has_the_time_that_a_line_has(block_kib: int, *, is_read: bool) -> None:
    clock = ManualClock()

    def blocks() -> Generator[memoryview, None, None]:
        for _ in range(20):
            clock.sleep(59)
            yield memoryview(bytes(block_kib << 10))

    reading = paced(blocks(), limits=Limits(), monotonic_s=clock.monotonic_s)
    if is_read:
        assert len(list(reading)) == 20
    else:
        with pytest.raises(UploadTooSlow):
            list(reading)


def _line(path: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(_PATIENCE_S)
    line.connect(str(path))
    return line


def _answer(line: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"}"):
        received += line.recv(4096)
    return received


def _head(content: bytes) -> bytes:
    lines = [
        f"PUT /{SPACE}/seed-1/a HTTP/1.1",
        "Host: here",
        f"Authorization: Bearer {grant_token(SPACE, 'seed-1/')}",
        "Content-Length: 0",
        f"x-overland-attached: {len(content)}",
        f"x-overland-sha256: {hashlib.sha256(content).hexdigest()}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class _Stub:
    """A store that says it takes files, and then does with each what a test says."""

    def __init__(self, path: Path, then: Callable[[socket.socket, list[int]], None]) -> None:
        self.taken = list[int]()
        self._then, self._listener = then, socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with line:
                self._answer(line)

    def _answer(self, line: socket.socket) -> None:
        while True:
            head, files, _, _ = socket.recv_fds(line, 1 << 16, 2)
            if files:
                self.taken.append(len(files))
                self._then(line, files)
                for each in files:
                    os.close(each)
                return
            if not head:
                return
            health = b'{"status":"ok","attachedFiles":true}'
            length = f"HTTP/1.1 200 OK\r\nContent-Length: {len(health)}\r\n\r\n"
            line.sendall(length.encode() + health)


def test_a_store_that_dies_is_asked_again_from_the_files_first_byte(tmp_path: Path) -> None:
    def die(_line: socket.socket, files: list[int]) -> None:
        os.write(files[1], b"+")  # it had read a part

    content = _file(tmp_path, b"content")
    path = tmp_path / "dying.sock"
    with _Stub(path, die) as stub, pytest.raises(Unreachable):
        _put(_store(path), "a", content, b"content")
    assert stub.taken == [2] * content.opened_times
    assert content.opened_times > 1
    assert content.iterated_times == 0


def test_a_store_that_does_nothing_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpobjects, "_TIMEOUT_S", 0.05)
    done = threading.Event()
    content, path = _file(tmp_path, b"content"), tmp_path / "silent.sock"

    def wait(line: socket.socket, _files: list[int]) -> None:
        assert line.recv(1) == b"", "the station has given up"
        done.set()

    with _Stub(path, wait), pytest.raises(Unreachable):
        _put(_store(path), "a", content, b"content")
    assert done.is_set()
