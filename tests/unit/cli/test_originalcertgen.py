"""The original's certificate tool, typed as its runbooks say."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from structlog.testing import capture_logs
from tests.support.enrolled import Office, answered
from tests.support.registered import registered

from overland.cli import originalcertgen, signedin
from overland.cli.machine import overland_home
from overland.cli.originalcertgen import parse
from overland.cli.outcome import Exit

ID = "44444444-4444-4444-8444-444444444444"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """Sign the office's account in, as `overland sign-in` does, in a folder with a blank."""
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    (tmp_path / "Azure Tools").mkdir()
    monkeypatch.chdir(tmp_path / "Azure Tools")
    with capture_logs(), registered(tmp_path) as computer:
        made = Office.of(computer)
        kept = signedin.SignedIn(
            url=made.url,
            ca_pem=None,
            tenant_id=computer.world.tenant_id,
            access_token=made.token_file.read_text(),
            expires_at=datetime.now(UTC) + timedelta(hours=1),
            refresh_token="none",
        )
        signedin.store(overland_home(), kept)
        yield made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs the program: its exit code and all that it printed."""

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["AzureOfflineBackupCertGen", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            originalcertgen.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return call


@pytest.mark.requirement("R33", "R34", "R35", "R38", "R39", "R41", "R42")
def test_the_runbook_works_letter_for_letter(office: Office, run: Any) -> None:
    subscription = office.computer.world.subscription_id
    code, said = run("CreateNewApplication", f"SubscriptionId:{subscription}")
    assert (code, f"application {office.name} made" in said) == (Exit.OK, True), said
    assert Path("OfflineApplicationParams.xml").is_file()
    code, said = run("CreateNewApplication", f"SubscriptionId:{subscription}")
    assert (code, "[application-exists]" in said) == (Exit.REFUSED, True), said
    account = office.computer.world.account
    code, said = run(
        "AddRegistryEntries",
        f"SubscriptionId:{subscription}",
        f"xmlfilepath:{Path.cwd()}/OfflineApplicationParams.xml",
        f"storageaccountname:{account}",
    )
    assert code == Exit.OK, said
    assert f"OfflineApplicationParams_{account}.xml" in said
    assert "CB_AzureADCertforOfflineSeeding_" in said
    assert answered("cert", "status")["identities"][0]["code"] is None


@pytest.mark.requirement("R37")
def test_entries_before_registration_are_refused(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "fresh"))
    words = (f"SubscriptionId:{ID}", "xmlfilepath:x.xml", "storageaccountname:harbour")
    code, said = run("AddRegistryEntries", *words)
    assert (code, "[agent-not-registered]" in said) == (Exit.REFUSED, True), said


def test_nobody_signed_in_is_told_to_sign_in(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "fresh"))
    code, said = run("CreateNewApplication", f"SubscriptionId:{ID}")
    assert (code, "[sign-in-ended]" in said) == (Exit.REFUSED, True), said


@pytest.mark.requirement("R33")
def test_another_account_than_the_owner_of_the_home_folder_is_refused(
    office: Office, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 54321)
    code, said = run(
        "CreateNewApplication", f"SubscriptionId:{office.computer.world.subscription_id}"
    )
    assert (code, "[not-the-administrator]" in said) == (Exit.REFUSED, True), said


@pytest.mark.requirement("R38")
@pytest.mark.parametrize(
    "words",
    [
        [
            "AddRegistryEntries",
            f"SubscriptionId:{ID}",
            "xmlfilepath:/a b/p.xml",
            "storageaccountname:h",
        ],
        [
            "addregistryentries",
            f"SUBSCRIPTIONID:{ID}",
            "XmlFilePath:/a b/p.xml",
            "StorageAccountName:h",
        ],
        [
            "AddRegistryEntries",
            "storageaccountname:h",
            "xmlfilepath:/a",
            "b/p.xml",
            f"SubscriptionId:{ID}",
        ],
        [
            "*AddRegistryEntries*",
            f"SubscriptionId:<{ID}>",
            "xmlfilepath:<*/a",
            "b/p.xml*>",
            "storageaccountname:h*",
        ],
        [
            "AddRegistryEntries",
            f"SubscriptionId: {ID}",
            'xmlfilepath:"/a b/p.xml"',
            "storageaccountname:",
            "h",
        ],
    ],
    ids=["as-documented", "other-case", "blanks-and-order", "copied-marks", "quotes"],
)
def test_parameters_are_name_and_value_and_paths_may_hold_blanks(words: list[str]) -> None:
    line = parse(words)
    assert line.verb == "addregistryentries"
    assert line.values == {
        "subscriptionid": ID,
        "xmlfilepath": "/a b/p.xml",
        "storageaccountname": "h",
    }


@pytest.mark.requirement("R38")
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["Create"],
        ["CreateNewApplication"],
        ["CreateNewApplication", "SubscriptionId:"],
        ["CreateNewApplication", "SubscriptionId"],
        ["CreateNewApplication", f"SubscriptionId:{ID}", f"subscriptionid:{ID}"],
        ["CreateNewApplication", "xmlfilepath:/a", f"SubscriptionId:{ID}"],
        ["AddRegistryEntries", f"SubscriptionId:{ID}", "xmlfilepath:/a"],
    ],
    ids=str,
)
def test_other_words_are_wrong_usage(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words)


def test_usage_is_shown_and_nothing_done(run: Any) -> None:
    code, said = run()
    assert code == Exit.USAGE
    assert "AddRegistryEntries SubscriptionId:" in said
    assert run("--help")[0] == Exit.OK
    assert run("Create")[0] == Exit.USAGE


@pytest.mark.requirement("R46")
def test_the_tool_comes_with_the_agent() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("AzureOfflineBackupCertGen", '"AzureOfflineBackupCertGen.exe"'):
        assert f'{name} = "overland.cli.originalcertgen:main"' in text
    assert callable(originalcertgen.main)
