"""`overland cloud job create-export` and `ship` against the real API, in process."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.cloud import LocalCloud, World

from overland.cli.cloud import cloud as commands

Run = Callable[..., Any]
ADDRESS = {
    "recipientName": "Harbour Ltd",
    "streetAddress1": "5 Quay",
    "city": "Dublin",
    "postalCode": "D01",
    "countryOrRegion": "Ireland",
    "phone": "+353 1 111 1111",
    "email": "it@harbour.example",
}


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path / "cloud") as cloud:
        monkeypatch.setattr(
            "overland.cli.cloudcomputer.UrllibHttp", lambda _url, token, _ca: cloud.http(token)
        )
        yield cloud


@pytest.fixture
def world(local: LocalCloud) -> World:
    return local.world()


@pytest.fixture
def run(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    token, address = tmp_path / "token", tmp_path / "address.json"
    token.write_text(world.admin)
    address.write_text(json.dumps(ADDRESS))

    def typed(*words: str) -> Any:
        options = ["--url", "https://cloud.test", "--token-file", str(token), "--json"]
        with pytest.raises(SystemExit) as ended:
            commands.main(["job", *words, *options], prog_name="overland cloud")
        code, printed = int(ended.value.code or 0), capsys.readouterr().out
        return json.loads(printed) if code == 0 else code

    return typed


def create(run: Run, tmp_path: Path, *more: str, address: str = "address.json") -> Any:
    back = ("--return-carrier", "UPS", "--return-account", "1")
    account = ("--storage-account", "harbourdata", "--return-address", str(tmp_path / address))
    return run("create-export", "take-out", *account, *back, *more)


def test_an_export_job_is_ordered_and_shipped(run: Run, world: World, tmp_path: Path) -> None:
    made = create(run, tmp_path, "--blob", "charts/a", "--prefix", "/films/", "--verbose-log")

    assert (made["properties"]["jobType"], made["properties"]["state"]) == ("Export", "Creating")
    assert made["properties"]["export"] == {
        "blobList": {"blobPath": ["charts/a"], "blobPathPrefix": ["/films/"]}
    }
    assert made["properties"]["logLevel"] == "Verbose"
    assert made["id"].startswith(world.group)
    package = ("--carrier", "UPS", "--tracking-number", "1Z-OUT", "--drives", "2")
    assert run("ship", "take-out", *package)["properties"]["state"] == "Shipping"


def test_a_list_that_is_a_blob_can_be_named(run: Run, tmp_path: Path) -> None:
    made = create(run, tmp_path, "--blob-list", "lists/export.xml")
    assert made["properties"]["export"] == {"blobListblobPath": "lists/export.xml"}


@pytest.mark.parametrize(
    "words",
    [(), ("--blob", "a/b", "--blob-list", "c/d"), ("--blob", "/a/b"), ("--prefix", "films")],
)
def test_a_selection_that_makes_no_sense_is_refused(
    run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert create(run, tmp_path, *words) in (2, 3)


def test_an_address_that_cannot_be_read_and_an_unknown_account_are_refused(
    run: Run, tmp_path: Path
) -> None:
    assert create(run, tmp_path, "--prefix", "/", address="nowhere.json") == 3
    (tmp_path / "list.json").write_text("[]")
    assert create(run, tmp_path, "--prefix", "/", address="list.json") == 3
