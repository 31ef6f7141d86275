import hashlib
import random
import socket
from collections.abc import Iterator

import pytest
from tests.conformance.objects_contract import ObjectsContract, Spoil
from tests.support.asgi import Answer, AsgiClient
from tests.support.dataplane import ALL, grant_token, objects_app, serving_app
from tests.support.landed import MemorySpaces, put
from tests.support.manualclock import ManualClock
from tests.support.simdisk import SimDisk
from tests.support.tls import authority

from overland.adapters.httpobjects import HttpObjects
from overland.cloud.grants import Permission
from overland.ports.objects import Objects
from overland.server import objects_app as app_module
from overland.server import objects_wire as wire

SPACE = "accounts/harbour/seeds"
VAULT = "vaults/00000000-0000-0000-0000-000000000007"
COMPUTER = "00000000-0000-0000-0000-0000000003e9/"
URL = f"/{SPACE}/seed-1/a"


class Plane:
    """A client of the data plane with everything allowed below `seed-1/`, and the store."""

    def __init__(self, disk: SimDisk | None = None) -> None:
        self.clock = ManualClock()
        self.spaces = MemorySpaces(disk)
        self.store = self.spaces.open(SPACE)
        app = objects_app(self.spaces, clock=self.clock)
        self.http = AsgiClient(app)
        self.http.headers["authorization"] = f"Bearer {grant_token(SPACE, 'seed-1/')}"

    def use(self, token: str) -> None:
        self.http.headers["authorization"] = f"Bearer {token}"

    def get(self, url: str, **headers: str | None) -> Answer:
        return self.http.request("GET", url, headers=headers)

    def put(self, url: str, content: bytes, sha256: str | None = None) -> tuple[int, str]:
        """Put, and return the status with the code of the refusal."""
        digest = hashlib.sha256(content).hexdigest() if sha256 is None else sha256
        headers = {wire.DIGEST_HEADER: digest, "content-length": str(len(content))}
        answer = self.http.request("PUT", url, headers=headers, pieces=[content])
        return answer.status, answer.json()["error"]["code"] if answer.content else ""


def test_what_was_put_is_got_with_its_length() -> None:
    plane = Plane()
    assert plane.put(URL, b"content") == (201, "")
    answer = plane.get(URL)
    assert (answer.status, answer.content) == (200, b"content")
    head = plane.http.request("HEAD", URL)
    assert (head.status, head.content) == (200, b"")
    assert head.headers["content-length"] == "7"
    assert plane.store.read("seed-1/a") == b"content"


def test_the_same_again_is_200_and_other_content_409() -> None:
    plane = Plane()
    assert plane.put(URL, b"content")[0] == 201
    assert plane.put(URL, b"content") == (200, "")
    assert plane.put(URL, b"another") == (409, "object-exists")
    assert plane.store.read("seed-1/a") == b"content"


def test_content_of_another_digest_is_422_and_not_stored() -> None:
    plane = Plane()
    assert plane.put(URL, b"content", sha256="0" * 64) == (422, "object-corrupt")
    assert list(plane.store.names()) == []


def test_a_full_store_is_507_and_names_the_space() -> None:
    plane = Plane(SimDisk(capacity_bytes=100))
    assert plane.put(URL, bytes(101)) == (507, "out-of-space")
    assert list(plane.store.names()) == []


def test_an_upload_without_digest_or_with_a_wrong_one_is_refused_before_its_body() -> None:
    plane = Plane()
    for digest in ("", "0" * 63, "g" * 64, "0" * 65):
        assert plane.put(URL, b"content", sha256=digest) == (400, "request-invalid")
    chunked = plane.http.request("PUT", URL, headers={wire.DIGEST_HEADER: "0" * 64})
    assert chunked.status == 400, "without a length, the store cannot know what is whole"


def test_an_upload_beyond_the_largest_object_is_refused() -> None:
    plane = Plane()
    length = str(wire.MAX_BLOB_BYTES + 1)
    headers = {wire.DIGEST_HEADER: "0" * 64, "content-length": length}
    assert plane.http.request("PUT", URL, headers=headers).status == 400


def test_a_seeds_objects_are_no_larger_than_a_vaults() -> None:
    plane = Plane()
    folder = "seed-11111111-aaaa-4bbb-8ccc-222222222222/"
    plane.use(grant_token(SPACE, folder))
    headers = {
        wire.DIGEST_HEADER: "0" * 64,
        "content-length": str(wire.MAX_OBJECT_BYTES + 1),
    }
    assert plane.http.request("PUT", f"/{SPACE}/{folder}a", headers=headers).status == 400


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-0", b"0"),
        ("bytes=2-4", b"234"),
        ("bytes=8-", b"89"),
        ("bytes=-3", b"789"),
        ("bytes=-99", b"0123456789"),
        ("bytes=0-99", b"0123456789"),
        ("bytes=9-9", b"9"),
    ],
)
def test_one_range_is_answered_by_that_range(asked: str, expected: bytes) -> None:
    plane = Plane()
    put(plane.store, "seed-1/a", b"0123456789")
    answer = plane.get(URL, range=asked)
    assert (answer.status, answer.content) == (206, expected)
    start = b"0123456789".index(expected)
    stop = start + len(expected) - 1
    assert answer.headers["content-range"] == f"bytes {start}-{stop}/10"


@pytest.mark.parametrize(
    "asked",
    ["bytes=10-", "bytes=5-4", "bytes=-0", "bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b"],
)
def test_what_is_not_one_range_of_the_object_is_416(asked: str) -> None:
    plane = Plane()
    put(plane.store, "seed-1/a", b"0123456789")
    answer = plane.get(URL, range=asked)
    assert (answer.status, answer.json()["error"]["code"]) == (416, "range-invalid")
    assert answer.headers["content-range"] == "bytes */10"


def test_any_range_of_a_large_object_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "_BLOCK_BYTES", 7)
    plane = Plane()
    content = random.Random(5).randbytes(100)
    put(plane.store, "seed-1/a", content)
    assert plane.get(URL).content == content
    for start in range(0, 100, 9):
        for stop in range(start, 100, 11):
            answer = plane.get(URL, range=f"bytes={start}-{stop}")
            assert answer.content == content[start : stop + 1]


def test_an_absent_object_is_404_to_get_and_head_and_no_error_to_delete() -> None:
    plane = Plane()
    answer = plane.get(URL)
    assert (answer.status, answer.json()["error"]["code"]) == (404, "object-absent")
    assert plane.http.request("HEAD", URL).status == 404
    assert plane.http.request("DELETE", URL).status == 204


def test_a_delete_with_permission_deletes() -> None:
    plane = Plane()
    put(plane.store, "seed-1/a", b"content")
    assert plane.http.request("DELETE", URL).status == 204
    assert list(plane.store.names()) == []


def test_listings_are_paged_sorted_and_below_the_prefix() -> None:
    plane = Plane()
    names = [f"seed-1/{number:02}" for number in range(7)]
    for name in (*names, "seed-12/other", "seed-0/other"):
        put(plane.store, name, name.encode())
    found: list[dict[str, object]] = []
    after: str | None = ""
    while after is not None:
        query = {"list": "", "prefix": "seed-1/", "after": after, "top": "3"}
        page = plane.http.request("GET", f"/{SPACE}", params=query).json()
        assert len(page["objects"]) <= 3
        found += page["objects"]
        after = page["next"]
    assert found == [{"name": name, "size_bytes": 9} for name in names]


def test_a_page_never_has_more_than_its_limit() -> None:
    plane = Plane()
    for number in range(wire.MAX_LISTED + 1):
        plane.spaces.disk.write(f"{SPACE}/seed-1/{number:04}", b"")
    query = {"list": "", "prefix": "seed-1/", "top": "99999"}
    page = plane.http.request("GET", f"/{SPACE}", params=query).json()
    assert len(page["objects"]) == wire.MAX_LISTED
    assert page["next"] == "seed-1/0999"
    for top in ("0", "-1", "many", ""):
        answer = plane.http.request("GET", f"/{SPACE}", params=query | {"top": top})
        assert answer.status == 400


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer og1.a.b"])
def test_without_a_good_grant_every_request_is_401(header: str | None) -> None:
    plane = Plane()
    put(plane.store, "seed-1/a", b"content")
    headers = {"authorization": header}
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = plane.http.request(method, URL, headers=headers)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert plane.get(f"/{SPACE}?list&prefix=seed-1/", **headers).status == 401


def test_an_expired_grant_is_401_and_says_so() -> None:
    plane = Plane()
    plane.use(grant_token(SPACE, "seed-1/", clock=plane.clock))
    assert plane.get(URL).status == 404
    plane.clock.sleep(3600)
    answer = plane.get(URL)
    assert (answer.status, answer.json()["error"]["code"]) == (401, "grant-expired")


@pytest.mark.parametrize(
    ("method", "needed"),
    [("GET", "read"), ("HEAD", "read"), ("PUT", "create"), ("DELETE", "delete")],
)
def test_each_method_needs_its_own_permission(method: str, needed: Permission) -> None:
    plane = Plane()
    put(plane.store, "seed-1/a", b"content")
    plane.use(grant_token(SPACE, "seed-1/", permissions=ALL - {needed}))
    headers = {wire.DIGEST_HEADER: hashlib.sha256(b"").hexdigest(), "content-length": "0"}
    answer = plane.http.request(method, URL, headers=headers)
    assert answer.status == 403
    assert plane.store.read("seed-1/a") == b"content"
    plane.use(grant_token(SPACE, "seed-1/", permissions=frozenset({needed})))
    assert plane.http.request(method, URL, headers=headers).status != 403


def test_a_listing_needs_its_own_permission() -> None:
    plane = Plane()
    plane.use(grant_token(SPACE, "seed-1/", permissions=ALL - {"list"}))
    assert plane.get(f"/{SPACE}?list&prefix=seed-1/").status == 403


@pytest.mark.parametrize(
    "path",
    [
        f"/{SPACE}/seed-2/a",
        f"/{SPACE}/seed-12/a",
        "/accounts/harbour/other/seed-1/a",
        f"/{VAULT}/seed-1/a",
    ],
)
def test_outside_of_the_grant_everything_is_403(path: str) -> None:
    plane = Plane()
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        assert plane.http.request(method, path).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/elsewhere",
        f"/{SPACE}",
        f"/{SPACE}/",
        "/accounts/harbour",
        "/vaults/not-a-uuid/a",
        f"/{SPACE}/seed-1/%2e%2e/seed-2/a",
        f"/{SPACE}/seed-1/%2e%2e%2fseed-2%2fa",
        f"/{SPACE}/seed-1//a",
        f"/{SPACE}/seed-1/a%00b",
        f"/{SPACE}/%2e%2e/other/seed-1/a",
        "/accounts/harbour/%2e%2e/seed-1/a",
        "/accounts/%2e%2e/seeds/seed-1/a",
    ],
)
def test_paths_that_name_no_object_are_400_and_reach_nothing(path: str) -> None:
    plane = Plane()
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = plane.http.request(method, path)
        assert answer.status == 400
    assert plane.spaces.disk.steps == 0


def test_every_refusal_has_the_same_shape() -> None:
    plane = Plane()
    answers = [
        plane.get(URL),
        plane.get("/elsewhere"),
        plane.http.request("POST", URL),
        plane.get(URL, authorization="Bearer no"),
    ]
    assert [a.status for a in answers] == [404, 400, 405, 401]
    for answer in answers:
        error = answer.json()["error"]
        assert set(error) == {"code", "message", "target", "details"}
        assert error["message"]


def test_what_nobody_foresaw_is_500_and_keeps_its_reason_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: str) -> Objects:
        raise OSError(5, "the path /srv/secret failed")

    plane = Plane()
    monkeypatch.setattr(plane.spaces, "open", broken)
    answer = plane.get(URL)
    assert (answer.status, answer.json()["error"]["code"]) == (500, "internal")
    assert b"secret" not in answer.content


def test_health_needs_no_grant() -> None:
    plane = Plane()
    del plane.http.headers["authorization"]
    assert plane.get("/healthz").status == 200


class TestVault:
    """What is put into a vault can only be what its name says, and stays."""

    @pytest.fixture
    def plane(self) -> Plane:
        plane = Plane()
        plane.use(grant_token(VAULT, COMPUTER, permissions=ALL - {"delete"}))
        return plane

    def test_packs_and_points_and_keyrings_are_taken(self, plane: Plane) -> None:
        digest = hashlib.sha256(b"pack").hexdigest()
        for name in (f"packs/{digest[:2]}/{digest}.pack", f"index/{digest}.index"):
            assert plane.put(f"/{VAULT}/{COMPUTER}{name}", b"pack") == (201, "")
        for name in ("points/00000000-0000-0000-0000-000000000001.point", "keys/00000001.keyring"):
            assert plane.put(f"/{VAULT}/{COMPUTER}{name}", b"any") == (201, "")

    @pytest.mark.parametrize("folder", ["packs/00/{}.pack", "index/{}.index"])
    def test_a_name_that_is_not_the_digest_is_422(self, plane: Plane, folder: str) -> None:
        name = folder.format("0" * 64)
        assert plane.put(f"/{VAULT}/{COMPUTER}{name}", b"pack") == (422, "object-corrupt")

    @pytest.mark.parametrize("name", ["a", "packs/a.pack", "control/x.json", "seed-1/keys/1"])
    def test_other_names_are_refused(self, plane: Plane, name: str) -> None:
        assert plane.put(f"/{VAULT}/{COMPUTER}{name}", b"any") == (400, "request-invalid")

    def test_nothing_is_ever_deleted_or_replaced(self, plane: Plane) -> None:
        url = f"/{VAULT}/{COMPUTER}keys/00000001.keyring"
        assert plane.put(url, b"first")[0] == 201
        assert plane.put(url, b"other")[0] == 409
        assert plane.http.request("DELETE", url).status == 403
        assert plane.get(url).content == b"first"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, MemorySpaces]]:
    spaces = MemorySpaces()
    with serving_app(objects_app(spaces), authority()) as endpoint:
        yield endpoint, spaces


class TestOverTls(ObjectsContract):
    """The real client and the real server keep the promises of a store."""

    @pytest.fixture
    def objects(self, served: tuple[str, MemorySpaces]) -> Objects:
        endpoint, spaces = served
        for info in list(spaces.disk.names()):
            spaces.disk.delete(info.name)
        spaces.disk.write(f"{SPACE}/neighbour/a", b"")
        token = grant_token(SPACE, "computer/")
        return HttpObjects(endpoint, SPACE, "computer/", token, authority().ca_pem)

    @pytest.fixture
    def spoil(self, served: tuple[str, MemorySpaces]) -> Spoil:
        disk = served[1].disk

        def rewrite(name: str, data: bytes) -> None:
            disk.delete(f"{SPACE}/computer/{name}")
            disk.write(f"{SPACE}/computer/{name}", data)

        return rewrite


def test_an_upload_that_breaks_off_leaves_nothing_and_the_next_one_succeeds() -> None:
    disk = SimDisk()
    content = bytes(5 << 20)
    with serving_app(objects_app(MemorySpaces(disk)), None) as endpoint:
        port = int(endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as wire_end:
            wire_end.sendall(_head(content, token=grant_token(SPACE, "seed-1/")))
            wire_end.sendall(content[: 3 << 20])
        with socket.create_connection(("127.0.0.1", port)) as wire_end:
            wire_end.sendall(_head(content, token=grant_token(SPACE, "seed-1/")) + content)
            assert wire_end.recv(100).startswith(b"HTTP/1.1 201")
    assert [info.name for info in disk.names()] == [f"{SPACE}/seed-1/a"]
    assert disk.sweep() == 0, "the broken upload was abandoned"


def test_a_refused_upload_is_answered_although_its_body_is_still_coming() -> None:
    disk = SimDisk()
    disk.write(f"{SPACE}/seed-1/a", b"other content")
    content = bytes(8 << 20)
    with serving_app(objects_app(MemorySpaces(disk)), None) as endpoint:
        port = int(endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as wire_end:
            head = _head(content, token=grant_token(SPACE, "seed-1/"))
            for body in (content, content):  # the connection stays usable
                wire_end.sendall(head + body)
                answer = b""
                while b"}}" not in answer:
                    answer += wire_end.recv(1000)
                assert answer.startswith(b"HTTP/1.1 409")


def _head(content: bytes, *, token: str) -> bytes:
    lines = [
        f"PUT {URL} HTTP/1.1",
        "Host: here",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(content)}",
        f"{wire.DIGEST_HEADER}: {hashlib.sha256(content).hexdigest()}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()
