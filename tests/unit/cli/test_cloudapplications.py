"""`overland cloud application` against the real API, in process."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.applicants import Program
from tests.support.cloud import LocalCloud, World
from tests.support.cloudsamples import Journey

from overland.cli.cloud import cloud as commands

Run = Callable[..., Any]
PROGRAM = Program()
USER = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def journey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journey]:
    with LocalCloud(tmp_path / "cloud") as cloud:
        monkeypatch.setattr(
            "overland.cli.cloudcomputer.UrllibHttp", lambda _url, token, _ca: cloud.http(token)
        )
        yield Journey(cloud=cloud)


@pytest.fixture
def run(journey: Journey, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command with a token: its JSON or text, or its exit code."""

    def call(*words: str, token: str = journey.world.admin, as_json: bool = True) -> Any:
        file = tmp_path / "token"
        file.write_text(f"{token}\n")
        options = ["--url", "https://cloud.test", "--token-file", str(file)]
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            commands.main(
                [*words, *options, *(["--json"] if as_json else [])], prog_name="overland cloud"
            )
        printed = capsys.readouterr().out
        if ended.value.code:
            return ended.value.code
        return json.loads(printed) if as_json else printed

    return call


def test_an_application_is_made_and_found_by_name_and_id(run: Run) -> None:
    made = run("application", "create", "AzureOfflineBackup_1")
    text = run("application", "create", "AzureOfflineBackup_1", as_json=False)
    assert "exists already" in text
    for named in (made["application_id"], "azureofflinebackup_1"):
        assert run("application", "show", named)["name"] == "AzureOfflineBackup_1"
    assert [each["application_id"] for each in run("application", "list")] == [
        made["application_id"]
    ]
    assert run("application", "show", "another") == 3
    assert run("application", "show", USER) == 1
    run("application", "delete", "AzureOfflineBackup_1")
    assert run("application", "list") == []


@pytest.mark.requirement("R43")
def test_a_certificate_is_uploaded_by_hand_and_removed(
    run: Run, journey: Journey, tmp_path: Path
) -> None:
    run("application", "create", "app")
    pem, der, key = (tmp_path / name for name in ("app.pem", "app.cer", "app.key"))
    pem.write_text(PROGRAM.pem)
    der.write_bytes(PROGRAM.der)
    key.write_text(PROGRAM.key_pem)
    assert run("application", "add-certificate", "app", str(key)) == 3
    assert run("application", "add-certificate", "app", str(tmp_path / "absent")) == 3
    assert run("application", "add-certificate", "app", str(der))["source_computer_id"] is None
    bound = run(
        "application", "add-certificate", "app", str(pem), "--source-computer", journey.computer_id
    )
    assert (bound["is_new"], bound["source_computer_id"]) == (False, journey.computer_id)
    text = run("application", "show", "app", as_json=False)
    assert PROGRAM.sha1.upper() in text
    assert "2050-01-01" in text
    run("application", "remove-certificate", "app", PROGRAM.sha1.upper())
    assert run("application", "show", "app")["certificates"] == []
    assert run("application", "remove-certificate", "app", PROGRAM.sha1) == 1


def test_a_file_that_is_too_long_is_not_read_on(run: Run, tmp_path: Path) -> None:
    run("application", "create", "app")
    (tmp_path / "big").write_bytes(b"x" * (17 << 10))
    assert run("application", "add-certificate", "app", str(tmp_path / "big")) == 3


def test_owners_are_added_listed_and_removed(run: Run) -> None:
    run("application", "create", "app")
    run("application", "add-owner", "app", USER)
    assert [each["name"] for each in run("application", "list", "--owner", USER)] == ["app"]
    assert f"owner {USER}" in run("application", "show", "app", as_json=False)
    run("application", "remove-owner", "app", USER)
    assert run("application", "list", "--owner", USER) == []


def test_the_operator_rotates_the_signing_key(run: Run, journey: Journey) -> None:
    root = journey.cloud.root_token
    first = run("rotate-signing-key", token=root)["key_id"]
    assert run("rotate-signing-key", "--end-tokens", token=root)["key_id"] != first
    assert run("rotate-signing-key") == 3


def test_what_was_done_is_in_the_audit(run: Run, journey: Journey) -> None:
    run("application", "create", "app")
    run("application", "delete", "app")
    world: World = journey.world
    events = [each["event"] for each in journey.cloud.http(world.admin).ok("GET", "/v1/audit")]
    assert events[:2] == ["application-deleted", "application-created"]
