"""The data plane on a socket of this computer asks for grants as it does over TLS."""

import hashlib
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.dataplane import grant_token, objects_app, serving_app
from tests.support.landed import MemorySpaces

from overland.adapters.httpobjects import HttpObjects
from overland.adapters.localsocket import listening
from overland.errors import NotAuthorised, ObjectAbsent, ObjectCorrupt, ObjectExists
from overland.server.bulk import BUFFER_BYTES

SPACE = "accounts/harbour/seeds"


@pytest.fixture
def spaces() -> MemorySpaces:
    return MemorySpaces()


@pytest.fixture
def path(tmp_path: Path, spaces: MemorySpaces) -> Iterator[Path]:
    path = tmp_path / "objects.sock"
    with (
        listening(path, group=None) as listener,
        serving_app(objects_app(spaces), None, listener=listener),
    ):
        yield path


def _store(path: Path, token: str, prefix: str = "seed-1/") -> HttpObjects:
    return HttpObjects("https://elsewhere.example", SPACE, prefix, token, None, local=path)


def _put(store: HttpObjects, name: str, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    store.put(name, [content], size_bytes=len(content), sha256=digest)


def test_objects_go_in_and_out_as_over_tls(path: Path, spaces: MemorySpaces) -> None:
    store = _store(path, grant_token(SPACE, "seed-1/"))
    contents = {
        str(size): random.Random(size).randbytes(size)
        for size in (0, 1, BUFFER_BYTES, 2 * BUFFER_BYTES + 7)
    }
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: _put(store, *each), contents.items()))

    for name, content in contents.items():
        assert store.read(name) == content
        assert spaces.open(SPACE).read(f"seed-1/{name}") == content
    assert [info.name for info in store.names()] == sorted(contents)
    with pytest.raises(ObjectExists):
        _put(store, "1", b"another")
    with pytest.raises(ObjectCorrupt):
        store.put("2", [b"changed"], size_bytes=7, sha256=hashlib.sha256(b"x").hexdigest())
    with pytest.raises(ObjectAbsent):
        store.head("2")


def _another_key(space: str) -> str:
    token = grant_token(space, "seed-1/")
    return token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")


@pytest.mark.parametrize(
    "token", ["", "ov1_a-long-token-of-the-api", _another_key(SPACE)], ids=["none", "api", "key"]
)
def test_without_a_good_grant_nothing_is_done(path: Path, spaces: MemorySpaces, token: str) -> None:
    spaces.open(SPACE).put(
        "seed-1/kept", [b"kept"], size_bytes=4, sha256=hashlib.sha256(b"kept").hexdigest()
    )
    store = _store(path, token)
    for request in (
        lambda: _put(store, "new", bytes(BUFFER_BYTES + 1)),
        lambda: store.read("kept"),
        lambda: store.head("kept"),
        lambda: store.delete("kept"),
        lambda: list(store.names()),
    ):
        with pytest.raises(NotAuthorised):
            request()
    assert [info.name for info in spaces.open(SPACE).names()] == ["seed-1/kept"]


def test_a_request_without_the_header_is_refused(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        line.sendall(f"GET /{SPACE}?list HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 401")


def test_a_grant_opens_no_more_than_its_corner(path: Path) -> None:
    token = grant_token(SPACE, "seed-1/", permissions=frozenset({"create"}))
    with pytest.raises(NotAuthorised):
        _put(_store(path, token, "seed-2/"), "a", b"a")
    _put(_store(path, token), "a", b"a")
    with pytest.raises(NotAuthorised):
        _store(path, token).read("a")
    with pytest.raises(NotAuthorised):
        _store(path, token).delete("a")


def test_the_name_of_an_object_cannot_leave_its_space(path: Path) -> None:
    token = grant_token(SPACE, "")
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        head = f"GET /{SPACE}/../../vaults/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}"
        line.sendall(f"{head}\r\n\r\n".encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 400")
