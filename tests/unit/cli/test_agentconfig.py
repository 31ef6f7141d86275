"""`overland agent config`: the settings that stand for the original's registry values."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.enrolled import answered
from tests.support.registered import SourceComputer, registered, typed

from overland.cli.outcome import Exit

USER = "AAAAAAAA-1111-4111-8111-111111111111"
PRINT = "AzureADAppCertThumbprint_"


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceComputer]:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    with capture_logs(), registered(tmp_path) as made:
        yield made


@pytest.mark.requirement("R42", "R44", "R45")
@pytest.mark.usefixtures("computer")
@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("currentuserid", USER, USER.lower()),
        (f"azureadappcertthumbprint_{USER}", ":".join(["ab"] * 20), "AB" * 20),
        ("USEAPPLICATIONIDENTITY", "YES", "yes"),
    ],
)
def test_a_setting_is_set_read_and_unset_whatever_the_case_of_its_name(
    name: str, value: str, kept: str
) -> None:
    assert typed("agent", "config", "get", name).exit_code == Exit.ERROR
    assert answered("agent", "config", "set", name, value)["value"] == kept
    assert typed("agent", "config", "get", name.upper()).stdout == f"{kept}\n"
    assert kept in typed("agent", "config", "list").stdout
    assert answered("agent", "config", "unset", name)["unset"] is True
    assert answered("agent", "config", "unset", name)["unset"] is False
    assert typed("agent", "config", "get", name).exit_code == Exit.ERROR


@pytest.mark.usefixtures("computer")
@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("ProxyUser", "x", "setting-unknown"),
        (PRINT, "AB" * 20, "setting-unknown"),
        (f"{PRINT}ada", "AB" * 20, "setting-unknown"),
        (f"{PRINT}{USER}", "AB" * 32, "setting-invalid"),
        (f"{PRINT}{USER}", "XY" * 20, "setting-invalid"),
        ("CurrentUserId", "ada", "setting-invalid"),
        ("UseApplicationIdentity", "maybe", "setting-invalid"),
        ("MachineId", USER, "setting-fixed"),
        ("ResourceId", "0" * 32, "setting-fixed"),
        ("ScratchLocation", "/elsewhere", "setting-fixed"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_changes_nothing(
    name: str, value: str, code: str
) -> None:
    before = answered("agent", "config", "list")
    assert answered("agent", "config", "set", name, value, code=Exit.REFUSED)["code"] == code
    assert answered("agent", "config", "list") == before


@pytest.mark.requirement("R42")
def test_facts_are_told_and_a_script_may_set_them_to_what_they_are(
    computer: SourceComputer,
) -> None:
    stored = json.loads((computer.home / "registration.json").read_text())
    facts = answered("agent", "config", "list")
    assert facts == {
        "MachineId": stored["source_computer_id"],
        "ResourceId": stored["vault_id"].replace("-", ""),
        "ScratchLocation": str(computer.home),
    }
    for name, value in facts.items():
        answered("agent", "config", "set", name, value)
        assert answered("agent", "config", "unset", name, code=3)["code"] == "setting-fixed"


def test_before_registration_there_is_no_machine_and_no_resource(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    assert list(answered("agent", "config", "list")) == ["ScratchLocation"]


def test_a_damaged_file_is_said_to_be_damaged(computer: SourceComputer) -> None:
    (computer.home / "settings.json").write_text("{")
    assert answered("agent", "config", "list", code=Exit.INTEGRITY)["code"] == "record-damaged"
