"""`overland cert` typed on source computers, against a cloud behind sockets."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs
from tests.support.enrolled import Office, answered
from tests.support.registered import SourceComputer, registered, typed

from overland.agent.certificate import LIFETIME
from overland.agent.offlineidentity import parse_identity
from overland.cli.machine import AgentMachine
from overland.cli.outcome import Exit
from overland.errors import NotAuthorised
from overland.ports.http import RefusedByCloud
from overland.values import SeedId

SETTING = "AzureADAppCertThumbprint_"


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    with capture_logs(), registered(tmp_path) as computer:  # the cloud runs in this process
        yield Office.of(computer)


@pytest.fixture
def enrolled(office: Office) -> Office:
    office.create()
    office.enroll()
    return office


def applications(office: Office) -> Any:
    path = "/v1/tenants/mine/applications"
    return office.computer.cloud.http(office.computer.world.admin).ok("GET", path)


def another_computer(office: Office, monkeypatch: pytest.MonkeyPatch) -> Office:
    """Register a second computer with the same vault, and act on it from now on."""
    first = office.computer
    folder = first.folder / "second"
    folder.mkdir()
    monkeypatch.setenv("OVERLAND_HOME", str(folder / "home"))
    for words in (
        ("init", "--name", "two", "--passphrase-file", first.folder / "passphrase"),
        ("register", "--vault-credentials", first.folder / "vault-credentials"),
    ):
        kit = ("--recovery-kit", folder / "kit") if words[0] == "init" else ()
        assert typed("agent", *words, *kit).exit_code == Exit.OK
    computer = SourceComputer(folder=folder, cloud=first.cloud, world=first.world)
    computer.source.mkdir()
    (computer.source / "letter.txt").write_text("another letter\n" * 99)
    computer.staging.mkdir()
    computer.publish_settings.write_bytes(first.publish_settings.read_bytes())
    return Office(computer=computer, user_id=office.user_id, token_file=office.token_file)


def spoil_own_token(home: Path) -> None:
    """Let the cloud know the computer's own token no more."""
    path = home / "registration.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "token": "x" * 43}))


# -- create-application ----------------------------------------------------------------------


@pytest.mark.requirement("R33", "R35", "R41")
def test_the_application_is_named_after_the_user_and_its_file_holds_no_secret(
    office: Office,
) -> None:
    made = office.create()["application"]
    (there,) = applications(office)
    assert there["name"] == f"AzureOfflineBackup_{office.user_id}"
    found = parse_identity(office.params.read_bytes())
    assert (found.client_id, found.user_id) == (there["client_id"], office.user_id)
    assert (found.tenant_id, found.url) == (there["tenant_id"], office.url)
    assert made["client_id"] == found.client_id
    text = office.params.read_text()
    assert "PRIVATE" not in text
    assert office.token_file.read_text() not in text


@pytest.mark.requirement("R34", "R43")
def test_an_application_that_exists_stays_and_the_manual_path_is_asked_for(office: Office) -> None:
    office.create()
    before = applications(office)
    error = office.create(code=Exit.REFUSED)
    assert error["code"] == "application-exists"
    assert f"overland cloud application delete {office.name}" in error["message"], "first branch"
    assert applications(office) == before
    office.enroll()
    before = applications(office)
    error = office.create(code=Exit.REFUSED)
    assert "overland cert export" in error["message"], "second branch"
    assert "delete" not in error["message"], "certificates of others stay"
    assert applications(office) == before


def test_the_subscription_is_one_of_the_caller(office: Office) -> None:
    other = "99999999-2222-3333-4444-555555555555"
    assert office.create(code=Exit.REFUSED, subscription=other)["code"] == "subscription-unknown"
    assert office.create(code=Exit.REFUSED, subscription="x")["code"] == "policy-invalid"
    assert not office.params.exists()
    assert applications(office) == []


def test_a_token_of_nobody_needs_a_name_for_the_application(office: Office) -> None:
    file = office.computer.folder / "admin"
    file.write_text(office.computer.world.admin)
    assert office.create(code=Exit.REFUSED, token_file=file)["code"] == "user-unclear"
    office.create(token_file=file, user_id=office.user_id)
    assert applications(office)[0]["name"] == office.name


@pytest.mark.requirement("R28")
def test_a_lesser_role_makes_no_application(office: Office) -> None:
    reader = Office.of(office.computer, role="reader")
    assert reader.create(code=Exit.REFUSED)["code"] == "not-authorised"
    assert applications(office) == []


def test_a_file_of_another_kind_is_not_written_over(office: Office) -> None:
    office.params.write_text("my letter")
    assert office.create(code=Exit.REFUSED)["code"] == "file-taken"
    assert office.params.read_text() == "my letter"


@pytest.mark.requirement("R33")
@pytest.mark.parametrize("words", [("upload",), ("renew",)])
def test_only_the_account_that_owns_the_home_folder_makes_identities(
    enrolled: Office, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    for error in (
        enrolled.create(code=Exit.REFUSED),
        enrolled.enroll(code=Exit.REFUSED),
        answered("cert", *words, code=Exit.REFUSED),
    ):
        assert error["code"] == "not-the-administrator"


# -- enroll ----------------------------------------------------------------------------------


@pytest.mark.requirement("R39", "R42", "R44", "R45")
def test_enrolment_makes_the_certificate_enters_it_and_sets_what_the_original_sets(
    office: Office,
) -> None:
    office.create()
    done = office.enroll()
    settings = answered("agent", "config", "list")
    account = office.computer.cloud.http(office.token_file.read_text())
    assert settings["CurrentUserId"] == account.ok("GET", "/v1/me")["user_id"] == office.user_id
    assert settings[f"{SETTING}{office.user_id}"] == done["thumbprint"]
    assert done["subject"] == f"CN=CB_AzureADCertforOfflineSeeding_{settings['ResourceId']}"
    assert (
        Path(done["file"]).name == f"OfflineApplicationParams_{office.computer.world.account}.xml"
    )
    key = office.computer.home / "identity" / f"{done['thumbprint']}.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    (there,) = applications(office)
    (certificate,) = there["certificates"]
    assert certificate["thumbprint"] == done["thumbprint"]
    assert certificate["source_computer_id"] == settings["MachineId"]
    assert answered("cert", "status")["identities"][0]["code"] is None


@pytest.mark.requirement("R42")
def test_the_private_key_never_leaves(enrolled: Office) -> None:
    (thumbprint,) = enrolled.certificates.thumbprints()
    key = enrolled.certificates.load(thumbprint).private_key.reveal()
    line = key.splitlines()[3]
    cloud = enrolled.computer.folder / "cloud-side"
    for path in (*cloud.rglob("*"), enrolled.params, *enrolled.computer.home.rglob("*.xml")):
        assert not path.is_file() or line not in path.read_bytes(), path
    out = enrolled.computer.folder / "out.cer"
    answered("cert", "export", out)
    assert b"PRIVATE" not in out.read_bytes()
    subject = x509.load_der_x509_certificate(out.read_bytes()).subject.rfc4514_string()
    assert subject.startswith("CN=CB_AzureADCertforOfflineSeeding_")
    assert answered("cert", "export", out, code=Exit.REFUSED)["code"] == "file-taken"


def test_enrolment_that_was_stopped_goes_on_with_the_same_certificate(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.create()
    with monkeypatch.context() as patched:
        patched.setattr("overland.cli.certsteps._uploaded", lambda *_: ctrl_c())
        assert office.enroll(code=Exit.ERROR)["code"] == "stopped"
    (made,) = office.certificates.thumbprints()
    assert office.enroll()["thumbprint"] == made
    assert office.certificates.thumbprints() == [made]


def ctrl_c() -> str:
    raise KeyboardInterrupt


@pytest.mark.requirement("R37")
def test_enrolment_before_registration_is_refused(
    office: Office, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    office.create()
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "fresh"))
    assert office.enroll(code=Exit.REFUSED)["code"] == "agent-not-registered"
    assert not (tmp_path / "fresh" / "agent" / "identity").exists()


@pytest.mark.requirement("R36", "R48")
def test_two_computers_enroll_with_one_application_and_one_carried_file(
    enrolled: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_home = os.environ["OVERLAND_HOME"]
    second = another_computer(enrolled, monkeypatch)
    second.params.write_bytes(enrolled.params.read_bytes())
    second.enroll()
    (there,) = applications(enrolled)
    assert len({each["source_computer_id"] for each in there["certificates"]}) == 2
    seeds: dict[str, SeedId] = {}
    for office, home in ((second, os.environ["OVERLAND_HOME"]), (enrolled, first_home)):
        monkeypatch.setenv("OVERLAND_HOME", home)
        seeds[home] = staged(office, job_name=f"import-{len(seeds)}")
        spoil_own_token(office.computer.home)
        assert typed("seed", "status", "docs").exit_code == Exit.OK, "both sign in"
    assert len(set(seeds.values())) == 2


@pytest.mark.requirement("R39")
def test_two_accounts_give_two_files_and_share_the_certificate(enrolled: Office) -> None:
    enrolled.enroll(account="otheraccount")
    assert enrolled.identities.accounts() == sorted(
        ["otheraccount", enrolled.computer.world.account]
    )
    assert len(enrolled.certificates.thumbprints()) == 1
    assert len(applications(enrolled)[0]["certificates"]) == 1


def test_a_file_for_another_subscription_cloud_or_of_another_kind_is_refused(
    office: Office,
) -> None:
    office.create()
    good = office.params.read_text()
    words = ("cert", "enroll", "--params", office.params, "--storage-account", "harbour")
    other = ("--subscription", "99999999-2222-3333-4444-555555555555")
    assert answered(*words, *other, code=Exit.REFUSED)["code"] == "identity-file-invalid"
    for text in (good.replace(office.url, "https://elsewhere.example"), "<x/>"):
        office.params.write_text(text)
        assert office.enroll(code=Exit.REFUSED)["code"] == "identity-file-invalid"
    assert not (office.computer.home / "identity").exists()


# -- the manual path -------------------------------------------------------------------------


@pytest.mark.requirement("R43", "R44")
@pytest.mark.parametrize("name_computer", [True, False], ids=["named", "claimed"])
def test_a_certificate_that_is_uploaded_by_hand_is_put_to_use(
    office: Office, *, name_computer: bool
) -> None:
    office.create()
    error = office.enroll(by_hand=True, code=Exit.REFUSED)
    assert error["code"] == "certificate-not-uploaded"
    (row,) = answered("cert", "status", code=Exit.REFUSED)["identities"]
    assert row["code"] == "thumbprint-missing"
    out = office.computer.folder / "out.cer"
    answered("cert", "export", out)
    office.upload_by_hand(out, name_computer=name_computer)
    answered("cert", "upload")
    assert answered("cert", "status")["identities"][0]["code"] is None


@pytest.mark.requirement("R43", "R44")
def test_after_an_upload_by_hand_the_setting_alone_suffices(office: Office) -> None:
    office.create()
    office.enroll(by_hand=True, code=Exit.REFUSED)
    (thumbprint,) = office.certificates.thumbprints()
    office.upload_by_hand(office.computer.home / "identity" / f"{thumbprint}.cer")
    answered("agent", "config", "set", f"{SETTING}{office.user_id}", thumbprint.lower())
    assert answered("cert", "status")["identities"][0]["code"] is None, "it is claimed by itself"


@pytest.mark.requirement("R43")
def test_an_application_without_certificates_is_deleted_and_all_is_done_anew(
    office: Office,
) -> None:
    office.create()
    office.enroll(by_hand=True, code=Exit.REFUSED)
    words = ("cloud", "application", "delete", office.name, "--url", office.url)
    answered(*words, "--token-file", office.token_file)
    office.create()
    office.enroll()
    assert answered("cert", "status")["identities"][0]["code"] is None


def test_who_may_not_upload_is_told_so_and_the_certificate_waits(office: Office) -> None:
    office.create()
    reader = Office.of(office.computer, role="reader")
    error = reader.enroll(code=Exit.REFUSED)
    assert error["code"] == "certificate-not-uploaded"
    assert "add-certificate" in error["message"]
    answered("cert", "upload", "--token-file", office.token_file)
    assert answered("cert", "status")["identities"][0]["code"] is None


# -- signing in ------------------------------------------------------------------------------


def staged(office: Office, job_name: str = "harbour-import-07") -> SeedId:
    """Write a first copy; return its seed."""
    made = office.computer.create(job_name=job_name)
    assert made.exit_code == Exit.OK, made.output
    assert typed("backup", "now", "docs").exit_code == Exit.OK
    seed_id = office.computer.policies.progress("docs").seed_id
    assert seed_id is not None
    return SeedId(seed_id)


@pytest.mark.requirement("R47")
def test_seeds_are_watched_and_adopted_with_the_certificate_and_nothing_else_is(
    enrolled: Office,
) -> None:
    seed_id = staged(enrolled)
    spoil_own_token(enrolled.computer.home)
    assert typed("seed", "status", "docs").exit_code == Exit.OK
    connection = AgentMachine(enrolled.computer.home).connection()
    with pytest.raises(RefusedByCloud):  # not a matter of rights: nothing has landed yet
        connection.start_adoption(seed_id)
    for ask in (
        connection.points,
        connection.vault_grant,
        lambda: connection.abandon_seed(seed_id),
    ):
        with pytest.raises(NotAuthorised):
            ask()


@pytest.mark.requirement("R47")
def test_all_that_the_certificate_opens_is_tried_and_the_container_is_read(
    enrolled: Office,
) -> None:
    seed_id = staged(enrolled)
    spoil_own_token(enrolled.computer.home)
    found = answered("cert", "check", "docs")
    assert (found["seed_id"], found["job_state"], found["landed_objects"]) == (seed_id, None, 0)
    world, content = enrolled.computer.world, b"s" * 512
    space = f"accounts/{world.account}/{world.container}"
    digest = hashlib.sha256(content).hexdigest()
    name = f"packs/{digest[:2]}/{digest}.pack"
    enrolled.computer.cloud.put_object(space, f"seed-{seed_id}/{name}", content)
    found = answered("cert", "check", "docs")
    assert (found["landed_objects"], found["landed_bytes"]) == (1, 512)


def test_without_seed_or_identity_there_is_nothing_to_try(office: Office) -> None:
    office.computer.create()
    assert answered("cert", "check", "docs", code=Exit.REFUSED)["code"] == "seed-absent"
    assert typed("backup", "now", "docs").exit_code == Exit.OK
    assert answered("cert", "check", "docs", code=Exit.REFUSED)["code"] == "identity-file-absent"


def test_an_abandoned_seed_is_still_shown(enrolled: Office) -> None:
    staged(enrolled)
    assert typed("seed", "abandon", "docs", "--yes").exit_code == Exit.OK
    assert "Abandoned" in typed("seed", "status", "docs").stdout


def test_the_agents_status_names_the_application_and_the_end_of_the_certificate(
    enrolled: Office,
) -> None:
    shown = typed("agent", "status").stdout
    assert "account harbourdata" in shown
    assert f" {enrolled.name}, certificate until " in shown
    answered("agent", "config", "unset", f"{SETTING}{enrolled.user_id}")
    assert "[thumbprint-missing]" in typed("agent", "status").stdout


@pytest.mark.requirement("R44")
def test_without_the_setting_sign_in_fails_and_the_cure_is_named(enrolled: Office) -> None:
    staged(enrolled)
    answered("agent", "config", "unset", f"{SETTING}{enrolled.user_id}")
    error = answered("seed", "status", "docs", code=Exit.REFUSED)
    assert error["code"] == "thumbprint-missing"
    assert f"{SETTING}{enrolled.user_id}" in error["message"]
    answered("cert", "upload", "--token-file", enrolled.token_file)
    answered("seed", "status", "docs")


def test_a_thumbprint_without_a_key_here_has_its_own_error(enrolled: Office) -> None:
    staged(enrolled)
    answered("agent", "config", "set", f"{SETTING}{enrolled.user_id}", "AB" * 20)
    error = answered("seed", "status", "docs", code=Exit.REFUSED)
    assert error["code"] == "certificate-not-here"


def test_a_removed_certificate_has_its_own_error(enrolled: Office) -> None:
    staged(enrolled)
    (thumbprint,) = enrolled.certificates.thumbprints()
    words = ("cloud", "application", "remove-certificate", enrolled.name, thumbprint)
    answered(*words, "--url", enrolled.url, "--token-file", enrolled.token_file)
    error = answered("seed", "status", "docs", code=Exit.REFUSED)
    assert error["code"] == "certificate-not-accepted"
    answered("cert", "upload", "--token-file", enrolled.token_file)
    answered("seed", "status", "docs")


def test_a_certificate_is_warned_of_and_expires_under_its_own_error(
    enrolled: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged(enrolled)
    clock = enrolled.computer.cloud.clock
    monkeypatch.setattr("overland.cli.machine.SystemClock", lambda: clock)
    clock.advance(LIFETIME - timedelta(days=20))
    assert answered("cert", "status")["identities"][0]["ends_soon"]
    with capture_logs() as logs:
        answered("seed", "status", "docs")
    assert [each["next"] for each in logs if each["event"] == "certificate.ends_soon"] == [
        "overland cert renew"
    ]
    clock.advance(timedelta(days=21))
    error = answered("seed", "status", "docs", code=Exit.REFUSED)
    assert error["code"] == "certificate-expired"
    assert "overland cert renew" in error["message"]


def test_renewal_keeps_the_old_certificate_in_use_until_the_cloud_has_the_new_one(
    enrolled: Office,
) -> None:
    (old,) = enrolled.certificates.thumbprints()
    error = answered("cert", "renew", code=Exit.REFUSED)
    assert error["code"] == "certificate-not-uploaded"
    (row,) = answered("cert", "status")["identities"]
    assert row["thumbprint"] == old
    answered("cert", "upload", "--token-file", enrolled.token_file)
    (row,) = answered("cert", "status")["identities"]
    assert row["thumbprint"] != old
    assert enrolled.certificates.thumbprints() == [row["thumbprint"]], "the old key is gone"


# -- offline policies ------------------------------------------------------------------------


@pytest.mark.requirement("R40")
def test_an_offline_policy_is_not_saved_while_the_accounts_identity_file_is_missing(
    enrolled: Office,
) -> None:
    account = enrolled.computer.world.account
    enrolled.enroll(account="otheraccount")
    path = enrolled.computer.home / "identity" / f"OfflineApplicationParams_{account}.xml"
    kept = path.read_bytes()
    path.unlink()
    refused = enrolled.computer.create()
    assert refused.exit_code == Exit.REFUSED
    assert "[identity-file-absent]" in refused.output
    assert enrolled.computer.policies.names() == []
    path.write_bytes(kept)
    assert enrolled.computer.create().exit_code == Exit.OK


@pytest.mark.requirement("R40")
def test_the_setting_makes_the_rule_hold_from_the_first_policy_on(office: Office) -> None:
    answered("agent", "config", "set", "UseApplicationIdentity", "yes")
    assert "[identity-file-absent]" in office.computer.create().output
    answered("agent", "config", "set", "UseApplicationIdentity", "no")
    assert office.computer.create().exit_code == Exit.OK
