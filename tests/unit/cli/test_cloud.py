"""`overland cloud` against the real API, in process."""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey
from tests.support.landed import pack
from tests.support.people import Town

from overland.adapters.posix import PosixFiles
from overland.cli.cloud import cloud as commands
from overland.cli.cloudcomputer import kept_secret
from overland.cloud import tables
from overland.cloud.home import CloudHome
from overland.cloud.locations import UNSET_DOCK

Run = Callable[..., Any]


def run(words: Sequence[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        commands.main(list(words), prog_name="overland cloud")
    return int(ended.value.code or 0)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path / "cloud") as cloud:
        monkeypatch.setattr(
            "overland.cli.cloudcomputer.UrllibHttp", lambda _url, token, _ca: cloud.http(token)
        )
        yield cloud


@pytest.fixture
def overland(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Run]:
    """Return a function that gives one token's commands: it returns their JSON, or exit code."""

    def with_token(token: str) -> Run:
        file = tmp_path / "token"

        def call(*words: str) -> Any:
            file.write_text(f"{token}\n")
            options = ["--url", "https://cloud.test", "--token-file", str(file), "--json"]
            capsys.readouterr()
            code = run([*words, *options])
            printed = capsys.readouterr().out
            return json.loads(printed) if code == 0 else code

        return call

    return with_token


def test_a_tenant_and_its_resources_are_made(
    local: LocalCloud, overland: Callable[[str], Run]
) -> None:
    made = overland(local.root_token)("tenant", "create", "Harbour")
    admin = overland(made["token"])
    subscription = admin("subscription", "create", "Main")
    assert admin("subscription", "list") == [subscription]
    admin("storage-account", "create", "harbourdata", "--group", "rg-1")
    container = admin("container", "create", "seeds", "--storage-account", "harbourdata")
    assert container["id"].endswith(
        "/resourceGroups/rg-1/providers/Microsoft.Storage/storageAccounts/harbourdata"
        "/blobServices/default/containers/seeds"
    )
    vault = admin("vault", "create", "vault-1")
    assert [each["vault_id"] for each in admin("vault", "list")] == [vault["vault_id"]]
    assert [each["name"] for each in admin("storage-account", "list")] == ["harbourdata"]
    assert admin("container", "create", "x", "--storage-account", "other") == 3


def test_secrets_go_into_new_files_for_their_owner_only(
    local: LocalCloud, overland: Callable[[str], Run], tmp_path: Path
) -> None:
    world = local.world()
    admin, root = overland(world.admin), overland(local.root_token)
    files = {
        "credentials": admin("vault-credentials", world.vault_id, "--out", str(tmp_path / "c")),
        "settings": admin("publish-settings", "--out", str(tmp_path / "p")),
        "token": root("token", "create", "--role", "station", "--out", str(tmp_path / "t")),
    }
    assert "ov1_" not in json.dumps(files)
    for name in "cpt":
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        assert "ov1_" in (tmp_path / name).read_text()
    again = root("token", "create", "--role", "station", "--out", str(tmp_path / "t"))
    assert again == 1, "a file that is there is left as it is"


@pytest.mark.parametrize(
    "words",
    [
        ["vault-credentials", "{vault}"],
        ["publish-settings"],
        ["token", "create", "--role", "diskprep"],
        ["user", "create", "ada"],
        ["user", "reset", "eve"],
        ["service-account", "token", "robot"],
    ],
    ids=" ".join,
)
def test_no_secret_is_asked_for_where_its_file_is_taken(
    local: LocalCloud, overland: Callable[[str], Run], tmp_path: Path, words: list[str]
) -> None:
    world = local.world()
    admin, taken = overland(world.admin), tmp_path / "taken"
    admin("user", "create", "eve")
    admin("service-account", "create", "robot")
    taken.write_text("mine")
    before = admin("audit"), admin("token", "list"), admin("user", "list")
    named = [word.format(vault=world.vault_id) for word in words]
    assert admin(*named, "--out", str(taken)) == 1
    assert taken.read_text() == "mine"
    assert (admin("audit"), admin("token", "list"), admin("user", "list")) == before


def test_no_tenant_is_made_where_the_file_of_its_token_is_taken(
    local: LocalCloud, overland: Callable[[str], Run], tmp_path: Path
) -> None:
    root, taken = overland(local.root_token), tmp_path / "taken"
    taken.write_text("mine")
    assert root("tenant", "create", "Harbour", "--out", str(taken)) == 1
    with local.database.begin() as connection:
        assert connection.execute(select(tables.tenants.c.name)).scalars().all() == []


def test_a_secret_that_was_refused_leaves_no_file(
    local: LocalCloud, overland: Callable[[str], Run], tmp_path: Path
) -> None:
    out, absent = tmp_path / "out", "00000000-0000-4000-8000-000000000000"
    assert overland(local.world().admin)("vault-credentials", absent, "--out", str(out)) != 0
    assert not out.exists()


def test_a_secret_that_cannot_be_written_leaves_no_half_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    out = tmp_path / "out"
    with pytest.raises(OSError, match="Input/output"), kept_secret(str(out)) as keep:  # noqa: PT012 - the file is there only within
        assert out.exists(), "nobody takes the name meanwhile"
        monkeypatch.setattr(os, "fsync", failing)
        keep("ov1_secret")
    assert list(tmp_path.iterdir()) == []


def test_a_secret_and_then_its_name_are_synced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, seen, real = tmp_path / "out", list[tuple[bool, str]](), os.fsync

    def noted(fd: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(fd).st_mode), out.read_text()))
        real(fd)

    monkeypatch.setattr(os, "fsync", noted)
    with kept_secret(str(out)) as keep:
        keep("ov1_secret")
    assert seen == [(False, ""), (True, "ov1_secret")], "content, then name, then folder"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_jobs_are_shown_with_their_custody(
    local: LocalCloud, overland: Callable[[str], Run]
) -> None:
    journey = Journey(cloud=local)
    journey.stage()
    journey.prepare()
    admin = overland(journey.world.admin)
    assert [each["name"] for each in admin("job", "list")] == ["harbour-first"]
    assert admin("job", "show", "HARBOUR-FIRST")["properties"]["state"] == "Creating"
    log = admin("job", "custody", "harbour-first")
    assert [each["event"] for each in log["events"]] == ["created", "listed"]
    assert admin("job", "show", "other") == 3
    assert admin("job", "delete", "harbour-first") == {"name": "harbour-first", "deleted": True}
    assert admin("job", "list") == []


def test_tokens_are_listed_and_revoked(local: LocalCloud, overland: Callable[[str], Run]) -> None:
    root = overland(local.root_token)
    root("token", "create", "--role", "station")
    (station,) = [each for each in root("token", "list") if each["role"] == "station"]
    root("token", "revoke", station["token_id"])
    (station,) = [each for each in root("token", "list") if each["role"] == "station"]
    assert station["revoked_at"] is not None
    assert root("subscription", "list") == 3, "the root token is no tenant's"


@pytest.mark.parametrize("way", ["disable", "delete"])
@pytest.mark.parametrize("keeps", [False, True], ids=["ends", "keeps"])
def test_whoever_leaves_takes_what_they_issued_along(
    local: LocalCloud, overland: Callable[[str], Run], way: str, *, keeps: bool
) -> None:
    town = Town.of(local)
    issued = overland(town.sign_in(town.settle("ada", "owner")["name"])["access_token"])(
        "token", "create", "--role", "admin"
    )["token"]
    town.settle("olga", "owner")
    admin = overland(town.admin._token or "")
    admin("user", way, "ada", *(["--keep-tokens"] if keeps else []))
    assert (overland(issued)("user", "list") == 3) is not keeps, "no longer authorised"
    by = [each["issued_by"].partition(":")[0] for each in admin("token", "list")]
    assert by == ["root", "user"]


def test_with_several_subscriptions_one_has_to_be_named(
    local: LocalCloud, overland: Callable[[str], Run]
) -> None:
    world = local.world()
    admin = overland(world.admin)
    admin("subscription", "create", "Second")
    assert admin("vault", "list") == 3
    assert len(admin("vault", "list", "--subscription", world.subscription_id)) == 1


def test_init_makes_a_cloud_once_and_says_where_its_token_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path), "--json"]
    assert run(["init", *home]) == 0
    made = json.loads(capsys.readouterr().out)
    token = Path(made["root_token_file"])
    first = token.read_text()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert first.strip() not in json.dumps(made)
    assert run(["init", *home]) == 3
    assert "cloud-initialised" in capsys.readouterr().err
    assert token.read_text() == first

    stored = CloudHome(PosixFiles(tmp_path / "cloud"))
    assert stored.settings().dock == UNSET_DOCK
    dock = "Dock; 1 Dock Road; Dublin; D22; Ireland"
    assert run(["init", *home, "--dock", dock]) == 0
    assert (stored.settings().dock.city, token.read_text()) == ("Dublin", first)
    assert run(["init", *home, "--new-root-token"]) == 0
    assert (stored.settings().dock.city, token.read_text() != first) == ("Dublin", True)


def test_a_cloud_that_does_not_run_is_unreachable_and_one_that_is_not_there_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path)]
    assert run(["token", "list", *home]) == 3
    assert "cloud-not-initialised" in capsys.readouterr().err
    run(["init", *home])
    assert run(["token", "list", *home]) == 5
    assert "overland cloud serve" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["-1", "65535", "65536", "https"])
def test_a_port_that_there_is_not_is_wrong_usage(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", "--home", str(tmp_path), "--port", port]) == 2
    assert "[usage]" in capsys.readouterr().err


def test_reclaim_says_first_what_it_would_delete_and_then_deletes_it(
    local: LocalCloud, overland: Callable[[str], Run]
) -> None:
    journey = Journey(cloud=local)
    admin = overland(journey.world.admin)
    name, data = pack("left by a run that was killed")
    local.put_object(f"vaults/{journey.world.vault_id}", f"{journey.computer_id}/{name}", data)
    with capture_logs():  # the cloud runs in this process
        assert [each["objects_waiting"] for each in admin("reclaim")] == [1]
        local.clock.advance(timedelta(days=14))
        (shown,) = admin("reclaim", "--dry-run", "--source-computer", journey.computer_id)
        assert (shown["state"], shown["objects_deleted"]) == ("preview", 1)
        (done,) = admin("reclaim")
    assert (done["state"], done["bytes_deleted"]) == ("done", len(data))
    assert admin("reclaim", "--source-computer", "nobody") == 1


def test_the_time_of_grace_can_only_be_made_longer(tmp_path: Path) -> None:
    home = ["--home", str(tmp_path)]
    assert run(["init", *home]) == 0
    assert run(["init", *home, "--soft-delete-days", "13"]) == 2
    assert run(["init", *home, "--soft-delete-days", "30"]) == 0
    settings = CloudHome(PosixFiles(tmp_path / "cloud")).settings()
    assert (settings.soft_delete_days, settings.dock) == (30, UNSET_DOCK)


@pytest.mark.requirement("R113")
def test_how_long_ended_jobs_are_kept_is_set_beside_the_rest(tmp_path: Path) -> None:
    home = ["--home", str(tmp_path)]
    assert run(["init", *home, "--soft-delete-days", "30"]) == 0
    assert run(["init", *home, "--job-retention-days", "0"]) == 2
    assert run(["init", *home, "--job-retention-days", "7"]) == 0
    settings = CloudHome(PosixFiles(tmp_path / "cloud")).settings()
    assert (settings.job_retention_days, settings.soft_delete_days) == (7, 30)
