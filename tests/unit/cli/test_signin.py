"""`overland sign-in` against a cloud behind a socket, with a person at the page."""

import contextlib
import json
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.cloud import LocalCloud
from tests.support.dataplane import serving_app
from tests.support.people import PASSWORD, Browser, Town
from uvicorn.protocols.http.h11_impl import H11Protocol

from overland.adapters.clock import SystemClock
from overland.adapters.http import Wire
from overland.cli import cloudusers, signedin, signin
from overland.cli.main import overland as commands
from overland.cloud import factors
from overland.errors import Unreachable
from overland.server.api import create_app

Run = Callable[..., Any]


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with capture_logs(), LocalCloud(tmp_path / "cloud") as cloud:  # it runs in this process
        yield Town.of(cloud)


@pytest.fixture
def url(town: Town) -> Iterator[str]:
    with serving_app(create_app(town.cloud.services), None, http=H11Protocol) as address:
        yield address


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(signin, "_SLOWER_S", 0.01)
    return tmp_path / "home"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> Any:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            commands.main([*words, "--json"], prog_name="overland")
        code = int(ended.value.code or 0)
        return json.loads(capsys.readouterr().out) if code == 0 else code

    return call


@contextlib.contextmanager
def somebody(town: Town, monkeypatch: pytest.MonkeyPatch, *, decision: str) -> Iterator[list[str]]:
    """Let a person take the code from the terminal to the page, while the command waits."""
    said: list[str] = []
    browser, pauses = Browser(town.cloud), []

    def at_the_page(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            person = threading.Thread(target=decide)
            person.start()
            person.join()

    def decide() -> None:
        code = said[0].rpartition("code ")[2].rstrip(".")
        browser.open("/device")
        browser.send("/device", code=code, name="ada", password=PASSWORD)
        browser.send("/device/decision", decision=decision)

    monkeypatch.setattr(signin, "note", said.append)
    monkeypatch.setattr(time, "sleep", at_the_page)
    yield said


def test_a_person_signs_in_works_and_signs_out(
    town: Town, url: str, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = town.settle("ada", "owner")
    with somebody(town, monkeypatch, decision="allow") as said:
        me = run("sign-in", "--cloud", url, "--tenant", town.tenant_id)
    assert (me["name"], me["cloud"]) == ("ada", url)
    assert said[0].startswith("Open https://cloud.test/device and enter the code ")
    kept = home / "sign-in.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert run("who-am-i")["user_id"] == made["user_id"]
    subscription = run("cloud", "subscription", "create", "Main")
    assert run("cloud", "subscription", "list", "--url", url) == [subscription]
    invited = run("cloud", "user", "create", "bob", "--role", "reader")
    assert len(invited["invitation"]) == 32
    assert [each["user"] for each in run("cloud", "role", "list")] == ["ada", "bob"]
    robot = run("cloud", "service-account", "create", "robot", "--role", "contributor")
    assert robot["kind"] == "service"
    out = home / "robot.token"
    run("cloud", "service-account", "token", "robot", "--days", "1", "--out", str(out))
    listed = run("cloud", "subscription", "list", "--url", url, "--token-file", str(out))
    assert listed == [subscription]
    assert [each["event"] for each in run("cloud", "audit", "--top", "2")] == [
        "token.issued",
        "role.assigned",
    ]
    (session,) = run("cloud", "session", "list")
    assert session["user"] == "ada"
    assert run("sign-out") == {"signed_out": True, "session_ended": True}
    assert not kept.exists()
    assert town.admin.ok("GET", "/v1/sessions") == []
    assert run("who-am-i") == 3
    assert run("sign-out") == {"signed_out": True, "session_ended": False}


def test_commands_side_by_side_take_turns_with_the_refresh_token(town: Town, url: str) -> None:
    town.settle("ada", "owner")
    tokens = town.sign_in("ada")
    folder = signedin.home_folder(None)
    kept = signedin.SignedIn(
        url=url,
        ca_pem=None,
        tenant_id=town.tenant_id,
        access_token=tokens["access_token"],
        refresh_token=tokens["refresh_token"],
        expires_at=SystemClock().now(),
    )
    signedin.store(folder, kept)
    found: list[signedin.SignedIn] = []

    def command() -> None:
        found.append(signedin.access_token(folder))

    threads = [threading.Thread(target=command) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({each.refresh_token for each in found}) == 1, "one renewed, the others saw it"
    assert found[0].refresh_token != tokens["refresh_token"]


def test_a_cloud_that_asks_to_wait_ends_no_sign_in(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = signedin.SignedIn(
        url="http://localhost:1",
        ca_pem=None,
        tenant_id="t",
        access_token="a",
        refresh_token="r",
        expires_at=SystemClock().now(),
    )
    home.mkdir()
    signedin.store(home, kept)
    body = {"error": "temporarily_unavailable", "error_description": "ask again in 3 s"}
    busy = signedin.Answer(status=429, body=body)
    monkeypatch.setattr(signedin, "post_form", lambda *_: busy)
    with pytest.raises(Unreachable, match="ask again in 3 s"):
        signedin.access_token(home)
    assert signedin.read(home) == kept


@pytest.mark.parametrize(
    "sent",
    [
        b'Content-Length: 100\r\n\r\n{"a":',
        b"Content-Length: 100\r\n\r\n",
        b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n',
    ],
    ids=["in the middle", "at the start", "between chunks"],
)
def test_an_answer_that_broke_off_is_no_strangers(sent: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(9999)
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + sent)

        thread = threading.Thread(target=serve)
        thread.start()
        wire = Wire(f"http://127.0.0.1:{server.getsockname()[1]}", None, None, timeout_s=3)
        with pytest.raises(Unreachable, match="broke off"):
            signedin.post_form(wire, "/token", {"a": "b"})
        thread.join()


def test_a_refusal_on_the_page_leaves_nobody_signed_in(
    town: Town, url: str, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.settle("ada", "owner")
    with somebody(town, monkeypatch, decision="refuse"):
        assert run("sign-in", "--cloud", url, "--tenant", town.tenant_id) == 3
    assert not (home / "sign-in.json").exists()
    assert run("sign-in", "--cloud", url, "--tenant", "no-tenant") == 3
    assert run("who-am-i") == 3


def answers(monkeypatch: pytest.MonkeyPatch, *errors: str | None) -> list[float]:
    """Let the token endpoint say this, one after the other; return the pauses between."""
    pauses: list[float] = []
    waiting = list(errors)

    def post(_: object, path: str, __: object) -> signedin.Answer:
        if path.endswith("devicecode"):
            texts = {"device_code": "d", "user_code": "BCDF-GHJK", "verification_uri": "u"}
            return signedin.Answer(status=200, body={**texts, "interval": 5, "expires_in": 600})
        error = waiting.pop(0)
        if error is None:
            raise Unreachable("nobody answers")
        return signedin.Answer(status=400, body={"error": error})

    monkeypatch.setattr(signedin, "post_form", post)
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def test_polls_slow_down_when_asked_and_when_nobody_answers(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signin, "_SLOWER_S", 5)
    errors: Sequence[str | None] = (
        *("authorization_pending", "slow_down", "authorization_pending", None, "slow_down"),
        "expired_token",
    )
    pauses = answers(monkeypatch, *errors)
    assert run("sign-in", "--cloud", "http://127.0.0.1:1", "--tenant", "t") == 3
    assert pauses == [5, 5, 10, 10, 20, 25]


def test_a_file_that_is_damaged_says_to_sign_in_again(run: Run) -> None:
    folder = signedin.home_folder(None)
    (folder / "sign-in.json").write_text("{")
    assert run("who-am-i") == 3
    assert run("cloud", "user", "list") == 3


def test_a_second_factor_is_set_up_at_a_terminal_and_its_secret_shown_once(
    town: Town,
    url: str,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    town.settle("ada", "owner")
    with somebody(town, monkeypatch, decision="allow"):
        run("sign-in", "--cloud", url, "--tenant", town.tenant_id)
    assert run("cloud", "totp", "require") == {"totp_required": True}
    assert run("cloud", "user", "list") == 3, "nothing else counts before it is on"

    def reads_the_app(*_: str, **__: str) -> str:
        secret = capsys.readouterr().err.splitlines()[0].rpartition(" ")[2]
        return factors.code_at(secret, town.cloud.clock.now())

    monkeypatch.setattr(cloudusers, "ask", reads_the_app)
    done = run("cloud", "totp", "enable")
    assert len(done["recovery_codes"]) == 10
    assert run("cloud", "user", "show", "ada")["totp_on"] is True
