import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.support.httpserver import DataPlane, data_plane, serving
from tests.support.simdisk import SimDisk
from tests.support.tls import authority

from overland.adapters.folderobjects import FolderObjects
from overland.adapters.httpobjects import HttpObjects, RefusedByStore
from overland.errors import NotAuthorised, ObjectCorrupt, OutOfSpace, Unreachable

SPACE = "vaults/9f3c9d5e-0d0b-4a5e-9f5e-0a2b5f0c7a11"
CONTENT = bytes(range(256)) * 8192  # 2 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PIECES = [CONTENT[: 1 << 20], CONTENT[1 << 20 :]]

Serve = Callable[[type[DataPlane]], HttpObjects]


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk()


@pytest.fixture
def plane(disk: SimDisk) -> type[DataPlane]:
    return data_plane(FolderObjects(disk), SPACE)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as servers:

        def serve(handler: type[DataPlane]) -> HttpObjects:
            url = servers.enter_context(serving(handler, authority()))
            return HttpObjects(url, SPACE, "c/", "grant", authority().ca_pem, pause=lambda _s: None)

        yield serve


def interrupted(
    plane: type[DataPlane], times: int, method: str
) -> tuple[type[DataPlane], list[str]]:
    """Return the data plane behind a line that breaks so many times, and what came through."""
    seen: list[str] = []

    class Interrupted(plane):  # type: ignore[misc, valid-type] # made at run time
        def parse_request(self) -> bool:
            is_whole: bool = super().parse_request()
            if is_whole and self.command == method:
                seen.append(self.headers.get("Range", ""))
                if len(seen) <= times:
                    self.break_it()
                    return False
            return is_whole

        def break_it(self) -> None:
            if method == "PUT":
                self.rfile.read(1 << 16)
            else:
                self.send_response(206 if self.headers.get("Range") else 200)
                first = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0]
                self.send_header("Content-Length", str(len(CONTENT) - int(first)))
                self.end_headers()
                self.wfile.write(CONTENT[int(first) : int(first) + (600 << 10)])
                self.wfile.flush()
            self.break_off()

    return Interrupted, seen


def test_an_upload_that_breaks_begins_again(
    serve: Serve, plane: type[DataPlane], disk: SimDisk
) -> None:
    handler, seen = interrupted(plane, 2, "PUT")
    serve(handler).put("a", PIECES, size_bytes=len(CONTENT), sha256=SHA256)
    assert len(seen) == 3
    assert disk.read("c/a") == CONTENT


def test_an_upload_out_of_a_generator_is_not_begun_again(
    serve: Serve, plane: type[DataPlane], disk: SimDisk
) -> None:
    handler, seen = interrupted(plane, 1, "PUT")
    with pytest.raises(Unreachable):
        serve(handler).put("a", iter(PIECES), size_bytes=len(CONTENT), sha256=SHA256)
    assert len(seen) == 1
    assert list(disk.names()) == []


def test_a_download_that_breaks_goes_on_where_it_broke(
    serve: Serve, plane: type[DataPlane], disk: SimDisk
) -> None:
    disk.write("c/a", CONTENT)
    handler, seen = interrupted(plane, 2, "GET")
    assert b"".join(bytes(block) for block in serve(handler).blocks("a")) == CONTENT
    assert seen[0] == ""
    assert all(each.startswith("bytes=") for each in seen[1:])


def test_an_error_of_the_medium_is_not_taken_for_one_of_the_line(
    serve: Serve, plane: type[DataPlane], disk: SimDisk
) -> None:
    class Medium:
        reads = 0

        def __iter__(self) -> Iterator[bytes]:
            self.reads += 1
            yield PIECES[0]
            raise OSError(5, "bad sector")

    content = Medium()
    with pytest.raises(OSError, match="bad sector"):
        serve(plane).put("a", content, size_bytes=len(CONTENT), sha256=SHA256)
    assert content.reads == 1
    assert list(disk.names()) == []


def test_an_expired_grant_is_renewed_once(disk: SimDisk) -> None:
    disk.write("c/a", b"content")
    grants = iter(["new"])
    handler = data_plane(FolderObjects(disk), SPACE, token=lambda: "new")
    with serving(handler, authority()) as url:
        objects = HttpObjects(url, SPACE, "c/", "old", authority().ca_pem, lambda: next(grants))
        assert objects.read("a") == b"content"
        assert objects.read("a") == b"content", "the new grant is kept"
        objects.put("b", PIECES, size_bytes=len(CONTENT), sha256=SHA256)


def test_a_grant_that_stays_refused_is_told(disk: SimDisk) -> None:
    handler = data_plane(FolderObjects(disk), SPACE, token=lambda: "other")
    with serving(handler, authority()) as url:
        objects = HttpObjects(url, SPACE, "c/", "old", authority().ca_pem, lambda: "new")
        with pytest.raises(NotAuthorised, match="expired"):
            objects.read("a")
        without = HttpObjects(url, SPACE, "c/", "old", authority().ca_pem)
        with pytest.raises(NotAuthorised):
            without.head("a")


def test_a_full_store_is_told(serve: Serve) -> None:
    plane = data_plane(FolderObjects(SimDisk(capacity_bytes=1000)), SPACE)
    with pytest.raises(OutOfSpace):
        serve(plane).put("a", PIECES, size_bytes=len(CONTENT), sha256=SHA256)


@pytest.mark.parametrize("surplus", [[b"!"], [b"", b"!"]])
def test_a_surplus_after_an_announced_nothing_is_not_stored(
    serve: Serve, plane: type[DataPlane], disk: SimDisk, surplus: list[bytes]
) -> None:
    with pytest.raises(ObjectCorrupt):
        serve(plane).put("a", surplus, size_bytes=0, sha256=hashlib.sha256().hexdigest())
    assert list(disk.names()) == []


@pytest.mark.parametrize(
    ("status", "error"), [(400, RefusedByStore), (429, Unreachable), (500, Unreachable)]
)
def test_other_answers_keep_their_family(
    serve: Serve, plane: type[DataPlane], status: int, error: type[Exception]
) -> None:
    class Refusing(plane):  # type: ignore[misc, valid-type] # made at run time
        def do_GET(self) -> None:  # noqa: N802 - the base class calls it so
            self.answer_json(status, {"error": {"code": "x", "message": "the reason"}})

    with pytest.raises(error, match="the reason"):
        serve(Refusing).read("a")


def test_a_server_that_ignores_ranges_is_not_believed(serve: Serve, plane: type[DataPlane]) -> None:
    class Ignoring(plane):  # type: ignore[misc, valid-type] # made at run time
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.answer(200, b"the whole object")

    with pytest.raises(RefusedByStore):
        serve(Ignoring).read_range("a", offset=4, length=5)
