"""`overland keys rotate --signing` with a cloud behind real sockets, and a thief with the keys."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import Result
from tests.support.cloudsamples import job_body, ship_body
from tests.support.registered import SourceComputer, Terminal, registered, typed

from overland.adapters.posix import PosixFiles
from overland.agent.connection import Connection
from overland.agent.home import AgentHome
from overland.agent.setup import load_keys
from overland.agent.signingcloud import enter_change
from overland.cli.outcome import Exit
from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.errors import NotAuthorised, Unreachable
from overland.format import point as points_format
from overland.ports.http import RefusedByCloud
from overland.values import PointId, point_name

READER = Path(__file__).parents[3] / "reader" / "overland_reader.py"


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceComputer]:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    (tmp_path / "new").write_text("staple correct horse\n")
    with registered(tmp_path) as made:
        assert typed("policy", "create", "mail", "--source", made.source).exit_code == Exit.OK
        (made.source / "letter").write_text("first\n")
        back_up(made)
        yield made


def back_up(computer: SourceComputer, text: str = "") -> str:
    if text:
        (computer.source / "letter").write_text(text)
    done = typed("backup", "now", "mail")
    assert done.exit_code == Exit.OK, done.output
    return points()[-1]


def points() -> list[str]:
    listed = typed("points", "list", "--json")
    assert listed.exit_code == Exit.OK, listed.output
    return [each["point_id"] for each in json.loads(listed.stdout)]


def rotate(computer: SourceComputer, *words: object, kit: str = "second") -> Result:
    return typed(
        *("keys", "rotate", "--signing"),
        *("--vault-credentials", computer.folder / "vault-credentials"),
        *("--new-passphrase-file", computer.folder / "new"),
        *("--recovery-kit", computer.folder / kit),
        *words,
    )


def key_of(home: Path) -> str:
    found: str = json.loads((home / "agent.json").read_text())["signing_public_key"]
    return found


def test_a_new_signing_key_counts_and_old_and_new_points_restore(computer: SourceComputer) -> None:
    old = key_of(computer.home)
    done = rotate(computer)
    assert done.exit_code == Exit.OK, done.output
    assert key_of(computer.home) != old
    assert not (computer.home / "signing-change").exists()
    back_up(computer, "second\n")
    found = points()
    assert len(found) == 2
    for number, text in enumerate(("first\n", "second\n")):
        into = computer.folder / f"back{number}"
        ended = typed("restore", found[number], "--target", into)
        assert ended.exit_code == Exit.OK, ended.output
        [letter] = into.rglob("letter")
        assert letter.read_text() == text


def forged(computer: SourceComputer, key: Secret, number: int = 1) -> tuple[PointId, bytes]:
    """Return a point that somebody made who has the old home folder."""
    repository = json.loads((computer.home / "agent.json").read_text())["repository_id"]
    point_id = PointId(str(UUID(int=7000 + number)))
    public = points_format.PointPublic(
        point_id=point_id,
        repository_id=repository,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        kind="full",
        seed_id=None,
        base=None,
        salt="5a" * 32,
        objects=[],
    )
    return point_id, bytes(
        points_format.assemble(
            public,
            bytes(100),
            master_number=0,
            sign=lambda data: sign.sign(key, points_format.SIGNATURE_PURPOSE, data),
        )
    )


def key_in(computer: SourceComputer) -> Secret:
    return load_keys(AgentHome(PosixFiles(computer.home))).signing


def vault_of(computer: SourceComputer) -> Path:
    [keys] = (computer.folder / "cloud-side" / "objects").glob("vaults/*/*/keys")
    return keys.parent


def test_a_forgery_by_the_stolen_key_is_refused_by_everybody(computer: SourceComputer) -> None:
    stolen = key_in(computer)
    connection = token_of(computer)
    assert rotate(computer).exit_code == Exit.OK
    back_up(computer, "second\n")
    ours = points()
    point_id, data = forged(computer, stolen)
    vault = vault_of(computer)
    (vault / point_name(point_id)).write_bytes(data)  # as the provider can
    refused = Connection(
        computer.cloud.http(json.loads((computer.home / "registration.json").read_text())["token"])
    )
    with pytest.raises(RefusedByCloud) as answer:
        refused.publish_point(point_id)
    assert answer.value.reason == "signing-key-retired"
    with pytest.raises(NotAuthorised):
        connection.publish_point(point_id)  # and the stolen token has ended
    elsewhere = ("--from", vault, "--passphrase-file", computer.folder / "new")
    listed = typed("points", "list", *elsewhere, "--json")
    assert sorted(each["point_id"] for each in json.loads(listed.stdout)) == sorted(ours)
    assert point_id in typed("points", "list", *elsewhere).stderr
    into = computer.folder / "no"
    ended = typed("restore", point_id, "--target", into, *elsewhere)
    assert ended.exit_code == Exit.INTEGRITY, ended.output
    assert "[signing-key-retired]" in ended.stderr
    checked = typed("check", "--from", vault, "--passphrase-file", computer.folder / "new")
    assert checked.exit_code == Exit.INTEGRITY, checked.output
    assert point_id in checked.output
    read = run_reader(computer, vault, "--list")
    assert point_id not in read.stdout
    assert all(each in read.stdout for each in ours)
    assert run_reader(computer, vault, "--point", point_id, "--target", into).returncode != 0
    assert read.returncode == Exit.INTEGRITY, "it says so"
    for each in ours:
        run_reader(computer, vault, "--point", each, "--target", computer.folder / each)
        assert list((computer.folder / each).rglob("letter")), "the others restore"


def token_of(computer: SourceComputer) -> Connection:
    """Return the requests of whoever copied the home folder."""
    token = json.loads((computer.home / "registration.json").read_text())["token"]
    return Connection(computer.cloud.http(token))


def run_reader(
    computer: SourceComputer, vault: Path, *words: object
) -> subprocess.CompletedProcess[str]:
    """Run the stand-alone reader over a vault's folder, by the new recovery kit."""
    command = [sys.executable, READER, vault, "--recovery-kit", computer.folder / "second", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("by", ["passphrase", "kit"])
def test_another_computer_restores_old_and_new_points(computer: SourceComputer, by: str) -> None:
    assert rotate(computer).exit_code == Exit.OK
    back_up(computer, "second\n")
    found, vault = points(), vault_of(computer)
    opens: tuple[object, ...] = ("--passphrase-file", computer.folder / "new")
    if by == "kit":
        opens = ("--recovery-kit", computer.folder / "second")
    computer.home.rename(computer.folder / "burnt")
    for number, text in enumerate(("first\n", "second\n")):
        into = computer.folder / f"back{number}"
        ended = typed("restore", found[number], "--target", into, "--from", vault, *opens)
        assert ended.exit_code == Exit.OK, ended.output
        [letter] = into.rglob("letter")
        assert letter.read_text() == text


def test_an_old_copy_of_the_home_folder_backs_up_nothing(computer: SourceComputer) -> None:
    old, newest = computer.folder / "old", computer.folder / "newest"
    shutil.copytree(computer.home, old)
    assert rotate(computer).exit_code == Exit.OK
    computer.home.rename(newest)
    shutil.copytree(old, computer.home)
    refused = typed("backup", "now", "mail")
    assert refused.exit_code != Exit.OK, "its token has ended"
    # Registered again, with new vault credentials, it is refused as well: the key has ended.
    register = ("agent", "register", "--vault-credentials", computer.folder / "vault-credentials")
    again = typed(*register)
    assert again.exit_code == Exit.REFUSED, again.output
    assert "signing key" in again.stderr
    again = rotate(computer, kit="third")
    assert again.exit_code == Exit.REFUSED, again.output
    assert not (computer.folder / "third").exists(), "and no kit of nothing was made"
    shutil.rmtree(computer.home)
    newest.rename(computer.home)
    assert typed("backup", "now", "mail").exit_code == Exit.OK


def test_a_thief_signs_a_change_himself_and_has_no_credentials(computer: SourceComputer) -> None:
    stolen = computer.folder / "stolen"
    shutil.copytree(computer.home, stolen)
    ended = typed(
        *("keys", "rotate", "--signing", "--new-passphrase-file", computer.folder / "new"),
        *("--recovery-kit", computer.folder / "second"),
    )
    assert ended.exit_code == Exit.USAGE, "it needs the owner's file"
    made_up = json.loads((computer.folder / "vault-credentials").read_text())
    made_up["registration_token"] = json.loads((stolen / "registration.json").read_text())["token"]
    (computer.folder / "vault-credentials").write_text(json.dumps(made_up))
    refused = rotate(computer)
    assert refused.exit_code != Exit.OK, refused.output
    assert "[not-authorised]" in refused.stderr
    assert key_of(computer.home) == key_of(stolen)
    assert typed("backup", "now", "mail").exit_code == Exit.OK, "nothing was changed"


def test_points_that_nobody_knows_here_are_shown_and_left_out(computer: SourceComputer) -> None:
    point_id, data = forged(computer, key_in(computer))
    (vault_of(computer) / point_name(point_id)).write_bytes(data)
    token_of(computer).publish_point(point_id)
    refused = rotate(computer)
    assert refused.exit_code == Exit.REFUSED, refused.output
    assert "[points-unknown]" in refused.stderr
    assert point_id in refused.stderr
    assert points()[-1] not in refused.stderr.replace(point_id, ""), "ours is known"
    assert not (computer.folder / "second").exists(), "nothing was begun"
    done = rotate(computer, "--without", point_id, "--json")
    assert done.exit_code == Exit.OK, done.output
    said = done.stdout[done.stdout.index("{\n") :]  # the cloud in this process logs before it
    assert json.loads(said)["without"] == [point_id]
    assert point_id not in points()
    assert [each["point_id"] for each in in_catalog(computer)] == points()


def test_unknown_points_may_be_accepted(computer: SourceComputer) -> None:
    point_id, data = forged(computer, key_in(computer))
    (vault_of(computer) / point_name(point_id)).write_bytes(data)
    token_of(computer).publish_point(point_id)
    done = rotate(computer, "--accept-unknown")
    assert done.exit_code == Exit.OK, done.output
    assert point_id in points()


def in_catalog(computer: SourceComputer) -> list[dict[str, str]]:
    token = json.loads((computer.home / "registration.json").read_text())["token"]
    found: list[dict[str, str]] = computer.cloud.http(token).ok("GET", "/v1/points")
    return found


@pytest.mark.parametrize(
    ("without", "reason"),
    [("base", "is based on it"), ("00000000-0000-4000-8000-000000000009", "has no such point")],
    ids=["base", "none"],
)
def test_what_cannot_be_left_out_is_named(
    computer: SourceComputer, without: str, reason: str
) -> None:
    first = points()[0]
    back_up(computer, "second\n")
    refused = rotate(computer, "--without", first if without == "base" else without)
    assert refused.exit_code == Exit.REFUSED, refused.output
    assert "[point-not-left-out]" in refused.stderr
    assert reason in refused.stderr
    assert not (computer.folder / "second").exists()


def test_a_point_that_is_damaged_has_to_be_left_out(computer: SourceComputer) -> None:
    [point_id] = points()
    (vault_of(computer) / point_name(PointId(point_id))).write_bytes(b"the medium forgot")
    refused = rotate(computer)
    assert refused.exit_code == Exit.INTEGRITY, refused.output
    assert "[points-unreadable]" in refused.stderr
    assert point_id in refused.stderr
    assert rotate(computer, "--without", point_id).exit_code == Exit.OK
    back_up(computer, "second\n")


def test_a_change_that_was_interrupted_is_gone_on_with(
    computer: SourceComputer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unreachable("the cloud does not answer")

    with monkeypatch.context() as broken:
        broken.setattr("overland.agent.signing.enter_change", fail)
        stopped = rotate(computer)
    assert stopped.exit_code == Exit.TRY_AGAIN, stopped.output
    assert (computer.home / "signing-change").exists()
    shown = typed("keys", "status")
    assert "Next: overland keys rotate --signing --vault-credentials FILE" in shown.stdout
    assert json.loads(typed("keys", "status", "--json").stdout)["is_signing_key_changing"]
    back_up(computer, "meanwhile\n")
    (computer.folder / "third").write_text("a third one, quite long\n")
    refused = typed("keys", "passphrase", "--new-passphrase-file", computer.folder / "third")
    assert refused.exit_code == Exit.REFUSED
    assert "[signing-change-under-way]" in refused.stderr
    done = rotate(computer)  # neither passphrase nor kit are asked for again
    assert done.exit_code == Exit.OK, done.output
    assert "going on with the change that was begun" in done.stderr
    opens = ("--recovery-kit", computer.folder / "second")
    listed = typed("points", "list", "--from", vault_of(computer), *opens, "--json")
    assert len(json.loads(listed.stdout)) == 2
    changed = typed("keys", "passphrase", "--new-passphrase-file", computer.folder / "third")
    assert changed.exit_code == Exit.OK, changed.output


def test_a_lost_answer_is_found_out_by_the_next_run(
    computer: SourceComputer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*words: Any, **named: Any) -> None:  # Any: it hands everything on
        enter_change(*words, **named)
        raise Unreachable("the answer was lost")

    old = key_of(computer.home)
    with monkeypatch.context() as broken:
        broken.setattr("overland.agent.signing.enter_change", lose)
        assert rotate(computer).exit_code == Exit.TRY_AGAIN
    back_up(computer, "second\n")
    assert key_of(computer.home) != old
    assert not (computer.home / "signing-change").exists()
    assert len(points()) == 2


def test_a_keyring_that_a_thief_made_is_passed_over_when_it_is_disowned(
    computer: SourceComputer,
) -> None:
    stolen, ours = computer.folder / "stolen", computer.folder / "ours"
    shutil.copytree(computer.home, stolen)
    computer.home.rename(ours)
    stolen.rename(computer.home)
    (computer.folder / "his").write_text("the passphrase of a thief\n")
    done = typed("keys", "passphrase", "--new-passphrase-file", computer.folder / "his")
    assert done.exit_code == Exit.OK, done.output
    computer.home.rename(stolen)
    ours.rename(computer.home)
    refused = rotate(computer)
    assert refused.exit_code == Exit.REFUSED
    assert "[keyring-behind]" in refused.stderr
    done = rotate(computer, "--disown")
    assert done.exit_code == Exit.OK, done.output
    opens = ("--passphrase-file", computer.folder / "new")
    listed = typed("points", "list", "--from", vault_of(computer), *opens, "--json")
    assert listed.exit_code == Exit.OK, listed.output
    his = ("--passphrase-file", computer.folder / "his")
    assert typed("points", "list", "--from", vault_of(computer), *his).exit_code != Exit.OK


def test_options_of_the_signing_key_want_it(computer: SourceComputer) -> None:
    alone = typed("keys", "rotate", "--accept-unknown", "--recovery-kit", computer.folder / "k")
    assert alone.exit_code == Exit.USAGE
    assert "go with --signing" in alone.stderr
    bare = typed("keys", "rotate", "--signing", "--recovery-kit", computer.folder / "k")
    assert bare.exit_code == Exit.USAGE
    assert "--signing needs --vault-credentials FILE" in bare.stderr


# Seeds.


def test_a_seed_that_is_staged_and_not_announced_is_announced_first(
    computer: SourceComputer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unreachable("the cloud does not answer")

    assert computer.create().exit_code == Exit.OK
    with monkeypatch.context() as broken:
        broken.setattr(Connection, "put_manifest", fail)
        assert typed("backup", "now", "docs").exit_code == Exit.TRY_AGAIN
    assert not computer.policies.progress("docs").announced
    moved = computer.folder / "moved"
    computer.staging.rename(moved)
    refused = rotate(computer)
    assert refused.exit_code == Exit.REFUSED, refused.output
    assert "[seed-unannounced]" in refused.stderr
    moved.rename(computer.staging)
    done = rotate(computer)
    assert done.exit_code == Exit.OK, done.output
    waiting = typed("backup", "now", "docs")
    assert waiting.exit_code == Exit.OK, waiting.output
    [seed] = (each for each in in_seeds(computer) if each["policy"] == "docs")
    assert seed["state"] == "AwaitingImport"


def in_seeds(computer: SourceComputer) -> list[dict[str, str]]:
    found: list[dict[str, str]] = computer.cloud.http(computer.world.admin).ok("GET", "/v1/seeds")
    return found


def test_a_seed_that_is_being_staged_goes_on_with_the_new_key(
    computer: SourceComputer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the drive was pulled out")

    assert computer.create().exit_code == Exit.OK
    with monkeypatch.context() as broken:
        broken.setattr("overland.seeding.staging.SeedDraft.finish", fail)
        assert typed("backup", "now", "docs").exit_code != Exit.OK
    [point] = computer.staging.glob("*/points/*")
    assert point.exists(), "its point is signed with the old key"
    assert rotate(computer).exit_code == Exit.OK
    staged = typed("backup", "now", "docs")
    assert staged.exit_code == Exit.OK, staged.output
    [seed] = computer.staging.glob("seed-*")
    opens = ("--passphrase-file", computer.folder / "new")
    checked = typed("check", "--from", seed, *opens)
    assert checked.exit_code == Exit.OK, checked.output


def test_a_seed_in_the_mail_is_adopted_after_the_change(computer: SourceComputer) -> None:
    """From the staging location to the restored file, with the keys replaced on the way."""
    cloud, world = computer.cloud, computer.world
    assert computer.create().exit_code == Exit.OK
    assert typed("backup", "now", "docs").exit_code == Exit.OK
    [seed] = in_seeds(computer)
    seed_id = seed["seed_id"]
    settings = computer.publish_settings.read_text()
    [token] = re.findall(r'Token="([^"]+)"', settings)
    copy_computer, station = cloud.http(token), cloud.station()
    job = world.job_path("harbour-import-07")
    copy_computer.ok("PUT", job, job_body(world, seed_id=seed_id))
    copy_computer.ok("PATCH", job, ship_body())

    stolen = key_in(computer)
    done = rotate(computer)
    assert done.exit_code == Exit.OK, done.output
    assert typed("backup", "now", "docs").exit_code == Exit.OK, "protected while it travels"

    parcel = {"tracking_number": "TRACK-0001", "carrier": "FedEx", "serials": ["ZX91K7Q0"]}
    station.ok("POST", "/v1/station/parcels", parcel)
    [staged] = computer.staging.glob("seed-*")
    space = f"accounts/{world.account}/{world.container}"
    for path in sorted(each for each in staged.rglob("*") if each.is_file()):
        cloud.put_object(space, f"seed-{seed_id}/{path.relative_to(staged)}", path.read_bytes())
    [listed] = station.ok("GET", "/v1/station/jobs")
    events = f"/v1/station/jobs/{listed['job_id']}/drives/ZX91K7Q0/events"
    for event in ("started", "completed"):
        station.ok("POST", events, {"event": event, "percent": 100})

    adopted = typed("backup", "now", "docs")
    assert adopted.exit_code == Exit.OK, adopted.output
    assert "The vault has adopted the seed" in adopted.stdout
    shutil.rmtree(staged)
    back_up(computer, "second\n")
    states = {each["point_id"]: each["state"] for each in in_catalog(computer)}
    assert set(states.values()) == {"available"}
    opens = ("--from", vault_of(computer), "--recovery-kit", computer.folder / "second")
    for number, point_id in enumerate(states):
        into = computer.folder / f"back{number}"
        ended = typed("restore", point_id, "--target", into, *opens)
        assert ended.exit_code == Exit.OK, ended.output
        assert list(into.rglob("letter"))
    checked = typed("check", "--from", vault_of(computer), *opens[2:])
    assert checked.exit_code == Exit.OK, checked.output
    point_id, data = forged(computer, stolen)
    (vault_of(computer) / point_name(point_id)).write_bytes(data)
    assert typed("check", "--from", vault_of(computer), *opens[2:]).exit_code == Exit.INTEGRITY


def test_a_person_is_asked_whether_unknown_points_are_theirs(computer: SourceComputer) -> None:
    point_id, data = forged(computer, key_in(computer))
    (vault_of(computer) / point_name(point_id)).write_bytes(data)
    token_of(computer).publish_point(point_id)
    words = (
        *("keys", "rotate", "--signing"),
        *("--vault-credentials", computer.folder / "vault-credentials"),
        *("--new-passphrase-file", computer.folder / "new"),
        *("--recovery-kit", computer.folder / "second"),
    )
    home = {"OVERLAND_HOME": str(computer.folder / "home")}
    before = key_of(computer.home)
    for answer, code in (("no", Exit.REFUSED), ("yes", Exit.OK)):
        terminal = Terminal(words, environment=home)
        terminal.until(point_id)
        terminal.until("Are they yours, and shall they count?")
        terminal.answer(answer)
        assert terminal.end() == code, terminal.shown
        assert (key_of(computer.home) == before) is (answer == "no")
    assert point_id in points()
