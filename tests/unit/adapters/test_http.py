import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.support.httpserver import Handler, serving
from tests.support.tls import authority

from overland.adapters.http import CertificateNotTrusted, CloudAddressInvalid, UrllibHttp
from overland.errors import Unreachable

TOKEN = "a-very-secret-token"

Serve = Callable[[type[Handler]], UrllibHttp]


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def serve(pauses: list[float]) -> Iterator[Serve]:
    with ExitStack() as servers:

        def serve(handler: type[Handler]) -> UrllibHttp:
            url = servers.enter_context(serving(handler, authority()))
            return UrllibHttp(url, TOKEN, authority().ca_pem, pause=pauses.append)

        yield serve


class Echo(Handler):
    def do_POST(self) -> None:  # noqa: N802 - the base class calls it so
        size_bytes = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size_bytes).decode()
        fields = {
            "method": self.command,
            "path": self.path,
            "body": body,
            "token": self.headers["Authorization"],
            "type": self.headers["Content-Type"],
        }
        self.answer_json(201, fields)

    do_GET = do_PUT = do_POST  # noqa: N815 - http.server's name


def failing(times: int, how: Callable[[Handler], None]) -> tuple[type[Handler], list[str]]:
    """Return a server that fails so many times before it answers, and what it was asked."""
    asked: list[str] = []

    class Failing(Handler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(self.command)
            if len(asked) <= times:
                how(self)
            else:
                self.answer_json(200, {"ok": True})

        do_POST = do_PUT = do_GET  # noqa: N815 - http.server's name

    return Failing, asked


def busy(handler: Handler) -> None:
    handler.answer(503)


def broken(handler: Handler) -> None:
    handler.break_off()


def test_a_request_arrives_as_it_was_sent(serve: Serve) -> None:
    reply = serve(Echo).request("POST", "/v1/seeds?x=1", json={"seed_id": "ä"})
    assert reply.status == 201
    assert reply.body["path"] == "/v1/seeds?x=1"
    assert json.loads(reply.body["body"]) == {"seed_id": "ä"}
    assert reply.body["token"] == f"Bearer {TOKEN}"
    assert reply.body["type"] == "application/json"
    assert json.loads(reply.raw) == reply.body


def test_raw_bodies_stay_raw(serve: Serve) -> None:
    reply = serve(Echo).request("PUT", "/v1/seeds/1/manifest", raw=b"{signed}\n")
    assert reply.body["body"] == "{signed}\n"
    assert reply.body["type"] == "application/octet-stream"


def test_an_answer_that_is_no_json_has_no_body_but_its_bytes(serve: Serve) -> None:
    class Proxy(Handler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.answer(418, b"<html>", Content_Type="text/html")

    reply = serve(Proxy).request("GET", "/")
    assert (reply.status, reply.body, reply.raw) == (418, None, b"<html>")


@pytest.mark.parametrize("how", [busy, broken])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_may_be_repeated_is_tried_again_with_growing_pauses(
    serve: Serve, pauses: list[float], how: Callable[[Handler], None], method: str
) -> None:
    handler, asked = failing(2, how)
    assert serve(handler).request(method, "/").status == 200
    assert len(asked) == 3
    assert pauses == [0.25, 0.5]


def test_patience_ends(serve: Serve, pauses: list[float]) -> None:
    handler, asked = failing(99, broken)
    with pytest.raises(Unreachable):
        serve(handler).request("GET", "/")
    assert len(asked) == 4
    assert len(pauses) == 3


def test_a_server_that_stays_busy_is_answered_for(serve: Serve) -> None:
    handler, _ = failing(99, busy)
    assert serve(handler).request("GET", "/").status == 503


@pytest.mark.parametrize("how", [busy, broken])
def test_a_post_is_never_doubled(serve: Serve, how: Callable[[Handler], None]) -> None:
    handler, asked = failing(1, how)
    http = serve(handler)
    if how is broken:
        with pytest.raises(Unreachable):
            http.request("POST", "/", json={})
    else:
        assert http.request("POST", "/", json={}).status == 503
    assert asked == ["POST"]


def test_a_post_to_nobody_is_tried_again(pauses: list[float]) -> None:
    with serving(Echo, authority()) as url:
        pass
    http = UrllibHttp(url, TOKEN, authority().ca_pem, pause=pauses.append)
    with pytest.raises(Unreachable):
        http.request("POST", "/", json={})
    assert len(pauses) == 3


def test_a_certificate_of_another_ca_is_refused_at_once(pauses: list[float]) -> None:
    with serving(Echo, authority()) as url:
        http = UrllibHttp(url, TOKEN, authority("other").ca_pem, pause=pauses.append)
        with pytest.raises(CertificateNotTrusted) as refused:
            http.request("GET", "/")
    assert refused.value.host in url
    assert pauses == []


def test_the_token_shows_nowhere(serve: Serve) -> None:
    handler, _ = failing(99, broken)
    http = serve(handler)
    with pytest.raises(Unreachable) as unreachable:
        http.request("GET", "/")
    error: BaseException | None = unreachable.value
    while error is not None:
        assert TOKEN not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__ or error.__context__
    assert TOKEN not in repr(vars(http._wire))


def test_a_redirect_is_an_answer_and_takes_the_token_nowhere(serve: Serve) -> None:
    class Elsewhere(Handler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.answer(302, Location="https://elsewhere.invalid/")

    assert serve(Elsewhere).request("GET", "/").status == 302


@pytest.mark.parametrize(
    ("url", "ca_pem"),
    [
        ("http://backup.example", None),
        ("https://backup.example", None),
        ("http://127.0.0.1:1", "ca"),
        ("ftp://127.0.0.1", None),
        ("backup.example", "ca"),
        ("https://", "ca"),
    ],
)
def test_only_https_with_a_ca_and_this_computer_itself_are_talked_to(
    url: str, ca_pem: str | None
) -> None:
    with pytest.raises(ValueError, match="https"):
        UrllibHttp(url, TOKEN, ca_pem)


@pytest.mark.parametrize(
    ("url", "ca_pem"),
    [
        ("https://[::1", "ca"),
        ("https://127.0.0.1:abc", "ca"),
        ("https://127.0.0.1:99999", "ca"),
        ("https://127.0.0.1", "no certificate"),
        ("https://127.0.0.1", "kein Schlüssel"),
    ],
)
def test_an_address_or_certificate_that_cannot_be_used_is_refused(url: str, ca_pem: str) -> None:
    with pytest.raises(CloudAddressInvalid):
        UrllibHttp(url, TOKEN, ca_pem)


@pytest.mark.parametrize("token", ["secret\nX-Header: 1", "secret word", "sécret", "secret\0"])
def test_a_token_that_fits_no_header_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(CloudAddressInvalid) as refused:
        UrllibHttp("http://localhost", token, None)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    "sent",
    [b"", b'{"ok": true}', b'{"ok": tru'],
    ids=["nothing", "what could be all", "the half"],
)
@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream"])
def test_an_answer_that_broke_off_is_not_taken_for_the_whole(
    serve: Serve, sent: bytes, kind: str
) -> None:
    class Cut(Handler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(sent)
            self.break_off()

    with pytest.raises(Unreachable, match="broke off"):
        serve(Cut).request("GET", "/v1/seeds")
