"""The options of `overland backup now`, as they are typed, down to the data path."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from overland.adapters.posix import PosixFiles
from overland.agent import data
from overland.agent.data import LocalDataPath
from overland.agent.home import AgentHome, Registration
from overland.cli.main import overland
from overland.cli.outcome import Exit

IN_THE_CLOUD = (
    *("vault", "version", "clock", "subscription", "capability", "storage-account"),
    *("account-kind", "container", "job-name", "publish-settings"),
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    for name in ("source", "staging"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "file").write_text("content")
    (tmp_path / "x.publishsettings").write_text("<x/>")
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    typed(
        *("agent", "init", "--name", "files", "--passphrase-file", tmp_path / "passphrase"),
        *("--recovery-kit", tmp_path / "kit"),
    )
    AgentHome(PosixFiles(tmp_path / "home" / "agent")).save_registration(
        Registration(
            url="http://127.0.0.1:9",
            object_url="http://127.0.0.1:9",
            ca_pem="",
            vault_id="v",
            vault_name="vault",
            source_computer_id="c",
            token="secret",
        )
    )
    typed(
        *("policy", "create", "docs", "--source", tmp_path / "source", "--offline"),
        *("--staging", tmp_path / "staging"),
        *("--publish-settings", tmp_path / "x.publishsettings", "--job-name", "import-1"),
        *("--subscription", "11111111-2222-3333-4444-555555555555"),
        *("--storage-account", "harbour", "--container", "seeds"),
        *(word for name in IN_THE_CLOUD for word in ("--skip-check", name)),
    )
    return tmp_path


def typed(*words: object) -> Result:
    done = CliRunner().invoke(overland, [str(word) for word in words])
    assert done.exit_code == Exit.OK, done.output
    return done


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("options", [(), ("--paranoid",)], ids=["plain", "paranoid"])
def test_paranoid_reaches_the_run_and_nothing_else_reads_all(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []

    class Watched(LocalDataPath):
        def __init__(self, **parts: Any) -> None:  # what the command hands over
            super().__init__(**parts)
            made.append(self._reads_all)

    monkeypatch.setattr(data, "LocalDataPath", Watched)
    # There is no cloud: the run ends where it asks it what it may send.
    done = CliRunner().invoke(overland, ["backup", "now", "docs", *options])
    assert done.exit_code == Exit.TRY_AGAIN, done.output
    assert made == [bool(options)]
