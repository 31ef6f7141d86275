"""A source computer is renamed or registered again while its seed is open (R136)."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cloud import ARM
from tests.support.registered import SourceComputer, registered, typed

from overland.cli.outcome import Exit


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceComputer]:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    with registered(tmp_path) as made:
        assert made.create().exit_code == Exit.OK
        assert typed("backup", "now", "docs").exit_code == Exit.OK
        yield made


def credentials(computer: SourceComputer, vault_id: str, name: str = "again") -> Path:
    admin = computer.cloud.http(computer.world.admin)
    path = computer.folder / name
    path.write_text(json.dumps(admin.ok("POST", f"/v1/vaults/{vault_id}/credentials")))
    return path


def seed_line() -> str:
    shown = typed("seed", "status", "docs")
    assert shown.exit_code == Exit.OK, shown.output
    return next(line for line in shown.stdout.splitlines() if line.startswith("seed "))


@pytest.mark.requirement("R136")
def test_a_seed_goes_on_when_the_system_is_renamed_or_registered_again(
    computer: SourceComputer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seed_line()
    monkeypatch.setattr("socket.gethostname", lambda: "quite-another-name")
    again = credentials(computer, computer.world.vault_id)
    assert typed("agent", "register", "--vault-credentials", again).exit_code == Exit.OK
    assert seed_line() == before
    assert typed("backup", "now", "docs").exit_code == Exit.OK


@pytest.mark.requirement("R136")
def test_another_vault_is_refused_and_the_seed_stays(computer: SourceComputer) -> None:
    before = seed_line()
    admin = computer.cloud.http(computer.world.admin)
    group = computer.world.group
    path = f"{group}/providers/Microsoft.RecoveryServices/vaults/vault-2?{ARM}"
    made = admin.ok("PUT", path, {"location": "westeurope"})
    other = credentials(computer, made["properties"]["vaultId"])
    refused = typed("agent", "register", "--vault-credentials", other)
    assert (refused.exit_code, "[other-vault]" in refused.stderr) == (Exit.REFUSED, True)
    assert "seeds would be orphaned" in refused.stderr
    assert seed_line() == before


@pytest.mark.requirement("R136")
def test_a_computer_that_was_made_anew_does_not_take_the_open_seed(
    computer: SourceComputer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seed_line()
    home = str(computer.folder / "home")
    monkeypatch.setenv("OVERLAND_HOME", str(computer.folder / "new-home"))
    kit = ("--recovery-kit", computer.folder / "new-kit")
    words = ("--passphrase-file", computer.folder / "passphrase", *kit)
    assert typed("agent", "init", *words).exit_code == Exit.OK, "by the same name"
    again = credentials(computer, computer.world.vault_id)
    refused = typed("agent", "register", "--vault-credentials", again)
    assert refused.exit_code == Exit.REFUSED
    assert "another" in refused.stderr
    assert "Traceback" not in refused.output
    monkeypatch.setenv("OVERLAND_HOME", home)
    assert seed_line() == before
    assert typed("backup", "now", "docs").exit_code == Exit.OK, "and the old one goes on"
